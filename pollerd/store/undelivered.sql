-- What is kept of all outputs: by the webhook's receivers, and by outputs into databases.

-- name: list
SELECT seq, type, message_id, body, lane, state, attempts, next_at, error, 'webhook' AS output FROM deliveries
WHERE state <> 2 AND (seq, 'webhook') > (?1, ?2)
UNION ALL
SELECT seq, type, message_id, body, '', state, attempts, next_at, error, output FROM unwritten
WHERE (seq, output) > (?1, ?2)
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
