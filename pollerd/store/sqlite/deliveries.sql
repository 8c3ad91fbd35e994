-- name: blocked
SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM deliveries WHERE state = 0 AND message_id = value);
