/*-------------------------------------------------------------------------
 *
 * audit_verify.c
 *		Is the log what was sealed?
 *
 * Seals and records are read under one snapshot.  The records of the range
 * are read once, in the order (era, txid, created_at, id), which within each
 * seal is the order of its tree: so each seal has a tree that grows leaf by
 * leaf, and is done with when the transactions have passed its snapshot.
 * Only the records of a seal that does not hold are read again, to be named.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "audit/audit_verify.h"
#include "base/compat.h"

#define FETCH_RECORDS 1000

/* Say how far it is every so often. */
#define PROGRESS_MS 10000

static void read_checks(AuditVerify *verify, TimestampTz from, TimestampTz to);
static void *allocate(Size size, int count);
static void sort_eras(AuditVerify *verify);
static int compare_eras(const void *a, const void *b);
static void check_chain(AuditVerify *verify);
static void check_link(AuditVerify *verify, int index);
static bool hash_is_of(AuditVerify *verify, const bytea *hash, int64 *id);
static void check_records(AuditVerify *verify, TimestampTz from, TimestampTz to);
static void check_record(AuditVerify *verify, HeapTuple tuple, TupleDesc tupdesc,
						 TimestampTz from, TimestampTz to, StringInfo bytes);
static void finish_check(AuditVerify *verify, AuditCheck *check);

/*
 * plinth.audit_verify(from_time timestamptz, to_time timestamptz, head jsonb)
 *		-> setof (seal_id bigint, status text, detail text)
 *
 * One row for each seal that has records of the range, both ends included,
 * NULL for no end; and one for the head, an earlier audit.head(), if it is
 * no longer in the chain.  Rights are the caller's.
 *
 * Errors: 22023 head is not one; 55000 the log is not installed, or the key
 * of a seal is not in the keyring.
 */
PG_FUNCTION_INFO_V1(plinth_sql_audit_verify);
Datum
plinth_sql_audit_verify(PG_FUNCTION_ARGS)
{
	TimestampTz from = PG_ARGISNULL(0) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(0);
	TimestampTz to = PG_ARGISNULL(1) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(1);
	AuditVerify verify = {.results = (ReturnSetInfo *) fcinfo->resultinfo};

	plinth_audit_require_seals();
	InitMaterializedSRF(fcinfo, 0);

	SPI_connect();
	verify.context = CurrentMemoryContext;
	read_checks(&verify, from, to);
	plinth_audit_read_purges(&verify);
	check_chain(&verify);
	check_records(&verify, from, to);
	for (int i = 0; i < verify.count; i++)
		if (verify.checks[i].touched || verify.checks[i].nfaults > 0)
			plinth_audit_report(&verify, &verify.checks[i]);
	if (!PG_ARGISNULL(2))
		plinth_audit_check_head(&verify, PG_GETARG_DATUM(2));
	SPI_finish();

	return (Datum) 0;
}

/*
 * Read all seals: those out of the range are needed to know which seal a
 * record belongs to.  The leaves, which are large, are read for those whose
 * hash is asked for.
 */
static void
read_checks(AuditVerify *verify, TimestampTz from, TimestampTz to)
{
	Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum values[] = {TimestampTzGetDatum(from), TimestampTzGetDatum(to)};

	if (SPI_execute_with_args(
			"SELECT id, era, snapshot::text, first_at, last_at, rows, root,"
			" previous, CASE WHEN near THEN sha256(leaves) END, signature,"
			" key_id, sealed_at, touched, near"
			" FROM (SELECT *, touched OR coalesce(lead(touched) OVER w, false)"
			" OR coalesce(lag(touched) OVER w, false) AS near"
			" FROM (SELECT *, first_at <= $2 AND last_at >= $1 AS touched"
			" FROM audit.seals) AS s WINDOW w AS (ORDER BY id)) AS s"
			" ORDER BY id",
			2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the seals of the audit log");

	verify->count = (int) SPI_processed;
	verify->checks = allocate(sizeof(AuditCheck), verify->count);
	for (int i = 0; i < verify->count; i++)
	{
		AuditCheck *check = &verify->checks[i];
		bool is_null;

		CHECK_FOR_INTERRUPTS();
		plinth_audit_seal_read(&check->seal, SPI_tuptable->vals[i],
							   SPI_tuptable->tupdesc);
		check->touched = DatumGetBool(
			SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
						  AUDIT_SEAL_NCOLUMNS + 1, &is_null));
		check->near = DatumGetBool(
			SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
						  AUDIT_SEAL_NCOLUMNS + 2, &is_null));
	}
	SPI_freetuptable(SPI_tuptable);
	sort_eras(verify);
}

/*
 * Zeroed memory for an array, which may be over a gigabyte.
 */
static void *
allocate(Size size, int count)
{
	Size bytes = mul_size(size, Max(count, 1));
	void *array = MemoryContextAllocHuge(CurrentMemoryContext, bytes);

	memset(array, 0, bytes);

	return array;
}

/*
 * The seals of each era in their order.
 */
static void
sort_eras(AuditVerify *verify)
{
	verify->by_era = allocate(sizeof(AuditCheck *), verify->count);
	for (int i = 0; i < verify->count; i++)
		verify->by_era[i] = &verify->checks[i];
	qsort(verify->by_era, verify->count, sizeof(AuditCheck *), compare_eras);
}

static int
compare_eras(const void *a, const void *b)
{
	const AuditSeal *left = &(*(AuditCheck *const *) a)->seal;
	const AuditSeal *right = &(*(AuditCheck *const *) b)->seal;

	if (left->era != right->era)
		return left->era < right->era ? -1 : 1;

	return left->id < right->id ? -1 : left->id > right->id;
}

/*
 * Check signatures, and that each seal holds the hash of the one before.
 */
static void
check_chain(AuditVerify *verify)
{
	for (int i = 0; i < verify->count; i++)
	{
		AuditCheck *check = &verify->checks[i];

		CHECK_FOR_INTERRUPTS();
		if (!check->near)
			continue;
		plinth_audit_seal_hash(&check->seal, &check->hash);
		check->signature_fault = plinth_audit_seal_fault(&check->seal);
		if (check->signature_fault != NULL && check->touched)
			plinth_audit_fault(verify, check, AUDIT_CHANGED, "the seal: %s",
							   check->signature_fault);
	}
	for (int i = 0; i < verify->count; i++)
		if (verify->checks[i].touched || (i > 0 && verify->checks[i - 1].touched))
			check_link(verify, i);
}

/*
 * A seal that is itself not what it was says nothing about the one before.
 */
static void
check_link(AuditVerify *verify, int index)
{
	AuditCheck *check = &verify->checks[index];
	AuditCheck *before = index > 0 ? &verify->checks[index - 1] : NULL;
	int64 other;

	if (check->signature_fault != NULL)
		return;
	if (before == NULL
			? check->seal.previous == NULL
			: plinth_audit_same_hash(check->seal.previous, &before->hash))
		return;

	check->unlinked = true;
	if (before != NULL && before->signature_fault != NULL)
	{
		/* which is said of that one, if it is asked for */
		if (!before->touched)
			plinth_audit_fault(
				verify, check, AUDIT_CHANGED, "seal %lld before it: %s",
				(long long) before->seal.id, before->signature_fault);
	}
	else if (hash_is_of(verify, check->seal.previous, &other))
		plinth_audit_fault(verify, check, AUDIT_REORDERED,
						   "the seal before it was %lld", (long long) other);
	else if (before != NULL)
		plinth_audit_fault(verify, check, AUDIT_REMOVED,
						   "at least one seal between %lld and %lld is missing",
						   (long long) before->seal.id,
						   (long long) check->seal.id);
	else
		plinth_audit_fault(verify, check, AUDIT_REMOVED,
						   "at least one seal before %lld is missing",
						   (long long) check->seal.id);
}

static bool
hash_is_of(AuditVerify *verify, const bytea *hash, int64 *id)
{
	for (int i = 0; i < verify->count; i++)
		if (verify->checks[i].near &&
			plinth_audit_same_hash(hash, &verify->checks[i].hash))
		{
			*id = verify->checks[i].seal.id;
			return true;
		}

	return false;
}

/*
 * Read the records from the first to the last that the seals in question
 * could have, and all of the range.
 */
static void
check_records(AuditVerify *verify, TimestampTz from, TimestampTz to)
{
	Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum values[2];
	TimestampTz low = from;
	TimestampTz high = to;
	TimestampTz said = GetCurrentTimestamp();
	int64 records = 0;
	StringInfoData bytes;
	MemoryContext context;
	Portal portal;

	for (int i = 0; i < verify->count; i++)
		if (verify->checks[i].touched)
		{
			low = Min(low, verify->checks[i].seal.first_at);
			high = Max(high, verify->checks[i].seal.last_at);
		}
	values[0] = TimestampTzGetDatum(low);
	values[1] = TimestampTzGetDatum(high);
	portal = SPI_cursor_open_with_args(
		NULL,
		"SELECT " AUDIT_RECORD_COLUMNS " FROM audit.audit_logs"
		" WHERE created_at >= $1 AND created_at <= $2"
		" ORDER BY era, txid, created_at, id",
		2, types, values, NULL, true, 0);

	initStringInfo(&bytes);
	context = AllocSetContextCreate(CurrentMemoryContext, "plinth audit verify",
									ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_RECORDS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			MemoryContext caller = MemoryContextSwitchTo(context);

			CHECK_FOR_INTERRUPTS();
			check_record(verify, SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
						 from, to, &bytes);
			MemoryContextSwitchTo(caller);
			MemoryContextReset(context);
		}
		SPI_freetuptable(SPI_tuptable);
		records += FETCH_RECORDS;
		if (TimestampDifferenceExceeds(said, GetCurrentTimestamp(), PROGRESS_MS))
		{
			ereport(NOTICE,
					(errmsg("%lld records of the audit log verified, %d "
							"of %d seals passed",
							(long long) records, verify->passed, verify->count)));
			said = GetCurrentTimestamp();
		}
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
	MemoryContextDelete(context);
	pfree(bytes.data);

	while (verify->passed < verify->count)
		finish_check(verify, verify->by_era[verify->passed++]);
}

/*
 * Put a record into the tree of its seal.  The current context is emptied
 * afterwards.
 */
static void
check_record(AuditVerify *verify, HeapTuple tuple, TupleDesc tupdesc,
			 TimestampTz from, TimestampTz to, StringInfo bytes)
{
	bool is_null;
	int16 era =
		DatumGetInt16(SPI_getbinval(tuple, tupdesc, AUDIT_LOG_ERA + 1, &is_null));
	uint64 txid = (uint64) DatumGetInt64(
		SPI_getbinval(tuple, tupdesc, AUDIT_LOG_TXID + 1, &is_null));
	TimestampTz at = DatumGetTimestampTz(
		SPI_getbinval(tuple, tupdesc, AUDIT_LOG_CREATED_AT + 1, &is_null));
	AuditCheck *check;
	AuditHash leaf;

	/* done with the seals that can get no more records */
	while (verify->passed < verify->count &&
		   (verify->by_era[verify->passed]->seal.era < era ||
			(verify->by_era[verify->passed]->seal.era == era &&
			 verify->by_era[verify->passed]->seal.snapshot.next <= txid)))
		finish_check(verify, verify->by_era[verify->passed++]);

	check = plinth_audit_seal_of(verify, era, txid);
	if (check == NULL)
		return; /* not sealed yet */

	if (at < check->seal.first_at || at > check->seal.last_at)
	{
		/* of a seal that is missing, if it is the next that has it */
		if (at >= from && at <= to && !check->unlinked)
			plinth_audit_fault(
				verify, check, AUDIT_ADDED, "record %s",
				plinth_audit_record_name(DatumGetUUIDP(
					SPI_getbinval(tuple, tupdesc, AUDIT_LOG_ID + 1, &is_null))));
		return;
	}
	if (!check->touched)
		return;

	if (check->tree == NULL)
		check->tree = MemoryContextAllocZero(verify->context, sizeof(AuditTree));
	resetStringInfo(bytes);
	plinth_audit_encode_record(bytes, tuple, tupdesc);
	plinth_audit_leaf_hash(bytes->data, bytes->len, &leaf);
	plinth_audit_tree_add(check->tree, &leaf);
}

/*
 * All records of the seal have been seen: are they what was sealed?
 */
static void
finish_check(AuditVerify *verify, AuditCheck *check)
{
	AuditTree none = {0};
	AuditTree *tree = check->tree != NULL ? check->tree : &none;
	AuditHash root;

	if (!check->touched)
		return;

	check->found = tree->count;
	plinth_audit_tree_root(tree, &root);
	check->holds = tree->count == check->seal.rows &&
				   plinth_audit_same_hash(check->seal.root, &root);
	if (check->tree != NULL)
		pfree(check->tree);
	check->tree = NULL;
}

/*
 * The seal that a record of that transaction belongs to: the first of its
 * era whose snapshot sees it.  NULL when there is none yet.
 */
AuditCheck *
plinth_audit_seal_of(AuditVerify *verify, int16 era, uint64 txid)
{
	int low = 0;
	int high = verify->count;

	while (low < high)
	{
		int middle = low + (high - low) / 2;
		const AuditSeal *seal = &verify->by_era[middle]->seal;

		if (seal->era > era || (seal->era == era && plinth_audit_snapshot_sees(
														&seal->snapshot, txid)))
			high = middle;
		else
			low = middle + 1;
	}

	if (low == verify->count || verify->by_era[low]->seal.era != era)
		return NULL;

	return verify->by_era[low];
}
