-- ---------------------------------------------------------------------
-- auth: what a mail proves, and what a user changes of the account
--
-- S3.4, S3.9, S3.10
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;
UPDATE plinth.rate_limit_tiers SET enabled = false WHERE name = 'anonymous';
SET plinth.password_memory = '19MB';

INSERT INTO auth.users (id, email, encrypted_password, email_confirmed_at) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'a@example.com', plinth.auth_password_hash('correct horse'), now()),
	('00000000-0000-4000-8000-0000000000b1', 'b@example.com', plinth.auth_password_hash('correct horse'), NULL);
INSERT INTO auth.identities (user_id, provider, provider_id, identity_data)
	SELECT id, 'email', id::text, jsonb_build_object('email', email) FROM auth.users;

-- the token of a new mail
CREATE FUNCTION pg_temp.link(kind text, email text) RETURNS text LANGUAGE sql AS $$
	SELECT auth.generate_link(kind, email) ->> 'token' $$;
-- whose session somebody gets, or the error
CREATE FUNCTION pg_temp.follow(kind text, token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN 'session of ' || (auth.verify_otp(kind, token) #>> '{user,email}');
EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
-- become the one whose session it is; '' for nobody
CREATE FUNCTION pg_temp.become(session text) RETURNS text LANGUAGE sql AS $$
	SELECT 'now ' || coalesce(auth.email(), 'nobody') FROM set_config('request.jwt.claims', CASE WHEN session <> ''
		THEN plinth.jwt_verify(session::jsonb ->> 'access_token')::text ELSE '' END, false) AS c WHERE c IS NOT NULL $$;

-- every kind has its life
SELECT count(auth.generate_link(kind, 'A@example.com')) AS made FROM unnest(ARRAY['recovery', 'magic_link', 'reauthentication']) AS k (kind);
SELECT kind, date_trunc('minute', expires_at - created_at + interval '1 s') AS life FROM auth.one_time_tokens ORDER BY kind;
DELETE FROM auth.one_time_tokens;
-- refused: no account, no such kind, a proof of what is not known
SELECT auth.generate_link('recovery', 'nobody@example.com');
SELECT auth.generate_link('magic_link', NULL);
SELECT auth.generate_link('email_change', 'a@example.com');
SELECT auth.generate_link('reauthentication', 'b@example.com');
SELECT auth.generate_link('confirmation', 'a@example.com');
SELECT auth.generate_link('Recovery', 'a@example.com');

-- each token once, for its kind, in its time, and only the newest of a kind
SELECT pg_temp.link('magic_link', 'a@example.com') AS first_token \gset
SELECT pg_temp.link('magic_link', 'a@example.com') AS token \gset
SELECT pg_temp.link('reauthentication', 'a@example.com') AS again \gset
SET ROLE anon;
SELECT pg_temp.follow('magic_link', :'first_token') AS replaced, pg_temp.follow('recovery', :'token') AS other_kind,
	pg_temp.follow('Recovery', :'token') AS no_kind, pg_temp.follow('magic_link', NULL) AS nothing;
SELECT pg_temp.follow('magic_link', :'token') AS good, pg_temp.follow('reauthentication', :'again') AS reauthentication;
SELECT pg_temp.follow('magic_link', :'token') AS used, pg_temp.follow('reauthentication', :'again') AS used_too;
RESET ROLE;
SELECT amr, count(*) FROM auth.sessions GROUP BY amr;
SELECT pg_temp.link('recovery', 'a@example.com') AS token \gset
UPDATE auth.one_time_tokens SET expires_at = clock_timestamp() WHERE used_at IS NULL;
SELECT pg_temp.follow('recovery', :'token') AS expired;
UPDATE auth.one_time_tokens SET expires_at = now() + interval '1 min' WHERE used_at IS NULL;
UPDATE auth.users SET banned_until = 'infinity';
SELECT pg_temp.follow('recovery', :'token') AS banned;
UPDATE auth.users SET banned_until = NULL, failed_attempts = 7, locked_until = 'infinity';
SELECT pg_temp.follow('recovery', :'token') AS unlocks;
SELECT failed_attempts, locked_until FROM auth.users WHERE email = 'a@example.com';
SELECT event, count(*) FROM auth.events GROUP BY event ORDER BY event;
DELETE FROM auth.sessions;
DELETE FROM auth.events;

-- who confirms an address with a link of their own gets rid of the password that
-- somebody else may have chosen for it
SELECT pg_temp.link('magic_link', 'b@example.com') AS token \gset
SELECT pg_temp.follow('magic_link', :'token') AS session;
SELECT email_confirmed_at IS NOT NULL AS confirmed, encrypted_password FROM auth.users WHERE email = 'b@example.com';
-- not one that was proven before
SELECT pg_temp.link('magic_link', 'a@example.com') AS token \gset
SELECT pg_temp.follow('magic_link', :'token') AS session;
SELECT encrypted_password IS NOT NULL AS kept FROM auth.users WHERE email = 'a@example.com';

--
-- asking for a new password says nothing about who has an account
--
SET ROLE anon;
SELECT auth.reset_password_for_email('a@example.com') AS known, auth.reset_password_for_email('nobody@example.com') AS unknown;
SELECT auth.reset_password_for_email('nobody');
SELECT auth.reset_password_for_email(NULL);
SELECT auth.reset_password_for_email('a@example.com', 'https://evil.example/');
SELECT auth.reset_password_for_email('nobody@example.com', 'https://evil.example/');
RESET ROLE;
SELECT count(*) AS tokens_made FROM auth.one_time_tokens WHERE used_at IS NULL;
-- it cannot: it looks into no table that knows (S3.4)
CREATE FUNCTION pg_temp.looks() RETURNS numeric LANGUAGE sql AS $$
	SELECT sum(seq_scan + idx_scan) FROM pg_stat_xact_user_tables WHERE schemaname = 'auth'
$$;
BEGIN;
SELECT pg_temp.looks() AS before \gset
SELECT auth.reset_password_for_email('a@example.com') AS known, auth.reset_password_for_email('nobody@example.com') AS unknown;
SELECT pg_temp.looks() - :before AS looks;
-- one would have been seen
SELECT count(*) FROM auth.users WHERE lower(email) = 'a@example.com';
SELECT pg_temp.looks() > :before AS looked;
COMMIT;

--
-- a new password
--
DELETE FROM auth.sessions;
DELETE FROM auth.events;
SELECT auth.sign_in_with_password('a@example.com', 'correct horse') AS session,
	auth.sign_in_with_password('a@example.com', 'correct horse') AS other \gset
SET ROLE anon;
SELECT auth.update_user(data => '{}');
SET ROLE authenticated;
SELECT auth.update_user(data => '{}');
RESET ROLE;
SELECT pg_temp.become(:'session');
SET ROLE authenticated;
-- neither without the old one, nor with another, nor a bad one; no message repeats one
SELECT auth.update_user('a new password');
SELECT auth.update_user('a new password', current_password => 'wrong horse');
SELECT auth.update_user('a new password', current_password => '');
RESET ROLE;
-- which counts as a failure to sign in
DO $$ BEGIN WHILE plinth.auth_journal_pending() > 0 LOOP PERFORM pg_sleep(0.005); END LOOP; END $$;
SELECT count(*) AS failures FROM auth.events WHERE event = 'SIGN_IN_FAILED';
SET ROLE authenticated;
SELECT auth.update_user('short', current_password => 'correct horse');
SELECT auth.update_user('password', current_password => 'correct horse');
SELECT auth.update_user(data => '[]');
SELECT auth.update_user(data => 'null');
SELECT auth.update_user(data => jsonb_build_object('x', repeat('x', 4096)));
SELECT auth.update_user(email => 'nowhere');
RESET ROLE;
SELECT pg_temp.link('recovery', 'a@example.com') AS stale \gset
SET ROLE authenticated;
SELECT jsonb_object_keys(auth.update_user('a new password', current_password => 'correct horse', data => '{"full_name": "A"}')) AS user_fields;
-- the metadata is merged, and nothing else can be reached by it
SELECT auth.update_user(data => '{"app_role": "admin", "city": "Bern"}') -> 'user_metadata' AS user_metadata;
SELECT user_metadata, app_role FROM auth.me;
RESET ROLE;
SELECT id = (plinth.jwt_verify(:'session'::jsonb ->> 'access_token') ->> 'session_id')::uuid AS own, revoked_at IS NOT NULL AS ended
FROM auth.sessions ORDER BY 1;
SELECT pg_temp.become('');
SELECT pg_temp.follow('recovery', :'stale') AS older_link;
SELECT event, count(*) FROM auth.events WHERE event <> 'SIGN_IN_FAILED' GROUP BY event ORDER BY event;
SELECT auth.sign_in_with_password('a@example.com', 'correct horse');
SELECT auth.sign_in_with_password('a@example.com', 'a new password') ->> 'token_type' AS token_type;
-- an ended session changes nothing
SELECT pg_temp.become(:'other');
SET ROLE authenticated;
SELECT auth.update_user(data => '{"x": 1}');
RESET ROLE;
SELECT pg_temp.become('');

--
-- a recovery link: no old password, once, and soon
--
INSERT INTO auth.lockouts (user_id, source, failures, locked_until)
VALUES ('00000000-0000-4000-8000-0000000000a1', '192.0.2.1', 9, 'infinity');
SELECT auth.verify_otp('recovery', pg_temp.link('recovery', 'a@example.com')) AS session \gset
SELECT pg_temp.become(:'session');
SELECT failures, locked_until FROM auth.lockouts WHERE source = '192.0.2.1';
UPDATE auth.sessions SET created_at = clock_timestamp() - interval '10 min';
SET ROLE authenticated;
SELECT auth.update_user('the next password');
RESET ROLE;
UPDATE auth.sessions SET created_at = clock_timestamp() - interval '9 min';
SET ROLE authenticated;
SELECT auth.update_user('the next password') ->> 'email' AS email;
SELECT auth.update_user('yet another password');
SELECT auth.get_session() -> 'amr' AS amr;
RESET ROLE;
SELECT pg_temp.become('');
-- a magic link is none
SELECT auth.verify_otp('magic_link', pg_temp.link('magic_link', 'a@example.com')) AS session \gset
SELECT pg_temp.become(:'session');
SET ROLE authenticated;
SELECT auth.update_user('yet another password');
RESET ROLE;
SELECT pg_temp.become('');
-- who never had a password gets one by a recovery link, and an identity with it
DELETE FROM auth.identities WHERE user_id = '00000000-0000-4000-8000-0000000000b1';
SELECT auth.verify_otp('recovery', pg_temp.link('recovery', 'b@example.com')) AS session \gset
SELECT pg_temp.become(:'session');
SET ROLE authenticated;
SELECT auth.update_user('first password') ->> 'email' AS email;
RESET ROLE;
SELECT provider, identity_data ->> 'email' AS email FROM auth.identities WHERE user_id = '00000000-0000-4000-8000-0000000000b1';

--
-- a new address, when its owner says so
--
SET ROLE authenticated;
SELECT auth.update_user(email => 'B@example.com') ->> 'email' AS same;
SELECT auth.update_user(email => 'a@example.com') ->> 'email' AS taken;
RESET ROLE;
SELECT auth.generate_link('email_change', 'a@example.com');
SET ROLE authenticated;
SELECT auth.update_user(email => 'new@example.com') ->> 'email' AS still;
RESET ROLE;
SELECT pg_temp.link('magic_link', 'b@example.com') AS stale, pg_temp.link('email_change', 'NEW@example.com') AS token \gset
SELECT kind, relates_to FROM auth.one_time_tokens WHERE used_at IS NULL ORDER BY kind;
-- taken by somebody while the mail was under way
BEGIN;
INSERT INTO auth.users (email) VALUES ('New@example.com');
SELECT pg_temp.follow('email_change', :'token') AS taken;
ROLLBACK;
SELECT pg_temp.follow('email_change', :'token') AS taken_over;
SELECT pg_temp.follow('email_change', :'token') AS once, pg_temp.follow('magic_link', :'stale') AS sent_to_the_old_address;
SELECT u.email, u.email_confirmed_at IS NOT NULL AS confirmed, i.identity_data ->> 'email' AS identity
FROM auth.users AS u JOIN auth.identities AS i ON i.user_id = u.id WHERE u.id = '00000000-0000-4000-8000-0000000000b1';
-- a guest becomes a user so
INSERT INTO auth.users (id, is_anonymous) VALUES ('00000000-0000-4000-8000-0000000000c1', true);
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000c1"}';
SET ROLE authenticated;
SELECT auth.update_user(email => 'guest@example.com') -> 'is_anonymous' AS is_anonymous;
RESET ROLE;
SELECT auth.verify_otp('email_change', pg_temp.link('email_change', 'guest@example.com')) #> '{user,is_anonymous}' AS is_anonymous;
RESET request.jwt.claims;

-- guesses of the current password are counted, by the account's address
UPDATE plinth.rate_limit_tiers SET enabled = true, requests = 3 WHERE name = 'anonymous';
DO $$ BEGIN PERFORM plinth.check_rate_limit('email:a@example.com', 'anonymous') FROM generate_series(1, 3); END $$;
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000a1"}';
\set VERBOSITY sqlstate
SET ROLE authenticated;
SELECT auth.update_user('yet another password', current_password => 'a guess');
SET ROLE anon;
SELECT auth.reset_password_for_email('a@example.com');
RESET ROLE;
\set VERBOSITY default
RESET request.jwt.claims;
DO $$ BEGIN PERFORM plinth.rate_limit_reset(i, 'anonymous')
	FROM unnest(ARRAY[coalesce(host(inet_client_addr()), 'local'), 'email:a@example.com']) AS i; END $$;
UPDATE plinth.rate_limit_tiers SET requests = 10 WHERE name = 'anonymous';

DELETE FROM auth.events;
DELETE FROM auth.users;
RESET plinth.password_memory;
