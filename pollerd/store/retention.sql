-- A request that waits may be about to take up again what was given up.
-- name: ended
SELECT id, state FROM messages
WHERE state >= 2 AND state IN (2, 3) AND finished_at < ? AND NOT EXISTS (SELECT 1 FROM requests) ORDER BY finished_at LIMIT ?;

-- name: uncount
UPDATE counters SET value = value - ? WHERE name = ?;

-- name: oldest_events
SELECT seq, at, message_id FROM events WHERE seq <= ? ORDER BY seq LIMIT ?;

-- name: drop_events
DELETE FROM events WHERE seq <= ?;

-- name: span
SELECT seq, at, (SELECT max(seq) FROM events) FROM events ORDER BY seq LIMIT 1;

-- name: places
SELECT name, seq, updated_at FROM outputs;

-- name: drop_ages
DELETE FROM pending_by_age WHERE count <= 0;

-- name: drop_output
DELETE FROM outputs WHERE name = ?;
