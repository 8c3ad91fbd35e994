-- Messages are rows of the values to insert. One statement for all: one for each would be parsed and planned each time.
-- name: insert_all
INSERT INTO messages (id, account, userref, sent_at, sendtime, priority, overdue_after)
SELECT (value->>0)::bigint, value->>1, value->>2, (value->>3)::float8, (value->>4)::float8, value->>5, (value->>6)::float8
FROM json_array_elements(?::json) AS given (value) ON CONFLICT DO NOTHING;

-- name: count_gave_up
SELECT count(*) FROM messages
WHERE state = 3 AND id IN (SELECT value::bigint FROM json_array_elements_text(?::json) AS given (value));

-- An account of NULL or '' is the default one, as `rows` reads it.
-- name: of_others
SELECT messages.id, coalesce(nullif(messages.account, ''), 'default')
FROM json_array_elements(?::json) AS given (value) JOIN messages ON messages.id = (given.value->>0)::bigint
WHERE coalesce(nullif(messages.account, ''), 'default') <> given.value->>1;
