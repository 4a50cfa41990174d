-- ---------------------------------------------------------------------
-- social: every table, every verb, as everybody (S4.1, S4.3, S4.4)
--
-- A number is how many rows the statement touched, a code the error.
-- a and b are users, teacher teaches, admin is one.
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
SET client_min_messages = warning;

INSERT INTO auth.users (id, email, app_role) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'a@example.com', 'user'),
	('00000000-0000-4000-8000-0000000000b1', 'b@example.com', 'user'),
	('00000000-0000-4000-8000-0000000000c1', 'teacher@example.com', 'user'),
	('00000000-0000-4000-8000-0000000000ad', 'admin@example.com', 'admin');
INSERT INTO profiles.profiles (id, full_name, user_type)
	SELECT id, split_part(email, '@', 1), CASE WHEN email LIKE 'teacher%' THEN 'teacher' ELSE 'alumni' END
	FROM auth.users WHERE email <> 'admin@example.com';
INSERT INTO social.skills (id, name, is_active) VALUES
	('00000000-0000-4000-8000-000000000051', 'SQL', true),
	('00000000-0000-4000-8000-000000000052', 'C', true),
	('00000000-0000-4000-8000-000000000053', 'COBOL', false);
SELECT count(social.add_xp(u.id, 100, 'daily_login')) FROM auth.users u WHERE email IN ('a@example.com', 'b@example.com');
INSERT INTO social.user_badges (user_id, badge_id)
	SELECT '00000000-0000-4000-8000-0000000000b1', id FROM social.badges WHERE name = 'Expert';
INSERT INTO social.user_skills (user_id, skill_id, verified) VALUES
	('00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-000000000051', false),
	('00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-000000000051', true),
	('00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-000000000052', false);
INSERT INTO social.certification_requests (id, user_id, skill_id, requested_level, evidence_type, status) VALUES
	('00000000-0000-4000-8000-0000000000e1', '00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-000000000051', 'expert', 'link', 'pending'),
	('00000000-0000-4000-8000-0000000000e2', '00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-000000000052', 'expert', 'link', 'under_review'),
	('00000000-0000-4000-8000-0000000000e3', '00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-000000000051', 'expert', 'link', 'pending');
INSERT INTO social.certifications (user_id, skill_id, level, verification_url) VALUES
	('00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-000000000051', 'beginner', '/verify/'),
	('00000000-0000-4000-8000-0000000000b1', '00000000-0000-4000-8000-000000000051', 'beginner', '/verify/');

-- what a statement comes to for somebody, undone
CREATE FUNCTION pg_temp.attempt(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	touched	bigint;
BEGIN
	PERFORM set_config('request.jwt.claims', CASE who
		WHEN 'a' THEN '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000a1"}'
		WHEN 'teacher' THEN '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000c1"}'
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

SELECT statement, pg_temp.attempt('anon', statement) AS anon, pg_temp.attempt('a', statement) AS a,
	pg_temp.attempt('teacher', statement) AS teacher, pg_temp.attempt('admin', statement) AS admin,
	pg_temp.attempt('service', statement) AS service
FROM unnest(ARRAY[
	'SELECT * FROM social.user_levels',
	'INSERT INTO social.user_levels (user_id, total_xp) VALUES (''00000000-0000-4000-8000-0000000000c1'', 1)',
	'UPDATE social.user_levels SET total_xp = 1000000',
	'UPDATE social.user_levels SET current_level = 93',
	'DELETE FROM social.user_levels',
	'TRUNCATE social.user_levels',

	'SELECT * FROM social.xp_transactions',
	'INSERT INTO social.xp_transactions (user_id, amount, source) VALUES (''00000000-0000-4000-8000-0000000000a1'', 1, ''daily_login'')',
	'UPDATE social.xp_transactions SET amount = 1000',
	'DELETE FROM social.xp_transactions',

	'SELECT * FROM social.badges',
	'INSERT INTO social.badges (name, rarity, category, requirement_type, requirement_value, requirement_metric) VALUES (''x'', ''rare'', ''skill'', ''level'', 1, ''level'')',
	'INSERT INTO social.badges (name, rarity, category, requirement_type, requirement_value, requirement_metric, points) VALUES (''x'', ''rare'', ''skill'', ''level'', 1, ''level'', 9)',
	'UPDATE social.badges SET description = ''x'' WHERE name = ''Expert''',
	'UPDATE social.badges SET points = 1000000 WHERE name = ''Expert''',
	'DELETE FROM social.badges WHERE name = ''Expert''',

	'SELECT id, user_id, badge_id, earned_at FROM social.user_badges',
	'SELECT metadata FROM social.user_badges',
	'INSERT INTO social.user_badges (user_id, badge_id) SELECT ''00000000-0000-4000-8000-0000000000a1'', id FROM social.badges WHERE name = ''Expert''',
	'UPDATE social.user_badges SET user_id = ''00000000-0000-4000-8000-0000000000a1''',
	'DELETE FROM social.user_badges',

	'SELECT * FROM social.skills',
	'INSERT INTO social.skills (name) VALUES (''Rust'')',
	'UPDATE social.skills SET is_active = false WHERE name = ''SQL''',
	'UPDATE social.skills SET is_active = true WHERE name = ''COBOL''',
	'DELETE FROM social.skills WHERE name = ''COBOL''',

	'SELECT * FROM social.user_skills',
	'INSERT INTO social.user_skills (skill_id) VALUES (''00000000-0000-4000-8000-000000000052'')',
	'INSERT INTO social.user_skills (user_id, skill_id) VALUES (''00000000-0000-4000-8000-0000000000c1'', ''00000000-0000-4000-8000-000000000052'')',
	'INSERT INTO social.user_skills (skill_id, verified) VALUES (''00000000-0000-4000-8000-000000000052'', true)',
	'INSERT INTO social.user_skills (skill_id) VALUES (''00000000-0000-4000-8000-000000000051'') ON CONFLICT (user_id, skill_id) DO UPDATE SET verified = true',
	'UPDATE social.user_skills SET proficiency_level = ''expert''',
	'UPDATE social.user_skills SET verified = true',
	'UPDATE social.user_skills SET score = 100, mastered = true',
	'DELETE FROM social.user_skills',

	'SELECT * FROM social.certification_requests',
	'INSERT INTO social.certification_requests (skill_id, requested_level, evidence_type) VALUES (''00000000-0000-4000-8000-000000000051'', ''beginner'', ''link'')',
	'INSERT INTO social.certification_requests (user_id, skill_id, requested_level, evidence_type) VALUES (''00000000-0000-4000-8000-0000000000b1'', ''00000000-0000-4000-8000-000000000051'', ''beginner'', ''link'')',
	'INSERT INTO social.certification_requests (skill_id, requested_level, evidence_type, status) VALUES (''00000000-0000-4000-8000-000000000051'', ''beginner'', ''link'', ''approved'')',
	'UPDATE social.certification_requests SET status = ''approved''',
	'UPDATE social.certification_requests SET description = ''x''',
	'DELETE FROM social.certification_requests',

	'SELECT * FROM social.certifications',
	'INSERT INTO social.certifications (user_id, skill_id, level, verification_url) VALUES (''00000000-0000-4000-8000-0000000000a1'', ''00000000-0000-4000-8000-000000000051'', ''expert'', '''')',
	'UPDATE social.certifications SET expires_at = ''infinity''',
	'UPDATE social.certifications SET is_revoked = true, revoked_at = now()',
	'DELETE FROM social.certifications',

	'SELECT * FROM social.leaderboard_all_time LIMIT 0',
	'REFRESH MATERIALIZED VIEW social.leaderboard_all_time',

	'SELECT social.add_xp(''00000000-0000-4000-8000-0000000000a1'', 1, ''daily_login'')',
	'SELECT social.award_badge(''00000000-0000-4000-8000-0000000000a1'', id) FROM social.badges WHERE name = ''Expert''',
	'SELECT * FROM social.check_badges(''00000000-0000-4000-8000-0000000000a1'')',
	'SELECT social.give_xp(''00000000-0000-4000-8000-0000000000a1'', 1, ''daily_login'', NULL, NULL)',
	'SELECT social.lock_growth(''00000000-0000-4000-8000-0000000000a1'')',
	'SELECT social.earn_level_badges(''00000000-0000-4000-8000-0000000000a1'', 93)',
	'SELECT social.issue_certificate(r, NULL, NULL) FROM social.certification_requests r',
	'SELECT * FROM social.my_badges()',
	'SELECT * FROM social.get_leaderboard() LIMIT 0',
	'SELECT social.refresh_leaderboard()',
	'SELECT social.request_certification(''00000000-0000-4000-8000-000000000052'', ''beginner'', ''link'')',
	'SELECT social.review_certification(''00000000-0000-4000-8000-0000000000e3'', ''approved'')',
	'SELECT social.verify_certificate(''EVOLV-000000000000'')']) WITH ORDINALITY AS s (statement, n)
ORDER BY n;

-- a function with the owner's rights looks at the caller itself: a grant that
-- should not be there opens nothing
BEGIN;
GRANT EXECUTE ON FUNCTION social.add_xp(uuid, integer, text, jsonb, text), social.award_badge(uuid, uuid, jsonb),
	social.check_badges(uuid), social.refresh_leaderboard() TO anon, authenticated;
SELECT statement, pg_temp.attempt('anon', statement) AS anon, pg_temp.attempt('a', statement) AS a,
	pg_temp.attempt('admin', statement) AS admin
FROM unnest(ARRAY[
	'SELECT social.add_xp(''00000000-0000-4000-8000-0000000000a1'', 1, ''daily_login'')',
	'SELECT social.award_badge(''00000000-0000-4000-8000-0000000000a1'', id) FROM social.badges WHERE name = ''Expert''',
	'SELECT * FROM social.check_badges(''00000000-0000-4000-8000-0000000000a1'')',
	'SELECT social.refresh_leaderboard()']) AS statement;
ROLLBACK;

DELETE FROM social.certifications;
DELETE FROM auth.users WHERE id::text LIKE '00000000-0000-4000-8000-0000000000__';
DELETE FROM social.skills;
