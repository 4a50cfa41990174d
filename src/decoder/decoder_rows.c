/*-------------------------------------------------------------------------
 *
 * decoder_rows.c
 *		The rows of a change, taken apart and judged by the row filter.
 *
 * A partition that is shown as its root gives its columns the root's places.
 * A large value that an UPDATE left alone is not in the WAL; it is taken from
 * the old row where that has it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "decoder/decoder_internal.h"

#include "access/htup_details.h"
#include "access/tupconvert.h"
#include "utils/rel.h"

#include "base/compat.h"

static void take_apart(const DecoderRelation *known, Relation relation,
					   HeapTuple *tuple, Datum *values, bool *nulls);
static void fill_in_unchanged(const DecoderRelation *known, DecoderRows *rows);

bool
plinth_decoder_rows(DecoderRelation *known, Relation relation,
					ReorderBufferChange *change, DecoderRows *rows)
{
	*rows = known->rows;
	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			rows->action = WIRE_INSERT;
			break;
		case REORDER_BUFFER_CHANGE_UPDATE:
			rows->action = WIRE_UPDATE;
			break;
		case REORDER_BUFFER_CHANGE_DELETE:
			rows->action = WIRE_DELETE;
			break;
		default:
			return false;
	}
	if (!known->publishes[rows->action])
		return false;

	rows->desc = known->desc != NULL ? known->desc : RelationGetDescr(relation);
	rows->old_tuple = plinth_change_tuple(change->data.tp.oldtuple);
	rows->new_tuple = plinth_change_tuple(change->data.tp.newtuple);
	if (rows->old_tuple != NULL)
		take_apart(known, relation, &rows->old_tuple, rows->old_values,
				   rows->old_nulls);
	if (rows->new_tuple != NULL)
		take_apart(known, relation, &rows->new_tuple, rows->new_values,
				   rows->new_nulls);
	if (rows->old_tuple != NULL && rows->new_tuple != NULL &&
		HeapTupleHasExternal(rows->new_tuple))
		fill_in_unchanged(known, rows);

	return known->filter == NULL || plinth_decoder_passes(known->filter, rows);
}

/*
 * The values of a row; one that is older than a column has the column's
 * missing value.  The tuple becomes one of the root's.
 */
static void
take_apart(const DecoderRelation *known, Relation relation, HeapTuple *tuple,
		   Datum *values, bool *nulls)
{
	if (known->map != NULL)
	{
		TupleConversionMap map = {0};
		int natts = RelationGetDescr(relation)->natts;

		map.indesc = RelationGetDescr(relation);
		map.outdesc = known->desc;
		map.attrMap = known->map;
		map.invalues = palloc(sizeof(Datum) * (natts + 1));
		map.inisnull = palloc(sizeof(bool) * (natts + 1));
		map.outvalues = values;
		map.outisnull = nulls;
		/* place 0 stands for columns that a partition lacks */
		map.invalues[0] = (Datum) 0;
		map.inisnull[0] = true;
		*tuple = execute_attr_map_tuple(*tuple, &map);
	}
	else
		heap_deform_tuple(*tuple, RelationGetDescr(relation), values, nulls);
}

static void
fill_in_unchanged(const DecoderRelation *known, DecoderRows *rows)
{
	for (int i = 0; i < known->wire->ncolumns; i++)
	{
		const DecoderColumn *column = &known->columns[i];
		int place = column->number - 1;

		if (!column->is_varlena || !column->in_old || rows->new_nulls[place] ||
			rows->old_nulls[place] ||
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(rows->new_values[place])) ||
			VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(rows->old_values[place])))
			continue;
		rows->new_values[place] = rows->old_values[place];
	}
}
