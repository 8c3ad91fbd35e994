-- name: message
SELECT id, state, sent_at, recipients FROM messages WHERE id = ?;

-- Where the next stretch ends; NULL behind the last one.
-- name: message_stretch
SELECT max(id) FROM (SELECT id FROM messages WHERE id > ? ORDER BY id LIMIT ?) AS found;

-- name: event_stretch
SELECT max(seq) FROM (SELECT seq FROM events WHERE seq > ? ORDER BY seq LIMIT ?) AS found;

-- name: events_of_message
SELECT seq, type, body FROM events WHERE message_id = ?;

-- name: drop_delivery
DELETE FROM deliveries WHERE seq = ?;

-- name: drop_unwritten
DELETE FROM unwritten WHERE seq = ? AND output = ?;

-- name: drop_message
DELETE FROM messages WHERE id = ? AND state = ?;

-- name: keep_others
UPDATE messages SET recipients = ? WHERE id = ?;

-- name: drop_source_ids
DELETE FROM source_ids WHERE id = ?;
