-- Which schema a member knows: one that runs is not shut out by a newer one. Releases before this step do not say.
ALTER TABLE members ADD COLUMN schema_version integer NOT NULL DEFAULT 4;
