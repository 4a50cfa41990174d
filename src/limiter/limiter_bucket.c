/*-------------------------------------------------------------------------
 *
 * limiter_bucket.c
 *		Takes requests from buckets: the smooth limit.
 *
 * The usual request takes no lock.  A bucket has a word of its own, with the
 * last bits of its slot's turn (limiter_window.c) in it: a request reads the
 * slot's state, its fields, then that word, and exchanges the word.  Whoever
 * holds the slot gives the word the next turn, so that no exchange which began
 * before succeeds after.  What is taken from a slot while it is freed is
 * forgotten with it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_slot.h"

static inline bool take_open_bucket(LimiterSlot *slot, const LimiterKey *key,
									const LimiterRate *rate, int64 now,
									int32 cost, LimiterBucket *bucket,
									uint16 *stat);
static void take_held_bucket(LimiterSlot *slot, const LimiterRate *rate,
							 int64 now, int32 cost, LimiterBucket *bucket);

/*
 * Take from the bucket of a key, look at it (cost 0), or put back (cost below
 * 0); as plinth_limiter_gcra().  Only the first needs a slot.  With another
 * rate than before what the key lacks still counts, up to the new burst.
 *
 * A request that finds no room (S7.1) is refused until there is some.
 */
void
plinth_limiter_take_bucket(const LimiterKey *key, const LimiterRate *rate,
						   int64 now, int32 cost, LimiterBucket *bucket)
{
	const LimiterTerms terms = {.limit = rate->burst,
								.window_us = rate->interval};
	LimiterSlot *slot = limiter_find_slot(key);
	int partition;
	int64 free_at = 0;
	bool refused = false;
	uint16 stat = 0;

	if (slot != NULL &&
		take_open_bucket(slot, key, rate, now, cost, bucket, &stat))
	{
		if (cost > 0)
			plinth_limiter_stat_count(stat, bucket->allowed);
		return;
	}

	if (cost > 0)
		stat = plinth_limiter_stat_find(&key->label);
	partition = limiter_partition_of(key);
	LWLockAcquire(limiter_lock(partition), LW_EXCLUSIVE);
	slot = limiter_find_slot(key);
	if (slot != NULL)
		limiter_hold_slot(slot);
	else if (cost > 0)
	{
		slot = plinth_limiter_open_slot(key, &terms, now / LIMITER_TICKS_PER_US,
										&free_at);
		refused = slot == NULL;
		if (slot != NULL)
		{
			slot->stat = stat;
			/* The next turn: who came for the slot's last key must not match. */
			pg_atomic_write_u64(
				&slot->bucket,
				limiter_bucket_word(
					pg_atomic_read_u64(&slot->state) + LIMITER_TURN, 0));
		}
	}
	if (slot != NULL)
		take_held_bucket(slot, rate, now, cost, bucket);
	LWLockRelease(limiter_lock(partition));

	if (slot == NULL)
		plinth_limiter_gcra(rate, 0, now, Min(cost, 0), bucket);
	if (refused)
	{
		bucket->allowed = false;
		bucket->remaining = 0;
		bucket->retry_after = bucket->reset_after =
			Max(free_at * LIMITER_TICKS_PER_US - now, 1);
		pg_atomic_fetch_add_u64(&plinth_limiter_table.shared->no_space, 1);
	}
	if (cost > 0)
		plinth_limiter_stat_count(stat, bucket->allowed);
}

/*
 * Take from a bucket without the lock.  Returns false when the slot is not
 * one of this key and rate, and then has changed nothing.
 */
static inline bool
take_open_bucket(LimiterSlot *slot, const LimiterKey *key,
				 const LimiterRate *rate, int64 now, int32 cost,
				 LimiterBucket *bucket, uint16 *stat)
{
	uint64 state = pg_atomic_read_u64(&slot->state);
	uint64 word;

	/* The fields are read after the state that is to vouch for them. */
	pg_read_barrier();
	*stat = slot->stat;
	if ((state & LIMITER_HELD) != 0 || slot->print[0] != key->print[0] ||
		slot->print[1] != key->print[1] || slot->limit != rate->burst ||
		slot->window_us != rate->interval)
		return false;

	word = pg_atomic_read_u64(&slot->bucket);
	for (;;)
	{
		int64 full_at = (int64) (word & LIMITER_BUCKET_TIME);

		if (word != limiter_bucket_word(state, full_at))
			return false;
		plinth_limiter_gcra(rate, full_at, now, cost, bucket);
		if (cost == 0 || !bucket->allowed)
		{
			/* Nothing to write; was this the slot's state all along? */
			pg_read_barrier();
			return pg_atomic_read_u64(&slot->state) == state;
		}
		if (pg_atomic_compare_exchange_u64(
				&slot->bucket, &word, limiter_bucket_word(state, bucket->full_at)))
			return true;
	}
}

/*
 * Take from a bucket that is held, under the lock, and release it.
 */
static void
take_held_bucket(LimiterSlot *slot, const LimiterRate *rate, int64 now,
				 int32 cost, LimiterBucket *bucket)
{
	uint64 next = pg_atomic_read_u64(&slot->state) + LIMITER_TURN;
	uint64 word = pg_atomic_read_u64(&slot->bucket);

	/* Exchanges that began before the hold may still succeed. */
	do
		plinth_limiter_gcra(rate, (int64) (word & LIMITER_BUCKET_TIME), now,
							cost, bucket);
	while (!pg_atomic_compare_exchange_u64(
		&slot->bucket, &word, limiter_bucket_word(next, bucket->full_at)));
	slot->limit = rate->burst;
	slot->window_us = rate->interval;

	limiter_release_slot(slot, 0);
}
