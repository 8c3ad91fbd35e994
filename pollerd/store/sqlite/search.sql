-- name: find
SELECT {columns} FROM messages
WHERE id <= ?1 AND id >= ?2 AND (?3 IS NULL OR state = ?3) AND (?7 = 0 OR overdue = 1)
    AND (instr(lower(userref), ?4) > 0 OR (?5 IS NOT NULL AND instr(recipients, ?5) > 0))
ORDER BY id DESC LIMIT ?6;
