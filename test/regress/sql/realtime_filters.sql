--
-- REALTIME_FILTERS
-- Every operator on every kind of column, as SQL has it; what is refused, and
-- how a filter is shown.
--
-- Needs: setup; the stream worker of this database
-- Leaves: nothing
--
SET client_min_messages = warning;
CREATE SCHEMA regress_filters;
GRANT USAGE ON SCHEMA regress_filters TO authenticated;
CREATE TYPE regress_filters.colour AS ENUM ('red', 'green', 'blue');
CREATE TYPE regress_filters.pair AS (a int, b text);
CREATE DOMAIN regress_filters.small AS int CHECK (VALUE < 100);
CREATE TABLE regress_filters.things (
	id int PRIMARY KEY, n int, big bigint, x numeric, r real, t text COLLATE "C", v varchar(8), c char(4), f boolean,
	u uuid, d date, ts timestamptz, colour regress_filters.colour, small regress_filters.small, list int[], doc jsonb, j json,
	pair regress_filters.pair, box box, "odd, name" text, net inet);
ALTER TABLE regress_filters.things REPLICA IDENTITY FULL;
GRANT SELECT ON regress_filters.things TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_filters.things;
CREATE TABLE regress_filters.subs (filter text PRIMARY KEY, condition text, id bigint, key text);
GRANT ALL ON regress_filters.subs TO authenticated;

CREATE FUNCTION regress_filters.outcome(filter text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	sub	record;
BEGIN
	SELECT * INTO sub FROM realtime.subscribe('t', 'regress_filters', 'things', '*', filter);
	PERFORM realtime.unsubscribe(sub.subscription_id, sub.session_key);
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END;
$$;

-- a filter and what it is in SQL
INSERT INTO regress_filters.subs VALUES
	('n=eq.3', 'n = 3'), ('n=neq.3', 'n <> 3'), ('n=lt.3', 'n < 3'), ('n=lte.3', 'n <= 3'), ('n=gt.3', 'n > 3'), ('n=gte.3', 'n >= 3'),
	('n=in.(1,3,5)', 'n IN (1, 3, 5)'), ('n=is.null', 'n IS NULL'), ('n=isdistinct.3', 'n IS DISTINCT FROM 3'),
	('n=not.eq.3', 'n <> 3'), ('n=not.in.(1,3)', 'n NOT IN (1, 3)'), ('n=not.gt.3', 'NOT n > 3'), ('n=not.is.null', 'n IS NOT NULL'), ('n=not.isdistinct.3', 'n = 3'),
	('big=eq.9007199254740993', 'big = 9007199254740993'), ('x=eq.1.50', 'x = 1.5'), ('x=in.(1.5,NaN)', 'x IN (1.5, ''NaN'')'), ('x=gt.1.5', 'x > 1.5'), ('r=lte.0.1', 'r <= 0.1::real'),
	('t=eq.b', 't = ''b'''), ('t=gt.B', 't > ''B'''), ('t=like.a%', 't LIKE ''a%'''), ('t=ilike.A_c', 't ILIKE ''A_c'''), ('t=match.^a.*c$', 't ~ ''^a.*c$'''),
	('t=imatch.^A', 't ~* ''^A'''), ('t=not.match.a', 't !~ ''a'''), ('t=eq."a,b(\"c\\"', 't = ''a,b("c\'''), ('t=in.("a,b(\"c\\",b)', 't IN (''a,b("c\'', ''b'')'),
	('t=eq.', 't = '''''), ('v=in.(b,"")', 'v IN (''b'', '''')'), ('v=like.%b%', 'v LIKE ''%b%'''), ('c=eq.b', 'c = ''b'''), ('c=like.b%', 'c LIKE ''b%'''),
	('f=is.true', 'f IS TRUE'), ('f=is.false', 'f IS FALSE'), ('f=is.unknown', 'f IS NULL'), ('f=not.is.true', 'f IS NOT TRUE'), ('f=eq.false', 'NOT f'), ('f=gt.false', 'f'),
	('u=eq.00000000-0000-4000-8000-0000000000A1', 'u = ''00000000-0000-4000-8000-0000000000a1'''), ('u=gt.00000000-0000-4000-8000-0000000000a1', 'u > ''00000000-0000-4000-8000-0000000000a1'''),
	('d=eq.2026-03-01', 'd = ''2026-03-01'''), ('d=lt.2026-03-02', 'd < ''2026-03-02'''), ('ts=eq.2026-03-01 12:00:00+02', 'ts = ''2026-03-01 10:00:00+00'''), ('ts=gte.2026-03-01 10:00:00Z', 'ts >= ''2026-03-01 10:00:00+00'''),
	('colour=eq.green', 'colour = ''green'''), ('colour=lt.blue', 'colour < ''blue'''), ('colour=in.(red,blue)', 'colour IN (''red'', ''blue'')'),
	('small=eq.7', 'small = 7'), ('small=lt.150', 'small < 150'), ('list=eq."{1,2}"', 'list = ''{1,2}'''), ('list=gt.{1}', 'list > ''{1}'''), ('doc=eq.{"a":1}', 'doc = ''{"a":1}'''), ('j=is.null', 'j IS NULL'),
	('pair=not.is.null', 'NOT num_nulls(pair) = 1'), ('net=eq.10.0.0.1', 'net = ''10.0.0.1'''),
	('n=gt.1,n=lt.4', 'n > 1 AND n < 4'), ('n=in.(1,3),t=like.a%,f=is.true', 'n IN (1, 3) AND t LIKE ''a%'' AND f'), ('n=eq.3,n=eq.4', 'false'), ('t=like.a%,n=eq.3', 'n = 3 AND t LIKE ''a%''');
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}';
SET DateStyle = 'SQL, DMY';
SET TimeZone = 'America/New_York';
SET ROLE authenticated;
UPDATE regress_filters.subs AS s SET id = n.subscription_id, key = n.session_key
FROM (SELECT f.filter, r.* FROM regress_filters.subs AS f, realtime.subscribe('t', 'regress_filters', 'things', '*', f.filter) AS r) AS n
WHERE n.filter = s.filter;
-- a value is read with the subscriber's settings, and shown in one form
SELECT * FROM realtime.subscribe('t', 'regress_filters', 'things', '*', 'd=in.(01/02/2026,"03/02/2026")') \gset dates_
SELECT filter FROM realtime.subscriptions WHERE id = :dates_subscription_id;
RESET ROLE;
RESET DateStyle;
RESET TimeZone;
SELECT s.filter, t.filter AS shown FROM regress_filters.subs AS s JOIN plinth.stat_subscriptions AS t USING (id)
WHERE s.filter <> t.filter ORDER BY s.filter COLLATE "C";

INSERT INTO regress_filters.things (id, n, big, x, r, t, v, c, f, u, d, ts, colour, small, list, doc, j, pair, net) VALUES
	(1, 3, 9007199254740993, 1.5, 0.1, 'abc', 'b', 'b', true, '00000000-0000-4000-8000-0000000000a1', '2026-03-01', '2026-03-01 10:00+00', 'green', 7, '{1,2}', '{"a": 1}', '1', (1, 'x'), '10.0.0.1'),
	(2, 1, 9007199254740992, 1.50, 0.2, 'Abc', '', 'bc', false, '00000000-0000-4000-8000-0000000000b2', '2026-03-02', '2026-03-01 11:00+00', 'red', 8, '{1}', '{"a": 2}', '2', NULL, '10.0.0.2'),
	(3, NULL, NULL, 'NaN', NULL, 'a,b("c\', 'xbx', 'a', NULL, NULL, NULL, NULL, 'blue', NULL, NULL, NULL, NULL, NULL, NULL),
	(4, 5, 1, 2, -1, '', NULL, NULL, true, NULL, '2026-02-01', NULL, NULL, 99, '{}', '[]', 'null', NULL, NULL),
	(5, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
	(6, 2, 2, 0, 0, 'b', 'B', 'B', false, NULL, NULL, NULL, 'red', 0, '{2}', '{}', '{}', NULL, NULL),
	(7, 4, 4, 1.500, 4, 'aXc', 'ab', 'b   ', true, NULL, NULL, NULL, 'green', 4, NULL, NULL, NULL, NULL, NULL);
DO $$
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

-- what came, and what SQL says should have: no difference, and none is empty that should not be
CREATE FUNCTION regress_filters.wanted(condition text) RETURNS int[]
LANGUAGE plpgsql AS $$
DECLARE
	ids	int[];
BEGIN
	EXECUTE 'SELECT array_agg(id ORDER BY id) FROM regress_filters.things WHERE ' || condition INTO ids;
	RETURN ids;
END;
$$;
SELECT filter, regress_filters.wanted(condition) AS wanted, got
FROM regress_filters.subs,
	LATERAL (SELECT array_agg((p.payload -> 'new' ->> 'id')::int ORDER BY p.seq) AS got FROM realtime.poll(id, key, 0) AS p) AS g
WHERE got IS DISTINCT FROM regress_filters.wanted(condition);
SELECT count(*) AS filters, count(*) FILTER (WHERE EXISTS (SELECT FROM realtime.poll(id, key, 0))) AS with_messages FROM regress_filters.subs;
SELECT p.payload -> 'new' ->> 'id' AS id FROM realtime.poll(:dates_subscription_id, :'dates_session_key', 0) AS p;

-- into the filter, within it, and out of it
UPDATE regress_filters.things SET n = 4 WHERE id = 1;
UPDATE regress_filters.things SET n = 5 WHERE id = 1;
UPDATE regress_filters.things SET n = NULL WHERE id = 1;
UPDATE regress_filters.things SET n = 1 WHERE id = 1;
UPDATE regress_filters.things SET t = 'abd' WHERE id = 1;
DELETE FROM regress_filters.things WHERE id = 1;
DO $$
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
SELECT filter, string_agg(p.event || coalesce(' n=' || (p.payload -> 'new' ->> 'n'), ''), ', ' ORDER BY p.seq) AS events
FROM regress_filters.subs, realtime.poll(id, key, 0) AS p
WHERE filter IN ('n=in.(1,3,5)', 'n=gt.3', 'n=is.null', 'n=isdistinct.3', 'n=in.(1,3),t=like.a%,f=is.true') AND p.payload -> 'new' ->> 'id' = '1' OR
	filter IN ('n=in.(1,3,5)', 'n=gt.3', 'n=is.null', 'n=isdistinct.3', 'n=in.(1,3),t=like.a%,f=is.true') AND p.payload -> 'old' ->> 'id' = '1'
GROUP BY filter ORDER BY filter COLLATE "C";

--
-- What is refused
--
SET ROLE authenticated;
SELECT left(filter, 40) AS filter, regress_filters.outcome(filter) AS outcome
FROM (VALUES
	('n=eq.x'), ('n=in.()'), ('n=in.1'), ('n=in."1"'), ('n=in.(1,x)'), ('n=is.5'), ('n=is.true'), ('n=like.1%'), ('n=match.1'),
	('n=eq.1,'), (',n=eq.1'), ('n=eq.1,,n=eq.2'), ('n=eq'), ('n=eq.1;n=eq.2'), ('n=not.not.eq.1'), ('n=eq."1'), ('n=eq.1"'),
	('t=match.('), ('t=imatch.[z-a]'), ('box=eq.(1,1),(0,0)'), ('box=lt."(1,1),(0,0)"'), ('j=eq.1'), ('pair=eq."(1,x)"'), ('pair=is.null'),
	('colour=eq.pink'), ('d=eq.yesterday of sorts'), ('small=eq.1000'),
	('n=eq.99999999999'), ('list=eq.{1'), ('odd, name=eq.x'),
	('n=in.(' || (SELECT string_agg(g::text, ',') FROM generate_series(1, 100) AS g) || ')'),
	('n=in.(' || (SELECT string_agg(g::text, ',') FROM generate_series(1, 101) AS g) || ')'),
	((SELECT string_agg('n=gt.' || g, ',') FROM generate_series(1, 16) AS g)),
	((SELECT string_agg('n=gt.' || g, ',') FROM generate_series(1, 17) AS g)),
	('')) AS v (filter);
RESET ROLE;

-- a comparison that takes too long ends its own subscription and no other
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('t', 'regress_filters', 'things', '*', 't=match.^(x+)(x+)(x+)\1\2\3$') \gset slow_
SELECT * FROM realtime.subscribe('t', 'regress_filters', 'things', '*', 't=match.x') \gset quick_
RESET ROLE;
INSERT INTO regress_filters.things (id, t) VALUES (20, repeat('x', 3001));
INSERT INTO regress_filters.things (id, t) VALUES (21, 'x');
DO $$
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
SELECT event, payload ->> 'reason' AS reason FROM realtime.poll(:slow_subscription_id, :'slow_session_key', 0);
SELECT payload -> 'new' ->> 'id' AS id FROM realtime.poll(:quick_subscription_id, :'quick_session_key', 0);

SELECT count(realtime.unsubscribe(id, key)) > 0 AS unsubscribed FROM regress_filters.subs;
RESET request.jwt.claims;
DROP SCHEMA regress_filters CASCADE;
