--
-- LEVELS
-- The level of a number of experience points, exact over the bigint range.
--
-- Needs: setup
-- Leaves: nothing
--
\set SHOW_CONTEXT never

-- the table of the specification
SELECT level, starts_at, cost
FROM (VALUES
	(1, 0, 200), (2, 200, 300), (3, 500, 450), (4, 950, 675), (5, 1625, 1012),
	(6, 2637, 1518), (7, 4155, 2278), (8, 6433, 3417), (9, 9850, 5125),
	(10, 14975, 7688), (11, 22663, 11533), (12, 34196, 17299), (15, 116367, 58385),
	(20, 886328, 443367), (25, 6733236, 3366822), (40, 2948621534, 1474310976))
	AS spec (level, starts_at, cost)
WHERE plinth.xp_for_level(level) = starts_at
	AND plinth.xp_for_level(level + 1) - starts_at = cost
	AND plinth.level_for_xp(starts_at) = level
	AND plinth.level_for_xp(starts_at + cost - 1) = level
	AND plinth.level_for_xp(starts_at + cost) = level + 1
ORDER BY level;

-- The same rule computed independently, as numeric: 1.5^(n - 1) is written
-- out exactly, rounded down at each level, and summed until bigint is full.
CREATE TEMPORARY TABLE curve AS
WITH RECURSIVE step (level, starts_at, power) AS (
	SELECT 1, 0::numeric, 1::numeric
	UNION ALL
	SELECT level + 1, starts_at + trunc(200 * power), power * 1.5
	FROM step
	WHERE starts_at + trunc(200 * power) <= 9223372036854775807
)
SELECT level, starts_at::bigint FROM step;

SELECT count(*) AS levels, max(level) AS last, max(starts_at) AS starts_at FROM curve;

-- every level starts where it should
SELECT * FROM curve WHERE plinth.xp_for_level(level) <> starts_at;

-- every boundary: the point before, the point itself, the point after
SELECT level, starts_at
FROM curve
WHERE plinth.level_for_xp(starts_at) <> level
	OR plinth.level_for_xp(starts_at + 1) <> level
	OR (level > 1 AND plinth.level_for_xp(starts_at - 1) <> level - 1);

-- every power of two and its neighbours, against a plain count
SELECT n, points
FROM generate_series(0, 62) AS n, LATERAL (VALUES (2::numeric ^ n - 1), (2::numeric ^ n), (2::numeric ^ n + 1)) AS v (points)
WHERE plinth.level_for_xp(points::bigint) <> (SELECT count(*) FROM curve WHERE starts_at <= points);

-- every number of points up to level 12, and a spread over the whole range
SELECT count(*)
FROM generate_series(0, 35000) AS points
WHERE plinth.level_for_xp(points) <> (SELECT count(*) FROM curve WHERE starts_at <= points);
SELECT count(*)
FROM generate_series(0, 9200000000000000000, 9200000000000007) AS points
WHERE plinth.level_for_xp(points) <> (SELECT count(*) FROM curve WHERE starts_at <= points);

-- both ends
SELECT plinth.level_for_xp(0) AS none, plinth.level_for_xp(9223372036854775807) AS most,
	   plinth.xp_for_level(1) AS first, plinth.xp_for_level(93) AS last;
SELECT plinth.level_for_xp(-1);
SELECT plinth.level_for_xp(-9223372036854775808);
SELECT plinth.xp_for_level(0);
SELECT plinth.xp_for_level(-2147483648);
SELECT plinth.xp_for_level(94);
SELECT plinth.xp_for_level(2147483647);
\set VERBOSITY sqlstate
SELECT plinth.level_for_xp(-1);
SELECT plinth.xp_for_level(0);
SELECT plinth.xp_for_level(94);
\set VERBOSITY default

-- nothing in, nothing out
SELECT plinth.level_for_xp(NULL) IS NULL AS level, plinth.xp_for_level(NULL) IS NULL AS xp;

-- the planner may fold it, index it and use it in a parallel plan
SELECT proname, provolatile, proisstrict, proparallel
FROM pg_proc
WHERE oid IN ('plinth.level_for_xp(bigint)'::regprocedure, 'plinth.xp_for_level(integer)'::regprocedure)
ORDER BY proname COLLATE "C";

-- everybody may call them
SET ROLE anon;
SELECT plinth.level_for_xp(1000), plinth.xp_for_level(4);
SET ROLE authenticated;
SELECT plinth.level_for_xp(1000), plinth.xp_for_level(4);
SET ROLE service_role;
SELECT plinth.level_for_xp(1000), plinth.xp_for_level(4);
RESET ROLE;

DROP TABLE curve;
