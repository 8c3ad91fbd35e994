-- Rows are [id, form, new]. A form is worth remembering for a message that is followed, or about to be.
-- name: changed
SELECT id FROM (
    SELECT (value->>0)::bigint AS id, nullif(value->1, 'null') AS form, (value->>2)::boolean AS new
    FROM jsonb_array_elements(?1::jsonb) AS rows (value)
) AS given
WHERE (new OR EXISTS (SELECT 1 FROM messages WHERE id = given.id))
    AND form IS DISTINCT FROM (SELECT written FROM source_ids WHERE source = ?2 AND id = given.id);

-- Rows are [source, id, database, form].
-- name: remember
INSERT INTO source_ids (source, id, database, written)
SELECT value->>0, (value->>1)::bigint, value->>2, value->3 FROM jsonb_array_elements(?::jsonb) AS rows (value)
ON CONFLICT (source, id) DO UPDATE SET database = excluded.database, written = excluded.written;

-- name: find
SELECT found.id, written FROM json_array_elements_text(?1::json) AS given (value) CROSS JOIN LATERAL (
    SELECT * FROM source_ids WHERE id = value::bigint ORDER BY id OFFSET 0
) AS found WHERE ?2::text IS NULL OR database = ?2;

-- name: forget
DELETE FROM source_ids USING unnest((SELECT ?::text[]), (SELECT ?::bigint[])) AS gone (source, id)
WHERE source_ids.source = gone.source AND source_ids.id = gone.id;

-- The outputs are found by a skip through the index, which begins with them. `LIMIT 1`: looked for one by one, not joined.
-- name: drop_unused
WITH RECURSIVE found (name) AS (
    (SELECT output FROM unwritten ORDER BY output LIMIT 1)
    UNION ALL
    SELECT (SELECT output FROM unwritten WHERE output > found.name ORDER BY output LIMIT 1)
    FROM found WHERE found.name IS NOT NULL
)
DELETE FROM source_ids WHERE id = ANY((SELECT ?1::bigint[])::bigint[])
    AND (SELECT id FROM messages WHERE id = source_ids.id LIMIT 1) IS NULL
    AND (SELECT seq FROM events WHERE message_id = source_ids.id ORDER BY seq LIMIT 1) IS NULL
    AND (
        SELECT seq FROM found CROSS JOIN LATERAL (
            SELECT seq FROM unwritten WHERE output = found.name AND message_id = source_ids.id ORDER BY recipient LIMIT 1
        ) AS unwritten LIMIT 1
    ) IS NULL;
