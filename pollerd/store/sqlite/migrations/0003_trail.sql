-- The last polls of a message (see pollerd/core/history.py), for whoever wants to know what happened to it.
ALTER TABLE messages ADD COLUMN trail BLOB;

-- Pending messages by when they were sent, in slots of 15 s: too dear to count, kept in the same transaction.
CREATE TABLE pending_by_age (
    slot  INTEGER PRIMARY KEY,                  -- sent_at divided by 15
    count INTEGER NOT NULL
);
INSERT INTO pending_by_age (slot, count)
SELECT CAST(sent_at / 15 AS INTEGER), count(*) FROM messages
WHERE state = 1 AND typeof(sent_at) IN ('real', 'integer') GROUP BY 1;
