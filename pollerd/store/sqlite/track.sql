-- name: insert
INSERT OR IGNORE INTO messages (id, account, userref, sent_at, sendtime, priority, overdue_after)
VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: count_gave_up
SELECT count(*) FROM messages WHERE state = 3 AND id IN (SELECT value FROM json_each(?));

-- An account of NULL or '' is the default one, as `rows` reads it.
-- name: of_others
SELECT messages.id, coalesce(nullif(CAST(messages.account AS TEXT), ''), 'default')
FROM json_each(?) AS given JOIN messages ON messages.id = json_extract(given.value, '$[0]')
WHERE coalesce(nullif(CAST(messages.account AS TEXT), ''), 'default') <> json_extract(given.value, '$[1]');
