--
-- REALTIME_ROUTES
-- Is what a compiled route sends what PostgreSQL itself lets the user see?
--
-- Every combination of some permissive and restrictive policies has a table.
-- Its rows begin in each of nine states and are updated to each of nine, and
-- the messages must be those that SELECT under the policies, before and
-- after, asks for: no more, no less, and of the same kind.
--
-- Needs: setup; the stream worker of this database
-- Leaves: nothing
--
SET client_min_messages = warning;
CREATE SCHEMA regress_routes;
GRANT USAGE ON SCHEMA regress_routes TO authenticated;

CREATE TABLE regress_routes.cases (
	n			int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	permissive	text[] NOT NULL,
	restrictive	text[] NOT NULL,
	refused		text,
	id			bigint,
	key			text
);
INSERT INTO regress_routes.cases (permissive, restrictive)
SELECT p, r
FROM (VALUES
	(ARRAY[]::text[]),
	(ARRAY['true']),
	(ARRAY['false']),
	(ARRAY['auth.uid() = a']),
	(ARRAY['b = (SELECT auth.uid())']),
	(ARRAY['auth.uid() = a OR auth.uid() = b']),
	(ARRAY['auth.uid() IN (a, b) AND true']),
	(ARRAY['auth.uid() = a', 'b = auth.uid()']),
	(ARRAY['auth.uid() = a', 'true']),
	(ARRAY['auth.uid() = a', 'false', 'NULL']),
	(ARRAY['auth.uid() = a AND auth.uid() = b'])) AS permissive (p),
	(VALUES
	(ARRAY[]::text[]),
	(ARRAY['true']),
	(ARRAY['false']),
	(ARRAY['auth.uid() = a']),
	(ARRAY['auth.uid() = b OR a = auth.uid()']),
	(ARRAY['auth.uid() = b', 'true'])) AS restrictive (r);

-- one table each; what the user sees is noted before and after the updates
CREATE TABLE regress_routes.seen (n int, id int, updated boolean, PRIMARY KEY (n, id, updated));
GRANT INSERT ON regress_routes.seen TO authenticated;
GRANT SELECT ON regress_routes.cases TO authenticated;
DO $$
DECLARE
	c		record;
	policy	text;
	i		int;
BEGIN
	FOR c IN SELECT * FROM regress_routes.cases ORDER BY n LOOP
		EXECUTE format('CREATE TABLE regress_routes.t%s (id int PRIMARY KEY, a uuid, b uuid)', c.n);
		EXECUTE format('ALTER TABLE regress_routes.t%s REPLICA IDENTITY FULL, ENABLE ROW LEVEL SECURITY', c.n);
		EXECUTE format('GRANT SELECT ON regress_routes.t%s TO authenticated', c.n);
		EXECUTE format('ALTER PUBLICATION plinth_realtime ADD TABLE regress_routes.t%s', c.n);
		i := 0;
		FOREACH policy IN ARRAY c.permissive || c.restrictive LOOP
			i := i + 1;
			EXECUTE format('CREATE POLICY p%s ON regress_routes.t%s AS %s FOR SELECT TO authenticated USING (%s)',
				i, c.n, CASE WHEN i <= cardinality(c.permissive) THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, policy);
		END LOOP;
	END LOOP;
END;
$$;

SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}';
DO $$
DECLARE
	c		record;
	sub		record;
BEGIN
	FOR c IN SELECT * FROM regress_routes.cases ORDER BY n LOOP
		BEGIN
			SET LOCAL ROLE authenticated;
			SELECT * INTO sub FROM realtime.subscribe('routes', 'regress_routes', 't' || c.n);
			RESET ROLE;
			UPDATE regress_routes.cases SET id = sub.subscription_id, key = sub.session_key WHERE n = c.n;
		EXCEPTION WHEN feature_not_supported THEN
			UPDATE regress_routes.cases SET refused = sqlstate WHERE n = c.n;
		END;
	END LOOP;
END;
$$;

-- what is not understood is refused, and that is
SELECT permissive, restrictive FROM regress_routes.cases WHERE refused IS NOT NULL ORDER BY n;

CREATE PROCEDURE regress_routes.look(after_update boolean)
LANGUAGE plpgsql AS $$
DECLARE
	c		record;
BEGIN
	FOR c IN SELECT n FROM regress_routes.cases LOOP
		SET LOCAL ROLE authenticated;
		EXECUTE format('INSERT INTO regress_routes.seen SELECT %s, id, $1 FROM regress_routes.t%s', c.n, c.n)
			USING after_update;
		RESET ROLE;
	END LOOP;
END;
$$;

CREATE VIEW regress_routes.states AS
SELECT row_number() OVER ()::int AS state, a, b
FROM unnest(ARRAY['00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-0000000000b2', NULL]::uuid[]) AS a,
	 unnest(ARRAY['00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-0000000000b2', NULL]::uuid[]) AS b;

DO $$
DECLARE
	c		record;
BEGIN
	FOR c IN SELECT n FROM regress_routes.cases LOOP
		EXECUTE format('INSERT INTO regress_routes.t%s SELECT f.state * 10 + t.state, f.a, f.b
			FROM regress_routes.states AS f, regress_routes.states AS t', c.n);
	END LOOP;
END;
$$;
CALL regress_routes.look(false);
DO $$
DECLARE
	c		record;
BEGIN
	FOR c IN SELECT n FROM regress_routes.cases LOOP
		EXECUTE format('UPDATE regress_routes.t%s AS r SET a = s.a, b = s.b
			FROM regress_routes.states AS s WHERE s.state = r.id %% 10', c.n);
	END LOOP;
END;
$$;
CALL regress_routes.look(true);

-- wait for the stream, at most 20 s
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

-- what should have come, by what was seen
CREATE TABLE regress_routes.wanted AS
SELECT c.n, i.id, 1 AS turn, 'INSERT' AS event
FROM regress_routes.cases AS c
	JOIN regress_routes.seen AS i ON i.n = c.n AND NOT i.updated
WHERE c.refused IS NULL;
INSERT INTO regress_routes.wanted
SELECT s.n, s.id, 2,
	CASE WHEN bool_and(s.updated) THEN 'INSERT' WHEN NOT bool_or(s.updated) THEN 'DELETE' ELSE 'UPDATE' END
FROM regress_routes.seen AS s JOIN regress_routes.cases AS c ON c.n = s.n
WHERE c.refused IS NULL
GROUP BY s.n, s.id;

CREATE TABLE regress_routes.got AS
SELECT c.n, coalesce(p.payload -> 'new' ->> 'id', p.payload -> 'old' ->> 'id')::int AS id,
	   row_number() OVER (PARTITION BY c.n, coalesce(p.payload -> 'new' ->> 'id', p.payload -> 'old' ->> 'id') ORDER BY p.seq) AS turn,
	   p.event, p.payload
FROM regress_routes.cases AS c
	CROSS JOIN LATERAL realtime.poll(c.id, c.key, 0, 1000) AS p
WHERE c.refused IS NULL;

-- how much was tried
SELECT count(*) FILTER (WHERE refused IS NULL) AS routes, count(*) FILTER (WHERE refused IS NOT NULL) AS refused
FROM regress_routes.cases;
SELECT event, count(*) FROM regress_routes.wanted GROUP BY event ORDER BY event;

-- missing and superfluous messages: none
SELECT n, id, event, sum(w) AS balance
FROM (SELECT n, id, event, 1 AS w FROM regress_routes.wanted
	  UNION ALL SELECT n, id, event, -1 FROM regress_routes.got) AS u
GROUP BY n, id, event HAVING sum(w) <> 0 ORDER BY n, id, event;

-- rows that came in another form than they have: none
SELECT g.n, g.event, g.payload -> 'new' AS new
FROM regress_routes.got AS g
	JOIN regress_routes.states AS s ON s.state = CASE WHEN EXISTS (
			SELECT FROM regress_routes.seen AS o WHERE o.n = g.n AND o.id = g.id AND NOT o.updated) AND g.turn = 1
		THEN g.id / 10 ELSE g.id % 10 END
WHERE g.event <> 'DELETE'
	AND ((g.payload -> 'new' ->> 'a')::uuid, (g.payload -> 'new' ->> 'b')::uuid) IS DISTINCT FROM (s.a, s.b);

-- removals that carry more than the key: none
SELECT n, payload -> 'old' AS old FROM regress_routes.got
WHERE event = 'DELETE' AND (payload -> 'old' <> jsonb_build_object('id', id) OR payload -> 'new' <> '{}');

RESET request.jwt.claims;
DROP SCHEMA regress_routes CASCADE;
