-- name: messages
SELECT id, state, sent_at, recipients FROM messages WHERE id > ? AND id <= ? AND position(?::bytea IN recipients) > 0;

-- name: events
SELECT seq, type, body FROM events
WHERE seq > ? AND seq <= ? AND position(?::bytea IN convert_to(body::text, 'UTF8')) > 0;

-- name: blank_event
UPDATE events SET type = about.type, message_id = NULL, body = convert_from(about.body, 'UTF8')::json
FROM unnest((SELECT ?::text[]), (SELECT ?::bytea[]), (SELECT ?::bigint[])) AS about (type, body, seq)
WHERE events.seq = about.seq;

-- name: deliveries
SELECT seq, type, body, message_id FROM deliveries
WHERE message_id IN (SELECT value::bigint FROM json_array_elements_text(?1::json) AS given (value))
    OR position(?2::bytea IN body) > 0;

-- name: unwritten
SELECT seq, type, body, message_id, output FROM unwritten
WHERE message_id IN (SELECT value::bigint FROM json_array_elements_text(?1::json) AS given (value))
    OR position(?2::bytea IN body) > 0;

-- name: events_of_messages
SELECT seq, type, body FROM events
WHERE message_id IN (SELECT value::bigint FROM json_array_elements_text(?1::json) AS given (value));

-- name: drop_source_ids
DELETE FROM source_ids WHERE id = ANY((SELECT ?::bigint[])::bigint[]);

-- name: drop_message
DELETE FROM messages USING unnest((SELECT ?::bigint[]), (SELECT ?::smallint[])) AS gone (id, state)
WHERE messages.id = gone.id AND messages.state = gone.state;

-- name: keep_others
UPDATE messages SET recipients = about.recipients
FROM unnest((SELECT ?::bytea[]), (SELECT ?::bigint[])) AS about (recipients, id)
WHERE messages.id = about.id;

-- name: standing
SELECT id, state FROM messages
WHERE id IN (SELECT value::bigint FROM json_array_elements_text(?1::json) AS given (value));
