-- name: find
SELECT {columns} FROM messages
WHERE id <= ?1 AND id >= ?2 AND (?3::smallint IS NULL OR state = ?3) AND (?7::boolean IS NOT TRUE OR overdue = 1)
    AND (position(?4::text IN lower(userref COLLATE "C")) > 0 OR (?5::bytea IS NOT NULL AND position(?5::bytea IN recipients) > 0))
ORDER BY id DESC LIMIT ?6;
