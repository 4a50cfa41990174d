/*-------------------------------------------------------------------------
 *
 * worker_launcher.c
 *		Finds the databases that have the extension, and keeps their workers.
 *
 * The launcher is connected to no database, so all that it can read of them
 * is pg_database: whether the extension is in one is found out by a probe, a
 * short process that connects, looks and leaves.  A database is probed when
 * it is new, when a backend asks for it (CREATE and DROP EXTENSION,
 * plinth.enable(), a changed setting), when a worker has left it, and at a
 * reload of the configuration.  Probes run one at a time.
 *
 * A worker that fails is started again after a second, then two, and so on to
 * a minute; after PARK_AFTER failures in a row it is parked and tried again
 * every ten minutes, or when the database is asked for.
 *
 * What is known of a database is the launcher's own; if it should end, the
 * next one finds it out again and leaves running workers alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/worker.h"
#include "worker/worker_internal.h"

#define RESCAN_MS 60000		/* look for new databases without being told */
#define NO_PROCESS_MS 10000 /* between tries when no process is to be had */
#define BACKOFF_FIRST_MS 1000
#define BACKOFF_LAST_MS 60000
#define PARK_AFTER 10
#define PARKED_MS 600000
#define STEADY_MS 60000 /* a worker that ran so long has not failed at once */

/* What the launcher knows of a worker's process. */
typedef struct LauncherWorker
{
	BackgroundWorkerHandle *handle; /* NULL: not started by this launcher */
	TimestampTz next_start;			/* not before */
	int failures;					/* in a row */
} LauncherWorker;

/* What it knows of a database. */
typedef struct LauncherDatabase
{
	Oid database; /* hash key - MUST BE FIRST */
	bool seen;	  /* by this scan */
	bool probe;	  /* to be probed */
	bool wanted;  /* the last probe found the extension */
	LauncherWorker workers[WORKER_UPKEEP + 1];
} LauncherDatabase;

static HTAB *databases = NULL;
static TimestampTz next_rescan = 0;
static Oid probed = InvalidOid; /* the database whose probe runs */
static TimestampTz last_reload = 0;
static bool complained = false; /* that no process is to be had */

static void end_launcher(int code, Datum arg);
static void take_requests(void);
static void scan_databases(void);
static void forget_database(LauncherDatabase *known);
static void tend_probe(LauncherDatabase *known, TimestampTz *due);
static void tend_worker(LauncherDatabase *known, WorkerKind kind,
						TimestampTz *due);
static bool is_settled(LauncherDatabase *known);
static void end_worker(Oid database, WorkerKind kind);
static bool has_ended(LauncherDatabase *known, WorkerKind kind,
					  WorkerOutcome *outcome);
static void plan_restart(LauncherDatabase *known, WorkerKind kind,
						 WorkerOutcome outcome);
static bool start_worker(LauncherDatabase *known, WorkerKind kind,
						 TimestampTz *due);
static void park(Oid database, WorkerKind kind, const char *reason);
static void free_entry(Oid database, WorkerKind kind);
static void sooner(TimestampTz *due, TimestampTz when);

/*
 * Ask for the launcher, at the start of the server.
 */
void
plinth_worker_register_launcher(void)
{
	BackgroundWorker worker = {0};

	worker.bgw_flags =
		BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	/* a standby is not written to: workers start with its promotion */
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 2;
	strlcpy(worker.bgw_library_name, PLINTH_LIBRARY, BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "plinth_worker_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "plinth launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "plinth launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

void
plinth_worker_launcher_main(Datum main_arg)
{
	WorkerShared *workers = plinth_worker_shared;
	HASHCTL control = {0};

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	before_shmem_exit(end_launcher, (Datum) 0);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(LauncherDatabase);
	databases =
		hash_create("plinth databases", 64, &control, HASH_ELEM | HASH_BLOBS);

	LWLockAcquire(workers->lock, LW_EXCLUSIVE);
	workers->launcher_latch = MyLatch;
	LWLockRelease(workers->lock);
	last_reload = PgReloadTime;

	for (;;)
	{
		TimestampTz due;
		HASH_SEQ_STATUS scan;
		LauncherDatabase *known;
		long nap;

		take_requests();
		if (GetCurrentTimestamp() >= next_rescan)
			scan_databases();

		due = next_rescan;
		hash_seq_init(&scan, databases);
		while ((known = hash_seq_search(&scan)) != NULL)
		{
			tend_probe(known, &due);
			tend_worker(known, WORKER_STREAM, &due);
			tend_worker(known, WORKER_UPKEEP, &due);
		}

		nap = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), due);
		if (ShutdownRequestPending)
			proc_exit(1);
		(void) plinth_worker_wait(nap, plinth_wait_event("PlinthLauncherMain"));
		if (ShutdownRequestPending)
			proc_exit(1);
	}
}

static void
end_launcher(int code, Datum arg)
{
	LWLockAcquire(plinth_worker_shared->lock, LW_EXCLUSIVE);
	plinth_worker_shared->launcher_latch = NULL;
	LWLockRelease(plinth_worker_shared->lock);
}

/*
 * Mark the databases that backends have asked for.
 */
static void
take_requests(void)
{
	WorkerShared *workers = plinth_worker_shared;
	Oid requests[WORKER_REQUESTS];
	int nrequests;
	bool look_at_all;
	bool rescan;

	LWLockAcquire(workers->lock, LW_EXCLUSIVE);
	nrequests = workers->nrequests;
	memcpy(requests, workers->requests, sizeof(Oid) * nrequests);
	look_at_all = workers->look_at_all;
	rescan = workers->rescan;
	workers->nrequests = 0;
	workers->look_at_all = workers->rescan = false;
	LWLockRelease(workers->lock);

	for (int i = 0; i < nrequests; i++)
	{
		LauncherDatabase *known =
			hash_search(databases, &requests[i], HASH_FIND, NULL);

		if (known != NULL)
			known->probe = true;
		else
			next_rescan = 0;
	}
	if (PgReloadTime != last_reload)
	{
		last_reload = PgReloadTime;
		look_at_all = true;
	}
	if (look_at_all)
	{
		HASH_SEQ_STATUS scan;
		LauncherDatabase *known;

		hash_seq_init(&scan, databases);
		while ((known = hash_seq_search(&scan)) != NULL)
			known->probe = true;
	}
	if (look_at_all || rescan)
		next_rescan = 0;
}

/*
 * Enter the databases that are new and forget those that are gone.
 */
static void
scan_databases(void)
{
	Relation relation;
	TableScanDesc scan;
	HeapTuple tuple;
	HASH_SEQ_STATUS sequence;
	LauncherDatabase *known;

	hash_seq_init(&sequence, databases);
	while ((known = hash_seq_search(&sequence)) != NULL)
		known->seen = false;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		bool found;

		/* below zero: a DROP DATABASE that was broken off */
		if (!form->datallowconn || form->datconnlimit < -1)
			continue;
		known = hash_search(databases, &form->oid, HASH_ENTER, &found);
		if (!found)
		{
			memset(known, 0, sizeof(LauncherDatabase));
			known->database = form->oid;
			known->probe = true;
		}
		known->seen = true;
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();

	hash_seq_init(&sequence, databases);
	while ((known = hash_seq_search(&sequence)) != NULL)
		if (!known->seen)
			forget_database(known);

	next_rescan = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), RESCAN_MS);
}

/*
 * A database is gone or lets nobody connect.  While a process of ours is
 * still there, it is kept.
 */
static void
forget_database(LauncherDatabase *known)
{
	WorkerOutcome outcome;

	for (WorkerKind kind = WORKER_PROBE; kind <= WORKER_UPKEEP; kind++)
		if (!has_ended(known, kind, &outcome))
			return;
	for (WorkerKind kind = WORKER_PROBE; kind <= WORKER_UPKEEP; kind++)
		free_entry(known->database, kind);
	if (probed == known->database)
		probed = InvalidOid;
	(void) hash_search(databases, &known->database, HASH_REMOVE, NULL);
}

/*
 * Start the probe of a database, or take its answer.
 */
static void
tend_probe(LauncherDatabase *known, TimestampTz *due)
{
	LauncherWorker *worker = &known->workers[WORKER_PROBE];
	WorkerOutcome outcome;

	if (probed == known->database)
	{
		if (!has_ended(known, WORKER_PROBE, &outcome))
			return;
		probed = InvalidOid;
		free_entry(known->database, WORKER_PROBE);
		/* others may have waited for their turn */
		sooner(due, GetCurrentTimestamp());

		if (outcome == WORKER_WANTED || outcome == WORKER_UNWANTED)
		{
			known->wanted = (outcome == WORKER_WANTED);
			worker->failures = 0;
			worker->next_start = 0;
			for (WorkerKind kind = WORKER_STREAM; kind <= WORKER_UPKEEP; kind++)
			{
				known->workers[kind].failures = 0;
				known->workers[kind].next_start = 0;
			}
		}
		else
		{
			/* could not connect, or was told to leave */
			known->probe = true;
			plan_restart(known, WORKER_PROBE, outcome);
		}
	}

	if (!known->probe)
		return;
	if (worker->next_start > GetCurrentTimestamp())
	{
		sooner(due, worker->next_start);
		return;
	}
	if (OidIsValid(probed))
		return;
	if (start_worker(known, WORKER_PROBE, due))
	{
		known->probe = false;
		probed = known->database;
	}
}

/*
 * See to it that a worker runs where it is wanted, and only there.
 */
static void
tend_worker(LauncherDatabase *known, WorkerKind kind, TimestampTz *due)
{
	LauncherWorker *worker = &known->workers[kind];
	WorkerOutcome outcome;
	bool started = worker->handle != NULL;

	if (!has_ended(known, kind, &outcome))
	{
		if (!known->wanted && is_settled(known))
			end_worker(known->database, kind);
		return;
	}
	if (started)
	{
		plan_restart(known, kind, outcome);
		if (outcome == WORKER_UNWANTED || outcome == WORKER_SENT_AWAY)
		{
			/* whether it is to come back is for a probe to say */
			known->wanted = false;
			known->probe = true;
			sooner(due, GetCurrentTimestamp());
		}
	}
	if (!known->wanted)
	{
		if (is_settled(known))
			free_entry(known->database, kind);
		return;
	}

	if (worker->next_start > GetCurrentTimestamp())
	{
		sooner(due, worker->next_start);
		return;
	}
	if (kind == WORKER_STREAM && wal_level < WAL_LEVEL_LOGICAL)
	{
		/* changes with a restart of the server alone */
		park(known->database, kind, "\"wal_level\" is not \"logical\"");
		worker->next_start = DT_NOEND;
		return;
	}
	(void) start_worker(known, kind, due);
}

/*
 * Is the last answer of a probe still what is known of the database?
 */
static bool
is_settled(LauncherDatabase *known)
{
	return !known->probe && probed != known->database;
}

/*
 * Tell a worker to end, in a database that has no work for it any more.
 */
static void
end_worker(Oid database, WorkerKind kind)
{
	WorkerEntry *entry;

	LWLockAcquire(plinth_worker_shared->lock, LW_SHARED);
	entry = plinth_worker_find_locked(database, kind);
	if (entry != NULL && entry->pid != 0)
		kill(entry->pid, SIGTERM);
	LWLockRelease(plinth_worker_shared->lock);
}

/*
 * Has a worker no process, and how did the last one end?  A process that an
 * earlier launcher has started is known by its entry alone.
 */
static bool
has_ended(LauncherDatabase *known, WorkerKind kind, WorkerOutcome *outcome)
{
	WorkerShared *workers = plinth_worker_shared;
	LauncherWorker *worker = &known->workers[kind];
	WorkerEntry *entry;
	int entry_pid = 0;
	pid_t pid;

	*outcome = WORKER_ENDED;
	if (worker->handle != NULL &&
		GetBackgroundWorkerPid(worker->handle, &pid) != BGWH_STOPPED)
		return false;

	LWLockAcquire(workers->lock, LW_SHARED);
	entry = plinth_worker_find_locked(known->database, kind);
	if (entry != NULL)
	{
		entry_pid = entry->pid;
		*outcome = entry->outcome;
	}
	LWLockRelease(workers->lock);
	if (entry_pid != 0)
		return false;

	if (worker->handle != NULL)
	{
		pfree(worker->handle);
		worker->handle = NULL;
	}
	return true;
}

/*
 * A process has ended: when may the next one start?
 */
static void
plan_restart(LauncherDatabase *known, WorkerKind kind, WorkerOutcome outcome)
{
	WorkerShared *workers = plinth_worker_shared;
	LauncherWorker *worker = &known->workers[kind];
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz started_at = now;
	WorkerEntry *entry;
	long wait_ms = BACKOFF_FIRST_MS;

	LWLockAcquire(workers->lock, LW_SHARED);
	entry = plinth_worker_find_locked(known->database, kind);
	if (entry != NULL && entry->started_at != 0)
		started_at = entry->started_at;
	LWLockRelease(workers->lock);

	if (outcome == WORKER_UNWANTED || outcome == WORKER_SENT_AWAY)
	{
		worker->next_start = now;
		return;
	}
	if (TimestampDifferenceExceeds(started_at, now, STEADY_MS))
		worker->failures = 0;
	worker->failures++;

	for (int i = 1; i < worker->failures && wait_ms < BACKOFF_LAST_MS; i++)
		wait_ms *= 2;
	wait_ms = Min(wait_ms, BACKOFF_LAST_MS);
	if (worker->failures >= PARK_AFTER)
	{
		if (worker->failures == PARK_AFTER)
			ereport(LOG, (errmsg("plinth %s worker of database with OID %u is "
								 "parked after %d failures in a row",
								 plinth_worker_kind_name(kind), known->database,
								 worker->failures),
						  errhint("plinth.stat_workers shows the last error; "
								  "reload the configuration to try again.")));
		wait_ms = PARKED_MS;
		if (kind != WORKER_PROBE)
			park(known->database, kind, NULL);
	}
	worker->next_start = TimestampTzPlusMilliseconds(now, wait_ms);
}

/*
 * Start a process.  When none can be had, it is tried again after a while.
 */
static bool
start_worker(LauncherDatabase *known, WorkerKind kind, TimestampTz *due)
{
	WorkerShared *workers = plinth_worker_shared;
	LauncherWorker *state = &known->workers[kind];
	BackgroundWorker worker = {0};
	WorkerEntry *entry;
	MemoryContext caller;
	bool held;
	bool started;

	LWLockAcquire(workers->lock, LW_EXCLUSIVE);
	held = plinth_worker_held_locked(known->database);
	entry = held ? NULL : plinth_worker_make_locked(known->database, kind);
	if (entry != NULL)
	{
		entry->state = WORKER_STARTING;
		entry->outcome = WORKER_ENDED;
	}
	LWLockRelease(workers->lock);

	/* the release of a hold sets our latch */
	if (held)
		return false;
	if (entry == NULL)
	{
		state->next_start =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NO_PROCESS_MS);
		sooner(due, state->next_start);
		return false;
	}

	worker.bgw_flags =
		BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, PLINTH_LIBRARY, BGW_MAXLEN);
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "plinth_worker_%s_main",
			 plinth_worker_kind_name(kind));
	snprintf(worker.bgw_name, BGW_MAXLEN, "plinth %s for database %u",
			 plinth_worker_kind_name(kind), known->database);
	snprintf(worker.bgw_type, BGW_MAXLEN, "plinth %s",
			 plinth_worker_kind_name(kind));
	worker.bgw_main_arg = ObjectIdGetDatum(known->database);
	worker.bgw_notify_pid = MyProcPid;

	caller = MemoryContextSwitchTo(TopMemoryContext);
	started = RegisterDynamicBackgroundWorker(&worker, &state->handle);
	MemoryContextSwitchTo(caller);
	if (started)
	{
		complained = false;
		return true;
	}

	state->handle = NULL;
	state->next_start =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NO_PROCESS_MS);
	sooner(due, state->next_start);
	if (!complained)
		ereport(LOG, (errmsg("plinth could not start a worker: no background "
							 "worker process is free"),
					  errhint("Increase \"max_worker_processes\".")));
	complained = true;
	if (kind == WORKER_PROBE)
		free_entry(known->database, kind);
	else
		park(known->database, kind,
			 "no background worker process is free: increase "
			 "\"max_worker_processes\"");
	return false;
}

/*
 * Show a worker as parked, with the reason if it is not its last error.
 */
static void
park(Oid database, WorkerKind kind, const char *reason)
{
	WorkerShared *workers = plinth_worker_shared;
	TimestampTz now = GetCurrentTimestamp();
	WorkerEntry *entry;

	LWLockAcquire(workers->lock, LW_EXCLUSIVE);
	entry = plinth_worker_make_locked(database, kind);
	if (entry != NULL)
	{
		entry->state = WORKER_PARKED;
		if (reason != NULL)
		{
			strlcpy(entry->last_error, reason, WORKER_ERROR_SIZE);
			entry->last_error_at = now;
		}
	}
	LWLockRelease(workers->lock);
}

static void
free_entry(Oid database, WorkerKind kind)
{
	WorkerEntry *entry;

	LWLockAcquire(plinth_worker_shared->lock, LW_EXCLUSIVE);
	entry = plinth_worker_find_locked(database, kind);
	if (entry != NULL && entry->pid == 0)
		plinth_worker_free_locked(entry);
	LWLockRelease(plinth_worker_shared->lock);
}

static void
sooner(TimestampTz *due, TimestampTz when)
{
	if (when < *due)
		*due = when;
}
