-- Events that the webhook's receivers have not taken yet: each is kept here once the output's place has passed it, with
-- a body of its own, since retention may delete events that every output has passed.
CREATE TABLE deliveries (
    seq        INTEGER PRIMARY KEY,
    type       TEXT NOT NULL,
    message_id INTEGER NOT NULL,                -- 0: about an account
    body       BLOB NOT NULL,                   -- the event's JSON without seq
    lane       TEXT NOT NULL,                   -- which receiver
    state      INTEGER NOT NULL,                -- 0 waiting, 1 parked, 2 delivered but above the output's place
    attempts   INTEGER NOT NULL,
    next_at    REAL,                            -- NULL: behind an earlier event of its message
    error      TEXT NOT NULL,                   -- what the last attempt met
    changed_at REAL NOT NULL
);
CREATE INDEX deliveries_due ON deliveries (lane, next_at, seq) WHERE state = 0 AND next_at IS NOT NULL;
CREATE INDEX deliveries_waiting ON deliveries (message_id, seq) WHERE state = 0;
CREATE INDEX deliveries_parked ON deliveries (changed_at) WHERE state = 1;
CREATE INDEX deliveries_done ON deliveries (seq) WHERE state = 2;
