-- How urgent a message is: BULK, NORMAL, URGENT or VERY_URGENT. NULL: as the gateway tells it, NORMAL until then.
ALTER TABLE messages ADD COLUMN priority TEXT;

-- What is urgent is found in a backlog that is larger than memory.
CREATE INDEX messages_urgent ON messages (account, priority, next_poll_at)
WHERE state = 1 AND priority IN ('URGENT', 'VERY_URGENT');
