-- name: count
SELECT count(*) FROM given WHERE source = ?;

-- name: given
SELECT id FROM given WHERE source = ? AND id > ? ORDER BY id LIMIT ?;
