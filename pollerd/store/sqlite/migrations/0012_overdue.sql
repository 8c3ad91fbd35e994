-- After how many seconds without a final state a message is overdue (NULL: as its account says, 0: never), when that is
-- (in the daemon's time), and 1 once it was told.
ALTER TABLE messages ADD COLUMN overdue_after REAL;
ALTER TABLE messages ADD COLUMN overdue_at REAL;
ALTER TABLE messages ADD COLUMN overdue INTEGER;

CREATE INDEX messages_overdue_at ON messages (account, overdue_at)
WHERE state = 1 AND overdue IS NULL AND overdue_at IS NOT NULL;
CREATE INDEX messages_overdue ON messages (overdue_at, id) WHERE state = 1 AND overdue = 1;
