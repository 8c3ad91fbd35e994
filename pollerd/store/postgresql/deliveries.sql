-- name: blocked
SELECT value::bigint FROM json_array_elements_text(?::json) AS given (value)
WHERE EXISTS (SELECT 1 FROM deliveries WHERE state = 0 AND message_id = value::bigint);
