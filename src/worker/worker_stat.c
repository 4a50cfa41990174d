/*-------------------------------------------------------------------------
 *
 * worker_stat.c
 *		What the workers are doing: behind plinth.stat_workers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "claims/claims.h"
#include "worker/worker_internal.h"

#define STAT_COLUMNS 10

static const char *state_name(WorkerState state);

/*
 * plinth.worker_stat() -> setof (database oid, worker, pid, state,
 * started_at, restarts, failures, last_error, last_error_at, stats_reset)
 *
 * One row for each worker that is wanted, of all databases; no row when the
 * library was not preloaded.
 *
 * Errors: 42501 the caller is neither service, monitor nor administrator.
 */
PG_FUNCTION_INFO_V1(plinth_sql_worker_stat);
Datum
plinth_sql_worker_stat(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WorkerEntry *copy;
	TimestampTz stats_reset;

	plinth_claims_require_monitor("the workers");
	InitMaterializedSRF(fcinfo, 0);
	if (plinth_worker_shared == NULL)
		return (Datum) 0;

	/* nothing is allocated under the lock */
	copy = palloc(sizeof(plinth_worker_shared->entries));
	LWLockAcquire(plinth_worker_shared->lock, LW_SHARED);
	memcpy(copy, plinth_worker_shared->entries,
		   sizeof(plinth_worker_shared->entries));
	stats_reset = plinth_worker_shared->stats_reset;
	LWLockRelease(plinth_worker_shared->lock);

	for (int i = 0; i < WORKER_ENTRIES; i++)
	{
		WorkerEntry *entry = &copy[i];
		Datum values[STAT_COLUMNS] = {0};
		bool nulls[STAT_COLUMNS] = {false};
		int column = 0;

		if (!OidIsValid(entry->database) || entry->kind == WORKER_PROBE)
			continue;
		values[column++] = ObjectIdGetDatum(entry->database);
		values[column++] =
			CStringGetTextDatum(plinth_worker_kind_name(entry->kind));
		nulls[column] = (entry->pid == 0);
		values[column++] = Int32GetDatum(entry->pid);
		values[column++] = CStringGetTextDatum(state_name(entry->state));
		nulls[column] = (entry->started_at == 0);
		values[column++] = TimestampTzGetDatum(entry->started_at);
		values[column++] = Int64GetDatum(Max(entry->starts - 1, 0));
		values[column++] = Int64GetDatum(entry->failures);
		nulls[column] = (entry->last_error[0] == '\0');
		values[column++] = CStringGetTextDatum(entry->last_error);
		nulls[column] = (entry->last_error_at == 0);
		values[column++] = TimestampTzGetDatum(entry->last_error_at);
		values[column++] = TimestampTzGetDatum(stats_reset);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	pfree(copy);
	return (Datum) 0;
}

static const char *
state_name(WorkerState state)
{
	switch (state)
	{
		case WORKER_STARTING:
			return "starting";
		case WORKER_RUNNING:
			return "running";
		case WORKER_IDLE:
			return "idle";
		case WORKER_PARKED:
			return "parked";
	}
	return "unknown";
}
