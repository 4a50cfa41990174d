/*-------------------------------------------------------------------------
 *
 * decoder_document.c
 *		A change as a JSON document, straight from its row.
 *
 * The members are those of the messages that subscribers are sent
 * (wire_change.c).  A document is one line.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_output.h"

#include "access/detoast.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "base/json_out.h"
#include "base/subtransaction.h"
#include "base/text_form.h"

/* Bounds of a document, far enough from what a message can hold: 1 GB. */
#define VALUE_LIMIT ((Size) 64 * 1024 * 1024)
#define DOCUMENT_LIMIT ((Size) 256 * 1024 * 1024)

/* Which values of a row are written. */
typedef enum RowPart
{
	ROW_KEY,
	ROW_OLD, /* what an old row has values of */
	ROW_WHOLE
} RowPart;

/* A document that is being written. */
typedef struct GuardedWrite
{
	DecoderOutput *output;
	ReorderBufferTXN *txn;
	DecoderRelation *known;
	Relation relation;
	ReorderBufferChange *change;
	bool written;
} GuardedWrite;

static bool write_guarded(DecoderOutput *output, ReorderBufferTXN *txn,
						  DecoderRelation *known, Relation relation,
						  ReorderBufferChange *change);
static void write_document_step(void *arg);
static bool write_document(DecoderOutput *output, ReorderBufferTXN *txn,
						   DecoderRelation *known, Relation relation,
						   ReorderBufferChange *change);
static void write_error(DecoderOutput *output, ReorderBufferTXN *txn,
						DecoderRelation *known, ReorderBufferChange *change,
						const char *message);
static void write_head(DecoderOutput *output, ReorderBufferTXN *txn,
					   DecoderRelation *known, WireAction action,
					   ReorderBufferChange *change);
static bool write_rows(StringInfo out, const DecoderRelation *known,
					   const DecoderRows *rows, bool key_only);
static bool write_row(StringInfo out, const DecoderRelation *known,
					  const Datum *values, const bool *nulls, RowPart part);
static void write_unchanged(StringInfo out, const DecoderRelation *known,
							const DecoderRows *rows);
static bool is_unchanged(const DecoderColumn *column, Datum datum);
static const char *make_head(DecoderRelation *known, WireAction action);
static const char *make_types(DecoderRelation *known);

static inline void
append(StringInfo out, const char *text, int length)
{
	memcpy(plinth_decoder_reserve(out, length), text, length);
	out->len += length;
}

#define append_literal(out, literal) append(out, literal, sizeof(literal) - 1)

void
plinth_decoder_write_change(DecoderOutput *output, ReorderBufferTXN *txn,
							DecoderRelation *known, Relation relation,
							ReorderBufferChange *change)
{
	MemoryContext old_context = MemoryContextSwitchTo(output->scratch);
	bool written;

	if (known->needs.settings && !output->has_settings)
	{
		plinth_text_form_local();
		output->has_settings = true;
	}
	written = known->needs.subtransaction
				  ? write_guarded(output, txn, known, relation, change)
				  : write_document(output, txn, known, relation, change);
	if (written)
		plinth_decoder_end_document(output);

	MemoryContextSwitchTo(old_context);
	MemoryContextReset(output->scratch);
}

void
plinth_decoder_write_truncate(DecoderOutput *output, ReorderBufferTXN *txn,
							  DecoderRelation *known, ReorderBufferChange *change)
{
	StringInfo out = &output->out;

	plinth_decoder_next_document(output);
	write_head(output, txn, known, WIRE_TRUNCATE, change);
	appendStringInfo(out, ",\"cascade\":%s,\"restart_identity\":%s",
					 change->data.truncate.cascade ? "true" : "false",
					 change->data.truncate.restart_seqs ? "true" : "false");
	append_literal(out,
				   ",\"new\":{},\"old\":{},\"unchanged\":[],\"errors\":null}");
	plinth_decoder_end_document(output);
}

/*
 * The same in a subtransaction: for types and filters whose code may fail.
 */
static bool
write_guarded(DecoderOutput *output, ReorderBufferTXN *txn,
			  DecoderRelation *known, Relation relation,
			  ReorderBufferChange *change)
{
	GuardedWrite write = {output, txn, known, relation, change, true};
	ErrorData *error;
	int start;

	/* writing is not to be undone */
	plinth_decoder_next_document(output);
	start = output->out.len;

	error = plinth_try_unless_told_to_stop(write_document_step, &write);
	if (error == NULL)
		return write.written;

	/* that the transaction being streamed is aborted is for the server */
	if (error->sqlerrcode == ERRCODE_TRANSACTION_ROLLBACK)
		ReThrowError(error);

	output->out.len = start;
	write_error(output, txn, known, change, error->message);

	return true;
}

static void
write_document_step(void *arg)
{
	GuardedWrite *write = arg;

	write->written = write_document(write->output, write->txn, write->known,
									write->relation, write->change);
}

/*
 * Returns false when nothing of the change is published.
 */
static bool
write_document(DecoderOutput *output, ReorderBufferTXN *txn,
			   DecoderRelation *known, Relation relation,
			   ReorderBufferChange *change)
{
	StringInfo out = &output->out;
	DecoderRows rows;
	bool complete;
	int start;

	if (!plinth_decoder_rows(known, relation, change, &rows))
		return false;
	if (rows.old_tuple == NULL && rows.new_tuple == NULL)
	{
		/* a DELETE in a table without replica identity */
		plinth_decoder_next_document(output);
		write_error(output, txn, known, change, "no replica identity");
		return true;
	}

	if (!known->needs.subtransaction)
		plinth_decoder_next_document(output);
	write_head(output, txn, known, rows.action, change);
	start = out->len;
	complete = write_rows(out, known, &rows, false);
	if (!complete)
	{
		out->len = start;
		(void) write_rows(out, known, &rows, true);
	}
	write_unchanged(out, known, complete ? &rows : NULL);
	if (complete)
		append_literal(out, ",\"errors\":null}");
	else
		append_literal(out, ",\"errors\":[\"too large\"]}");
	return true;
}

static void
write_error(DecoderOutput *output, ReorderBufferTXN *txn, DecoderRelation *known,
			ReorderBufferChange *change, const char *message)
{
	StringInfo out = &output->out;
	WireAction action =
		change->action == REORDER_BUFFER_CHANGE_INSERT	 ? WIRE_INSERT
		: change->action == REORDER_BUFFER_CHANGE_UPDATE ? WIRE_UPDATE
														 : WIRE_DELETE;

	write_head(output, txn, known, action, change);
	append_literal(out, ",\"new\":{},\"old\":{},\"unchanged\":[],\"errors\":[");
	plinth_json_string(out, message, strlen(message));
	append_literal(out, "]}");
}

/*
 * Everything that does not depend on the row's values.
 */
static void
write_head(DecoderOutput *output, ReorderBufferTXN *txn, DecoderRelation *known,
		   WireAction action, ReorderBufferChange *change)
{
	StringInfo out = &output->out;
	const char *head = known->heads[action];

	if (head == NULL)
		head = make_head(known, action);
	append(out, head, strlen(head));

	if (!output->has_head || output->streaming)
		plinth_decoder_output_head(output, txn, change->txn->xid);
	append(out, output->head.data, output->head.len);
	append_literal(out, ",\"index\":");
	out->len +=
		pg_ulltoa_n(output->index, plinth_decoder_reserve(out, MAXINT8LEN));

	if (output->options.include_types)
	{
		const char *types = known->types;

		if (types == NULL)
			types = make_types(known);
		append(out, types, strlen(types));
	}
}

/*
 * New and old row.  Returns false, with something written, when a value or
 * all of them together are too large; never when only the key is asked for.
 */
static bool
write_rows(StringInfo out, const DecoderRelation *known,
		   const DecoderRows *rows, bool key_only)
{
	bool complete = true;

	append_literal(out, ",\"new\":{");
	if (rows->new_tuple != NULL)
		complete = write_row(out, known, rows->new_values, rows->new_nulls,
							 key_only ? ROW_KEY : ROW_WHOLE);
	append_literal(out, "},\"old\":{");
	if (complete && rows->old_tuple != NULL)
		complete = write_row(out, known, rows->old_values, rows->old_nulls,
							 key_only ? ROW_KEY : ROW_OLD);
	else if (complete && rows->action == WIRE_UPDATE)
		/* the WAL has no old row of an UPDATE that left the key as it was */
		complete =
			write_row(out, known, rows->new_values, rows->new_nulls, ROW_KEY);
	append_literal(out, "}");
	return complete || key_only;
}

static bool
write_row(StringInfo out, const DecoderRelation *known, const Datum *values,
		  const bool *nulls, RowPart part)
{
	const WireRelation *wire = known->wire;
	int start = out->len;
	int comma = 1; /* of the key's text that is left out */

	for (int i = 0; i < wire->ncolumns; i++)
	{
		const DecoderColumn *column = &known->columns[i];
		Datum datum = values[column->number - 1];
		bool is_null = nulls[column->number - 1];

		if ((part == ROW_OLD && !column->in_old) ||
			(part == ROW_KEY && !wire->columns[i].in_key))
			continue;
		if (!is_null && column->is_varlena)
		{
			if (is_unchanged(column, datum))
				continue;
			if (toast_raw_datum_size(datum) > VALUE_LIMIT)
			{
				if (part == ROW_KEY)
					continue;
				return false;
			}
		}

		append(out, column->key + comma, column->key_length - comma);
		comma = 0;
		if (is_null)
			append_literal(out, "null");
		else
			plinth_decoder_write_json(out, &column->type, datum);
		if ((Size) (out->len - start) > DOCUMENT_LIMIT)
			return false;
	}
	return true;
}

/*
 * The names of the columns whose new value is not known; rows is NULL when
 * none is told.
 */
static void
write_unchanged(StringInfo out, const DecoderRelation *known,
				const DecoderRows *rows)
{
	append_literal(out, ",\"unchanged\":[");
	if (rows != NULL && rows->new_tuple != NULL &&
		HeapTupleHasExternal(rows->new_tuple))
		for (int i = 0; i < known->wire->ncolumns; i++)
		{
			const DecoderColumn *column = &known->columns[i];
			int place = column->number - 1;

			if (rows->new_nulls[place] ||
				!is_unchanged(column, rows->new_values[place]))
				continue;
			plinth_json_comma(out);
			/* the key's text without its comma and colon */
			append(out, column->key + 1, column->key_length - 2);
		}
	append_literal(out, "]");
}

static bool
is_unchanged(const DecoderColumn *column, Datum datum)
{
	return column->is_varlena &&
		   VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(datum));
}

/*
 * What all documents of a table and an action begin with; kept with what is
 * known of the table.
 */
static const char *
make_head(DecoderRelation *known, WireAction action)
{
	MemoryContext old_context = MemoryContextSwitchTo(known->context);
	const WireRelation *wire = known->wire;
	StringInfoData head;

	initStringInfo(&head);
	appendStringInfo(&head, "{\"eventType\":\"%s\"",
					 plinth_wire_action_name(action));
	plinth_json_name(&head, "schema");
	plinth_json_string(&head, wire->schema, strlen(wire->schema));
	plinth_json_name(&head, "table");
	plinth_json_string(&head, wire->table, strlen(wire->table));
	MemoryContextSwitchTo(old_context);

	known->heads[action] = head.data;
	return head.data;
}

static const char *
make_types(DecoderRelation *known)
{
	MemoryContext old_context = MemoryContextSwitchTo(known->context);
	const WireRelation *wire = known->wire;
	StringInfoData types;

	initStringInfo(&types);
	appendStringInfoString(&types, ",\"columns\":[");
	for (int i = 0; i < wire->ncolumns; i++)
	{
		const WireColumn *column = &wire->columns[i];

		plinth_json_comma(&types);
		appendStringInfoString(&types, "{\"name\":");
		plinth_json_string(&types, column->name, strlen(column->name));
		plinth_json_name(&types, "type");
		plinth_json_string(&types, column->type_name, strlen(column->type_name));
		appendStringInfoCharMacro(&types, '}');
	}
	appendStringInfoCharMacro(&types, ']');
	MemoryContextSwitchTo(old_context);

	known->types = types.data;
	return types.data;
}
