-- `state + 0` is in no index: where the events of a message are looked for, those of the state alone would lead through all.
-- name: next_at
SELECT (SELECT next_at FROM unwritten WHERE output = ? AND state = 0 AND next_at IS NOT NULL ORDER BY next_at LIMIT 1);

-- What was planned later than now was planned by a clock that was wrong.
-- name: due
SELECT output, seq, type, message_id, recipient, subject, body, state, attempts, next_at, error FROM (
    SELECT * FROM unwritten WHERE output = ?1 AND state = 0 AND next_at <= ?2 ORDER BY next_at, seq LIMIT ?4
) AS first
UNION
SELECT output, seq, type, message_id, recipient, subject, body, state, attempts, next_at, error FROM (
    SELECT * FROM unwritten WHERE output = ?1 AND state = 0 AND changed_at > ?2 AND next_at IS NOT NULL LIMIT ?4
) AS misplanned
UNION
SELECT output, seq, type, message_id, recipient, subject, body, state, attempts, next_at, error FROM (
    SELECT * FROM unwritten
    WHERE output = ?1 AND message_id IN (SELECT value::bigint FROM json_array_elements_text(?3::json) AS given (value))
        AND state = 0 AND next_at IS NOT NULL LIMIT ?4
) AS hurried;

-- Heads are [message_id, recipient, seq].
-- name: following
SELECT output, seq, type, message_id, recipient, subject, body, state, attempts, next_at, error FROM (
    SELECT (value->>0)::bigint AS message, (value->>1)::bigint AS who, (value->>2)::bigint AS head
    FROM json_array_elements(?2::json) AS heads (value)
) AS heads JOIN unwritten AS event
    ON output = ?1 AND message_id = message AND recipient = who AND seq > head AND state + 0 = 0
WHERE NOT EXISTS (
    SELECT 1 FROM unwritten AS other
    WHERE other.output = ?1 AND other.message_id = message AND other.recipient = 0 AND who <> 0
        AND other.state + 0 = 0 AND other.seq > head AND other.seq < event.seq
) AND (who <> 0 OR NOT EXISTS (
    SELECT 1 FROM unwritten AS other
    WHERE other.output = ?1 AND other.message_id = message AND other.recipient <> 0
        AND other.state + 0 = 0 AND other.seq > head AND other.seq < event.seq
)) ORDER BY seq LIMIT ?3;

-- Events are [seq, message_id, recipient].
-- name: held_up
SELECT (value->>0)::bigint FROM json_array_elements(?2::json) AS events (value)
WHERE EXISTS (
    SELECT 1 FROM unwritten
    WHERE output = ?1 AND message_id = (value->>1)::bigint AND recipient IN (0, (value->>2)::bigint) AND state + 0 = 0
) OR ((value->>2)::bigint = 0 AND EXISTS (
    SELECT 1 FROM unwritten WHERE output = ?1 AND message_id = (value->>1)::bigint AND state + 0 = 0
));

-- Events are [message_id, recipient, subject, seq].
-- name: superseded
SELECT output, seq, type, message_id, unwritten.recipient, unwritten.subject, body, state, attempts, next_at,
    error FROM (
    SELECT (value->>0)::bigint AS message, (value->>1)::bigint AS who, value->>2 AS what, (value->>3)::bigint AS head
    FROM json_array_elements(?2::json) AS events (value)
) AS written JOIN unwritten
    ON output = ?1 AND message_id = message AND recipient = who AND subject = what AND seq < head;

-- Another output's message with the same number may be among them: what is in order there stays as it is.
-- name: rest
UPDATE unwritten SET next_at = NULL
WHERE output = ANY(?::text[]) AND message_id = ANY(?::bigint[]) AND state + 0 = 0 AND next_at IS NOT NULL AND (
    EXISTS (
        SELECT 1 FROM unwritten AS earlier
        WHERE earlier.output = unwritten.output AND earlier.message_id = unwritten.message_id
            AND earlier.recipient IN (0, unwritten.recipient) AND earlier.seq < unwritten.seq AND earlier.state + 0 = 0
    ) OR (recipient = 0 AND EXISTS (
        SELECT 1 FROM unwritten AS earlier
        WHERE earlier.output = unwritten.output AND earlier.message_id = unwritten.message_id
            AND earlier.seq < unwritten.seq AND earlier.state + 0 = 0
    ))
);

-- name: free
UPDATE unwritten SET next_at = (?3::float8[])[1]
WHERE output = ANY(?1::text[]) AND message_id = ANY(?2::bigint[]) AND state + 0 = 0 AND next_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM unwritten AS earlier
    WHERE earlier.output = unwritten.output AND earlier.message_id = unwritten.message_id
        AND earlier.recipient IN (0, unwritten.recipient) AND earlier.seq < unwritten.seq AND earlier.state + 0 = 0
) AND (recipient <> 0 OR NOT EXISTS (
    SELECT 1 FROM unwritten AS earlier
    WHERE earlier.output = unwritten.output AND earlier.message_id = unwritten.message_id
        AND earlier.seq < unwritten.seq AND earlier.state + 0 = 0
));

-- Parked for long enough, or of an output that is not configured any more. The outputs are found by skips through the index.
-- name: forgotten
WITH RECURSIVE parked (name) AS (
    (SELECT output FROM unwritten WHERE state = 1 ORDER BY output LIMIT 1)
    UNION ALL
    SELECT (SELECT output FROM unwritten WHERE state = 1 AND output > parked.name ORDER BY output LIMIT 1)
    FROM parked WHERE parked.name IS NOT NULL
), waiting (name) AS (
    (SELECT output FROM unwritten WHERE state = 0 ORDER BY output LIMIT 1)
    UNION ALL
    SELECT (SELECT output FROM unwritten WHERE state = 0 AND output > waiting.name ORDER BY output LIMIT 1)
    FROM waiting WHERE waiting.name IS NOT NULL
)
SELECT seq, output, message_id FROM parked CROSS JOIN LATERAL (
    SELECT * FROM unwritten WHERE state = 1 AND output = parked.name AND changed_at < ?1 ORDER BY changed_at LIMIT ?3
) AS given_up
UNION ALL
SELECT seq, output, message_id FROM waiting CROSS JOIN LATERAL (
    SELECT * FROM unwritten WHERE state = 0 AND output = waiting.name AND changed_at < ?1 ORDER BY changed_at LIMIT ?3
) AS left_behind
WHERE waiting.name NOT IN (SELECT * FROM json_array_elements_text(?2::json))
LIMIT ?3;

-- name: keep
INSERT INTO unwritten (output, seq, type, message_id, recipient, subject, body, state,
    attempts, next_at, error, changed_at)
SELECT DISTINCT ON (seq, output) output, seq, type, message_id, recipient, subject,
    body, state, attempts, next_at, error, changed_at FROM unnest(
    ?::text[], ?::bigint[], ?::text[], ?::bigint[], ?::bigint[], ?::text[], ?::bytea[], ?::smallint[], ?::integer[],
    ?::float8[], ?::text[], ?::float8[]
) WITH ORDINALITY AS rows (output, seq, type, message_id, recipient, subject, body,
    state, attempts, next_at, error, changed_at, place)
ORDER BY seq, output, place DESC
ON CONFLICT (seq, output) DO UPDATE SET type = excluded.type, message_id = excluded.message_id,
    recipient = excluded.recipient, subject = excluded.subject, body = excluded.body, state = excluded.state,
    attempts = excluded.attempts, next_at = excluded.next_at, error = excluded.error, changed_at = excluded.changed_at;

-- name: drop
DELETE FROM unwritten USING unnest((SELECT ?::bigint[]), (SELECT ?::text[])) AS gone (seq, output)
WHERE unwritten.seq = gone.seq AND unwritten.output = gone.output;

-- name: parked_messages
SELECT DISTINCT output, message_id FROM unwritten WHERE state = 1;
