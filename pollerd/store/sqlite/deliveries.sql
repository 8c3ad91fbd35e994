-- The index of a message is named: where most wait for the same one, ANALYZE would have SQLite go through all.
-- name: blocked
SELECT value FROM json_each(?)
WHERE EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_waiting WHERE state = 0 AND message_id = value);

-- name: keep
INSERT INTO deliveries (seq, type, message_id, body, lane, state, attempts, next_at, error, changed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (seq) DO UPDATE SET type = excluded.type, message_id = excluded.message_id, body = excluded.body,
    lane = excluded.lane, state = excluded.state, attempts = excluded.attempts, next_at = excluded.next_at,
    error = excluded.error, changed_at = excluded.changed_at;

-- name: drop
DELETE FROM deliveries WHERE seq = ?;

-- name: free
UPDATE deliveries SET next_at = ?1
WHERE seq = (SELECT min(seq) FROM deliveries INDEXED BY deliveries_waiting WHERE state = 0 AND message_id = ?2)
    AND next_at IS NULL;

-- name: relabel
UPDATE deliveries SET lane = ? WHERE seq = ?;

-- An event taken up again goes before the later ones of its message.
-- name: behind
UPDATE deliveries INDEXED BY deliveries_waiting SET next_at = NULL WHERE state = 0 AND message_id = ?;

-- Heads are [message_id, seq]; what comes before each of them.
-- name: earlier
SELECT head, seq, type, message_id, body, lane, state, attempts, next_at, error FROM (
    SELECT json_extract(value, '$[0]') AS message, json_extract(value, '$[1]') AS head FROM json_each(?1)
) CROSS JOIN deliveries INDEXED BY deliveries_waiting ON state = 0 AND message_id = message AND seq < head
UNION ALL
SELECT head, seq, type, message_id, body, lane, state, attempts, next_at, error FROM (
    SELECT json_extract(value, '$[0]') AS message, json_extract(value, '$[1]') AS head FROM json_each(?1)
) CROSS JOIN deliveries INDEXED BY deliveries_parked_message ON state = 1 AND message_id = message AND seq < head;
