-- name: offer
INSERT OR IGNORE INTO messages (id, account, userref, sent_at) VALUES (?, ?, ?, ?);

-- name: count_gave_up
SELECT count(*) FROM messages WHERE state = 3 AND id IN (SELECT value FROM json_each(?));
