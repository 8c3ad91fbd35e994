-- Where the next stretch of messages ends: the oldest id of the newest `limit` up to an id.
-- name: stretch
SELECT min(id), count(*) FROM (SELECT id FROM messages WHERE id <= ? ORDER BY id DESC LIMIT ?) AS found;
