-- An event delays the later ones of its message that are of the same recipient, or of no single one as it may be itself.
-- What has a next_at is delayed by nothing: `rest` and `free` keep it so. The index is named where another one would make
-- each of many events cost a read of all.

-- name: left
SELECT EXISTS (SELECT 1 FROM unwritten WHERE output = ?);

-- name: unpark
UPDATE unwritten SET state = 0, attempts = 0, next_at = NULL, changed_at = ? WHERE state = 1;
