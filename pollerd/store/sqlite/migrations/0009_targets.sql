-- Events that outputs into databases have not written yet. They lie behind the output's place, with a body of their own,
-- since retention may delete events that every output has passed.
CREATE TABLE unwritten (
    output     TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    type       TEXT NOT NULL,
    message_id INTEGER NOT NULL,                -- 0: about an account
    recipient  INTEGER NOT NULL,                -- whose row the statement looks for; 0: no single one's
    subject    TEXT,                            -- what it is news of: a later event with the same one supersedes it
    body       BLOB NOT NULL,                   -- the event's JSON without seq
    state      INTEGER NOT NULL,                -- 0 waiting, 1 parked
    attempts   INTEGER NOT NULL,
    next_at    REAL,                            -- NULL: behind an earlier event of its message
    error      TEXT NOT NULL,                   -- what the last attempt met
    changed_at REAL NOT NULL,
    PRIMARY KEY (seq, output)
);
CREATE INDEX unwritten_due ON unwritten (output, next_at, seq) WHERE state = 0 AND next_at IS NOT NULL;
CREATE INDEX unwritten_message ON unwritten (output, message_id, recipient, seq);
CREATE INDEX unwritten_waiting ON unwritten (output, changed_at) WHERE state = 0;
CREATE INDEX unwritten_parked ON unwritten (output, changed_at) WHERE state = 1;

-- How a source gave an id that it did not give as a whole number: as text, with zeros or blanks around, as a float.
-- No affinity: the statement of an output gets it as it was read.
CREATE TABLE source_ids (
    source   TEXT NOT NULL,
    id       INTEGER NOT NULL,
    database TEXT NOT NULL,                     -- where the source reads: its query may change, its rows stay
    written,
    PRIMARY KEY (source, id)
) WITHOUT ROWID;
CREATE INDEX source_ids_id ON source_ids (id);
