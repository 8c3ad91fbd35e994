-- A message's own time: when the gateway says that it was sent, and when the daemon took it in.
ALTER TABLE messages ADD COLUMN origin REAL;
ALTER TABLE messages ADD COLUMN taken_at REAL;
