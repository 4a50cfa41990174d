-- ---------------------------------------------------------------------
-- auth: every table, every verb, as everybody (S4.1)
--
-- A number is how many rows the statement touched, a code the error.
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;
UPDATE plinth.rate_limit_tiers SET enabled = false WHERE name = 'anonymous';

INSERT INTO auth.users (id, email, encrypted_password, email_confirmed_at, app_role) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'a@example.com', 'hash of a', now(), 'user'),
	('00000000-0000-4000-8000-0000000000b1', 'b@example.com', 'hash of b', now(), 'developer'),
	('00000000-0000-4000-8000-0000000000ad', 'admin@example.com', 'hash of admin', now(), 'admin');
INSERT INTO auth.identities (user_id, provider, provider_id)
	SELECT id, 'email', id::text FROM auth.users;
INSERT INTO auth.sessions (id, user_id, not_after)
	SELECT id, id, now() + interval '1 day' FROM auth.users;
INSERT INTO auth.refresh_tokens (session_id, token_hash, expires_at)
	SELECT id, sha256(id::text::bytea), now() + interval '1 day' FROM auth.users;
INSERT INTO auth.one_time_tokens (user_id, kind, token_hash, expires_at)
	SELECT id, 'confirmation', sha256(id::text::bytea), now() + interval '1 day' FROM auth.users;
INSERT INTO auth.flow_states (provider, code_challenge, auth_code_hash, user_id, redirect_to, expires_at)
	SELECT 'github', repeat('x', 43), sha256(id::text::bytea), id, 'https://example.com/', now() + interval '1 day' FROM auth.users;
INSERT INTO auth.mfa_factors (id, user_id, secret_sealed)
	SELECT id, id, 'sealed' FROM auth.users;
INSERT INTO auth.mfa_challenges (factor_id, expires_at)
	SELECT id, now() + interval '1 min' FROM auth.users;
INSERT INTO auth.mfa_recovery_codes (user_id, code_hash)
	SELECT id, 'hash' FROM auth.users;
INSERT INTO auth.events (user_id, event)
	SELECT id, 'SIGNED_IN' FROM auth.users;
INSERT INTO auth.redirect_urls VALUES ('https://example.com/auth/callback');

-- what a statement comes to for somebody, undone
CREATE FUNCTION pg_temp.attempt(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	touched	bigint;
BEGIN
	PERFORM set_config('request.jwt.claims', CASE who
		WHEN 'a' THEN '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000a1"}'
		WHEN 'b' THEN '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000b1"}'
		WHEN 'admin' THEN '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000ad"}'
		ELSE '' END, true);
	PERFORM set_config('role', CASE who WHEN 'anon' THEN 'anon' WHEN 'service' THEN 'service_role'
		ELSE 'authenticated' END, true);
	EXECUTE statement;
	GET DIAGNOSTICS touched = ROW_COUNT;
	RAISE EXCEPTION USING ERRCODE = 'PT000', MESSAGE = touched::text;
EXCEPTION
	WHEN SQLSTATE 'PT000' THEN RETURN SQLERRM;
	WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;

-- the matrix
SELECT statement, pg_temp.attempt('anon', statement) AS anon, pg_temp.attempt('a', statement) AS a,
	pg_temp.attempt('b', statement) AS b, pg_temp.attempt('admin', statement) AS admin,
	pg_temp.attempt('service', statement) AS service
FROM unnest(ARRAY[
	'SELECT FROM auth.me',
	'UPDATE auth.me SET app_role = ''admin''',
	'DELETE FROM auth.me',
	'SELECT id FROM auth.users',
	'SELECT encrypted_password FROM auth.users',
	'INSERT INTO auth.users (email) VALUES (''c@example.com'')',
	'UPDATE auth.users SET app_role = ''admin''',
	'UPDATE auth.users SET raw_user_meta_data = ''{}''',
	'DELETE FROM auth.users',
	'SELECT FROM auth.identities',
	'INSERT INTO auth.identities (user_id, provider, provider_id) VALUES (''00000000-0000-4000-8000-0000000000a1'', ''google'', ''1'')',
	'UPDATE auth.identities SET identity_data = ''{}''',
	'DELETE FROM auth.identities',
	'SELECT id, created_at, user_agent, ip, aal FROM auth.sessions',
	'SELECT user_id, not_after, revoked_at, amr FROM auth.sessions',
	'INSERT INTO auth.sessions (user_id, not_after) VALUES (''00000000-0000-4000-8000-0000000000a1'', now())',
	'UPDATE auth.sessions SET not_after = ''infinity''',
	'UPDATE auth.sessions SET aal = ''aal2''',
	'DELETE FROM auth.sessions',
	'DELETE FROM auth.sessions WHERE id = ''00000000-0000-4000-8000-0000000000a1''',
	'SELECT token_hash FROM auth.refresh_tokens',
	'INSERT INTO auth.refresh_tokens (session_id, token_hash, expires_at) VALUES (''00000000-0000-4000-8000-0000000000a1'', ''x'', now())',
	'UPDATE auth.refresh_tokens SET used_at = NULL',
	'DELETE FROM auth.refresh_tokens',
	'SELECT token_hash FROM auth.one_time_tokens',
	'INSERT INTO auth.one_time_tokens (user_id, kind, token_hash, expires_at) VALUES (''00000000-0000-4000-8000-0000000000a1'', ''recovery'', ''x'', now())',
	'UPDATE auth.one_time_tokens SET used_at = NULL',
	'DELETE FROM auth.one_time_tokens',
	'SELECT auth_code_hash FROM auth.flow_states',
	'INSERT INTO auth.flow_states (provider, code_challenge, redirect_to, expires_at) VALUES (''github'', repeat(''x'', 43), ''x'', now())',
	'UPDATE auth.flow_states SET used_at = NULL',
	'DELETE FROM auth.flow_states',
	'SELECT id, user_id, factor_type, friendly_name, status, created_at, updated_at FROM auth.mfa_factors',
	'SELECT secret_sealed FROM auth.mfa_factors',
	'SELECT last_used_step FROM auth.mfa_factors',
	'INSERT INTO auth.mfa_factors (user_id, secret_sealed) VALUES (''00000000-0000-4000-8000-0000000000a1'', ''x'')',
	'UPDATE auth.mfa_factors SET status = ''verified''',
	'DELETE FROM auth.mfa_factors',
	'SELECT FROM auth.mfa_challenges',
	'INSERT INTO auth.mfa_challenges (factor_id, expires_at) VALUES (''00000000-0000-4000-8000-0000000000a1'', now())',
	'UPDATE auth.mfa_challenges SET attempts = 0',
	'DELETE FROM auth.mfa_challenges',
	'SELECT FROM auth.mfa_recovery_codes',
	'INSERT INTO auth.mfa_recovery_codes (user_id, code_hash) VALUES (''00000000-0000-4000-8000-0000000000a1'', ''x'')',
	'UPDATE auth.mfa_recovery_codes SET used_at = NULL',
	'DELETE FROM auth.mfa_recovery_codes',
	'SELECT FROM auth.events',
	'INSERT INTO auth.events (event) VALUES (''SIGNED_OUT'')',
	'UPDATE auth.events SET event = ''SIGNED_OUT''',
	'DELETE FROM auth.events',
	'SELECT FROM auth.redirect_urls',
	'INSERT INTO auth.redirect_urls VALUES (''https://evil.example'')',
	'UPDATE auth.redirect_urls SET pattern = ''*''',
	'DELETE FROM auth.redirect_urls'
]) WITH ORDINALITY AS s (statement, n) ORDER BY n;

-- and the functions
SELECT statement, pg_temp.attempt('anon', statement) AS anon, pg_temp.attempt('a', statement) AS a,
	pg_temp.attempt('service', statement) AS service
FROM unnest(ARRAY[
	'SELECT auth.uid(), auth.jwt(), auth.role(), auth.email(), auth.session_id(), auth.aal(), auth.is_admin(), auth.has_role(''user'')',
	'SELECT auth.authenticate(NULL)',
	'SELECT auth.deauthenticate()',
	'SELECT auth.sign_up(NULL, NULL)',
	'SELECT auth.sign_in_with_password(NULL, NULL)',
	'SELECT auth.refresh_session(NULL)',
	'SELECT auth.verify_otp(NULL, NULL)',
	'SELECT auth.reset_password_for_email(NULL)',
	'SELECT auth.sign_in_with_provider(NULL, NULL, NULL)',
	'SELECT auth.exchange_code(NULL, NULL)',
	'SELECT auth.complete_provider_sign_in(NULL, NULL, NULL)',
	'SELECT auth.update_user()',
	'SELECT auth.unlink_identity(NULL)',
	'SELECT auth.mfa_enroll()',
	'SELECT auth.mfa_challenge(NULL)',
	'SELECT auth.mfa_verify(NULL, NULL, NULL)',
	'SELECT auth.mfa_unenroll(NULL)',
	'SELECT auth.mfa_recovery_codes()',
	'SELECT auth.rotate_mfa_keys(1)',
	'SELECT auth.admin_create_user(NULL, NULL)',
	'SELECT auth.admin_get_user_by_id(NULL)',
	'SELECT auth.admin_set_role(NULL, NULL)',
	'SELECT auth.admin_ban_user(NULL)',
	'SELECT auth.admin_delete_user(NULL)',
	'SELECT auth.sign_out(''none'')',
	'SELECT auth.get_user()',
	'SELECT auth.get_session()',
	'SELECT auth.own_account()',
	'SELECT auth.generate_link(NULL, NULL)',
	'SELECT auth.anon_key(NULL)',
	'SELECT auth.purge_expired()',
	'SELECT auth.user_json(NULL)',
	'SELECT auth.token_hash(''x'')',
	'SELECT auth.ttl(''session_ttl'')',
	'SELECT auth.link_ttl(''recovery'')',
	'SELECT auth.check_email(NULL)',
	'SELECT auth.caller_account()',
	'SELECT auth.mfa_session(NULL)',
	'SELECT auth.require_aal2(NULL, NULL)',
	'SELECT auth.mfa_guesses_left(NULL, 0)',
	'SELECT auth.mfa_proven(NULL, NULL)',
	'SELECT auth.commit_mfa_failure(NULL, NULL, NULL, NULL, NULL, NULL)',
	'SELECT plinth.auth_totp_code(''x'', now())',
	'SELECT plinth.auth_mfa_guesses_left(''00000000-0000-4000-8000-0000000000a1'')',
	'SELECT auth.account_of_identity(NULL, NULL, NULL)',
	'SELECT plinth.auth_pkce_verify(''x'', ''x'')',
	'SELECT auth.require_service(NULL)',
	'SELECT auth.account_for_admin(NULL, NULL, false)',
	'SELECT auth.end_sessions(NULL, NULL)',
	'SELECT auth.may_set_password(NULL)',
	'SELECT auth.record_event(NULL, NULL, ''SIGNED_IN'')',
	'SELECT auth.check_redirect(NULL)',
	'SELECT auth.session_json(NULL, NULL, NULL)',
	'SELECT auth.add_refresh_token(NULL, NULL, NULL)',
	'SELECT auth.open_session(''00000000-0000-4000-8000-0000000000a1'', ''pwd'')'
]) WITH ORDINALITY AS s (statement, n) ORDER BY n;

-- who may execute what, of all there is: a role that is none of ours, nothing
CREATE ROLE regress_plinth_stranger;
SELECT CASE WHEN n.nspname = 'auth' THEN '' ELSE n.nspname || '.' END || p.proname AS function,
	concat_ws(' ', CASE WHEN has_function_privilege('anon', p.oid, 'EXECUTE') THEN 'anon' END,
		CASE WHEN has_function_privilege('authenticated', p.oid, 'EXECUTE') THEN 'authenticated' END,
		CASE WHEN has_function_privilege('service_role', p.oid, 'EXECUTE') THEN 'service' END,
		CASE WHEN has_function_privilege('plinth_gateway', p.oid, 'EXECUTE') THEN 'gateway' END,
		CASE WHEN has_function_privilege('pg_monitor', p.oid, 'EXECUTE') THEN 'monitor' END,
		CASE WHEN has_function_privilege('regress_plinth_stranger', p.oid, 'EXECUTE') THEN 'STRANGER' END) AS may_call
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname = 'auth'
	OR (n.nspname = 'plinth' AND p.proname ~ '^(auth_|jw[ts]_|key|seal|unseal|reseal|rotate_|act_as$|pre_request$|is_(admin|service)$)')
ORDER BY n.nspname COLLATE "C", p.proname COLLATE "C", p.oid::regprocedure::text COLLATE "C";
DROP ROLE regress_plinth_stranger;

-- each sees their own
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000a1"}';
SET ROLE authenticated;
SELECT email, app_role, is_anonymous FROM auth.me;
SELECT id FROM auth.sessions;
SELECT DISTINCT user_id FROM auth.events;
SELECT user_id FROM auth.identities;
-- who deletes a session signs it out, as sign_out() does; of others they reach none
DELETE FROM auth.sessions;
SELECT event, session_id FROM auth.events ORDER BY id;
RESET ROLE;
RESET request.jwt.claims;
SELECT user_id FROM auth.sessions ORDER BY user_id;
-- one that had ended, one that goes with its user, and what somebody else deletes tell nobody
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000b1"}';
BEGIN;
UPDATE auth.sessions SET revoked_at = now() WHERE user_id = auth.uid();
DELETE FROM auth.sessions;
SELECT count(*) AS more FROM auth.events WHERE event = 'SIGNED_OUT' AND session_id <> '00000000-0000-4000-8000-0000000000a1';
ROLLBACK;
BEGIN;
DELETE FROM auth.users WHERE id = auth.uid();
SELECT count(*) AS more FROM auth.events WHERE event = 'SIGNED_OUT' AND session_id <> '00000000-0000-4000-8000-0000000000a1';
ROLLBACK;
RESET request.jwt.claims;

-- roles are looked up, not believed from the token
SELECT who, auth.is_admin(), auth.has_role('admin') AS admin, auth.has_role('developer') AS developer,
	auth.has_role('user') AS plain_user, auth.has_role(NULL) AS nothing
FROM (VALUES ('a1'), ('b1'), ('ad'), ('99')) AS w (who),
	LATERAL set_config('request.jwt.claims', '{"role": "admin", "app_role": "admin", "app_metadata": {"role": "admin"}, '
		|| '"sub": "00000000-0000-4000-8000-0000000000' || who || '"}', false) AS set_claims
WHERE set_claims IS NOT NULL;
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000ad"}';
SELECT auth.is_admin();
UPDATE auth.users SET app_role = 'user' WHERE id = '00000000-0000-4000-8000-0000000000ad';
SELECT auth.is_admin();
RESET request.jwt.claims;
SELECT auth.is_admin(), auth.has_role('user');

-- no setting of the caller's session changes what a pattern allows
SET standard_conforming_strings = off;
SELECT auth.check_redirect('https://example.com/auth/callback');
SELECT auth.check_redirect('https://exampleXcom/auth/callback');
RESET standard_conforming_strings;

DELETE FROM auth.events;
DELETE FROM auth.users;
DELETE FROM auth.redirect_urls;
UPDATE plinth.rate_limit_tiers SET enabled = true WHERE name = 'anonymous';
