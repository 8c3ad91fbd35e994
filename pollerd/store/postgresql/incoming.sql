-- name: known
SELECT id FROM incoming
WHERE account = ?1 AND id IN (SELECT value::bigint FROM json_array_elements_text(?2::json) AS given (value));

-- name: write_events
UPDATE events SET body = convert_from(?::bytea, 'UTF8')::json WHERE seq = ?;
