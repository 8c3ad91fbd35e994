-- Ids that a source's query gave when it was looked at last. A message that has ended is deleted after a while, and the
-- row of the other application may still be there: it must not be taken for a new one.
CREATE TABLE given (
    source TEXT NOT NULL,
    id     INTEGER NOT NULL,
    PRIMARY KEY (source, id)
) WITHOUT ROWID;
CREATE INDEX given_id ON given (id);
