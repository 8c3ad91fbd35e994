-- Incoming messages that were found: what is here is not reported again. text_seq: the event whose body has its text,
-- NULL where it was not reported, and once the text is removed.
CREATE TABLE incoming (
    account  TEXT NOT NULL,
    id       INTEGER NOT NULL,
    found_at REAL NOT NULL,
    text_seq INTEGER,
    PRIMARY KEY (account, id)
) WITHOUT ROWID;
CREATE INDEX incoming_texts ON incoming (account, found_at) WHERE text_seq IS NOT NULL;
CREATE INDEX incoming_found ON incoming (account, found_at) WHERE text_seq IS NULL;

-- What is reported is remembered in the same transaction.
CREATE TRIGGER incoming_reported AFTER INSERT ON events WHEN NEW.type = 'message.received'
BEGIN
    INSERT INTO incoming (account, id, found_at, text_seq) VALUES (
        json_extract(CAST(NEW.body AS TEXT), '$.account'), json_extract(CAST(NEW.body AS TEXT), '$.incoming_id'),
        NEW.at, NEW.seq
    ) ON CONFLICT DO NOTHING;
END;
