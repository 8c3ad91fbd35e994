-- name: fresh
SELECT value::bigint FROM json_array_elements_text(?1::json) AS rows (value)
WHERE NOT EXISTS (SELECT 1 FROM given WHERE source = ?2 AND id = value::bigint);

-- Neither followed nor given by another source: one that was configured otherwise before counts too.
-- name: unknown
SELECT value::bigint FROM json_array_elements_text(?::json) AS rows (value)
WHERE NOT EXISTS (SELECT 1 FROM messages WHERE id = value::bigint)
    AND NOT EXISTS (SELECT 1 FROM given WHERE id = value::bigint);

-- The sources are found by a skip through the index, which begins with them.
-- name: strangers
WITH RECURSIVE found (name) AS (
    (SELECT source FROM given ORDER BY source LIMIT 1)
    UNION ALL
    SELECT (SELECT source FROM given WHERE source > found.name ORDER BY source LIMIT 1)
    FROM found WHERE found.name IS NOT NULL
)
SELECT source, id FROM found CROSS JOIN LATERAL (
    SELECT * FROM given WHERE source = found.name LIMIT ?2
) AS strange WHERE found.name NOT IN (SELECT * FROM json_array_elements_text(?1::json)) LIMIT ?2;

-- name: give
INSERT INTO given (source, id) SELECT * FROM unnest(?::text[], ?::bigint[]) AS rows (source, id)
ORDER BY source, id ON CONFLICT DO NOTHING;

-- name: leave
DELETE FROM given USING unnest((SELECT ?::text[]), (SELECT ?::bigint[])) AS gone (source, id)
WHERE given.source = gone.source AND given.id = gone.id;
