-- 1: never seen, and past its grace: to be sent later, or none of this account's.
ALTER TABLE messages ADD COLUMN unknown INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_unknown ON messages (account) WHERE unknown = 1 AND state = 1;
