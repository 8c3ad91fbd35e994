-- Incoming messages that were found, as in SQLite's 0015_incoming.sql.
CREATE TABLE incoming (
    account  text NOT NULL,
    id       bigint NOT NULL,
    found_at double precision NOT NULL,
    text_seq bigint,
    PRIMARY KEY (account, id)
);
CREATE INDEX incoming_texts ON incoming (account, found_at) WHERE text_seq IS NOT NULL;
CREATE INDEX incoming_found ON incoming (account, found_at) WHERE text_seq IS NULL;

CREATE FUNCTION incoming_reported() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO incoming (account, id, found_at, text_seq)
    VALUES (NEW.body->>'account', (NEW.body->>'incoming_id')::bigint, NEW.at, NEW.seq) ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER incoming_reported AFTER INSERT ON events
FOR EACH ROW WHEN (NEW.type = 'message.received') EXECUTE FUNCTION incoming_reported();
