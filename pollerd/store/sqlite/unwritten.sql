-- What was planned later than now was planned by a clock that was wrong.
-- name: due
SELECT output, seq, type, message_id, recipient, subject, body, state, attempts, next_at, error FROM (
    SELECT * FROM unwritten INDEXED BY unwritten_due
    WHERE output = ?1 AND state = 0 AND next_at <= ?2 ORDER BY next_at, seq LIMIT ?4
)
UNION
SELECT output, seq, type, message_id, recipient, subject, body, state, attempts, next_at, error FROM (
    SELECT * FROM unwritten INDEXED BY unwritten_waiting
    WHERE output = ?1 AND state = 0 AND changed_at > ?2 AND next_at IS NOT NULL LIMIT ?4
)
UNION
SELECT output, seq, type, message_id, recipient, subject, body, state, attempts, next_at, error FROM (
    SELECT * FROM unwritten INDEXED BY unwritten_message
    WHERE output = ?1 AND message_id IN (SELECT value FROM json_each(?3)) AND state = 0 AND next_at IS NOT NULL LIMIT ?4
);

-- Heads are [message_id, recipient, seq].
-- name: following
SELECT output, seq, type, message_id, recipient, subject, body, state, attempts, next_at, error FROM (
    SELECT json_extract(value, '$[0]') AS message, json_extract(value, '$[1]') AS who,
        json_extract(value, '$[2]') AS head
    FROM json_each(?2)
) CROSS JOIN unwritten AS event INDEXED BY unwritten_message
WHERE output = ?1 AND message_id = message AND recipient = who AND seq > head AND state = 0 AND NOT EXISTS (
    SELECT 1 FROM unwritten AS other INDEXED BY unwritten_message
    WHERE other.output = ?1 AND other.message_id = message AND other.recipient = 0 AND who <> 0
        AND other.state = 0 AND other.seq > head AND other.seq < event.seq
) AND (who <> 0 OR NOT EXISTS (
    SELECT 1 FROM unwritten AS other INDEXED BY unwritten_message
    WHERE other.output = ?1 AND other.message_id = message AND other.recipient <> 0
        AND other.state = 0 AND other.seq > head AND other.seq < event.seq
)) ORDER BY seq LIMIT ?3;

-- Events are [seq, message_id, recipient].
-- name: held_up
SELECT json_extract(value, '$[0]') FROM json_each(?2)
WHERE EXISTS (
    SELECT 1 FROM unwritten INDEXED BY unwritten_message
    WHERE output = ?1 AND message_id = json_extract(value, '$[1]') AND recipient IN (0, json_extract(value, '$[2]'))
        AND state = 0
) OR (json_extract(value, '$[2]') = 0 AND EXISTS (
    SELECT 1 FROM unwritten INDEXED BY unwritten_message
    WHERE output = ?1 AND message_id = json_extract(value, '$[1]') AND state = 0
));

-- Events are [message_id, recipient, subject, seq].
-- name: superseded
SELECT output, seq, type, message_id, recipient, subject, body, state, attempts, next_at, error FROM (
    SELECT json_extract(value, '$[0]') AS message, json_extract(value, '$[1]') AS who,
        json_extract(value, '$[2]') AS what,
        json_extract(value, '$[3]') AS head
    FROM json_each(?2)
) CROSS JOIN unwritten INDEXED BY unwritten_message
WHERE output = ?1 AND message_id = message AND recipient = who AND subject = what AND seq < head;

-- name: rest
UPDATE unwritten INDEXED BY unwritten_message SET next_at = NULL
WHERE output = ?1 AND message_id = ?2 AND state = 0 AND next_at IS NOT NULL AND (
    EXISTS (
        SELECT 1 FROM unwritten AS earlier INDEXED BY unwritten_message
        WHERE earlier.output = ?1 AND earlier.message_id = ?2 AND earlier.recipient IN (0, unwritten.recipient)
            AND earlier.seq < unwritten.seq AND earlier.state = 0
    ) OR (recipient = 0 AND EXISTS (
        SELECT 1 FROM unwritten AS earlier INDEXED BY unwritten_message
        WHERE earlier.output = ?1 AND earlier.message_id = ?2 AND earlier.seq < unwritten.seq AND earlier.state = 0
    ))
);

-- name: free
UPDATE unwritten INDEXED BY unwritten_message SET next_at = ?3
WHERE output = ?1 AND message_id = ?2 AND state = 0 AND next_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM unwritten AS earlier INDEXED BY unwritten_message
    WHERE earlier.output = ?1 AND earlier.message_id = ?2 AND earlier.recipient IN (0, unwritten.recipient)
        AND earlier.seq < unwritten.seq AND earlier.state = 0
) AND (recipient <> 0 OR NOT EXISTS (
    SELECT 1 FROM unwritten AS earlier INDEXED BY unwritten_message
    WHERE earlier.output = ?1 AND earlier.message_id = ?2 AND earlier.seq < unwritten.seq AND earlier.state = 0
));

-- Parked for long enough, or of an output that is not configured any more. The outputs are found by skips through the index.
-- name: forgotten
WITH RECURSIVE parked (name) AS (
    SELECT min(output) FROM unwritten INDEXED BY unwritten_parked WHERE state = 1
    UNION ALL
    SELECT (SELECT min(output) FROM unwritten INDEXED BY unwritten_parked WHERE state = 1 AND output > parked.name)
    FROM parked WHERE parked.name IS NOT NULL
), waiting (name) AS (
    SELECT min(output) FROM unwritten INDEXED BY unwritten_waiting WHERE state = 0
    UNION ALL
    SELECT (SELECT min(output) FROM unwritten INDEXED BY unwritten_waiting WHERE state = 0 AND output > waiting.name)
    FROM waiting WHERE waiting.name IS NOT NULL
)
SELECT seq, output, message_id FROM unwritten INDEXED BY unwritten_parked
WHERE state = 1 AND output IN (SELECT name FROM parked) AND changed_at < ?1
UNION ALL
SELECT seq, output, message_id FROM unwritten INDEXED BY unwritten_waiting
WHERE state = 0 AND output IN (SELECT name FROM waiting WHERE name NOT IN (SELECT value FROM json_each(?2)))
    AND changed_at < ?1
LIMIT ?3;

-- name: keep
INSERT INTO unwritten (output, seq, type, message_id, recipient, subject, body, state,
    attempts, next_at, error, changed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (seq, output) DO UPDATE SET type = excluded.type, message_id = excluded.message_id,
    recipient = excluded.recipient, subject = excluded.subject, body = excluded.body, state = excluded.state,
    attempts = excluded.attempts, next_at = excluded.next_at, error = excluded.error, changed_at = excluded.changed_at;

-- name: drop
DELETE FROM unwritten WHERE seq = ? AND output = ?;

-- name: parked_messages
SELECT DISTINCT output, message_id FROM unwritten INDEXED BY unwritten_parked WHERE state = 1;

-- name: next_at
SELECT min(next_at) FROM unwritten WHERE output = ? AND state = 0 AND next_at IS NOT NULL;
