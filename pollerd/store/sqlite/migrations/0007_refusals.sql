-- When the gateway first refused the message since it last answered, with the account's held time taken off.
ALTER TABLE messages ADD COLUMN refused_since REAL;

-- 1: the hold in force is for `refusing`. held_reason says server_errors then, which an older version knows too.
ALTER TABLE accounts ADD COLUMN refusing INTEGER NOT NULL DEFAULT 0;
-- 1: such a hold ended without an answer; refusals are believed until there is one.
ALTER TABLE accounts ADD COLUMN trusting INTEGER NOT NULL DEFAULT 0;
