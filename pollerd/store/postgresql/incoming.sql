-- name: known
SELECT id FROM incoming
WHERE account = ?1 AND id IN (SELECT value::bigint FROM json_array_elements_text(?2::json) AS given (value));

-- name: write_events
UPDATE events SET body = convert_from(about.body, 'UTF8')::json
FROM unnest((SELECT ?::bytea[]), (SELECT ?::bigint[])) AS about (body, seq)
WHERE events.seq = about.seq;

-- name: remember
INSERT INTO incoming (account, id, found_at)
SELECT * FROM unnest(?::text[], ?::bigint[], ?::float8[]) AS rows (account, id, found_at) ON CONFLICT DO NOTHING;

-- name: forget
DELETE FROM incoming USING unnest((SELECT ?::text[]), (SELECT ?::bigint[])) AS gone (account, id)
WHERE incoming.account = gone.account AND incoming.id = gone.id;

-- name: removed
UPDATE incoming SET text_seq = NULL FROM unnest((SELECT ?::text[]), (SELECT ?::bigint[])) AS about (account, id)
WHERE incoming.account = about.account AND incoming.id = about.id;

-- name: write_deliveries
UPDATE deliveries SET body = about.body FROM unnest((SELECT ?::bytea[]), (SELECT ?::bigint[])) AS about (body, seq)
WHERE deliveries.seq = about.seq;

-- name: write_unwritten
UPDATE unwritten SET body = about.body FROM unnest((SELECT ?::bytea[]), (SELECT ?::bigint[])) AS about (body, seq)
WHERE unwritten.seq = about.seq;

-- name: events
SELECT seq, body FROM events
WHERE seq IN (SELECT value::bigint FROM json_array_elements_text(?::json) AS given (value))
    AND type = 'message.received';

-- name: deliveries
SELECT seq, body FROM deliveries
WHERE seq IN (SELECT value::bigint FROM json_array_elements_text(?::json) AS given (value))
    AND type = 'message.received' AND length(body) > 0;

-- name: unwritten
SELECT DISTINCT seq, body FROM unwritten
WHERE seq IN (SELECT value::bigint FROM json_array_elements_text(?::json) AS given (value))
    AND type = 'message.received';
