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
SELECT id, written FROM source_ids
WHERE id IN (SELECT value::bigint FROM json_array_elements_text(?1::json) AS given (value))
    AND (?2::text IS NULL OR database = ?2);

-- name: forget
DELETE FROM source_ids USING unnest((SELECT ?::text[]), (SELECT ?::bigint[])) AS gone (source, id)
WHERE source_ids.source = gone.source AND source_ids.id = gone.id;

-- name: drop_unused
DELETE FROM source_ids WHERE id = ANY((SELECT ?1::bigint[])::bigint[])
    AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.id = source_ids.id)
    AND NOT EXISTS (SELECT 1 FROM events WHERE message_id = source_ids.id)
    AND NOT EXISTS (SELECT 1 FROM unwritten WHERE message_id = source_ids.id);
