-- The active member offers its duty while it does not reach the gateway; who gave it away does not accept it for a while.
ALTER TABLE duties ADD COLUMN offered boolean NOT NULL DEFAULT false;
ALTER TABLE duties ADD COLUMN given_by text NOT NULL DEFAULT '';
ALTER TABLE duties ADD COLUMN given_at timestamptz;
