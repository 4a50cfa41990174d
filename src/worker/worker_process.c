/*-------------------------------------------------------------------------
 *
 * worker_process.c
 *		A worker's process from its first to its last moment.
 *
 * SIGTERM is die(): all work of these processes is inside transactions or
 * can be repeated, so an interrupt may end them at any point where it is
 * checked.  Because DROP DATABASE and its like wait for that, the callback
 * that clears the entry is the first to be registered, so the last to run of
 * its kind, and a database that is held is left before it is connected to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "commands/extension.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/worker.h"
#include "module/module.h"
#include "worker/worker_internal.h"

/* Between two looks at the identity while it is another's. */
#define IDENTITY_NAP_MS 10000

static void begin_process(WorkerKind kind, Oid database);
static void end_process(int code, Datum arg);
static void look_for_work(void *arg);
pg_noreturn static void leave(WorkerOutcome outcome);
static void record_current_error(MemoryContext context);

void
plinth_worker_main(WorkerKind kind, Datum main_arg, WorkerLoop loop)
{
	MemoryContext context = CurrentMemoryContext;

	begin_process(kind, DatumGetObjectId(main_arg));

	PG_TRY();
	{
		bool ours = false;

		for (;;)
		{
			plinth_worker_transaction("looking for work", look_for_work, &ours);
			if (ours)
				break;
			plinth_worker_set_state(WORKER_IDLE);
			(void) plinth_worker_wait(IDENTITY_NAP_MS,
									  plinth_wait_event("PlinthWorkerIdle"));
		}
		plinth_worker_set_state(WORKER_RUNNING);
		loop();
	}
	PG_CATCH();
	{
		record_current_error(context);
		LWLockAcquire(plinth_worker_shared->lock, LW_EXCLUSIVE);
		plinth_worker_mine->outcome = WORKER_FAILED;
		LWLockRelease(plinth_worker_shared->lock);
		PG_RE_THROW();
	}
	PG_END_TRY();

	proc_exit(0);
}

/*
 * Look whether the extension is here and leave.
 */
void
plinth_worker_probe_main(Datum main_arg)
{
	bool wanted;

	begin_process(WORKER_PROBE, DatumGetObjectId(main_arg));

	StartTransactionCommand();
	wanted = plinth_worker_enabled &&
			 OidIsValid(get_extension_oid(PLINTH_EXTENSION, true));
	CommitTransactionCommand();

	leave(wanted ? WORKER_WANTED : WORKER_UNWANTED);
}

void
plinth_worker_set_state(WorkerState state)
{
	if (plinth_worker_mine->state == state)
		return;
	LWLockAcquire(plinth_worker_shared->lock, LW_EXCLUSIVE);
	plinth_worker_mine->state = state;
	LWLockRelease(plinth_worker_shared->lock);
}

void
plinth_worker_check(void)
{
	bool ours;

	look_for_work(&ours);
	if (!ours)
		leave(WORKER_UNWANTED);
}

void
plinth_worker_give_up(const char *reason)
{
	ereport(LOG,
			(errmsg("plinth %s worker cannot work: %s",
					plinth_worker_kind_name(plinth_worker_mine->kind), reason)));
	plinth_worker_record_error(plinth_worker_mine, reason);
	leave(WORKER_FAILED);
}

/*
 * The step's error ends its transaction and nothing else; interrupts that end
 * the process are FATAL and do not come here.
 */
bool
plinth_worker_attempt(const char *activity, void (*step)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool done = false;

	PG_TRY();
	{
		plinth_worker_transaction(activity, step, arg);
		done = true;
	}
	PG_CATCH();
	{
		record_current_error(context);
		HOLD_INTERRUPTS();
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
		QueryCancelPending = false;
		RESUME_INTERRUPTS();
		pgstat_report_activity(STATE_IDLE, NULL);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	return done;
}

void
plinth_worker_announce_wait(void)
{
	plinth_worker_mine->waiting = true;
	/* the last look for work comes after everybody can see the mark */
	pg_memory_barrier();
}

/*
 * Take the entry that the launcher has made, and connect.
 */
static void
begin_process(WorkerKind kind, Oid database)
{
	WorkerShared *workers = plinth_worker_shared;
	WorkerEntry *entry;
	bool may_start = false;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	before_shmem_exit(end_process, (Datum) 0);

	LWLockAcquire(workers->lock, LW_EXCLUSIVE);
	entry = plinth_worker_find_locked(database, kind);
	if (entry != NULL && entry->pid == 0 && !plinth_worker_held_locked(database))
	{
		entry->pid = MyProcPid;
		entry->latch = MyLatch;
		entry->state = WORKER_STARTING;
		entry->outcome = WORKER_ENDED;
		entry->waiting = false;
		entry->started_at = GetCurrentTimestamp();
		entry->starts++;
		plinth_worker_mine = entry;
		may_start = true;
	}
	LWLockRelease(workers->lock);
	if (!may_start)
		proc_exit(0);

	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	pgstat_report_appname(MyBgworkerEntry->bgw_type);
}

/*
 * The process ends: its entry is free for the next, and the launcher looks.
 */
static void
end_process(int code, Datum arg)
{
	if (plinth_worker_mine == NULL)
		return;

	LWLockAcquire(plinth_worker_shared->lock, LW_EXCLUSIVE);
	plinth_worker_mine->pid = 0;
	plinth_worker_mine->state = WORKER_STARTING;
	plinth_worker_mine->latch = NULL;
	plinth_worker_mine->waiting = false;
	if (plinth_worker_shared->launcher_latch != NULL)
		SetLatch(plinth_worker_shared->launcher_latch);
	LWLockRelease(plinth_worker_shared->lock);
	plinth_worker_mine = NULL;
}

/*
 * Is there work of ours?  Leaves where neither now nor after an enable()
 * there could be any; the result says whether the identity is ours.
 */
static void
look_for_work(void *arg)
{
	bool *ours = arg;

	if (!plinth_worker_enabled ||
		!OidIsValid(get_extension_oid(PLINTH_EXTENSION, true)))
		leave(WORKER_UNWANTED);
	*ours = plinth_module_identity_matches();
}

/*
 * End the process without an error; an open transaction is aborted by that.
 */
static void
leave(WorkerOutcome outcome)
{
	LWLockAcquire(plinth_worker_shared->lock, LW_EXCLUSIVE);
	plinth_worker_mine->outcome = outcome;
	LWLockRelease(plinth_worker_shared->lock);
	proc_exit(0);
}

/*
 * Count the error that is being handled.
 */
static void
record_current_error(MemoryContext context)
{
	MemoryContext handler = MemoryContextSwitchTo(context);
	ErrorData *error = CopyErrorData();

	plinth_worker_record_error(plinth_worker_mine, error->message);
	FreeErrorData(error);
	MemoryContextSwitchTo(handler);
}
