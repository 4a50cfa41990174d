/*-------------------------------------------------------------------------
 *
 * decoder_tuple.c
 *		A row of the WAL as values that outlive its decoding.
 *
 * Most rows are read by nobody, or of most columns by nobody.  So the row is
 * kept as it is, and a value's text is made when somebody asks for it; but at
 * once where that needs the catalogs of the time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_internal.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "utils/datum.h"

#include "base/compat.h"

/*
 * Rows are put together in pieces of memory, each twice as large as the one
 * before it, because most transactions are small and many are kept.
 */
#define FIRST_ROOM_SIZE ((Size) 1024)
#define ROOM_SIZE ((Size) 64 * 1024)

static WireValue keep_value(const DecoderColumn *column, Datum datum,
							HeapTuple tuple, const char *copy,
							DecoderTransaction *transaction);
static bool is_plain(Datum datum);
static WireValue make_text(const DecoderColumn *column, Datum datum,
						   DecoderTransaction *transaction);
static void *take_room(DecoderTransaction *transaction, Size size);

/*
 * The values of a change's old or new row; whatever else is needed is left in
 * the current context.
 *
 * Of an old row only the replica identity has values, unless that is the
 * whole row.
 */
WireValue *
plinth_decoder_row(const DecoderRelation *known, const DecoderRows *rows,
				   bool is_old, DecoderTransaction *transaction)
{
	HeapTuple tuple = is_old ? rows->old_tuple : rows->new_tuple;
	const Datum *values = is_old ? rows->old_values : rows->new_values;
	const bool *nulls = is_old ? rows->old_nulls : rows->new_nulls;
	int ncolumns = known->wire->ncolumns;
	Size head = MAXALIGN(sizeof(WireValue) * Max(ncolumns, 1));
	WireValue *row = take_room(transaction, head + tuple->t_len);
	char *copy = (char *) row + head;
	const char *start = (const char *) tuple->t_data;
	Size plain = tuple->t_len <= DECODER_VALUE_LIMIT ? tuple->t_len : 0;

	memcpy(copy, tuple->t_data, tuple->t_len);
	for (int i = 0; i < ncolumns; i++)
	{
		const DecoderColumn *column = &known->columns[i];
		int place = column->number - 1;

		if (is_old && !column->in_old)
			row[i].state = WIRE_ABSENT;
		else if (nulls[place])
			row[i].state = WIRE_NULL;
		else if (column->by_value && !column->at_once)
		{
			row[i].state = WIRE_TEXT;
			row[i].made = NULL;
			row[i].datum = values[place];
		}
		else if (!column->at_once &&
				 (Size) (DatumGetPointer(values[place]) - start) < plain &&
				 (!column->is_varlena || is_plain(values[place])))
		{
			row[i].state = WIRE_TEXT;
			row[i].made = NULL;
			row[i].datum =
				PointerGetDatum(copy + (DatumGetPointer(values[place]) - start));
		}
		else
			row[i] = keep_value(column, values[place], tuple, copy, transaction);
	}
	return row;
}

void
plinth_decoder_write_column_text(StringInfo out, const WireColumn *column,
								 Datum datum)
{
	plinth_decoder_write_text(out, column->writes_as, datum);
}

void
plinth_decoder_write_column_json(StringInfo out, const WireColumn *column,
								 Datum datum)
{
	plinth_decoder_write_json(out, column->writes_as, datum);
}

/*
 * A value that is not NULL: one that lies in the tuple lies at the same place
 * of its copy.  Others are put together for the time of the callback only, or
 * are the old row's, or stand for those that the row is too old to have.
 */
static WireValue
keep_value(const DecoderColumn *column, Datum datum, HeapTuple tuple,
		   const char *copy, DecoderTransaction *transaction)
{
	WireValue value = {.state = WIRE_TEXT};
	const char *bytes = DatumGetPointer(datum);
	const char *start = (const char *) tuple->t_data;

	if (column->is_varlena)
	{
		if (VARATT_IS_EXTERNAL_ONDISK(bytes))
			return (WireValue){.state = WIRE_UNCHANGED};
		if (toast_raw_datum_size(datum) > DECODER_VALUE_LIMIT)
			return (WireValue){.state = WIRE_TOO_LARGE};
	}
	if (column->at_once)
		return make_text(column, datum, transaction);

	if (column->is_varlena && VARATT_IS_EXTERNAL(bytes))
	{
		struct varlena *whole =
			detoast_external_attr((struct varlena *) unconstify(char *, bytes));

		bytes = (const char *) whole;
	}
	else if (bytes >= start && bytes < start + tuple->t_len)
	{
		value.datum = PointerGetDatum(copy + (bytes - start));
		return value;
	}

	datum = PointerGetDatum(bytes);
	value.datum = PointerGetDatum(
		take_room(transaction, datumGetSize(datum, false, column->length)));
	memcpy(DatumGetPointer(value.datum), bytes,
		   datumGetSize(datum, false, column->length));
	return value;
}

/*
 * Neither kept elsewhere nor compressed: no larger than what it lies in.
 */
static bool
is_plain(Datum datum)
{
	return (VARATT_IS_SHORT(DatumGetPointer(datum)) &&
			!VARATT_IS_EXTERNAL(DatumGetPointer(datum))) ||
		   VARATT_IS_4B_U(DatumGetPointer(datum));
}

static WireValue
make_text(const DecoderColumn *column, Datum datum,
		  DecoderTransaction *transaction)
{
	WireValue value = {.state = WIRE_TEXT};
	StringInfoData text;
	char *made;

	initStringInfo(&text);
	plinth_decoder_write_text(&text, &column->type, datum);
	made = take_room(transaction, (Size) text.len + 1);
	memcpy(made, text.data, (Size) text.len + 1);
	value.made = made;
	value.made_length = text.len;
	return value;
}

/*
 * Memory that lives as long as the transaction, maximally aligned.
 */
static void *
take_room(DecoderTransaction *transaction, Size size)
{
	void *room;

	size = MAXALIGN(size);
	if (size > ROOM_SIZE / 4)
		return MemoryContextAllocHuge(transaction->context, size);
	if (size > transaction->room_left)
	{
		transaction->room_size = Min(transaction->room_size * 2, ROOM_SIZE);
		transaction->room_size =
			Max(transaction->room_size, Max(size, FIRST_ROOM_SIZE));
		transaction->room =
			MemoryContextAlloc(transaction->context, transaction->room_size);
		transaction->room_left = transaction->room_size;
	}
	room = transaction->room;
	transaction->room += size;
	transaction->room_left -= size;
	return room;
}
