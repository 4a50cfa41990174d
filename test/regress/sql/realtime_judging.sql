--
-- REALTIME_JUDGING
-- Policies that only PostgreSQL can judge: what each identity is sent, with
-- whose rights they run, and what one that fails does to whom.
--
-- Needs: setup; the stream worker of this database
-- Leaves: nothing
--
SET client_min_messages = warning;
CREATE SCHEMA regress_judging;
GRANT USAGE ON SCHEMA regress_judging TO anon, authenticated;

-- become user number n, of a role
CREATE FUNCTION regress_judging.user_id(n int) RETURNS uuid
LANGUAGE sql IMMUTABLE RETURN ('00000000-0000-4000-8000-0000000000a' || n)::uuid;
CREATE TABLE regress_judging.subs (who int, what text, filter text, id bigint, key text, PRIMARY KEY (who, what));
CREATE PROCEDURE regress_judging.follow(who int, table_name text, filter text DEFAULT NULL, role text DEFAULT 'authenticated')
LANGUAGE plpgsql AS $$
DECLARE
	sub	record;
BEGIN
	PERFORM set_config('request.jwt.claims', json_build_object('sub', regress_judging.user_id(who),
		'role', role, 'team', who % 2)::text, false);
	EXECUTE format('SET LOCAL ROLE %I', role);
	SELECT * INTO sub FROM realtime.subscribe('judging', 'regress_judging', table_name, '*', filter);
	RESET ROLE;
	PERFORM set_config('request.jwt.claims', '', false);
	INSERT INTO regress_judging.subs VALUES (who, table_name || coalesce(' ' || filter, ''), filter, sub.subscription_id, sub.session_key);
END;
$$;

-- wait until the stream has worked off what is committed now, at most 20 s
CREATE FUNCTION regress_judging.drain() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
	target		pg_lsn := pg_current_wal_insert_lsn();
	deadline	timestamptz := clock_timestamp() + interval '20 s';
BEGIN
	WHILE NOT EXISTS (SELECT FROM plinth.stat_stream
					  WHERE database = current_database() AND confirmed_lsn >= target)
		AND clock_timestamp() < deadline LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END;
$$;

-- what has come, by table: who was sent which rows
CREATE FUNCTION regress_judging.got(what text) RETURNS TABLE (who int, messages text)
LANGUAGE sql AS $$
	SELECT s.who, string_agg(CASE WHEN p.event IN ('gap', 'end') THEN p.event || coalesce(': ' || (p.payload ->> 'reason'), '')
		ELSE lower(left(p.event, 1)) || coalesce(p.payload -> 'new' ->> 'id', p.payload -> 'old' ->> 'id') END, ' ' ORDER BY p.seq)
	FROM regress_judging.subs AS s
		LEFT JOIN LATERAL realtime.poll(s.id, s.key, 0, 1000) AS p ON true
	WHERE s.what = got.what
	GROUP BY s.who ORDER BY s.who
$$;

--
-- A sub-query on a table that has policies of its own
--
CREATE TABLE regress_judging.members (room int, user_id uuid, hidden boolean DEFAULT false, PRIMARY KEY (room, user_id));
ALTER TABLE regress_judging.members ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON regress_judging.members FOR SELECT TO authenticated USING (user_id = auth.uid() AND NOT hidden);
GRANT SELECT ON regress_judging.members TO authenticated;
INSERT INTO regress_judging.members VALUES
	(1, regress_judging.user_id(1), false), (1, regress_judging.user_id(2), false), (2, regress_judging.user_id(2), false),
	(3, regress_judging.user_id(1), true);
CREATE TABLE regress_judging.posts (id int PRIMARY KEY, room int, author uuid, body text);
ALTER TABLE regress_judging.posts ENABLE ROW LEVEL SECURITY;
ALTER TABLE regress_judging.posts REPLICA IDENTITY FULL;
-- the scalar sub-query within the sub-query is computed once, whatever the row
CREATE POLICY member ON regress_judging.posts FOR SELECT TO authenticated
	USING (EXISTS (SELECT FROM regress_judging.members AS m WHERE m.room = posts.room AND m.user_id = (SELECT auth.uid())));
CREATE POLICY author ON regress_judging.posts FOR SELECT TO authenticated USING (author = (SELECT auth.uid()));
GRANT SELECT (id, room) ON regress_judging.posts TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_judging.posts;
CALL regress_judging.follow(1, 'posts');
CALL regress_judging.follow(2, 'posts');
CALL regress_judging.follow(3, 'posts');
CALL regress_judging.follow(2, 'posts', 'room=eq.2');
SELECT s.who, s.what, t.route, t.filter
FROM regress_judging.subs AS s JOIN plinth.stat_subscriptions AS t USING (id) ORDER BY who, what;

BEGIN;
INSERT INTO regress_judging.posts SELECT n, n % 4, regress_judging.user_id(3), 'b' FROM generate_series(1, 8) AS n;
UPDATE regress_judging.posts SET room = room + 1 WHERE id <= 3;
DELETE FROM regress_judging.posts WHERE id >= 7;
COMMIT;
INSERT INTO regress_judging.posts VALUES (9, NULL, regress_judging.user_id(1), 'b');
UPDATE regress_judging.posts SET author = regress_judging.user_id(2) WHERE id = 9;
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('posts');
SELECT * FROM regress_judging.got('posts room=eq.2');

-- what another table says counts as it is when it is asked
INSERT INTO regress_judging.members VALUES (1, regress_judging.user_id(3));
DELETE FROM regress_judging.members WHERE user_id = regress_judging.user_id(1);
INSERT INTO regress_judging.posts VALUES (20, 1, NULL, 'b');
SELECT regress_judging.drain();
SELECT who, right(messages, 3) AS last FROM regress_judging.got('posts');

-- the cost of it is shown, within a second
DO $$
DECLARE
	deadline	timestamptz := clock_timestamp() + interval '20 s';
BEGIN
	WHILE EXISTS (SELECT FROM plinth.stat_subscriptions
				  WHERE table_name = 'posts' AND filter IS NULL AND cost_us IS NULL)
		AND clock_timestamp() < deadline LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END;
$$;
SELECT bool_and(cost_us > 0) AS costs FROM plinth.stat_subscriptions WHERE table_name = 'posts' AND filter IS NULL;

--
-- Functions of every kind
--
CREATE FUNCTION regress_judging.team() RETURNS int LANGUAGE sql STABLE AS $$ SELECT (auth.jwt() ->> 'team')::int $$;
-- wrongly declared, and not to be computed for all with the first one's claims
CREATE FUNCTION regress_judging.team_forever() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN (auth.jwt() ->> 'team')::int; END $$;
CREATE FUNCTION regress_judging.wraps_forever() RETURNS int LANGUAGE sql STABLE RETURN regress_judging.team_forever();
-- wants to know who asks, also when it is planned
CREATE FUNCTION regress_judging.team_required() RETURNS int LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF auth.uid() IS NULL THEN RAISE EXCEPTION 'not signed in'; END IF;
	RETURN (auth.jwt() ->> 'team')::int;
END $$;
CREATE TABLE regress_judging.odd_jobs (id int PRIMARY KEY, how text, team int);
ALTER TABLE regress_judging.odd_jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY all_of_it ON regress_judging.odd_jobs FOR SELECT TO authenticated USING (
	CASE how WHEN 'sql' THEN team = regress_judging.team()
		WHEN 'immutable' THEN team = regress_judging.team_forever()
		WHEN 'wrapped' THEN team = regress_judging.wraps_forever()
		WHEN 'required' THEN team = regress_judging.team_required()
		WHEN 'row' THEN to_jsonb(odd_jobs) ->> 'team' = auth.jwt() ->> 'team'
		WHEN 'role' THEN current_user = 'authenticated' AND current_setting('role') = 'authenticated'
			AND session_user <> 'authenticated' AND NOT plinth.is_service()
		WHEN 'table' THEN tableoid = 'regress_judging.odd_jobs'::regclass
		WHEN 'raw' THEN (current_setting('request.jwt.claims', true)::json ->> 'team')::int = team
		WHEN 'read-only' THEN current_setting('transaction_read_only')::boolean
		ELSE false END);
GRANT SELECT ON regress_judging.odd_jobs TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_judging.odd_jobs;
CALL regress_judging.follow(1, 'odd_jobs');
CALL regress_judging.follow(2, 'odd_jobs');
INSERT INTO regress_judging.odd_jobs
SELECT 10 * k + t, how, t
FROM unnest(ARRAY['sql', 'immutable', 'wrapped', 'required', 'row', 'role', 'table', 'read-only', 'raw']) WITH ORDINALITY AS h (how, k),
	generate_series(0, 1) AS t
ORDER BY 1;
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('odd_jobs');

--
-- What a policy must not do, and what becomes of whom when it tries
--
CREATE TABLE regress_judging.traps (id int PRIMARY KEY, trap text, victim uuid);
ALTER TABLE regress_judging.traps ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION regress_judging.spring(trap text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE trap;
	RETURN true;
END $$;
CREATE POLICY trap ON regress_judging.traps FOR SELECT TO authenticated
	USING (victim IS DISTINCT FROM auth.uid() OR regress_judging.spring(trap));
GRANT SELECT ON regress_judging.traps TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_judging.traps;
CREATE TABLE regress_judging.booty (n int);
GRANT ALL ON regress_judging.booty TO authenticated;

-- the other is still there after each of them
CALL regress_judging.follow(2, 'traps');
CREATE PROCEDURE regress_judging.trap(n int, trap text)
LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM regress_judging.subs WHERE who = 1 AND what = 'traps';
	CALL regress_judging.follow(1, 'traps');
	COMMIT;
	INSERT INTO regress_judging.traps VALUES (n, trap, regress_judging.user_id(1));
	COMMIT;
	PERFORM regress_judging.drain();
END $$;
CALL regress_judging.trap(1, 'SELECT 1');
SELECT * FROM regress_judging.got('traps');
CALL regress_judging.trap(2, 'SELECT 1 / 0');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
CALL regress_judging.trap(3, 'RESET ROLE');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
CALL regress_judging.trap(4, 'SET ROLE service_role');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
CALL regress_judging.trap(5, 'SET SESSION AUTHORIZATION DEFAULT');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
CALL regress_judging.trap(6, 'INSERT INTO regress_judging.booty VALUES (1)');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
CALL regress_judging.trap(7, 'SET transaction_read_only = off; INSERT INTO regress_judging.booty VALUES (1)');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
CALL regress_judging.trap(8, 'SELECT pg_sleep(20)');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
CALL regress_judging.trap(9, 'SELECT set_config(''plinth.verified_claims'', ''{}'', false)');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
CALL regress_judging.trap(10, 'CREATE TEMPORARY TABLE t (a int)');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
CALL regress_judging.trap(11, 'LISTEN x');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
-- some of what it does is let through, and undone
CALL regress_judging.trap(12, 'SELECT pg_advisory_lock(4, 2)');
CALL regress_judging.trap(13, 'PREPARE kept AS SELECT 1');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
CALL regress_judging.trap(14, 'SET search_path = nowhere');
SELECT * FROM regress_judging.got('traps') WHERE who = 1;
SELECT count(*) AS locks_left FROM pg_locks WHERE locktype = 'advisory' AND classid = 4 AND objid = 2;
SELECT * FROM regress_judging.got('traps') WHERE who = 2;
SELECT count(*) AS booty FROM regress_judging.booty;

-- one that fails only for a row that another part has let through already, does not fail
CREATE TABLE regress_judging.lazy (id int PRIMARY KEY, open boolean, n int);
ALTER TABLE regress_judging.lazy ENABLE ROW LEVEL SECURITY;
CREATE POLICY lazy ON regress_judging.lazy FOR SELECT TO authenticated USING (open OR 10 / n > 1);
GRANT SELECT ON regress_judging.lazy TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_judging.lazy;
CALL regress_judging.follow(1, 'lazy');
INSERT INTO regress_judging.lazy VALUES (1, true, 0), (2, false, 5), (3, false, 50), (4, false, 0), (5, true, 1);
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('lazy');

--
-- Owner, FORCE, and a role's membership
--
CREATE ROLE regress_plinth_reader;
GRANT authenticated TO regress_plinth_reader;
GRANT USAGE ON SCHEMA regress_judging TO regress_plinth_reader;
CREATE TABLE regress_judging.owned (id int PRIMARY KEY, n int);
ALTER TABLE regress_judging.owned OWNER TO regress_plinth_reader;
ALTER TABLE regress_judging.owned ENABLE ROW LEVEL SECURITY;
CREATE POLICY odd ON regress_judging.owned FOR SELECT TO authenticated USING (n IN (SELECT room FROM regress_judging.members));
CREATE POLICY narrow ON regress_judging.owned AS RESTRICTIVE FOR SELECT TO regress_plinth_reader USING (id < 100 AND auth.role() <> 'x');
ALTER PUBLICATION plinth_realtime ADD TABLE regress_judging.owned;
CALL regress_judging.follow(2, 'owned', role => 'regress_plinth_reader');
INSERT INTO regress_judging.owned VALUES (1, 2), (2, 99), (101, 2);
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('owned');
ALTER TABLE regress_judging.owned FORCE ROW LEVEL SECURITY;
INSERT INTO regress_judging.owned VALUES (3, 2), (4, 99), (103, 2);
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('owned');

-- a member no more, the permissive policy is not for the role
REVOKE authenticated FROM regress_plinth_reader;
INSERT INTO regress_judging.owned VALUES (5, 2);
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('owned');

-- claims are those of the subscription's own token, also of a renewed one
CREATE TABLE regress_judging.teams (id int PRIMARY KEY, team int);
ALTER TABLE regress_judging.teams ENABLE ROW LEVEL SECURITY;
CREATE POLICY team ON regress_judging.teams FOR SELECT TO authenticated USING (team = (auth.jwt() ->> 'team')::int);
GRANT SELECT ON regress_judging.teams TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_judging.teams;
CALL regress_judging.follow(1, 'teams');
CALL regress_judging.follow(2, 'teams');
INSERT INTO regress_judging.teams VALUES (1, 0), (2, 1), (3, 5);
SELECT regress_judging.drain();
SELECT realtime.renew(id, key, plinth.jwt_sign(jsonb_build_object('sub', regress_judging.user_id(1), 'role', 'authenticated', 'team', 5)))
FROM regress_judging.subs WHERE who = 1 AND what = 'teams';
INSERT INTO regress_judging.teams VALUES (4, 0), (5, 1), (6, 5);
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('teams');

-- large values that an update leaves alone are not in the WAL
CREATE TABLE regress_judging.large (id int PRIMARY KEY, n int, t text);
ALTER TABLE regress_judging.large ALTER t SET STORAGE EXTERNAL;
ALTER TABLE regress_judging.large ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_text ON regress_judging.large FOR SELECT TO authenticated USING (left(t, 1) = 'x' AND auth.uid() IS NOT NULL);
GRANT SELECT (id, n) ON regress_judging.large TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_judging.large;
CALL regress_judging.follow(1, 'large');
INSERT INTO regress_judging.large VALUES (1, 1, repeat('x', 100000)), (2, 1, repeat('y', 100000));
UPDATE regress_judging.large SET n = 2;
ALTER TABLE regress_judging.large REPLICA IDENTITY FULL;
UPDATE regress_judging.large SET n = 3;
UPDATE regress_judging.large SET t = repeat('y', 100000), n = 4 WHERE id = 1;
UPDATE regress_judging.large SET t = repeat('x', 100000), n = 4 WHERE id = 2;
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('large');

-- a policy may read what is not published
CREATE TABLE regress_judging.partly (id int PRIMARY KEY, owner uuid, room int, body text);
ALTER TABLE regress_judging.partly ENABLE ROW LEVEL SECURITY;
CREATE POLICY owner ON regress_judging.partly FOR SELECT TO authenticated USING (owner = auth.uid());
CREATE POLICY room ON regress_judging.partly FOR SELECT TO authenticated USING (room = 7);
GRANT SELECT ON regress_judging.partly TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_judging.partly (id, body);
CALL regress_judging.follow(1, 'partly');
INSERT INTO regress_judging.partly VALUES (1, regress_judging.user_id(1), 1, 'x'), (2, regress_judging.user_id(2), 1, 'x'), (3, NULL, 7, 'x');
UPDATE regress_judging.partly SET body = 'y', room = 8 WHERE id IN (1, 3);
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('partly');
SELECT payload -> 'new' AS new FROM regress_judging.subs, realtime.poll(id, key, 0, 1) WHERE what = 'partly';

-- users in an array are looked up, as long as they are few
CREATE TABLE regress_judging.shared (id int PRIMARY KEY, readers uuid[]);
ALTER TABLE regress_judging.shared ENABLE ROW LEVEL SECURITY;
ALTER TABLE regress_judging.shared REPLICA IDENTITY FULL;
CREATE POLICY reader ON regress_judging.shared FOR SELECT TO authenticated USING (auth.uid() = ANY (readers));
GRANT SELECT ON regress_judging.shared TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_judging.shared;
CALL regress_judging.follow(1, 'shared');
CALL regress_judging.follow(2, 'shared');
SELECT DISTINCT route FROM plinth.stat_subscriptions WHERE table_name = 'shared';
INSERT INTO regress_judging.shared VALUES
	(1, ARRAY[regress_judging.user_id(1)]), (2, ARRAY[regress_judging.user_id(2), NULL, regress_judging.user_id(1), regress_judging.user_id(2)]),
	(3, '{}'), (4, NULL),
	(5, ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 20)) || regress_judging.user_id(2));
UPDATE regress_judging.shared SET readers = ARRAY[regress_judging.user_id(2)] WHERE id IN (1, 3);
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('shared');

--
-- Partitions: judged by their root's policies where they are shown as its
-- changes, and by their own where as theirs
--
INSERT INTO regress_judging.members VALUES (1, regress_judging.user_id(1), false);
CREATE TABLE regress_judging.parts (id int, room int, extra text, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE regress_judging.parts_1 PARTITION OF regress_judging.parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
-- with another layout than its root's
CREATE TABLE regress_judging.parts_2 (gone int, day date NOT NULL, extra text, room int, id int NOT NULL, PRIMARY KEY (id, day));
ALTER TABLE regress_judging.parts_2 DROP gone;
ALTER TABLE regress_judging.parts ATTACH PARTITION regress_judging.parts_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
-- and one below another
CREATE TABLE regress_judging.parts_3 PARTITION OF regress_judging.parts FOR VALUES FROM ('2026-03-01') TO ('2027-01-01') PARTITION BY RANGE (day);
CREATE TABLE regress_judging.parts_3_1 PARTITION OF regress_judging.parts_3 FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
ALTER TABLE regress_judging.parts ENABLE ROW LEVEL SECURITY;
CREATE POLICY member ON regress_judging.parts FOR SELECT TO authenticated
	USING (room IN (SELECT m.room FROM regress_judging.members AS m) AND day < '2026-12-01');
CREATE POLICY partition ON regress_judging.parts AS RESTRICTIVE FOR SELECT TO authenticated
	USING (extra IS DISTINCT FROM 'hidden' AND tableoid <> 'regress_judging.parts'::regclass);
GRANT SELECT ON regress_judging.parts, regress_judging.parts_2 TO authenticated;
ALTER TABLE regress_judging.parts_2 ENABLE ROW LEVEL SECURITY;
CREATE POLICY of_its_own ON regress_judging.parts_2 FOR SELECT TO authenticated USING (id > (SELECT 3));
ALTER PUBLICATION plinth_realtime SET (publish_via_partition_root = true);
ALTER PUBLICATION plinth_realtime ADD TABLE regress_judging.parts;
CALL regress_judging.follow(1, 'parts');
CALL regress_judging.follow(2, 'parts');
CALL regress_judging.follow(1, 'parts', 'extra=eq.seen');
INSERT INTO regress_judging.parts VALUES
	(1, 1, 'seen', '2026-01-10'), (2, 1, 'seen', '2026-02-10'), (3, 1, NULL, '2026-03-10'), (4, 2, 'seen', '2026-02-11'),
	(5, 1, 'hidden', '2026-02-12'), (6, 9, 'seen', '2026-01-13'), (7, 2, 'seen', '2026-03-14');
-- a row that moves from one partition to another
UPDATE regress_judging.parts SET day = '2026-02-20', extra = 'seen' WHERE id = 3;
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('parts');
SELECT * FROM regress_judging.got('parts extra=eq.seen');
-- without the tree, a partition is a table like any other
ALTER PUBLICATION plinth_realtime SET (publish_via_partition_root = false);
CALL regress_judging.follow(1, 'parts_2');
INSERT INTO regress_judging.parts VALUES (3, 9, 'x', '2026-02-13'), (8, 9, 'x', '2026-02-13'), (9, 1, 'x', '2026-01-14');
SELECT regress_judging.drain();
SELECT * FROM regress_judging.got('parts_2');

RESET request.jwt.claims;
DROP SCHEMA regress_judging CASCADE;
DROP ROLE regress_plinth_reader;
