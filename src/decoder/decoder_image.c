/*-------------------------------------------------------------------------
 *
 * decoder_image.c
 *		A row of the WAL as a tuple that outlives its decoding.
 *
 * The row that a callback is handed may point to large values that are put
 * together for the callback's time only, lack columns whose missing value the
 * catalog of that moment has, or point to values that the WAL does not carry.
 * The image that is kept has every column in it, or says that it does not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_internal.h"

#include "access/detoast.h"
#include "access/htup_details.h"

#include "base/compat.h"

static Bitmapset *resolve(const DecoderRelation *known, TupleDesc desc,
						  Datum *values, bool *nulls, const Datum *old_values,
						  const bool *old_nulls, const Bitmapset *old_unknown);

/*
 * Keep the images of a change in a context of the caller's; whatever else is
 * needed is left in the current one.
 */
void
plinth_decoder_keep_images(const DecoderRelation *known, TupleDesc desc,
						   HeapTuple old_tuple, HeapTuple new_tuple,
						   WireChange *change, MemoryContext context)
{
	HeapTuple tuples[2] = {old_tuple, new_tuple};
	Datum *values[2] = {NULL, NULL};
	bool *nulls[2] = {NULL, NULL};
	Bitmapset *unknown[2] = {NULL, NULL};
	HeapTuple kept[2] = {NULL, NULL};
	MemoryContext old_context;

	for (int i = 0; i < 2; i++)
	{
		HeapTuple tuple = tuples[i];

		if (tuple == NULL)
			continue;
		if (!HeapTupleHasExternal(tuple) &&
			HeapTupleHeaderGetNatts(tuple->t_data) == desc->natts)
		{
			old_context = MemoryContextSwitchTo(context);
			kept[i] = heap_copytuple(tuple);
			kept[i]->t_tableOid = known->relid; /* not set while decoding */
			MemoryContextSwitchTo(old_context);
			continue;
		}

		values[i] = palloc(sizeof(Datum) * desc->natts);
		nulls[i] = palloc(sizeof(bool) * desc->natts);
		heap_deform_tuple(tuple, desc, values[i], nulls[i]);
		if (i == 1 && kept[0] != NULL)
		{
			values[0] = palloc(sizeof(Datum) * desc->natts);
			nulls[0] = palloc(sizeof(bool) * desc->natts);
			heap_deform_tuple(kept[0], desc, values[0], nulls[0]);
		}
		unknown[i] =
			resolve(known, desc, values[i], nulls[i],
					i == 1 && kept[0] ? values[0] : NULL, nulls[0], unknown[0]);

		old_context = MemoryContextSwitchTo(context);
		kept[i] = heap_form_tuple(desc, values[i], nulls[i]);
		kept[i]->t_tableOid = known->relid;
		unknown[i] = bms_copy(unknown[i]);
		MemoryContextSwitchTo(old_context);
	}

	change->old_tuple = kept[0];
	change->new_tuple = kept[1];
	change->old_unknown = unknown[0];
	change->new_unknown = unknown[1];
}

/*
 * Make values that are kept elsewhere part of the row.  Returns the numbers of
 * the columns where that cannot be; these are set to NULL.
 */
static Bitmapset *
resolve(const DecoderRelation *known, TupleDesc desc, Datum *values,
		bool *nulls, const Datum *old_values, const bool *old_nulls,
		const Bitmapset *old_unknown)
{
	Bitmapset *unknown = NULL;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);
		struct varlena *value;

		if (attribute->attisdropped || attribute->attlen != -1 || nulls[i])
			continue;
		value = (struct varlena *) DatumGetPointer(values[i]);
		if (!VARATT_IS_EXTERNAL(value))
			continue;

		if (VARATT_IS_EXTERNAL_ONDISK(value))
		{
			if (old_values != NULL && known->wire->identity_full &&
				!bms_is_member(attribute->attnum, old_unknown))
			{
				values[i] = old_values[i];
				nulls[i] = old_nulls[i];
				continue;
			}
		}
		else if (toast_raw_datum_size(values[i]) <= DECODER_VALUE_LIMIT)
		{
			values[i] = PointerGetDatum(detoast_external_attr(value));
			continue;
		}
		nulls[i] = true;
		unknown = bms_add_member(unknown, attribute->attnum);
	}
	return unknown;
}
