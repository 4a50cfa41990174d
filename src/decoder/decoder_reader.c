/*-------------------------------------------------------------------------
 *
 * decoder_reader.c
 *		The slot and the decoding context, kept for a process's life.
 *
 * The slot is temporary: when the process or the server goes, nothing is
 * left that holds WAL.  Its positions are therefore only as good as the
 * process; whoever follows changes is told of a gap when it ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_internal.h"

#include "access/xlog.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "replication/decode.h"
#include "replication/slot.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/standby.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/text_form.h"

/* Longest time that next() goes on without a transaction to return. */
#define READ_MS 50

/* Least time between two running-transactions records of ours. */
#define SNAPSHOT_MS 1000

/* Setting of newer minor releases: plugins that may be used. */
#define PLUGIN_SETTING "output_plugin_libraries"

/*
 * What a database or role may have set for its clients and must not disturb
 * a process that waits for old transactions and looks at new ones.
 */
static const struct
{
	const char *name;
	const char *value;
} session_settings[] = {
	{"lock_timeout", "0"},
	{"transaction_timeout", "0"}, /* from 17 on */
	{"default_transaction_isolation", "read committed"},
	{"default_transaction_deferrable", "off"},
};

DecoderReader *plinth_decoder_reader = NULL;

static int read_page(XLogReaderState *state, XLogRecPtr page, int length,
					 XLogRecPtr record, char *buffer);
static void set_session(void);
static void create_slot(void);
static void count_in_horizons(void);
static void log_snapshot(DecoderReader *reader);

const char *
plinth_decoder_missing(void)
{
	bool slot_free = false;

	if (RecoveryInProgress())
		return "the server is a standby";
	if (wal_level < WAL_LEVEL_LOGICAL)
		return "\"wal_level\" is not \"logical\"";

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !slot_free; i++)
		slot_free = !ReplicationSlotCtl->replication_slots[i].in_use;
	LWLockRelease(ReplicationSlotControlLock);
	if (!slot_free)
		return "all replication slots are in use";

	return NULL;
}

void
plinth_decoder_slot_name(Oid database, char *name)
{
	snprintf(name, NAMEDATALEN, "plinth_stream_%u", database);
}

DecoderReader *
plinth_decoder_open(DecoderWants wants, DecoderReads reads, void *arg)
{
	XLogReaderRoutine routine = {.page_read = read_page,
								 .segment_open = wal_segment_open,
								 .segment_close = wal_segment_close};
	LogicalDecodingContext *starting;
	MemoryContext context;
	MemoryContext old_context;
	DecoderReader *reader;

	Assert(plinth_decoder_reader == NULL && !IsTransactionState());

	context = AllocSetContextCreate(TopMemoryContext, "plinth decoder",
									ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(context);
	reader = palloc0(sizeof(DecoderReader));
	reader->context = context;
	reader->scratch = AllocSetContextCreate(context, "plinth decoded change",
											ALLOCSET_DEFAULT_SIZES);
	reader->wants = wants;
	reader->reads = reads;
	reader->wants_arg = arg;
	reader->opening = true;
	dlist_init(&reader->finished);
	dlist_init(&reader->kept);
	reader->scope.publications = list_make1(PLINTH_PUBLICATION);
	plinth_decoder_relcache_init(context, &reader->scope);
	plinth_decoder_reader = reader;

	set_session();
	CheckLogicalDecodingRequirements();
	create_slot();
	starting =
		CreateInitDecodingContext(PLINTH_LIBRARY, NIL, false, InvalidXLogRecPtr,
								  &routine, NULL, NULL, NULL);
	DecodingContextFindStartpoint(starting);
	FreeDecodingContext(starting);

	reader->decoding = CreateDecodingContext(InvalidXLogRecPtr, NIL, false,
											 &routine, NULL, NULL, NULL);
	XLogBeginRead(reader->decoding->reader, MyReplicationSlot->data.restart_lsn);
	count_in_horizons();
	reader->confirmed_lsn = MyReplicationSlot->data.confirmed_flush;
	reader->kept_from = reader->confirmed_lsn;
	reader->opening = false;

	MemoryContextSwitchTo(old_context);
	return reader;
}

const WireTransaction *
plinth_decoder_next(DecoderReader *reader)
{
	XLogReaderState *wal = reader->decoding->reader;
	MemoryContext old_context;
	DecoderTransaction *ready;
	TimestampTz until;

	Assert(!IsTransactionState());

	if (!reader->turn)
	{
		plinth_decoder_forget_catalogs(wal->EndRecPtr);
		reader->turn = true;
	}

	until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), READ_MS);
	old_context = CurrentMemoryContext;
	reader->at_end = false;
	for (int records = 1; reader->ready == NULL; records++)
	{
		char *problem = NULL;
		XLogRecord *record;

		MemoryContextSwitchTo(reader->decoding->context);
		record = XLogReadRecord(wal, &problem);
		if (problem != NULL)
			ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
							errmsg("could not read WAL at %X/%X: %s",
								   LSN_FORMAT_ARGS(wal->EndRecPtr), problem)));
		if (record == NULL)
		{
			reader->at_end = true;
			break;
		}
		LogicalDecodingProcessRecord(reader->decoding, wal);

		CHECK_FOR_INTERRUPTS();
		if (records % 256 == 0 && GetCurrentTimestamp() >= until)
			break;
	}
	MemoryContextSwitchTo(old_context);

	ready = reader->ready;
	if (ready == NULL)
		return NULL;
	reader->ready = NULL;
	dlist_push_tail(&reader->finished, &ready->node);
	ready->memory = MemoryContextMemAllocated(ready->context, false);
	reader->finished_memory += ready->memory;
	return &ready->wire;
}

bool
plinth_decoder_at_end(const DecoderReader *reader)
{
	return reader->at_end;
}

bool
plinth_decoder_has_more(const DecoderReader *reader)
{
	return GetFlushRecPtr(NULL) > reader->flushed_lsn;
}

XLogRecPtr
plinth_decoder_read_up_to(const DecoderReader *reader)
{
	return reader->decoding->reader->EndRecPtr;
}

Size
plinth_decoder_memory(const DecoderReader *reader)
{
	return reader->finished_memory;
}

void
plinth_decoder_pause(DecoderReader *reader)
{
	if (!reader->turn)
		return;
	reader->turn = false;
	plinth_decoder_forget_catalogs(reader->decoding->reader->EndRecPtr);
}

void
plinth_decoder_confirm(DecoderReader *reader)
{
	XLogRecPtr position = reader->decoding->reader->EndRecPtr;

	plinth_decoder_pause(reader);
	plinth_decoder_keep_finished(reader);

	if (position > reader->confirmed_lsn)
	{
		LogicalConfirmReceivedLocation(position);
		reader->confirmed_lsn = position;
	}
	log_snapshot(reader);
}

void
plinth_decoder_position(const DecoderReader *reader, DecoderPosition *position)
{
	position->confirmed_lsn = reader->confirmed_lsn;
	position->restart_lsn = MyReplicationSlot->data.restart_lsn;
	position->transactions = reader->transactions;
	position->changes = reader->changes;
	position->errors = reader->errors;
	position->overflows = reader->overflows;
}

/*
 * Read WAL that has been flushed.  While the reader is being opened there
 * must be more to come, so it is waited for; later the end is an answer.
 */
static int
read_page(XLogReaderState *state, XLogRecPtr page, int length,
		  XLogRecPtr record, char *buffer)
{
	TimeLineID timeline;
	XLogRecPtr flushed = GetFlushRecPtr(&timeline);
	WALReadError error;
	int count;

	while (page + length > flushed)
	{
		if (!plinth_decoder_reader->opening)
		{
			plinth_decoder_reader->flushed_lsn = flushed;
			return -1;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 10, plinth_wait_event("PlinthDecoderStart"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		flushed = GetFlushRecPtr(&timeline);
	}

	XLogReadDetermineTimeline(state, page, length, timeline);
	count = Min((XLogRecPtr) XLOG_BLCKSZ, flushed - page);
	if (!WALRead(state, buffer, page, count, state->currTLI, &error))
		WALReadRaiseError(&error);
	return count;
}

/*
 * Settings of this session: values are written in one form, whatever the
 * server's settings, limits meant for clients are off, and our plugin is
 * allowed where that is asked.
 */
static void
set_session(void)
{
	plinth_text_form_session();
	for (size_t i = 0; i < lengthof(session_settings); i++)
		if (GetConfigOption(session_settings[i].name, true, false) != NULL)
			SetConfigOption(session_settings[i].name, session_settings[i].value,
							PGC_SUSET, PGC_S_OVERRIDE);

	/* checked when a slot is made and when it is read */
	if (GetConfigOption(PLUGIN_SETTING, true, false) != NULL)
		SetConfigOption(PLUGIN_SETTING, PLINTH_LIBRARY, PGC_SUSET, PGC_S_SESSION);
}

static void
create_slot(void)
{
	char name[NAMEDATALEN];

	plinth_decoder_slot_name(MyDatabaseId, name);
	plinth_create_temporary_slot(name);
}

/*
 * Making a decoding context outside a transaction takes this process out of
 * the computation of what VACUUM must keep, because a walsender's snapshots
 * are protected by its slot.  Ours are not: between its turns this process
 * reads tables under ordinary snapshots.
 */
static void
count_in_horizons(void)
{
	LWLockAcquire(ProcArrayLock, LW_EXCLUSIVE);
	MyProc->statusFlags &= ~PROC_IN_LOGICAL_DECODING;
	ProcGlobal->statusFlags[MyProc->pgxactoff] = MyProc->statusFlags;
	LWLockRelease(ProcArrayLock);
}

/*
 * The slot's restart position moves only when a running-transactions record
 * is decoded, and the server logs one every 15 s.  Log one ourselves about
 * once a second while something of importance is written; two workers that
 * only saw each other's records would go on for ever.
 */
static void
log_snapshot(DecoderReader *reader)
{
	TimestampTz now = GetCurrentTimestamp();

	if (GetLastImportantRecPtr() <= reader->snapshot_lsn ||
		!TimestampDifferenceExceeds(reader->snapshot_at, now, SNAPSHOT_MS))
		return;
	reader->snapshot_lsn = LogStandbySnapshot();
	reader->snapshot_at = now;
}
