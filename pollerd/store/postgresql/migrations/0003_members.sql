-- For people: who had the duty before, and why it went over.
ALTER TABLE duties ADD COLUMN taken_from text NOT NULL DEFAULT '';
ALTER TABLE duties ADD COLUMN why text NOT NULL DEFAULT '';
ALTER TABLE duties ADD COLUMN takeovers bigint NOT NULL DEFAULT 0;
