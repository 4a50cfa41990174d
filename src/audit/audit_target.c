/*-------------------------------------------------------------------------
 *
 * audit_target.c
 *		Which partition of the log takes a statement's records, and how.
 *
 * The table is ours, and so the rows take the short way: the partition is
 * found by its bounds, its indexes are filled, and neither rights nor
 * policies nor constraints of the caller's world are asked.  The only locks
 * are those of an ordinary INSERT; they stay until the transaction ends.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/timestamp.h"

#include "base/compat.h"

#define LOG_SCHEMA "audit"
#define LOG_TABLE "audit_logs"

static const char *const column_names[AUDIT_LOG_COLUMNS] = {
	"id",
	"table_schema",
	"table_name",
	"record_id",
	"record_pk",
	"action",
	"old_data",
	"new_data",
	"changed_columns",
	"user_id",
	"user_email",
	"db_user",
	"ip_address",
	"user_agent",
	"session_id",
	"application_name",
	"era",
	"txid",
	"created_at",
};

static Oid find_partition(Relation log, TimestampTz at);
static void map_columns(AuditTarget *target);
static ResultRelInfo *skip_page_indexes(ResultRelInfo *all,
										const AttrNumber *attnums);
static bool is_page_index(Relation index, const IndexInfo *info,
						  const AttrNumber *attnums);

/*
 * Open the log and the partition that takes the records of a time.
 *
 * Errors: 55000 the log is not installed or has no partition for that time.
 */
void
plinth_audit_target_open(AuditTarget *target, TimestampTz at)
{
	Oid schema = get_namespace_oid(LOG_SCHEMA, true);
	Oid log =
		OidIsValid(schema) ? get_relname_relid(LOG_TABLE, schema) : InvalidOid;

	if (!OidIsValid(log) || get_rel_relkind(log) != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the audit log is not installed"),
						errhint("SELECT plinth.install('audit');")));

	/* keeps partitions from being dropped under us */
	target->log = table_open(log, RowExclusiveLock);
	target->partition =
		table_open(find_partition(target->log, at), RowExclusiveLock);
	if (target->partition->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition \"%s\" of the audit log is no plain table",
						RelationGetRelationName(target->partition))));
	map_columns(target);

	target->all = makeNode(ResultRelInfo);
	InitResultRelInfo(target->all, target->partition, 1, NULL, 0);
	ExecOpenIndices(target->all, false);
	target->within_page = skip_page_indexes(target->all, target->attnums);
	target->page = InvalidBlockNumber;
	target->estate = CreateExecutorState();
}

/*
 * Put a record that has been written into the indexes.
 */
void
plinth_audit_target_index(AuditTarget *target, TupleTableSlot *slot)
{
	BlockNumber page = ItemPointerGetBlockNumber(&slot->tts_tid);

	plinth_insert_index_tuples(page == target->page ? target->within_page
													: target->all,
							   slot, target->estate);
	ResetPerTupleExprContext(target->estate);
	target->page = page;
}

void
plinth_audit_target_close(AuditTarget *target)
{
	ExecCloseIndices(target->all);
	FreeExecutorState(target->estate);
	table_close(target->partition, NoLock);
	table_close(target->log, NoLock);
}

/*
 * Find the partition for a time; the default partition where the month has
 * none of its own.
 */
static Oid
find_partition(Relation log, TimestampTz at)
{
	PartitionKey key = RelationGetPartitionKey(log);
	PartitionDesc partitions = RelationGetPartitionDesc(log, true);
	Datum value = TimestampTzGetDatum(at);
	int index = -1;
	bool is_equal;

	if (key->strategy != PARTITION_STRATEGY_RANGE || key->partnatts != 1)
		elog(ERROR, "the audit log is not partitioned by time");

	if (partitions->nparts > 0)
	{
		PartitionBoundInfo bounds = partitions->boundinfo;
		int offset = partition_range_datum_bsearch(
			key->partsupfunc, key->partcollation, bounds, 1, &value, &is_equal);

		index = bounds->indexes[offset + 1];
		if (index < 0)
			index = bounds->default_index;
	}
	if (index < 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the audit log has no partition for today, "
							   "and no default partition"),
						errhint("SELECT audit.ensure_partitions();")));

	return partitions->oids[index];
}

/*
 * Find our columns in the partition, which need not have the log's order.
 */
static void
map_columns(AuditTarget *target)
{
	TupleDesc tupdesc = RelationGetDescr(target->partition);

	for (int i = 0; i < AUDIT_LOG_COLUMNS; i++)
	{
		AttrNumber attnum = i + 1;

		if (attnum > tupdesc->natts ||
			TupleDescAttr(tupdesc, attnum - 1)->attisdropped ||
			namestrcmp(&TupleDescAttr(tupdesc, attnum - 1)->attname,
					   column_names[i]) != 0)
			attnum =
				get_attnum(RelationGetRelid(target->partition), column_names[i]);
		if (attnum == InvalidAttrNumber)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
							errmsg("the audit log has no column \"%s\"",
								   column_names[i])));
		target->attnums[i] = attnum;
	}
}

/*
 * A BRIN index keeps the range of values of some pages.  All records of a
 * statement have the same time and table, so on each page it needs to see
 * the first of them only.  Make the partition's description for the others.
 *
 * This holds while the index is summarized at the same time: the range then
 * counts what lies on the page, and there lies a record with these values.
 */
static ResultRelInfo *
skip_page_indexes(ResultRelInfo *all, const AttrNumber *attnums)
{
	ResultRelInfo *rest = palloc(sizeof(ResultRelInfo));
	int n = 0;

	*rest = *all;
	rest->ri_IndexRelationDescs =
		palloc(sizeof(Relation) * Max(all->ri_NumIndices, 1));
	rest->ri_IndexRelationInfo =
		palloc(sizeof(IndexInfo *) * Max(all->ri_NumIndices, 1));
	for (int i = 0; i < all->ri_NumIndices; i++)
	{
		Relation index = all->ri_IndexRelationDescs[i];
		IndexInfo *info = all->ri_IndexRelationInfo[i];

		if (index != NULL && is_page_index(index, info, attnums))
			continue;
		rest->ri_IndexRelationDescs[n] = index;
		rest->ri_IndexRelationInfo[n] = info;
		n++;
	}
	rest->ri_NumIndices = n;

	return rest;
}

static bool
is_page_index(Relation index, const IndexInfo *info, const AttrNumber *attnums)
{
	if (index->rd_rel->relam != BRIN_AM_OID || info->ii_Expressions != NIL ||
		info->ii_Predicate != NIL)
		return false;

	for (int i = 0; i < info->ii_NumIndexAttrs; i++)
		if (info->ii_IndexAttrNumbers[i] != attnums[AUDIT_LOG_TABLE_SCHEMA] &&
			info->ii_IndexAttrNumbers[i] != attnums[AUDIT_LOG_TABLE_NAME] &&
			info->ii_IndexAttrNumbers[i] != attnums[AUDIT_LOG_CREATED_AT])
			return false;

	return true;
}
