-- ---------------------------------------------------------------------
-- Refresh tokens presented again: the grace, and the thief (S3.7, S3.8)
--
-- Time is moved by moving what is noted of it, never by waiting.
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET plinth.password_memory = '19MB';
UPDATE plinth.rate_limit_tiers SET enabled = false WHERE name = 'anonymous';
-- as long as it may be, however slow the machine is
INSERT INTO plinth.settings (name, value) VALUES ('auth.refresh_grace', '"5 min"');

INSERT INTO auth.users (id, email, email_confirmed_at, encrypted_password)
VALUES ('00000000-0000-4000-8000-0000000000a1', 'a@example.com', now(),
	'$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW');

-- a token's successor, or the SQLSTATE of its refusal; what that leaves is
-- committed, however slow the machine is
CREATE FUNCTION pg_temp.refresh(token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN auth.refresh_session(token) ->> 'refresh_token';
EXCEPTION WHEN OTHERS THEN
	WHILE plinth.auth_journal_pending() > 0 LOOP
		PERFORM pg_sleep(0.005);
	END LOOP;
	RETURN SQLSTATE;
END
$$;
CREATE TEMPORARY VIEW state AS
	SELECT row_number() OVER (ORDER BY t.id) AS token, t.used_at IS NOT NULL AS used, t.successor_sealed IS NOT NULL AS sealed,
		s.revoked_at IS NOT NULL AS revoked
	FROM auth.refresh_tokens AS t JOIN auth.sessions AS s ON s.id = t.session_id ORDER BY t.id;

-- an imported hash: a wrong password, the right one, and it is argon2id from then on
SELECT auth.sign_in_with_password('a@example.com', 'wrong horse');
SELECT auth.sign_in_with_password('a@example.com', 'U*U') AS session \gset
SELECT substr(encrypted_password, 1, 10) AS hash, plinth.auth_password_verify('U*U', encrypted_password) AS same FROM auth.users;
SELECT auth.sign_in_with_password('a@example.com', 'U*U') ->> 'token_type' AS token_type;
DELETE FROM auth.sessions WHERE id <> (plinth.jwt_verify(:'session'::jsonb ->> 'access_token') ->> 'session_id')::uuid;
SELECT :'session'::jsonb ->> 'refresh_token' AS t1 \gset
-- what is kept of a refresh token is its hash (S3.6)
SELECT t.token_hash = sha256(convert_to(:'t1', 'UTF8')) AS hash_is_kept, position(:'t1' IN t::text) + position(encode(:'t1', 'hex') IN t::text) AS token_is_kept
FROM auth.refresh_tokens AS t;

--
-- within the grace the successor comes once more, the same, and nothing new
--
SELECT pg_temp.refresh(:'t1') AS t2 \gset
TABLE state;
SET ROLE anon;
SELECT auth.refresh_session(:'t1') AS again \gset
RESET ROLE;
SELECT :'again'::jsonb ->> 'refresh_token' = :'t2' AS same_successor,
	plinth.jwt_verify(:'again'::jsonb ->> 'access_token') ->> 'session_id' = (SELECT id::text FROM auth.sessions) AS same_session;
TABLE state;
-- a third time it is refused, and the session goes on
SELECT pg_temp.refresh(:'t1');
SELECT pg_temp.refresh(:'t1');
TABLE state;
SELECT pg_temp.refresh(:'t2') AS t3 \gset
SELECT :'t3' ~ '^[A-Za-z0-9_-]{43}$' AS goes_on;
-- the one after it has its own grace; what came before the parent has none
SELECT pg_temp.refresh(:'t2') = :'t3' AS same_successor;
TABLE state;
-- not for a session that has ended, nor for a user who is banned
BEGIN;
UPDATE auth.refresh_tokens SET successor_sealed = plinth.auth_successor_seal(:'t2', :'t3') WHERE used_at IS NOT NULL;
SAVEPOINT s;
UPDATE auth.sessions SET revoked_at = now();
SELECT pg_temp.refresh(:'t2');
ROLLBACK TO s;
UPDATE auth.sessions SET not_after = now();
SELECT pg_temp.refresh(:'t2');
ROLLBACK TO s;
UPDATE auth.users SET banned_until = 'infinity';
SELECT pg_temp.refresh(:'t2');
ROLLBACK TO s;
SELECT pg_temp.refresh(:'t2') = :'t3' AS otherwise;
ROLLBACK;
SELECT count(*) FROM auth.sessions WHERE revoked_at IS NULL;

--
-- the parent of the parent ends the session, grace or no grace, though the
-- caller is rolled back
--
SELECT auth.authenticate(:'again'::jsonb ->> 'access_token') IS NOT NULL AS authenticated;
BEGIN;
SELECT pg_temp.refresh(:'t1');
ROLLBACK;
TABLE state;
SELECT event, count(*) FROM auth.events GROUP BY event ORDER BY event;
\set VERBOSITY sqlstate
SELECT auth.authenticate(:'again'::jsonb ->> 'access_token');
\set VERBOSITY default
SELECT pg_temp.refresh(:'t3'), pg_temp.refresh(:'t1'), pg_temp.refresh(:'t2');
SELECT count(*) AS ended_once FROM auth.events WHERE event = 'SIGNED_OUT';

--
-- after the grace a used token ends the session
--
DELETE FROM auth.sessions;
SELECT auth.sign_in_with_password('a@example.com', 'U*U') ->> 'refresh_token' AS t1 \gset
SELECT pg_temp.refresh(:'t1') AS t2 \gset
UPDATE auth.refresh_tokens SET used_at = used_at - interval '301 s' WHERE used_at IS NOT NULL;
SELECT pg_temp.refresh(:'t1');
SELECT token, used, revoked FROM state;
SELECT pg_temp.refresh(:'t2');

-- the grace is a setting, and 0 is none
DELETE FROM auth.sessions;
SELECT auth.sign_in_with_password('a@example.com', 'U*U') ->> 'refresh_token' AS t1 \gset
UPDATE plinth.settings SET value = '0' WHERE name = 'auth.refresh_grace';
SELECT pg_temp.refresh(:'t1') AS t2 \gset
TABLE state;
SELECT pg_temp.refresh(:'t1');
TABLE state;
UPDATE plinth.settings SET value = '"5 min"' WHERE name = 'auth.refresh_grace';

-- a token that was not used is no sign of theft
DELETE FROM auth.sessions;
SELECT auth.sign_in_with_password('a@example.com', 'U*U') ->> 'refresh_token' AS t1 \gset
UPDATE auth.refresh_tokens SET expires_at = now();
SELECT pg_temp.refresh(:'t1'), pg_temp.refresh('no such token');
TABLE state;

-- what is sealed goes when the grace is over
UPDATE auth.refresh_tokens SET expires_at = now() + interval '1 day';
SELECT pg_temp.refresh(:'t1') AS t2 \gset
SELECT auth.empty_successors();
UPDATE auth.refresh_tokens SET used_at = used_at - interval '301 s' WHERE used_at IS NOT NULL;
SELECT auth.empty_successors() <= 1 AS one_or_the_worker_was_first;
TABLE state;

-- an entry of the journal acts before it is committed: nobody commits it while
-- the session's row is locked
BEGIN;
SELECT id AS session_id, user_id FROM auth.sessions FOR UPDATE \gset
SELECT plinth.jwt_sign(jsonb_build_object('sub', :'user_id', 'session_id', :'session_id', 'role', 'authenticated')) AS token \gset
SELECT auth.authenticate(:'token') IS NOT NULL AS authenticated;
SELECT set_config('request.jwt.claims', plinth.jwt_verify(:'token')::text, true) IS NOT NULL AS set;
SELECT auth.get_session() ->> 'id' = :'session_id' AS mine;
SELECT plinth.auth_journal('revocation', :'user_id', :'session_id') AS committed;
SELECT plinth.auth_journal_pending('revocation', :'session_id') AS pending, revoked_at FROM auth.sessions;
SAVEPOINT s;
\set VERBOSITY sqlstate
SELECT auth.authenticate(:'token');
ROLLBACK TO s;
SELECT auth.refresh_session(:'t2');
ROLLBACK TO s;
SELECT set_config('request.jwt.claims', plinth.jwt_verify(:'token')::text, true) IS NOT NULL AS set;
SELECT auth.get_session();
ROLLBACK TO s;
SELECT plinth.pre_request();
ROLLBACK;
\set VERBOSITY default
DO $$ BEGIN WHILE plinth.auth_journal_pending() > 0 LOOP PERFORM pg_sleep(0.005); END LOOP; END $$;
SELECT revoked_at IS NOT NULL AS revoked FROM auth.sessions;

-- rights
\set VERBOSITY sqlstate
SET ROLE anon;
SELECT auth.empty_successors();
SELECT auth.presented_again('x');
SET ROLE service_role;
SELECT auth.empty_successors() >= 0 AS emptied;
SELECT auth.presented_again('x');
RESET ROLE;
\set VERBOSITY default

DELETE FROM plinth.settings WHERE name = 'auth.refresh_grace';
DELETE FROM auth.users;
DELETE FROM auth.lockouts;
DELETE FROM auth.events;
UPDATE plinth.rate_limit_tiers SET enabled = true WHERE name = 'anonymous';
