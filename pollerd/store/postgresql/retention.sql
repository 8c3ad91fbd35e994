-- name: drop_message
DELETE FROM messages WHERE id = ANY(?::bigint[]) AND state >= 2;
