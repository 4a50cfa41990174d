/*-------------------------------------------------------------------------
 *
 * limiter_stat.c
 *		How many requests each tier and endpoint allowed and refused.
 *
 * A fixed array of names, in shared memory.  A name is entered once and stays
 * until the server stops, so that it can be looked for without a lock: an
 * entry is complete before the number of its place is published.  Entering
 * takes the last lock of the limiter's tranche, never under another of them.
 * Callers may name endpoints as they like; when the array is full, further
 * names are counted together.
 *
 * Each name counts in several stripes, a process in one of them, so that
 * processes do not fight for a cache line.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sodium.h>

#include "limiter/limiter_internal.h"

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/lwlock.h"

/* Places; the first is for names that found none.  A power of two. */
#define STAT_PLACES 512

/* Endpoints leave these places to tiers, which only an administrator names,
 * and to buckets, which have one in each database. */
#define STAT_TIER_PLACES 128

/* Processes are spread over so many counters.  A power of two. */
#define STAT_STRIPES 8

typedef struct StatStripe
{
	pg_atomic_uint64 allowed;
	pg_atomic_uint64 refused;
	char padding[PG_CACHE_LINE_SIZE - 2 * sizeof(pg_atomic_uint64)];
} StatStripe;

/* Everything but the stripes is written before used is, and never again. */
typedef struct StatPlace
{
	pg_atomic_uint32 used; /* 1: the name stands */
	Oid database;
	uint8 kind;
	uint8 length;
	char name[LIMITER_TEXT_MAX];
	StatStripe stripes[STAT_STRIPES];
} StatPlace;

static StatPlace *places = NULL;
static LWLock *places_lock = NULL;

static bool is_place_of(const StatPlace *place, const LimiterLabel *label);
static uint16 enter_name(const LimiterLabel *label, uint32 start);

Size
plinth_limiter_stat_size(void)
{
	return mul_size(sizeof(StatPlace), STAT_PLACES);
}

/*
 * Attach to the array, and clear it if it has just been made.
 */
void
plinth_limiter_stat_init(void *memory, LWLock *lock, bool create)
{
	places = memory;
	places_lock = lock;
	if (!create)
		return;

	memset(places, 0, plinth_limiter_stat_size());
	for (int i = 0; i < STAT_PLACES; i++)
	{
		pg_atomic_init_u32(&places[i].used, i == 0);
		for (int j = 0; j < STAT_STRIPES; j++)
		{
			pg_atomic_init_u64(&places[i].stripes[j].allowed, 0);
			pg_atomic_init_u64(&places[i].stripes[j].refused, 0);
		}
	}
}

/*
 * The place where a key's tier or endpoint is counted, entered if need be.
 * Not to be called under a lock of the limiter.
 */
uint16
plinth_limiter_stat_find(const LimiterLabel *label)
{
	unsigned char hash[crypto_shorthash_BYTES];
	uint32 start;

	StaticAssertStmt(crypto_shorthash_KEYBYTES <=
						 crypto_shorthash_siphashx24_KEYBYTES,
					 "both hashes take the same key");
	crypto_shorthash(hash, (const unsigned char *) LIMITER_LABEL_NAME(label),
					 label->name_length, plinth_limiter_table.shared->secret);
	memcpy(&start, hash, sizeof(start));

	for (int i = 0; i < STAT_PLACES; i++)
	{
		uint32 number = (start + i) & (STAT_PLACES - 1);

		if (pg_atomic_read_u32(&places[number].used) == 0)
			return enter_name(label, start);
		pg_read_barrier();
		if (is_place_of(&places[number], label))
			return number;
	}

	return 0;
}

/*
 * Count one request.
 */
void
plinth_limiter_stat_count(uint16 stat, bool allowed)
{
	StatStripe *stripe = &places[stat].stripes[MyProcPid & (STAT_STRIPES - 1)];

	pg_atomic_fetch_add_u64(allowed ? &stripe->allowed : &stripe->refused, 1);
}

/*
 * Copy the counts of all names; returns their number.  In the current memory
 * context.
 */
int
plinth_limiter_stat_read(LimiterCounts **counts)
{
	int count = 0;

	*counts = palloc0(sizeof(LimiterCounts) * STAT_PLACES);
	for (int i = 0; i < STAT_PLACES; i++)
	{
		LimiterCounts *row = &(*counts)[count];

		if (pg_atomic_read_u32(&places[i].used) == 0)
			continue;
		pg_read_barrier();
		row->stat = i;
		row->database = places[i].database;
		row->kind = places[i].kind;
		memcpy(row->name, places[i].name, places[i].length);
		for (int j = 0; j < STAT_STRIPES; j++)
		{
			StatStripe *stripe = &places[i].stripes[j];

			row->allowed += pg_atomic_read_u64(&stripe->allowed);
			row->refused += pg_atomic_read_u64(&stripe->refused);
		}
		count++;
	}

	return count;
}

static bool
is_place_of(const StatPlace *place, const LimiterLabel *label)
{
	return place->database == label->database && place->kind == label->kind &&
		   place->length == label->name_length &&
		   memcmp(place->name, LIMITER_LABEL_NAME(label), place->length) == 0;
}

/*
 * Enter a name that was not there, unless somebody else just has.  start is
 * its hash.
 */
static uint16
enter_name(const LimiterLabel *label, uint32 start)
{
	int room = STAT_PLACES;
	uint32 found = 0;

	/* The postmaster restores saved windows before anybody else is there. */
	if (IsUnderPostmaster)
		LWLockAcquire(places_lock, LW_EXCLUSIVE);

	for (int i = 0; i < STAT_PLACES; i++)
		if (pg_atomic_read_u32(&places[i].used) != 0)
			room--;
	if (room > (label->kind == LIMITER_TIER || label->kind == LIMITER_BUCKET
					? 0
					: STAT_TIER_PLACES))
	{
		for (int i = 0; i < STAT_PLACES; i++)
		{
			StatPlace *place = &places[(start + i) & (STAT_PLACES - 1)];

			if (pg_atomic_read_u32(&place->used) != 0)
			{
				if (!is_place_of(place, label))
					continue;
			}
			else
			{
				place->database = label->database;
				place->kind = label->kind;
				place->length = label->name_length;
				memcpy(place->name, LIMITER_LABEL_NAME(label), place->length);
				pg_write_barrier();
				pg_atomic_write_u32(&place->used, 1);
			}
			found = place - places;
			break;
		}
	}

	if (IsUnderPostmaster)
		LWLockRelease(places_lock);

	return found;
}
