-- name: last_seq
SELECT coalesce(
    (SELECT seq FROM sqlite_sequence WHERE name = 'events' AND typeof(seq) = 'integer'), (SELECT max(seq) FROM events), 0
);

-- name: count_unknown
SELECT count(*) FROM (
    SELECT 1 FROM messages INDEXED BY messages_unknown WHERE unknown = 1 AND state = 1 AND account = ? LIMIT ?
);

-- name: oldest_pending
SELECT min(sent_at) FROM messages INDEXED BY messages_due WHERE state = 1;

-- name: ages
SELECT slot * 15.0, count FROM pending_by_age WHERE count > 0 ORDER BY slot;

-- name: note
SELECT CAST(value AS BLOB) FROM meta WHERE name = ?;
