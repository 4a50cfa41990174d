--
-- STREAM
-- The change stream: that it runs, and who may see how far it is.
--
-- Needs: shared_preload_libraries = 'plinth', wal_level = logical
-- Leaves: nothing
--
\set VERBOSITY sqlstate

-- the worker has found this database, and has read all that was written
CREATE FUNCTION pg_temp.await(query text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	met	boolean;
BEGIN
	FOR i IN 1 .. 3000 LOOP
		EXECUTE query INTO met;
		EXIT WHEN met;
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN met;
END;
$$;
CREATE TABLE public.stream_note (id integer PRIMARY KEY);
INSERT INTO public.stream_note VALUES (1);
SELECT pg_current_wal_flush_lsn() AS written \gset
SELECT pg_temp.await(format(
	'SELECT EXISTS (SELECT FROM plinth.stat_stream
	 WHERE database = current_database() AND confirmed_lsn >= %L)', :'written')) AS read;
DROP TABLE public.stream_note;

-- one row, whole, and in range
SELECT count(*) AS rows,
	   bool_and(slot LIKE 'plinth\_stream\_%') AS slot,
	   bool_and(lag_bytes >= 0 AND lag_ms >= 0) AS lag,
	   bool_and(retained_wal >= 0) AS retained,
	   bool_and(transactions >= 0 AND changes >= transactions) AS decoded,
	   bool_and(deliveries >= 0 AND dropped >= 0 AND gaps >= 0) AS delivered,
	   bool_and(errors = 0) AS without_errors,
	   bool_and(subscriptions >= 0 AND ring_used >= 0) AS used,
	   bool_and(latency_p50_ms IS NULL OR latency_p50_ms <= latency_p95_ms) AS latency,
	   bool_and(stats_reset <= now()) AS since
FROM plinth.stat_stream WHERE database = current_database();

-- the slot is temporary, and its name is the one shown
SELECT r.temporary, r.active, r.plugin, r.slot_type
FROM pg_replication_slots AS r JOIN plinth.stat_stream AS s ON s.slot = r.slot_name
WHERE s.database = current_database();

-- services and monitors may look
SET ROLE service_role;
SELECT count(*) FROM plinth.stat_stream WHERE database = current_database();
SET ROLE pg_monitor;
SELECT count(*) FROM plinth.stat_stream WHERE database = current_database();

-- others may not: neither the view nor what is behind it
SET ROLE anon;
SELECT count(*) FROM plinth.stat_stream;
SELECT count(*) FROM plinth.stream_stat();
SET ROLE authenticated;
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}';
SELECT count(*) FROM plinth.stat_stream;
SELECT count(*) FROM plinth.stream_stat();
RESET ROLE;
RESET request.jwt.claims;
