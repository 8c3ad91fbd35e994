-- name: drop_message
DELETE FROM messages WHERE id = ANY((SELECT ?::bigint[])::bigint[]) AND state + 0 >= 2;
