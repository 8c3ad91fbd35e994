-- Rows in a state that no version counts as followed or ended: state 4 is set aside, since a column of the daemon's own
-- held what it never writes there (next_reason says which), any other was written by somebody else.
CREATE INDEX messages_strange ON messages (id) WHERE state NOT IN (0, 1, 2, 3);
