-- What the writer's connection has beside the tables: views into which rows of new values are put, many with one statement,
-- and what many first plans have each of its own.
-- What was meant for a message that is not pending any more is left out.
-- name: touch
CREATE TEMP VIEW touch AS SELECT {scheduled}, id FROM messages;
CREATE TEMP TRIGGER touched INSTEAD OF INSERT ON touch BEGIN
    UPDATE messages SET {new_scheduled} WHERE id = NEW.id AND state = 1;
END;

-- name: again
CREATE TEMP VIEW again AS SELECT {repeated}, id FROM messages;
CREATE TEMP TRIGGER shown_again INSTEAD OF INSERT ON again BEGIN
    UPDATE messages SET {new_repeated} WHERE id = NEW.id AND state = 1;
END;

-- name: answer
CREATE TEMP VIEW answer AS SELECT {answered}, id FROM messages;
CREATE TEMP TRIGGER answered INSTEAD OF INSERT ON answer BEGIN
    UPDATE messages SET {new_answered} WHERE id = NEW.id AND state = 1;
END;

-- name: plan
CREATE TEMP VIEW plan AS SELECT {planned}, id FROM messages;
CREATE TEMP TRIGGER planned INSTEAD OF INSERT ON plan BEGIN
    UPDATE messages SET {new_planned} WHERE id = NEW.id;
END;

-- name: plan_dues
CREATE TEMP TABLE dues (number INTEGER, id INTEGER, at REAL, PRIMARY KEY (number, id)) WITHOUT ROWID;

-- name: settle
CREATE TEMP VIEW settle AS SELECT {whole}, id FROM messages;
CREATE TEMP TRIGGER settled INSTEAD OF INSERT ON settle BEGIN
    UPDATE messages SET {new_whole} WHERE id = NEW.id;
END;
