-- name: fresh
SELECT value FROM json_each(?1) WHERE NOT EXISTS (SELECT 1 FROM given WHERE source = ?2 AND id = value);

-- Neither followed nor given by another source: one that was configured otherwise before counts too.
-- name: unknown
SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM messages WHERE id = value)
    AND NOT EXISTS (SELECT 1 FROM given WHERE id = value);

-- name: strangers
SELECT source, id FROM given WHERE source NOT IN (SELECT value FROM json_each(?)) LIMIT ?;

-- name: give
INSERT INTO given (source, id) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: leave
DELETE FROM given WHERE source = ? AND id = ?;
