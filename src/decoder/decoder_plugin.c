/*-------------------------------------------------------------------------
 *
 * decoder_plugin.c
 *		The output plugin's callbacks: changes are kept for the reader.
 *
 * Everything is done in process: nothing is written to a client.  A slot that
 * somebody makes with this plugin and reads in another way is refused.
 *
 * A change is turned into text in a subtransaction.  When that fails, the
 * transaction it belongs to is marked, its readers get a gap, and decoding
 * goes on behind it (S8.5).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_internal.h"

#include "access/xact.h"
#include "replication/output_plugin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "base/names.h"

/* A change on its way to its transaction. */
typedef struct PendingChange
{
	WireAction action;
	int wanted; /* WIRE_TEXT_ROWS, WIRE_TUPLES */
	HeapTuple old_tuple;
	HeapTuple new_tuple;
} PendingChange;

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *callbacks);

static void start_plugin(LogicalDecodingContext *decoding,
						 OutputPluginOptions *options, bool is_init);
static void begin_transaction(LogicalDecodingContext *decoding,
							  ReorderBufferTXN *txn);
static void take_change(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
						Relation relation, ReorderBufferChange *change);
static void take_truncate(LogicalDecodingContext *decoding,
						  ReorderBufferTXN *txn, int nrelations,
						  Relation relations[], ReorderBufferChange *change);
static void take_message(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
						 XLogRecPtr message_lsn, bool transactional,
						 const char *prefix, Size length, const char *bytes);
static void commit_transaction(LogicalDecodingContext *decoding,
							   ReorderBufferTXN *txn, XLogRecPtr commit_lsn);
static void keep_change(DecoderReader *reader, ReorderBufferTXN *txn,
						Relation relation, const PendingChange *pending);
static void append_change(DecoderReader *reader, WireChange *change);
static bool convert_change(DecoderReader *reader, Relation relation,
						   const PendingChange *pending, WireChange *change);
static void fill_change(const DecoderRelation *known, Relation relation,
						const PendingChange *pending, WireChange *change,
						MemoryContext context);
static DecoderTransaction *open_transaction(DecoderReader *reader);
static void overflow_transaction(DecoderReader *reader);

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	callbacks->startup_cb = start_plugin;
	callbacks->begin_cb = begin_transaction;
	callbacks->change_cb = take_change;
	callbacks->truncate_cb = take_truncate;
	callbacks->message_cb = take_message;
	callbacks->commit_cb = commit_transaction;
}

static void
start_plugin(LogicalDecodingContext *decoding, OutputPluginOptions *options,
			 bool is_init)
{
	if (plinth_decoder_reader == NULL || !plinth_decoder_reader->opening)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("output plugin \"%s\" cannot be used by other slots",
						PLINTH_LIBRARY),
				 errdetail("It serves the stream workers of the extension."),
				 errhint("Use realtime.subscribe() to follow changes, or a "
						 "slot with the plugin \"pgoutput\".")));

	options->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	options->receive_rewrites = false;
	decoding->output_plugin_private = plinth_decoder_reader;
}

static void
begin_transaction(LogicalDecodingContext *decoding, ReorderBufferTXN *txn)
{
	DecoderReader *reader = decoding->output_plugin_private;

	/* made when its first change is wanted */
	Assert(reader->current == NULL);
	reader->current = NULL;
}

static void
take_change(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
			Relation relation, ReorderBufferChange *change)
{
	DecoderReader *reader = decoding->output_plugin_private;
	PendingChange pending = {0};

	pending.wanted = reader->wants(RelationGetRelid(relation), reader->wants_arg);
	if (pending.wanted == WIRE_NOTHING)
		return;

	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			pending.action = WIRE_INSERT;
			break;
		case REORDER_BUFFER_CHANGE_UPDATE:
			pending.action = WIRE_UPDATE;
			break;
		case REORDER_BUFFER_CHANGE_DELETE:
			pending.action = WIRE_DELETE;
			break;
		default:
			return;
	}
	pending.old_tuple = plinth_change_tuple(change->data.tp.oldtuple);
	pending.new_tuple = plinth_change_tuple(change->data.tp.newtuple);
	keep_change(reader, txn, relation, &pending);
}

static void
take_truncate(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
			  int nrelations, Relation relations[], ReorderBufferChange *change)
{
	DecoderReader *reader = decoding->output_plugin_private;
	PendingChange pending = {.action = WIRE_TRUNCATE};

	for (int i = 0; i < nrelations; i++)
		if (reader->wants(RelationGetRelid(relations[i]), reader->wants_arg) !=
			WIRE_NOTHING)
			keep_change(reader, txn, relations[i], &pending);
}

/*
 * A message that was sent with the transaction takes its place among the
 * transaction's changes.
 */
static void
take_message(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
			 XLogRecPtr message_lsn, bool transactional, const char *prefix,
			 Size length, const char *bytes)
{
	DecoderReader *reader = decoding->output_plugin_private;
	WireChange change = {.action = WIRE_MESSAGE};
	WireMessage read;
	WireMessage *message;
	MemoryContext old_context;

	if (!transactional || reader->reads == NULL ||
		!reader->reads(prefix, bytes, length, txn->xid, &read, reader->wants_arg))
		return;
	if (open_transaction(reader)->wire.overflowed)
		return;

	old_context = MemoryContextSwitchTo(reader->current->context);
	message = palloc(sizeof(WireMessage));
	*message = read;
	message->topic = pstrdup(read.topic);
	message->event = pstrdup(read.event);
	message->payload = pstrdup(read.payload);
	MemoryContextSwitchTo(old_context);

	change.message = message;
	append_change(reader, &change);
}

static void
commit_transaction(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
				   XLogRecPtr commit_lsn)
{
	DecoderReader *reader = decoding->output_plugin_private;
	DecoderTransaction *current = reader->current;

	if (current == NULL)
		return;
	reader->current = NULL;
	if (current->wire.nchanges == 0 && !current->wire.overflowed)
	{
		/* nothing of it was published */
		MemoryContextDelete(current->context);
		return;
	}

	current->wire.xid = txn->xid;
	current->wire.commit_lsn = commit_lsn;
	current->wire.end_lsn = txn->end_lsn;
	current->wire.commit_time = txn->xact_time.commit_time;
	reader->transactions++;
	Assert(reader->ready == NULL);
	reader->ready = current;
}

/*
 * Add a change that somebody wants to its transaction.
 */
static void
keep_change(DecoderReader *reader, ReorderBufferTXN *txn, Relation relation,
			const PendingChange *pending)
{
	DecoderTransaction *current = open_transaction(reader);
	WireTransaction *wire = &current->wire;
	MemoryContext old_context;
	WireChange change = {0};
	bool converted;

	if (wire->overflowed)
		return;

	old_context = MemoryContextSwitchTo(reader->scratch);
	converted = convert_change(reader, relation, pending, &change);
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(reader->scratch);

	if (!converted)
	{
		reader->errors++;
		overflow_transaction(reader);
		return;
	}
	if (change.relation != NULL)
		append_change(reader, &change);
}

/*
 * Add a change to the transaction that is being decoded.
 */
static void
append_change(DecoderReader *reader, WireChange *change)
{
	DecoderTransaction *current = reader->current;
	WireTransaction *wire = &current->wire;

	if (wire->nchanges >= current->changes_allocated)
	{
		Size size = sizeof(WireChange);

		current->changes_allocated = Max(current->changes_allocated * 2, 8);
		size *= current->changes_allocated;
		if (wire->changes == NULL)
			wire->changes = MemoryContextAlloc(current->context, size);
		else
			wire->changes = repalloc_huge(wire->changes, size);
	}
	change->index = wire->nchanges;
	wire->changes[wire->nchanges++] = *change;
	reader->changes++;

	if (MemoryContextMemAllocated(current->context, false) >
		DECODER_TRANSACTION_LIMIT)
	{
		reader->overflows++;
		overflow_transaction(reader);
	}
}

/*
 * Turn a change into text, in a subtransaction of the one in which decoding
 * runs.  Returns false when that failed.  The change's relation stays NULL
 * when it is not published.
 */
static bool
convert_change(DecoderReader *reader, Relation relation,
			   const PendingChange *pending, WireChange *change)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool converted = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		fill_change(plinth_decoder_relation(relation), relation, pending,
					change, reader->current->context);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();

		/* an administrator's command is no fault of the change */
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			ReThrowError(error);

		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("could not decode a change of table \"%s\": %s",
						RelationGetRelationName(relation), error->message),
				 errdetail("Its readers are told that changes are missing.")));
		converted = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	return converted;
}

/*
 * The change's rows as text, in a context of the caller's.
 */
static void
fill_change(const DecoderRelation *known, Relation relation,
			const PendingChange *pending, WireChange *change,
			MemoryContext context)
{
	TupleDesc desc = RelationGetDescr(relation);

	if (!known->published || !known->publishes[pending->action])
		return;

	change->relation = known->wire;
	change->action = pending->action;
	if (pending->old_tuple != NULL)
		change->old_row = plinth_decoder_row(known, desc, pending->old_tuple,
											 true, NULL, context);
	if (pending->new_tuple != NULL)
		change->new_row = plinth_decoder_row(known, desc, pending->new_tuple,
											 false, change->old_row, context);
	if (pending->wanted & WIRE_TUPLES)
		plinth_decoder_keep_images(known, desc, pending->old_tuple,
								   pending->new_tuple, change, context);
}

/*
 * The transaction that is being decoded, made when it is needed first.
 */
static DecoderTransaction *
open_transaction(DecoderReader *reader)
{
	MemoryContext context;

	if (reader->current != NULL)
		return reader->current;

	context = AllocSetContextCreate(
		reader->context, "plinth decoded transaction", ALLOCSET_DEFAULT_SIZES);
	reader->current = MemoryContextAllocZero(context, sizeof(DecoderTransaction));
	reader->current->context = context;
	return reader->current;
}

/*
 * Keep nothing of the transaction but that it was there.
 */
static void
overflow_transaction(DecoderReader *reader)
{
	MemoryContext context = reader->current->context;

	MemoryContextReset(context);
	reader->current = MemoryContextAllocZero(context, sizeof(DecoderTransaction));
	reader->current->context = context;
	reader->current->wire.overflowed = true;
}
