-- ---------------------------------------------------------------------
-- auth: accounts in the hands of the service and of administrators
--
-- S2.5, S3.9
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;
UPDATE plinth.rate_limit_tiers SET enabled = false WHERE name = 'anonymous';
SET plinth.password_memory = '19MB';

INSERT INTO auth.users (id, email, email_confirmed_at, app_role) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'a@example.com', now(), 'user'),
	('00000000-0000-4000-8000-0000000000ad', 'admin@example.com', now(), 'admin');
INSERT INTO auth.sessions (user_id, not_after) SELECT id, now() + interval '1 day' FROM auth.users, generate_series(1, 2);

CREATE FUNCTION pg_temp.become(who text) RETURNS text LANGUAGE sql AS $$
	SELECT set_config('request.jwt.claims', jsonb_build_object('role', 'authenticated', 'sub',
		'00000000-0000-4000-8000-0000000000' || who)::text, false) $$;

--
-- new accounts, by the service
--
SET ROLE service_role;
SELECT auth.admin_create_user('Eve@example.com', 'correct horse', '{"full_name": "Eve"}')
	- ARRAY['id', 'email_confirmed_at', 'created_at', 'updated_at'] AS eve;
SELECT auth.admin_create_user('later@example.com', NULL, email_confirm => false) -> 'email_confirmed_at' AS confirmed_at;
SELECT auth.admin_create_user('eve@EXAMPLE.com', 'correct horse');
SELECT auth.admin_create_user('nowhere', 'correct horse');
SELECT auth.admin_create_user(NULL, 'correct horse');
SELECT auth.admin_create_user('x@example.com', 'short');
SELECT auth.admin_create_user('x@example.com', 'password');
SELECT auth.admin_create_user('x@example.com', NULL, '[]');
SELECT auth.admin_create_user('x@example.com', NULL, NULL);
SELECT auth.admin_get_user_by_id('00000000-0000-4000-8000-0000000000a1') ->> 'email' AS email,
	auth.admin_get_user_by_id('00000000-0000-4000-8000-0000000000a1')::text ~ 'password|failed|locked|banned' AS leaks,
	auth.admin_get_user_by_id('00000000-0000-4000-8000-000000000099') AS nobody, auth.admin_get_user_by_id(NULL) AS nothing;
RESET ROLE;
SELECT u.email, u.encrypted_password IS NOT NULL AS password, u.email_confirmed_at IS NOT NULL AS confirmed, i.provider
FROM auth.users AS u JOIN auth.identities AS i ON i.user_id = u.id ORDER BY u.email;
SELECT auth.sign_in_with_password('eve@example.com', 'correct horse') ->> 'token_type' AS token_type;
SELECT auth.sign_in_with_password('later@example.com', NULL);

--
-- who may
--
SELECT pg_temp.become('a1') IS NOT NULL AS became;
SET ROLE authenticated;
SELECT auth.admin_create_user('x@example.com', NULL);
SELECT auth.admin_get_user_by_id('00000000-0000-4000-8000-0000000000a1');
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000a1', 'admin');
SELECT auth.admin_ban_user('00000000-0000-4000-8000-0000000000ad');
SELECT auth.admin_delete_user('00000000-0000-4000-8000-0000000000a1');
-- not what a token says of itself
SET request.jwt.claims = '{"role": "service_role", "app_role": "admin", "sub": "00000000-0000-4000-8000-0000000000a1"}';
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000a1', 'admin');
SET ROLE anon;
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000a1', 'admin');
RESET ROLE;

--
-- roles, and that somebody is left to give them
--
SELECT pg_temp.become('ad') IS NOT NULL AS became;
SET ROLE authenticated;
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000a1', 'root');
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000a1', NULL);
SELECT auth.admin_set_role('00000000-0000-4000-8000-000000000099', 'user');
SELECT auth.admin_set_role(NULL, 'user');
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000ad', 'user');
SELECT auth.admin_ban_user('00000000-0000-4000-8000-0000000000ad');
SELECT auth.admin_delete_user('00000000-0000-4000-8000-0000000000ad');
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000ad', 'admin');
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000a1', 'admin');
RESET ROLE;
-- one who is banned does not count, and may go
SELECT auth.admin_ban_user('00000000-0000-4000-8000-0000000000a1');
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000ad', 'developer');
-- lifted: both are administrators, and each may take the other's power, once
SELECT auth.admin_ban_user('00000000-0000-4000-8000-0000000000a1', NULL);
SET ROLE authenticated;
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000ad', 'developer');
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000a1', 'user');
RESET ROLE;
SELECT auth.admin_delete_user('00000000-0000-4000-8000-0000000000a1');
SELECT email, app_role FROM auth.users WHERE app_role <> 'user' ORDER BY email;
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000ad', 'admin');
SELECT auth.admin_set_role('00000000-0000-4000-8000-0000000000a1', 'user');

--
-- a ban ends the sessions and the links that are under way, for as long as it says
--
UPDATE auth.sessions SET revoked_at = NULL;
DELETE FROM auth.events;
SELECT auth.generate_link('recovery', 'a@example.com') ->> 'token' AS token \gset
SELECT pg_temp.become('ad') IS NOT NULL AS became;
SET ROLE authenticated;
SELECT auth.admin_ban_user('00000000-0000-4000-8000-000000000099');
SELECT auth.admin_ban_user('00000000-0000-4000-8000-0000000000a1', 'tomorrow');
RESET ROLE;
SELECT u.email, count(*) FILTER (WHERE s.revoked_at IS NULL) AS open, count(*) AS all
FROM auth.users AS u JOIN auth.sessions AS s ON s.user_id = u.id GROUP BY u.email ORDER BY u.email;
SELECT event, count(*) FROM auth.events WHERE user_id = '00000000-0000-4000-8000-0000000000a1' GROUP BY event ORDER BY event;
SELECT count(*) AS unused_links FROM auth.one_time_tokens WHERE used_at IS NULL;
SELECT auth.generate_link('recovery', 'a@example.com') ->> 'token' AS token \gset
SELECT auth.verify_otp('recovery', :'token');
SELECT auth.admin_ban_user('00000000-0000-4000-8000-0000000000a1', '-infinity');
SELECT banned_until FROM auth.users WHERE email = 'a@example.com';
SELECT auth.verify_otp('recovery', :'token') ->> 'access_token' AS access_token \gset

-- a deleted user's token opens nothing
SELECT auth.authenticate(:'access_token') ->> 'email' AS email;
SELECT auth.admin_delete_user('00000000-0000-4000-8000-0000000000a1');
SELECT auth.authenticate(:'access_token');
SELECT auth.admin_delete_user('00000000-0000-4000-8000-0000000000a1');
SELECT count(*) AS events_kept FROM auth.events WHERE user_id IS NULL AND event = 'SIGNED_OUT';

--
-- identities: own ones, and never the last way in
--
INSERT INTO auth.users (id, email, email_confirmed_at) VALUES ('00000000-0000-4000-8000-0000000000b1', 'b@example.com', now());
INSERT INTO auth.identities (id, user_id, provider, provider_id) VALUES
	('00000000-0000-4000-8000-0000000000e1', '00000000-0000-4000-8000-0000000000b1', 'email', '00000000-0000-4000-8000-0000000000b1'),
	('00000000-0000-4000-8000-0000000000e2', '00000000-0000-4000-8000-0000000000b1', 'github', '1'),
	('00000000-0000-4000-8000-0000000000e3', '00000000-0000-4000-8000-0000000000ad', 'github', '2');
SET ROLE authenticated;
RESET request.jwt.claims;
SELECT auth.unlink_identity('00000000-0000-4000-8000-0000000000e2');
SELECT pg_temp.become('b1') IS NOT NULL AS became;
SELECT auth.unlink_identity('00000000-0000-4000-8000-0000000000e3');
SELECT auth.unlink_identity(NULL);
-- an address without a password is no way in
SELECT auth.unlink_identity('00000000-0000-4000-8000-0000000000e2');
RESET ROLE;
UPDATE auth.users SET encrypted_password = 'a hash' WHERE email = 'b@example.com';
BEGIN;
SET ROLE authenticated;
SELECT auth.unlink_identity('00000000-0000-4000-8000-0000000000e2');
SELECT auth.unlink_identity('00000000-0000-4000-8000-0000000000e1');
ROLLBACK;
SET ROLE authenticated;
SELECT auth.unlink_identity('00000000-0000-4000-8000-0000000000e1');
SELECT auth.unlink_identity('00000000-0000-4000-8000-0000000000e2');
SELECT provider FROM auth.identities;
RESET ROLE;
SELECT encrypted_password FROM auth.users WHERE email = 'b@example.com';

RESET request.jwt.claims;
DELETE FROM auth.events;
DELETE FROM auth.users;
UPDATE plinth.rate_limit_tiers SET enabled = true WHERE name = 'anonymous';
RESET plinth.password_memory;
