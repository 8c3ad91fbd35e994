-- name: message
SELECT {columns} FROM messages WHERE id = ?;

-- name: standing
SELECT state, account FROM messages WHERE id = ?;

-- name: list_all
SELECT {columns} FROM messages ORDER BY id DESC LIMIT ?;

-- name: list_new
SELECT {columns} FROM messages WHERE state = 0 ORDER BY id LIMIT ?;

-- name: list_pending
SELECT {columns} FROM messages WHERE state = 1 AND account = ? ORDER BY next_poll_at, id LIMIT ?;

-- name: list_finished
SELECT {columns} FROM messages WHERE state >= 2 AND state = 2 ORDER BY finished_at DESC, id DESC LIMIT ?;

-- name: list_set_aside
SELECT {columns} FROM messages WHERE state NOT IN (0, 1, 2, 3) AND state = 4 ORDER BY id DESC LIMIT ?;

-- name: count_set_aside
SELECT count(*) FROM (SELECT 1 FROM messages WHERE state NOT IN (0, 1, 2, 3) AND state = 4 LIMIT ?) AS found;

-- name: first_set_aside
SELECT id, next_reason FROM messages WHERE state NOT IN (0, 1, 2, 3) AND state = 4 ORDER BY id LIMIT ?;

-- name: list_gave_up
SELECT {columns} FROM messages WHERE state = 3 ORDER BY id DESC LIMIT ?;

-- name: first_seq
SELECT min(seq) FROM events;

-- name: events
SELECT seq, type, message_id, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: events_of_type
SELECT seq, type, message_id, body FROM events WHERE seq > ? AND type = ? ORDER BY seq LIMIT ?;

-- name: events_of_message
SELECT seq, type, message_id, body FROM events WHERE seq > ? AND message_id = ? ORDER BY seq LIMIT ?;

-- name: events_of_message_and_type
SELECT seq, type, message_id, body FROM events WHERE seq > ? AND message_id = ? AND type = ? ORDER BY seq LIMIT ?;

-- name: counters
SELECT name, value FROM counters;

-- name: count_new
SELECT count(*) FROM (SELECT 1 FROM messages WHERE state = 0 LIMIT ?) AS found;

-- A skip through the index: one step for each account, however many messages it has.
-- name: pending_accounts
WITH RECURSIVE found (name) AS (
    SELECT min(account) FROM messages WHERE state = 1
    UNION ALL
    SELECT (SELECT min(account) FROM messages WHERE state = 1 AND account > found.name)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;

-- name: count_due
SELECT count(*) FROM (
    SELECT 1 FROM messages WHERE state = 1 AND account = ? AND next_poll_at <= ? LIMIT ?
) AS found;

-- name: count_overdue
SELECT count(*) FROM (SELECT 1 FROM messages WHERE state = 1 AND overdue = 1 LIMIT ?) AS found;

-- name: next_poll
SELECT min(next_poll_at) FROM messages WHERE state = 1 AND account = ?;

-- name: accounts
SELECT name, CASE WHEN refusing AND held_reason IS NOT NULL THEN 'refusing' ELSE held_reason END, held_detail, held_since,
    held_until, credit, currency, credit_low
FROM accounts;

-- name: account
SELECT name, CASE WHEN refusing AND held_reason IS NOT NULL THEN 'refusing' ELSE held_reason END, held_detail, held_since,
    held_until, credit, currency, credit_low
FROM accounts WHERE name = ?;

-- name: count_gave_up
SELECT count(*) FROM messages WHERE state = 3;

-- name: outputs
SELECT name, seq, updated_at FROM outputs;

-- name: event_time
SELECT at FROM events WHERE seq > ? ORDER BY seq LIMIT 1;

-- name: count_requests
SELECT count(*) FROM requests;

-- name: hand_over_delays
SELECT taken_at - origin FROM (
    SELECT taken_at, origin FROM messages WHERE state >= 2 ORDER BY finished_at DESC LIMIT ?
) AS ended WHERE taken_at IS NOT NULL AND origin IS NOT NULL;
