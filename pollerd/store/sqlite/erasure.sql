-- name: messages
SELECT id, state, sent_at, recipients FROM messages WHERE id > ? AND id <= ? AND instr(recipients, ?) > 0;

-- name: events
SELECT seq, type, body FROM events WHERE seq > ? AND seq <= ? AND instr(CAST(body AS BLOB), ?) > 0;

-- name: blank_event
UPDATE events SET type = ?, message_id = NULL, body = ? WHERE seq = ?;

-- name: deliveries
SELECT seq, type, body, message_id FROM deliveries WHERE message_id = ?1 OR instr(CAST(body AS BLOB), ?2) > 0;

-- name: unwritten
SELECT seq, type, body, message_id, output FROM unwritten WHERE message_id = ?1 OR instr(CAST(body AS BLOB), ?2) > 0;
