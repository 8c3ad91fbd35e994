-- name: give
INSERT INTO given (source, id) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: count
SELECT count(*) FROM given WHERE source = ?;

-- name: given
SELECT id FROM given WHERE source = ? AND id > ? ORDER BY id LIMIT ?;

-- name: leave
DELETE FROM given WHERE source = ? AND id = ?;
