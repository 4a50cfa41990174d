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
#include "utils/memutils.h"

#include "base/compat.h"

/*
 * The values of a row, in one piece of a context of the caller's.  The text
 * is put together in scratch; whatever else is needed is left in the current
 * context.
 *
 * Of an old row only the replica identity has values, unless that is the
 * whole row.
 */
WireValue *
plinth_decoder_row(const DecoderRelation *known, const Datum *values,
				   const bool *nulls, bool is_old, StringInfo scratch,
				   MemoryContext context)
{
	int ncolumns = known->wire->ncolumns;
	Size head = MAXALIGN(sizeof(WireValue) * Max(ncolumns, 1));
	WireValue *row;
	char *texts;

	/* the values first, to be copied with the texts that follow them */
	resetStringInfo(scratch);
	row = (WireValue *) plinth_decoder_reserve(scratch, head);
	memset(row, 0, head);
	scratch->len = head;

	for (int i = 0; i < ncolumns; i++)
	{
		const DecoderColumn *column = &known->columns[i];
		WireValue value = {.state = WIRE_TEXT};
		Datum datum = values[column->number - 1];

		if (is_old && !column->in_old)
			value.state = WIRE_ABSENT;
		else if (nulls[column->number - 1])
			value.state = WIRE_NULL;
		else if (column->is_varlena &&
				 VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(datum)))
			value.state = WIRE_UNCHANGED;
		else if (column->is_varlena &&
				 (toast_raw_datum_size(datum) > DECODER_VALUE_LIMIT ||
				  (Size) scratch->len > DECODER_TRANSACTION_LIMIT))
			value.state = WIRE_TOO_LARGE;
		else
		{
			int start = scratch->len;

			plinth_decoder_write_text(scratch, &column->type, datum);
			value.length = scratch->len - start;
			appendStringInfoCharMacro(scratch, '\0');
		}
		((WireValue *) scratch->data)[i] = value;
	}

	row = MemoryContextAllocHuge(context, scratch->len);
	memcpy(row, scratch->data, scratch->len);
	texts = (char *) row + head;
	for (int i = 0; i < ncolumns; i++)
		if (row[i].state == WIRE_TEXT)
		{
			row[i].text = texts;
			texts += row[i].length + 1;
		}

	return row;
}
