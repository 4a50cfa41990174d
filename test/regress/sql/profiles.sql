-- ---------------------------------------------------------------------
-- profiles: profiles and notifications
--
-- The numbers in the comments are those of the faults that must not come
-- back, as docs/profiles.md lists them.
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;
UPDATE plinth.rate_limit_tiers SET enabled = false;

-- run a statement as a user; what it answers, or its error
CREATE FUNCTION pg_temp.as_user(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer	text;
BEGIN
	PERFORM set_config('request.jwt.claims', jsonb_build_object('role', 'authenticated',
		'sub', '00000000-0000-4000-8000-0000000000' || who)::text, true);
	PERFORM set_config('role', 'authenticated', true);
	EXECUTE statement INTO answer;
	PERFORM set_config('role', 'none', true);
	PERFORM set_config('request.jwt.claims', '', true);
	RETURN answer;
EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;

--
-- create on first fetch: any local part gives a profile (5)
--
INSERT INTO auth.users (id, email, is_anonymous, raw_user_meta_data)
SELECT ('00000000-0000-4000-8000-0000000000' || who)::uuid, email, email IS NULL, data
FROM (VALUES
	('a1', 'jane.doe@example.com', '{"full_name": " Jane Doe ", "avatar_url": "https://example.com/jane.png", "role": "admin", "user_type": "teacher"}'::jsonb),
	('a2', 'jane_doe@example.com', '{}'),
	('a3', 'jo@example.com', '{"full_name": "", "avatar_url": ""}'),
	('a4', 'x@example.com', '{"full_name": 7}'),
	('a5', repeat('long', 20) || '@example.com', jsonb_build_object('full_name', repeat('x', 300), 'avatar_url', repeat('x', 3000))),
	('a6', 'zoë+tag@example.com', '{}'),
	('a7', 'JANE.DOE@example.org', '{}'),
	('a8', NULL, '{"full_name": "Guest"}')) AS v (who, email, data);
SELECT who, answer FROM unnest(ARRAY['a1', 'a3', 'a4', 'a5', 'a6', 'a8']) AS w (who),
	pg_temp.as_user(who, 'SELECT (p.username, left(p.full_name, 20), char_length(p.full_name), p.avatar_url, p.user_type, p.is_guest) '
		'FROM profiles.get_or_create_profile() AS p') AS answer;
-- a name that another has, in any case, gets four digits (4)
SELECT who, answer ~* '^jane_doe[0-9]{4}$' AS suffixed FROM unnest(ARRAY['a2', 'a7']) AS w (who),
	pg_temp.as_user(who, 'SELECT username FROM profiles.get_or_create_profile()') AS answer;
-- the second fetch changes nothing
SELECT pg_temp.as_user('a1', 'UPDATE profiles.profiles SET username = ''jane'', full_name = NULL WHERE username = ''jane_doe'' RETURNING username') AS changed;
SELECT pg_temp.as_user('a1', 'SELECT (p.username, p.full_name) FROM profiles.get_or_create_profile() AS p');
SELECT pg_temp.as_user('99', 'SELECT profiles.get_or_create_profile()') AS no_account;
-- the private part is there, with address and role of the account, and follows it (1)
SELECT right(id::text, 2) AS who, email, role, preferences FROM profiles.private_profiles ORDER BY id;
UPDATE auth.users SET app_role = 'developer', email = 'jane@example.com' WHERE email = 'jane.doe@example.com';
UPDATE auth.users SET is_anonymous = false, email = 'no-guest@example.com' WHERE is_anonymous;
SELECT p.username, p.is_guest, q.email, q.role FROM profiles.profiles AS p JOIN profiles.private_profiles AS q USING (id)
WHERE right(id::text, 2) IN ('a1', 'a8') ORDER BY id;
-- a guest cannot pass for another by making the profile without the function
DELETE FROM profiles.profiles WHERE right(id::text, 2) = 'a8';
UPDATE auth.users SET is_anonymous = true WHERE email = 'no-guest@example.com';
SELECT pg_temp.as_user('a8', 'INSERT INTO profiles.profiles (id, username) VALUES (auth.uid(), ''guest'') RETURNING is_guest') AS is_guest;

--
-- update
--
SELECT statement, pg_temp.as_user('a1', statement) AS answer FROM unnest(ARRAY[
	'SELECT (p.username, p.full_name, p.avatar_url, p.website, p.bio, p.location) FROM profiles.update_profile(''{"username": "Jane", "full_name": "Jane D", "website": "https://example.com", "bio": "b", "location": "l"}'') AS p',
	'SELECT (p.username, p.bio, p.location) FROM profiles.update_profile(''{"bio": null}'') AS p',
	'SELECT (p.username) FROM profiles.update_profile(''{}'') AS p',
	'SELECT profiles.update_profile(''{"user_type": "teacher"}'')',
	'SELECT profiles.update_profile(''{"id": "x"}'')',
	'SELECT profiles.update_profile(''{"bio": 7}'')',
	'SELECT profiles.update_profile(''[]'')',
	'SELECT profiles.update_profile(NULL)',
	'SELECT profiles.update_profile(''{"username": "x2"}'')',
	'SELECT profiles.update_profile(jsonb_build_object(''username'', repeat(''x'', 51)))',
	'SELECT profiles.update_profile(''{"username": "white space"}'')',
	'SELECT profiles.update_profile(jsonb_build_object(''username'', E''new\nline''))',
	'SELECT profiles.update_profile(''{"username": "JO_"}'')',
	'SELECT profiles.update_profile(jsonb_build_object(''bio'', repeat(''x'', 501)))',
	'SELECT profiles.update_profile(jsonb_build_object(''location'', repeat(''x'', 201)))',
	'SELECT profiles.update_profile(''{"website": "javascript:alert(1)"}'')',
	'SELECT profiles.update_profile(''{"website": "https://"}'')']) AS s (statement);
SELECT pg_temp.as_user('99', 'SELECT profiles.update_profile(''{"bio": "x"}'')') AS no_profile;
SELECT updated_at > created_at AS touched FROM profiles.profiles WHERE username = 'Jane';

--
-- preferences (25)
--
SELECT statement, pg_temp.as_user('a1', statement) AS answer FROM unnest(ARRAY[
	'UPDATE profiles.private_profiles SET preferences = ''{"theme": "dark"}'' WHERE id = auth.uid() RETURNING preferences',
	'UPDATE profiles.private_profiles SET preferences = ''[]''',
	'UPDATE profiles.private_profiles SET preferences = jsonb_build_object(''x'', repeat(''x'', 65536))']) AS s (statement);

--
-- search: wildcards stand for themselves (7), NULL is refused (8), guests are left out
--
UPDATE profiles.profiles SET username = 'a_b' WHERE right(id::text, 2) = 'a3';
UPDATE profiles.profiles SET username = NULL, full_name = '100% Jane' WHERE right(id::text, 2) = 'a4';
UPDATE profiles.profiles SET username = 'xjane', full_name = 'back\slash' WHERE right(id::text, 2) = 'a5';
UPDATE profiles.profiles SET username = 'zoe', full_name = 'Janet' WHERE right(id::text, 2) = 'a6';
UPDATE profiles.profiles SET username = 'bob1' WHERE right(id::text, 2) IN ('a2');
UPDATE profiles.profiles SET username = 'bob2' WHERE right(id::text, 2) IN ('a7');
SELECT term, string_agg(coalesce(p.username, p.full_name), ' ' ORDER BY p.n) AS found
FROM unnest(ARRAY['jane', 'JANE', ' jane ', 'a_b', '__', '%%', '0%', '\s', '\\', 'guest', 'nobody']) AS t (term)
	LEFT JOIN LATERAL (SELECT * FROM profiles.search_profiles(term) WITH ORDINALITY AS p (id, username, full_name, avatar_url, bio, n)) AS p ON true
GROUP BY term ORDER BY term COLLATE "C";
SELECT profiles.search_profiles('j');
SELECT profiles.search_profiles('  j  ');
SELECT profiles.search_profiles('');
SELECT profiles.search_profiles(NULL);
-- no more than fifty
BEGIN;
INSERT INTO auth.users (email) SELECT 'many' || n || '@example.com' FROM generate_series(1, 60) AS n;
INSERT INTO profiles.profiles (id, username) SELECT id, split_part(email, '@', 1) FROM auth.users WHERE email LIKE 'many%';
SELECT count(*) FROM profiles.search_profiles('many');
ROLLBACK;
-- and not as often as one likes
UPDATE plinth.rate_limit_tiers SET enabled = true, requests = 2 WHERE name = 'authenticated';
SELECT n, pg_temp.as_user('a1', 'SELECT count(*) FROM profiles.search_profiles(''jane'')') FROM generate_series(1, 3) AS n;
UPDATE plinth.rate_limit_tiers SET enabled = false, requests = 60 WHERE name = 'authenticated';

--
-- figures: public ones (9), and an empty text is none (10)
--
UPDATE profiles.profiles SET full_name = 'Jane', bio = 'x' WHERE right(id::text, 2) = 'a1';
UPDATE profiles.profiles SET full_name = 'Bob', bio = ' ' WHERE right(id::text, 2) = 'a2';
UPDATE profiles.profiles SET full_name = '', bio = 'x' WHERE right(id::text, 2) = 'a3';
SET ROLE anon;
SELECT right(p.id::text, 2) AS who, s ->> 'profile_completion' AS completion,
	(s ->> 'member_since')::timestamptz = p.created_at AS since, (s ->> 'last_updated')::timestamptz = p.updated_at AS updated
FROM profiles.profiles AS p, profiles.get_user_stats(p.id) AS s WHERE right(p.id::text, 2) <= 'a4' ORDER BY p.id;
SELECT profiles.get_user_stats('00000000-0000-4000-8000-000000000099');
SELECT profiles.get_user_stats(NULL);
RESET ROLE;

--
-- what decides rights is not the user's to change (22)
--
UPDATE auth.users SET app_role = 'admin' WHERE email = 'jo@example.com';
SELECT who, type, pg_temp.as_user(who, format('SELECT p.user_type FROM profiles.set_user_type(%L, %L) AS p',
	'00000000-0000-4000-8000-0000000000' || target, type)) AS answer
FROM (VALUES ('a1', 'a1', 'teacher'), ('a3', 'a1', 'teacher'), ('a3', 'a1', 'king'), ('a3', 'a1', NULL), ('a3', '99', 'alumni')) AS v (who, target, type);
SELECT action, old_data ->> 'user_type' AS before, new_data ->> 'user_type' AS after, right(user_id::text, 2) AS by
FROM audit.audit_logs WHERE table_schema = 'profiles' AND table_name = 'profiles' AND action = 'UPDATE'
	AND record_id = '00000000-0000-4000-8000-0000000000a1' AND txid = (SELECT max(txid::text::bigint)::text::xid8
		FROM audit.audit_logs WHERE table_schema = 'profiles' AND table_name = 'profiles' AND action = 'UPDATE');
-- and no hash is in the trail
SELECT count(*) > 0 AS accounts, count(*) FILTER (WHERE concat(old_data, new_data) ~ 'argon2') AS hashes
FROM audit.audit_logs WHERE table_schema = 'auth' AND table_name = 'users';

--
-- the avatar: without storage, and what is asked of storage (13, 14)
--
SELECT profiles.set_avatar('x');
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000a1"}';
SELECT profiles.set_avatar('x');
RESET request.jwt.claims;
SELECT NOT EXISTS (SELECT FROM plinth.installed_modules WHERE module = 'storage') AS without_storage \gset
\if :without_storage
BEGIN;
-- as much of storage as is called
INSERT INTO plinth.installed_modules (module, schema, version, system_identifier, database_oid) VALUES ('storage', 'storage', '0', 0, 0);
CREATE SCHEMA storage AUTHORIZATION plinth_owner;
SET LOCAL ROLE plinth_owner;
CREATE TABLE storage.objects (bucket_id text, name text, owner_id uuid, status text);
CREATE FUNCTION storage.public_url(bucket text, name text) RETURNS text LANGUAGE sql AS $$ SELECT '/storage/' || bucket || '/' || name $$;
CREATE FUNCTION storage.remove(bucket text, names text[]) RETURNS text[] LANGUAGE sql AS $$
	DELETE FROM storage.objects WHERE name = ANY (names); SELECT names $$;
RESET ROLE;
INSERT INTO storage.objects
SELECT bucket, replace(name, 'a1', '00000000-0000-4000-8000-0000000000a1'), owner::uuid, status
FROM (VALUES ('avatars', 'a1/avatar/1.png', '00000000-0000-4000-8000-0000000000a1', 'ready'),
	('avatars', 'a1/avatar/2.png', '00000000-0000-4000-8000-0000000000a1', 'ready'),
	('avatars', 'a1/avatar/3.png', '00000000-0000-4000-8000-0000000000a1', 'pending'),
	('avatars', 'a1/avatar/4.png', '00000000-0000-4000-8000-0000000000a2', 'ready'),
	('avatars', 'elsewhere.png', '00000000-0000-4000-8000-0000000000a1', 'ready'),
	('images', 'a1/avatar/5.png', '00000000-0000-4000-8000-0000000000a1', 'ready')) AS v (bucket, name, owner, status);
SELECT n, pg_temp.as_user('a1', format('SELECT profiles.set_avatar(%L)', replace(n, 'a1', '00000000-0000-4000-8000-0000000000a1'))) AS answer
FROM unnest(ARRAY['a1/avatar/1.png', 'a1/avatar/2.png', 'a1/avatar/3.png', 'a1/avatar/4.png', 'elsewhere.png', 'a1/avatar/5.png', 'a1/avatar/1.png']) AS n;
SELECT avatar_url FROM profiles.profiles WHERE right(id::text, 2) = 'a1';
SELECT bucket_id, right(name, 13) AS name FROM storage.objects ORDER BY bucket_id, name;
ROLLBACK;
\endif

--
-- notifications
--
-- nobody to tell is no error (15), a title is there (17), S4's types have a message
SELECT profiles.notify(NULL, 'info', 'x', NULL) IS NULL AS nobody;
\set VERBOSITY sqlstate
SELECT profiles.notify('00000000-0000-4000-8000-000000000099', 'info', 'x', NULL);
SELECT profiles.notify('00000000-0000-4000-8000-0000000000a1', 'party', 'x', NULL);
SELECT profiles.notify('00000000-0000-4000-8000-0000000000a1', 'info', NULL, NULL);
SELECT profiles.notify('00000000-0000-4000-8000-0000000000a1', 'info', repeat('x', 201), NULL);
SELECT profiles.notify('00000000-0000-4000-8000-0000000000a1', 'insight', 'x', NULL);
SELECT profiles.notify('00000000-0000-4000-8000-0000000000a1', 'info', 'x', NULL, '[]');
SELECT profiles.notify('00000000-0000-4000-8000-0000000000a1', 'info', 'x', NULL, expires_at => '2000-01-01');
\set VERBOSITY default
SELECT profiles.notify('00000000-0000-4000-8000-0000000000a1', 'info', 'one', NULL) AS one \gset
SELECT profiles.notify('00000000-0000-4000-8000-0000000000a1', 'insight', 'two', 'text', NULL, related_entity_type => 'x') AS two \gset
SELECT profiles.notify('00000000-0000-4000-8000-0000000000a1', 'info', 'later', NULL, scheduled_for => now() + interval '1 hour') AS later \gset
SELECT profiles.notify('00000000-0000-4000-8000-0000000000a1', 'info', 'three', NULL, '{"k": 1}', expires_at => now() + interval '1 hour') AS three \gset
SELECT profiles.notify('00000000-0000-4000-8000-0000000000a2', 'info', 'other', NULL) AS other \gset
UPDATE profiles.notifications SET push_token_used = 'secret' WHERE title = 'one';
-- the user's own, that show now
SELECT pg_temp.as_user('a1', 'SELECT string_agg(title, '' '' ORDER BY title) FROM profiles.notifications') AS titles,
	pg_temp.as_user('a1', 'SELECT profiles.unread_count()') AS unread, pg_temp.as_user('99', 'SELECT profiles.unread_count()') AS nobodys;
-- opened is read; the sender's columns are not shown; another's, one that is not due or not there
SELECT pg_temp.as_user('a1', format('SELECT (n.title, n.opened, n.opened_at = n.read_at, n.is_read, n.action_taken, n.push_token_used) FROM profiles.mark_opened(%L, ''tapped'') AS n', :'one')) AS opened,
	pg_temp.as_user('a1', format('SELECT n.action_taken FROM profiles.mark_opened(%L) AS n', :'one')) AS again,
	pg_temp.as_user('a1', format('SELECT profiles.mark_opened(%L)', :'other')) AS others,
	pg_temp.as_user('a1', format('SELECT profiles.mark_opened(%L)', :'later')) AS later,
	pg_temp.as_user('a1', format('SELECT profiles.mark_opened(%L, repeat(''x'', 201))', :'two')) AS too_long;
SELECT pg_temp.as_user('a1', format('SELECT profiles.mark_read(ARRAY[%L, %L, %L]::uuid[])', :'two', :'other', :'later')) AS some,
	pg_temp.as_user('a1', 'SELECT profiles.mark_read(''{}'')') AS none,
	pg_temp.as_user('a1', 'SELECT profiles.mark_read()') AS rest,
	pg_temp.as_user('a1', 'SELECT profiles.mark_read()') AS none_left;
SELECT title, is_read, opened FROM profiles.notifications ORDER BY title;
-- read and the time of reading go together
SELECT pg_temp.as_user('a1', 'UPDATE profiles.notifications SET is_read = false') AS half;

-- push: due ones, claimed once, until the claim is over (19: pending without a clock in the index)
SET ROLE service_role;
SELECT title FROM profiles.claim_push(2) ORDER BY title;
SELECT count(*) FROM profiles.claim_push(1000000);
SELECT count(*) FROM profiles.claim_push(10);
SELECT (n.push_sent, n.push_sent_at IS NOT NULL, n.push_token_used, n.push_claimed_until) FROM profiles.push_done(:'one', 'device') AS n;
RESET ROLE;
UPDATE profiles.notifications SET push_claimed_until = now() - interval '1 second' WHERE push_claimed_until IS NOT NULL;
SET ROLE service_role;
SELECT count(*) FROM profiles.claim_push(10);
SELECT profiles.push_done('00000000-0000-4000-8000-000000000099', 'device');
SELECT profiles.claim_push(0);
SELECT profiles.claim_push(NULL);
RESET ROLE;

-- what goes: read and old, or expired for long (20)
DELETE FROM profiles.notifications;
INSERT INTO profiles.notifications (user_id, type, title, created_at, read_at, is_read, expires_at)
SELECT '00000000-0000-4000-8000-0000000000a1', 'info', title, now() - created, now() - read, read IS NOT NULL, now() - expired
FROM (VALUES ('read, old', interval '31 days', interval '1 day', NULL::interval), ('read, new', '29 days', '1 day', NULL),
	('unread, old', '31 days', NULL, NULL), ('expired long ago', '90 days', NULL, '31 days'),
	('expired', '90 days', NULL, '29 days')) AS v (title, created, read, expired);
SELECT profiles.purge_notifications();
SELECT title FROM profiles.notifications ORDER BY title;

--
-- indexes as the manual names them; the trigger is plain C (11)
--
SELECT indexrelid::regclass AS index FROM pg_index WHERE indrelid = 'profiles.notifications'::regclass ORDER BY indexrelid::regclass::text COLLATE "C";
SELECT tgrelid::regclass, tgfoid::regproc, prosecdef FROM pg_trigger JOIN pg_proc AS p ON p.oid = tgfoid
WHERE tgname = 'touch' AND tgrelid IN ('profiles.profiles'::regclass, 'profiles.private_profiles'::regclass) ORDER BY 1::text;

-- with the account goes all of it
DELETE FROM auth.users;
SELECT (SELECT count(*) FROM profiles.profiles) AS profiles, (SELECT count(*) FROM profiles.private_profiles) AS private_profiles,
	(SELECT count(*) FROM profiles.notifications) AS notifications;
UPDATE plinth.rate_limit_tiers SET enabled = true;
