-- name: insert
INSERT INTO messages (id, account, userref, sent_at, sendtime, priority, overdue_after)
VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: count_gave_up
SELECT count(*) FROM messages
WHERE state = 3 AND id IN (SELECT value::bigint FROM json_array_elements_text(?::json) AS given (value));

-- An account of NULL or '' is the default one, as `rows` reads it.
-- name: of_others
SELECT messages.id, coalesce(nullif(messages.account, ''), 'default')
FROM json_array_elements(?::json) AS given (value) JOIN messages ON messages.id = (given.value->>0)::bigint
WHERE coalesce(nullif(messages.account, ''), 'default') <> given.value->>1;
