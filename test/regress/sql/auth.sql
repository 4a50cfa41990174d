-- ---------------------------------------------------------------------
-- auth: accounts and sessions
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;

-- the limit on attempts has its own part below; hashes at the least cost
UPDATE plinth.rate_limit_tiers SET enabled = false WHERE name = 'anonymous';
SET plinth.password_memory = '19MB';

--
-- sign up
--
SET ROLE anon;
-- the answer has an id that is no account's, and is the same the second time
SELECT auth.sign_up('Jane@Example.com', 'correct horse', '{"full_name": "Jane Doe"}') AS answer \gset
SELECT auth.sign_up('jane@example.COM', 'another password') AS again \gset
RESET ROLE;
SELECT jsonb_pretty(:'answer'::jsonb #- '{user,id}') AS answer, jsonb_pretty(:'again'::jsonb #- '{user,id}') AS again,
	:'answer'::jsonb #>> '{user,id}' <> :'again'::jsonb #>> '{user,id}' AS ids_differ;
SELECT count(*) AS accounts, count(*) FILTER (WHERE id::text IN (:'answer'::jsonb #>> '{user,id}',
	:'again'::jsonb #>> '{user,id}')) AS told FROM auth.users;
SELECT email, encrypted_password LIKE '$argon2id$v=19$m=19456,t=2,p=1$%' AS hashed, email_confirmed_at,
	raw_user_meta_data, raw_app_meta_data, app_role, is_anonymous, failed_attempts
FROM auth.users;
SELECT provider, provider_id = user_id::text AS own_id, identity_data ->> 'email' AS email FROM auth.identities;
-- the second password has not replaced the first
SELECT plinth.auth_password_verify('correct horse', encrypted_password) AS first,
	plinth.auth_password_verify('another password', encrypted_password) AS second FROM auth.users;

-- refused
SET ROLE anon;
SELECT auth.sign_up('bob@example.com', 'short');
SELECT auth.sign_up('bob@example.com', 'password');
SELECT auth.sign_up('bob@example.com', NULL);
SELECT auth.sign_up('bob', 'correct horse');
SELECT auth.sign_up('bob@', 'correct horse');
SELECT auth.sign_up('bob@example@com', 'correct horse');
SELECT auth.sign_up(E'bob\n@example.com', 'correct horse');
SELECT auth.sign_up('', 'correct horse');
SELECT auth.sign_up(NULL, 'correct horse');
SELECT auth.sign_up(repeat('x', 310) || '@example.com', 'correct horse');
SELECT auth.sign_up('bob@example.com', 'correct horse', '[]');
SELECT auth.sign_up('bob@example.com', 'correct horse', NULL);
SELECT auth.sign_up('bob@example.com', 'correct horse', jsonb_build_object('x', repeat('x', 4096)));
SELECT auth.sign_up('bob@example.com', 'correct horse', '{}', 'https://evil.example/auth/callback');

--
-- sign in: not before the address is confirmed, and one answer for all
--
SELECT auth.sign_in_with_password('jane@example.com', 'correct horse');
SELECT auth.sign_in_with_password('jane@example.com', 'wrong horse');
SELECT auth.sign_in_with_password('nobody@example.com', 'correct horse');
SELECT auth.sign_in_with_password(NULL, NULL);

--
-- confirmation
--
RESET ROLE;
INSERT INTO auth.redirect_urls VALUES ('https://*.example.com/auth/callback'), ('https://a.example/x?y=(1+2)#z');
SET ROLE service_role;
SELECT auth.generate_link('confirmation', 'jane@example.com') AS first_link \gset
SELECT auth.generate_link('confirmation', 'JANE@example.com', 'https://app.example.com/auth/callback') AS link \gset
RESET ROLE;
SELECT :'link'::jsonb ->> 'token' AS token, :'first_link'::jsonb ->> 'token' AS first_token \gset
SELECT :'first_link'::jsonb -> 'link' AS without_redirect,
	replace(:'link'::jsonb ->> 'link', :'token', '<token>') AS link,
	:'token' ~ '^[A-Za-z0-9_-]{43}$' AS token_form,
	(:'link'::jsonb ->> 'expires_at')::timestamptz - now() BETWEEN '23:59' AND '24:01' AS in_a_day;
-- the token is stored nowhere, and one is open for each kind
SELECT kind, redirect_to, used_at, token_hash = sha256(:'token') AS hashed FROM auth.one_time_tokens;
-- a link keeps what its address has
SET ROLE service_role;
SELECT regexp_replace(auth.generate_link('confirmation', 'jane@example.com', 'https://a.example/x?y=(1+2)#z') ->> 'link',
	'token=[^#&]*', 'token=<token>') AS link;
SELECT auth.generate_link('confirmation', 'jane@example.com') ->> 'token' AS token \gset
-- refused
SELECT auth.generate_link('confirmation', 'nobody@example.com');
SELECT auth.generate_link('confirmation', NULL);
SELECT auth.generate_link('invitation', 'jane@example.com');
SELECT auth.generate_link(NULL, 'jane@example.com');
SELECT auth.generate_link('confirmation', 'jane@example.com', redirect)
FROM (VALUES ('https://example.com/auth/callback')) AS r (redirect);
RESET ROLE;
-- what a star may be, and what no pattern may be led to
CREATE FUNCTION pg_temp.allowed(url text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM auth.check_redirect(url);
	RETURN true;
EXCEPTION WHEN invalid_parameter_value THEN RETURN false;
END
$$;
SELECT url, pg_temp.allowed(url) FROM unnest(ARRAY[
	'https://app.example.com/auth/callback', 'https://a.b-c_d~e.example.com/auth/callback',
	'https://.example.com/auth/callback', 'https://a.example/x?y=(1+2)#z',
	'http://app.example.com/auth/callback', 'https://app.example.com/auth/callback/',
	'https://app.example.com/auth/callbackx', 'https://app.example.comx/auth/callback',
	'https://evil.example/.example.com/auth/callback', 'https://evil.example?.example.com/auth/callback',
	'https://evil.example#.example.com/auth/callback', 'https://evil.example\.example.com/auth/callback',
	'https://evil@app.example.com/auth/callback', 'https://evil.example:80.example.com/auth/callback',
	E'https://app.example.com/auth/callback\n', E'x\nhttps://app.example.com/auth/callback',
	'https://axexample/x?y=(1+2)#z', 'javascript:alert(1)', '', NULL]) AS u (url);

-- single use
SET ROLE anon;
SELECT auth.verify_otp('confirmation', :'first_token');
SELECT auth.verify_otp('confirmation', 'no such token');
SELECT auth.verify_otp('confirmation', NULL);
SELECT auth.verify_otp('invitation', :'token');
SELECT auth.verify_otp('recovery', :'token');
SELECT auth.verify_otp(NULL, :'token');
SELECT auth.verify_otp('confirmation', :'token') AS session \gset
SELECT auth.verify_otp('confirmation', :'token');
RESET ROLE;
SELECT email_confirmed_at IS NOT NULL AS confirmed, last_sign_in_at IS NOT NULL AS signed_in FROM auth.users;
SET ROLE service_role;
SELECT auth.generate_link('confirmation', 'jane@example.com');
RESET ROLE;
-- expired
UPDATE auth.users SET email_confirmed_at = NULL;
SELECT auth.generate_link('confirmation', 'jane@example.com') ->> 'token' AS token \gset
UPDATE auth.one_time_tokens SET expires_at = clock_timestamp() WHERE used_at IS NULL;
SET ROLE anon;
SELECT auth.verify_otp('confirmation', :'token');
RESET ROLE;
UPDATE auth.users SET email_confirmed_at = now();

--
-- a session, and what its token says
--
SET ROLE anon;
SELECT auth.sign_in_with_password('JANE@example.com', 'correct horse') AS session \gset
RESET ROLE;
SELECT jsonb_object_agg(key, jsonb_typeof(value)) AS shape FROM jsonb_each(:'session');
SELECT :'session'::jsonb ->> 'token_type' AS token_type, :'session'::jsonb ->> 'expires_in' AS expires_in,
	(SELECT string_agg(key, ' ' ORDER BY key) FROM jsonb_object_keys(:'session'::jsonb -> 'user') AS k (key)) AS user_fields;
SELECT u.id AS user_id, s.id AS session_id FROM auth.users AS u JOIN auth.sessions AS s ON s.user_id = u.id
ORDER BY s.created_at DESC LIMIT 1 \gset
SELECT :'session'::jsonb ->> 'access_token' AS token, :'session'::jsonb ->> 'refresh_token' AS refresh_token \gset
SELECT claims ->> 'sub' = :'user_id' AS sub, claims ->> 'session_id' = :'session_id' AS session,
	claims ->> 'exp' = :'session'::jsonb ->> 'expires_at' AS exp,
	(claims ->> 'exp')::bigint - (claims ->> 'iat')::bigint AS life,
	claims - ARRAY['sub', 'session_id', 'iat', 'exp'] AS rest
FROM plinth.jwt_verify(:'token') AS claims;
SELECT provider, last_sign_in_at IS NOT NULL AS noted FROM auth.identities;

-- the planner sees through the wrappers that policies call
EXPLAIN (VERBOSE, COSTS OFF) SELECT auth.uid(), auth.jwt(), auth.role(), auth.email(), auth.session_id(), auth.aal();

-- the token makes the caller the user, for the transaction
SET ROLE authenticated;
BEGIN;
SELECT auth.authenticate(:'token') ->> 'email' AS email;
SELECT auth.uid() = :'user_id' AS uid, auth.role(), auth.email(), auth.session_id() = :'session_id' AS session, auth.aal();
SELECT (auth.get_user() ->> 'id')::uuid = auth.uid() AS own, auth.get_user() ->> 'email' AS email;
SELECT (auth.get_session() ->> 'id')::uuid = auth.session_id() AS own,
	auth.get_session() -> 'expires_at' = auth.jwt() -> 'exp' AS expires, auth.get_session() -> 'amr' AS amr;
SELECT auth.get_user()::text || auth.get_session()::text ~ 'argon2|encrypted|failed' AS leaks;
SELECT email, user_metadata, app_role FROM auth.me;
COMMIT;
SELECT auth.uid();
SELECT auth.get_user();
SELECT auth.get_session();
SELECT auth.sign_out();
RESET ROLE;

-- a token for front ends: no user
SELECT plinth.jwt_verify(auth.anon_key()) - ARRAY['iat', 'exp'] AS claims,
	plinth.jwt_verify(auth.anon_key('1 hour')) ->> 'exp' < plinth.jwt_verify(auth.anon_key()) ->> 'exp' AS shorter;
SELECT auth.anon_key('-1 day');
SELECT auth.anon_key('20 years');
SELECT auth.anon_key(NULL);

--
-- refresh: once
--
SET ROLE anon;
SELECT auth.refresh_session(:'refresh_token') AS next_session \gset
RESET ROLE;
SELECT :'next_session'::jsonb ->> 'refresh_token' AS next_token \gset
SELECT :'next_token' <> :'refresh_token' AS another,
	plinth.jwt_verify(:'next_session'::jsonb ->> 'access_token') ->> 'session_id' = :'session_id' AS same_session,
	plinth.jwt_verify(:'next_session'::jsonb ->> 'access_token') -> 'amr' AS amr;
SELECT t.used_at IS NOT NULL AS used, p.token_hash = sha256(:'refresh_token') AS from_first,
	t.token_hash = sha256(:'next_token') AS hashed, t.expires_at <= s.not_after AS within
FROM auth.refresh_tokens AS t LEFT JOIN auth.refresh_tokens AS p ON p.id = t.parent_id JOIN auth.sessions AS s ON s.id = t.session_id
WHERE s.id = :'session_id' ORDER BY t.id;
SET ROLE anon;
SELECT auth.refresh_session('no such token');
SELECT auth.refresh_session('');
SELECT auth.refresh_session(NULL);
RESET ROLE;
-- not when the token, the session's idle time or the session is over, nor for a banned user; nothing is used up
CREATE FUNCTION pg_temp.refused(change text, token text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE change;
	PERFORM auth.refresh_session(token);
	RETURN 'let in';
EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT change, pg_temp.refused(change, :'next_token') FROM unnest(ARRAY[
	'UPDATE auth.refresh_tokens SET expires_at = clock_timestamp()',
	'UPDATE auth.refresh_tokens SET revoked_at = clock_timestamp()',
	'UPDATE auth.sessions SET not_after = clock_timestamp()',
	'UPDATE auth.sessions SET revoked_at = clock_timestamp()',
	'ALTER TABLE auth.sessions DISABLE TRIGGER touch; UPDATE auth.sessions SET updated_at = now() - interval ''8 days''',
	'DELETE FROM auth.sessions',
	'UPDATE auth.users SET banned_until = ''infinity''',
	'DELETE FROM auth.users']) AS c (change);
SELECT auth.refresh_session(:'next_token') ->> 'token_type' AS token_type;

--
-- sign in is refused to the banned and the locked as to all others
--
CREATE FUNCTION pg_temp.sign_in(change text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer	text;
BEGIN
	EXECUTE change;
	SELECT auth.sign_in_with_password('jane@example.com', 'correct horse') ->> 'token_type' INTO answer;
	RAISE EXCEPTION USING ERRCODE = 'PT000', MESSAGE = answer;
EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT change, pg_temp.sign_in(change) FROM unnest(ARRAY[
	'SELECT',
	'UPDATE auth.users SET banned_until = ''infinity''',
	'UPDATE auth.users SET banned_until = ''-infinity''',
	'UPDATE auth.lockouts SET locked_until = ''infinity''',
	'UPDATE auth.lockouts SET locked_until = ''-infinity''',
	'UPDATE auth.users SET locked_until = ''infinity'' -- a known source',
	'DELETE FROM auth.lockouts; UPDATE auth.users SET locked_until = ''infinity''',
	'UPDATE auth.users SET locked_until = ''-infinity''',
	'UPDATE auth.users SET email_confirmed_at = NULL',
	'UPDATE auth.users SET email_confirmed_at = NULL; INSERT INTO plinth.settings (name, value) VALUES (''auth.require_confirmation'', ''false'')',
	'UPDATE auth.users SET encrypted_password = NULL',
	'UPDATE auth.users SET encrypted_password = ''''']) AS c (change);

-- without confirmation an account is good at once
BEGIN;
INSERT INTO plinth.settings (name, value) VALUES ('auth.require_confirmation', 'false');
SELECT auth.sign_up('eve@example.com', 'correct horse') IS NOT NULL AS signed_up,
	auth.sign_in_with_password('eve@example.com', 'correct horse') ->> 'token_type' AS token_type;
ROLLBACK;

-- a weaker hash is made anew when the password is known, and then only
SET plinth.password_memory = '20MB';
SELECT pg_temp.sign_in('SELECT') AS undone;
SELECT auth.sign_in_with_password('jane@example.com', 'wrong horse');
SELECT substr(encrypted_password, 1, 30) AS hash FROM auth.users;
SELECT auth.sign_in_with_password('jane@example.com', 'correct horse') IS NOT NULL AS signed_in;
SELECT substr(encrypted_password, 1, 30) AS hash FROM auth.users;
SET plinth.password_memory = '19MB';
SELECT auth.sign_in_with_password('jane@example.com', 'correct horse') IS NOT NULL AS signed_in;
SELECT substr(encrypted_password, 1, 30) AS kept FROM auth.users;

-- the life of a token is a setting, and ends with its session
BEGIN;
INSERT INTO plinth.settings (name, value) VALUES ('auth.access_token_ttl', '"2 min"');
SELECT auth.sign_in_with_password('jane@example.com', 'correct horse') ->> 'expires_in' AS expires_in;
INSERT INTO plinth.settings (name, value) VALUES ('auth.session_ttl', '"1 min"');
SELECT (auth.sign_in_with_password('jane@example.com', 'correct horse') ->> 'expires_in')::int BETWEEN 59 AND 60 AS within_session;
ROLLBACK;

--
-- sign out
--
DELETE FROM auth.sessions;
INSERT INTO auth.sessions (id, user_id, not_after)
SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, :'user_id', now() + interval '1 day' FROM generate_series(1, 3) AS n;
SELECT jsonb_build_object('role', 'authenticated', 'sub', :'user_id',
	'session_id', '00000000-0000-4000-8000-000000000001') AS claims \gset
CREATE FUNCTION pg_temp.sign_out(claims text, scope text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	open_ones	text;
BEGIN
	PERFORM set_config('request.jwt.claims', claims, true);
	PERFORM auth.sign_out(scope);
	SELECT concat('open: ', string_agg(right(id::text, 1), ' ' ORDER BY id)) INTO open_ones
	FROM auth.sessions WHERE revoked_at IS NULL;
	RAISE EXCEPTION USING ERRCODE = 'PT000', MESSAGE = open_ones;
EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SELECT scope, pg_temp.sign_out(:'claims', scope) AS with_session,
	pg_temp.sign_out((:'claims'::jsonb - 'session_id')::text, scope) AS without_session,
	pg_temp.sign_out('', scope) AS anonymous
FROM unnest(ARRAY['local', 'others', 'global', 'none', NULL]) AS s (scope);

-- it ends the claims taken, the refresh tokens and the access tokens of the session
SELECT auth.sign_in_with_password('jane@example.com', 'correct horse') AS session \gset
SET ROLE authenticated;
SELECT auth.authenticate(:'session'::jsonb ->> 'access_token', false) IS NOT NULL AS authenticated;
SELECT auth.sign_out();
SELECT auth.uid();
SELECT auth.authenticate(:'session'::jsonb ->> 'access_token', false);
SET ROLE anon;
SELECT auth.refresh_session(:'session'::jsonb ->> 'refresh_token');
RESET ROLE;

-- where it came from, as the headers of a believed session say; a long agent is cut
-- between letters
SET plinth.trust_forwarded_for = on;
SET request.headers = '{"x-forwarded-for": "192.0.2.7, 10.0.0.1", "user-agent": "Mozilla/5.0 (test)"}';
SELECT auth.sign_in_with_password('jane@example.com', 'correct horse') ->> 'refresh_token' AS refresh_token \gset
SELECT ip, user_agent FROM auth.sessions ORDER BY created_at DESC LIMIT 1;
SELECT event, ip, user_agent FROM auth.events ORDER BY id DESC LIMIT 1;
SET request.headers = '{"x-forwarded-for": "2001:db8::1"}';
SELECT auth.refresh_session(:'refresh_token') ->> 'refresh_token' AS refresh_token \gset
SELECT ip, user_agent FROM auth.sessions ORDER BY created_at DESC LIMIT 1;
SELECT set_config('request.headers', jsonb_build_object('x-forwarded-for', 'nowhere', 'user-agent', repeat('é', 400))::text, false) IS NOT NULL AS set;
SELECT auth.refresh_session(:'refresh_token') IS NOT NULL AS refreshed;
SELECT octet_length(user_agent), user_agent = repeat('é', 256) AS whole_letters FROM auth.sessions ORDER BY created_at DESC LIMIT 1;
RESET request.headers;
RESET plinth.trust_forwarded_for;

-- what was noted on the way
SELECT event, count(*) > 0 AS noted FROM auth.events GROUP BY event ORDER BY event;

--
-- attempts are counted, by address and by e-mail address, whatever comes of them
--
UPDATE plinth.rate_limit_tiers SET enabled = true, requests = 3 WHERE name = 'anonymous';
DO $$ BEGIN PERFORM plinth.rate_limit_reset(coalesce(host(inet_client_addr()), 'local'), 'anonymous'); END $$;
\set VERBOSITY sqlstate
SET ROLE anon;
SELECT auth.sign_in_with_password('nobody@example.com', 'correct horse');
BEGIN;
SELECT auth.refresh_session('x');
ROLLBACK;
SELECT auth.verify_otp('confirmation', 'x');
SELECT auth.verify_otp('confirmation', 'x');
SELECT auth.sign_up('bob@example.com', 'correct horse');
\set VERBOSITY default
RESET ROLE;
-- from elsewhere, but for the same address
DO $$ BEGIN PERFORM plinth.rate_limit_reset(coalesce(host(inet_client_addr()), 'local'), 'anonymous'); END $$;
DO $$ BEGIN PERFORM plinth.check_rate_limit('email:nobody@example.com', 'anonymous') FROM generate_series(1, 3); END $$;
\set VERBOSITY sqlstate
SET ROLE anon;
SELECT auth.sign_in_with_password('Nobody@example.com', 'correct horse');
SELECT auth.sign_in_with_password('somebody@example.com', 'correct horse');
\set VERBOSITY default
RESET ROLE;
DO $$ BEGIN PERFORM plinth.rate_limit_reset(i, 'anonymous') FROM unnest(ARRAY[coalesce(host(inet_client_addr()), 'local'), 'email:nobody@example.com',
	'email:somebody@example.com', 'email:bob@example.com', 'email:jane@example.com']) AS i; END $$;
UPDATE plinth.rate_limit_tiers SET requests = 10 WHERE name = 'anonymous';
SELECT * FROM plinth.rate_limit_tiers ORDER BY name;

--
-- what has ended goes after a day
--
DELETE FROM auth.sessions;
DELETE FROM auth.one_time_tokens;
INSERT INTO auth.sessions (id, user_id, not_after, revoked_at)
SELECT ('00000000-0000-4000-8000-00000000000' || n)::uuid, :'user_id', now() + not_after, now() + revoked_at
FROM (VALUES (1, interval '1 day', NULL::interval), (2, '-23 hours', NULL), (3, '-25 hours', NULL),
	(4, '1 day', '-23 hours'), (5, '1 day', '-25 hours')) AS v (n, not_after, revoked_at);
INSERT INTO auth.refresh_tokens (session_id, token_hash, expires_at, used_at)
SELECT '00000000-0000-4000-8000-000000000001', sha256(h::text::bytea), now() + make_interval(hours => h), now() - interval '2 days'
FROM unnest(ARRAY[1, -23, -25]) AS h;
INSERT INTO auth.one_time_tokens (user_id, kind, token_hash, expires_at, used_at)
SELECT :'user_id', 'recovery', sha256(n::text::bytea), now() + expires_at, now() + used_at
FROM (VALUES (1, interval '1 hour', NULL::interval), (2, '1 hour', '-23 hours'), (3, '1 hour', '-25 hours'),
	(4, '-25 hours', '-25 hours')) AS v (n, expires_at, used_at);
-- events are kept as long as activities
INSERT INTO auth.events (user_id, event, created_at)
SELECT :'user_id', 'SIGNED_IN', now() - age FROM unnest(ARRAY[interval '364 days', '367 days']) AS age;
SELECT auth.purge_expired();
SELECT count(*) AS old_events FROM auth.events WHERE created_at < now() - interval '300 days';
INSERT INTO plinth.settings (name, value) VALUES ('audit.activity_retention', '"363 days"');
SELECT auth.purge_expired();
SELECT count(*) AS old_events FROM auth.events WHERE created_at < now() - interval '300 days';
DELETE FROM plinth.settings WHERE name = 'audit.activity_retention';
SELECT right(id::text, 1) AS sessions FROM auth.sessions ORDER BY id;
SELECT round(extract(epoch FROM expires_at - now()) / 3600) AS refresh_tokens FROM auth.refresh_tokens ORDER BY 1;
SELECT count(*) AS one_time_tokens FROM auth.one_time_tokens;

-- an account's counters, locks and last sign-in are no change of it
SELECT updated_at AS before FROM auth.users \gset
UPDATE auth.users SET failed_attempts = 1, locked_until = now(), last_sign_in_at = now();
SELECT updated_at = :'before' AS untouched FROM auth.users;
UPDATE auth.users SET app_role = 'developer';
SELECT updated_at = :'before' AS untouched FROM auth.users;

-- what the tables refuse
\set VERBOSITY sqlstate
INSERT INTO auth.users (email) VALUES (NULL);
INSERT INTO auth.users (email) VALUES ('JANE@EXAMPLE.COM');
INSERT INTO auth.users (email, app_role) VALUES ('x@example.com', 'root');
INSERT INTO auth.users (email, raw_user_meta_data) VALUES ('x@example.com', '[]');
INSERT INTO auth.identities (user_id, provider, provider_id) SELECT id, 'email', id::text FROM auth.users;
INSERT INTO auth.identities (user_id, provider, provider_id) SELECT id, 'myspace', '1' FROM auth.users;
\set VERBOSITY default

-- a user goes with everything but the record of what happened
DELETE FROM auth.users;
SELECT (SELECT count(*) FROM auth.identities) AS identities, (SELECT count(*) FROM auth.sessions) AS sessions,
	(SELECT count(*) FROM auth.refresh_tokens) AS refresh_tokens, (SELECT count(*) FROM auth.one_time_tokens) AS one_time_tokens,
	(SELECT count(*) > 0 FROM auth.events WHERE user_id IS NULL) AS events;

DELETE FROM auth.events;
DELETE FROM auth.redirect_urls;
RESET plinth.password_memory;
