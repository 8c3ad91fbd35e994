-- A new row whose sent_at or sendtime cannot be a time is set aside before anybody has planned it. Once its writer has
-- corrected it, it is a new row again.
CREATE TRIGGER messages_corrected AFTER UPDATE OF sent_at, sendtime ON messages
WHEN OLD.state = 4 AND NEW.state = 4 AND NEW.taken_at IS NULL
BEGIN
    UPDATE messages SET state = 0, next_reason = NULL WHERE id = NEW.id;
END;
