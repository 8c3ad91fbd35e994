-- name: set_aside
UPDATE messages SET state = 4, next_poll_at = NULL, next_reason = about.why, finished_at = NULL
FROM unnest((SELECT ?::text[]), (SELECT ?::bigint[])) AS about (why, id) WHERE messages.id = about.id AND state <> 4;

-- The planner has found nothing out about a table that was filled a moment ago, or something that is not so any more, and
-- would read all pending messages. So each question has a form that only the right index answers: an order that it has
-- (`WITH TIES` gives what the rest of an order needs), or `state + 0`, which is no index's, where rows are found by id.
-- name: due
SELECT {columns} FROM (
    SELECT * FROM messages
    WHERE state = 1 AND account = ?1 AND next_poll_at >= ?2 AND (next_poll_at > ?3 OR id > ?4) AND next_poll_at <= ?5
    ORDER BY next_poll_at FETCH FIRST (?6) ROWS WITH TIES
) AS first ORDER BY next_poll_at, id LIMIT ?6;

-- name: due_urgent
SELECT {columns} FROM messages
WHERE state = 1 AND account = ? AND priority IN ('URGENT', 'VERY_URGENT') AND priority = ? AND next_poll_at <= ?
ORDER BY next_poll_at LIMIT ?;

-- name: overdue
SELECT overdue_at, id FROM (
    SELECT overdue_at, id FROM messages
    WHERE state = 1 AND overdue IS NULL AND overdue_at IS NOT NULL AND account = ?1
        AND overdue_at >= ?2 AND (overdue_at > ?2 OR id > ?3) AND overdue_at <= ?4
    ORDER BY overdue_at FETCH FIRST (?5) ROWS WITH TIES
) AS first ORDER BY overdue_at, id LIMIT ?5;

-- A skip through the index: one step for each account, however many messages it has.
-- name: overdue_accounts
WITH RECURSIVE found (name) AS (
    (SELECT account FROM messages
        WHERE state = 1 AND overdue IS NULL AND overdue_at IS NOT NULL AND account IS NOT NULL ORDER BY account LIMIT 1)
    UNION ALL
    SELECT (SELECT account FROM messages
        WHERE state = 1 AND overdue IS NULL AND overdue_at IS NOT NULL AND account > found.name ORDER BY account LIMIT 1)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;

-- What no other statement finds: a state that is none, or a place in the schedule that is never read.
-- name: strange
WITH RECURSIVE found (name) AS (
    (SELECT account FROM messages WHERE state = 1 AND account IS NOT NULL ORDER BY account LIMIT 1)
    UNION ALL
    SELECT (SELECT account FROM messages WHERE state = 1 AND account > found.name ORDER BY account LIMIT 1)
    FROM found WHERE found.name IS NOT NULL
)
(SELECT {columns} FROM messages WHERE state NOT IN (0, 1, 2, 3) AND state <> 4 ORDER BY id LIMIT ?2)
UNION ALL
SELECT {columns} FROM messages WHERE state = 1 AND account IS NULL
UNION ALL
SELECT {columns} FROM messages WHERE state = 1 AND account = ''
UNION ALL
SELECT {columns} FROM found CROSS JOIN LATERAL (
    SELECT * FROM messages WHERE state = 1 AND account = found.name AND next_poll_at IS NULL LIMIT ?2
) AS unplanned
UNION ALL
SELECT {columns} FROM found CROSS JOIN LATERAL (
    SELECT * FROM messages WHERE state = 1 AND account = found.name AND next_poll_at > ?1 LIMIT ?2
) AS unreached
LIMIT ?2;

-- name: count_latest
INSERT INTO counters (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = greatest(counters.value, excluded.value);

-- name: last_seq
SELECT last_seq FROM cluster;

-- name: set_last_seq
WITH jumped AS (
    INSERT INTO jumps (upto, after) SELECT ?1, last_seq FROM cluster WHERE last_seq < ?1 ON CONFLICT DO NOTHING
)
UPDATE cluster SET last_seq = greatest(last_seq, ?1);

-- What was reported stays so, and what a message was given of its own stays its own.
-- name: set_overdue
UPDATE messages SET overdue_at = coalesce(origin, greatest(sent_at, coalesce(sendtime, 0.0))) + ?
WHERE id > ? AND id <= ? AND state + 0 = 1 AND account = ? AND overdue_after IS NULL AND overdue IS NULL;

-- name: unknown
SELECT count(*) FROM (SELECT 1 FROM messages WHERE unknown AND state = 1 AND account = ? LIMIT ?) AS found;

-- What others have left that nobody has dealt with.
-- name: left_by_others
SELECT EXISTS (SELECT 1 FROM requests)
    OR (SELECT id FROM messages WHERE state = 0 ORDER BY id LIMIT 1) IS NOT NULL
    OR (SELECT id FROM messages WHERE state NOT IN (0, 1, 2, 3) AND state <> 4 ORDER BY id LIMIT 1) IS NOT NULL;

-- name: request_done
DELETE FROM requests WHERE id = ANY((SELECT ?::bigint[])::bigint[]);

-- name: counted_as
SELECT id, state, next_poll_at, sent_at FROM messages
WHERE id = ANY(ARRAY(SELECT value::bigint FROM json_array_elements_text(?::json) AS given (value)));
