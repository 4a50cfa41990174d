/*-------------------------------------------------------------------------
 *
 * limiter_tiers.c
 *		The rows of plinth.rate_limit_tiers, kept in each backend.
 *
 * The rows are read with a snapshot of the moment, not the transaction's, and
 * dropped when the table's relcache entry is invalidated: a trigger sends
 * that for each statement that changes the table, so a change acts in every
 * backend, on standbys too, with its next statement after the commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/compat.h"
#include "base/relations.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define TIERS_TABLE "rate_limit_tiers"

/* Columns of the table. */
#define TIER_NAME 1
#define TIER_REQUESTS 2
#define TIER_WINDOW 3
#define TIER_ENABLED 4
#define TIER_COLUMNS 4

static MemoryContext tiers_context = NULL;
static LimiterTier *tiers = NULL; /* in order of compare_tiers() */
static int tiers_count = 0;
static Oid tiers_relation = InvalidOid;

/*
 * The rows are good when they were read under the last version; a change
 * that arrives while they are read makes them stale at once.
 */
static uint64 tiers_version = 1;
static uint64 tiers_read_version = 0;
static bool watching_tiers = false;

static void read_tiers(void);
static void forget_tiers(Datum arg, Oid relation);
static int compare_tiers(const void *a, const void *b);

/*
 * Find a tier, or NULL.  The pointer is good until the next call.
 */
const LimiterTier *
plinth_limiter_tier(const char *name, size_t length)
{
	LimiterTier wanted = {.name = name, .length = length};

	if (tiers_read_version != tiers_version)
		read_tiers();

	return bsearch(&wanted, tiers, tiers_count, sizeof(LimiterTier),
				   compare_tiers);
}

/*
 * Read the table anew.
 */
static void
read_tiers(void)
{
	uint64 version;
	MemoryContext context;
	Relation relation;
	SysScanDesc scan;
	HeapTuple tuple;
	LimiterTier *rows;
	int count = 0;
	int room = 16;

	if (!watching_tiers)
	{
		CacheRegisterRelcacheCallback(forget_tiers, (Datum) 0);
		watching_tiers = true;
	}

	context = AllocSetContextCreate(
		CurrentMemoryContext, "plinth rate limit tiers", ALLOCSET_SMALL_SIZES);
	rows = MemoryContextAlloc(context, sizeof(LimiterTier) * room);

	tiers_relation = plinth_relation_require(TIERS_TABLE);
	relation = table_open(tiers_relation, AccessShareLock);
	version = tiers_version;
	scan = systable_beginscan(relation, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Datum values[TIER_COLUMNS];
		bool nulls[TIER_COLUMNS];
		MemoryContext previous;
		LimiterTier *tier;

		for (int i = 0; i < TIER_COLUMNS; i++)
			values[i] = heap_getattr(tuple, i + 1, RelationGetDescr(relation),
									 &nulls[i]);

		if (count == room)
		{
			room *= 2;
			rows = repalloc(rows, sizeof(LimiterTier) * room);
		}
		tier = &rows[count++];
		previous = MemoryContextSwitchTo(context);
		tier->name = TextDatumGetCString(values[TIER_NAME - 1]);
		MemoryContextSwitchTo(previous);
		tier->length = strlen(tier->name);
		tier->enabled = DatumGetBool(values[TIER_ENABLED - 1]);
		tier->terms.limit = DatumGetInt32(values[TIER_REQUESTS - 1]);
		tier->terms.window_us =
			(int64) DatumGetInt32(values[TIER_WINDOW - 1]) * USECS_PER_SEC;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	qsort(rows, count, sizeof(LimiterTier), compare_tiers);

	if (tiers_context != NULL)
		MemoryContextDelete(tiers_context);
	MemoryContextSetParent(context, CacheMemoryContext);
	tiers_context = context;
	tiers = rows;
	tiers_count = count;
	tiers_read_version = version;
}

/*
 * Called for each relcache entry that is dropped; InvalidOid means all.
 */
static void
forget_tiers(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == tiers_relation)
		tiers_version++;
}

/* By length first: that settles most comparisons. */
static int
compare_tiers(const void *a, const void *b)
{
	const LimiterTier *left = a;
	const LimiterTier *right = b;

	if (left->length != right->length)
		return left->length < right->length ? -1 : 1;

	return memcmp(left->name, right->name, left->length);
}
