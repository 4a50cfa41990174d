/*-------------------------------------------------------------------------
 *
 * decoder_plugin.c
 *		The output plugin's callbacks: changes are kept for the reader.
 *
 * These are the callbacks of the stream worker's own slot, for which nothing
 * is written to a client.  Slots that others make have those of
 * decoder_output.c.
 *
 * Where turning a change into text calls code that is not the server's own,
 * or a row filter, it is done in a subtransaction.  When it fails, the
 * transaction it belongs to is marked, its readers get a gap, and decoding
 * goes on behind it (S8.5).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_internal.h"

#include "replication/output_plugin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/subtransaction.h"

/* A change that is being converted. */
typedef struct GuardedConversion
{
	DecoderReader *reader;
	DecoderRelation *known;
	Relation relation;
	ReorderBufferChange *from;
	int wanted;
	WireChange *change;
} GuardedConversion;

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
static void keep_truncate(DecoderReader *reader, const DecoderRelation *known);
static void append_change(DecoderReader *reader, WireChange *change);
static bool convert_guarded(DecoderReader *reader, DecoderRelation *known,
							Relation relation, ReorderBufferChange *from,
							int wanted, WireChange *change);
static void convert_step(void *arg);
static void convert(DecoderReader *reader, DecoderRelation *known,
					Relation relation, ReorderBufferChange *from, int wanted,
					WireChange *change);
static DecoderTransaction *open_transaction(DecoderReader *reader);
static void overflow_transaction(DecoderReader *reader);

void
_PG_output_plugin_init(OutputPluginCallbacks *callbacks)
{
	plinth_decoder_output_callbacks(callbacks);
	callbacks->startup_cb = start_plugin;
}

/*
 * Whose slot is it?  The stream worker's reader is being opened in its own
 * process, and in no other.
 */
static void
start_plugin(LogicalDecodingContext *decoding, OutputPluginOptions *options,
			 bool is_init)
{
	static const OutputPluginCallbacks callbacks = {
		.startup_cb = start_plugin,
		.begin_cb = begin_transaction,
		.change_cb = take_change,
		.truncate_cb = take_truncate,
		.message_cb = take_message,
		.commit_cb = commit_transaction,
	};

	if (plinth_decoder_reader == NULL || !plinth_decoder_reader->opening)
	{
		plinth_decoder_output_start(decoding, options, is_init);
		return;
	}

	options->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	options->receive_rewrites = false;
	decoding->callbacks = callbacks;
	decoding->streaming = false;
	decoding->twophase = false;
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
	DecoderRelation *known = plinth_decoder_relation(relation);
	WireChange wire = {0};
	MemoryContext old_context;
	bool converted = true;
	int wanted;

	if (!known->published)
		return;
	wanted = reader->wants(known->shown_as, reader->wants_arg);
	if (wanted == WIRE_NOTHING)
		known->missed_upto = plinth_decoder_read_up_to(reader);
	else if (!(wanted & WIRE_TUPLES))
		known->text_upto = plinth_decoder_read_up_to(reader);
	if (wanted == WIRE_NOTHING || open_transaction(reader)->wire.overflowed)
		return;

	old_context = MemoryContextSwitchTo(reader->scratch);
	if (known->needs.subtransaction)
		converted =
			convert_guarded(reader, known, relation, change, wanted, &wire);
	else
		convert(reader, known, relation, change, wanted, &wire);
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(reader->scratch);

	if (!converted)
	{
		reader->errors++;
		overflow_transaction(reader);
	}
	else if (wire.relation != NULL)
		append_change(reader, &wire);
}

static void
take_truncate(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
			  int nrelations, Relation relations[], ReorderBufferChange *change)
{
	DecoderReader *reader = decoding->output_plugin_private;

	for (int i = 0; i < nrelations; i++)
	{
		DecoderRelation *known = plinth_decoder_relation(relations[i]);

		/* a partition's TRUNCATE is not one of the root that it is shown as */
		if (!known->published || !known->publishes[WIRE_TRUNCATE] ||
			known->shown_as != known->relid)
			continue;
		if (reader->wants(known->relid, reader->wants_arg) == WIRE_NOTHING)
			known->missed_upto = plinth_decoder_read_up_to(reader);
		else
			keep_truncate(reader, known);
	}
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

static void
keep_truncate(DecoderReader *reader, const DecoderRelation *known)
{
	WireChange change = {.action = WIRE_TRUNCATE, .relation = known->wire};

	if (!open_transaction(reader)->wire.overflowed)
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

		current->changes_allocated = Max(current->changes_allocated * 2, 4);
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
 * Turn a change into text in a subtransaction of the one in which decoding
 * runs.  Returns false when that failed.
 */
static bool
convert_guarded(DecoderReader *reader, DecoderRelation *known, Relation relation,
				ReorderBufferChange *from, int wanted, WireChange *change)
{
	GuardedConversion conversion = {reader, known,	relation,
									from,	wanted, change};
	ErrorData *error = plinth_try_unless_told_to_stop(convert_step, &conversion);

	if (error != NULL)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("could not decode a change of table \"%s\": %s",
						RelationGetRelationName(relation), error->message),
				 errdetail("Its readers are told that changes are missing.")));

	return error == NULL;
}

static void
convert_step(void *arg)
{
	GuardedConversion *conversion = arg;

	convert(conversion->reader, conversion->known, conversion->relation,
			conversion->from, conversion->wanted, conversion->change);
}

/*
 * The change's rows as values, and as tuples where these are wanted, in the
 * transaction's context.  The change's relation stays NULL when nothing of it
 * is published.
 */
static void
convert(DecoderReader *reader, DecoderRelation *known, Relation relation,
		ReorderBufferChange *from, int wanted, WireChange *change)
{
	MemoryContext context = reader->current->context;
	DecoderRows rows;

	if (!plinth_decoder_rows(known, relation, from, &rows) ||
		(rows.old_tuple == NULL && rows.new_tuple == NULL))
		return;

	change->relation = known->wire;
	change->action = rows.action;
	if (rows.old_tuple != NULL)
		change->old_row = plinth_decoder_row(known, &rows, true, reader->current);
	if (rows.new_tuple != NULL)
		change->new_row =
			plinth_decoder_row(known, &rows, false, reader->current);
	if (wanted & WIRE_TUPLES)
		plinth_decoder_keep_images(known, rows.desc, rows.old_tuple,
								   rows.new_tuple, change, context);
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

	context = AllocSetContextCreate(reader->context, "plinth decoded transaction",
									ALLOCSET_START_SMALL_SIZES);
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
