-- name: any
SELECT EXISTS (SELECT 1 FROM source_ids WHERE source = ?);
