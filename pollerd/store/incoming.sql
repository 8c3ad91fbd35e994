-- name: remember
INSERT INTO incoming (account, id, found_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING;

-- A skip through the index: one step for each account, however many texts it has.
-- name: accounts
WITH RECURSIVE found (name) AS (
    SELECT min(account) FROM incoming WHERE text_seq IS NOT NULL
    UNION ALL
    SELECT (SELECT min(account) FROM incoming WHERE text_seq IS NOT NULL AND account > found.name)
    FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;

-- name: texts
SELECT id, text_seq FROM incoming
WHERE account = ? AND text_seq IS NOT NULL AND found_at < ? ORDER BY found_at LIMIT ?;

-- name: removed
UPDATE incoming SET text_seq = NULL WHERE account = ? AND id = ?;

-- name: events
SELECT body FROM events WHERE seq = ? AND type = 'message.received';

-- name: deliveries
SELECT body FROM deliveries WHERE seq = ? AND type = 'message.received' AND length(body) > 0;

-- name: unwritten
SELECT body FROM unwritten WHERE seq = ? AND type = 'message.received' LIMIT 1;

-- name: write_deliveries
UPDATE deliveries SET body = ? WHERE seq = ?;

-- name: write_unwritten
UPDATE unwritten SET body = ? WHERE seq = ?;

-- name: old
SELECT id FROM incoming WHERE account = ? AND text_seq IS NULL AND found_at < ? LIMIT ?;

-- name: forget
DELETE FROM incoming WHERE account = ? AND id = ?;
