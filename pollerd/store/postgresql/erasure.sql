-- name: messages
SELECT id, state, sent_at, recipients FROM messages WHERE id > ? AND id <= ? AND position(?::bytea IN recipients) > 0;

-- name: events
SELECT seq, type, body FROM events
WHERE seq > ? AND seq <= ? AND position(?::bytea IN convert_to(body::text, 'UTF8')) > 0;

-- name: blank_event
UPDATE events SET type = ?, message_id = NULL, body = convert_from(?::bytea, 'UTF8')::json WHERE seq = ?;

-- name: deliveries
SELECT seq, type, body, message_id FROM deliveries WHERE message_id = ?1 OR position(?2::bytea IN body) > 0;

-- name: unwritten
SELECT seq, type, body, message_id, output FROM unwritten WHERE message_id = ?1 OR position(?2::bytea IN body) > 0;
