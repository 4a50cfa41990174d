/*-------------------------------------------------------------------------
 *
 * worker_table.c
 *		The table of workers in shared memory, and its settings.
 *
 * An entry is made by the launcher when it first starts a worker, and stays
 * as long as the worker is wanted, whether it has a process or not: it is
 * also where plinth.stat_workers looks.  The locking rule is in
 * worker_internal.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "worker/worker_internal.h"
#include "worker/worker_stream.h"

#define WORKER_TRANCHE "plinth_worker"

bool plinth_worker_enabled = true;

WorkerShared *plinth_worker_shared = NULL;
WorkerEntry *plinth_worker_mine = NULL;

void
plinth_worker_define_settings(void)
{
	DefineCustomBoolVariable(
		"plinth.enabled", "Enables the workers of a database.",
		"Set off for a database by plinth.disable().", &plinth_worker_enabled,
		true, PGC_SUSET, 0, NULL, NULL, NULL);
	plinth_worker_stream_guard_define_settings();
}

void
plinth_worker_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(WorkerShared)));
	RequestNamedLWLockTranche(WORKER_TRANCHE, 1);
}

void
plinth_worker_shmem_startup(void)
{
	bool found;

	Assert(LWLockHeldByMeInMode(AddinShmemInitLock, LW_EXCLUSIVE));

	plinth_worker_shared =
		ShmemInitStruct("plinth worker", sizeof(WorkerShared), &found);
	if (!found)
	{
		memset(plinth_worker_shared, 0, sizeof(WorkerShared));
		plinth_worker_shared->lock =
			&(GetNamedLWLockTranche(WORKER_TRANCHE))->lock;
		plinth_worker_shared->generation = 1;
		plinth_worker_shared->stats_reset = GetCurrentTimestamp();
	}
}

WorkerEntry *
plinth_worker_find_locked(Oid database, WorkerKind kind)
{
	for (int i = 0; i < WORKER_ENTRIES; i++)
	{
		WorkerEntry *entry = &plinth_worker_shared->entries[i];

		if (entry->database == database && entry->kind == kind)
			return entry;
	}
	return NULL;
}

/*
 * The entry of a worker, made when there is none; NULL when the table is
 * full.
 */
WorkerEntry *
plinth_worker_make_locked(Oid database, WorkerKind kind)
{
	WorkerEntry *entry = plinth_worker_find_locked(database, kind);

	for (int i = 0; entry == NULL && i < WORKER_ENTRIES; i++)
	{
		if (OidIsValid(plinth_worker_shared->entries[i].database))
			continue;
		entry = &plinth_worker_shared->entries[i];
		memset(entry, 0, sizeof(WorkerEntry));
		entry->database = database;
		entry->kind = kind;
		plinth_worker_shared->generation++;
	}
	return entry;
}

/*
 * The worker is not wanted any more, and has no process.
 */
void
plinth_worker_free_locked(WorkerEntry *entry)
{
	entry->database = InvalidOid;
	plinth_worker_shared->generation++;
}

/*
 * Does a command want this database for itself?
 */
bool
plinth_worker_held_locked(Oid database)
{
	for (int i = 0; i < WORKER_HOLDS; i++)
		if (plinth_worker_shared->holds[i].database == database)
			return true;
	return false;
}

/*
 * Ask the launcher to look at a database again, or with InvalidOid for
 * databases that have come or gone.
 */
void
plinth_worker_ask_launcher(Oid database)
{
	WorkerShared *workers = plinth_worker_shared;

	if (workers == NULL)
		return;

	LWLockAcquire(workers->lock, LW_EXCLUSIVE);
	if (!OidIsValid(database))
		workers->rescan = true;
	else if (workers->nrequests < WORKER_REQUESTS)
		workers->requests[workers->nrequests++] = database;
	else
		workers->look_at_all = true;
	if (workers->launcher_latch != NULL)
		SetLatch(workers->launcher_latch);
	LWLockRelease(workers->lock);
}

/*
 * Count a failure and keep its text.
 */
void
plinth_worker_record_error(WorkerEntry *entry, const char *text)
{
	TimestampTz now = GetCurrentTimestamp();

	LWLockAcquire(plinth_worker_shared->lock, LW_EXCLUSIVE);
	entry->failures++;
	entry->last_error_at = now;
	strlcpy(entry->last_error, text, WORKER_ERROR_SIZE);
	LWLockRelease(plinth_worker_shared->lock);
}

void
plinth_worker_wake(WorkerKind kind, Oid database)
{
	WorkerEntry *entry;

	if (plinth_worker_shared == NULL)
		return;

	LWLockAcquire(plinth_worker_shared->lock, LW_SHARED);
	entry = plinth_worker_find_locked(database, kind);
	if (entry != NULL && entry->pid != 0)
		SetLatch(entry->latch);
	LWLockRelease(plinth_worker_shared->lock);
}

const char *
plinth_worker_kind_name(WorkerKind kind)
{
	switch (kind)
	{
		case WORKER_PROBE:
			return "probe";
		case WORKER_STREAM:
			return "stream";
		case WORKER_UPKEEP:
			return "upkeep";
	}
	return "unknown";
}
