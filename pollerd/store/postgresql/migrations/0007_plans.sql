-- A plan that is kept from when a table was empty goes through all of it once it is full, at each commit, until the server
-- looks at it by itself. A new plan goes by the size that the table has. `state + 0` is in no index: that of the pending
-- ones would lead through all of them where the server last looked while there were none.
DO $$ BEGIN
    EXECUTE replace(pg_get_functiondef('put_group'::regproc), 'messages.state = 1', 'messages.state + 0 = 1');
END $$;
ALTER FUNCTION put_group SET plan_cache_mode = force_custom_plan;
