-- The newest event about each recipient, for applications; the same view is in PostgreSQL.
CREATE VIEW statuses AS
SELECT message_id AS id,
    json_extract(CAST(body AS TEXT), '$.account') AS account,
    json_extract(CAST(body AS TEXT), '$.userref') AS userref,
    json_extract(CAST(body AS TEXT), '$.msisdn') AS msisdn,
    json_extract(CAST(body AS TEXT), '$.status') AS status,
    json_extract(CAST(body AS TEXT), '$.final') AS final,
    json_extract(CAST(body AS TEXT), '$.time') AS time,
    json_extract(CAST(body AS TEXT), '$.error') AS error
FROM events
WHERE type = 'message.status' AND NOT EXISTS (
    SELECT 1 FROM events AS later
    WHERE later.message_id = events.message_id AND later.seq > events.seq AND later.type = 'message.status'
        AND json_extract(CAST(later.body AS TEXT), '$.msisdn') IS json_extract(CAST(events.body AS TEXT), '$.msisdn')
);
