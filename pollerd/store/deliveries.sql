-- name: drop_done
DELETE FROM deliveries WHERE state = 2 AND seq <= ?;

-- name: save_cursor
INSERT INTO outputs (name, seq, detail, updated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, detail = excluded.detail, updated_at = excluded.updated_at;

-- name: known
SELECT seq FROM deliveries WHERE seq > ? AND seq <= ?;

-- What may be posted at a moment and what was planned too late are asked for one by one: together they would be looked for
-- among all that waits. So would they if PostgreSQL could make a join of the look for an earlier one.
-- name: due
SELECT seq, type, message_id, body, lane, state, attempts, next_at, error FROM (
    SELECT * FROM deliveries WHERE state = 0 AND next_at IS NOT NULL AND lane = ?1 AND next_at <= ?2 AND (
        SELECT seq FROM deliveries AS earlier
        WHERE earlier.state = 0 AND earlier.message_id = deliveries.message_id AND earlier.seq < deliveries.seq
            AND earlier.lane = deliveries.lane
        ORDER BY seq LIMIT 1
    ) IS NULL
    ORDER BY next_at, seq LIMIT ?4
) AS ready
UNION ALL
SELECT seq, type, message_id, body, lane, state, attempts, next_at, error FROM (
    SELECT * FROM deliveries WHERE state = 0 AND next_at IS NOT NULL AND lane = ?1 AND next_at > ?3 AND (
        SELECT seq FROM deliveries AS earlier
        WHERE earlier.state = 0 AND earlier.message_id = deliveries.message_id AND earlier.seq < deliveries.seq
            AND earlier.lane = deliveries.lane
        ORDER BY seq LIMIT 1
    ) IS NULL
    ORDER BY next_at, seq LIMIT ?4
) AS misplanned
ORDER BY next_at, seq LIMIT ?4;

-- The same condition: a time that is not waited for would be asked for again and again.
-- name: next_at
SELECT (
    SELECT next_at FROM deliveries WHERE state = 0 AND next_at IS NOT NULL AND lane = ? AND (
        SELECT seq FROM deliveries AS earlier
        WHERE earlier.state = 0 AND earlier.message_id = deliveries.message_id AND earlier.seq < deliveries.seq
            AND earlier.lane = deliveries.lane
        ORDER BY seq LIMIT 1
    ) IS NULL
    ORDER BY next_at, seq LIMIT 1
);

-- name: undelivered
SELECT seq, type, message_id, body, lane, state, attempts, next_at, error FROM deliveries
WHERE state <> 2 AND seq > ? ORDER BY seq LIMIT ?;

-- name: forget_parked
DELETE FROM deliveries WHERE state = 1 AND changed_at < ?;

-- name: parked_messages
SELECT DISTINCT message_id FROM deliveries WHERE state = 1;

-- name: unpark
UPDATE deliveries SET state = 0, attempts = 0, next_at = NULL, changed_at = ? WHERE state = 1;
