/*-------------------------------------------------------------------------
 *
 * audit_target.c
 *		Which partition of the log takes a statement's records, and how.
 *
 * The table is ours, and so the rows take the short way: the partition is
 * found by its bounds, and neither rights nor policies nor constraints of the
 * caller's world are asked.  The only locks
 * are those of an ordinary INSERT; they stay until the transaction ends.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/syscache.h"
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

/*
 * The partition that took the last records, and the times that it takes;
 * none from the beginning and after an invalidation.
 */
static struct
{
	bool valid;
	Oid log;
	Oid partition;
	TimestampTz from;
	TimestampTz until; /* not included */
	AttrNumber attnums[AUDIT_LOG_COLUMNS];
} known;

/* Counts invalidations, to see one that comes while we look. */
static uint64 invalidations = 0;
static bool callbacks_registered = false;

static bool open_known(AuditTarget *target, TimestampTz at);
static void find_and_open(AuditTarget *target, TimestampTz at);
static void begin_to_know(void);
static void forget_relation(Datum arg, Oid relid);
static void forget_all(Datum arg, int cache, uint32 hash);
static Oid find_partition(Relation log, TimestampTz at, TimestampTz *from,
						  TimestampTz *until);
static void map_columns(AuditTarget *target);

/*
 * Open the log and the partition that takes the records of a time.
 *
 * Errors: 55000 the log is not installed or has no partition for that time.
 */
void
plinth_audit_target_open(AuditTarget *target, TimestampTz at)
{
	if (!open_known(target, at))
		find_and_open(target, at);
}

void
plinth_audit_target_close(AuditTarget *target)
{
	table_close(target->partition, NoLock);
	table_close(target->log, NoLock);
}

/*
 * Open what took the last records, if it is there still and takes these.
 *
 * The lock on the log comes first: while it is held no partition can go, and
 * what changed before has been heard of when it is granted.
 */
static bool
open_known(AuditTarget *target, TimestampTz at)
{
	if (!known.valid || at < known.from || at >= known.until)
		return false;

	target->log = try_table_open(known.log, RowExclusiveLock);
	if (target->log == NULL)
		return false;
	if (!known.valid)
	{
		table_close(target->log, NoLock);
		return false;
	}
	target->partition = table_open(known.partition, RowExclusiveLock);
	memcpy(target->attnums, known.attnums, sizeof(known.attnums));

	return true;
}

/*
 * Find the log by its name and the partition by its bounds, open both, and
 * know them from now on.
 */
static void
find_and_open(AuditTarget *target, TimestampTz at)
{
	Oid schema = get_namespace_oid(LOG_SCHEMA, true);
	Oid log =
		OidIsValid(schema) ? get_relname_relid(LOG_TABLE, schema) : InvalidOid;
	uint64 before;

	if (!OidIsValid(log) || get_rel_relkind(log) != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the audit log is not installed"),
						errhint("SELECT plinth.install('audit');")));

	begin_to_know();

	/* keeps partitions from being dropped under us */
	target->log = table_open(log, RowExclusiveLock);
	before = invalidations;
	known.valid = false;
	known.log = log;
	known.partition = find_partition(target->log, at, &known.from, &known.until);
	target->partition = table_open(known.partition, RowExclusiveLock);
	if (target->partition->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition \"%s\" of the audit log is no plain table",
						RelationGetRelationName(target->partition))));
	map_columns(target);
	memcpy(known.attnums, target->attnums, sizeof(known.attnums));
	known.valid = before == invalidations;
}

static void
begin_to_know(void)
{
	if (callbacks_registered)
		return;

	CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_all, (Datum) 0);
	callbacks_registered = true;
}

/*
 * A table has changed, or any may have.
 */
static void
forget_relation(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == known.log || relid == known.partition)
	{
		invalidations++;
		known.valid = false;
	}
}

/*
 * A schema may have another name.
 */
static void
forget_all(Datum arg, int cache, uint32 hash)
{
	forget_relation(arg, InvalidOid);
}

/*
 * Find the partition for a time; the default partition where the month has
 * none of its own.
 *
 *	from, until		times for which the answer is the same, the latter not
 *					included; none for the default partition
 */
static Oid
find_partition(Relation log, TimestampTz at, TimestampTz *from, TimestampTz *until)
{
	PartitionKey key = RelationGetPartitionKey(log);
	PartitionDesc partitions = RelationGetPartitionDesc(log, true);
	Datum value = TimestampTzGetDatum(at);
	int index = -1;
	bool is_equal;

	if (key->strategy != PARTITION_STRATEGY_RANGE || key->partnatts != 1)
		elog(ERROR, "the audit log is not partitioned by time");

	*from = *until = at;
	if (partitions->nparts > 0)
	{
		PartitionBoundInfo bounds = partitions->boundinfo;
		int offset = partition_range_datum_bsearch(
			key->partsupfunc, key->partcollation, bounds, 1, &value, &is_equal);

		index = bounds->indexes[offset + 1];
		if (index < 0)
			index = bounds->default_index;
		else if (bounds->kind[offset][0] == PARTITION_RANGE_DATUM_VALUE &&
				 bounds->kind[offset + 1][0] == PARTITION_RANGE_DATUM_VALUE)
		{
			*from = DatumGetTimestampTz(bounds->datums[offset][0]);
			*until = DatumGetTimestampTz(bounds->datums[offset + 1][0]);
		}
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
