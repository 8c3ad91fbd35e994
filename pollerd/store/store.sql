-- name: count_age
INSERT INTO pending_by_age (slot, count) VALUES (?, ?)
ON CONFLICT (slot) DO UPDATE SET count = pending_by_age.count + excluded.count;

-- name: count
INSERT INTO counters (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value;

-- The credit has its own statement: whoever saves a hold knows only an old one.
-- name: save_account
INSERT INTO accounts (name, held_reason, held_detail, held_since, held_until, held_total, credit, currency,
    credit_low, credit_at, trusting, refusal, refusing) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET held_reason = excluded.held_reason, held_detail = excluded.held_detail,
    held_since = excluded.held_since, held_until = excluded.held_until, held_total = excluded.held_total,
    trusting = excluded.trusting, refusal = excluded.refusal, refusing = excluded.refusing;

-- name: save_credit
INSERT INTO accounts (name, credit, currency, credit_low, credit_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET credit = excluded.credit, currency = excluded.currency,
    credit_low = excluded.credit_low, credit_at = excluded.credit_at;

-- name: save_cursor
INSERT INTO outputs (name, seq, detail, updated_at) VALUES (?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, detail = excluded.detail, updated_at = excluded.updated_at;

-- name: requests
SELECT id, kind, message_id FROM requests ORDER BY id LIMIT ?;

-- name: cursor
SELECT name, seq, detail FROM outputs WHERE name = ?;

-- name: accounts
SELECT name, CASE WHEN refusing AND held_reason IS NOT NULL THEN 'refusing' ELSE held_reason END, held_detail, held_since,
    held_until, held_total, credit, currency, credit_low, credit_at, trusting, refusal
FROM accounts;

-- name: kept_seqs
SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events);

-- name: events_after
SELECT seq, type, message_id, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: due_latest
SELECT {columns} FROM messages
WHERE state = 1 AND account = ? AND next_poll_at <= ? ORDER BY next_poll_at DESC LIMIT ?;

-- name: stretch
SELECT max(id) FROM (SELECT id FROM messages WHERE id > ? ORDER BY id LIMIT ?) AS found;

-- name: new
SELECT {columns} FROM messages WHERE state = 0 ORDER BY id LIMIT ?;

-- The same for rows that hold nothing else, as nearly every new one; the last column says whether it does.
-- name: handed_over
SELECT {handed_over}, polls = 0 AND misses = 0 AND strikes = 0 AND frozen_at = 0.0 AND next_poll_at IS NULL
    AND next_reason IS NULL AND base IS NULL AND first_poll_at IS NULL AND last_poll_at IS NULL AND last_answer IS NULL
    AND seen_at IS NULL AND validity IS NULL AND finished_at IS NULL AND recipients IS NULL AND trail IS NULL
    AND origin IS NULL AND taken_at IS NULL AND refused_since IS NULL AND gave_up_for IS NULL AND resumed_at IS NULL
    AND overdue_at IS NULL AND overdue IS NULL
FROM messages WHERE state = 0 ORDER BY id LIMIT ?;

-- name: message
SELECT {columns} FROM messages WHERE id = ?;

-- What was seen and then refused in the same way, and was not taken up again for that reason before.
-- name: refused
SELECT {columns} FROM messages
WHERE state >= 2 AND state = 3 AND account = ? AND last_answer = ? AND gave_up_for IN ('not_found', 'rejected_request')
    AND seen_at IS NOT NULL AND resumed_at IS NULL AND finished_at >= ? AND (finished_at > ? OR id > ?)
ORDER BY finished_at, id LIMIT ?;

-- name: gave_up
SELECT id FROM messages WHERE state = 3 AND id > ? ORDER BY id LIMIT ?;

-- name: counters
SELECT name, value FROM counters;

-- name: get_meta
SELECT value FROM meta WHERE name = ?;

-- name: set_meta
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: pending
SELECT {columns} FROM messages WHERE state = 1 AND id > ? ORDER BY id LIMIT ?;
