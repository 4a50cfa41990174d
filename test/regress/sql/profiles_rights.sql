-- ---------------------------------------------------------------------
-- profiles: every table, every verb, as everybody (S4.1, S4.3, S4.4)
--
-- A number is how many rows the statement touched, a code the error.
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
SET client_min_messages = warning;
UPDATE plinth.rate_limit_tiers SET enabled = false WHERE name = 'anonymous';

INSERT INTO auth.users (id, email, email_confirmed_at, app_role) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'a@example.com', now(), 'user'),
	('00000000-0000-4000-8000-0000000000b1', 'b@example.com', now(), 'user'),
	('00000000-0000-4000-8000-0000000000c1', 'c@example.com', now(), 'user'),
	('00000000-0000-4000-8000-0000000000ad', 'admin@example.com', now(), 'admin');
INSERT INTO profiles.profiles (id, username)
	SELECT id, split_part(email, '@', 1) || '_name' FROM auth.users WHERE email <> 'c@example.com';
INSERT INTO profiles.notifications (user_id, type, title)
	SELECT id, 'info', 'hello' FROM profiles.profiles;

-- what a statement comes to for somebody, undone
CREATE FUNCTION pg_temp.attempt(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	touched	bigint;
BEGIN
	PERFORM set_config('request.jwt.claims', CASE who
		WHEN 'a' THEN '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000a1"}'
		WHEN 'c' THEN '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000c1"}'
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

-- the matrix; c is signed in and has no profile yet
SELECT statement, pg_temp.attempt('anon', statement) AS anon, pg_temp.attempt('a', statement) AS a,
	pg_temp.attempt('c', statement) AS c, pg_temp.attempt('admin', statement) AS admin,
	pg_temp.attempt('service', statement) AS service
FROM unnest(ARRAY[
	'SELECT * FROM profiles.profiles',
	'INSERT INTO profiles.profiles (id) VALUES (''00000000-0000-4000-8000-0000000000c1'')',
	'INSERT INTO profiles.profiles (id, username, full_name, avatar_url, website, bio, location) VALUES (''00000000-0000-4000-8000-0000000000c1'', ''new'', '''', '''', ''https://x'', '''', '''')',
	'INSERT INTO profiles.profiles (id, user_type) VALUES (''00000000-0000-4000-8000-0000000000c1'', ''teacher'')',
	'INSERT INTO profiles.profiles (id, is_guest) VALUES (''00000000-0000-4000-8000-0000000000c1'', false)',
	'INSERT INTO profiles.profiles (id, created_at) VALUES (''00000000-0000-4000-8000-0000000000c1'', ''-infinity'')',
	'INSERT INTO profiles.profiles (id) VALUES (''00000000-0000-4000-8000-0000000000a1'') ON CONFLICT (id) DO UPDATE SET user_type = ''teacher''',
	'UPDATE profiles.profiles SET bio = ''x''',
	'UPDATE profiles.profiles SET bio = ''x'' WHERE id = ''00000000-0000-4000-8000-0000000000b1''',
	'UPDATE profiles.profiles SET user_type = ''teacher''',
	'UPDATE profiles.profiles SET is_guest = true',
	'UPDATE profiles.profiles SET id = ''00000000-0000-4000-8000-0000000000c1''',
	'UPDATE profiles.profiles SET created_at = ''-infinity''',
	'DELETE FROM profiles.profiles',
	'SELECT * FROM profiles.private_profiles',
	'INSERT INTO profiles.private_profiles (id) VALUES (''00000000-0000-4000-8000-0000000000c1'')',
	'UPDATE profiles.private_profiles SET preferences = ''{"a": 1}''',
	'UPDATE profiles.private_profiles SET role = ''admin''',
	'UPDATE profiles.private_profiles SET email = NULL',
	'UPDATE profiles.private_profiles SET id = ''00000000-0000-4000-8000-0000000000c1''',
	'DELETE FROM profiles.private_profiles',
	'SELECT id, user_id, title FROM profiles.notifications',
	'SELECT push_token_used FROM profiles.notifications',
	'SELECT push_claimed_until FROM profiles.notifications',
	'INSERT INTO profiles.notifications (user_id, type, title) VALUES (''00000000-0000-4000-8000-0000000000a1'', ''info'', ''x'')',
	'UPDATE profiles.notifications SET is_read = true, read_at = now()',
	'UPDATE profiles.notifications SET opened = true, opened_at = now(), is_read = true, read_at = now(), action_taken = ''x''',
	'UPDATE profiles.notifications SET title = ''x''',
	'UPDATE profiles.notifications SET type = ''error''',
	'UPDATE profiles.notifications SET data = ''{}''',
	'UPDATE profiles.notifications SET user_id = ''00000000-0000-4000-8000-0000000000c1''',
	'UPDATE profiles.notifications SET scheduled_for = ''-infinity''',
	'UPDATE profiles.notifications SET push_sent = true',
	'DELETE FROM profiles.notifications'
]) WITH ORDINALITY AS s (statement, n) ORDER BY n;

-- and the functions
SELECT statement, pg_temp.attempt('anon', statement) AS anon, pg_temp.attempt('a', statement) AS a,
	pg_temp.attempt('admin', statement) AS admin, pg_temp.attempt('service', statement) AS service
FROM unnest(ARRAY[
	'SELECT profiles.search_profiles(''na'')',
	'SELECT profiles.get_user_stats(''00000000-0000-4000-8000-0000000000a1'')',
	'SELECT profiles.get_or_create_profile()',
	'SELECT profiles.update_profile(''{"bio": "x"}'')',
	'SELECT profiles.set_avatar(''x'')',
	'SELECT profiles.unread_count()',
	'SELECT profiles.mark_read()',
	'SELECT profiles.mark_opened(NULL)',
	'SELECT profiles.set_user_type(''00000000-0000-4000-8000-0000000000a1'', ''teacher'')',
	'SELECT profiles.notify(''00000000-0000-4000-8000-0000000000a1'', ''info'', ''x'', NULL)',
	'SELECT profiles.claim_push(10)',
	'SELECT profiles.push_done((SELECT id FROM profiles.notifications LIMIT 1), ''token'')',
	'SELECT profiles.purge_notifications()'
]) WITH ORDINALITY AS s (statement, n) ORDER BY n;

-- a notification shows from its time to its end only
UPDATE profiles.notifications SET scheduled_for = now() + interval '1 hour'
WHERE user_id = '00000000-0000-4000-8000-0000000000a1';
INSERT INTO profiles.notifications (user_id, type, title, created_at, expires_at)
VALUES ('00000000-0000-4000-8000-0000000000a1', 'info', 'over', now() - interval '2 hours', now() - interval '1 hour');
SELECT statement, pg_temp.attempt('a', statement) AS a
FROM unnest(ARRAY['SELECT id FROM profiles.notifications', 'DELETE FROM profiles.notifications WHERE id IS NOT NULL',
	'UPDATE profiles.notifications SET is_read = true, read_at = now() WHERE id IS NOT NULL']) AS s (statement);

DELETE FROM auth.users;
UPDATE plinth.rate_limit_tiers SET enabled = true WHERE name = 'anonymous';
