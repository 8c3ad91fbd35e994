-- name: first_waiting
SELECT min(id) FROM requests WHERE id BETWEEN ? AND ?;
