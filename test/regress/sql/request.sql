--
-- REQUEST
-- What is asked before a request over HTTP, and work in a user's name.
--
-- Needs: setup
-- Leaves: nothing
--
\set SHOW_CONTEXT never
SET client_min_messages = warning;
INSERT INTO auth.users (id, email, email_confirmed_at) VALUES ('00000000-0000-4000-8000-0000000000a1', 'a@example.com', now());
INSERT INTO auth.sessions (id, user_id, not_after)
	SELECT '00000000-0000-4000-8000-0000000000e1', id, now() + interval '1 day' FROM auth.users;
DO $$ BEGIN PERFORM plinth.rate_limit_reset('00000000-0000-4000-8000-0000000000a1', 'authenticated'); END $$;

--
-- before a request
--
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000a1", "session_id": "00000000-0000-4000-8000-0000000000e1"}';
SET ROLE authenticated;
BEGIN READ ONLY;
SELECT plinth.pre_request();
COMMIT;
-- a session that has ended, or is gone; at the very moment
RESET ROLE;
UPDATE auth.sessions SET revoked_at = clock_timestamp();
SET ROLE authenticated;
SELECT plinth.pre_request();
RESET ROLE;
UPDATE auth.sessions SET revoked_at = NULL, not_after = clock_timestamp();
SET ROLE authenticated;
SELECT plinth.pre_request();
RESET ROLE;
DELETE FROM auth.sessions;
SET ROLE authenticated;
SELECT plinth.pre_request();
-- claims that name no session have none that could end
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000a1"}';
SELECT plinth.pre_request();
SET ROLE service_role;
SELECT plinth.pre_request();
RESET ROLE;

-- how often: by user, whatever comes of the request; a service as often as it likes
UPDATE plinth.rate_limit_tiers SET requests = 2 WHERE name = 'authenticated';
DO $$ BEGIN PERFORM plinth.rate_limit_reset('00000000-0000-4000-8000-0000000000a1', 'authenticated'); END $$;
\set VERBOSITY sqlstate
SET ROLE authenticated;
BEGIN;
SELECT plinth.pre_request();
ROLLBACK;
SELECT plinth.pre_request();
SELECT plinth.pre_request();
SET ROLE service_role;
SELECT count(plinth.pre_request()) AS passed FROM generate_series(1, 5);
RESET ROLE;
RESET request.jwt.claims;
UPDATE plinth.rate_limit_tiers SET requests = 2 WHERE name = 'anonymous';
DO $$ BEGIN PERFORM plinth.rate_limit_reset(coalesce(host(inet_client_addr()), 'local'), 'anonymous'); END $$;
SET ROLE anon;
SELECT plinth.pre_request();
SELECT plinth.pre_request();
SELECT plinth.pre_request();
\set VERBOSITY default
RESET ROLE;
DO $$ BEGIN PERFORM plinth.rate_limit_reset(coalesce(host(inet_client_addr()), 'local'), 'anonymous'),
	plinth.rate_limit_reset('00000000-0000-4000-8000-0000000000a1', 'authenticated'); END $$;
UPDATE plinth.rate_limit_tiers SET requests = CASE name WHEN 'anonymous' THEN 10 ELSE 60 END WHERE name IN ('anonymous', 'authenticated');

--
-- in a user's name, for a transaction
--
BEGIN;
SELECT plinth.act_as('00000000-0000-4000-8000-0000000000a1');
SELECT auth.uid(), auth.role(), auth.session_id(), auth.jwt();
SET LOCAL ROLE authenticated;
SELECT email FROM auth.me;
SAVEPOINT s;
RESET ROLE;
SELECT plinth.act_as('00000000-0000-4000-8000-0000000000b1', 'anon');
SELECT auth.uid(), auth.role();
ROLLBACK TO s;
SELECT auth.uid();
COMMIT;
SELECT auth.uid();
-- no role that no token could name, and nobody
SELECT plinth.act_as('00000000-0000-4000-8000-0000000000a1', 'service_role');
SELECT plinth.act_as('00000000-0000-4000-8000-0000000000a1', 'nobody "at" all');
SELECT plinth.act_as('00000000-0000-4000-8000-0000000000a1', NULL);
SELECT plinth.act_as(NULL);
-- superusers only
SELECT rolname, has_function_privilege(oid, 'plinth.act_as(uuid, text)', 'EXECUTE') AS act_as,
	has_function_privilege(oid, 'plinth.pre_request()', 'EXECUTE') AS pre_request
FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role', 'authenticator', 'plinth_owner', 'plinth_gateway')
ORDER BY rolname;

DELETE FROM auth.events;
DELETE FROM auth.users;
