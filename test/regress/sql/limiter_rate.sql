-- ---------------------------------------------------------------------
-- LIMITER: the smooth limit
-- plinth.rate_limit(): burst at once, rate back in each period (GCRA).
--
-- Periods are so long that nothing comes back while the test runs, except
-- where that is the question.
--
-- Needs:	setup; plinth in shared_preload_libraries
-- Leaves:	nothing
-- ---------------------------------------------------------------------
SET client_min_messages = warning;
CREATE SCHEMA regress_rate;

-- an answer without what the clock adds: times to the hour
CREATE FUNCTION regress_rate.take(key text, burst int, rate int, period interval, cost int DEFAULT 1)
RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s/%s%s, full in %s h', CASE WHEN allowed THEN 'yes' ELSE 'no' END, remaining, "limit",
		', again in ' || round(extract(epoch FROM retry_after) / 3600) || ' h', round(extract(epoch FROM reset_after) / 3600))
	FROM plinth.rate_limit(key, burst, rate, period, cost)
$$;
CREATE FUNCTION regress_rate.outcome(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END
$$;

-- five at once, then one in each hour
SELECT n, regress_rate.take('five', 5, 24, '1 day') FROM generate_series(1, 7) AS n;
-- a look takes nothing, and says whether one would pass
SELECT regress_rate.take('five', 5, 24, '1 day', 0) AS spent, regress_rate.take('looked at', 5, 24, '1 day', 0) AS untouched,
	regress_rate.take('looked at', 5, 24, '1 day', 0) AS still;
-- several at once, or none of them
SELECT regress_rate.take('several', 10, 24, '1 day', 7) AS seven, regress_rate.take('several', 10, 24, '1 day', 4) AS four,
	regress_rate.take('several', 10, 24, '1 day', 3) AS three;
-- putting back, never above the burst; a key that lacks nothing stays so
SELECT regress_rate.take('several', 10, 24, '1 day', -2) AS two_back, regress_rate.take('several', 10, 24, '1 day', 3) AS three,
	regress_rate.take('several', 10, 24, '1 day', -100) AS all_back, regress_rate.take('several', 10, 24, '1 day', -2147483648) AS more,
	regress_rate.take('never used', 10, 24, '1 day', -1) AS unused;
-- and again
SELECT plinth.rate_limit_reset('five'), plinth.rate_limit_reset('five') AS twice, plinth.rate_limit_reset('no such key') AS none;
SELECT regress_rate.take('five', 5, 24, '1 day');

-- other terms for the same key: what it lacks counts on, up to the new burst
SELECT regress_rate.take('changed', 100, 24, '1 day', 100) AS hundred, regress_rate.take('changed', 2, 24, '1 day') AS of_two,
	regress_rate.take('changed', 2, 24, '1 day', 0) AS look;
SELECT regress_rate.take('grown', 2, 24, '1 day', 2) AS both, regress_rate.take('grown', 5, 24, '1 day', 3) AS of_five,
	regress_rate.take('grown', 5, 24, '1 day') AS sixth;

-- what is taken stands although the transaction does not; read-only ones may
BEGIN;
SELECT regress_rate.take('undone', 2, 24, '1 day');
ROLLBACK;
BEGIN READ ONLY;
SELECT regress_rate.take('undone', 2, 24, '1 day') AS second;
SELECT regress_rate.take('undone', 2, 24, '1 day') AS third;
COMMIT;

-- requests come back evenly: of one in a millisecond one is there when waited for
SELECT allowed FROM plinth.rate_limit('fast', 1, 1000, '1 s');
DO $$ BEGIN
	WHILE NOT (SELECT allowed FROM plinth.rate_limit('fast', 1, 1000, '1 s', 0)) LOOP END LOOP;
END $$;
SELECT allowed FROM plinth.rate_limit('fast', 1, 1000, '1 s', 0);

-- a key is not a tier, nor an identifier of one
INSERT INTO plinth.rate_limit_tiers VALUES ('rate_limit', 1, 36000);
SELECT regress_rate.take('mine', 1, 24, '1 day');
SELECT allowed FROM plinth.check_rate_limit('mine', 'rate_limit');
SELECT plinth.rate_limit_reset('mine', 'rate_limit') AS of_the_tier, regress_rate.take('mine', 1, 24, '1 day') AS the_key;
SELECT plinth.rate_limit_reset('mine') AS the_key, plinth.rate_limit_reset('mine', 'rate_limit') AS of_the_tier;
DELETE FROM plinth.rate_limit_tiers WHERE name = 'rate_limit';

-- long keys count by the whole of them
SELECT regress_rate.take(repeat('k', 1000000) || 'a', 1, 24, '1 day') AS a, regress_rate.take(repeat('k', 1000000) || 'b', 1, 24, '1 day') AS b,
	regress_rate.take(repeat('k', 1000000) || 'a', 1, 24, '1 day') AS a_again;

-- ---------------------------------------------------------------------
-- What is seen of it
-- ---------------------------------------------------------------------
SELECT identifier, endpoint, user_id, request_count, window_start,
	window_end > clock_timestamp() AS not_full_yet
FROM plinth.rate_limits WHERE identifier IN ('five', 'several', 'undone', 'changed') ORDER BY identifier COLLATE "C";
SELECT kind, endpoint, keys > 3 AS keys, allowed > 10 AS allowed, refused > 3 AS refused
FROM plinth.rate_limit_status WHERE endpoint = 'rate_limit' AND kind = 'key';

-- ---------------------------------------------------------------------
-- Out of range
-- ---------------------------------------------------------------------
SELECT arguments, regress_rate.outcome('SELECT plinth.rate_limit(' || arguments || ')') FROM unnest(ARRAY[
	$$NULL, 1, 1, '1 s'$$, $$'k', NULL, 1, '1 s'$$, $$'k', 1, NULL, '1 s'$$, $$'k', 1, 1, NULL$$, $$'k', 1, 1, '1 s', NULL$$,
	$$'', 1, 1, '1 s'$$,
	$$'k', 0, 1, '1 s'$$, $$'k', -1, 1, '1 s'$$, $$'k', 1, 0, '1 s'$$, $$'k', 1, -1, '1 s'$$,
	$$'k', 1, 1, '0'$$, $$'k', 1, 1, '-1 s'$$, $$'k', 1, 1, '1 month'$$, $$'k', 1, 1, '1 month -29 days'$$,
	$$'k', 1, 1, '367 days'$$, $$'k', 1, 1, '366 days'$$, $$'k', 2, 1, '184 days'$$, $$'k', 1, 1, '100000000 days'$$,
	$$'k', 1, 1, '2562047788 hours'$$,
	$$'k', 1, 2147483647, '1 s'$$, $$'k', 1, 125000000, '1 s'$$, $$'k', 1, 125000001, '1 s'$$, $$'k', 2147483647, 1000000, '1 s'$$,
	$$'k', 5, 1, '1 s', 6$$, $$'k', 5, 1, '1 s', 2147483647$$]) AS arguments;
SELECT count(plinth.rate_limit_reset('k'));
SELECT regress_rate.outcome('SELECT plinth.rate_limit_reset(NULL::text)'), regress_rate.outcome($$SELECT plinth.rate_limit_reset('')$$);

-- ---------------------------------------------------------------------
-- Services and code of ours; nobody else
-- ---------------------------------------------------------------------
GRANT USAGE ON SCHEMA regress_rate TO PUBLIC;
SET ROLE anon;
SELECT regress_rate.outcome($$SELECT plinth.rate_limit('k', 1, 1, '1 s')$$), regress_rate.outcome($$SELECT plinth.rate_limit_reset('k')$$);
SET ROLE authenticated;
SELECT regress_rate.outcome($$SELECT plinth.rate_limit('k', 1, 1, '1 s')$$), regress_rate.outcome($$SELECT plinth.rate_limit_reset('k')$$);
SET ROLE service_role;
SELECT regress_rate.outcome($$SELECT plinth.rate_limit('k', 1, 1, '1 s')$$), regress_rate.outcome($$SELECT plinth.rate_limit_reset('k')$$);
RESET ROLE;
-- not by a grant alone
CREATE ROLE regress_plinth_rate;
GRANT EXECUTE ON FUNCTION plinth.rate_limit(text, integer, integer, interval, integer), plinth.rate_limit_reset(text) TO regress_plinth_rate;
GRANT USAGE ON SCHEMA plinth TO regress_plinth_rate;
SET ROLE regress_plinth_rate;
SELECT regress_rate.outcome($$SELECT plinth.rate_limit('k', 1, 1, '1 s')$$), regress_rate.outcome($$SELECT plinth.rate_limit_reset('k')$$);
RESET ROLE;
REVOKE ALL ON FUNCTION plinth.rate_limit(text, integer, integer, interval, integer), plinth.rate_limit_reset(text) FROM regress_plinth_rate;
REVOKE USAGE ON SCHEMA plinth FROM regress_plinth_rate;
DROP ROLE regress_plinth_rate;

SELECT count(plinth.rate_limit_reset(key)) FROM unnest(ARRAY['five', 'several', 'changed', 'grown', 'undone', 'fast', 'mine',
	repeat('k', 1000000) || 'a', repeat('k', 1000000) || 'b']) AS key;
DROP SCHEMA regress_rate CASCADE;
