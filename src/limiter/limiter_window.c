/*-------------------------------------------------------------------------
 *
 * limiter_window.c
 *		Counts requests in fixed windows.
 *
 * The usual request takes no lock at all: it meets an open window.  A slot's
 * state is one atomic word of three parts: a turn, which a lock holder moves
 * on whenever it changes another field, a flag that keeps others off until
 * it has done so, and the count.  A request reads the word, then the fields,
 * then counts itself by compare-and-exchange of the word: that succeeds only
 * if the turn, and so every field, still is what was read, and only from the
 * very count that was compared with the limit.  So each of the L requests
 * that pass in a window takes a count of its own from 1 to L (S7.2).  A turn
 * has 31 bits: for the exchange to be fooled a slot would have to be reused
 * two thousand million times while one request is between two instructions.
 * A request that finds anything else than an open window of its key and its
 * terms takes the lock and looks again.
 *
 * used_at is written after the exchange, so it may reach a slot that has just
 * gone to another key; it then makes that key look a little less idle.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_slot.h"

static inline bool take_open(LimiterSlot *slot, const LimiterKey *key,
							 const LimiterTerms *terms, int64 now,
							 LimiterTake *take, uint16 *stat);
static void take_held(LimiterSlot *slot, const LimiterTerms *terms, int64 now,
					  LimiterTake *take);

/*
 * Count one request of a key.
 *
 *	terms	what the key may do now; other terms than before act at once, from
 *			the beginning of the window that is open
 *	now		time of the request
 *
 * A request that finds no room (S7.1) is refused, with nothing remaining and
 * the time at which there is room again.
 */
void
plinth_limiter_take(const LimiterKey *key, const LimiterTerms *terms, int64 now,
					LimiterTake *take)
{
	LimiterSlot *slot = limiter_find_slot(key);
	int partition;
	uint16 stat;

	if (slot != NULL && take_open(slot, key, terms, now, take, &stat))
	{
		plinth_limiter_stat_count(stat, take->allowed);
		return;
	}

	stat = plinth_limiter_stat_find(&key->label);
	partition = limiter_partition_of(key);
	LWLockAcquire(limiter_lock(partition), LW_EXCLUSIVE);
	slot = limiter_find_slot(key);
	if (slot != NULL)
		limiter_hold_slot(slot);
	else
	{
		slot = plinth_limiter_open_slot(key, terms, now, &take->ends_at);
		if (slot != NULL)
			slot->stat = stat;
	}
	if (slot != NULL)
		take_held(slot, terms, now, take);
	LWLockRelease(limiter_lock(partition));

	if (slot == NULL)
	{
		take->allowed = false;
		take->remaining = 0;
		pg_atomic_fetch_add_u64(&plinth_limiter_table.shared->no_space, 1);
	}
	plinth_limiter_stat_count(stat, take->allowed);
}

/*
 * Count a request in an open window, without the lock.  Returns false when
 * the slot is anything else, and then has changed nothing.
 */
static inline bool
take_open(LimiterSlot *slot, const LimiterKey *key, const LimiterTerms *terms,
		  int64 now, LimiterTake *take, uint16 *stat)
{
	uint64 state = pg_atomic_read_u64(&slot->state);

	for (;;)
	{
		uint64 passed = state & LIMITER_PASSED;
		uint64 wanted;

		/* The fields are read after the state that is to vouch for them. */
		pg_read_barrier();
		take->ends_at = slot->ends_at;
		*stat = slot->stat;
		if ((state & LIMITER_HELD) != 0 || slot->print[0] != key->print[0] ||
			slot->print[1] != key->print[1] || slot->limit != terms->limit ||
			slot->window_us != terms->window_us || take->ends_at <= now)
			return false;

		take->allowed = passed < (uint64) terms->limit;
		if (!take->allowed && (state & LIMITER_OVER) != 0)
		{
			/* Nothing to count; was this the slot's state all along? */
			pg_read_barrier();
			take->remaining = 0;
			return pg_atomic_read_u64(&slot->state) == state;
		}

		wanted = take->allowed ? state + 1 : state | LIMITER_OVER;
		if (pg_atomic_compare_exchange_u64(&slot->state, &state, wanted))
		{
			take->remaining =
				take->allowed ? terms->limit - (int32) passed - 1 : 0;
			if (take->allowed)
				pg_atomic_write_u64(&slot->used_at, now);
			return true;
		}
	}
}

/*
 * Count a request in a slot that is held, under the lock, and release it.
 */
static void
take_held(LimiterSlot *slot, const LimiterTerms *terms, int64 now,
		  LimiterTake *take)
{
	uint64 state = pg_atomic_read_u64(&slot->state);
	uint64 passed = state & LIMITER_PASSED;
	bool over = (state & LIMITER_OVER) != 0;

	/* Other terms hold from the beginning of the window. */
	slot->ends_at += terms->window_us - slot->window_us;
	slot->window_us = terms->window_us;
	slot->limit = terms->limit;

	if (slot->ends_at <= now)
	{
		slot->ends_at = now + terms->window_us;
		passed = 0;
		over = false;
	}

	take->allowed = passed < (uint64) terms->limit;
	if (take->allowed)
	{
		passed++;
		over = false;
		pg_atomic_write_u64(&slot->used_at, now);
	}
	else
		over = true;
	take->remaining = take->allowed ? terms->limit - (int32) passed : 0;
	take->ends_at = slot->ends_at;

	limiter_release_slot(slot, passed | (over ? LIMITER_OVER : 0));
}
