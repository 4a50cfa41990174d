-- ---------------------------------------------------------------------
-- Who sees what the server says of itself: services, administrators and
-- monitors, and nobody else
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
INSERT INTO auth.users (id, email, app_role) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'a@example.com', 'user'),
	('00000000-0000-4000-8000-0000000000de', 'dev@example.com', 'developer'),
	('00000000-0000-4000-8000-0000000000ad', 'admin@example.com', 'admin');

-- whether somebody reads a view: 'yes', that it shows no rows, or the error
CREATE FUNCTION pg_temp.reads(role text, who text, relation text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found	bigint;
BEGIN
	PERFORM set_config('request.jwt.claims', CASE WHEN who <> '' THEN format(
		'{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000%s"}', who) ELSE '' END, true);
	PERFORM set_config('role', role, true);
	EXECUTE 'SELECT count(*) FROM plinth.' || relation INTO found;
	PERFORM set_config('role', 'none', true);
	-- tables show rows or none; a view may have none to show
	RETURN CASE WHEN found > 0 OR relation NOT IN ('installed_modules', 'stat_workers') THEN 'yes' ELSE 'no rows' END;
EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;
SELECT relation, pg_temp.reads('anon', '', relation) AS anon, pg_temp.reads('authenticated', '', relation) AS nobody,
	pg_temp.reads('authenticated', 'a1', relation) AS a_user, pg_temp.reads('authenticated', 'de', relation) AS developer,
	pg_temp.reads('authenticated', 'ad', relation) AS admin, pg_temp.reads('service_role', '', relation) AS service,
	pg_temp.reads('pg_monitor', '', relation) AS monitor
FROM unnest(ARRAY['installed_modules', 'keys', 'rate_limit_status', 'rate_limits', 'stat_leaderboard', 'stat_rotation',
	'stat_stream', 'stat_subscriptions', 'stat_workers']) WITH ORDINALITY AS v (relation, n) ORDER BY n;
-- all there are
SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = 'plinth'::regnamespace AND c.relkind = 'v' AND c.relname LIKE 'stat\_%'
ORDER BY c.relname COLLATE "C";

-- a demotion acts at once
UPDATE auth.users SET app_role = 'user' WHERE id = '00000000-0000-4000-8000-0000000000ad';
SELECT pg_temp.reads('authenticated', 'ad', 'installed_modules'), pg_temp.reads('authenticated', 'ad', 'stat_workers');

-- nobody but plinth writes what is installed
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000ad"}';
UPDATE auth.users SET app_role = 'admin' WHERE id = '00000000-0000-4000-8000-0000000000ad';
SET ROLE authenticated;
DELETE FROM plinth.installed_modules;
SELECT count(*) FROM plinth.worker_stat() WHERE worker = 'upkeep' AND state IS NULL;
RESET request.jwt.claims;
SELECT count(*) FROM plinth.worker_stat();
RESET ROLE;

DELETE FROM auth.users;
