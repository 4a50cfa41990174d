-- ---------------------------------------------------------------------
-- Every function with values at the edges, by everybody who may call it
-- (S12.4)
--
-- Read from the catalogue, so that it covers what is added later: each
-- function of the extension and its modules that an end user or the service
-- may execute, with NULL, nothing, a megabyte, and numbers and times out of
-- all range.  It answers, or refuses with one of the errors that docs name, or
-- says what is wrong with a value (classes 22 and 23, and 42P01 for a number
-- that is no table): never an internal error.
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET plinth.password_memory = '19MB';
UPDATE plinth.rate_limit_tiers SET enabled = false;
INSERT INTO auth.users (id, email, email_confirmed_at)
VALUES ('00000000-0000-4000-8000-0000000000a1', 'a@example.com', now());
INSERT INTO auth.sessions (id, user_id, not_after)
SELECT id, id, now() + interval '1 day' FROM auth.users;

-- the values of a type, each for a call
CREATE TEMPORARY TABLE edges (type regtype, edge text, value text);
INSERT INTO edges VALUES
	('text', 'none', ''), ('text', 'huge', repeat('x', 1048576)), ('text', 'odd', E'\u0001''"\\%\u00e9\U0001f600' || repeat(' ', 100)),
	('text', 'deep', repeat('[', 100000)), ('text', 'least', 'a@b'), ('text', 'most', repeat('.', 1048576)),
	('bytea', 'none', ''), ('bytea', 'huge', '\x' || repeat('00', 1048576)), ('bytea', 'odd', '\xff'),
	('jsonb', 'none', '{}'), ('jsonb', 'huge', jsonb_build_object('x', repeat('x', 1048576))::text), ('jsonb', 'odd', '"x"'),
	('jsonb', 'deep', repeat('[', 5000) || repeat(']', 5000)), ('jsonb', 'least', 'null'), ('jsonb', 'most', '[' || repeat('1,', 100000) || '1]'),
	('uuid', 'none', '00000000-0000-0000-0000-000000000000'), ('uuid', 'most', 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
	('uuid', 'least', '00000000-0000-4000-8000-0000000000a1'),
	('smallint', 'none', '0'), ('smallint', 'least', '-32768'), ('smallint', 'most', '32767'),
	('integer', 'none', '0'), ('integer', 'least', '-2147483648'), ('integer', 'most', '2147483647'),
	('bigint', 'none', '0'), ('bigint', 'least', '-9223372036854775808'), ('bigint', 'most', '9223372036854775807'),
	('numeric', 'none', 'NaN'), ('numeric', 'least', '-Infinity'), ('numeric', 'most', '1e1000'),
	('double precision', 'none', 'NaN'), ('double precision', 'least', '-Infinity'), ('double precision', 'most', 'Infinity'),
	('timestamptz', 'none', 'epoch'), ('timestamptz', 'least', '-infinity'), ('timestamptz', 'most', 'infinity'),
	('timestamptz', 'odd', '4714-11-24 00:00:00+00 BC'), ('timestamptz', 'huge', '294276-12-31 23:59:59+00'),
	('date', 'none', 'epoch'), ('date', 'least', '-infinity'), ('date', 'most', '5874897-12-31'),
	('interval', 'none', '0'), ('interval', 'least', '-178000000 years'), ('interval', 'most', '178000000 years'),
	('inet', 'none', '0.0.0.0/0'), ('inet', 'most', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'),
	('pg_lsn', 'none', '0/0'), ('pg_lsn', 'most', 'FFFFFFFF/FFFFFFFF'),
	('regclass', 'none', '0'), ('regclass', 'most', '4294967295'), ('regclass', 'least', 'pg_class'),
	('oid', 'none', '0'), ('oid', 'most', '4294967295'),
	('name', 'none', ''), ('name', 'odd', '"'), ('name', 'most', repeat('x', 63)),
	('boolean', 'none', 'false'), ('boolean', 'most', 'true'),
	('text[]', 'none', '{}'), ('text[]', 'odd', '{NULL,"",x}'), ('text[]', 'most', ARRAY(SELECT n FROM generate_series(1, 100000) AS n)::text[]::text),
	('uuid[]', 'none', '{}'), ('uuid[]', 'odd', '{NULL}');
CREATE TEMPORARY TABLE callers (who text, role text, claims text);
INSERT INTO callers VALUES ('visitor', 'anon', ''), ('nobody', 'authenticated', ''),
	('user', 'authenticated', '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000a1", "session_id": "00000000-0000-4000-8000-0000000000a1"}'),
	('service', 'service_role', '');

-- who may call what
CREATE TEMPORARY VIEW reachable AS
	SELECT c.who, c.role, c.claims, p.oid::regprocedure AS function, p.proargtypes::oid[] AS types
	FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace CROSS JOIN callers AS c
	WHERE (n.nspname = 'plinth' OR n.nspname IN (SELECT schema FROM plinth.installed_modules))
		AND p.prokind = 'f' AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
		AND has_function_privilege(c.role, p.oid, 'EXECUTE') AND has_schema_privilege(c.role, n.oid, 'USAGE');
-- a type that the edges do not know would be called with NULL alone
SELECT DISTINCT format_type(t, NULL) AS unknown_type FROM reachable, unnest(types) AS t
WHERE t NOT IN (SELECT type FROM edges) ORDER BY 1;

-- a call's error or 'ok', undone
CREATE FUNCTION pg_temp.attempt(role text, claims text, call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('request.jwt.claims', claims, true), set_config('role', role, true);
	EXECUTE call;
	RAISE EXCEPTION USING ERRCODE = 'PT000';
EXCEPTION
	WHEN SQLSTATE 'PT000' THEN RETURN 'ok';
	WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
-- all arguments at one edge, or the other ones at another, where they have it
CREATE TEMPORARY TABLE calls AS
	SELECT r.who, r.role, r.claims, r.function, e.edge, f.edge AS other,
		format('SELECT * FROM %s(%s)', r.function::oid::regproc, (SELECT string_agg(
			format('(SELECT value::%s FROM edges WHERE type = %L::regtype AND edge = %L)', format_type(t, NULL), format_type(t, NULL),
				CASE WHEN i = 1 THEN e.edge ELSE f.edge END), ', ' ORDER BY i)
			FROM unnest(r.types) WITH ORDINALITY AS u (t, i))) AS call
	FROM reachable AS r, unnest(ARRAY['null', 'none', 'huge', 'odd', 'deep', 'least', 'most']) AS e (edge),
		unnest(ARRAY['null', 'none', 'huge', 'odd', 'deep', 'least', 'most']) AS f (edge)
	WHERE CASE cardinality(r.types) WHEN 0 THEN e.edge = 'null' AND f.edge = 'null' WHEN 1 THEN e.edge = f.edge ELSE true END;
GRANT SELECT ON edges TO anon, authenticated, service_role;
CREATE TEMPORARY TABLE answers AS
	SELECT c.*, pg_temp.attempt(c.role, c.claims, c.call) AS answer FROM calls AS c;

SELECT count(DISTINCT function) > 100 AS functions, count(*) > 1000 AS calls, count(*) FILTER (WHERE answer = 'ok') > 100 AS answered FROM answers;
-- what is neither
SELECT who, function, edge, other, left(answer, 100) AS answer FROM answers
WHERE answer <> 'ok' AND answer !~ '^(28000|42501|P0002|PT429|55000|53000|53400|42P01|22...|23...) '
ORDER BY function::text COLLATE "C", who, edge, other;
-- it would have been seen
SELECT pg_temp.attempt('anon', '', 'DO $do$ BEGIN RAISE ''seen'' USING ERRCODE = ''internal_error''; END $do$');
-- before signing in nothing is wrong with a value that a table would tell
SELECT who, function, left(answer, 100) AS answer FROM answers
WHERE who IN ('visitor', 'nobody') AND answer ~ '^23' AND answer !~ '^23505';
-- accounts say the same of all that is no secret (28000), no argument (22023), or for others (42501)
SELECT DISTINCT function::text COLLATE "C" AS function, left(answer, 5) AS answer FROM answers
WHERE who = 'visitor' AND function::text ~ '^auth[.](sign_|verify_otp|refresh|exchange|reset|authenticate)' AND answer <> 'ok'
ORDER BY 1, 2;

DO $$ BEGIN WHILE plinth.auth_journal_pending() > 0 LOOP PERFORM pg_sleep(0.005); END LOOP; END $$;
DELETE FROM auth.users;
DELETE FROM auth.lockouts;
DELETE FROM auth.events;
UPDATE plinth.rate_limit_tiers SET enabled = true;
DROP VIEW reachable;
DROP TABLE edges, callers, calls, answers;
RESET plinth.password_memory;
