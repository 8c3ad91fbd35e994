-- name: drop_done
DELETE FROM deliveries WHERE state = 2 AND seq <= ?;

-- name: save_cursor
INSERT INTO outputs (name, seq, detail, updated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, detail = excluded.detail, updated_at = excluded.updated_at;

-- name: known
SELECT seq FROM deliveries WHERE seq > ? AND seq <= ?;

-- name: due
SELECT seq, type, message_id, body, lane, state, attempts, next_at, error FROM deliveries
WHERE state = 0 AND next_at IS NOT NULL AND lane = ?1 AND (next_at <= ?2 OR next_at > ?3) AND NOT EXISTS (
    SELECT 1 FROM deliveries AS earlier
    WHERE earlier.state = 0 AND earlier.message_id = deliveries.message_id AND earlier.seq < deliveries.seq
        AND earlier.lane = deliveries.lane
) ORDER BY next_at, seq LIMIT ?4;

-- The same condition: a time that is not waited for would be asked for again and again.
-- name: next_at
SELECT min(next_at) FROM deliveries WHERE state = 0 AND next_at IS NOT NULL AND lane = ? AND NOT EXISTS (
    SELECT 1 FROM deliveries AS earlier
    WHERE earlier.state = 0 AND earlier.message_id = deliveries.message_id AND earlier.seq < deliveries.seq
        AND earlier.lane = deliveries.lane
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
