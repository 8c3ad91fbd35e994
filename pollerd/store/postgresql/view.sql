-- name: last_seq
SELECT last_seq FROM cluster;

-- name: count_unknown
SELECT count(*) FROM (SELECT 1 FROM messages WHERE unknown AND state = 1 AND account = ? LIMIT ?) AS found;

-- name: oldest_pending
SELECT min(sent_at) FROM messages WHERE state = 1;

-- name: ages
SELECT slot * 15.0::float8, count FROM pending_by_age WHERE count > 0 ORDER BY slot;

-- name: note
SELECT value FROM meta WHERE name = ?;
