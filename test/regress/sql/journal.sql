-- ---------------------------------------------------------------------
-- Failed sign-ins: the security journal, lock-out and what unlocks (S3.5)
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
DELETE FROM auth.lockouts;

INSERT INTO auth.users (id, email, email_confirmed_at, encrypted_password)
SELECT id::uuid, email, now(), plinth.auth_password_hash('correct horse')
FROM (VALUES ('00000000-0000-4000-8000-0000000000a1', 'a@example.com'),
	('00000000-0000-4000-8000-0000000000b2', 'b@example.com')) AS u (id, email);

-- an attempt from an address, and its SQLSTATE; the error has undone all else,
-- and what it leaves is committed, however slow the machine is
CREATE FUNCTION pg_temp.attempt(email text, password text, address text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('request.headers',
		CASE WHEN address IS NULL THEN '' ELSE jsonb_build_object('x-forwarded-for', address, 'user-agent', 'test')::text END, true);
	PERFORM auth.sign_in_with_password(email, password);
	RETURN 'in';
EXCEPTION WHEN OTHERS THEN
	WHILE plinth.auth_journal_pending() > 0 LOOP
		PERFORM pg_sleep(0.005);
	END LOOP;
	RETURN SQLSTATE;
END
$$;
SET plinth.trust_forwarded_for = on;
-- the lock as it would stand that much later
CREATE FUNCTION pg_temp.later(by interval) RETURNS void LANGUAGE sql AS $$
	UPDATE auth.lockouts SET locked_until = locked_until - by, last_failure_at = last_failure_at - by,
		last_success_at = last_success_at - by;
	UPDATE auth.users SET locked_until = locked_until - by, last_sign_in_at = last_sign_in_at - by;
	UPDATE auth.events SET created_at = created_at - by
$$;
CREATE TEMPORARY VIEW state AS
	SELECT right(user_id::text, 2) AS account, source, failures, refused, locked_until - last_failure_at AS wait,
		last_success_at IS NOT NULL AS known
	FROM auth.lockouts ORDER BY account NULLS FIRST, source NULLS FIRST;

--
-- the fifth failure in a row locks, for that account and source alone
--
SELECT pg_temp.attempt('a@example.com', 'wrong horse', '192.0.2.7') FROM generate_series(1, 4);
TABLE state;
-- each has its event, with where it came from, though the caller is rolled back
BEGIN;
SELECT pg_temp.attempt('a@example.com', 'wrong horse', '192.0.2.7');
ROLLBACK;
TABLE state;
SELECT event, ip, user_agent, count(*) FROM auth.events GROUP BY 1, 2, 3;
SELECT failed_attempts, locked_until FROM auth.users ORDER BY email;
-- now the right password is refused too, which counts as no failure
SELECT pg_temp.attempt('a@example.com', 'correct horse', '192.0.2.7') AS locked,
	pg_temp.attempt('a@example.com', 'correct horse', '::ffff:192.0.2.7') AS the_same_source,
	pg_temp.attempt('b@example.com', 'correct horse', '192.0.2.7') AS other_account,
	pg_temp.attempt('a@example.com', 'correct horse', '192.0.2.8') AS other_source;
TABLE state;

-- twice as long after each further failure, up to 15 minutes
\set again 'SELECT pg_temp.later(''15 min''); SELECT pg_temp.attempt(''a@example.com'', ''wrong horse'', ''192.0.2.7''); SELECT failures, wait FROM state WHERE source = ''192.0.2.7'' AND account = ''a1'';'
\o /dev/null
\t on
SELECT pg_temp.later('1 min');
\o
SELECT pg_temp.attempt('a@example.com', 'wrong horse', '192.0.2.7');
SELECT failures, wait FROM state WHERE source = '192.0.2.7' AND account = 'a1';
:again
:again
:again
:again
:again
\t off
-- a success when the wait is over forgets them
SELECT pg_temp.later('15 min') IS NOT NULL AS later;
SELECT pg_temp.attempt('a@example.com', 'correct horse', '192.0.2.7');
SELECT account, source, failures, wait IS NULL AS unlocked, known FROM state WHERE source = '192.0.2.7' AND account = 'a1';
SELECT failed_attempts FROM auth.users WHERE email = 'a@example.com';

-- an IPv6 source is a /64
SELECT pg_temp.attempt('b@example.com', 'wrong horse', '2001:db8::' || n) FROM generate_series(1, 5) AS n;
SELECT pg_temp.attempt('b@example.com', 'correct horse', '2001:db8::ff') AS same_network,
	pg_temp.attempt('b@example.com', 'correct horse', '2001:db8:0:1::1') AS another;
SELECT source, failures FROM state WHERE family(source) = 6;

-- an address without an account is refused alike; only the source is kept
SELECT pg_temp.attempt('nobody' || n || '@example.com', 'wrong horse', '192.0.2.9') FROM generate_series(1, 6) AS n;
SELECT account, source, failures, refused, wait FROM state WHERE account IS NULL;
SELECT count(*) AS events FROM auth.events WHERE user_id IS NULL;

-- the count is the setting's
BEGIN;
INSERT INTO plinth.settings (name, value) VALUES ('auth.failures_to_lock', '1');
SELECT wait, until_now FROM (SELECT auth.lock_wait(1, 1), auth.lock_wait(0, 1)) AS w (wait, until_now);
ROLLBACK;
SELECT n, auth.lock_wait(n, 5) FROM unnest(ARRAY[0, 4, 5, 6, 7, 8, 9, 10, 1000000]) AS n;

--
-- 50 failures in an hour, from anywhere: sources that never signed in wait
--
DELETE FROM auth.lockouts;
DELETE FROM auth.events;
UPDATE auth.users SET locked_until = NULL, failed_attempts = 0;
SELECT pg_temp.attempt('a@example.com', 'correct horse', '192.0.2.1') AS home;
INSERT INTO auth.events (user_id, event, created_at)
SELECT '00000000-0000-4000-8000-0000000000a1', 'SIGN_IN_FAILED', now() - n * interval '1 min'
FROM generate_series(10, 68) AS n;
SELECT pg_temp.attempt('a@example.com', 'wrong horse', '198.51.100.1') AS the_51st;
SELECT u.locked_until - e.created_at AS wait FROM auth.users AS u, LATERAL (
	SELECT max(created_at) AS created_at FROM auth.events WHERE event = 'SIGN_IN_FAILED') AS e WHERE u.email = 'a@example.com';
SELECT pg_temp.attempt('a@example.com', 'correct horse', '198.51.100.2') AS never_seen,
	pg_temp.attempt('b@example.com', 'correct horse', '198.51.100.2') AS other_account,
	pg_temp.attempt('a@example.com', 'correct horse', '192.0.2.1') AS home;

-- a recovery link unlocks everywhere
SELECT pg_temp.attempt('b@example.com', 'wrong horse', '192.0.2.66') FROM generate_series(1, 5);
SELECT pg_temp.attempt('b@example.com', 'correct horse', '192.0.2.66') AS locked;
UPDATE auth.users SET locked_until = 'infinity' WHERE email = 'b@example.com';
SELECT auth.unlock('00000000-0000-4000-8000-0000000000b2');
SELECT pg_temp.attempt('b@example.com', 'correct horse', '192.0.2.66') AS unlocked,
	pg_temp.attempt('b@example.com', 'correct horse', '192.0.2.67') AS elsewhere;

--
-- the answer is for now, not for the snapshot of an old transaction
--
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) AS failures_seen FROM auth.lockouts WHERE source = '203.0.113.1';
SELECT pg_temp.attempt('a@example.com', 'wrong horse', '192.0.2.1') FROM generate_series(1, 5);
SELECT pg_temp.attempt('a@example.com', 'correct horse', '192.0.2.1') AS locked;
ROLLBACK;
SELECT failures, refused FROM state WHERE account = 'a1' AND source = '192.0.2.1';

--
-- what the interface refuses, and to whom
--
SELECT plinth.auth_journal_pending('failure', '00000000-0000-4000-8000-0000000000a1');
SELECT plinth.auth_journal_pending();
SELECT plinth.auth_journal_ready();
SELECT plinth.auth_lock_ends(NULL) IS NULL AS nobody_waits;
\set VERBOSITY sqlstate
SELECT plinth.auth_journal('', NULL);
SELECT plinth.auth_journal(NULL, NULL);
SELECT plinth.auth_journal('x''y', NULL);
SELECT plinth.auth_journal(repeat('x', 25), NULL);
SET plinth.journal_entries = 16;
SET ROLE anon;
SELECT plinth.auth_journal('failure', NULL);
SELECT plinth.auth_journal_ready();
SELECT plinth.auth_journal_pending('failure', '00000000-0000-4000-8000-0000000000a1');
SELECT plinth.auth_lock_ends(NULL);
SELECT plinth.auth_source();
SELECT auth.unlock('00000000-0000-4000-8000-0000000000a1');
SELECT auth.commit_failure(NULL, NULL, NULL, NULL, NULL, now());
SELECT auth.lock_ends(NULL, NULL, '{}', '{}');
SELECT FROM auth.lockouts;
SET ROLE authenticated;
SELECT plinth.auth_journal('failure', NULL);
SELECT auth.commit_revocation(NULL, NULL, NULL, NULL, NULL, now());
SET ROLE service_role;
SELECT plinth.auth_journal('failure', NULL);
SELECT auth.note_success('00000000-0000-4000-8000-0000000000a1');
SELECT FROM auth.lockouts;
RESET ROLE;
\set VERBOSITY default

-- a kind that nobody commits, and a user who has gone: the entry goes
SELECT plinth.auth_journal('unknown_kind', NULL) AS gone;
SELECT plinth.auth_journal('failure', '00000000-0000-4000-8000-0000000000ff') AS gone,
	plinth.auth_journal('refusal', '00000000-0000-4000-8000-0000000000ff') AS gone,
	plinth.auth_journal('revocation', NULL, '00000000-0000-4000-8000-0000000000ff') AS gone;
SELECT count(*) FROM auth.lockouts WHERE user_id = '00000000-0000-4000-8000-0000000000ff';

-- what is NULL counts as nothing to know
SELECT auth.lock_ends(NULL, NULL, '{}', '{}') IS NULL AS nobody_waits;

-- locks go with their account
DELETE FROM auth.users;
SELECT count(*) FROM auth.lockouts WHERE user_id IS NOT NULL;
DELETE FROM auth.lockouts;
DELETE FROM auth.events;
UPDATE plinth.rate_limit_tiers SET enabled = true WHERE name = 'anonymous';
