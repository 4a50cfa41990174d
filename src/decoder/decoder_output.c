/*-------------------------------------------------------------------------
 *
 * decoder_output.c
 *		The output plugin for slots that others make: JSON, a line a change.
 *
 * A message of the replication protocol, and a row of
 * pg_logical_slot_get_changes(), holds one document or, with option "batch",
 * as many as fit, with line ends between them.  What is gathered is written
 * when it is full and at the end of a transaction; the last message of a
 * transaction carries the position behind its commit, so that whoever
 * confirms that position has confirmed the transaction.
 *
 * A transaction of which nothing is shown leaves no trace.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_output.h"

#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "replication/origin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/json_out.h"

/* Changes that are passed over before the server is told of progress. */
#define PROGRESS_CHANGES 100

/* A buffer that has grown beyond this is given back. */
#define BUFFER_KEEP (4 * 1024 * 1024)

/* A larger content of a logical message is not shown. */
#define CONTENT_LIMIT ((Size) 64 * 1024 * 1024)

static void begin(LogicalDecodingContext *decoding, ReorderBufferTXN *txn);
static void change(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
				   Relation relation, ReorderBufferChange *change);
static void truncate_tables(LogicalDecodingContext *decoding,
							ReorderBufferTXN *txn, int nrelations,
							Relation relations[], ReorderBufferChange *change);
static void message(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
					XLogRecPtr lsn, bool transactional, const char *prefix,
					Size length, const char *bytes);
static void commit(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
				   XLogRecPtr commit_lsn);
static bool is_unwanted_origin(LogicalDecodingContext *decoding,
							   RepOriginId origin);
static void prepare(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
					XLogRecPtr prepare_lsn);
static void commit_prepared(LogicalDecodingContext *decoding,
							ReorderBufferTXN *txn, XLogRecPtr commit_lsn);
static void rollback_prepared(LogicalDecodingContext *decoding,
							  ReorderBufferTXN *txn, XLogRecPtr prepare_end_lsn,
							  TimestampTz prepare_time);
static void stream_start(LogicalDecodingContext *decoding, ReorderBufferTXN *txn);
static void stream_stop(LogicalDecodingContext *decoding, ReorderBufferTXN *txn);
static void stream_abort(LogicalDecodingContext *decoding,
						 ReorderBufferTXN *txn, XLogRecPtr abort_lsn);
static void stream_prepare(LogicalDecodingContext *decoding,
						   ReorderBufferTXN *txn, XLogRecPtr prepare_lsn);
static void stream_commit(LogicalDecodingContext *decoding,
						  ReorderBufferTXN *txn, XLogRecPtr commit_lsn);
static void start_transaction(DecoderOutput *output, bool streaming);
static void open_transaction(DecoderOutput *output, ReorderBufferTXN *txn);
static void write_record(DecoderOutput *output, const char *event,
						 TransactionId xid, const char *gid, XLogRecPtr lsn,
						 TimestampTz time);
static void write_content(StringInfo out, const char *bytes, Size length);
static void pass_over(DecoderOutput *output);
static void flush(DecoderOutput *output, XLogRecPtr lsn);

void
plinth_decoder_output_callbacks(OutputPluginCallbacks *callbacks)
{
	callbacks->begin_cb = begin;
	callbacks->change_cb = change;
	callbacks->truncate_cb = truncate_tables;
	callbacks->message_cb = message;
	callbacks->commit_cb = commit;
	callbacks->filter_by_origin_cb = is_unwanted_origin;

	/* a prepared transaction comes and goes as others do */
	callbacks->begin_prepare_cb = begin;
	callbacks->prepare_cb = prepare;
	callbacks->commit_prepared_cb = commit_prepared;
	callbacks->rollback_prepared_cb = rollback_prepared;

	callbacks->stream_start_cb = stream_start;
	callbacks->stream_stop_cb = stream_stop;
	callbacks->stream_abort_cb = stream_abort;
	callbacks->stream_prepare_cb = stream_prepare;
	callbacks->stream_commit_cb = stream_commit;
	callbacks->stream_change_cb = change;
	callbacks->stream_message_cb = message;
	callbacks->stream_truncate_cb = truncate_tables;
}

/*
 * Somebody makes a slot (is_init) or begins to read it.
 */
void
plinth_decoder_output_start(LogicalDecodingContext *decoding,
							OutputPluginOptions *options, bool is_init)
{
	MemoryContext old_context = MemoryContextSwitchTo(decoding->context);
	DecoderOutput *output = palloc0(sizeof(DecoderOutput));

	options->output_type = OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	options->receive_rewrites = false;
	decoding->output_plugin_private = output;

	/* a slot that is being made has neither options nor changes */
	if (!is_init)
		plinth_decoder_read_options(&output->options,
									decoding->output_plugin_options);
	decoding->streaming &= output->options.streaming;

	output->decoding = decoding;
	output->scope.every_table = output->options.publications == NIL;
	output->scope.publications = output->options.publications;
	output->scratch = AllocSetContextCreate(
		decoding->context, "plinth decoded change", ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&output->out);
	initStringInfo(&output->head);
	plinth_decoder_relcache_init(decoding->context, &output->scope);
	MemoryContextSwitchTo(old_context);
}

static void
begin(LogicalDecodingContext *decoding, ReorderBufferTXN *txn)
{
	DecoderOutput *output = decoding->output_plugin_private;

	start_transaction(output, false);
	output->index = 0;
}

static void
change(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
	   Relation relation, ReorderBufferChange *change)
{
	DecoderOutput *output = decoding->output_plugin_private;
	DecoderRelation *known = plinth_decoder_relation(relation);
	uint64 before = output->index;

	if (known->published)
	{
		open_transaction(output, txn);
		plinth_decoder_write_change(output, txn, known, relation, change);
	}
	if (output->index == before)
		pass_over(output);
}

static void
truncate_tables(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
				int nrelations, Relation relations[], ReorderBufferChange *change)
{
	DecoderOutput *output = decoding->output_plugin_private;

	for (int i = 0; i < nrelations; i++)
	{
		DecoderRelation *known = plinth_decoder_relation(relations[i]);

		/* a partition's TRUNCATE is not one of the root that it is shown as */
		if (!known->published || !known->publishes[WIRE_TRUNCATE] ||
			known->shown_as != known->relid)
			continue;
		open_transaction(output, txn);
		plinth_decoder_write_truncate(output, txn, known, change);
	}
}

/*
 * A logical message; txn is NULL for one that does not wait for its
 * transaction.
 */
static void
message(LogicalDecodingContext *decoding, ReorderBufferTXN *txn, XLogRecPtr lsn,
		bool transactional, const char *prefix, Size length, const char *bytes)
{
	DecoderOutput *output = decoding->output_plugin_private;
	StringInfo out = &output->out;

	if (!output->options.messages)
		return;

	if (transactional)
		open_transaction(output, txn);
	plinth_decoder_next_document(output);
	appendStringInfoString(out, "{\"eventType\":\"MESSAGE\"");
	if (transactional)
	{
		/* the server does not tell the subtransaction of a message */
		if (!output->has_head || output->streaming)
			plinth_decoder_output_head(output, txn, txn->xid);
		appendBinaryStringInfo(out, output->head.data, output->head.len);
		appendStringInfo(out, ",\"index\":" UINT64_FORMAT, output->index);
	}
	else if (output->options.include_lsn)
		appendStringInfo(out, ",\"lsn\":\"%X/%X\"", LSN_FORMAT_ARGS(lsn));
	plinth_json_name(out, "transactional");
	appendStringInfoString(out, transactional ? "true" : "false");
	plinth_json_name(out, "prefix");
	plinth_json_string(out, prefix, strlen(prefix));
	write_content(out, bytes, length);
	appendStringInfoChar(out, '}');

	if (transactional)
		plinth_decoder_end_document(output);
	else
		flush(output, decoding->write_location);
}

static void
commit(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
	   XLogRecPtr commit_lsn)
{
	DecoderOutput *output = decoding->output_plugin_private;

	if (output->begun)
		write_record(output, "COMMIT", txn->xid, NULL, commit_lsn,
					 txn->xact_time.commit_time);
	OutputPluginUpdateProgress(decoding, output->index == 0 && !output->begun);
	flush(output, decoding->write_location);
}

/*
 * Called for each record: must not be slow, and must not fail.
 */
static bool
is_unwanted_origin(LogicalDecodingContext *decoding, RepOriginId origin)
{
	DecoderOutput *output = decoding->output_plugin_private;

	return output->options.only_local && origin != InvalidRepOriginId;
}

/*
 * A slot with two_phase: the changes come with PREPARE, and their end later,
 * perhaps to another session.  So these records are always written.
 */
static void
prepare(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
		XLogRecPtr prepare_lsn)
{
	DecoderOutput *output = decoding->output_plugin_private;

	write_record(output, "PREPARE", txn->xid, txn->gid, prepare_lsn,
				 txn->xact_time.prepare_time);
	flush(output, decoding->write_location);
}

static void
commit_prepared(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
				XLogRecPtr commit_lsn)
{
	DecoderOutput *output = decoding->output_plugin_private;

	write_record(output, "COMMIT PREPARED", txn->xid, txn->gid, commit_lsn,
				 txn->xact_time.commit_time);
	flush(output, decoding->write_location);
}

static void
rollback_prepared(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
				  XLogRecPtr prepare_end_lsn, TimestampTz prepare_time)
{
	DecoderOutput *output = decoding->output_plugin_private;

	write_record(output, "ROLLBACK PREPARED", txn->xid, txn->gid,
				 txn->final_lsn, prepare_time);
	flush(output, decoding->write_location);
}

/*
 * A part of a transaction that is still in progress.  How many documents of
 * it there have been is kept in the transaction.
 */
static void
stream_start(LogicalDecodingContext *decoding, ReorderBufferTXN *txn)
{
	DecoderOutput *output = decoding->output_plugin_private;

	start_transaction(output, true);
	output->index = (uintptr_t) txn->output_plugin_private;
}

static void
stream_stop(LogicalDecodingContext *decoding, ReorderBufferTXN *txn)
{
	DecoderOutput *output = decoding->output_plugin_private;

	txn->output_plugin_private = (void *) (uintptr_t) output->index;
	flush(output, decoding->write_location);
	output->streaming = false;
}

static void
stream_abort(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
			 XLogRecPtr abort_lsn)
{
	DecoderOutput *output = decoding->output_plugin_private;
	ReorderBufferTXN *top = plinth_transaction_top(txn);

	write_record(output, "STREAM ABORT", top != NULL ? top->xid : txn->xid,
				 NULL, InvalidXLogRecPtr, 0);
	if (top != NULL && top != txn)
	{
		/* the record's brace makes room for the subtransaction */
		output->out.len--;
		appendStringInfo(&output->out, ",\"subxid\":%u}", txn->xid);
	}
	flush(output, decoding->write_location);
}

static void
stream_prepare(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
			   XLogRecPtr prepare_lsn)
{
	DecoderOutput *output = decoding->output_plugin_private;

	write_record(output, "STREAM PREPARE", txn->xid, txn->gid, prepare_lsn,
				 txn->xact_time.prepare_time);
	flush(output, decoding->write_location);
}

static void
stream_commit(LogicalDecodingContext *decoding, ReorderBufferTXN *txn,
			  XLogRecPtr commit_lsn)
{
	DecoderOutput *output = decoding->output_plugin_private;

	write_record(output, "STREAM COMMIT", txn->xid, NULL, commit_lsn,
				 txn->xact_time.commit_time);
	OutputPluginUpdateProgress(decoding, false);
	flush(output, decoding->write_location);
}

/*
 * A transaction's changes, or a part of them, begin.
 */
static void
start_transaction(DecoderOutput *output, bool streaming)
{
	output->begun = false;
	output->has_head = false;
	output->has_settings = false;
	output->streaming = streaming;

	/* no row points to a table's former description */
	plinth_decoder_relcache_sweep(PG_UINT64_MAX);
}

/*
 * Before the first change of a transaction that may be shown.
 */
static void
open_transaction(DecoderOutput *output, ReorderBufferTXN *txn)
{
	if (output->begun || output->streaming || !output->options.include_transaction)
		return;

	output->begun = true;
	write_record(output, "BEGIN", txn->xid,
				 plinth_txn_is_prepared(txn) ? txn->gid : NULL, txn->final_lsn,
				 txn->xact_time.commit_time);
}

/*
 * The members that all documents of a transaction have.  When and where it
 * will commit is not known while it is in progress, and its number is needed
 * to tell its parts from others'; likewise for one that is prepared.
 */
void
plinth_decoder_output_head(DecoderOutput *output, ReorderBufferTXN *txn,
						   TransactionId sub_xid)
{
	const DecoderOptions *options = &output->options;
	StringInfo head = &output->head;

	resetStringInfo(head);
	if (options->include_xids || output->streaming || plinth_txn_is_prepared(txn))
		appendStringInfo(head, ",\"xid\":%u", txn->xid);
	if (output->streaming && TransactionIdIsValid(sub_xid) && sub_xid != txn->xid)
		appendStringInfo(head, ",\"subxid\":%u", sub_xid);
	if (options->include_origin && txn->origin_id != InvalidRepOriginId)
	{
		char *origin;

		if (replorigin_by_oid(txn->origin_id, true, &origin))
		{
			appendStringInfoString(head, ",\"origin\":");
			plinth_json_string(head, origin, strlen(origin));
		}
	}
	if (options->include_timestamp && !output->streaming)
	{
		appendStringInfoString(head, ",\"commit_timestamp\":");
		plinth_json_time(head, txn->xact_time.commit_time);
	}
	if (options->include_lsn && !output->streaming)
		appendStringInfo(head, ",\"lsn\":\"%X/%X\"",
						 LSN_FORMAT_ARGS(txn->final_lsn));
	output->has_head = true;
}

/*
 * A document about a transaction.
 */
static void
write_record(DecoderOutput *output, const char *event, TransactionId xid,
			 const char *gid, XLogRecPtr lsn, TimestampTz time)
{
	StringInfo out = &output->out;

	plinth_decoder_next_document(output);
	appendStringInfo(out, "{\"eventType\":\"%s\",\"xid\":%u", event, xid);
	if (gid != NULL)
	{
		plinth_json_name(out, "gid");
		plinth_json_string(out, gid, strlen(gid));
	}
	if (output->options.include_timestamp && !XLogRecPtrIsInvalid(lsn))
	{
		plinth_json_name(out, "commit_timestamp");
		plinth_json_time(out, time);
	}
	if (output->options.include_lsn && !XLogRecPtrIsInvalid(lsn))
	{
		plinth_json_name(out, "lsn");
		appendStringInfo(out, "\"%X/%X\"", LSN_FORMAT_ARGS(lsn));
	}
	appendStringInfoChar(out, '}');
	output->out_lsn = output->decoding->write_location;
}

/*
 * A message's bytes: as text where they are, else in base64.
 */
static void
write_content(StringInfo out, const char *bytes, Size length)
{
	char *encoded;
	int size;

	if (length > CONTENT_LIMIT)
	{
		appendStringInfoString(out, ",\"errors\":[\"too large\"]");
		return;
	}
	if (pg_verifymbstr(bytes, (int) length, true))
	{
		plinth_json_name(out, "content");
		plinth_json_string(out, bytes, length);
		return;
	}

	size = pg_b64_enc_len((int) length);
	encoded = palloc(size + 1);
	size = plinth_b64_encode(bytes, (int) length, encoded, size);
	plinth_json_name(out, "content_base64");
	plinth_json_string(out, encoded, Max(size, 0));
	pfree(encoded);
}

/*
 * Nothing was written for a change.  A long row of these must not look like
 * silence to the other end.
 */
static void
pass_over(DecoderOutput *output)
{
	if (++output->skipped < PROGRESS_CHANGES)
		return;
	output->skipped = 0;
	OutputPluginUpdateProgress(output->decoding, false);
}

void
plinth_decoder_next_document(DecoderOutput *output)
{
	if (output->out.len == 0)
		return;
	if (output->out.len >= output->options.batch * 1024)
		flush(output, output->out_lsn);
	else
		appendStringInfoCharMacro(&output->out, '\n');
}

void
plinth_decoder_end_document(DecoderOutput *output)
{
	output->index++;
	output->out_lsn = output->decoding->write_location;
}

/*
 * Write what has been gathered, as a message of that position.
 */
static void
flush(DecoderOutput *output, XLogRecPtr lsn)
{
	LogicalDecodingContext *decoding = output->decoding;
	XLogRecPtr location = decoding->write_location;

	if (output->out.len == 0)
		return;

	decoding->write_location = lsn;
	OutputPluginPrepareWrite(decoding, true);
	appendBinaryStringInfo(decoding->out, output->out.data, output->out.len);
	OutputPluginWrite(decoding, true);
	decoding->write_location = location;

	output->skipped = 0;
	resetStringInfo(&output->out);
	if (output->out.maxlen > BUFFER_KEEP)
	{
		MemoryContext old_context = MemoryContextSwitchTo(decoding->context);

		pfree(output->out.data);
		initStringInfo(&output->out);
		MemoryContextSwitchTo(old_context);
	}
}
