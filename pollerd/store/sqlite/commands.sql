-- name: track
INSERT OR IGNORE INTO messages (id, account, userref, sent_at, sendtime, priority, overdue_after)
SELECT value, ?2, ?3, ?4, ?5, ?6, ?7 FROM json_each(?1);

-- name: count_gave_up
SELECT count(*) FROM messages WHERE state = 3 AND id IN (SELECT value FROM json_each(?));

-- name: last_asked
SELECT max(id) FROM requests;

-- name: ask
INSERT INTO requests (kind, message_id) VALUES (?, ?);
