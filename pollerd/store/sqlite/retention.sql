-- name: drop_message
DELETE FROM messages WHERE id = ? AND state >= 2;
