-- ---------------------------------------------------------------------
-- leaderboard: the view, its refresh, and what may be read of it
--
-- The upkeep worker may refresh it at any time: every answer below is that of
-- a refresh made here.
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;

-- refresh, when it is our turn
CREATE PROCEDURE pg_temp.refresh() LANGUAGE plpgsql AS $$
BEGIN
	FOR attempt IN 1 .. 6000 LOOP
		EXIT WHEN social.refresh_leaderboard();
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END
$$;

INSERT INTO auth.users (id, email, is_anonymous)
SELECT ('00000000-0000-4000-8000-0000000000a' || n)::uuid, CASE WHEN n <> 6 THEN 'u' || n || '@example.com' END, n = 6
FROM generate_series(1, 7) AS n;
INSERT INTO profiles.profiles (id, full_name, avatar_url, user_type)
SELECT id, 'User ' || right(id::text, 1), 'https://example.com/' || right(id::text, 1), 'student'
FROM auth.users WHERE id <> '00000000-0000-4000-8000-0000000000a7'
ON CONFLICT (id) DO UPDATE SET full_name = excluded.full_name, avatar_url = excluded.avatar_url;
UPDATE profiles.profiles SET is_guest = true WHERE id = '00000000-0000-4000-8000-0000000000a6';
UPDATE profiles.private_profiles SET preferences = '{"hide_from_leaderboard": true}'
WHERE id = '00000000-0000-4000-8000-0000000000a5';

-- a2 leads, a1 and a3 are level, a4 has nothing, a5 hides, a6 is a guest, a7 has no profile
SELECT count(social.add_xp(id, xp, 'daily_login')) FROM (VALUES
	('00000000-0000-4000-8000-0000000000a1'::uuid, 300), ('00000000-0000-4000-8000-0000000000a2', 5000),
	('00000000-0000-4000-8000-0000000000a3', 300), ('00000000-0000-4000-8000-0000000000a5', 9000),
	('00000000-0000-4000-8000-0000000000a6', 9000), ('00000000-0000-4000-8000-0000000000a7', 9000)) AS v (id, xp);
-- counts that must not multiply each other (fault 9)
INSERT INTO social.user_badges (user_id, badge_id)
SELECT '00000000-0000-4000-8000-0000000000a1', id FROM social.badges WHERE name IN ('Expert', 'Skill Master', 'First Steps');
INSERT INTO social.skills (name) VALUES ('SQL'), ('C'), ('Perl');
INSERT INTO social.user_skills (user_id, skill_id, verified)
SELECT '00000000-0000-4000-8000-0000000000a1', id, name <> 'Perl' FROM social.skills;

CALL pg_temp.refresh();
-- as a visitor; users without points come last (fault 9), guests and who hides not at all (fault 11)
SET ROLE anon;
SELECT rank, full_name, avatar_url, user_type, current_level, total_xp, badge_count, skill_count
FROM social.get_leaderboard();
SELECT user_id FROM social.get_leaderboard(1);

-- pages: a range of ranks, and limits that are kept within bounds
SELECT rank, full_name FROM social.get_leaderboard(2, 1);
SELECT rank FROM social.get_leaderboard(0);
SELECT rank FROM social.get_leaderboard(-5, -5);
SELECT count(*) FROM social.get_leaderboard(1000000);
SELECT count(*) FROM social.get_leaderboard(NULL, NULL);
SELECT count(*) FROM social.get_leaderboard(100, 9223372036854775807);
SELECT social.get_leaderboard(10, 0, 'month');
SELECT social.get_leaderboard(10, 0, 'week');
SELECT social.get_leaderboard(10, 0, 'year');
SELECT social.get_leaderboard(10, 0, NULL);
\set VERBOSITY sqlstate
SELECT social.get_leaderboard(10, 0, 'month');
SELECT social.get_leaderboard(10, 0, 'year');
\set VERBOSITY default
RESET ROLE;

-- who hides, leaves or is a guest now is not shown, before any refresh
BEGIN;
UPDATE profiles.private_profiles SET preferences = '{"hide_from_leaderboard": true}' WHERE id = '00000000-0000-4000-8000-0000000000a1';
UPDATE profiles.profiles SET is_guest = true WHERE id = '00000000-0000-4000-8000-0000000000a3';
DELETE FROM auth.users WHERE id = '00000000-0000-4000-8000-0000000000a4';
SELECT rank, full_name FROM social.get_leaderboard();
ROLLBACK;

-- CONCURRENTLY is possible (fault 10): a unique index on the user
SELECT indexrelid::regclass, indisunique FROM pg_index
WHERE indrelid = 'social.leaderboard_all_time'::regclass ORDER BY 1;
-- and a page is a range of the other one
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS OFF) SELECT * FROM social.leaderboard_all_time b WHERE b.rank > 100 AND b.rank <= 200 ORDER BY b.rank;
RESET enable_seqscan;
RESET enable_bitmapscan;

-- never populated: no answer, a plain refresh, then an answer
BEGIN;
SELECT pg_advisory_xact_lock(x'6c656164'::integer, 'social.leaderboard_all_time'::regclass::oid::integer);
REFRESH MATERIALIZED VIEW social.leaderboard_all_time WITH NO DATA;
SAVEPOINT empty;
SELECT count(*) FROM social.get_leaderboard();
ROLLBACK TO empty;
SELECT social.refresh_leaderboard();
SELECT count(*) FROM social.get_leaderboard();
COMMIT;

-- a change is there after the next refresh
SELECT count(social.add_xp('00000000-0000-4000-8000-0000000000a4', 10000, 'daily_login'));
CALL pg_temp.refresh();
SELECT rank, full_name, total_xp FROM social.get_leaderboard(1);

-- the upkeep worker's figures: one row an instance
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = 'plinth.stat_leaderboard'::regclass AND attnum > 0 ORDER BY attnum;
SELECT rolname, has_table_privilege(rolname, 'plinth.stat_leaderboard', 'SELECT') AS reads
FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role', 'pg_monitor') ORDER BY 1;
SELECT name, boot_val, unit, context, min_val FROM pg_settings WHERE name = 'plinth.leaderboard_refresh_interval';

DELETE FROM auth.users WHERE id::text LIKE '00000000-0000-4000-8000-0000000000a_';
DELETE FROM social.skills;
CALL pg_temp.refresh();
