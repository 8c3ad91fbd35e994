-- In the order of the ids: two that hand over the same ones must not wait for each other in a circle.
-- name: insert
INSERT INTO messages (id, account, userref, sent_at, sendtime, priority, overdue_after)
SELECT id, account, userref, sent_at, sendtime, priority, overdue_after FROM unnest(
    ?::bigint[], ?::text[], ?::text[], ?::float8[], ?::float8[], ?::text[], ?::float8[]
) WITH ORDINALITY AS rows (id, account, userref, sent_at, sendtime, priority, overdue_after, place)
ORDER BY id, place ON CONFLICT DO NOTHING;

-- name: count_gave_up
SELECT count(*) FROM messages
WHERE state + 0 = 3 AND id IN (SELECT value::bigint FROM json_array_elements_text(?::json) AS given (value));

-- An account of NULL or '' is the default one, as `rows` reads it.
-- name: of_others
SELECT messages.id, coalesce(nullif(messages.account, ''), 'default')
FROM json_array_elements(?::json) AS given (value) JOIN messages ON messages.id = (given.value->>0)::bigint
WHERE coalesce(nullif(messages.account, ''), 'default') <> given.value->>1;
