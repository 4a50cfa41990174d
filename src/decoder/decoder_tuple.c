/*-------------------------------------------------------------------------
 *
 * decoder_tuple.c
 *		A row of the WAL as the text of its values.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_internal.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "base/json_out.h"

static void write_text(const DecoderRelation *known, int column, Datum datum,
					   WireValue *value, MemoryContext context);
static bool fits_jsonb(const char *text);

/*
 * The values of a row, in a context of the caller's; whatever else is needed
 * is left in the current one.
 *
 * Of an old row only the replica identity has values, unless that is the
 * whole row.  A large value that an UPDATE left alone is not in the WAL; it
 * is taken from the old row where that has it.
 */
WireValue *
plinth_decoder_row(const DecoderRelation *known, TupleDesc desc, HeapTuple tuple,
				   bool is_old, const WireValue *old_row, MemoryContext context)
{
	const WireRelation *wire = known->wire;
	WireValue *row;
	Datum *values = palloc(sizeof(Datum) * desc->natts);
	bool *nulls = palloc(sizeof(bool) * desc->natts);

	row = MemoryContextAllocZero(context,
								 sizeof(WireValue) * Max(wire->ncolumns, 1));
	/* a row older than a column gets the column's missing value here */
	heap_deform_tuple(tuple, desc, values, nulls);

	for (int i = 0; i < wire->ncolumns; i++)
	{
		AttrNumber number = wire->columns[i].number;
		WireValue *value = &row[i];
		Datum datum = values[number - 1];

		if (is_old && !wire->identity_full &&
			!bms_is_member(number, known->identity))
			value->state = WIRE_ABSENT;
		else if (nulls[number - 1])
			value->state = WIRE_NULL;
		else if (known->is_varlena[i] &&
				 VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(datum)))
		{
			if (old_row != NULL && old_row[i].state != WIRE_ABSENT)
				*value = old_row[i];
			else
				value->state = WIRE_UNCHANGED;
		}
		else if (known->is_varlena[i] &&
				 toast_raw_datum_size(datum) > DECODER_VALUE_LIMIT)
			value->state = WIRE_TOO_LARGE;
		else
			write_text(known, i, datum, value, context);
	}

	return row;
}

static void
write_text(const DecoderRelation *known, int column, Datum datum,
		   WireValue *value, MemoryContext context)
{
	char *text = OutputFunctionCall(&known->output[column], datum);
	char *copy;

	/* json allows what jsonb, which readers get, does not */
	if (getBaseType(known->wire->columns[column].type) == JSONOID &&
		!fits_jsonb(text))
	{
		StringInfoData quoted;

		initStringInfo(&quoted);
		plinth_json_string(&quoted, text, strlen(text));
		text = quoted.data;
	}

	value->length = strlen(text);
	copy = MemoryContextAllocHuge(context, (Size) value->length + 1);
	memcpy(copy, text, (Size) value->length + 1);
	value->text = copy;
	value->state = WIRE_TEXT;
}

/*
 * Would jsonb take this text of type json?  Not when it has an escaped zero
 * byte, a number out of range or members nested too deeply.
 */
static bool
fits_jsonb(const char *text)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool fits = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		(void) DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		fits = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;

	return fits;
}
