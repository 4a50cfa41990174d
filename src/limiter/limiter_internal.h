/*-------------------------------------------------------------------------
 *
 * limiter_internal.h
 *		What the files of the limiter share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_LIMITER_INTERNAL_H
#define PLINTH_LIMITER_INTERNAL_H

#include "postgres.h"

#include <sodium.h>
#include <time.h>

#include "limiter/limiter.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "utils/uuid.h"

/* A name or identifier is kept up to this length, in bytes. */
#define LIMITER_TEXT_MAX 63

/* What a key counts; the letters are in the saved file. */
typedef enum LimiterKind
{
	LIMITER_TIER = 't',		/* tier, identifier */
	LIMITER_CALLER = 'c',	/* tier and endpoint, identifier */
	LIMITER_ENDPOINT = 'e', /* endpoint and its parameters, identifier */
	LIMITER_BUCKET = 'b',	/* LIMITER_BUCKET_NAME, key; no window, but GCRA */
} LimiterKind;

/* What all buckets are counted under. */
#define LIMITER_BUCKET_NAME "rate_limit"

/* How many in how long. */
typedef struct LimiterTerms
{
	int32 limit;	 /* requests in a window, from 1 */
	int64 window_us; /* length of the window, in microseconds, from 1 */
} LimiterTerms;

/*
 * The smooth limit counts time in ticks of 8 ns, so that 56 bits reach 18
 * years beyond the clock's zero.
 */
#define LIMITER_TICK_NS 8
#define LIMITER_TICKS_PER_US (1000 / LIMITER_TICK_NS)

/* A burst at once, and one more in each interval. */
typedef struct LimiterRate
{
	int32 burst;	/* from 1 */
	int64 interval; /* ticks, from 1; burst times as much is at most a year */
} LimiterRate;

/* What became of a request; times in ticks. */
typedef struct LimiterBucket
{
	bool allowed;
	int32 remaining;   /* that would pass now */
	int64 retry_after; /* until it would pass; 0 when allowed */
	int64 reset_after; /* until the whole burst is there again */
	int64 full_at;	   /* the same, by the limiter's clock */
} LimiterBucket;

/*
 * A key in clear.  The fields in use are contiguous, so that they can be
 * hashed as they are: name, then identifier, fill the front of text.
 */
typedef struct LimiterLabel
{
	int64 window_us; /* parameters of an endpoint; otherwise 0 */
	int32 limit;
	Oid database;
	uint8 kind;	  /* LimiterKind */
	uint8 shrunk; /* LIMITER_NAME_SHRUNK, LIMITER_IDENTIFIER_SHRUNK */
	uint8 name_length;
	uint8 identifier_length;
	char text[2 * LIMITER_TEXT_MAX];
} LimiterLabel;

#define LIMITER_NAME_SHRUNK 0x01
#define LIMITER_IDENTIFIER_SHRUNK 0x02

#define LIMITER_LABEL_SIZE(label)                          \
	(offsetof(LimiterLabel, text) + (label)->name_length + \
	 (label)->identifier_length)
#define LIMITER_LABEL_NAME(label) ((label)->text)
#define LIMITER_LABEL_IDENTIFIER(label) ((label)->text + (label)->name_length)

/* A key as the table looks for it. */
typedef struct LimiterKey
{
	LimiterLabel label;
	uint64 print[2]; /* SipHash of the label under this start's secret */
} LimiterKey;

/* What became of one request; times by the limiter's clock. */
typedef struct LimiterTake
{
	bool allowed;
	int32 remaining;
	int64 ends_at;
} LimiterTake;

/* A window, or a bucket, as it is shown and saved. */
typedef struct LimiterWindow
{
	LimiterLabel label;
	LimiterTerms terms; /* of a bucket: its burst, and its interval in ticks */
	int32 passed;		/* requests that were allowed, or a bucket lacks */
	bool over;			/* and at least one was refused */
	int64 ends_at; /* by the limiter's clock; when a bucket is full again */
	int64 used_at; /* last allowed request, by the limiter's clock */
	uint16 stat;   /* as plinth_limiter_stat_find() */
} LimiterWindow;

/* Counts of one tier or endpoint since the start. */
typedef struct LimiterCounts
{
	uint16 stat;
	Oid database;
	uint8 kind;
	char name[LIMITER_TEXT_MAX + 1]; /* empty: all that found no place */
	uint64 allowed;
	uint64 refused;
} LimiterCounts;

/* Counts of the whole table. */
typedef struct LimiterTotals
{
	int64 capacity;		 /* keys that fit */
	uint64 evictions;	 /* windows dropped before their end */
	uint64 no_space;	 /* requests refused for lack of space */
	TimestampTz started; /* when counting began */
} LimiterTotals;

/* A row of plinth.rate_limit_tiers. */
typedef struct LimiterTier
{
	const char *name;
	size_t length;
	bool enabled;
	LimiterTerms terms;
} LimiterTier;

/* No slot: the end of a chain. */
#define LIMITER_NO_SLOT PG_UINT32_MAX

/* Parts of a slot's state. */
#define LIMITER_PASSED UINT64CONST(0x7fffffff) /* requests allowed */
#define LIMITER_OVER (UINT64CONST(1) << 31)	   /* one was refused */
#define LIMITER_HELD (UINT64CONST(1) << 32)	   /* free, or being changed */
#define LIMITER_TURN (UINT64CONST(1) << 33)	   /* unit of the turn */
#define LIMITER_TURNS (~(LIMITER_TURN - 1))

/*
 * A bucket in one word: a mark that no end of a window has, the last bits of
 * the slot's turn, and when it is full.
 */
#define LIMITER_IS_BUCKET (UINT64CONST(1) << 63)
#define LIMITER_BUCKET_TURNS UINT64CONST(0x7f)
#define LIMITER_BUCKET_TURN_SHIFT 56
#define LIMITER_BUCKET_TIME ((UINT64CONST(1) << LIMITER_BUCKET_TURN_SHIFT) - 1)

/*
 * What a request reads, in one cache line of 64 bytes.  The label is apart,
 * because only views and the saved file need it.
 */
typedef struct LimiterSlot
{
	pg_atomic_uint64 state;
	uint64 print[2]; /* of the key */
	union
	{
		int64 ends_at;			 /* end of the window, from 0 */
		pg_atomic_uint64 bucket; /* LIMITER_IS_BUCKET, turn, full_at */
	};
	int64 window_us;		  /* its length; of a bucket the interval */
	pg_atomic_uint64 used_at; /* last allowed request; not of a bucket */
	int32 limit;			  /* of a bucket the burst */
	pg_atomic_uint32 next;	  /* in the chain of a head, or of free slots */
	uint16 stat;			  /* where the tier or endpoint is counted */
} LimiterSlot;

typedef struct LimiterShared
{
	unsigned char secret[crypto_shorthash_siphashx24_KEYBYTES];
	LWLockPadded *locks; /* one a partition, and one for limiter_stat.c */
	TimestampTz started;
	pg_atomic_uint64 evictions;
	pg_atomic_uint64 no_space;
} LimiterShared;

/*
 * The table: its shape, which follows from plinth.rate_limit_entries alone,
 * and its parts in shared memory.  shared is NULL when the library was not
 * preloaded.
 */
typedef struct LimiterTable
{
	int partitions;		 /* a power of two */
	int partition_slots; /* slots of one */
	int partition_heads; /* chains of one, a power of two */
	LimiterShared *shared;
	LimiterSlot *slots;		 /* those of one partition together */
	LimiterLabel *labels;	 /* of the slots, by number */
	pg_atomic_uint32 *heads; /* first slot of each chain */
	uint32 *free;			 /* first free slot of each partition */
} LimiterTable;

static inline struct timespec
limiter_clock(void)
{
	struct timespec now;

	/* Time goes on while the machine sleeps, where the system can tell. */
#ifdef CLOCK_BOOTTIME
	clock_gettime(CLOCK_BOOTTIME, &now);
#else
	clock_gettime(CLOCK_MONOTONIC, &now);
#endif

	return now;
}

/* The limiter's clock: microseconds since some moment before the start. */
static inline int64
limiter_now(void)
{
	struct timespec now = limiter_clock();

	return (int64) now.tv_sec * USECS_PER_SEC + now.tv_nsec / 1000;
}

/* The same clock in ticks. */
static inline int64
limiter_now_ticks(void)
{
	struct timespec now = limiter_clock();

	return (int64) now.tv_sec * USECS_PER_SEC * LIMITER_TICKS_PER_US +
		   now.tv_nsec / LIMITER_TICK_NS;
}

/* limiter_guc.c */
extern int plinth_limiter_entries;
extern bool plinth_limiter_fail_closed;

/* limiter_key.c */
extern void plinth_limiter_key_make(LimiterKey *key, LimiterKind kind,
									const char *name, size_t name_length,
									const char *identifier,
									size_t identifier_length,
									const LimiterTerms *parameters);
extern void plinth_limiter_key_print(LimiterKey *key);
extern const char *plinth_limiter_address_key(const char *address, size_t length,
											  char *buffer, size_t *key_length);

/* Room for what plinth_limiter_address_key() writes. */
#define LIMITER_ADDRESS_SIZE 64

/* limiter_shmem.c */
extern LimiterTable plinth_limiter_table;
extern void plinth_limiter_totals(LimiterTotals *totals);

/* Was the library preloaded? */
static inline bool
limiter_is_loaded(void)
{
	return plinth_limiter_table.shared != NULL;
}

/* Lock of a partition. */
static inline LWLock *
limiter_lock(int partition)
{
	return &plinth_limiter_table.shared->locks[partition].lock;
}

/* limiter_gcra.c */
extern void plinth_limiter_gcra(const LimiterRate *rate, int64 full_at,
								int64 now, int32 cost, LimiterBucket *bucket);

/* limiter_funcs.c */
extern void plinth_limiter_require_loaded(void);
extern bool plinth_limiter_is_trusted(void);

/* limiter_window.c */
extern void plinth_limiter_take(const LimiterKey *key, const LimiterTerms *terms,
								int64 now, LimiterTake *take);

/* limiter_slot.c */
extern bool plinth_limiter_restore(const LimiterWindow *window, int64 now);
extern int plinth_limiter_partition_read(int partition, LimiterWindow *windows);
extern int plinth_limiter_forget(const LimiterLabel *label, int64 now);

/* limiter_bucket.c */
extern void plinth_limiter_take_bucket(const LimiterKey *key,
									   const LimiterRate *rate, int64 now,
									   int32 cost, LimiterBucket *bucket);

/* limiter_stat.c */
extern Size plinth_limiter_stat_size(void);
extern void plinth_limiter_stat_init(void *memory, LWLock *lock, bool create);
extern uint16 plinth_limiter_stat_find(const LimiterLabel *label);
extern void plinth_limiter_stat_count(uint16 stat, bool allowed);
extern int plinth_limiter_stat_read(LimiterCounts **counts);

/* limiter_save.c */
extern void plinth_limiter_save_startup(void);

/* limiter_tiers.c */
extern const LimiterTier *plinth_limiter_tier(const char *name, size_t length);

#endif /* PLINTH_LIMITER_INTERNAL_H */
