-- name: message
SELECT id, state, sent_at, recipients FROM messages WHERE id = ?;

-- Where the next stretch ends; NULL behind the last one.
-- name: message_stretch
SELECT max(id) FROM (SELECT id FROM messages WHERE id > ? ORDER BY id LIMIT ?);

-- name: messages
SELECT id, state, sent_at, recipients FROM messages WHERE id > ? AND id <= ? AND instr(recipients, ?) > 0;

-- name: event_stretch
SELECT max(seq) FROM (SELECT seq FROM events WHERE seq > ? ORDER BY seq LIMIT ?);

-- name: events
SELECT seq, type, body FROM events WHERE seq > ? AND seq <= ? AND instr(CAST(body AS BLOB), ?) > 0;

-- name: events_of_message
SELECT seq, type, body FROM events WHERE message_id = ?;

-- name: blank_event
UPDATE events SET type = ?, message_id = NULL, body = ? WHERE seq = ?;

-- name: deliveries
SELECT seq, type, body, message_id FROM deliveries WHERE message_id = ?1 OR instr(CAST(body AS BLOB), ?2) > 0;

-- name: drop_delivery
DELETE FROM deliveries WHERE seq = ?;

-- name: unwritten
SELECT seq, type, body, message_id, output FROM unwritten WHERE message_id = ?1 OR instr(CAST(body AS BLOB), ?2) > 0;

-- name: drop_unwritten
DELETE FROM unwritten WHERE seq = ? AND output = ?;

-- name: drop_message
DELETE FROM messages WHERE id = ? AND state = ?;

-- name: keep_others
UPDATE messages SET recipients = ? WHERE id = ?;

-- name: drop_source_ids
DELETE FROM source_ids WHERE id = ?;
