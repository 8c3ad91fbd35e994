-- What users rely on: messages (id, account, userref, sent_at), filled by any SQLite client, old ones included;
-- hence no STRICT tables, no unixepoch(), and nothing NOT NULL that INSERT OR IGNORE would drop in silence.
CREATE TABLE messages (
    id            INTEGER PRIMARY KEY CHECK (id > 0),
    account       TEXT DEFAULT 'default',
    userref       TEXT,
    sent_at       REAL DEFAULT ((julianday('now') - 2440587.5) * 86400.0),
    state         INTEGER NOT NULL DEFAULT 0,   -- 0 new, 1 pending, 2 finished, 3 gave up
    next_poll_at  REAL,
    next_reason   TEXT,
    polls         INTEGER NOT NULL DEFAULT 0,
    misses        INTEGER NOT NULL DEFAULT 0,
    strikes       INTEGER NOT NULL DEFAULT 0,
    base          REAL,
    frozen_at     REAL NOT NULL DEFAULT 0,
    first_poll_at REAL,
    last_poll_at  REAL,
    last_answer   TEXT,
    seen_at       REAL,
    sendtime      REAL,
    validity      REAL,
    finished_at   REAL,
    recipients    BLOB                          -- MessagePack array of recipients, NULL before the first answer
);

-- The store is the schedule: what is due, per account, and what nobody has planned yet.
CREATE INDEX messages_due ON messages (account, next_poll_at) WHERE state = 1;
CREATE INDEX messages_new ON messages (id) WHERE state = 0;
CREATE INDEX messages_ended ON messages (finished_at) WHERE state >= 2;
CREATE INDEX messages_gave_up ON messages (id) WHERE state = 3;

-- The outbox. AUTOINCREMENT: a seq is never used again, not even after everything was pruned.
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    type       TEXT NOT NULL,
    message_id INTEGER,
    at         REAL NOT NULL,
    body       BLOB NOT NULL                    -- the event's JSON without seq
);
CREATE INDEX events_message ON events (message_id, seq) WHERE message_id IS NOT NULL;

-- What commands ask of the owner of the database (the daemon, or the command itself when none runs).
CREATE TABLE requests (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT NOT NULL,                   -- untrack, poll, retry, retry_all
    message_id INTEGER,
    at         REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0)
);

-- Each output's own place in the log. detail: what it needs to find its place again (the file: device and inode).
CREATE TABLE outputs (
    name       TEXT PRIMARY KEY,
    seq        INTEGER NOT NULL,
    detail     TEXT NOT NULL DEFAULT '',
    updated_at REAL NOT NULL
);

-- What outlives a restart about an account. held_total: seconds it was held, which age no message.
CREATE TABLE accounts (
    name        TEXT PRIMARY KEY,
    held_reason TEXT,
    held_detail TEXT,
    held_since  REAL,
    held_until  REAL,
    held_total  REAL NOT NULL DEFAULT 0,
    credit      REAL,
    currency    TEXT,
    credit_low  INTEGER NOT NULL DEFAULT 0,
    credit_at   REAL
);

-- Numbers that are too dear to count (pending, finished, gave_up, polls), kept by the writer in the same transaction.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);

-- Small things with a name: store_id (which database this is), model (what the backoff learned), clock (when the daemon
-- last knew the time).
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB
);
