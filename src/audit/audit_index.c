/*-------------------------------------------------------------------------
 *
 * audit_index.c
 *		Index entries of the records of a statement.
 *
 * There are three kinds of indexes.
 *
 * A BRIN index keeps the range of values of some pages.  All records of a
 * statement have the same time and table, so on each page it needs to see the
 * first of them only.  This holds while the index is summarized at the same
 * time: the range then counts what lies on the page, and there lies a record
 * with these values.
 *
 * A b-tree that begins with the row's id is filled in the order of its keys,
 * many records at once.  Ids are random, and taken as they come each entry
 * would touch another page.  No other statement sees the records before this
 * one ends, so none misses the entries.
 *
 * All other indexes see each record when it is written.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/genam.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "miscadmin.h"

#include "base/compat.h"

/* So many entries wait for their order: 24 bytes each. */
#define PENDING_ENTRIES 65536

typedef enum IndexKind
{
	INDEX_OF_PAGES,
	INDEX_OF_IDS,
	INDEX_OF_RECORDS
} IndexKind;

/* A record that is not in the indexes of ids yet. */
typedef struct Pending
{
	pg_uuid_t id;
	bool has_id;
	ItemPointerData at;
} Pending;

struct AuditIndexes
{
	ResultRelInfo *all;
	ResultRelInfo *of[INDEX_OF_RECORDS + 1]; /* parts of all, by kind */
	const AuditTarget *target;
	const AuditValues *common;
	EState *estate;	  /* NULL where no index needs one */
	BlockNumber page; /* of the last record */
	Pending *pending;
	int capacity;
	int used;
};

static ResultRelInfo *indexes_of(const AuditIndexes *indexes, IndexKind kind);
static IndexKind kind_of(Relation index, const IndexInfo *info,
						 const AttrNumber *attnums);
static AuditLogColumn column_of(AttrNumber attnum, const AttrNumber *attnums);
static void insert_page(AuditIndexes *indexes, ItemPointer at);
static void insert_pending(AuditIndexes *indexes);
static void common_values(const AuditIndexes *indexes, const IndexInfo *info,
						  int from, Datum *values, bool *nulls);
static int compare_pending(const void *a, const void *b);

/*
 * Open the indexes of the target's partition.
 *
 *	common		what all records of the statement have in common; is kept
 *	expected	number of records to come, a guess that decides on memory only
 */
AuditIndexes *
plinth_audit_index_open(const AuditTarget *target, const AuditValues *common,
						int64 expected)
{
	AuditIndexes *indexes = palloc0(sizeof(AuditIndexes));

	indexes->target = target;
	indexes->common = common;
	indexes->all = makeNode(ResultRelInfo);
	InitResultRelInfo(indexes->all, target->partition, 1, NULL, 0);
	ExecOpenIndices(indexes->all, false);
	for (int kind = 0; kind <= INDEX_OF_RECORDS; kind++)
		indexes->of[kind] = indexes_of(indexes, kind);
	if (indexes->of[INDEX_OF_RECORDS]->ri_NumIndices > 0)
		indexes->estate = CreateExecutorState();
	indexes->page = InvalidBlockNumber;
	indexes->capacity = (int) Max(Min(expected, PENDING_ENTRIES), 1);
	indexes->pending = palloc(sizeof(Pending) * indexes->capacity);

	return indexes;
}

/*
 * Take a record that has been written.
 */
void
plinth_audit_index_add(AuditIndexes *indexes, TupleTableSlot *slot)
{
	BlockNumber page = ItemPointerGetBlockNumber(&slot->tts_tid);
	AttrNumber id = indexes->target->attnums[AUDIT_LOG_RECORD_ID];
	bool no_id;
	Datum value;
	Pending *entry;

	if (page != indexes->page)
		insert_page(indexes, &slot->tts_tid);
	indexes->page = page;

	if (indexes->estate != NULL)
	{
		plinth_insert_index_tuples(indexes->of[INDEX_OF_RECORDS], slot,
								   indexes->estate);
		ResetPerTupleExprContext(indexes->estate);
	}

	if (indexes->used == indexes->capacity)
		insert_pending(indexes);
	entry = &indexes->pending[indexes->used++];
	value = slot_getattr(slot, id, &no_id);
	entry->has_id = !no_id;
	if (!no_id)
		entry->id = *DatumGetUUIDP(value);
	entry->at = slot->tts_tid;
}

/*
 * Put in what waits, and close the indexes.
 */
void
plinth_audit_index_close(AuditIndexes *indexes)
{
	insert_pending(indexes);
	ExecCloseIndices(indexes->all);
	if (indexes->estate != NULL)
		FreeExecutorState(indexes->estate);
}

/*
 * The partition with its indexes of one kind only.
 */
static ResultRelInfo *
indexes_of(const AuditIndexes *indexes, IndexKind kind)
{
	const ResultRelInfo *all = indexes->all;
	ResultRelInfo *some = palloc(sizeof(ResultRelInfo));
	int n = 0;

	*some = *all;
	some->ri_IndexRelationDescs =
		palloc(sizeof(Relation) * Max(all->ri_NumIndices, 1));
	some->ri_IndexRelationInfo =
		palloc(sizeof(IndexInfo *) * Max(all->ri_NumIndices, 1));
	for (int i = 0; i < all->ri_NumIndices; i++)
	{
		Relation index = all->ri_IndexRelationDescs[i];
		IndexInfo *info = all->ri_IndexRelationInfo[i];

		if (index == NULL || !info->ii_ReadyForInserts ||
			kind_of(index, info, indexes->target->attnums) != kind)
			continue;
		some->ri_IndexRelationDescs[n] = index;
		some->ri_IndexRelationInfo[n] = info;
		n++;
	}
	some->ri_NumIndices = n;

	return some;
}

static IndexKind
kind_of(Relation index, const IndexInfo *info, const AttrNumber *attnums)
{
	bool is_brin = index->rd_rel->relam == BRIN_AM_OID;
	bool is_btree = index->rd_rel->relam == BTREE_AM_OID;

	if (!(is_brin || is_btree) || info->ii_Expressions != NIL ||
		info->ii_Predicate != NIL || info->ii_Unique ||
		info->ii_ExclusionOps != NULL)
		return INDEX_OF_RECORDS;

	for (int i = 0; i < info->ii_NumIndexAttrs; i++)
		switch (column_of(info->ii_IndexAttrNumbers[i], attnums))
		{
			case AUDIT_LOG_TABLE_SCHEMA:
			case AUDIT_LOG_TABLE_NAME:
			case AUDIT_LOG_CREATED_AT:
				/* the same in all records, and never null */
				if (is_btree && i == 0)
					return INDEX_OF_RECORDS;
				break;
			case AUDIT_LOG_RECORD_ID:
				if (is_brin || i > 0)
					return INDEX_OF_RECORDS;
				break;
			default:
				return INDEX_OF_RECORDS;
		}

	return is_brin ? INDEX_OF_PAGES : INDEX_OF_IDS;
}

/*
 * Which column of the log is this?  AUDIT_LOG_COLUMNS when it is none of ours.
 */
static AuditLogColumn
column_of(AttrNumber attnum, const AttrNumber *attnums)
{
	int column = 0;

	while (column < AUDIT_LOG_COLUMNS && attnums[column] != attnum)
		column++;

	return column;
}

/*
 * Put the first record of a page into the indexes of pages.
 */
static void
insert_page(AuditIndexes *indexes, ItemPointer at)
{
	const ResultRelInfo *of_pages = indexes->of[INDEX_OF_PAGES];

	for (int i = 0; i < of_pages->ri_NumIndices; i++)
	{
		IndexInfo *info = of_pages->ri_IndexRelationInfo[i];
		Datum values[INDEX_MAX_KEYS];
		bool nulls[INDEX_MAX_KEYS];

		common_values(indexes, info, 0, values, nulls);
		index_insert(of_pages->ri_IndexRelationDescs[i], values, nulls, at,
					 indexes->target->partition, UNIQUE_CHECK_NO, false, info);
	}
}

/*
 * Put what waits into the indexes of ids, in the order of the ids.
 */
static void
insert_pending(AuditIndexes *indexes)
{
	const ResultRelInfo *of_ids = indexes->of[INDEX_OF_IDS];

	if (of_ids->ri_NumIndices > 0 && indexes->used > 1)
		qsort(indexes->pending, indexes->used, sizeof(Pending), compare_pending);

	for (int i = 0; i < of_ids->ri_NumIndices; i++)
	{
		IndexInfo *info = of_ids->ri_IndexRelationInfo[i];
		Datum values[INDEX_MAX_KEYS];
		bool nulls[INDEX_MAX_KEYS];

		common_values(indexes, info, 1, values, nulls);
		for (int n = 0; n < indexes->used; n++)
		{
			Pending *entry = &indexes->pending[n];

			CHECK_FOR_INTERRUPTS();
			values[0] = UUIDPGetDatum(&entry->id);
			nulls[0] = !entry->has_id;
			index_insert(of_ids->ri_IndexRelationDescs[i], values, nulls,
						 &entry->at, indexes->target->partition,
						 UNIQUE_CHECK_NO, false, info);
		}
	}

	indexes->used = 0;
}

/*
 * Fill in an index's columns that all records of the statement have in
 * common, from one of them on.
 */
static void
common_values(const AuditIndexes *indexes, const IndexInfo *info, int from,
			  Datum *values, bool *nulls)
{
	for (int k = from; k < info->ii_NumIndexAttrs; k++)
	{
		AuditLogColumn column =
			column_of(info->ii_IndexAttrNumbers[k], indexes->target->attnums);

		values[k] = indexes->common->values[column];
		nulls[k] = indexes->common->nulls[column];
	}
}

/*
 * By id, those without one last; the same id in the order of writing.
 */
static int
compare_pending(const void *a, const void *b)
{
	const Pending *left = a;
	const Pending *right = b;
	int result;

	if (left->has_id != right->has_id)
		return left->has_id ? -1 : 1;
	if (left->has_id)
	{
		result = memcmp(&left->id, &right->id, sizeof(pg_uuid_t));
		if (result != 0)
			return result;
	}

	return ItemPointerCompare(unconstify(ItemPointerData *, &left->at),
							  unconstify(ItemPointerData *, &right->at));
}
