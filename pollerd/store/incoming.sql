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

-- name: old
SELECT id FROM incoming WHERE account = ? AND text_seq IS NULL AND found_at < ? LIMIT ?;
