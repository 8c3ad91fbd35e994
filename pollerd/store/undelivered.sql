-- What is kept of all outputs: by the webhook's receivers, and by outputs into databases.

-- The first ones of each, so that not all of them are put in order.
-- name: list
SELECT * FROM (
    SELECT seq, type, message_id, body, lane, state, attempts, next_at, error, 'webhook' AS output FROM deliveries
    WHERE state <> 2 AND seq >= ?1 AND (seq > ?1 OR 'webhook' > ?2) ORDER BY seq LIMIT ?3
) AS posted
UNION ALL
SELECT * FROM (
    SELECT seq, type, message_id, body, '', state, attempts, next_at, error, output FROM unwritten
    WHERE (seq, output) > (?1, ?2) ORDER BY seq, output LIMIT ?3
) AS written
ORDER BY seq, output LIMIT ?3;

-- name: count
SELECT output, state, count(*) FROM (
    SELECT * FROM (SELECT 'webhook' AS output, state FROM deliveries WHERE state = 0 LIMIT ?1) AS w0
    UNION ALL
    SELECT * FROM (SELECT 'webhook', state FROM deliveries WHERE state = 1 LIMIT ?1) AS w1
    UNION ALL
    SELECT * FROM (SELECT output, 0 FROM unwritten WHERE state = 0 LIMIT ?1) AS u0
    UNION ALL
    SELECT * FROM (SELECT output, 1 FROM unwritten WHERE state = 1 LIMIT ?1) AS u1
) AS kept GROUP BY 1, 2;
