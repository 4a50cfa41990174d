/*-------------------------------------------------------------------------
 *
 * audit_report.c
 *		What is wrong with a seal, in words.
 *
 * The root of a tree says only that something is different.  The seal's
 * leaves, which its signature covers, say which record: they are compared
 * with the records that are there, by id.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "audit/audit_verify.h"
#include "base/bytes.h"
#include "base/compat.h"

/* So many faults of a seal are named. */
#define NAMED_FAULTS 10

#define FETCH_RECORDS 1000

static const char *const status_names[] = {
	[AUDIT_OK] = "ok",			 [AUDIT_PURGED] = "purged",
	[AUDIT_CHANGED] = "changed", [AUDIT_REORDERED] = "reordered",
	[AUDIT_ADDED] = "added",	 [AUDIT_REMOVED] = "removed",
};

/* A record that was sealed. */
typedef struct SealedRecord
{
	pg_uuid_t id; /* hash key - MUST BE FIRST */
	uint8 prefix[AUDIT_LEAF_PREFIX];
	int64 place;
	bool found;
} SealedRecord;

static void explain(AuditVerify *verify, AuditCheck *check);
static bool purged_at(const AuditVerify *verify, TimestampTz at,
					  TimestampTz *until);
static bool purged_all(const AuditVerify *verify, const AuditSeal *seal);
static void count_records(AuditVerify *verify, AuditCheck *check);
static const AuditLeaf *read_leaves(const AuditCheck *check, int64 *count);
static void compare(AuditVerify *verify, AuditCheck *check,
					const AuditLeaf *leaves, int64 count);
static void compare_record(AuditVerify *verify, AuditCheck *check, HTAB *sealed,
						   HeapTuple tuple, TupleDesc tupdesc, int64 *place);
static void report_missing(AuditVerify *verify, AuditCheck *check,
						   const AuditLeaf *leaves, int64 count, HTAB *sealed);
static void put_result(AuditVerify *verify, int64 seal_id, AuditStatus status,
					   const char *detail);

/*
 * Errors: 55000 the log is not installed.
 */
void
plinth_audit_require_seals(void)
{
	if (!OidIsValid(plinth_audit_seals_table()))
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the audit log is not installed"),
						errhint("SELECT plinth.install('audit');")));
}

/*
 * Read which months were purged.
 */
void
plinth_audit_read_purges(AuditVerify *verify)
{
	bool is_null;

	if (SPI_execute(
			"SELECT m.month AT TIME ZONE 'UTC',"
			" (m.month + interval '1 month') AT TIME ZONE 'UTC'"
			" FROM (SELECT DISTINCT make_timestamp("
			"  substring(table_name FROM 'y([0-9]+)m')::integer,"
			"  substring(table_name FROM 'm([0-9]+)$')::integer, 1, 0, 0, 0)"
			"  AS month FROM audit.marks WHERE kind = 'purge'"
			"  AND table_name ~ '^audit_logs_y[0-9]{4,6}m(0[1-9]|1[012])$') AS m"
			" ORDER BY 1",
			true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the marks of the audit log");

	verify->npurges = (int) SPI_processed;
	verify->purges = palloc(sizeof(AuditPurge) * Max(verify->npurges, 1));
	for (int i = 0; i < verify->npurges; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];

		verify->purges[i].from = DatumGetTimestampTz(
			SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &is_null));
		verify->purges[i].to = DatumGetTimestampTz(
			SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &is_null));
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Remember a fault of a seal; the first few are spelled out.
 */
void
plinth_audit_fault(AuditVerify *verify, AuditCheck *check, AuditStatus status,
				   const char *format, ...)
{
	MemoryContext caller = MemoryContextSwitchTo(verify->context);

	check->status = Max(check->status, status);
	check->nfaults++;
	if (check->nfaults <= NAMED_FAULTS)
	{
		int saved_errno = errno;

		if (check->detail == NULL)
			check->detail = makeStringInfo();
		else
			appendStringInfoString(check->detail, "; ");
		appendStringInfo(check->detail, "%s: ", status_names[status]);
		for (;;)
		{
			va_list arguments;
			int needed;

			errno = saved_errno;
			va_start(arguments, format);
			needed = appendStringInfoVA(check->detail, format, arguments);
			va_end(arguments);
			if (needed == 0)
				break;
			enlargeStringInfo(check->detail, needed);
		}
	}
	MemoryContextSwitchTo(caller);
}

const char *
plinth_audit_record_name(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}

/*
 * Put the seal's row into the result.
 */
void
plinth_audit_report(AuditVerify *verify, AuditCheck *check)
{
	/*
	 * A seal that was changed says nothing about its records, and what a
	 * missing seal had cannot be told from what the next one has.
	 */
	if (check->touched && !check->holds && check->signature_fault == NULL &&
		!(check->unlinked && check->status != AUDIT_OK))
		explain(verify, check);

	if (check->nfaults > NAMED_FAULTS)
		appendStringInfo(check->detail, "; and %d more",
						 check->nfaults - NAMED_FAULTS);
	put_result(verify, check->seal.id, check->status,
			   check->detail != NULL ? check->detail->data : NULL);
}

/*
 * Look whether the head, which was kept elsewhere, is still in the chain.
 *
 * Errors: 22023 it is no head.
 */
void
plinth_audit_check_head(AuditVerify *verify, Datum head)
{
	Oid types[] = {JSONBOID};
	Datum values[] = {head};
	int64 id;
	char *hash;
	char *signature;
	AuditSeal seal;
	AuditHash found;
	char hex[PLINTH_HEX_SIZE(AUDIT_HASH_SIZE) + 1];

	if (SPI_execute_with_args(
			"SELECT $1 ->> 'seal_id', $1 ->> 'hash', $1 ->> 'signature'"
			" WHERE jsonb_typeof($1) = 'object'"
			" AND $1 ->> 'seal_id' ~ '^[0-9]{1,18}$'"
			" AND $1 ->> 'hash' IS NOT NULL AND $1 ->> 'signature' IS NOT NULL",
			1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a head of the audit log");
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid head of the audit log"),
						errdetail("It must be what audit.head() has returned.")));
	/* at most 18 digits */
	id = strtoll(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
				 NULL, 10);
	hash = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	signature = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3);

	types[0] = INT8OID;
	values[0] = Int64GetDatum(id);
	if (SPI_execute_with_args("SELECT " AUDIT_SEAL_COLUMNS
							  " FROM audit.seals WHERE id = $1",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a seal of the audit log");
	if (SPI_processed == 0)
	{
		put_result(verify, id, AUDIT_REMOVED,
				   "removed: the head's seal, which was the last, and perhaps "
				   "others before and after it");
		return;
	}

	plinth_audit_seal_read(&seal, SPI_tuptable->vals[0], SPI_tuptable->tupdesc);
	plinth_audit_seal_hash(&seal, &found);
	plinth_bytes_to_hex(found.bytes, AUDIT_HASH_SIZE, hex);
	if (strcmp(hex, hash) != 0)
		put_result(verify, id, AUDIT_CHANGED,
				   "changed: the seal is not the one of the head");
	else
	{
		Size size = VARSIZE_ANY_EXHDR(seal.signature);
		char *stored = palloc(PLINTH_HEX_SIZE(size) + 1);

		plinth_bytes_to_hex(VARDATA_ANY(seal.signature), size, stored);
		if (strcmp(stored, signature) != 0)
			put_result(verify, id, AUDIT_CHANGED,
					   "changed: the signature is not the one of the head");
	}
}

/*
 * The records are not those that were sealed: say how.
 */
static void
explain(AuditVerify *verify, AuditCheck *check)
{
	const AuditLeaf *leaves;
	int64 count;

	if (check->found == 0 && purged_all(verify, &check->seal))
	{
		plinth_audit_fault(verify, check, AUDIT_PURGED, "all %lld records",
						   (long long) check->seal.rows);
		return;
	}

	leaves = read_leaves(check, &count);
	if (leaves == NULL || count != check->seal.rows)
		count_records(verify, check);
	else
		compare(verify, check, leaves, count);

	if (check->status == AUDIT_OK)
		plinth_audit_fault(verify, check, AUDIT_CHANGED,
						   "the records do not give the root of the seal");
}

/*
 * Was the month of that time purged?  Then until is where it ends.
 */
static bool
purged_at(const AuditVerify *verify, TimestampTz at, TimestampTz *until)
{
	for (int i = 0; i < verify->npurges; i++)
		if (at >= verify->purges[i].from && at < verify->purges[i].to)
		{
			*until = verify->purges[i].to;
			return true;
		}

	return false;
}

static bool
purged_all(const AuditVerify *verify, const AuditSeal *seal)
{
	TimestampTz at = seal->first_at;

	while (at <= seal->last_at)
		if (!purged_at(verify, at, &at))
			return false;

	return true;
}

/*
 * Without leaves there is only the number of records.
 */
static void
count_records(AuditVerify *verify, AuditCheck *check)
{
	TimestampTz until;
	int64 difference = check->found - check->seal.rows;

	if (difference > 0)
		plinth_audit_fault(verify, check, AUDIT_ADDED, "%lld records",
						   (long long) difference);
	else if (difference == 0)
		plinth_audit_fault(verify, check, AUDIT_CHANGED,
						   "at least one of %lld records",
						   (long long) check->seal.rows);
	else if (purged_at(verify, check->seal.first_at, &until) ||
			 purged_at(verify, check->seal.last_at, &until))
		plinth_audit_fault(verify, check, AUDIT_PURGED,
						   "%lld of %lld records; the others cannot be checked",
						   (long long) -difference, (long long) check->seal.rows);
	else
		plinth_audit_fault(verify, check, AUDIT_REMOVED, "%lld records",
						   (long long) -difference);
}

/*
 * The leaves of a seal, or NULL when it keeps none.  They stay where SPI has
 * put them.
 */
static const AuditLeaf *
read_leaves(const AuditCheck *check, int64 *count)
{
	Oid types[] = {INT8OID};
	Datum values[] = {Int64GetDatum(check->seal.id)};
	bytea *leaves;
	Datum value;
	bool is_null;

	if (SPI_execute_with_args("SELECT leaves FROM audit.seals WHERE id = $1", 1,
							  types, values, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read a seal of the audit log");
	value =
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	if (is_null)
		return NULL;

	leaves = DatumGetByteaPP(value);
	*count = VARSIZE_ANY_EXHDR(leaves) / sizeof(AuditLeaf);

	return (const AuditLeaf *) VARDATA_ANY(leaves);
}

/*
 * Compare the records that are there with the leaves of the seal.
 */
static void
compare(AuditVerify *verify, AuditCheck *check, const AuditLeaf *leaves,
		int64 count)
{
	HASHCTL info = {.keysize = sizeof(pg_uuid_t),
					.entrysize = sizeof(SealedRecord),
					.hcxt = CurrentMemoryContext};
	HTAB *sealed = hash_create("plinth audit sealed records", Max(count, 16),
							   &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	Oid types[] = {INT2OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum values[] = {Int16GetDatum(check->seal.era),
					  TimestampTzGetDatum(check->seal.first_at),
					  TimestampTzGetDatum(check->seal.last_at)};
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "plinth audit compare", ALLOCSET_DEFAULT_SIZES);
	int64 place = -1;
	Portal portal;

	for (int64 i = 0; i < count; i++)
	{
		SealedRecord *record =
			hash_search(sealed, &leaves[i].id, HASH_ENTER, NULL);

		memcpy(record->prefix, leaves[i].prefix, AUDIT_LEAF_PREFIX);
		record->place = i;
		record->found = false;
	}

	portal = SPI_cursor_open_with_args(
		NULL,
		"SELECT " AUDIT_RECORD_COLUMNS " FROM audit.audit_logs"
		" WHERE era = $1 AND created_at >= $2 AND created_at <= $3"
		" ORDER BY txid, created_at, id",
		3, types, values, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_RECORDS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			MemoryContext caller = MemoryContextSwitchTo(context);

			CHECK_FOR_INTERRUPTS();
			compare_record(verify, check, sealed, SPI_tuptable->vals[i],
						   SPI_tuptable->tupdesc, &place);
			MemoryContextSwitchTo(caller);
			MemoryContextReset(context);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);

	report_missing(verify, check, leaves, count, sealed);
	hash_destroy(sealed);
	MemoryContextDelete(context);
}

/*
 * place is that of the last record that was found, which must rise.
 */
static void
compare_record(AuditVerify *verify, AuditCheck *check, HTAB *sealed,
			   HeapTuple tuple, TupleDesc tupdesc, int64 *place)
{
	bool is_null;
	uint64 txid = (uint64) DatumGetInt64(
		SPI_getbinval(tuple, tupdesc, AUDIT_LOG_TXID + 1, &is_null));
	pg_uuid_t *id =
		DatumGetUUIDP(SPI_getbinval(tuple, tupdesc, AUDIT_LOG_ID + 1, &is_null));
	SealedRecord *record;
	StringInfoData bytes;
	AuditHash leaf;

	if (plinth_audit_seal_of(verify, check->seal.era, txid) != check)
		return;

	record = hash_search(sealed, id, HASH_FIND, NULL);
	if (record == NULL || record->found)
	{
		plinth_audit_fault(verify, check, AUDIT_ADDED, "record %s",
						   plinth_audit_record_name(id));
		return;
	}
	record->found = true;

	initStringInfo(&bytes);
	plinth_audit_encode_record(&bytes, tuple, tupdesc);
	plinth_audit_leaf_hash(bytes.data, bytes.len, &leaf);
	if (record->place < *place)
		plinth_audit_fault(verify, check, AUDIT_REORDERED, "record %s",
						   plinth_audit_record_name(id));
	else if (memcmp(record->prefix, leaf.bytes, AUDIT_LEAF_PREFIX) != 0)
		plinth_audit_fault(verify, check, AUDIT_CHANGED, "record %s",
						   plinth_audit_record_name(id));
	*place = Max(*place, record->place);
}

/*
 * What was sealed and is not there: purged, or removed.  An id tells the
 * time of its record.
 */
static void
report_missing(AuditVerify *verify, AuditCheck *check, const AuditLeaf *leaves,
			   int64 count, HTAB *sealed)
{
	int64 purged = 0;
	TimestampTz until;

	for (int64 i = 0; i < count; i++)
	{
		SealedRecord *record =
			hash_search(sealed, &leaves[i].id, HASH_FIND, NULL);

		if (record->found)
			continue;
		if (purged_at(verify, plinth_audit_id_time(&leaves[i].id), &until))
			purged++;
		else
			plinth_audit_fault(verify, check, AUDIT_REMOVED, "record %s",
							   plinth_audit_record_name(&leaves[i].id));
	}
	if (purged > 0)
		plinth_audit_fault(verify, check, AUDIT_PURGED, "%lld of %lld records",
						   (long long) purged, (long long) count);
}

/*
 * The time inside of a uuid of version 7, to the millisecond.
 */
TimestampTz
plinth_audit_id_time(const pg_uuid_t *id)
{
	const int64 epoch = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
						SECS_PER_DAY * INT64CONST(1000000);
	int64 milliseconds = 0;

	for (int i = 0; i < 6; i++)
		milliseconds = milliseconds << 8 | id->data[i];

	return milliseconds * 1000 - epoch;
}

static void
put_result(AuditVerify *verify, int64 seal_id, AuditStatus status,
		   const char *detail)
{
	Datum values[3] = {Int64GetDatum(seal_id),
					   CStringGetTextDatum(status_names[status]), (Datum) 0};
	bool nulls[3] = {false, false, detail == NULL};

	if (detail != NULL)
		values[2] = CStringGetTextDatum(detail);
	tuplestore_putvalues(verify->results->setResult, verify->results->setDesc,
						 values, nulls);
}
