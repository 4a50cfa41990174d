/*-------------------------------------------------------------------------
 *
 * worker_enable.c
 *		plinth.enable() and plinth.disable().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "base/names.h"
#include "worker/worker_internal.h"

static void begin_change(const char *function);
static void alter_database(const char *change);

/*
 * plinth.enable() -> void
 *
 * Make this database the one in which the modules work: its identity is
 * written to plinth.installed_modules, under a new era if it was another,
 * plinth.enabled of the database is on, and the workers start with the end of
 * the transaction.
 *
 * Errors: 42501 not a superuser.
 */
PG_FUNCTION_INFO_V1(plinth_sql_worker_enable);
Datum
plinth_sql_worker_enable(PG_FUNCTION_ARGS)
{
	Oid types[] = {INT8OID, OIDOID};
	Datum values[] = {Int64GetDatum((int64) GetSystemIdentifier()),
					  ObjectIdGetDatum(MyDatabaseId)};

	begin_change("plinth.enable()");

	SPI_connect();
	if (SPI_execute_with_args(
			"UPDATE plinth.installed_modules AS m"
			" SET system_identifier = $1, database_oid = $2,"
			" era = CASE WHEN o.other THEN o.era OPERATOR(pg_catalog.+) 1"
			" ELSE o.era END"
			" FROM (SELECT pg_catalog.max(i.era) AS era,"
			" pg_catalog.bool_or(i.system_identifier"
			" OPERATOR(pg_catalog.<>) $1"
			" OR i.database_oid OPERATOR(pg_catalog.<>) $2) AS other"
			" FROM plinth.installed_modules AS i) AS o",
			lengthof(types), types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not write the identity of the database");
	SPI_finish();

	alter_database("RESET plinth.enabled");

	/* a copy of a database does not have the rights on the database */
	SPI_connect();
	if (SPI_execute(psprintf("GRANT CREATE, TEMPORARY ON DATABASE %s TO %s",
							 quote_identifier(get_database_name(MyDatabaseId)),
							 PLINTH_OWNER_ROLE),
					false, 0) < 0)
		elog(ERROR, "could not grant the right to create schemas");
	SPI_finish();

	plinth_worker_look_here();
	PG_RETURN_VOID();
}

/*
 * plinth.disable() -> void
 *
 * Keep the workers out of this database until plinth.enable(); they have left
 * when it returns.
 *
 * Errors: 42501 not a superuser.
 */
PG_FUNCTION_INFO_V1(plinth_sql_worker_disable);
Datum
plinth_sql_worker_disable(PG_FUNCTION_ARGS)
{
	begin_change("plinth.disable()");
	alter_database("SET plinth.enabled = off");
	if (plinth_worker_shared != NULL)
		plinth_worker_hold_until_end();
	PG_RETURN_VOID();
}

static void
begin_change(const char *function)
{
	if (!superuser())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for function %s", function),
						errdetail("Only superusers may call it.")));
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
}

/*
 * Run ALTER DATABASE on this database.
 */
static void
alter_database(const char *change)
{
	char *query =
		psprintf("ALTER DATABASE %s %s",
				 quote_identifier(get_database_name(MyDatabaseId)), change);

	SPI_connect();
	if (SPI_execute(query, false, 0) < 0)
		elog(ERROR, "could not alter the database");
	SPI_finish();
}
