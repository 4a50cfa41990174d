--
-- INSTALL
-- Modules: what can be installed, where, by whom, and what is refused.
--
-- Needs: setup
-- Leaves: nothing
--
\set SHOW_CONTEXT never
CREATE ROLE regress_plinth_installer;
GRANT plinth_owner TO regress_plinth_installer;
CREATE ROLE regress_plinth_stranger;

-- what an error says of where it is
CREATE FUNCTION pg_temp.context_of(command text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	state	text;
	context	text;
BEGIN
	EXECUTE command;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, context = PG_EXCEPTION_CONTEXT;
	RETURN state || ' ' || coalesce(substring(context FROM 'module script "[a-z_.]+--[0-9.]+\.sql", line [0-9]+'), '-');
END;
$$;

-- installed once, each at the version that is there
SELECT module, shared, count(*) AS instances
FROM plinth.modules() WHERE schema = module AND installed = available
GROUP BY module, shared ORDER BY module;

-- what modules do together has been done
SELECT module, joined @> '{audit,realtime}' AS joined
FROM plinth.installed_modules WHERE module = 'profiles';

-- everything that is installed belongs to the owner's role
SELECT count(*) AS foreign_objects
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname IN (SELECT schema FROM plinth.installed_modules)
	AND (c.relowner <> 'plinth_owner'::regrole OR n.nspowner <> 'plinth_owner'::regrole);

-- again: the same answer, and nothing is done
CREATE TEMPORARY TABLE before AS TABLE plinth.installed_modules;
SELECT DISTINCT plinth.install(m.module, m.schema) = m.version AS same
FROM before AS m;
SELECT * FROM plinth.installed_modules EXCEPT SELECT * FROM before;

-- a tenant module under other names
SELECT plinth.install('social', 'regress Lab-42') = available AS installed
FROM plinth.modules() WHERE module = 'social' AND schema = 'social';
SET ROLE regress_plinth_installer;
SELECT plinth.install('social', 'regress_lab') = available AS installed
FROM plinth.modules() WHERE module = 'social' AND schema = 'social';
RESET ROLE;
SELECT schema, joined = (SELECT joined FROM plinth.installed_modules WHERE schema = 'social') AS joined
FROM plinth.installed_modules WHERE module = 'social' AND schema <> 'social' ORDER BY schema;

-- which have the same objects, and nothing of the first (a literal is the
-- name of a setting)
SELECT s.schema,
	(SELECT array_agg(c.relname ORDER BY c.relname) FROM pg_class AS c WHERE c.relnamespace = s.schema::regnamespace)
	= (SELECT array_agg(c.relname ORDER BY c.relname) FROM pg_class AS c WHERE c.relnamespace = 'social'::regnamespace) AS same_tables,
	(SELECT array_agg(p.proname ORDER BY p.oid::regprocedure::text) FROM pg_proc AS p WHERE p.pronamespace = s.schema::regnamespace)
	= (SELECT array_agg(p.proname ORDER BY p.oid::regprocedure::text) FROM pg_proc AS p WHERE p.pronamespace = 'social'::regnamespace) AS same_functions,
	NOT EXISTS (SELECT FROM pg_proc AS p WHERE p.pronamespace = s.schema::regnamespace AND p.prosrc ~ '(?<!'')\msocial\.') AS own_functions,
	NOT EXISTS (SELECT FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
		JOIN pg_class AS f ON f.oid = k.confrelid
		WHERE c.relnamespace = s.schema::regnamespace AND f.relnamespace = 'social'::regnamespace) AS own_keys
FROM (VALUES ('"regress Lab-42"'), ('regress_lab')) AS s (schema);
SELECT schema FROM plinth.modules() WHERE module = 'social' ORDER BY schema COLLATE "C";

-- upgrade has nothing to do
SELECT plinth.upgrade('social', 'regress_lab') = available AS upgraded
FROM plinth.modules() WHERE module = 'social' AND schema = 'social';

-- from a version that no steps lead from, and on a prerequisite that is behind
\set VERBOSITY sqlstate
BEGIN;
UPDATE plinth.installed_modules SET version = '0.0.1' WHERE module = 'profiles';
SAVEPOINT upgrade;
SELECT plinth.upgrade('profiles');
ROLLBACK TO upgrade;
SELECT plinth.install('social', 'regress_other');
ROLLBACK;
\set VERBOSITY default

-- refused: not a module, not under that name, not a name
\set VERBOSITY sqlstate
SELECT plinth.install('nonsense');
SELECT plinth.install('../../etc/passwd');
SELECT plinth.install('');
SELECT plinth.install(NULL);
SELECT plinth.install('auth', 'regress_auth');
SELECT plinth.install('social', 'auth');
SELECT plinth.install('social', '');
SELECT plinth.install('social', repeat('x', 64));
SELECT plinth.install('social', 'a"b');
SELECT plinth.install('social', 'a''b');
SELECT plinth.install('social', 'a$b');
SELECT plinth.install('social', E'a\\b');
SELECT plinth.install('social', E'a\nb');
SELECT plinth.upgrade('nonsense');
SELECT plinth.upgrade('social', 'regress_none');
SELECT plinth.upgrade(NULL);
\set VERBOSITY default

-- the right names are in the hint
DO $$
DECLARE
	hint	text;
BEGIN
	PERFORM plinth.install('nonsense');
EXCEPTION WHEN invalid_parameter_value THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RAISE NOTICE 'lists all modules: %',
		NOT EXISTS (SELECT FROM plinth.modules() WHERE strpos(hint, module) = 0);
END;
$$;

-- refused: a schema that is somebody's, with the script and the line
CREATE SCHEMA regress_taken;
SELECT pg_temp.context_of($$SELECT plinth.install('social', 'regress_taken')$$) ~ '^42P06 module script "social--.*\.sql", line \d+$' AS refused;
SELECT pg_temp.context_of($$SELECT plinth.install('social', 'pg_lab')$$) ~ '^42939 module script' AS refused;
SELECT pg_temp.context_of($$SELECT plinth.install('social', 'plinth')$$) ~ '^42P06 module script' AS refused;
SELECT count(*) AS left_behind FROM plinth.installed_modules WHERE schema IN ('regress_taken', 'pg_lab', 'plinth');

-- refused: who could not become the owner
\set VERBOSITY sqlstate
SET ROLE regress_plinth_stranger;
SELECT plinth.install('social', 'regress_other');
SELECT plinth.upgrade('social');
SET ROLE authenticated;
SELECT plinth.install('social', 'regress_other');
SELECT count(*) > 0 AS may_look FROM plinth.modules();
-- rows for administrators alone
SELECT count(*) AS seen FROM plinth.installed_modules;
SET ROLE anon;
SELECT * FROM plinth.modules();
SET ROLE service_role;
SELECT plinth.install('social', 'regress_other');
INSERT INTO plinth.installed_modules (module, schema, version, system_identifier, database_oid) VALUES ('a', 'b', 'c', 1, 1);
SELECT count(*) > 0 AS may_read FROM plinth.installed_modules;
RESET ROLE;

-- refused: in a read-only transaction
BEGIN READ ONLY;
SELECT plinth.install('social', 'regress_other');
ROLLBACK;
\set VERBOSITY default

-- whatever the caller has set, and the caller's settings come back
BEGIN;
SET LOCAL search_path = regress_taken, public;
SET LOCAL standard_conforming_strings = off;
SET LOCAL check_function_bodies = off;
SELECT plinth.install('social', 'regress_set') IS NOT NULL AS installed;
SELECT current_user = session_user AS same_user, current_setting('role') AS role,
	current_setting('search_path') AS path, current_setting('standard_conforming_strings') AS strings;
ROLLBACK;
SELECT count(*) AS left_behind FROM plinth.installed_modules WHERE schema = 'regress_set';

-- a restored or cloned database waits for plinth.enable()
BEGIN;
UPDATE plinth.installed_modules SET system_identifier = 1;
SELECT pg_temp.context_of($$SELECT plinth.install('social', 'regress_other')$$);
SELECT ok, found, remedy FROM plinth.preflight() WHERE requirement = 'identity';
SAVEPOINT enable;
SELECT plinth.enable();
SELECT DISTINCT era, system_identifier = (pg_control_system()).system_identifier AS ours,
	database_oid = (SELECT oid FROM pg_database WHERE datname = current_database()) AS here
FROM plinth.installed_modules;
-- the same identity again is not a new era
SELECT plinth.enable();
SELECT DISTINCT era FROM plinth.installed_modules;
ROLLBACK;
\set VERBOSITY sqlstate
SET ROLE service_role;
SELECT plinth.enable();
RESET ROLE;
\set VERBOSITY default

-- preflight: one row a requirement, a remedy where there is something to do
SELECT requirement, ok IS NOT NULL AS judged, found <> '' AS found
FROM plinth.preflight();
SELECT requirement FROM plinth.preflight() WHERE NOT ok AND remedy IS NULL;
SELECT requirement, ok FROM plinth.preflight()
WHERE requirement IN ('shared_preload_libraries', 'wal_level', 'libsodium', 'key file', 'identity', 'publication');

-- gone again
DROP SCHEMA regress_taken;
SET client_min_messages = warning;
DROP SCHEMA regress_lab CASCADE;
DROP SCHEMA "regress Lab-42" CASCADE;
RESET client_min_messages;
DELETE FROM plinth.installed_modules WHERE schema LIKE 'regress%';
DROP ROLE regress_plinth_installer;
DROP ROLE regress_plinth_stranger;
