-- name: page_all
SELECT {columns} FROM messages WHERE id <= ? ORDER BY id DESC LIMIT ?;

-- name: page_gave_up
SELECT {columns} FROM messages WHERE state = 3 AND id <= ? ORDER BY id DESC LIMIT ?;

-- name: page_set_aside
SELECT {columns} FROM messages WHERE state NOT IN (0, 1, 2, 3) AND state = 4 AND id <= ? ORDER BY id DESC LIMIT ?;

-- name: page_finished
SELECT {columns} FROM messages
WHERE state >= 2 AND state = 2 AND finished_at <= ?1 AND (finished_at < ?1 OR id < ?2)
ORDER BY finished_at DESC, id DESC LIMIT ?3;

-- name: page_new
SELECT {columns} FROM messages WHERE state = 0 AND id > ? ORDER BY id LIMIT ?;

-- name: page_pending
SELECT {columns} FROM messages
WHERE state = 1 AND account = ?1 AND next_poll_at >= ?2 AND (next_poll_at > ?2 OR id > ?3)
ORDER BY next_poll_at, id LIMIT ?4;

-- name: page_overdue
SELECT {columns} FROM messages
WHERE state = 1 AND overdue = 1 AND overdue_at >= ?1 AND (overdue_at > ?1 OR id > ?2)
ORDER BY overdue_at, id LIMIT ?3;
