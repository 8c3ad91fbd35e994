-- Rows are [id, form, new]. A form is worth remembering for a message that is followed, or about to be.
-- name: changed
SELECT id FROM (
    SELECT json_extract(value, '$[0]') AS id, json_extract(value, '$[1]') AS form, json_extract(value, '$[2]') AS new
    FROM json_each(?1)
) AS given
WHERE (new OR EXISTS (SELECT 1 FROM messages WHERE id = given.id))
    AND form IS NOT (SELECT written FROM source_ids WHERE source = ?2 AND id = given.id);

-- Rows are [source, id, database, form].
-- name: remember
INSERT OR REPLACE INTO source_ids (source, id, database, written)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), json_extract(value, '$[3]')
FROM json_each(?);

-- name: find
SELECT id, written FROM source_ids WHERE id IN (SELECT value FROM json_each(?1)) AND (?2 IS NULL OR database = ?2);

-- name: forget
DELETE FROM source_ids WHERE source = ? AND id = ?;

-- The outputs are found by a skip through the index, which begins with them.
-- name: drop_unused
WITH RECURSIVE found (name) AS (
    SELECT min(output) FROM unwritten INDEXED BY unwritten_message
    UNION ALL
    SELECT (SELECT min(output) FROM unwritten INDEXED BY unwritten_message WHERE output > found.name)
    FROM found WHERE found.name IS NOT NULL
)
DELETE FROM source_ids WHERE id = ?1
    AND NOT EXISTS (SELECT 1 FROM messages WHERE id = ?1)
    AND NOT EXISTS (SELECT 1 FROM events WHERE message_id = ?1)
    AND NOT EXISTS (
        SELECT 1 FROM unwritten INDEXED BY unwritten_message
        WHERE output IN (SELECT name FROM found) AND message_id = ?1
    );
