/*-------------------------------------------------------------------------
 *
 * level_funcs.c
 *		Levels for SQL: checks and converts, the curve does the rest.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "level/level.h"

#include "fmgr.h"

#include "base/compat.h"

/*
 * plinth.level_for_xp(xp int8) -> int4
 *
 * The level that a user with so many experience points has.  A level starts
 * with the points given by plinth.xp_for_level, these included.
 *
 * Errors: 22023 the points are negative.
 */
PG_FUNCTION_INFO_V1(plinth_sql_level_for_xp);
Datum
plinth_sql_level_for_xp(PG_FUNCTION_ARGS)
{
	int64 xp = PG_GETARG_INT64(0);

	if (unlikely(xp < 0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("experience points must not be negative"),
						errdetail("The value given was %lld.", (long long) xp)));

	PG_RETURN_INT32(plinth_level_for_xp(xp));
}

/*
 * plinth.xp_for_level(level int4) -> int8
 *
 * The fewest experience points of a level.
 *
 * Errors: 22023 the level is below 1; 22003 it starts beyond the bigint range.
 */
PG_FUNCTION_INFO_V1(plinth_sql_level_start);
Datum
plinth_sql_level_start(PG_FUNCTION_ARGS)
{
	int32 level = PG_GETARG_INT32(0);

	if (level < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("level must be 1 or more"),
						errdetail("The value given was %d.", level)));
	if (level > LEVEL_MAX)
		ereport(
			ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("level %d is out of range", level),
			 errdetail(
				 "Level %d is the last that starts within the range of type bigint.",
				 LEVEL_MAX)));

	PG_RETURN_INT64(plinth_level_start(level));
}
