-- Rows are [id, form, new]. A form is worth remembering for a message that is followed, or about to be.
-- name: changed
SELECT id FROM (
    SELECT (value->>0)::bigint AS id, nullif(value->1, 'null') AS form, (value->>2)::boolean AS new
    FROM jsonb_array_elements(?1::jsonb) AS rows (value)
) AS given
WHERE (new OR EXISTS (SELECT 1 FROM messages WHERE id = given.id))
    AND form IS DISTINCT FROM (SELECT written FROM source_ids WHERE source = ?2 AND id = given.id);

-- name: remember
INSERT INTO source_ids (source, id, database, written) VALUES (?, ?, ?, to_jsonb(?))
ON CONFLICT (source, id) DO UPDATE SET database = excluded.database, written = excluded.written;

-- name: find
SELECT id, written FROM source_ids
WHERE id IN (SELECT value::bigint FROM json_array_elements_text(?1::json) AS given (value))
    AND (?2::text IS NULL OR database = ?2);
