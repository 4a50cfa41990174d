/*-------------------------------------------------------------------------
 *
 * audit_upkeep.c
 *		The log's own upkeep, which leaves no marks of DDL.
 *
 * Whoever may call this can have nothing done without a mark but what is
 * listed here, and the functions themselves cannot be replaced without one.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "executor/spi.h"
#include "utils/builtins.h"

#include "base/own_ddl.h"

static const struct
{
	const char *step;
	const char *query;
} upkeep_steps[] = {
	{"make partition", "SELECT audit.make_partition($1::pg_catalog.timestamptz)"
					   "::pg_catalog.int4::pg_catalog.int8"},
	{"move strays", "SELECT audit.move_strays()::pg_catalog.int8"},
	{"drop partition", "SELECT audit.drop_partition($1)"},
};

typedef struct UpkeepWork
{
	const char *query;
	Datum argument;
	bool has_argument;
	int64 result;
} UpkeepWork;

static void do_step(void *arg);

/*
 * plinth.audit_upkeep(step text, argument text) -> bigint
 *
 * Run one of the functions that keep the log's partitions, as our own work.
 * Rights are the caller's.
 *
 * Returns what the function returns.
 *
 * Errors: 22023 no such step; else those of the function.
 */
PG_FUNCTION_INFO_V1(plinth_sql_audit_upkeep);
Datum
plinth_sql_audit_upkeep(PG_FUNCTION_ARGS)
{
	UpkeepWork work = {.has_argument = !PG_ARGISNULL(1)};
	const char *step =
		PG_ARGISNULL(0) ? "" : text_to_cstring(PG_GETARG_TEXT_PP(0));

	for (int i = 0; i < (int) lengthof(upkeep_steps); i++)
		if (strcmp(upkeep_steps[i].step, step) == 0)
			work.query = upkeep_steps[i].query;
	if (work.query == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unknown step \"%s\" of the upkeep of the audit "
							   "log",
							   step)));
	if (work.has_argument)
		work.argument = PG_GETARG_DATUM(1);

	plinth_own_ddl_run(do_step, &work);

	PG_RETURN_INT64(work.result);
}

static void
do_step(void *arg)
{
	UpkeepWork *work = arg;
	Oid types[] = {TEXTOID};
	Datum values[] = {work->argument};
	bool is_null;

	SPI_connect();
	if (SPI_execute_with_args(
			work->query, strstr(work->query, "$1") != NULL ? 1 : 0, types,
			values, work->has_argument ? " " : "n", false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not run: %s", work->query);
	work->result = DatumGetInt64(SPI_getbinval(
		SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	SPI_finish();
}
