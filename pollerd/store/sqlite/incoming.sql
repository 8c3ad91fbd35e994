-- name: known
SELECT id FROM incoming WHERE account = ?1 AND id IN (SELECT value FROM json_each(?2));

-- name: write_events
UPDATE events SET body = ? WHERE seq = ?;

-- name: remember
INSERT INTO incoming (account, id, found_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- name: forget
DELETE FROM incoming WHERE account = ? AND id = ?;

-- name: removed
UPDATE incoming SET text_seq = NULL WHERE account = ? AND id = ?;

-- name: write_deliveries
UPDATE deliveries SET body = ? WHERE seq = ?;

-- name: write_unwritten
UPDATE unwritten SET body = ? WHERE seq = ?;

-- name: events
SELECT seq, body FROM events
WHERE seq IN (SELECT value FROM json_each(?)) AND type = 'message.received';

-- name: deliveries
SELECT seq, body FROM deliveries
WHERE seq IN (SELECT value FROM json_each(?)) AND type = 'message.received' AND length(body) > 0;

-- name: unwritten
SELECT DISTINCT seq, body FROM unwritten
WHERE seq IN (SELECT value FROM json_each(?)) AND type = 'message.received';
