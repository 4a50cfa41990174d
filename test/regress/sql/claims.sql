--
-- CLAIMS
-- Whose claims count, for how long, and what they say.
--
-- Needs: setup
-- Leaves: nothing
--
SELECT current_user AS superuser \gset
CREATE ROLE regress_plinth_direct LOGIN IN ROLE authenticated;
CREATE ROLE regress_plinth_pool LOGIN NOINHERIT IN ROLE anon, authenticated;
GRANT USAGE ON SCHEMA plinth TO regress_plinth_pool;
GRANT EXECUTE ON FUNCTION plinth.auth_uid() TO regress_plinth_pool;
CREATE FUNCTION public.who()
RETURNS text
LANGUAGE sql
RETURN pg_catalog.right(plinth.auth_uid()::text, 2);
CREATE FUNCTION public.definer_is_service()
RETURNS boolean
LANGUAGE sql SECURITY DEFINER
RETURN plinth.is_service();
CREATE FUNCTION public.definer_who()
RETURNS text
LANGUAGE sql SECURITY DEFINER
RETURN pg_catalog.right(plinth.auth_uid()::text, 2);
CREATE FUNCTION public.definer_agent()
RETURNS text
LANGUAGE sql SECURITY DEFINER
RETURN pg_catalog.concat_ws(' from ', plinth.auth_user_agent(), nullif(plinth.auth_client_address(), pg_catalog.inet_client_addr()));

-- nobody has said anything: anonymous, and no error
SELECT plinth.auth_uid(), plinth.auth_jwt(), plinth.auth_role(), plinth.auth_email(),
	plinth.auth_session_id(), plinth.auth_aal();

-- everything that claims can say
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000A1","role":"authenticated",
	"email":"ann@example.com","session_id":"00000000-0000-4000-8000-0000000000f1","aal":"aal2"}';
SELECT plinth.auth_uid(), plinth.auth_role(), plinth.auth_email(), plinth.auth_session_id(), plinth.auth_aal();
SELECT plinth.auth_jwt() ->> 'email' AS email, auth.uid() = plinth.auth_uid() AS wrapped;

-- escapes are read as JSON says, and of two members the later counts, as in jsonb
SET request.jwt.claims = '{"s\u0075b":"00000000-0000-4000-8000-0000000000a1","email":"one","email":"\u00e9\ud83d\ude00\n\""}';
SELECT public.who(), plinth.auth_email(), plinth.auth_jwt() ->> 'email' = plinth.auth_email() AS same;

-- what is no set of claims is no claims: never an error, never a user
SELECT replace(bad, E'\uFEFF', '(BOM)') AS bad, set_config('request.jwt.claims', bad, false) IS NULL AS refused,
	plinth.auth_uid() IS NULL AND plinth.auth_jwt() IS NULL AS anonymous
FROM unnest(ARRAY['', ' ', '{', '[]', 'null', '"x"', '1', '{"sub":}', '{"sub":"x"', '{} {}',
	'{"sub":"00000000-0000-4000-8000-0000000000a1",}', '{''sub'':1}', '{"a":"\u0000"}', '{"a":"\ud800"}',
	'{"a":"\udc00\ud800"}', '{"a":"\x"}', '{"a":01}', '{"a":1e}', '{"a":.5}', '{"a":+1}', '{"a":NaN}',
	'{"a":1e9999}', '{"a":tru}', E'{"a":"\t"}', '{"exp":"tomorrow"}', '{"exp":-1}', '{"exp":1e300}',
	E'\uFEFF{}']) AS bad;
SELECT depth, plinth.auth_jwt() IS NULL AS anonymous
FROM unnest(ARRAY[31, 32]) AS depth,
	LATERAL set_config('request.jwt.claims', '{"a":' || repeat('[', depth) || repeat(']', depth) || '}', false);
SELECT size, plinth.auth_jwt() IS NULL AS anonymous
FROM unnest(ARRAY[1000000, 1100000]) AS size,
	LATERAL set_config('request.jwt.claims', '{"a":"' || repeat('x', size) || '"}', false);

-- an object whose sub is no uuid has claims, but no user
SELECT sub, plinth.auth_uid(), plinth.auth_jwt() IS NULL AS anonymous
FROM unnest(ARRAY['"x"', '1', 'null', '""', '"{00000000-0000-4000-8000-0000000000a1}"',
	'"00000000000040008000000000000001"', '["00000000-0000-4000-8000-0000000000a1"]',
	'"00000000-0000-4000-8000-0000000000a\u0031"']) AS sub,
	LATERAL set_config('request.jwt.claims', '{"sub":' || sub || ',"email":1,"role":null}', false);
SELECT plinth.auth_role(), plinth.auth_email() IS NULL AS no_email;

-- a user's own value is a value, not a NULL that matches everything
RESET request.jwt.claims;
SELECT count(*) FROM (VALUES (NULL::uuid), ('00000000-0000-4000-8000-0000000000a1')) AS t (owner)
WHERE plinth.auth_uid() = owner;

-- local claims end with the transaction, at a commit and at a rollback
BEGIN;
SET LOCAL request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1"}';
SELECT public.who();
COMMIT;
SELECT public.who() IS NULL AS gone;
BEGIN;
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1"}';
SELECT public.who();
ROLLBACK;
SELECT public.who() IS NULL AS gone;

-- savepoints put the earlier ones back; released ones keep theirs
BEGIN;
SET LOCAL request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1"}';
SAVEPOINT s;
SET LOCAL request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000b2"}';
SELECT public.who();
ROLLBACK TO s;
SELECT public.who();
SET LOCAL request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000c3"}';
RELEASE s;
SELECT public.who();
DO $$
BEGIN
	PERFORM set_config('request.jwt.claims', '{"sub":"00000000-0000-4000-8000-0000000000d4"}', true);
	RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
	NULL;
END;
$$;
SELECT public.who();
COMMIT;

-- RESET ALL and DISCARD ALL leave nothing behind
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1"}';
RESET ALL;
SELECT public.who() IS NULL AS gone;
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1"}';
DISCARD ALL;
SELECT public.who() IS NULL AS gone;

-- claims change in the middle of a statement: each value stays what it was
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1"}';
SELECT right(before::text, 2) AS before, right(after::text, 2) AS after
FROM (SELECT plinth.auth_uid() AS before,
		set_config('request.jwt.claims', '{"sub":"00000000-0000-4000-8000-0000000000b2"}', false) AS changed,
		plinth.auth_uid() AS after OFFSET 0) AS t;

-- so does what a procedure was given, over its commits and other claims
CREATE PROCEDURE public.claims_keep(given uuid)
LANGUAGE plpgsql
AS $$
DECLARE
	first	text := given;
BEGIN
	FOR n IN 1..3 LOOP
		PERFORM set_config('request.jwt.claims', format('{"sub":"00000000-0000-4000-8000-0000000000c%s"}', n), false);
		PERFORM plinth.auth_uid();
		COMMIT;
	END LOOP;
	RAISE NOTICE 'given %, still %, now %', right(first, 2), right(given::text, 2), right(plinth.auth_uid()::text, 2);
END;
$$;
CALL public.claims_keep(plinth.auth_uid());
-- and each element of an array that one expression makes
SELECT array_agg(right(uid::text, 2)) AS who
FROM (SELECT set_config('request.jwt.claims', format('{"sub":"00000000-0000-4000-8000-0000000000d%s"}', n), false) AS done,
		plinth.auth_uid() AS uid FROM generate_series(1, 3) AS n) AS t;
DROP PROCEDURE public.claims_keep(uuid);
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000b2"}';

-- roles and SECURITY DEFINER change nothing about who asks
SET ROLE authenticated;
SELECT public.who(), public.definer_who();
RESET ROLE;

-- expired claims are none; those within the leeway count
SELECT kind, set_config('request.jwt.claims', format('{"sub":"00000000-0000-4000-8000-0000000000a1","exp":%s}',
		extract(epoch FROM now()) + seconds), false) IS NOT NULL AS set, public.who()
FROM (VALUES ('future', 60), ('just over', -10), ('over', -40)) AS t (kind, seconds);
SET plinth.jwt_leeway = 0;
SELECT public.who();
SELECT set_config('request.jwt.claims', format('{"sub":"00000000-0000-4000-8000-0000000000a1","exp":%s}',
		extract(epoch FROM now()) - 10), false) IS NOT NULL AS set, public.who();
RESET plinth.jwt_leeway;

-- defaults of roles and databases are nobody's word
ALTER ROLE regress_plinth_direct SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1"}';
ALTER ROLE regress_plinth_pool SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1"}';
SET plinth.trusted_roles = 'regress_plinth_pool';
ALTER ROLE regress_plinth_pool SET plinth.trusted_roles = 'authenticator, regress_plinth_pool';

-- who connects directly is not believed, whatever it sets
\set VERBOSITY sqlstate
\c - regress_plinth_direct
SELECT current_setting('request.jwt.claims') <> '' AS set, public.who() IS NULL AS anonymous;
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000b2"}';
SELECT public.who() IS NULL AS anonymous, public.definer_who() IS NULL AS definer_too;
SELECT plinth.auth_role();
-- nor can it make itself believed
SET plinth.trusted_roles = 'regress_plinth_direct';
SET plinth.verified_claims = '{"sub":"00000000-0000-4000-8000-0000000000b2"}';
SELECT set_config('plinth.verified_claims', '{"sub":"00000000-0000-4000-8000-0000000000b2"}', true);
SHOW plinth.verified_claims;
ALTER ROLE regress_plinth_direct SET plinth.verified_claims = '{}';
SELECT count(*) FROM pg_settings WHERE name = 'plinth.verified_claims';
SET SESSION AUTHORIZATION regress_plinth_pool;
SELECT plinth.is_service();

-- the pool is believed, its default is not
\c - regress_plinth_pool
SELECT current_setting('request.jwt.claims') <> '' AS set, plinth.auth_uid() IS NULL AS anonymous;
BEGIN;
SELECT set_config('role', 'authenticated', true), set_config('request.jwt.claims', '{"sub":"00000000-0000-4000-8000-0000000000a1"}', true) <> '' AS set;
SELECT public.who(), plinth.is_service();
COMMIT;
SELECT plinth.auth_uid() IS NULL AS anonymous;

-- strict mode: the list is empty
\set VERBOSITY default
\c - :superuser
ALTER ROLE regress_plinth_pool SET plinth.trusted_roles = '';
\c - regress_plinth_pool
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1"}';
SELECT plinth.auth_uid() IS NULL AS anonymous;

-- the session user decides, and a change of the list acts at once
\c - :superuser
SET SESSION AUTHORIZATION regress_plinth_pool;
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1"}';
SELECT plinth.auth_uid() IS NULL AS anonymous;
RESET SESSION AUTHORIZATION;
SELECT public.who();
SET plinth.trusted_roles = ' "regress_plinth_pool" , nobody_of_that_name';
SET SESSION AUTHORIZATION regress_plinth_pool;
SELECT right(plinth.auth_uid()::text, 2) AS who;
RESET SESSION AUTHORIZATION;
SET plinth.trusted_roles = 'a b';
RESET plinth.trusted_roles;

-- request headers: the agent, and the address when the gateway is trusted
SET request.headers = '{"user-agent":"curl/8 \u00e9","x-forwarded-for":"192.0.2.7, 10.0.0.1"}';
SELECT plinth.auth_user_agent(), plinth.auth_client_address() IS NOT DISTINCT FROM inet_client_addr() AS connection;
SET plinth.trust_forwarded_for = on;
SELECT left(header, 30) AS header, nullif(plinth.auth_client_address(), inet_client_addr()) AS address
FROM unnest(ARRAY['192.0.2.7', ' 192.0.2.7 , 10.0.0.1', '192.0.2.7:1234', '2001:DB8::1', '[2001:db8::1]:443', '::ffff:192.0.2.7',
	'', 'unknown', '192.0.2.300', '[2001:db8::1', 'x.example.com', '192.0.2.7/24', repeat('1', 1000)]) AS header,
	LATERAL set_config('request.headers', jsonb_build_object('x-forwarded-for', header)::text, false) AS done;
SELECT bad, plinth.auth_user_agent(), nullif(plinth.auth_client_address(), inet_client_addr()) AS address
FROM unnest(ARRAY['', '[]', '{', '{"user-agent":1,"x-forwarded-for":["192.0.2.7"]}']) AS bad,
	LATERAL set_config('request.headers', bad, false) AS done;
-- they are believed as claims are
SET request.headers = '{"user-agent":"curl","x-forwarded-for":"192.0.2.7"}';
SET SESSION AUTHORIZATION regress_plinth_direct;
SELECT public.definer_agent();
RESET SESSION AUTHORIZATION;
SELECT public.definer_agent();
RESET request.headers;
RESET plinth.trust_forwarded_for;

-- a service is one by the role in force outside any definer function
SELECT plinth.is_service(), public.definer_is_service();
SET ROLE authenticated;
SELECT plinth.is_service(), public.definer_is_service();
SET ROLE anon;
SELECT plinth.is_service(), public.definer_is_service();
SET ROLE service_role;
SELECT plinth.is_service();
SET ROLE plinth_owner;
SELECT plinth.is_service();
RESET ROLE;

-- code that the server runs for another is no service: an index expression
CREATE FUNCTION public.sly(integer)
RETURNS boolean
LANGUAGE plpgsql IMMUTABLE
AS $$ BEGIN RETURN plinth.is_service(); END $$;
CREATE TABLE public.claims_sly (id integer);
INSERT INTO public.claims_sly VALUES (1);
CREATE INDEX claims_sly_idx ON public.claims_sly (public.sly(id)) WHERE public.sly(id);
SET enable_seqscan = off;
SELECT count(*) AS entries FROM public.claims_sly WHERE public.sly(id);
RESET enable_seqscan;
DROP TABLE public.claims_sly;
DROP FUNCTION public.sly(integer);

-- roles that a token may never name are refused when they are set
SET plinth.jwt_roles = anon, authenticated, regress_plinth_direct;
SET plinth.jwt_roles = anon, service_role;
SET plinth.jwt_roles = plinth_owner;
\set VERBOSITY sqlstate
SELECT set_config('plinth.jwt_roles', :'superuser', false);
SET plinth.jwt_roles = 'a b';
SET plinth.jwt_leeway = 61;
SET plinth.jwt_max_size = 100;
\set VERBOSITY default
SHOW plinth.jwt_roles;
RESET plinth.jwt_roles;

-- a bare policy is scanned in parallel, with the same result
CREATE TABLE public.claims_rows (id integer, owner uuid);
INSERT INTO public.claims_rows
SELECT n, ('00000000-0000-4000-8000-0000000000' || CASE WHEN n % 10 = 0 THEN 'a1' ELSE 'b2' END)::uuid
FROM generate_series(1, 20000) AS n;
ANALYZE public.claims_rows;
ALTER TABLE public.claims_rows ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.claims_rows TO authenticated USING (plinth.auth_uid() = owner);
CREATE POLICY wrapped ON public.claims_rows TO anon USING (auth.uid() = owner);
GRANT SELECT ON public.claims_rows TO authenticated, anon;
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1"}';
SET ROLE authenticated;
SET max_parallel_workers_per_gather = 0;
SELECT count(*) FROM public.claims_rows;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET parallel_leader_participation = off;
EXPLAIN (COSTS OFF) SELECT count(*) FROM public.claims_rows;
SELECT count(*) FROM public.claims_rows;
-- the wrapper of schema auth is inlined
SET ROLE anon;
EXPLAIN (COSTS OFF) SELECT count(*) FROM public.claims_rows;
SELECT count(*) FROM public.claims_rows;
RESET ROLE;
-- verified claims reach the workers too
SET plinth.verified_claims = '{"sub":"00000000-0000-4000-8000-0000000000b2"}';
SET ROLE authenticated;
SELECT count(*) FROM public.claims_rows;
RESET ALL;
RESET ROLE;

-- the C functions are as the planner needs them
SELECT proname, provolatile, proparallel, proleakproof, proconfig IS NULL AS plain, prosecdef
FROM pg_proc
WHERE pronamespace = 'plinth'::regnamespace
	AND proname IN ('auth_uid', 'auth_jwt', 'auth_role', 'auth_email', 'auth_session_id', 'auth_aal',
		'auth_authenticate', 'auth_deauthenticate', 'is_service')
ORDER BY proname COLLATE "C";

DROP TABLE public.claims_rows;
DROP FUNCTION public.who(), public.definer_is_service(), public.definer_who(), public.definer_agent();
REVOKE ALL ON SCHEMA plinth FROM regress_plinth_pool;
REVOKE ALL ON FUNCTION plinth.auth_uid() FROM regress_plinth_pool;
DROP ROLE regress_plinth_direct, regress_plinth_pool;
