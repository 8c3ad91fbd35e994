-- name: ask
INSERT INTO requests (kind, message_id) VALUES (?, ?);

-- name: first_waiting
SELECT min(id) FROM requests WHERE id BETWEEN ? AND ?;
