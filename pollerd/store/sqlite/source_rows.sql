-- name: fresh
SELECT value FROM json_each(?1) WHERE NOT EXISTS (SELECT 1 FROM given WHERE source = ?2 AND id = value);

-- Neither followed nor given by another source: one that was configured otherwise before counts too.
-- name: unknown
SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM messages WHERE id = value)
    AND NOT EXISTS (SELECT 1 FROM given WHERE id = value);

-- The sources are found by a skip through the table, which is in their order.
-- name: strangers
WITH RECURSIVE found (name) AS (
    SELECT min(source) FROM given
    UNION ALL
    SELECT (SELECT min(source) FROM given WHERE source > found.name) FROM found WHERE found.name IS NOT NULL
)
SELECT source, id FROM given
WHERE source IN (SELECT name FROM found WHERE name NOT IN (SELECT value FROM json_each(?))) LIMIT ?;

-- name: give
INSERT INTO given (source, id) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: leave
DELETE FROM given WHERE source = ? AND id = ?;
