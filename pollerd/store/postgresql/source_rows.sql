-- name: fresh
SELECT value::bigint FROM json_array_elements_text(?1::json) AS rows (value)
WHERE NOT EXISTS (SELECT 1 FROM given WHERE source = ?2 AND id = value::bigint);

-- Neither followed nor given by another source: one that was configured otherwise before counts too.
-- name: unknown
SELECT value::bigint FROM json_array_elements_text(?::json) AS rows (value)
WHERE NOT EXISTS (SELECT 1 FROM messages WHERE id = value::bigint)
    AND NOT EXISTS (SELECT 1 FROM given WHERE id = value::bigint);

-- name: strangers
SELECT source, id FROM given WHERE source NOT IN (SELECT * FROM json_array_elements_text(?::json)) LIMIT ?;

-- name: give
INSERT INTO given (source, id) SELECT * FROM unnest(?::text[], ?::bigint[]) AS rows (source, id)
ORDER BY source, id ON CONFLICT DO NOTHING;

-- name: leave
DELETE FROM given USING unnest((SELECT ?::text[]), (SELECT ?::bigint[])) AS gone (source, id)
WHERE given.source = gone.source AND given.id = gone.id;
