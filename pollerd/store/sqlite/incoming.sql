-- name: known
SELECT id FROM incoming WHERE account = ?1 AND id IN (SELECT value FROM json_each(?2));

-- name: write_events
UPDATE events SET body = ? WHERE seq = ?;
