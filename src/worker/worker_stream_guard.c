/*-------------------------------------------------------------------------
 *
 * worker_stream_guard.c
 *		A stream worker that is stuck gives its slot back (S8.6).
 *
 * A slot keeps the server from recycling WAL, so a worker that hangs would
 * fill the disk in the end.  The upkeep worker of the same database looks,
 * often when much WAL is held: a slot that holds more than
 * plinth.realtime_max_slot_wal, of a worker that has WAL to read and has not
 * come on for ten seconds, is given up by ending the worker.  The temporary
 * slot goes with it, the next worker takes a new one, and every subscriber is
 * told of a gap.
 *
 * A worker that works off a burst comes on, and keeps its slot however much
 * that holds; so does one that waits for nothing but an old transaction,
 * because a new slot would have to wait for it as well.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/worker.h"
#include "worker/worker_internal.h"
#include "worker/worker_stream.h"

/* So long without a step on is stuck. */
#define STUCK_MS 10000

/* Between two looks, while little WAL is held and while much is. */
#define LOOK_MS 10000
#define CLOSE_LOOK_MS 1000

static int max_slot_wal_mb; /* plinth.realtime_max_slot_wal */

/* What was seen of the worker when it last came on. */
static struct
{
	int pid;
	uint64 steps;
	TimestampTz at;
} seen;

typedef struct StuckWorker
{
	int pid;
	uint64 held; /* bytes of WAL */
} StuckWorker;

static XLogRecPtr slot_restart_lsn(void);
static void end_worker(void *arg);

void
plinth_worker_stream_guard_define_settings(void)
{
	DefineCustomIntVariable(
		"plinth.realtime_max_slot_wal",
		"Sets how much WAL the slot of a stuck stream worker may hold.",
		"Beyond it a worker that has not come on for 10 s is ended, and its "
		"subscribers get a gap.",
		&max_slot_wal_mb, 1024, 16, MAX_KILOBYTES / 1024, PGC_SIGHUP,
		GUC_UNIT_MB, NULL, NULL, NULL);
}

long
plinth_worker_stream_guard_look(void)
{
	XLogRecPtr flushed = GetFlushRecPtr(NULL);
	XLogRecPtr restart_lsn = slot_restart_lsn();
	uint64 limit = (uint64) max_slot_wal_mb * 1024 * 1024;
	TimestampTz now = GetCurrentTimestamp();
	StreamProgress progress;
	StuckWorker stuck;

	if (!plinth_worker_stream_progress(MyDatabaseId, &progress) ||
		XLogRecPtrIsInvalid(restart_lsn))
	{
		seen.pid = 0;
		return LOOK_MS;
	}

	if (progress.pid != seen.pid || progress.steps != seen.steps ||
		progress.read_lsn >= flushed)
	{
		seen.pid = progress.pid;
		seen.steps = progress.steps;
		seen.at = now;
	}
	stuck.pid = progress.pid;
	stuck.held = flushed - restart_lsn;
	if (stuck.held > limit && TimestampDifferenceExceeds(seen.at, now, STUCK_MS))
	{
		plinth_worker_transaction("ending a stuck stream worker", end_worker,
								  &stuck);
		seen.pid = 0;
	}

	return stuck.held > limit / 2 ? CLOSE_LOOK_MS : LOOK_MS;
}

/*
 * From where on the slot of this database holds WAL; invalid: there is none.
 */
static XLogRecPtr
slot_restart_lsn(void)
{
	XLogRecPtr restart_lsn = InvalidXLogRecPtr;
	char name[NAMEDATALEN];

	plinth_decoder_slot_name(MyDatabaseId, name);
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		if (!slot->in_use || strcmp(NameStr(slot->data.name), name) != 0)
			continue;
		SpinLockAcquire(&slot->mutex);
		restart_lsn = slot->data.restart_lsn;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);

	return restart_lsn;
}

/*
 * End the stream worker of this database, if it is still that process.
 */
static void
end_worker(void *arg)
{
	const StuckWorker *stuck = arg;
	WorkerShared *workers = plinth_worker_shared;
	char reason[WORKER_ERROR_SIZE];
	WorkerEntry *entry;
	bool ended = false;

	snprintf(reason, sizeof(reason),
			 "stuck for %d s while its slot held " UINT64_FORMAT " MB of WAL",
			 STUCK_MS / 1000, stuck->held / (1024 * 1024));

	LWLockAcquire(workers->lock, LW_EXCLUSIVE);
	entry = plinth_worker_find_locked(MyDatabaseId, WORKER_STREAM);
	if (entry != NULL && entry->pid == stuck->pid)
	{
		/* under the lock, the pid is that of a process of ours */
		entry->outcome = WORKER_FAILED;
		kill(stuck->pid, SIGTERM);
		ended = true;
	}
	LWLockRelease(workers->lock);

	if (!ended)
		return;
	plinth_worker_record_error(entry, reason);
	ereport(LOG, (errmsg("ending the stream worker of database \"%s\": it is %s",
						 get_database_name(MyDatabaseId), reason),
				  errdetail("Another takes a new slot, and subscribers are told of "
							"a gap."),
				  errhint("See \"plinth.realtime_max_slot_wal\".")));
}
