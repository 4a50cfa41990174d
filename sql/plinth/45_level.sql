-- ---------------------------------------------------------------------
-- Room: level
--
--		How far has someone come?  Going from level n to n + 1 costs
--		floor(200 * 1.5^(n - 1)) experience points.
--
-- Tests:	test/regress/sql/levels.sql
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.level_for_xp(xp bigint)
RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_level_for_xp';

COMMENT ON FUNCTION plinth.level_for_xp(bigint) IS
'level, 1 to 93, of so many experience points, exact over the whole bigint range; error: 22023 negative';

CREATE FUNCTION plinth.xp_for_level(level integer)
RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_level_start';

COMMENT ON FUNCTION plinth.xp_for_level(integer) IS
'experience points at which a level starts; errors: 22023 below 1, 22003 above 93, which bigint cannot hold';

