-- A parked event is looked up by its message: a later one about the same thing supersedes it.
CREATE INDEX deliveries_parked_message ON deliveries (message_id, seq) WHERE state = 1;

-- What versions before this one have left parked though a later state of the same recipient was taken: to post it now
-- would bring the old state back.
DELETE FROM deliveries WHERE state = 1 AND type = 'message.status' AND EXISTS (
    SELECT 1 FROM events AS later
    WHERE later.message_id = deliveries.message_id AND later.seq > deliveries.seq AND later.type = deliveries.type
        AND json_extract(CAST(later.body AS TEXT), '$.msisdn') = json_extract(CAST(deliveries.body AS TEXT), '$.msisdn')
        AND later.seq <= (SELECT max(seq) FROM outputs WHERE name = 'webhook')
        AND NOT EXISTS (SELECT 1 FROM deliveries AS kept WHERE kept.seq = later.seq AND kept.state <> 2)
);
