-- ---------------------------------------------------------------------
-- auth: sign-in by a provider, and who may end what somebody began
--
-- RFC 7636, S3.6
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;
UPDATE plinth.rate_limit_tiers SET enabled = false WHERE name = 'anonymous';
INSERT INTO auth.redirect_urls VALUES ('https://example.com/auth/callback');

-- RFC 7636 appendix B
\set verifier 'dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk'
\set challenge 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM'
SELECT plinth.auth_pkce_verify(:'challenge', :'verifier') AS appendix_b;
-- everything else is no proof: another verifier, the method plain, lengths, letters, NULL
SELECT plinth.auth_pkce_verify(challenge, verifier) FROM (VALUES
	(:'challenge', upper(:'verifier')), (lower(:'challenge'), :'verifier'), (:'verifier', :'verifier'),
	(:'challenge' || '=', :'verifier'), ('', :'verifier'), (:'challenge', ''), (NULL, :'verifier'), (:'challenge', NULL),
	(translate(encode(sha256('short'), 'base64'), '+/=', '-_'), 'short'),
	(translate(encode(sha256(repeat('x', 129)::bytea), 'base64'), '+/=', '-_'), repeat('x', 129)),
	(translate(encode(sha256(repeat('+', 43)::bytea), 'base64'), '+/=', '-_'), repeat('+', 43))) AS v (challenge, verifier);
SELECT plinth.auth_pkce_verify(translate(encode(sha256(repeat(c, 128)::bytea), 'base64'), '+/=', '-_'), repeat(c, 128)) AS longest
FROM unnest(ARRAY['~', '.', '_', '-', 'Z', '0']) AS c;

--
-- begin
--
SET ROLE anon;
SELECT auth.sign_in_with_provider('github', 'https://example.com/auth/callback', :'challenge') AS flow \gset
SELECT :'flow'::jsonb - 'flow_id' AS flow;
SELECT auth.sign_in_with_provider('google', 'https://example.com/auth/callback', :'challenge', '{"hd": "example.com"}') -> 'query_params' AS query_params;
-- refused
SELECT auth.sign_in_with_provider('email', 'https://example.com/auth/callback', :'challenge');
SELECT auth.sign_in_with_provider(NULL, 'https://example.com/auth/callback', :'challenge');
SELECT auth.sign_in_with_provider('github', 'https://evil.example/', :'challenge');
SELECT auth.sign_in_with_provider('github', NULL, :'challenge');
SELECT auth.sign_in_with_provider('github', 'https://example.com/auth/callback', :'challenge' || '=');
SELECT auth.sign_in_with_provider('github', 'https://example.com/auth/callback', repeat('x', 1000000));
SELECT auth.sign_in_with_provider('github', 'https://example.com/auth/callback', NULL);
SELECT auth.sign_in_with_provider('github', 'https://example.com/auth/callback', :'challenge', '[]');
SELECT auth.sign_in_with_provider('github', 'https://example.com/auth/callback', :'challenge', NULL);
SELECT auth.sign_in_with_provider('github', 'https://example.com/auth/callback', :'challenge', jsonb_build_object('x', repeat('x', 4096)));

--
-- the provider's word
--
SELECT auth.complete_provider_sign_in((:'flow'::jsonb ->> 'flow_id')::uuid, '1', '{}');
RESET ROLE;
-- a code for what a provider says, the account and its identities, or the error
CREATE FUNCTION pg_temp.complete(provider_id text, identity_data jsonb, challenge text DEFAULT 'E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM')
RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN auth.complete_provider_sign_in((auth.sign_in_with_provider('github', 'https://example.com/auth/callback', challenge) ->> 'flow_id')::uuid,
		provider_id, identity_data);
EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SET ROLE service_role;
SELECT auth.complete_provider_sign_in((:'flow'::jsonb ->> 'flow_id')::uuid, '1',
	'{"email": "new@example.com", "email_verified": true, "name": "New User", "picture": "https://example.com/1.png", "role": "admin", "app_role": "admin"}') AS code \gset
-- a sign-in is completed once
SELECT auth.complete_provider_sign_in((:'flow'::jsonb ->> 'flow_id')::uuid, '1', '{"email": "new@example.com", "email_verified": true}');
SELECT auth.complete_provider_sign_in('00000000-0000-4000-8000-000000000099', '1', '{}');
SELECT auth.complete_provider_sign_in(NULL, '1', '{}');
RESET ROLE;
SELECT u.email, u.email_confirmed_at IS NOT NULL AS confirmed, u.encrypted_password, u.app_role, u.raw_user_meta_data, i.provider, i.provider_id
FROM auth.users AS u JOIN auth.identities AS i ON i.user_id = u.id;
SELECT auth_code_hash = sha256(:'code') AS hashed, :'code' ~ '^[A-Za-z0-9_-]{43}$' AS code_form,
	expires_at - clock_timestamp() BETWEEN '9 min' AND '10 min' AS ten_minutes FROM auth.flow_states WHERE user_id IS NOT NULL;

--
-- the end: by who began, once
--
SET ROLE anon;
SELECT auth.exchange_code(:'code', 'x' || substr(:'verifier', 2));
SELECT auth.exchange_code('no such code', :'verifier');
SELECT auth.exchange_code(NULL, :'verifier');
SELECT auth.exchange_code(:'code', NULL);
SELECT auth.exchange_code(repeat('x', 1000000), :'verifier');
SELECT auth.exchange_code(:'code', repeat('x', 1000000));
SELECT auth.exchange_code(:'code', :'verifier') AS session \gset
RESET ROLE;
SELECT plinth.jwt_verify(:'session'::jsonb ->> 'access_token') -> 'amr' AS amr, :'session'::jsonb #>> '{user,email}' AS email;
-- the code alone again is refused, and ends nothing
SELECT s.id = (plinth.jwt_verify(:'session'::jsonb ->> 'access_token') ->> 'session_id')::uuid AS of_this_code
FROM auth.flow_states AS f JOIN auth.sessions AS s ON s.id = f.session_id;
SET ROLE anon;
SELECT auth.exchange_code(:'code', 'x' || substr(:'verifier', 2));
SELECT auth.exchange_code(:'code', NULL);
RESET ROLE;
SELECT plinth.auth_journal_pending() AS pending, (SELECT revoked_at FROM auth.sessions);
-- code and verifier again end the session, though the caller is rolled back
-- (RFC 6749 section 4.1.2)
SET ROLE anon;
BEGIN;
SELECT auth.exchange_code(:'code', :'verifier');
ROLLBACK;
RESET ROLE;
DO $$ BEGIN WHILE plinth.auth_journal_pending() > 0 LOOP PERFORM pg_sleep(0.005); END LOOP; END $$;
SELECT revoked_at IS NOT NULL AS revoked FROM auth.sessions;
SELECT auth.authenticate(:'session'::jsonb ->> 'access_token');
SELECT auth.refresh_session(:'session'::jsonb ->> 'refresh_token');
-- once; and not for a code that gave no session, nor for one of a session that is gone
SELECT auth.exchange_code(:'code', :'verifier');
SELECT count(*) AS ended_once FROM auth.events WHERE event = 'SIGNED_OUT';
DELETE FROM auth.sessions;
SELECT auth.exchange_code(:'code', :'verifier');
SELECT plinth.auth_journal_pending() AS pending;
-- not after ten minutes, nor for who was banned meanwhile
SELECT pg_temp.complete('1', '{}') AS code \gset
BEGIN;
UPDATE auth.flow_states SET expires_at = clock_timestamp();
SELECT auth.exchange_code(:'code', :'verifier');
ROLLBACK;
BEGIN;
UPDATE auth.users SET banned_until = 'infinity';
SELECT auth.exchange_code(:'code', :'verifier');
ROLLBACK;
UPDATE auth.users SET banned_until = 'infinity';
SELECT pg_temp.complete('1', '{}') AS banned;
UPDATE auth.users SET banned_until = NULL;
UPDATE auth.flow_states SET expires_at = clock_timestamp() WHERE auth_code_hash IS NULL;
SELECT auth.complete_provider_sign_in(id, '1', '{}') FROM auth.flow_states WHERE auth_code_hash IS NULL;

--
-- whose account it is; nothing is made or linked on a word that nobody gives
--
INSERT INTO auth.users (id, email, email_confirmed_at) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'a@example.com', now()), ('00000000-0000-4000-8000-0000000000b1', 'b@example.com', NULL);
SELECT length(pg_temp.complete('2', '{"email": "A@example.com", "email_verified": "true"}')) AS linked,
	pg_temp.complete('3', '{"email": "a@example.com", "email_verified": false}') AS not_asserted,
	pg_temp.complete('3', '{"email": "a@example.com"}') AS nothing_said,
	pg_temp.complete('3', '{"email": "a@example.com", "email_verified": 1}') AS neither;
SELECT pg_temp.complete('3', '{"email": "b@example.com", "email_verified": true}') AS unconfirmed,
	pg_temp.complete('3', '{"email": "c@example.com", "email_verified": false}') AS new_not_asserted;
SELECT pg_temp.complete('3', '{"email_verified": true}') AS no_address, pg_temp.complete('3', '{"email": "x", "email_verified": true}') AS bad_address,
	pg_temp.complete('', '{}') AS no_id, pg_temp.complete(NULL, '{}') AS null_id, pg_temp.complete(repeat('x', 256), '{}') AS long_id;
SELECT pg_temp.complete('3', '[]') AS no_object, pg_temp.complete('3', NULL) AS nothing,
	pg_temp.complete('3', jsonb_build_object('x', repeat('x', 16384))) AS long;
-- the identity stays with its account, whatever address the provider has for it by now
SELECT length(pg_temp.complete('2', '{"email": "b@example.com", "email_verified": true}')) AS again;
SELECT u.email, i.provider_id, i.identity_data ->> 'email' AS provider_says
FROM auth.users AS u LEFT JOIN auth.identities AS i ON i.user_id = u.id ORDER BY u.email;
SELECT event, count(*) FROM auth.events WHERE user_id = '00000000-0000-4000-8000-0000000000a1' GROUP BY event;

-- what has ended goes after a day
UPDATE auth.flow_states SET expires_at = now() - interval '25 hours';
SELECT auth.purge_expired() = (SELECT count(*) FROM auth.flow_states) AS purged;

DELETE FROM auth.events;
DELETE FROM auth.users;
DELETE FROM auth.flow_states;
DELETE FROM auth.redirect_urls;
UPDATE plinth.rate_limit_tiers SET enabled = true WHERE name = 'anonymous';
