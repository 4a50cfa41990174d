/*-------------------------------------------------------------------------
 *
 * audit_key.c
 *		Stable identity of a row: its primary key.
 *
 * A key of one uuid column goes into record_id, which is indexed; any other
 * key is kept as a jsonb object in record_pk.  A table without a primary key
 * has neither.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/htup_details.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

static void mark_keys(AuditShape *shape, Form_pg_index index);

/*
 * Find the columns of the primary key, deferrable ones included.
 */
void
plinth_audit_find_key(Relation rel, AuditShape *shape)
{
	List *indexes = RelationGetIndexList(rel);
	ListCell *cell;

	shape->keys = palloc0(sizeof(bool) * Max(shape->ncolumns, 1));
	shape->uuid_key = -1;

	foreach (cell, indexes)
	{
		HeapTuple tuple =
			SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		bool found;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for index %u", lfirst_oid(cell));
		found = ((Form_pg_index) GETSTRUCT(tuple))->indisprimary;
		if (found)
			mark_keys(shape, (Form_pg_index) GETSTRUCT(tuple));
		ReleaseSysCache(tuple);
		if (found)
			break;
	}
	list_free(indexes);
}

static void
mark_keys(AuditShape *shape, Form_pg_index index)
{
	for (int k = 0; k < index->indnkeyatts; k++)
		for (int i = 0; i < shape->ncolumns; i++)
			if (shape->columns[i].attnum == index->indkey.values[k])
			{
				shape->keys[i] = true;
				shape->nkeys++;
				shape->uuid_key = i;
			}

	if (shape->nkeys != 1 || shape->columns[shape->uuid_key].type != UUIDOID ||
		shape->columns[shape->uuid_key].redacted)
		shape->uuid_key = -1;
}

/*
 * Put the row's key into the record.
 */
void
plinth_audit_row_key(const AuditShape *shape, TupleTableSlot *slot,
					 AuditRecord *record)
{
	if (shape->uuid_key >= 0)
	{
		bool is_null;
		Datum value =
			slot_getattr(slot, shape->columns[shape->uuid_key].attnum, &is_null);

		record->has_id = !is_null;
		if (!is_null)
			record->id = *DatumGetUUIDP(value);
	}
	else if (shape->nkeys > 0)
		record->key = plinth_audit_image(shape, slot, shape->keys);
}
