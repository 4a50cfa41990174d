/*-------------------------------------------------------------------------
 *
 * audit_batch.c
 *		Which records the next seal is over: never many more than a batch.
 *
 * A seal's records are those of the transactions that its snapshot sees and
 * the one before did not.  When there are more than a batch of them the
 * snapshot is cut: it sees only the transactions below some id.  Where to
 * cut is found out once for all batches, in one pass over what has no seal,
 * and remembered while their seals are made, each in a transaction of its
 * own.  A transaction is never divided, and what was running at the last
 * seal and has ended since is in the first batch.
 *
 * Records are found by their time.  Those of transactions that began after
 * an uncut snapshot are not older than it.  Those of a transaction that was
 * running then are not older than the last uncut snapshot before it.  A cut
 * snapshot says nothing about time, so it is told apart: its oldest
 * transaction is one that is not running, which the server's never is.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "audit/audit.h"
#include "audit/audit_seal.h"

/* The clock may have been set back by so much between two seals. */
#define CLOCK_SLACK (60 * USECS_PER_SEC)

/* Transactions fetched at once. */
#define FETCH_TRANSACTIONS 1000

/* A seal to be made. */
typedef struct PlannedBatch
{
	uint64 next; /* transactions below are seen */
	TimestampTz first_at;
	TimestampTz last_at;
} PlannedBatch;

/*
 * The batches that are left of a pass, in memory that lasts; none while
 * made == count.
 */
static struct
{
	MemoryContext context;
	int16 era;
	int64 last_seal; /* the seal before the next batch */
	TimestampTz at;	 /* before the snapshot */
	char *snapshot_text;
	AuditSnapshot snapshot;
	int count;
	int made;
	PlannedBatch *batches;
} plan;

bool plinth_audit_seal_more = false;

static bool next_planned(AuditSeal *seal, const AuditSeal *last,
						 AuditRange *range);
static void take_snapshot(AuditSeal *seal);
static TimestampTz look_back(const AuditSeal *seal, const AuditSeal *last);
static bool is_small(const AuditSeal *seal, const AuditSeal *last,
					 TimestampTz low);
static void make_plan(const AuditSeal *seal, const AuditSeal *last,
					  TimestampTz low);
static void add_transaction(HeapTuple tuple, TupleDesc tupdesc, uint64 cut_from,
							int64 *records);
static char *cut_snapshot(const AuditSnapshot *snapshot, uint64 next);
static void set_arguments(Datum *values, const AuditSeal *seal,
						  const AuditSeal *last, TimestampTz low);

/*
 * Choose the time and the snapshot of the next seal, and the times between
 * which its records are.
 *
 *	seal	its era is set
 *	last	the last seal of the era, or NULL
 */
void
plinth_audit_batch_begin(AuditSeal *seal, const AuditSeal *last, AuditRange *range)
{
	TimestampTz low;

	if (next_planned(seal, last, range))
		return;

	/* the time comes before the snapshot, so no later record is older */
	seal->sealed_at = GetCurrentTimestamp();
	take_snapshot(seal);
	low = look_back(seal, last);
	if (is_small(seal, last, low))
	{
		range->first_at = low;
		range->last_at = DT_NOEND;
		return;
	}

	make_plan(seal, last, low);
	if (!next_planned(seal, last, range))
		elog(ERROR, "no batch of the audit log to be sealed");
}

/*
 * The seal of the batch has been made.
 */
void
plinth_audit_batch_end(const AuditSeal *seal)
{
	if (plan.made == plan.count)
		return;

	plan.last_seal = seal->id;
	plan.made++;
	plinth_audit_seal_more = plan.made < plan.count;
}

/*
 * Go on with the plan, if it is still good: nobody else has made a seal, and
 * the last one was committed.
 */
static bool
next_planned(AuditSeal *seal, const AuditSeal *last, AuditRange *range)
{
	const PlannedBatch *batch;

	if (plan.made == plan.count)
		return false;
	if (plan.era != seal->era || plan.last_seal != (last != NULL ? last->id : 0))
	{
		plan.made = plan.count;
		return false;
	}

	batch = &plan.batches[plan.made];
	seal->sealed_at = plan.at;
	seal->snapshot_text = plan.made == plan.count - 1
							  ? pstrdup(plan.snapshot_text)
							  : cut_snapshot(&plan.snapshot, batch->next);
	plinth_audit_snapshot_read(&seal->snapshot, seal->snapshot_text);
	range->first_at = batch->first_at;
	range->last_at = batch->last_at;

	return true;
}

static void
take_snapshot(AuditSeal *seal)
{
	bool is_null;

	if (SPI_execute("SELECT pg_current_snapshot()::text", false, 1) !=
			SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not take a snapshot");
	seal->snapshot_text = TextDatumGetCString(SPI_getbinval(
		SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	SPI_freetuptable(SPI_tuptable);
	plinth_audit_snapshot_read(&seal->snapshot, seal->snapshot_text);
}

/*
 * The time that no record without a seal comes before.
 */
static TimestampTz
look_back(const AuditSeal *seal, const AuditSeal *last)
{
	uint64 first = last != NULL ? last->snapshot.next : 0;
	Oid types[] = {INT2OID, INT8OID};
	Datum values[2];
	TimestampTz low = DT_NOBEGIN;
	bool is_null;

	/* which of those that were running then is the first to have ended? */
	for (int i = 0; last != NULL && i < last->snapshot.count; i++)
		if (plinth_audit_snapshot_sees(&seal->snapshot, last->snapshot.running[i]))
		{
			first = last->snapshot.running[i];
			break;
		}

	values[0] = Int16GetDatum(seal->era);
	values[1] = Int64GetDatum((int64) first);
	if (SPI_execute_with_args(
			"SELECT s.sealed_at FROM audit.seals AS s WHERE s.era = $1"
			" AND pg_snapshot_xmax(s.snapshot) <= $2::text::xid8"
			" AND pg_snapshot_xmin(s.snapshot) = coalesce("
			"  (SELECT min(x) FROM pg_snapshot_xip(s.snapshot) AS x),"
			"  pg_snapshot_xmax(s.snapshot))"
			" ORDER BY s.id DESC LIMIT 1",
			2, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the seals of the audit log");
	if (SPI_processed == 1)
		low = DatumGetTimestampTz(SPI_getbinval(
				  SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null)) -
			  CLOCK_SLACK;
	SPI_freetuptable(SPI_tuptable);

	return low;
}

/*
 * Are the records without a seal no more than a batch?
 */
static bool
is_small(const AuditSeal *seal, const AuditSeal *last, TimestampTz low)
{
	Oid types[] = {INT2OID,		   TEXTOID,		   TEXTOID,
				   TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID};
	Datum values[lengthof(types)];
	bool is_small;

	set_arguments(values, seal, last, low);
	values[5] = Int64GetDatum(AUDIT_SEAL_BATCH);
	if (SPI_execute_with_args("SELECT 1 FROM audit.audit_logs"
							  " WHERE " AUDIT_UNSEALED " OFFSET $6 LIMIT 1",
							  lengthof(types), types, values, NULL, false,
							  1) != SPI_OK_SELECT)
		elog(ERROR, "could not count the records of the audit log");
	is_small = SPI_processed == 0;
	SPI_freetuptable(SPI_tuptable);

	return is_small;
}

/*
 * Divide the records without a seal into batches.
 */
static void
make_plan(const AuditSeal *seal, const AuditSeal *last, TimestampTz low)
{
	Oid types[] = {INT2OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum values[lengthof(types)];
	int64 records = 0;
	MemoryContext caller;
	Portal portal;

	if (plan.context == NULL)
		plan.context = AllocSetContextCreate(
			TopMemoryContext, "plinth audit batches", ALLOCSET_SMALL_SIZES);
	plan.count = plan.made = 0;
	MemoryContextReset(plan.context);

	caller = MemoryContextSwitchTo(plan.context);
	plan.era = seal->era;
	plan.last_seal = last != NULL ? last->id : 0;
	plan.at = seal->sealed_at;
	plan.snapshot_text = pstrdup(seal->snapshot_text);
	plinth_audit_snapshot_read(&plan.snapshot, plan.snapshot_text);
	plan.batches = palloc(sizeof(PlannedBatch));
	MemoryContextSwitchTo(caller);

	set_arguments(values, seal, last, low);
	portal = SPI_cursor_open_with_args(
		NULL,
		"SELECT txid, count(*), min(created_at), max(created_at)"
		" FROM audit.audit_logs WHERE " AUDIT_UNSEALED
		" GROUP BY txid ORDER BY txid",
		lengthof(types), types, values, NULL, false, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_TRANSACTIONS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
			add_transaction(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
							last != NULL ? last->snapshot.next : 0, &records);
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
}

/*
 * Add a transaction to the last batch, or begin the next with it.
 *
 *	cut_from	the least transaction that a batch may begin with
 *	records		in the last batch so far
 */
static void
add_transaction(HeapTuple tuple, TupleDesc tupdesc, uint64 cut_from,
				int64 *records)
{
	bool is_null;
	uint64 txid =
		(uint64) DatumGetInt64(SPI_getbinval(tuple, tupdesc, 1, &is_null));
	int64 count = DatumGetInt64(SPI_getbinval(tuple, tupdesc, 2, &is_null));
	TimestampTz first_at =
		DatumGetTimestampTz(SPI_getbinval(tuple, tupdesc, 3, &is_null));
	TimestampTz last_at =
		DatumGetTimestampTz(SPI_getbinval(tuple, tupdesc, 4, &is_null));
	PlannedBatch *batch;

	if (plan.count == 0 || (*records + count > AUDIT_SEAL_BATCH &&
							txid >= cut_from && *records > 0))
	{
		if (plan.count > 0)
		{
			plan.batches[plan.count - 1].next = txid;
			plan.batches = repalloc_huge(plan.batches, sizeof(PlannedBatch) *
														   (plan.count + 1));
		}
		batch = &plan.batches[plan.count++];
		batch->next = plan.snapshot.next;
		batch->first_at = first_at;
		batch->last_at = last_at;
		*records = 0;
	}

	batch = &plan.batches[plan.count - 1];
	batch->first_at = Min(batch->first_at, first_at);
	batch->last_at = Max(batch->last_at, last_at);
	*records += count;
}

/*
 * The text of a snapshot that sees what the given one does of the
 * transactions below next.
 */
static char *
cut_snapshot(const AuditSnapshot *snapshot, uint64 next)
{
	uint64 oldest = next;
	StringInfoData running;

	initStringInfo(&running);
	for (int i = 0; i < snapshot->count && snapshot->running[i] < next; i++)
	{
		oldest = Min(oldest, snapshot->running[i]);
		appendStringInfo(&running, "%s%llu", running.len > 0 ? "," : "",
						 (unsigned long long) snapshot->running[i]);
	}

	/* one that has ended: so a cut snapshot is known */
	return psprintf("%llu:%llu:%s", (unsigned long long) (oldest - 1),
					(unsigned long long) next, running.data);
}

/*
 * The arguments of AUDIT_UNSEALED.
 */
static void
set_arguments(Datum *values, const AuditSeal *seal, const AuditSeal *last,
			  TimestampTz low)
{
	values[0] = Int16GetDatum(seal->era);
	values[1] = CStringGetTextDatum(last != NULL ? last->snapshot_text : "1:1:");
	values[2] = CStringGetTextDatum(seal->snapshot_text);
	values[3] = TimestampTzGetDatum(low);
	values[4] = TimestampTzGetDatum(DT_NOEND);
}
