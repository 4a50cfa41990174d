--
-- REALTIME
-- Who may follow which table, how policies are compiled, and what arrives.
--
-- Needs: setup; the stream worker of this database
-- Leaves: nothing
--
SET client_min_messages = warning;
CREATE SCHEMA regress_stream;
GRANT USAGE ON SCHEMA regress_stream TO anon, authenticated;

-- a statement's SQLSTATE and message, or that it went well
CREATE FUNCTION regress_stream.outcome(statement text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END;
$$;

-- wait until a subscription has that many messages, at most 20 s
CREATE FUNCTION regress_stream.messages(id bigint, key text, wanted int,
	OUT seq bigint, OUT event text, OUT new jsonb, OUT old jsonb)
RETURNS SETOF record
LANGUAGE plpgsql AS $$
DECLARE
	deadline	timestamptz := clock_timestamp() + interval '20 s';
BEGIN
	WHILE (SELECT count(*) < wanted FROM realtime.poll(id, key, 0))
		AND clock_timestamp() < deadline LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN QUERY
	SELECT p.seq, p.event, p.payload -> 'new', p.payload -> 'old'
	FROM realtime.poll(id, key, 0) AS p;
END;
$$;

-- wait until the stream has worked off what is committed now, at most 20 s
CREATE FUNCTION regress_stream.drain() RETURNS void
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

-- wait until a subscription has ended, at most 20 s, and why
CREATE FUNCTION regress_stream.ending(sub bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	deadline	timestamptz := clock_timestamp() + interval '20 s';
BEGIN
	WHILE EXISTS (SELECT FROM plinth.stat_subscriptions WHERE id = sub AND live)
		AND clock_timestamp() < deadline LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN (SELECT last_error FROM plinth.stat_subscriptions WHERE id = sub);
END;
$$;

CREATE TABLE regress_stream.open (id int PRIMARY KEY, room int, body text);
ALTER TABLE regress_stream.open ENABLE ROW LEVEL SECURITY;
CREATE POLICY everybody ON regress_stream.open FOR SELECT TO anon, authenticated USING (true);
GRANT SELECT ON regress_stream.open TO anon, authenticated;

CREATE TABLE regress_stream.own (id int PRIMARY KEY, owner_id uuid, amount numeric, secret text);
ALTER TABLE regress_stream.own ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON regress_stream.own TO authenticated USING (auth.uid() = owner_id);
GRANT SELECT (id, owner_id, amount) ON regress_stream.own TO authenticated;

CREATE TABLE regress_stream.unpublished (id int PRIMARY KEY);
GRANT SELECT ON regress_stream.unpublished TO anon, authenticated;

CREATE TABLE regress_stream.keyless (id int);
GRANT SELECT ON regress_stream.keyless TO anon, authenticated;

CREATE TABLE regress_stream.forbidden (id int PRIMARY KEY);
CREATE TABLE regress_stream.parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
GRANT SELECT ON regress_stream.parted TO anon, authenticated;

ALTER PUBLICATION plinth_realtime ADD TABLE regress_stream.open, regress_stream.own,
	regress_stream.forbidden, regress_stream.parted;

-- a table without replica identity is not published
ALTER PUBLICATION plinth_realtime ADD TABLE regress_stream.keyless;

-- unless old rows come whole; and then it cannot be followed without
ALTER TABLE regress_stream.keyless REPLICA IDENTITY FULL;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_stream.keyless;
ALTER TABLE regress_stream.keyless REPLICA IDENTITY NOTHING;

--
-- What subscribe refuses
--
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}';
SET ROLE authenticated;
SELECT what, regress_stream.outcome('SELECT realtime.subscribe(' || arguments || ')') AS outcome
FROM (VALUES
	('no topic', $$NULL, 'regress_stream', 'open'$$),
	('empty topic', $$'', 'regress_stream', 'open'$$),
	('long topic', $$repeat('t', 256), 'regress_stream', 'open'$$),
	('no table', $$'t', 'regress_stream'$$),
	('filter without table', $$'lobby', filter => 'id=eq.1'$$),
	('event without table', $$'lobby', event => 'INSERT'$$),
	('topic of another user', $$'user:00000000-0000-4000-8000-0000000000b2'$$),
	('no schema', $$'t', NULL, 'open'$$),
	('unknown schema', $$'t', 'nowhere', 'open'$$),
	('unknown table', $$'t', 'regress_stream', 'Open'$$),
	('unpublished table', $$'t', 'regress_stream', 'unpublished'$$),
	('no right to read', $$'t', 'regress_stream', 'forbidden'$$),
	('partitioned table', $$'t', 'regress_stream', 'parted'$$),
	('no replica identity', $$'t', 'regress_stream', 'keyless'$$),
	('event in lower case', $$'t', 'regress_stream', 'open', 'insert'$$),
	('no event', $$'t', 'regress_stream', 'open', NULL$$),
	('filter without operator', $$'t', 'regress_stream', 'open', '*', 'room'$$),
	('filter without column', $$'t', 'regress_stream', 'open', '*', '=eq.1'$$),
	('unknown operator', $$'t', 'regress_stream', 'open', '*', 'room=equals.1'$$),
	('unknown column', $$'t', 'regress_stream', 'open', '*', 'Room=eq.1'$$),
	('system column', $$'t', 'regress_stream', 'open', '*', 'xmin=eq.1'$$),
	('value of another type', $$'t', 'regress_stream', 'open', '*', 'room=eq.one'$$),
	('column without right', $$'t', 'regress_stream', 'own', '*', 'secret=eq.1'$$),
	('second condition is wrong', $$'t', 'regress_stream', 'open', '*', 'room=eq.1,id=eq.x'$$),
	('long filter', $$'t', 'regress_stream', 'open', '*', 'body=eq.' || repeat('x', 2048)$$))
	AS v (what, arguments);
RESET ROLE;
ALTER PUBLICATION plinth_realtime DROP TABLE regress_stream.keyless;

-- the service has no part in it
SET ROLE service_role;
SELECT realtime.subscribe('t', 'regress_stream', 'open');
RESET ROLE;

--
-- How policies are compiled
--
CREATE FUNCTION regress_stream.me() RETURNS uuid LANGUAGE sql STABLE RETURN auth.uid();
CREATE FUNCTION regress_stream.me_too() RETURNS uuid LANGUAGE sql STABLE AS 'SELECT auth.uid()';
CREATE FUNCTION regress_stream.me_as_owner() RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER RETURN auth.uid();
CREATE FUNCTION regress_stream.me_untold() RETURNS uuid LANGUAGE sql STABLE RETURN auth.uid();
REVOKE ALL ON FUNCTION regress_stream.me_untold() FROM PUBLIC;
CREATE FUNCTION regress_stream.yes() RETURNS boolean LANGUAGE sql IMMUTABLE RETURN true;

CREATE FUNCTION regress_stream.compiled(policies text[]) RETURNS text
LANGUAGE plpgsql SET client_min_messages = error AS $$
DECLARE
	policy	text;
	answer	text;
	sub		record;
BEGIN
	DROP TABLE IF EXISTS regress_stream.judged;
	CREATE TABLE regress_stream.judged (id int PRIMARY KEY, a uuid, b uuid, n int, t text);
	ALTER TABLE regress_stream.judged ENABLE ROW LEVEL SECURITY;
	GRANT SELECT ON regress_stream.judged TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE regress_stream.judged;
	FOREACH policy IN ARRAY policies LOOP
		EXECUTE 'CREATE POLICY p' || md5(policy) || ' ON regress_stream.judged ' || policy;
	END LOOP;
	SET LOCAL ROLE authenticated;
	SELECT * INTO sub FROM realtime.subscribe('t', 'regress_stream', 'judged');
	SELECT route INTO answer FROM realtime.subscriptions WHERE id = sub.subscription_id;
	PERFORM realtime.unsubscribe(sub.subscription_id, sub.session_key);
	RESET ROLE;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END;
$$;

SELECT policies, regress_stream.compiled(policies) AS route
FROM (VALUES
	(1, ARRAY[]::text[]),
	(2, ARRAY['USING (true)']),
	(3, ARRAY['USING (false)']),
	(4, ARRAY['USING (NULL)']),
	(5, ARRAY['FOR SELECT TO anon USING (true)']),
	(6, ARRAY['FOR INSERT WITH CHECK (true)', 'FOR UPDATE USING (true)', 'FOR DELETE USING (true)']),
	(7, ARRAY['USING (auth.uid() = a)']),
	(8, ARRAY['FOR SELECT TO authenticated USING (a = auth.uid())']),
	(9, ARRAY['USING ((SELECT auth.uid()) = a)']),
	(10, ARRAY['USING (a = (SELECT auth.uid()))']),
	(11, ARRAY['USING (plinth.auth_uid() = a)']),
	(12, ARRAY['USING (a = regress_stream.me())']),
	(13, ARRAY['USING (a = (SELECT regress_stream.me()))']),
	(14, ARRAY['USING (auth.uid() = a OR auth.uid() = b)']),
	(15, ARRAY['USING (auth.uid() = a)', 'USING (auth.uid() = b)']),
	(16, ARRAY['USING (auth.uid() = a OR true)']),
	(17, ARRAY['USING (auth.uid() = a AND false)']),
	(18, ARRAY['USING (auth.uid() = a AND true)']),
	(19, ARRAY['USING (true)', 'AS RESTRICTIVE USING (auth.uid() = a)']),
	(20, ARRAY['USING (auth.uid() = a)', 'AS RESTRICTIVE USING (auth.uid() = a)']),
	(21, ARRAY['USING (true)', 'AS RESTRICTIVE USING (false)']),
	(22, ARRAY['AS RESTRICTIVE USING (true)']),
	(23, ARRAY['USING (true)', 'AS RESTRICTIVE TO anon USING (false)']),
	(24, ARRAY['USING (true)', 'USING (n > 1)']),
	(25, ARRAY['USING (n > 1)']),
	(26, ARRAY['USING (auth.uid() = a)', 'AS RESTRICTIVE USING (auth.uid() = b)']),
	(27, ARRAY['USING (auth.uid() = a AND auth.uid() = b)']),
	(28, ARRAY['USING (auth.uid() <> a)']),
	(29, ARRAY['USING (NOT auth.uid() = a)']),
	(30, ARRAY['USING (auth.uid() = a AND n = 1)']),
	(31, ARRAY['USING (auth.uid()::text = t)']),
	(32, ARRAY['USING (auth.uid() IN (a, b))']),
	(33, ARRAY['USING (EXISTS (SELECT FROM regress_stream.open AS o WHERE o.id = n))']),
	(34, ARRAY['USING (a = (SELECT auth.uid() LIMIT 1))']),
	(35, ARRAY['USING (a = (SELECT auth.uid() WHERE n = 1))']),
	(36, ARRAY['USING (a = regress_stream.me_too())']),
	(37, ARRAY['USING (a = regress_stream.me_as_owner())']),
	(38, ARRAY['USING (a = regress_stream.me_untold())']),
	(39, ARRAY['USING (regress_stream.yes())']),
	(40, ARRAY['USING (a = b)']),
	(41, ARRAY['USING (auth.uid() = auth.uid())']),
	(42, ARRAY['USING (auth.role() = ''authenticated'')']),
	(43, ARRAY['USING (auth.uid() = a OR n = 1)']),
	(44, ARRAY['USING (auth.uid() = a)', 'AS RESTRICTIVE USING (t IS NOT NULL)']),
	(45, ARRAY['USING (auth.uid() = a)', 'USING (EXISTS (SELECT FROM regress_stream.open AS o WHERE o.id = n))']),
	(46, ARRAY['USING (true)', 'USING (EXISTS (SELECT FROM regress_stream.open AS o WHERE o.id = n))']),
	(47, ARRAY['USING (n BETWEEN 1 AND 3 OR t IN (''a'', ''b'') OR lower(t) LIKE ''x%'')']),
	(48, ARRAY['USING (n > random())']),
	(49, ARRAY['USING (n > (SELECT 1))']),
	(50, ARRAY['USING (xmin::text = t)']),
	(51, ARRAY['USING (regress_stream.me_untold() = a OR true)']),
	(52, ARRAY['USING (EXISTS (SELECT FROM regress_stream.judged AS j WHERE j.a = auth.uid()))']),
	(53, ARRAY['USING (EXISTS (SELECT FROM regress_stream.forbidden AS f WHERE f.id = n))'])) AS v (n, policies)
ORDER BY n;

-- without row security everybody with the right to read sees all
DROP TABLE IF EXISTS regress_stream.judged;
CREATE TABLE regress_stream.judged (id int PRIMARY KEY);
GRANT SELECT ON regress_stream.judged TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_stream.judged;
CREATE POLICY nobody ON regress_stream.judged USING (false);
ALTER TABLE regress_stream.judged DISABLE ROW LEVEL SECURITY;
SELECT regress_stream.outcome($$SET LOCAL ROLE authenticated; SELECT realtime.subscribe('no rls', 'regress_stream', 'judged')$$);
SELECT topic, route FROM realtime.subscriptions WHERE topic = 'no rls';
DROP TABLE regress_stream.judged;

--
-- What arrives
--
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('all of it', 'regress_stream', 'open') \gset open_
SELECT * FROM realtime.subscribe('inserts', 'regress_stream', 'open', 'INSERT') \gset insert_
SELECT * FROM realtime.subscribe('room 7', 'regress_stream', 'open', filter => 'room=eq.007') \gset room_
SELECT * FROM realtime.subscribe('a text', 'regress_stream', 'open', '*', 'body=eq."a, \"b\""') \gset text_
SELECT * FROM realtime.subscribe('mine', 'regress_stream', 'own') \gset own_
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000b2","role":"authenticated"}';
SELECT * FROM realtime.subscribe('mine', 'regress_stream', 'own') \gset other_
SET request.jwt.claims = '{"role":"authenticated"}';
SELECT * FROM realtime.subscribe('nobody''s', 'regress_stream', 'own') \gset nobody_
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}';
SELECT length(:'open_session_key') >= 32 AS long_key, :'open_listen_channel' ~ '^plinth_[0-9a-f]{32}$' AS channel,
	   :open_after_seq AS after_seq, :open_subscription_id > 0 AS positive;

-- one's own, and nobody else's
SELECT topic, schema_name, table_name, event, filter, route,
	   expires_at - created_at > interval '23 h' AS a_day FROM realtime.subscriptions
WHERE schema_name = 'regress_stream' ORDER BY created_at;
RESET ROLE;
SELECT count(*) FROM plinth.stat_subscriptions WHERE table_name = 'own' AND role = 'authenticated' AND route = 'hash' AND live;

BEGIN;
INSERT INTO regress_stream.open VALUES (1, 7, 'one'), (2, 8, 'a, "b"');
INSERT INTO regress_stream.open VALUES (3, 7, 'never');
DELETE FROM regress_stream.open WHERE id = 3;
COMMIT;
BEGIN;
INSERT INTO regress_stream.open VALUES (4, 7, 'rolled back');
ROLLBACK;
UPDATE regress_stream.open SET body = 'two' WHERE id = 2;
UPDATE regress_stream.open SET id = 5 WHERE id = 1;
DELETE FROM regress_stream.open WHERE id = 2;
TRUNCATE regress_stream.open;
INSERT INTO regress_stream.open VALUES (6, 7, 'a, "b"');

-- in commit order; an old row is known by its key
SELECT * FROM regress_stream.messages(:open_subscription_id, :'open_session_key', 9);
SELECT * FROM regress_stream.messages(:insert_subscription_id, :'insert_session_key', 4);

-- by the filter; without the old row's room nobody is told that a row has left it
SELECT * FROM regress_stream.messages(:room_subscription_id, :'room_session_key', 5);
SELECT * FROM regress_stream.messages(:text_subscription_id, :'text_session_key', 3);

-- the position of a message: its commit and its place
SELECT bool_and(lsn >= before) AS ascending, count(DISTINCT lsn) AS transactions,
	   bool_and(lsn::text = payload ->> 'lsn') AS lsn_agrees,
	   bool_and(seq = (payload ->> 'seq')::bigint) AS seq_agrees,
	   bool_and(abs(extract(epoch FROM commit_timestamp - (payload ->> 'commit_timestamp')::timestamptz)) < 0.002) AS time_agrees,
	   bool_and(payload ->> 'eventType' = event) AS event_agrees
FROM (SELECT *, lag(lsn, 1, lsn) OVER (ORDER BY seq) AS before
	  FROM realtime.poll(:open_subscription_id, :'open_session_key', 0)) AS p;

-- a poll in pieces
SELECT seq FROM realtime.poll(:open_subscription_id, :'open_session_key', 0, 2);
SELECT seq FROM realtime.poll(:open_subscription_id, :'open_session_key', 2, 3);
SELECT seq FROM realtime.poll(:open_subscription_id, :'open_session_key', 1, 1);
SELECT seq FROM realtime.poll(:open_subscription_id, :'open_session_key', 9);
SELECT seq FROM realtime.poll(:open_subscription_id, :'open_session_key', 1000);

-- only one's own rows, and of these only the columns that one may read; when
-- the old row does not say whose it was, whom it leaves is not told
INSERT INTO regress_stream.own VALUES
	(1, '00000000-0000-4000-8000-0000000000a1', 1.50, 's'),
	(2, '00000000-0000-4000-8000-0000000000b2', 'NaN', 's'),
	(3, NULL, 3, 's');
UPDATE regress_stream.own SET owner_id = '00000000-0000-4000-8000-0000000000b2' WHERE id = 1;
UPDATE regress_stream.own SET amount = 2 WHERE id IN (1, 2);
DELETE FROM regress_stream.own WHERE id = 2;
INSERT INTO regress_stream.own
SELECT 10 + n, ('00000000-0000-4000-8000-0000000000' || u)::uuid, 0, 's'
FROM generate_series(1, 1) AS n, unnest(ARRAY['a1']) AS u;
INSERT INTO regress_stream.own VALUES (12, '00000000-0000-4000-8000-0000000000b2', 0, 's');
SELECT * FROM regress_stream.messages(:own_subscription_id, :'own_session_key', 2);
SELECT * FROM regress_stream.messages(:other_subscription_id, :'other_session_key', 5);
SELECT * FROM regress_stream.messages(:nobody_subscription_id, :'nobody_session_key', 0);

-- with the old row whole, each is told what it is to them
ALTER TABLE regress_stream.own REPLICA IDENTITY FULL;
UPDATE regress_stream.own SET owner_id = '00000000-0000-4000-8000-0000000000b2', amount = 7 WHERE id = 11;
UPDATE regress_stream.own SET amount = 8 WHERE id = 11;
DELETE FROM regress_stream.own WHERE id = 11;
INSERT INTO regress_stream.own VALUES (13, '00000000-0000-4000-8000-0000000000a1', 0, 's');
SELECT * FROM regress_stream.messages(:own_subscription_id, :'own_session_key', 4) WHERE seq > 2;
SELECT * FROM regress_stream.messages(:other_subscription_id, :'other_session_key', 8) WHERE seq > 5;

-- the names of columns that one may not read are not told either
SELECT payload -> 'columns' AS columns
FROM realtime.poll(:own_subscription_id, :'own_session_key', 0, 1);

-- a change of policy acts at once; one that fails ends what is under it
ALTER POLICY own ON regress_stream.own USING (false);
INSERT INTO regress_stream.own VALUES (14, '00000000-0000-4000-8000-0000000000a1', 0, 's');
SELECT regress_stream.drain();
ALTER POLICY own ON regress_stream.own USING (true);
INSERT INTO regress_stream.own VALUES (15, '00000000-0000-4000-8000-0000000000c3', 0, 's');
SELECT * FROM regress_stream.messages(:own_subscription_id, :'own_session_key', 5) WHERE seq > 4;
SELECT DISTINCT route FROM plinth.stat_subscriptions WHERE table_name = 'own' AND live;
ALTER POLICY own ON regress_stream.own USING (amount > 0);
INSERT INTO regress_stream.own VALUES (16, '00000000-0000-4000-8000-0000000000a1', 1, 's');
SELECT * FROM regress_stream.messages(:own_subscription_id, :'own_session_key', 6) WHERE seq > 5;
SELECT DISTINCT route FROM plinth.stat_subscriptions WHERE table_name = 'own' AND live;
ALTER POLICY own ON regress_stream.own USING (1 / (id - id) > 0);
INSERT INTO regress_stream.own VALUES (17, '00000000-0000-4000-8000-0000000000a1', 1, 's');
SELECT * FROM regress_stream.messages(:own_subscription_id, :'own_session_key', 7) WHERE seq > 6;
SELECT seq, lsn, commit_timestamp, event, payload FROM realtime.poll(:own_subscription_id, :'own_session_key', 6);
SELECT count(*) FROM realtime.poll(:own_subscription_id, :'own_session_key', 7);
SELECT topic, live, last_error FROM plinth.stat_subscriptions WHERE id = :own_subscription_id;
SELECT regress_stream.outcome(format('SELECT realtime.renew(%s, %L, %L)', :own_subscription_id, :'own_session_key',
	plinth.jwt_sign('{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}')));

-- so does a right that is taken away
REVOKE SELECT ON regress_stream.open FROM authenticated;
INSERT INTO regress_stream.open VALUES (20, 7, 'not for you');
SELECT * FROM regress_stream.messages(:open_subscription_id, :'open_session_key', 10) WHERE seq > 8;
SELECT regress_stream.ending(:open_subscription_id);
GRANT SELECT ON regress_stream.open TO authenticated;

-- and, without any change of a row, a filter's column, a table, its place in
-- the publication, or a token that is no more
CREATE TABLE regress_stream.passing (id int PRIMARY KEY, room int);
CREATE TABLE regress_stream.dropped (id int PRIMARY KEY);
CREATE TABLE regress_stream.withdrawn (id int PRIMARY KEY);
GRANT SELECT ON regress_stream.passing, regress_stream.dropped, regress_stream.withdrawn TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_stream.passing, regress_stream.dropped, regress_stream.withdrawn;
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('passing', 'regress_stream', 'passing', filter => 'room=eq.1') \gset passing_
SELECT * FROM realtime.subscribe('dropped', 'regress_stream', 'dropped') \gset dropped_
SELECT * FROM realtime.subscribe('withdrawn', 'regress_stream', 'withdrawn') \gset withdrawn_
RESET ROLE;
SELECT format('{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated","exp":%s}',
			  extract(epoch FROM clock_timestamp()) + 0.5) AS claims \gset
SET request.jwt.claims = :'claims';
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('short', 'regress_stream', 'open') \gset short_
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}';
RESET ROLE;
ALTER TABLE regress_stream.passing RENAME COLUMN room TO chamber;
DROP TABLE regress_stream.dropped;
ALTER PUBLICATION plinth_realtime DROP TABLE regress_stream.withdrawn;
SELECT regress_stream.ending(:passing_subscription_id) AS passing,
	   regress_stream.ending(:dropped_subscription_id) AS dropped;
SELECT regress_stream.ending(:withdrawn_subscription_id) AS withdrawn,
	   regress_stream.ending(:short_subscription_id) AS short;

--
-- Who may use a subscription
--
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('held', 'regress_stream', 'open') \gset held_
SELECT what, regress_stream.outcome(statement) AS outcome
FROM (VALUES
	('poll, wrong key', format('SELECT realtime.poll(%s, %L, 0)', :held_subscription_id, :'open_session_key')),
	('poll, the channel as key', format('SELECT realtime.poll(%s, %L, 0)', :held_subscription_id, :'held_listen_channel')),
	('poll, no such', format('SELECT realtime.poll(%s, %L, 0)', 1, :'held_session_key')),
	('poll, negative id', format('SELECT realtime.poll(%s, %L, 0)', -1, :'held_session_key')),
	('poll, no key', format('SELECT realtime.poll(%s, NULL, 0)', :held_subscription_id)),
	('poll, limit 0', format('SELECT realtime.poll(%s, %L, 0, 0)', :held_subscription_id, :'held_session_key')),
	('poll, limit 1001', format('SELECT realtime.poll(%s, %L, 0, 1001)', :held_subscription_id, :'held_session_key')),
	('poll, negative seq', format('SELECT realtime.poll(%s, %L, -1)', :held_subscription_id, :'held_session_key')),
	('unsubscribe, wrong key', format('SELECT realtime.unsubscribe(%s, %L)', :held_subscription_id, 'x')),
	('renew, no token', format('SELECT realtime.renew(%s, %L, %L)', :held_subscription_id, :'held_session_key', 'x')),
	('renew, wrong key', format('SELECT realtime.renew(%s, %L, %L)', :held_subscription_id, 'x', 'x')),
	('poll, right key', format('SELECT realtime.poll(%s, %L, 0)', :held_subscription_id, :'held_session_key')))
	AS v (what, statement);
RESET ROLE;

-- a new token of the same user moves the end
SELECT plinth.jwt_sign('{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated","exp":4102444800}') AS a1,
	   plinth.jwt_sign('{"sub":"00000000-0000-4000-8000-0000000000b2","role":"authenticated","exp":4102444800}') AS b2 \gset
SELECT regress_stream.outcome(format('SELECT realtime.renew(%s, %L, %L)', :held_subscription_id, :'held_session_key', :'b2'));
SELECT regress_stream.outcome(format('SELECT realtime.renew(%s, %L, %L)', :held_subscription_id, :'held_session_key', :'a1'));
SELECT expires_at AT TIME ZONE 'UTC' FROM plinth.stat_subscriptions WHERE id = :held_subscription_id;

-- after unsubscribe there is nothing to poll
SELECT realtime.unsubscribe(:held_subscription_id, :'held_session_key');
SELECT regress_stream.outcome(format('SELECT realtime.poll(%s, %L, 0)', :held_subscription_id, :'held_session_key'));

-- since: what was committed meanwhile, before what is committed now; as long
-- as somebody follows the table its changes are kept
SET ROLE authenticated;
SELECT count(*) FROM realtime.subscribe('keeps it', 'regress_stream', 'open');
RESET ROLE;
SELECT pg_current_wal_insert_lsn() AS before \gset
INSERT INTO regress_stream.open VALUES (30, 7, 'before');
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('since', 'regress_stream', 'open', since => :'before') \gset since_
RESET ROLE;
INSERT INTO regress_stream.open VALUES (31, 7, 'after');
SELECT * FROM regress_stream.messages(:since_subscription_id, :'since_session_key', 2);

-- a user has 100 at most; this one is no other test's
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000f9","role":"authenticated"}';
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('first', 'regress_stream', 'open') \gset first_
SELECT count(realtime.subscribe('many', 'regress_stream', 'open')) FROM generate_series(2, 100);
SELECT regress_stream.outcome($$SELECT realtime.subscribe('one more', 'regress_stream', 'open')$$);
SELECT realtime.unsubscribe(:first_subscription_id, :'first_session_key');
SELECT regress_stream.outcome($$SELECT realtime.subscribe('one more', 'regress_stream', 'open')$$);
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}';

--
-- Who may use a topic
--
SELECT left(topic, 5) AS topic, action, regress_stream.outcome(format('SELECT realtime.may_use(%L, %L)', topic, action)) AS outcome
FROM (VALUES (NULL, 'read'), ('', 'read'), ('t', NULL), ('t', 'delete'), (repeat('t', 256), 'read')) AS v (topic, action);
SELECT realtime.may_use('lobby', 'read') AS lobby,
	   realtime.may_use('user:00000000-0000-4000-8000-0000000000a1', 'write') AS own,
	   realtime.may_use('user:00000000-0000-4000-8000-0000000000b2', 'read') AS others;
SET request.jwt.claims = '';
SET ROLE anon;
SELECT realtime.may_use('lobby', 'read') AS lobby,
	   realtime.may_use('user:00000000-0000-4000-8000-0000000000a1', 'read') AS others,
	   realtime.may_use('user:', 'read') AS nobodys;
SELECT * FROM plinth.stat_subscriptions;
SELECT plinth.realtime_all_subscriptions();
SET ROLE service_role;
SELECT realtime.may_use('user:00000000-0000-4000-8000-0000000000a1', 'read') AS service;
RESET ROLE;
RESET request.jwt.claims;

DROP SCHEMA regress_stream CASCADE;
