/*-------------------------------------------------------------------------
 *
 * audit_write.c
 *		Records of one statement into the log's current partition.
 *
 * The table is ours, and so the rows take the short way: the partition is
 * found by its bounds, its indexes are filled, and neither rights nor
 * policies nor constraints of the caller's world are asked.  The only locks
 * are those of an ordinary INSERT.
 *
 * Records are collected in a context that is emptied with each batch.  Its
 * first block is large where many records are expected: giving the memory
 * back to the system and taking it again costs more than the records do.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/partcache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "base/compat.h"
#include "base/names.h"
#include "claims/claims.h"

#define AUDIT_SCHEMA "audit"
#define AUDIT_LOG "audit_logs"
#define AUDIT_MODULE "audit"

/* A batch ends at this many records, or bytes of images. */
#define AUDIT_BATCH_RECORDS 1000
#define AUDIT_BATCH_BYTES (4 * 1024 * 1024)

/* From this many records on the batch context is a large one. */
#define AUDIT_MANY_RECORDS 64

/* Columns of the log, in its order. */
typedef enum LogColumn
{
	LOG_ID,
	LOG_TABLE_SCHEMA,
	LOG_TABLE_NAME,
	LOG_RECORD_ID,
	LOG_RECORD_PK,
	LOG_ACTION,
	LOG_OLD_DATA,
	LOG_NEW_DATA,
	LOG_CHANGED_COLUMNS,
	LOG_USER_ID,
	LOG_USER_EMAIL,
	LOG_DB_USER,
	LOG_IP_ADDRESS,
	LOG_USER_AGENT,
	LOG_SESSION_ID,
	LOG_APPLICATION_NAME,
	LOG_ERA,
	LOG_TXID,
	LOG_CREATED_AT,
	LOG_COLUMNS
} LogColumn;

static const char *const log_column_names[LOG_COLUMNS] = {
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

struct AuditWriter
{
	MemoryContext batch;		/* records until they are written */
	Relation log;				/* the partitioned table */
	Relation partition;			/* where this statement's records go */
	ResultRelInfo *target;		/* the partition with all its indexes */
	ResultRelInfo *within_page; /* without those that see pages only */
	BlockNumber page;			/* of the last record that was indexed */
	EState *estate;
	BulkInsertState bulk; /* NULL until a second batch comes */
	TupleTableSlot **slots;
	int capacity; /* of slots */
	int used;
	Size bytes; /* of images in the batch */
	CommandId command;
	const char *last_action; /* whose text action_text is */
	Datum action_text;
	AttrNumber attnums[LOG_COLUMNS];
	Datum values[LOG_COLUMNS]; /* what all records have in common */
	bool nulls[LOG_COLUMNS];
};

/*
 * The statement that this backend last wrote records for.  All its records
 * have one time, whichever trigger writes them, and rising ids.
 */
static struct
{
	FullTransactionId transaction;
	CommandId command;
	TimestampTz at;
	uint64 next; /* random part of the next id, 61 bits at the start */
} statement;

/* The era, looked up once a transaction. */
static struct
{
	FullTransactionId transaction;
	int16 number;
} era;

static void open_log(AuditWriter *writer);
static ResultRelInfo *skip_page_indexes(ResultRelInfo *target,
										const AttrNumber *attnums);
static bool is_page_index(Relation index, const IndexInfo *info,
						  const AttrNumber *attnums);
static Oid find_partition(Relation log, TimestampTz at);
static void map_columns(AuditWriter *writer);
static void begin_statement(void);
static void set_common(AuditWriter *writer, const AuditShape *shape);
static void set_actor(AuditWriter *writer);
static void set_value(AuditWriter *writer, LogColumn column, Datum value);
static void set_text(AuditWriter *writer, LogColumn column, const char *text);
static int16 current_era(void);
static int16 read_era(Oid relid);
static pg_uuid_t *next_id(void);
static void flush(AuditWriter *writer);

/*
 * Begin to write the records of a statement.
 *
 *	expected	number of records to come, a guess that decides on memory only
 *
 * Errors: 55000 the log is not installed or has no partition for today.
 */
AuditWriter *
plinth_audit_write_begin(const AuditShape *shape, int64 expected)
{
	AuditWriter *writer = palloc0(sizeof(AuditWriter));

	begin_statement();
	open_log(writer);
	map_columns(writer);
	writer->within_page = skip_page_indexes(writer->target, writer->attnums);
	writer->page = InvalidBlockNumber;
	set_common(writer, shape);

	writer->capacity = (int) Max(Min(expected, AUDIT_BATCH_RECORDS), 1);
	writer->slots = palloc0(sizeof(TupleTableSlot *) * writer->capacity);
	writer->command = GetCurrentCommandId(true);
	if (expected >= AUDIT_MANY_RECORDS)
		writer->batch = AllocSetContextCreate(
			CurrentMemoryContext, "plinth audit batch", 2 * 1024 * 1024,
			2 * 1024 * 1024, 8 * 1024 * 1024);
	else
		writer->batch = AllocSetContextCreate(
			CurrentMemoryContext, "plinth audit batch", ALLOCSET_DEFAULT_SIZES);

	return writer;
}

/*
 * The context in which to build the next record.  plinth_audit_write() may
 * empty it.
 */
MemoryContext
plinth_audit_write_context(AuditWriter *writer)
{
	return writer->batch;
}

/*
 * Take a record.  What it leads to lies in the writer's context or in one
 * that lives longer than the writer; the caller is not in the writer's.
 */
void
plinth_audit_write(AuditWriter *writer, const AuditRecord *record)
{
	TupleTableSlot *slot = writer->slots[writer->used];
	MemoryContext caller;

	if (slot == NULL)
	{
		slot = table_slot_create(writer->partition, NULL);
		writer->slots[writer->used] = slot;
	}

	if (writer->last_action != record->action)
	{
		writer->action_text = CStringGetTextDatum(record->action);
		writer->last_action = record->action;
	}

	caller = MemoryContextSwitchTo(writer->batch);
	set_value(writer, LOG_ID, UUIDPGetDatum(next_id()));
	set_value(writer, LOG_ACTION, writer->action_text);
	writer->nulls[LOG_RECORD_ID] = !record->has_id;
	if (record->has_id)
	{
		pg_uuid_t *id = palloc(sizeof(pg_uuid_t));

		*id = record->id;
		writer->values[LOG_RECORD_ID] = UUIDPGetDatum(id);
	}
	writer->nulls[LOG_RECORD_PK] = record->key == NULL;
	writer->values[LOG_RECORD_PK] = PointerGetDatum(record->key);
	writer->nulls[LOG_OLD_DATA] = record->before == NULL;
	writer->values[LOG_OLD_DATA] = PointerGetDatum(record->before);
	writer->nulls[LOG_NEW_DATA] = record->after == NULL;
	writer->values[LOG_NEW_DATA] = PointerGetDatum(record->after);
	writer->nulls[LOG_CHANGED_COLUMNS] = record->changed == NULL;
	writer->values[LOG_CHANGED_COLUMNS] = PointerGetDatum(record->changed);
	MemoryContextSwitchTo(caller);

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true,
		   sizeof(bool) * slot->tts_tupleDescriptor->natts);
	for (int i = 0; i < LOG_COLUMNS; i++)
	{
		slot->tts_values[writer->attnums[i] - 1] = writer->values[i];
		slot->tts_isnull[writer->attnums[i] - 1] = writer->nulls[i];
	}
	ExecStoreVirtualTuple(slot);

	writer->used++;
	if (record->before != NULL)
		writer->bytes += VARSIZE(record->before);
	if (record->after != NULL)
		writer->bytes += VARSIZE(record->after);
	if (writer->used == writer->capacity || writer->bytes > AUDIT_BATCH_BYTES)
		flush(writer);
}

/*
 * Write what is left and let go of the log; its locks stay until the
 * transaction ends, as after any INSERT.
 */
void
plinth_audit_write_end(AuditWriter *writer)
{
	flush(writer);

	if (writer->bulk != NULL)
	{
		FreeBulkInsertState(writer->bulk);
		table_finish_bulk_insert(writer->partition, 0);
	}
	for (int i = 0; i < writer->capacity && writer->slots[i] != NULL; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecCloseIndices(writer->target);
	FreeExecutorState(writer->estate);
	table_close(writer->partition, NoLock);
	table_close(writer->log, NoLock);
	MemoryContextDelete(writer->batch);
}

/*
 * Open the log and the partition that takes the statement's records.
 */
static void
open_log(AuditWriter *writer)
{
	Oid schema = get_namespace_oid(AUDIT_SCHEMA, true);
	Oid log =
		OidIsValid(schema) ? get_relname_relid(AUDIT_LOG, schema) : InvalidOid;

	if (!OidIsValid(log) || get_rel_relkind(log) != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the audit log is not installed"),
						errhint("SELECT plinth.install('audit');")));

	/* keeps partitions from being dropped under us */
	writer->log = table_open(log, RowExclusiveLock);
	writer->partition =
		table_open(find_partition(writer->log, statement.at), RowExclusiveLock);
	if (writer->partition->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("partition \"%s\" of the audit log is no plain table",
						RelationGetRelationName(writer->partition))));

	writer->target = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->target, writer->partition, 1, NULL, 0);
	ExecOpenIndices(writer->target, false);
	writer->estate = CreateExecutorState();
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
skip_page_indexes(ResultRelInfo *target, const AttrNumber *attnums)
{
	ResultRelInfo *rest = palloc(sizeof(ResultRelInfo));
	int n = 0;

	*rest = *target;
	rest->ri_IndexRelationDescs =
		palloc(sizeof(Relation) * Max(target->ri_NumIndices, 1));
	rest->ri_IndexRelationInfo =
		palloc(sizeof(IndexInfo *) * Max(target->ri_NumIndices, 1));
	for (int i = 0; i < target->ri_NumIndices; i++)
	{
		Relation index = target->ri_IndexRelationDescs[i];
		IndexInfo *info = target->ri_IndexRelationInfo[i];

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
		if (info->ii_IndexAttrNumbers[i] != attnums[LOG_TABLE_SCHEMA] &&
			info->ii_IndexAttrNumbers[i] != attnums[LOG_TABLE_NAME] &&
			info->ii_IndexAttrNumbers[i] != attnums[LOG_CREATED_AT])
			return false;

	return true;
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
map_columns(AuditWriter *writer)
{
	TupleDesc tupdesc = RelationGetDescr(writer->partition);

	for (int i = 0; i < LOG_COLUMNS; i++)
	{
		AttrNumber attnum = i + 1;

		if (attnum > tupdesc->natts ||
			TupleDescAttr(tupdesc, attnum - 1)->attisdropped ||
			namestrcmp(&TupleDescAttr(tupdesc, attnum - 1)->attname,
					   log_column_names[i]) != 0)
			attnum = get_attnum(RelationGetRelid(writer->partition),
								log_column_names[i]);
		if (attnum == InvalidAttrNumber)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
							errmsg("the audit log has no column \"%s\"",
								   log_column_names[i])));
		writer->attnums[i] = attnum;
	}
}

/*
 * Take the time, unless the statement has it already.
 */
static void
begin_statement(void)
{
	FullTransactionId transaction = GetTopFullTransactionId();
	CommandId command = GetCurrentCommandId(false);

	if (FullTransactionIdEquals(statement.transaction, transaction) &&
		statement.command == command)
		return;

	if (!pg_strong_random(&statement.next, sizeof(statement.next)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not generate random values")));
	statement.next >>= 3;
	statement.at = GetCurrentTimestamp();
	statement.command = command;
	statement.transaction = transaction;
}

/*
 * What all records of the statement have in common.
 */
static void
set_common(AuditWriter *writer, const AuditShape *shape)
{
	memset(writer->nulls, true, sizeof(writer->nulls));

	set_text(writer, LOG_TABLE_SCHEMA, shape->schema);
	set_text(writer, LOG_TABLE_NAME, shape->table);
	set_value(writer, LOG_ERA, Int16GetDatum(current_era()));
	set_value(writer, LOG_TXID, FullTransactionIdGetDatum(statement.transaction));
	set_value(writer, LOG_CREATED_AT, TimestampTzGetDatum(statement.at));
	set_actor(writer);
}

/*
 * Who does it, and from where.  An anonymous caller has no user; what is not
 * known is null.
 */
static void
set_actor(AuditWriter *writer)
{
	const ClaimsIdentity *identity = plinth_claims_current();
	char *session_user = GetUserNameFromId(GetSessionUserId(), true);
	Datum address;

	if (identity != NULL && identity->has_user)
		set_value(writer, LOG_USER_ID, UUIDPGetDatum(&identity->user_id));
	if (identity != NULL && identity->has_session)
		set_value(writer, LOG_SESSION_ID, UUIDPGetDatum(&identity->session_id));
	if (identity != NULL)
		set_text(writer, LOG_USER_EMAIL, identity->email);

	/* a role that is dropped in its own session leaves its number */
	if (session_user == NULL)
		session_user = psprintf("%u", GetSessionUserId());
	set_text(writer, LOG_DB_USER, session_user);

	if (plinth_audit_client_address(&address))
		set_value(writer, LOG_IP_ADDRESS, address);
	set_text(writer, LOG_USER_AGENT, plinth_claims_user_agent());
	if (application_name != NULL && application_name[0] != '\0')
		set_text(writer, LOG_APPLICATION_NAME, application_name);
}

static void
set_value(AuditWriter *writer, LogColumn column, Datum value)
{
	writer->values[column] = value;
	writer->nulls[column] = false;
}

/*
 * Set a text; NULL leaves the column null.
 */
static void
set_text(AuditWriter *writer, LogColumn column, const char *text)
{
	if (text != NULL)
		set_value(writer, column, CStringGetTextDatum(text));
}

/*
 * The era tells transaction ids of this cluster from those of the cluster
 * that the database was dumped in; it is 1 until it is raised.
 */
static int16
current_era(void)
{
	if (!FullTransactionIdEquals(era.transaction, statement.transaction))
	{
		Oid schema = get_namespace_oid(PLINTH_SCHEMA, true);
		Oid relid = OidIsValid(schema)
						? get_relname_relid("installed_modules", schema)
						: InvalidOid;

		era.number = OidIsValid(relid) ? read_era(relid) : 1;
		era.transaction = statement.transaction;
	}

	return era.number;
}

/*
 * Read the era of our module.  The table has a row for each module, so it is
 * read from end to end.
 */
static int16
read_era(Oid relid)
{
	AttrNumber module = get_attnum(relid, "module");
	AttrNumber number = get_attnum(relid, "era");
	Relation rel = table_open(relid, AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan = table_beginscan(rel, GetActiveSnapshot(), 0, NULL);
	int16 found = 1;

	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool no_module;
		bool no_era;
		Datum name = slot_getattr(slot, module, &no_module);
		Datum value = slot_getattr(slot, number, &no_era);

		if (!no_module && !no_era &&
			strcmp(TextDatumGetCString(name), AUDIT_MODULE) == 0)
			found = DatumGetInt16(value);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(rel, AccessShareLock);

	return found;
}

/*
 * Make the next id of the statement: a time-ordered uuid of version 7, in
 * the current context.
 *
 * 48 bits of milliseconds since 1970, 12 bits of the fraction of the
 * millisecond, then 62 bits that begin at random with each statement and
 * rise by one, so that the records of a statement sort as they were written.
 *
 * Source: RFC 9562 sections 5.7 and 6.2, methods 2 and 3.
 */
static pg_uuid_t *
next_id(void)
{
	const int64 epoch = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
						SECS_PER_DAY * INT64CONST(1000000);
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	int64 microseconds = statement.at + epoch;
	uint64 milliseconds = microseconds / 1000;
	uint64 fraction = (microseconds % 1000) * 4096 / 1000;
	uint64 random = statement.next++ & UINT64CONST(0x3fffffffffffffff);
	uint64 high = (milliseconds << 16) | UINT64CONST(0x7000) | fraction;
	uint64 low = UINT64CONST(0x8000000000000000) | random;

	for (int i = 0; i < 8; i++)
	{
		id->data[i] = (unsigned char) (high >> (56 - 8 * i));
		id->data[8 + i] = (unsigned char) (low >> (56 - 8 * i));
	}

	return id;
}

/*
 * Write the batch and empty its context.
 */
static void
flush(AuditWriter *writer)
{
	if (writer->used == 0)
		return;

	CHECK_FOR_INTERRUPTS();

	table_multi_insert(writer->partition, writer->slots, writer->used,
					   writer->command, 0, writer->bulk);
	for (int i = 0; i < writer->used; i++)
	{
		TupleTableSlot *slot = writer->slots[i];
		BlockNumber page = ItemPointerGetBlockNumber(&slot->tts_tid);

		plinth_insert_index_tuples(page == writer->page ? writer->within_page
														: writer->target,
								   slot, writer->estate);
		writer->page = page;
		ResetPerTupleExprContext(writer->estate);
		ExecClearTuple(slot);
	}

	/* more than one batch is worth keeping a page pinned between them */
	if (writer->bulk == NULL && writer->used == AUDIT_BATCH_RECORDS)
		writer->bulk = GetBulkInsertState();

	writer->used = 0;
	writer->bytes = 0;
	MemoryContextReset(writer->batch);
}
