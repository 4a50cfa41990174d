/*-------------------------------------------------------------------------
 *
 * worker_stream_stat.c
 *		How far the change stream is: behind plinth.stat_stream.
 *
 * Locking: stream->lock guards which entry is whose database's; it is taken
 * once by a worker's process, and shared by readers.  An entry's mutex guards
 * the rest of it, which only that database's worker writes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "claims/claims.h"
#include "delivery/delivery.h"
#include "worker/worker_stream.h"

/* Databases with a stream worker at once; more go without statistics. */
#define STREAM_ENTRIES 256
#define STREAM_TRANCHE "plinth stream"
#define STAT_COLUMNS 17

typedef struct StreamEntry
{
	Oid database; /* InvalidOid: free */
	slock_t mutex;
	int pid; /* of the worker; 0: there is none */
	XLogRecPtr confirmed_lsn;
	XLogRecPtr restart_lsn;
	TimestampTz caught_up_at; /* last time that all WAL had been read */
	int64 transactions;
	int64 changes;
	int64 errors; /* changes not decoded, transactions not delivered */
	pg_atomic_uint64 steps; /* written by the worker alone, without the mutex */
	pg_atomic_uint64 read_lsn;
} StreamEntry;

typedef struct StreamShared
{
	LWLock *lock;
	TimestampTz stats_reset;
	StreamEntry entries[STREAM_ENTRIES];
} StreamShared;

/* Link to shared memory; NULL when the library was not preloaded. */
static StreamShared *stream = NULL;

/* This worker's entry, and what has been added to it so far. */
static StreamEntry *mine = NULL;
static DecoderPosition reported;

static void detach(int code, Datum arg);
static void fill_row(const StreamEntry *entry, Datum *values, bool *nulls);

void
plinth_worker_stream_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(StreamShared)));
	RequestNamedLWLockTranche(STREAM_TRANCHE, 1);
}

/*
 * The caller holds AddinShmemInitLock.
 */
void
plinth_worker_stream_shmem_startup(void)
{
	bool found;

	stream = ShmemInitStruct(STREAM_TRANCHE, sizeof(StreamShared), &found);
	if (found)
		return;
	memset(stream, 0, sizeof(StreamShared));
	stream->lock = &(GetNamedLWLockTranche(STREAM_TRANCHE))->lock;
	stream->stats_reset = GetCurrentTimestamp();
	for (int i = 0; i < STREAM_ENTRIES; i++)
	{
		SpinLockInit(&stream->entries[i].mutex);
		pg_atomic_init_u64(&stream->entries[i].steps, 0);
		pg_atomic_init_u64(&stream->entries[i].read_lsn, InvalidXLogRecPtr);
	}
}

void
plinth_worker_stream_stat_attach(Oid database)
{
	StreamEntry *entry = NULL;

	memset(&reported, 0, sizeof(reported));
	LWLockAcquire(stream->lock, LW_EXCLUSIVE);
	for (int i = 0; i < STREAM_ENTRIES; i++)
	{
		StreamEntry *candidate = &stream->entries[i];

		if (candidate->database == database)
		{
			entry = candidate;
			break;
		}
		if (entry == NULL && !OidIsValid(candidate->database))
			entry = candidate;
	}
	/* full: one of a database that has no worker, dropped perhaps */
	for (int i = 0; i < STREAM_ENTRIES && entry == NULL; i++)
		if (stream->entries[i].pid == 0)
			entry = &stream->entries[i];
	if (entry != NULL)
	{
		SpinLockAcquire(&entry->mutex);
		if (entry->database != database)
			entry->transactions = entry->changes = entry->errors = 0;
		entry->database = database;
		entry->pid = MyProcPid;
		entry->confirmed_lsn = entry->restart_lsn = InvalidXLogRecPtr;
		entry->caught_up_at = 0;
		pg_atomic_write_u64(&entry->read_lsn, InvalidXLogRecPtr);
		SpinLockRelease(&entry->mutex);
	}
	LWLockRelease(stream->lock);

	mine = entry;
	before_shmem_exit(detach, (Datum) 0);
}

void
plinth_worker_stream_stat_report(const DecoderPosition *position, bool at_end)
{
	TimestampTz now = GetCurrentTimestamp();

	if (mine == NULL)
		return;

	SpinLockAcquire(&mine->mutex);
	mine->confirmed_lsn = position->confirmed_lsn;
	mine->restart_lsn = position->restart_lsn;
	if (at_end || mine->caught_up_at == 0)
		mine->caught_up_at = now;
	mine->transactions += position->transactions - reported.transactions;
	mine->changes += position->changes - reported.changes;
	mine->errors += position->errors - reported.errors;
	SpinLockRelease(&mine->mutex);

	reported = *position;
}

void
plinth_worker_stream_stat_failed(int64 transactions)
{
	if (mine == NULL)
		return;
	SpinLockAcquire(&mine->mutex);
	mine->errors += transactions;
	SpinLockRelease(&mine->mutex);
}

void
plinth_worker_stream_stat_step(void)
{
	/* nobody else writes it */
	if (mine != NULL)
		pg_atomic_write_u64(&mine->steps, pg_atomic_read_u64(&mine->steps) + 1);
}

void
plinth_worker_stream_stat_read(XLogRecPtr read_lsn)
{
	if (mine != NULL)
		pg_atomic_write_u64(&mine->read_lsn, read_lsn);
}

bool
plinth_worker_stream_progress(Oid database, StreamProgress *progress)
{
	memset(progress, 0, sizeof(StreamProgress));
	if (stream == NULL)
		return false;

	LWLockAcquire(stream->lock, LW_SHARED);
	for (int i = 0; i < STREAM_ENTRIES && progress->pid == 0; i++)
	{
		StreamEntry *entry = &stream->entries[i];

		SpinLockAcquire(&entry->mutex);
		if (entry->database == database)
			progress->pid = entry->pid;
		SpinLockRelease(&entry->mutex);
		progress->steps = pg_atomic_read_u64(&entry->steps);
		progress->read_lsn = pg_atomic_read_u64(&entry->read_lsn);
	}
	LWLockRelease(stream->lock);

	return progress->pid != 0;
}

static void
detach(int code, Datum arg)
{
	if (mine == NULL)
		return;
	SpinLockAcquire(&mine->mutex);
	mine->pid = 0;
	SpinLockRelease(&mine->mutex);
	mine = NULL;
}

/*
 * plinth.stream_stat() -> setof (database oid, slot, confirmed_lsn,
 * lag_bytes, lag_ms, retained_wal, transactions, changes, deliveries,
 * dropped, gaps, errors, subscriptions, ring_used, latency_p50_ms,
 * latency_p95_ms, stats_reset)
 *
 * One row for each database that has had a stream worker since the server
 * started; slot and positions are NULL while it has none.  No row when the
 * library was not preloaded.
 *
 * Errors: 42501 the caller is neither service, monitor nor administrator.
 */
PG_FUNCTION_INFO_V1(plinth_sql_worker_stream_stat);
Datum
plinth_sql_worker_stream_stat(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	plinth_claims_require_monitor("the change stream");
	InitMaterializedSRF(fcinfo, 0);
	if (stream == NULL)
		return (Datum) 0;

	for (int i = 0; i < STREAM_ENTRIES; i++)
	{
		StreamEntry *entry = &stream->entries[i];
		StreamEntry copy;
		Datum values[STAT_COLUMNS] = {0};
		bool nulls[STAT_COLUMNS] = {false};

		LWLockAcquire(stream->lock, LW_SHARED);
		SpinLockAcquire(&entry->mutex);
		copy = *entry;
		SpinLockRelease(&entry->mutex);
		LWLockRelease(stream->lock);

		if (!OidIsValid(copy.database))
			continue;
		fill_row(&copy, values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static void
fill_row(const StreamEntry *entry, Datum *values, bool *nulls)
{
	bool reading = entry->pid != 0 && !XLogRecPtrIsInvalid(entry->confirmed_lsn);
	DeliveryCounters counters;
	int column = 0;

	values[column++] = ObjectIdGetDatum(entry->database);
	if (reading)
	{
		char slot[NAMEDATALEN];
		XLogRecPtr flushed = GetFlushRecPtr(NULL);
		int64 lag_bytes = Max((int64) (flushed - entry->confirmed_lsn), 0);
		double lag_ms = 0;

		/* what is not read yet is younger than the last time it all was */
		if (lag_bytes > 0)
			lag_ms = Max(GetCurrentTimestamp() - entry->caught_up_at, 0) / 1000.0;
		plinth_decoder_slot_name(entry->database, slot);
		values[column++] = CStringGetTextDatum(slot);
		values[column++] = LSNGetDatum(entry->confirmed_lsn);
		values[column++] = Int64GetDatum(lag_bytes);
		values[column++] = Float8GetDatum(lag_ms);
		values[column++] = Int64GetDatum(flushed - entry->restart_lsn);
	}
	else
		for (int i = 0; i < 5; i++)
			nulls[column++] = true;

	plinth_delivery_counters(entry->database, &counters);
	values[column++] = Int64GetDatum(entry->transactions);
	values[column++] = Int64GetDatum(entry->changes);
	values[column++] = Int64GetDatum(counters.deliveries);
	values[column++] = Int64GetDatum(counters.dropped);
	values[column++] = Int64GetDatum(counters.gaps);
	values[column++] = Int64GetDatum(entry->errors);
	values[column++] = Int64GetDatum(counters.subscriptions);
	values[column++] = Int64GetDatum(counters.ring_used);
	nulls[column] = isnan(counters.latency_p50);
	values[column++] = Float8GetDatum(counters.latency_p50);
	nulls[column] = isnan(counters.latency_p95);
	values[column++] = Float8GetDatum(counters.latency_p95);
	values[column++] = TimestampTzGetDatum(stream->stats_reset);
	Assert(column == STAT_COLUMNS);
}
