/*-------------------------------------------------------------------------
 *
 * delivery_stat.c
 *		What was delivered and dropped for each database, and how fast.
 *
 * Locking: delivery_stat->lock guards the counters.  It is held for a few
 * additions, and never together with the ring's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "delivery/delivery.h"
#include "delivery/delivery_internal.h"

#include <math.h>

#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define DELIVERY_STAT_TRANCHE "plinth delivery counters"

/* Latencies are counted by powers of the square root of two microseconds. */
#define DELIVERY_BUCKETS 64

typedef struct DeliveryDatabase
{
	Oid database; /* InvalidOid in a free entry */
	int64 deliveries;
	int64 dropped;
	int64 gaps;
	int64 latencies[DELIVERY_BUCKETS];
} DeliveryDatabase;

typedef struct DeliveryStat
{
	LWLock *lock;
	int ndatabases;
	DeliveryDatabase databases[FLEXIBLE_ARRAY_MEMBER];
} DeliveryStat;

/* Link to shared memory; NULL when the library was not preloaded. */
static DeliveryStat *delivery_stat = NULL;

static Size stat_size(void);
static DeliveryDatabase *find_database(Oid dboid, bool make);
static int latency_bucket(int64 us);
static double latency_percentile(const DeliveryDatabase *database, double share);

/*
 * Ask for the memory and the lock.
 */
void
plinth_delivery_stat_request(void)
{
	RequestAddinShmemSpace(stat_size());
	RequestNamedLWLockTranche(DELIVERY_STAT_TRANCHE, 1);
}

/*
 * Create the counters, or attach to them.  The caller holds
 * AddinShmemInitLock.
 */
void
plinth_delivery_stat_startup(void)
{
	bool found;

	delivery_stat = ShmemInitStruct(DELIVERY_STAT_TRANCHE, stat_size(), &found);
	if (found)
		return;
	memset(delivery_stat, 0, stat_size());
	delivery_stat->lock = &(GetNamedLWLockTranche(DELIVERY_STAT_TRANCHE))->lock;
	delivery_stat->ndatabases = max_worker_processes;
}

/*
 * Count what the present database's readers missed, and their gaps.
 */
void
plinth_delivery_count(int64 dropped, int64 gaps)
{
	DeliveryDatabase *database;

	LWLockAcquire(delivery_stat->lock, LW_EXCLUSIVE);
	database = find_database(MyDatabaseId, true);
	if (database != NULL)
	{
		database->dropped += dropped;
		database->gaps += gaps;
	}
	LWLockRelease(delivery_stat->lock);
}

/*
 * Count a message's deliveries and the time that they took.
 */
void
plinth_delivery_note(const DeliveryMessage *message, int64 readers)
{
	int bucket = latency_bucket(GetCurrentTimestamp() - message->commit_time);
	DeliveryDatabase *database;

	LWLockAcquire(delivery_stat->lock, LW_EXCLUSIVE);
	database = find_database(MyDatabaseId, true);
	if (database != NULL)
	{
		database->deliveries += readers;
		if (message->action != WIRE_PRESENCE && !message->replay)
			database->latencies[bucket] += readers;
	}
	LWLockRelease(delivery_stat->lock);
}

/*
 * What was done for a database since the server started.
 */
void
plinth_delivery_counters(Oid dboid, DeliveryCounters *counters)
{
	DeliveryDatabase copy = {0};
	DeliveryDatabase *database;

	memset(counters, 0, sizeof(*counters));
	if (delivery_stat == NULL)
	{
		counters->latency_p50 = counters->latency_p95 = NAN;
		return;
	}

	LWLockAcquire(delivery_stat->lock, LW_SHARED);
	database = find_database(dboid, false);
	if (database != NULL)
		copy = *database;
	LWLockRelease(delivery_stat->lock);

	counters->ring_used = plinth_delivery_ring_used();
	counters->deliveries = copy.deliveries;
	counters->dropped = copy.dropped;
	counters->gaps = copy.gaps;
	counters->subscriptions = plinth_router_count(dboid);
	counters->latency_p50 = latency_percentile(&copy, 0.50);
	counters->latency_p95 = latency_percentile(&copy, 0.95);
}

/*
 * Bytes of the counters.
 */
static Size
stat_size(void)
{
	return add_size(offsetof(DeliveryStat, databases),
					mul_size(max_worker_processes, sizeof(DeliveryDatabase)));
}

/*
 * The counters of a database, or NULL when there is no entry for it.  The
 * caller holds the lock, exclusively to make one.
 */
static DeliveryDatabase *
find_database(Oid dboid, bool make)
{
	DeliveryDatabase *unused = NULL;

	for (int i = 0; i < delivery_stat->ndatabases; i++)
	{
		if (delivery_stat->databases[i].database == dboid)
			return &delivery_stat->databases[i];
		if (unused == NULL && delivery_stat->databases[i].database == InvalidOid)
			unused = &delivery_stat->databases[i];
	}
	if (!make || unused == NULL)
		return NULL;
	unused->database = dboid;
	return unused;
}

/*
 * The bucket of a latency in microseconds: two for each power of two.
 */
static int
latency_bucket(int64 us)
{
	int bucket;

	if (us < 1)
		return 0;
	bucket = 2 * pg_leftmost_one_pos64(us);
	if ((double) us >= ldexp(M_SQRT2, bucket / 2))
		bucket++;
	return Min(bucket, DELIVERY_BUCKETS - 1);
}

/*
 * The latency in milliseconds that a share of the deliveries kept to, as the
 * upper end of its bucket; NaN when there were none.
 */
static double
latency_percentile(const DeliveryDatabase *database, double share)
{
	int64 total = 0;
	int64 seen = 0;

	for (int i = 0; i < DELIVERY_BUCKETS; i++)
		total += database->latencies[i];
	if (total == 0)
		return NAN;
	for (int i = 0; i < DELIVERY_BUCKETS; i++)
	{
		seen += database->latencies[i];
		if (seen >= share * total)
			return pow(2.0, (i + 1) / 2.0) / 1000.0;
	}
	return NAN;
}
