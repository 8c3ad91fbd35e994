-- name: blocked
SELECT value::bigint FROM json_array_elements_text(?::json) AS given (value)
WHERE (SELECT seq FROM deliveries WHERE state = 0 AND message_id = value::bigint ORDER BY seq LIMIT 1) IS NOT NULL;

-- name: keep
INSERT INTO deliveries (seq, type, message_id, body, lane, state, attempts, next_at, error, changed_at)
SELECT DISTINCT ON (seq) seq, type, message_id, body, lane, state, attempts, next_at, error, changed_at FROM unnest(
    ?::bigint[], ?::text[], ?::bigint[], ?::bytea[], ?::text[],
    ?::smallint[], ?::integer[], ?::float8[], ?::text[], ?::float8[]
) WITH ORDINALITY AS rows (seq, type, message_id, body, lane, state, attempts, next_at, error, changed_at, place)
ORDER BY seq, place DESC
ON CONFLICT (seq) DO UPDATE SET type = excluded.type, message_id = excluded.message_id, body = excluded.body,
    lane = excluded.lane, state = excluded.state, attempts = excluded.attempts, next_at = excluded.next_at,
    error = excluded.error, changed_at = excluded.changed_at;

-- name: drop
DELETE FROM deliveries WHERE seq = ANY((SELECT ?::bigint[])::bigint[]);

-- name: free
UPDATE deliveries SET next_at = (?1::float8[])[1]
WHERE message_id = ANY(?2::bigint[]) AND state = 0 AND next_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM deliveries AS earlier
    WHERE earlier.state = 0 AND earlier.message_id = deliveries.message_id AND earlier.seq < deliveries.seq
);

-- name: relabel
UPDATE deliveries SET lane = about.lane FROM unnest((SELECT ?::text[]), (SELECT ?::bigint[])) AS about (lane, seq)
WHERE deliveries.seq = about.seq;

-- An event taken up again goes before the later ones of its message.
-- name: behind
UPDATE deliveries SET next_at = NULL WHERE state = 0 AND message_id = ANY((SELECT ?::bigint[])::bigint[]);

-- Heads are [message_id, seq]; what comes before each of them.
-- name: earlier
SELECT head, seq, type, message_id, body, lane, state, attempts, next_at, error FROM (
    SELECT (value->>0)::bigint AS message, (value->>1)::bigint AS head
    FROM json_array_elements(?1::json) AS heads (value)
) AS heads CROSS JOIN LATERAL (
    SELECT * FROM deliveries WHERE state = 0 AND message_id = message AND seq < head ORDER BY seq OFFSET 0
) AS waiting
UNION ALL
SELECT head, seq, type, message_id, body, lane, state, attempts, next_at, error FROM (
    SELECT (value->>0)::bigint AS message, (value->>1)::bigint AS head
    FROM json_array_elements(?1::json) AS heads (value)
) AS heads CROSS JOIN LATERAL (
    SELECT * FROM deliveries WHERE state = 1 AND message_id = message AND seq < head ORDER BY seq OFFSET 0
) AS parked;
