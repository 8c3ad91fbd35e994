-- name: messages
SELECT id, state, sent_at, recipients FROM messages WHERE id > ? AND id <= ? AND instr(recipients, ?) > 0;

-- name: events
SELECT seq, type, body FROM events WHERE seq > ? AND seq <= ? AND instr(CAST(body AS BLOB), ?) > 0;

-- name: blank_event
UPDATE events SET type = ?, message_id = NULL, body = ? WHERE seq = ?;

-- name: deliveries
SELECT seq, type, body, message_id FROM deliveries
WHERE message_id IN (SELECT value FROM json_each(?1)) OR instr(CAST(body AS BLOB), ?2) > 0;

-- name: unwritten
SELECT seq, type, body, message_id, output FROM unwritten
WHERE message_id IN (SELECT value FROM json_each(?1)) OR instr(CAST(body AS BLOB), ?2) > 0;

-- name: events_of_messages
SELECT seq, type, body FROM events WHERE message_id IN (SELECT value FROM json_each(?1));

-- name: drop_source_ids
DELETE FROM source_ids WHERE id = ?;

-- name: drop_message
DELETE FROM messages WHERE id = ? AND state = ?;

-- name: keep_others
UPDATE messages SET recipients = ? WHERE id = ?;

-- name: standing
SELECT id, state FROM messages WHERE id IN (SELECT value FROM json_each(?1));
