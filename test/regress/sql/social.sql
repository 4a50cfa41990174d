-- ---------------------------------------------------------------------
-- social: points, levels and badges
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;

INSERT INTO auth.users (id, email) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'ann@example.com'),
	('00000000-0000-4000-8000-0000000000a2', 'ben@example.com'),
	('00000000-0000-4000-8000-0000000000a3', 'cleo@example.com'),
	('00000000-0000-4000-8000-0000000000a4', 'dan@example.com');

-- an award's answer in columns, ids left out
CREATE FUNCTION pg_temp.answer(answer jsonb)
RETURNS TABLE (success boolean, added bigint, total bigint, level integer, up boolean, new_level integer, rewards text)
LANGUAGE sql AS $$
	SELECT (answer ->> 'success')::boolean, (answer #>> '{data,xp_added}')::bigint,
		(answer #>> '{data,total_xp}')::bigint, (answer #>> '{data,current_level}')::integer,
		(answer #>> '{data,level_up}')::boolean, (answer #>> '{data,new_level}')::integer,
		(SELECT string_agg(concat_ws(' ', r ->> 'type', r ->> 'name', r ->> 'points'), ', ' ORDER BY o)
		 FROM jsonb_array_elements(answer #> '{data,rewards}') WITH ORDINALITY AS e (r, o))
$$;
GRANT EXECUTE ON FUNCTION pg_temp.answer(jsonb) TO service_role;

-- the badges of the start: each has a metric that can be reached (faults 7, 31)
SELECT name, rarity, category, requirement_type, requirement_value, points, requirement_metric
FROM social.badges ORDER BY points, name;

SET ROLE service_role;

-- the first award counts for the level too (fault 2), and says all there is to say
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a1', 1000, 'course_completion', '{"course": 7}');
SELECT current_level, total_xp FROM social.user_levels
WHERE user_id = '00000000-0000-4000-8000-0000000000a1';
SELECT amount, source, metadata, idempotency_key FROM social.xp_transactions
WHERE user_id = '00000000-0000-4000-8000-0000000000a1';

-- below the next level, at it, and over two at once
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a1', 624, 'quiz_completion'));
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a1', 1, 'quiz_completion'));
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a1', 2530, 'project_submission'));

-- the same key adds nothing; another source or user is another award
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a2', 200, 'daily_login', '{}', 'day 1'));
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a2', 200, 'daily_login', '{}', 'day 1'));
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a2', 999, 'daily_login', NULL, 'day 1'));
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a2', 50, 'skill_mastery', NULL, 'day 1'));
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a3', 50, 'daily_login', NULL, 'day 1'));
SELECT count(*), sum(amount) FROM social.xp_transactions
WHERE user_id = '00000000-0000-4000-8000-0000000000a2';

-- a level is never lowered, where somebody was given a higher one
UPDATE social.user_levels SET current_level = 9 WHERE user_id = '00000000-0000-4000-8000-0000000000a3';
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a3', 500, 'daily_login'));

-- over the integer range (fault 4), to the end of bigint, and not beyond it
UPDATE social.user_levels SET total_xp = 2147483647 WHERE user_id = '00000000-0000-4000-8000-0000000000a3';
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a3', 2147483647, 'social_interaction'));
UPDATE social.user_levels SET total_xp = 9223372036854775800 WHERE user_id = '00000000-0000-4000-8000-0000000000a3';
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a3', 7, 'social_interaction'));
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a3', 1, 'social_interaction');
SELECT total_xp, current_level FROM social.user_levels WHERE user_id = '00000000-0000-4000-8000-0000000000a3';

-- what is missing or wrong (faults 1, 5), and leaves nothing behind
SELECT social.add_xp(NULL, 10, 'daily_login');
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a4', NULL, 'daily_login');
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a4', 0, 'daily_login');
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a4', 10, NULL);
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a4', -10, 'daily_login');
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a4', 10, 'bribe');
SELECT social.add_xp('00000000-0000-4000-8000-00000000dead', 10, 'daily_login');
\set VERBOSITY sqlstate
SELECT social.add_xp(NULL, 10, 'daily_login');
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a4', 0, 'daily_login');
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a4', -10, 'daily_login');
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a4', 10, 'bribe');
SELECT social.add_xp('00000000-0000-4000-8000-00000000dead', 10, 'daily_login');
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a3', 1, 'social_interaction');
\set VERBOSITY default
SELECT count(*) FROM social.user_levels WHERE user_id = '00000000-0000-4000-8000-0000000000a4';
SELECT count(*) FROM social.xp_transactions WHERE user_id = '00000000-0000-4000-8000-0000000000a4';

-- an award that is rolled back leaves neither log nor total (fault 3)
BEGIN;
SELECT social.add_xp('00000000-0000-4000-8000-0000000000a4', 10, 'daily_login') IS NOT NULL AS awarded;
ROLLBACK;
SELECT count(*) FROM social.user_levels WHERE user_id = '00000000-0000-4000-8000-0000000000a4';

-- badges of metric level: whatever the new level has reached, once, with their
-- points, and what those points lead to
INSERT INTO social.badges (id, name, rarity, category, requirement_type, requirement_value, requirement_metric, points)
VALUES
	('00000000-0000-4000-8000-000000000b02', 'Level 2', 'common', 'milestone', 'level', 2, 'level', 300),
	('00000000-0000-4000-8000-000000000b03', 'Level 3', 'common', 'milestone', 'level', 3, 'level', 0),
	('00000000-0000-4000-8000-000000000b04', 'Level 4', 'rare', 'milestone', 'level', 4, 'level', 450),
	('00000000-0000-4000-8000-000000000b09', 'Level 9', 'epic', 'milestone', 'level', 9, 'level', 1000);
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a4', 199, 'daily_login'));
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a4', 1, 'daily_login'));
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a4', 450, 'daily_login'));
SELECT amount, source, idempotency_key FROM social.xp_transactions
WHERE user_id = '00000000-0000-4000-8000-0000000000a4' ORDER BY source, idempotency_key NULLS FIRST, amount;

-- a badge that is held is no reward again (fault 6)
SELECT * FROM pg_temp.answer(social.add_xp('00000000-0000-4000-8000-0000000000a4', 1237, 'daily_login'));
SELECT b.name FROM social.user_badges u JOIN social.badges b ON b.id = u.badge_id
WHERE u.user_id = '00000000-0000-4000-8000-0000000000a4' ORDER BY b.requirement_value;

-- the total is the sum of the log
SELECT l.total_xp = sum(x.amount) AS adds_up
FROM social.user_levels l JOIN social.xp_transactions x USING (user_id)
WHERE user_id = '00000000-0000-4000-8000-0000000000a4' GROUP BY l.total_xp;

-- badges that came after the level: check_badges finds them, once
SELECT name, points FROM social.check_badges('00000000-0000-4000-8000-0000000000a1');
SELECT name, points FROM social.check_badges('00000000-0000-4000-8000-0000000000a1');
SELECT total_xp, current_level FROM social.user_levels WHERE user_id = '00000000-0000-4000-8000-0000000000a1';

-- a badge by hand: its points come with it, once, also when it was taken away
SELECT social.award_badge('00000000-0000-4000-8000-0000000000a2', id, '{"by": "hand"}') FROM social.badges WHERE name = 'Skill Master';
SELECT social.award_badge('00000000-0000-4000-8000-0000000000a2', id) FROM social.badges WHERE name = 'Skill Master';
SELECT total_xp, current_level FROM social.user_levels WHERE user_id = '00000000-0000-4000-8000-0000000000a2';
DELETE FROM social.user_badges u USING social.badges b
WHERE b.id = u.badge_id AND b.name = 'Skill Master' AND u.user_id = '00000000-0000-4000-8000-0000000000a2';
SELECT social.award_badge('00000000-0000-4000-8000-0000000000a2', id, '{"by": "hand"}') FROM social.badges WHERE name = 'Skill Master';
SELECT total_xp FROM social.user_levels WHERE user_id = '00000000-0000-4000-8000-0000000000a2';
SELECT b.name, u.metadata FROM social.user_badges u JOIN social.badges b ON b.id = u.badge_id
WHERE u.user_id = '00000000-0000-4000-8000-0000000000a2' ORDER BY b.name;

-- what is missing or unknown
SELECT social.award_badge(NULL, '00000000-0000-4000-8000-000000000b02');
SELECT social.award_badge('00000000-0000-4000-8000-0000000000a2', NULL);
SELECT social.award_badge('00000000-0000-4000-8000-00000000dead', '00000000-0000-4000-8000-000000000b02');
SELECT social.award_badge('00000000-0000-4000-8000-0000000000a2', '00000000-0000-4000-8000-00000000dead');
SELECT * FROM social.check_badges(NULL);
SELECT * FROM social.check_badges('00000000-0000-4000-8000-00000000dead');

-- one's own badges with what is said about them; others' without
RESET ROLE;
SET request.jwt.claims = '{"sub": "00000000-0000-4000-8000-0000000000a2", "role": "authenticated"}';
SET ROLE authenticated;
SELECT count(*), count(*) FILTER (WHERE metadata = '{"by": "hand"}') AS by_hand FROM social.my_badges();
SELECT count(*) > 3 AS everybodys FROM (SELECT id, user_id, badge_id, earned_at FROM social.user_badges) AS b;
SELECT metadata FROM social.user_badges;
RESET request.jwt.claims;
SELECT * FROM social.my_badges();
RESET ROLE;

-- a user who leaves takes everything along
DELETE FROM auth.users WHERE id = '00000000-0000-4000-8000-0000000000a2';
SELECT (SELECT count(*) FROM social.user_levels WHERE user_id = '00000000-0000-4000-8000-0000000000a2')
	+ (SELECT count(*) FROM social.xp_transactions WHERE user_id = '00000000-0000-4000-8000-0000000000a2')
	+ (SELECT count(*) FROM social.user_badges WHERE user_id = '00000000-0000-4000-8000-0000000000a2') AS left_behind;

DELETE FROM social.badges WHERE name LIKE 'Level %';
DELETE FROM auth.users WHERE id::text LIKE '00000000-0000-4000-8000-0000000000a_';

-- two instances side by side know nothing of each other
SELECT plinth.install('social', 'regress_club "a"');
SELECT plinth.install('social', 'regress club') IS NOT NULL AS installed;
INSERT INTO auth.users (id, email) VALUES ('00000000-0000-4000-8000-0000000000a1', 'ann@example.com');
SELECT * FROM pg_temp.answer("regress club".add_xp('00000000-0000-4000-8000-0000000000a1', 500, 'daily_login'));
SELECT (SELECT total_xp FROM "regress club".user_levels) AS there, (SELECT count(*) FROM social.user_levels) AS here,
	(SELECT count(*) FROM "regress club".badges) AS badges;
-- nothing in it names the other schema
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace = '"regress club"'::regnamespace AND pg_get_functiondef(p.oid) ~ '\msocial\.(?!verification_base_url)';
DELETE FROM auth.users WHERE id = '00000000-0000-4000-8000-0000000000a1';
DROP SCHEMA "regress club" CASCADE;
DELETE FROM plinth.installed_modules WHERE schema = 'regress club';
