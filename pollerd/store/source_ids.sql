-- name: any
SELECT EXISTS (SELECT 1 FROM source_ids WHERE source = ?);

-- name: forget
DELETE FROM source_ids WHERE source = ? AND id = ?;

-- name: drop_unused
DELETE FROM source_ids WHERE id = ?1
    AND NOT EXISTS (SELECT 1 FROM messages WHERE id = ?1)
    AND NOT EXISTS (SELECT 1 FROM events WHERE message_id = ?1)
    AND NOT EXISTS (SELECT 1 FROM unwritten WHERE message_id = ?1);
