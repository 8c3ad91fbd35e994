-- A statement that ends with VALUES takes many rows at once; tables that are none are the views of `writing`. None says
-- what to do in a conflict: that would hold in the users' own triggers, too, in place of what they say themselves.
-- name: append
INSERT INTO events (seq, type, message_id, at, body) VALUES

-- name: touch
INSERT INTO touch VALUES

-- name: again
INSERT INTO again VALUES

-- name: answer
INSERT INTO answer VALUES

-- name: plan
INSERT INTO plan VALUES

-- name: settle
INSERT INTO settle VALUES

-- name: set_aside
UPDATE messages SET state = 4, next_poll_at = NULL, next_reason = ?, finished_at = NULL,
    account = CASE typeof(account) WHEN 'text' THEN account END
WHERE id = ? AND state IS NOT 4;

-- Many first plans that differ in nothing but the due time: first an object of due times by id, under a number, then what
-- they have in common.
-- name: plan_dues
INSERT INTO dues SELECT ?, CAST(key AS INTEGER), value FROM json_each(?);

-- name: plan_alike
UPDATE messages SET {alike}, next_poll_at = (SELECT at FROM dues WHERE number = ? AND dues.id = messages.id)
WHERE id IN (SELECT id FROM dues WHERE number = ?);

-- name: plan_done
DELETE FROM dues;

-- name: due
SELECT {columns} FROM messages
WHERE state = 1 AND account = ? AND next_poll_at >= ? AND (next_poll_at > ? OR id > ?) AND next_poll_at <= ?
ORDER BY next_poll_at, id LIMIT ?;

-- name: overdue
SELECT overdue_at, id FROM messages
WHERE state = 1 AND overdue IS NULL AND overdue_at IS NOT NULL AND account = ?1
    AND overdue_at >= ?2 AND (overdue_at > ?2 OR id > ?3) AND overdue_at <= ?4
ORDER BY overdue_at, id LIMIT ?5;

-- Where two indexes would do, the right one is named: what ANALYZE found, or the order in which the indexes were made,
-- leads SQLite through all pending messages.
-- name: due_urgent
SELECT {columns} FROM messages INDEXED BY messages_urgent
WHERE state = 1 AND account = ? AND priority IN ('URGENT', 'VERY_URGENT') AND priority = ? AND next_poll_at <= ?
ORDER BY next_poll_at LIMIT ?;

-- A skip through the index: one step for each account, however many messages it has.
-- name: overdue_accounts
WITH RECURSIVE found (name) AS (
    SELECT min(account) FROM messages INDEXED BY messages_overdue_at
    WHERE state = 1 AND overdue IS NULL AND overdue_at IS NOT NULL
    UNION ALL
    SELECT (SELECT min(account) FROM messages INDEXED BY messages_overdue_at
        WHERE state = 1 AND overdue IS NULL AND overdue_at IS NOT NULL AND account > found.name)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;

-- What no other statement finds: a state that is none, or a place in the schedule that is never read.
-- name: strange
WITH RECURSIVE found (name) AS (
    SELECT min(account) FROM messages INDEXED BY messages_due WHERE state = 1
    UNION ALL
    SELECT (SELECT min(account) FROM messages INDEXED BY messages_due WHERE state = 1 AND account > found.name)
    FROM found WHERE found.name IS NOT NULL
)
SELECT {columns} FROM messages INDEXED BY messages_strange WHERE state NOT IN (0, 1, 2, 3) AND state IS NOT 4
UNION ALL
SELECT {columns} FROM messages INDEXED BY messages_due WHERE state = 1 AND account IS NULL
UNION ALL
SELECT {columns} FROM messages INDEXED BY messages_due WHERE state = 1 AND account = ''
UNION ALL
SELECT {columns} FROM messages INDEXED BY messages_due WHERE state = 1 AND account >= x''
UNION ALL
SELECT {columns} FROM messages INDEXED BY messages_due
WHERE state = 1 AND account IN (SELECT name FROM found) AND next_poll_at IS NULL
UNION ALL
SELECT {columns} FROM messages INDEXED BY messages_due
WHERE state = 1 AND account IN (SELECT name FROM found) AND next_poll_at > ?1
LIMIT ?2;

-- name: count_latest
INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value);

-- name: last_seq
SELECT coalesce(
    (SELECT seq FROM sqlite_sequence WHERE name = 'events' AND typeof(seq) = 'integer'),
    max((SELECT coalesce(max(seq), 0) FROM events), (SELECT coalesce(max(seq), 0) FROM outputs WHERE typeof(seq) = 'integer'))
);

-- name: set_last_seq
UPDATE sqlite_sequence SET seq = ? WHERE name = 'events';

-- name: create_last_seq
INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?);

-- What was reported stays so, and what a message was given of its own stays its own.
-- name: set_overdue
UPDATE messages NOT INDEXED SET overdue_at = coalesce(origin, max(sent_at, coalesce(sendtime, 0.0))) + ?
WHERE id > ? AND id <= ? AND state = 1 AND account = ? AND overdue_after IS NULL AND overdue IS NULL;

-- name: unknown
SELECT count(*) FROM (
    SELECT 1 FROM messages INDEXED BY messages_unknown WHERE unknown = 1 AND state = 1 AND account = ? LIMIT ?
);

-- name: request_done
DELETE FROM requests WHERE id = ?;

-- name: counted_as
SELECT id, state, next_poll_at, sent_at FROM messages WHERE id IN (SELECT value FROM json_each(?));
