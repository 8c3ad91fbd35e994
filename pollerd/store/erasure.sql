-- name: message
SELECT id, state, sent_at, recipients FROM messages WHERE id = ?;

-- Where the next stretch ends; NULL behind the last one.
-- name: message_stretch
SELECT max(id) FROM (SELECT id FROM messages WHERE id > ? ORDER BY id LIMIT ?) AS found;

-- name: event_stretch
SELECT max(seq) FROM (SELECT seq FROM events WHERE seq > ? ORDER BY seq LIMIT ?) AS found;
