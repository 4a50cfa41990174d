--
-- REALTIME_COLLATION
-- Filters on a column whose collation holds different bytes for equal.
--
-- Needs: setup; the stream worker of this database; a server with ICU, or
--	else there is no such collation and nothing to test (realtime_collation_1.out)
-- Leaves: nothing
--
SET client_min_messages = warning;
CREATE SCHEMA regress_collation;
GRANT USAGE ON SCHEMA regress_collation TO authenticated;
CREATE COLLATION regress_collation.insensitive (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
SELECT NOT EXISTS (SELECT FROM pg_collation WHERE collname = 'insensitive') AS no_icu \gset
\if :no_icu
DROP SCHEMA regress_collation CASCADE;
\quit
\endif
CREATE TABLE regress_collation.things (id int PRIMARY KEY, ci text COLLATE regress_collation.insensitive);
GRANT SELECT ON regress_collation.things TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_collation.things;

SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}';
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('t', 'regress_collation', 'things', '*', 'ci=like.a%');
SELECT * FROM realtime.subscribe('t', 'regress_collation', 'things', '*', 'ci=match.a');
SELECT * FROM realtime.subscribe('t', 'regress_collation', 'things', '*', 'ci=eq.ABC') \gset equal_
SELECT * FROM realtime.subscribe('t', 'regress_collation', 'things', '*', 'ci=in.(ABC,XYZ)') \gset listed_
SELECT * FROM realtime.subscribe('t', 'regress_collation', 'things', '*', 'ci=neq.ABC') \gset other_
SELECT * FROM realtime.subscribe('t', 'regress_collation', 'things', '*', 'ci=gt.ABC') \gset greater_
RESET ROLE;
INSERT INTO regress_collation.things VALUES (1, 'ABC'), (2, 'abc'), (3, 'Abd'), (4, 'xyz'), (5, NULL), (6, '');
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
SELECT 'eq' AS filter, payload -> 'new' -> 'id' AS id, payload -> 'new' -> 'ci' AS ci
FROM realtime.poll(:equal_subscription_id, :'equal_session_key', 0);
SELECT 'in' AS filter, payload -> 'new' -> 'id' AS id, payload -> 'new' -> 'ci' AS ci
FROM realtime.poll(:listed_subscription_id, :'listed_session_key', 0);
SELECT 'neq' AS filter, payload -> 'new' -> 'id' AS id, payload -> 'new' -> 'ci' AS ci
FROM realtime.poll(:other_subscription_id, :'other_session_key', 0);
SELECT 'gt' AS filter, payload -> 'new' -> 'id' AS id, payload -> 'new' -> 'ci' AS ci
FROM realtime.poll(:greater_subscription_id, :'greater_session_key', 0);

SET ROLE authenticated;
SELECT realtime.unsubscribe(:equal_subscription_id, :'equal_session_key'), realtime.unsubscribe(:listed_subscription_id, :'listed_session_key'),
	realtime.unsubscribe(:other_subscription_id, :'other_session_key'), realtime.unsubscribe(:greater_subscription_id, :'greater_session_key');
RESET ROLE;
RESET request.jwt.claims;
ALTER PUBLICATION plinth_realtime DROP TABLE regress_collation.things;
DROP SCHEMA regress_collation CASCADE;
