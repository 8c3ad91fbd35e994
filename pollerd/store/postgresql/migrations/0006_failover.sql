-- A failover of PostgreSQL itself: another server goes on, on another timeline, and may lack what was committed last.

-- The numbers `after` + 1 to `upto` were left out, since some of them may have been given, and what had them is lost.
CREATE TABLE jumps (
    upto  bigint PRIMARY KEY,
    after bigint NOT NULL,
    at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- That of the server which is written to. pg_control_checkpoint() has the new one only after its first checkpoint.
CREATE FUNCTION server_timeline() RETURNS integer LANGUAGE sql AS $$
    SELECT ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer
$$;
UPDATE cluster SET timeline = server_timeline();

-- PD003: the store was written last on another timeline. See settle_failover.
CREATE FUNCTION check_timeline() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF server_timeline() IS DISTINCT FROM (SELECT timeline FROM cluster) THEN
        RAISE EXCEPTION 'PostgreSQL has failed over' USING ERRCODE = 'PD003';
    END IF;
END $$;

-- Before the number: on another timeline it means nothing. Behind the lock, which a replica refuses.
CREATE OR REPLACE FUNCTION begin_change(mine uuid, number bigint, duty text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    last bigint;
    is_member boolean;
BEGIN
    PERFORM set_config('lock_timeout', '2s', true), set_config('idle_in_transaction_session_timeout', '10s', true);
    SELECT last_batch INTO last FROM members
    WHERE token = mine AND (duty IS NULL OR EXISTS (SELECT 1 FROM duties WHERE name = duty AND duties.token = mine))
    FOR UPDATE OF members;
    is_member := FOUND;
    PERFORM check_timeline();
    IF NOT is_member THEN
        RAISE EXCEPTION 'another member has taken over' USING ERRCODE = 'PD001';
    ELSIF number <> last + 1 THEN
        RAISE EXCEPTION 'transaction % comes after %', number, last USING ERRCODE = 'PD002';
    END IF;
    UPDATE members SET last_batch = number WHERE token = mine;
END $$;

ALTER FUNCTION commit_group RENAME TO put_group;
CREATE FUNCTION commit_group(
    mine uuid, number bigint, instant double precision, touched json, settled json, happened json, rest json
) RETURNS bigint LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
BEGIN
    PERFORM FROM members WHERE token = mine FOR UPDATE;
    PERFORM check_timeline();
    RETURN put_group(mine, number, instant, touched, settled, happened, rest);
END $$;

-- Take note of a failover. Where it may have lost something, `numbers` are left out behind the highest that was given,
-- as far as this server and the caller know, and every member is fenced: what they have in memory may be lost here.
-- `lossless`: nothing is lost, by the operator's word; it does not count where the caller has `seen` a higher number.
CREATE FUNCTION settle_failover(
    seen bigint, lossless boolean, numbers bigint, OUT moved boolean, OUT jumped boolean
) LANGUAGE plpgsql SET lock_timeout = '2s' AS $$
DECLARE
    here integer := server_timeline();
    last bigint;
    known integer;
BEGIN
    -- One at a time.
    PERFORM FROM duties WHERE name = 'active' FOR UPDATE;
    SELECT last_seq, timeline INTO last, known FROM cluster;
    moved := here <> known;
    jumped := last < seen OR (moved AND NOT lossless);
    IF jumped THEN
        DELETE FROM members;
        UPDATE cluster SET timeline = here, last_seq = greatest(last_seq, seen) + numbers;
        INSERT INTO jumps (upto, after) SELECT last_seq, last FROM cluster;
    ELSIF moved THEN
        UPDATE cluster SET timeline = here;
    END IF;
END $$;
