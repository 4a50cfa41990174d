/*-------------------------------------------------------------------------
 *
 * audit_row.c
 *		What an UPDATE changed.
 *
 * Pure over a shape and tuples: no locks, no settings, no clock, and no
 * catalog.  Results are in the current memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"

#include "base/compat.h"

static bool same_value(const AuditColumn *column, Datum a, Datum b);

/*
 * Find the columns in which two versions of a row differ, the ignored ones
 * left out.  Returns whether there are any.
 *
 * Values are compared byte by byte, as they would be shown: 1.0 and 1.00 are
 * different here.
 */
bool
plinth_audit_changes(const AuditShape *shape, TupleTableSlot *before,
					 TupleTableSlot *after, bool *changed)
{
	bool any = false;

	slot_getallattrs(before);
	slot_getallattrs(after);

	for (int i = 0; i < shape->ncolumns; i++)
	{
		const AuditColumn *column = &shape->columns[i];
		int at = column->attnum - 1;

		if (column->ignored)
			changed[i] = false;
		else if (before->tts_isnull[at] || after->tts_isnull[at])
			changed[i] = before->tts_isnull[at] != after->tts_isnull[at];
		else
			changed[i] = !same_value(column, before->tts_values[at],
									 after->tts_values[at]);
		any = any || changed[i];
	}

	return any;
}

/*
 * Names of some columns, in the order of the table, as text[].
 */
ArrayType *
plinth_audit_names(const AuditShape *shape, const bool *which)
{
	Datum *names = palloc(sizeof(Datum) * Max(shape->ncolumns, 1));
	int n = 0;

	for (int i = 0; i < shape->ncolumns; i++)
	{
		int at = shape->position[i];

		if (which[at])
			names[n++] = PointerGetDatum(cstring_to_text_with_len(
				shape->columns[at].name, shape->columns[at].name_length));
	}

	return construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT);
}

/*
 * Whether two values are the same, byte by byte.  A value that was moved out
 * of the row and not touched is the same stored value, which need not be
 * fetched to see it.
 */
static bool
same_value(const AuditColumn *column, Datum a, Datum b)
{
	if (column->length == -1 && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(a)) &&
		VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(b)) &&
		memcmp(DatumGetPointer(a), DatumGetPointer(b),
			   VARSIZE_EXTERNAL(DatumGetPointer(a))) == 0)
		return true;

	return datum_image_eq(a, b, column->by_value, column->length);
}
