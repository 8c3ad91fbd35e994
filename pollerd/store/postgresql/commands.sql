-- In the order of the ids: two that hand over the same ones must not wait for each other in a circle.
-- name: track
INSERT INTO messages (id, account, userref, sent_at, sendtime, priority, overdue_after)
SELECT value::bigint, ?2, ?3, ?4::float8, ?5::float8, ?6, ?7::float8
FROM json_array_elements_text(?1::json) AS given (value)
ORDER BY 1 ON CONFLICT DO NOTHING;

-- name: count_gave_up
SELECT count(*) FROM messages
WHERE state + 0 = 3 AND id IN (SELECT value::bigint FROM json_array_elements_text(?::json) AS given (value));

-- Its own, whatever others ask for meanwhile.
-- name: last_asked
SELECT currval(pg_get_serial_sequence('requests', 'id'));

-- name: ask
INSERT INTO requests (kind, message_id)
SELECT kind, message_id
FROM unnest(?::text[], ?::bigint[]) WITH ORDINALITY AS rows (kind, message_id, place) ORDER BY place;
