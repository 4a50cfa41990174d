-- ---------------------------------------------------------------------
-- Room: leaderboard
--
--		Scores to ranks: what the upkeep worker does for the materialized
--		views of the module social.
--
-- Tests:	test/regress/sql/leaderboard.sql, test/tap/
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.leaderboard_stat(
	OUT schema text, OUT matview text, OUT dirty boolean, OUT last_refresh timestamptz,
	OUT duration_ms double precision, OUT rows bigint, OUT refreshes bigint,
	OUT failures bigint, OUT last_error text, OUT stats_reset timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'plinth_sql_leaderboard_stat';

COMMENT ON FUNCTION plinth.leaderboard_stat() IS
'what plinth.stat_leaderboard shows; errors: 42501 the caller is neither service, monitor nor administrator; 55000 the library is not preloaded';

CREATE VIEW plinth.stat_leaderboard WITH (security_invoker = true) AS
SELECT schema, matview, dirty, last_refresh, duration_ms, rows, refreshes, failures, last_error,
	   stats_reset
FROM plinth.leaderboard_stat();

COMMENT ON VIEW plinth.stat_leaderboard IS
'one row for each leaderboard of this database that the upkeep worker keeps: refreshed when dirty, at most once in plinth.leaderboard_refresh_interval';
COMMENT ON COLUMN plinth.stat_leaderboard.dirty IS
'the sources have changed since the last refresh began, as far as the server''s counters said at the last look; at the start, true';
COMMENT ON COLUMN plinth.stat_leaderboard.duration_ms IS
'milliseconds of the last refresh, counting its rows included';

