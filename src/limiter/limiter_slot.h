/*-------------------------------------------------------------------------
 *
 * limiter_slot.h
 *		A slot of the limiter's table, for those who count in it.
 *
 * The rules of the locks are in limiter_slot.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_LIMITER_SLOT_H
#define PLINTH_LIMITER_SLOT_H

#include "limiter/limiter_internal.h"

/*
 * Take a free slot for a key and link it, with an empty window that begins
 * now.  The caller holds the partition's lock; the slot is held: the caller
 * fills in the rest and releases it.  Returns NULL when there is no room;
 * *free_at then says when there will be, in microseconds.
 */
extern LimiterSlot *plinth_limiter_open_slot(const LimiterKey *key,
											 const LimiterTerms *terms,
											 int64 now, int64 *free_at);

static inline bool
limiter_is_bucket(const LimiterSlot *slot)
{
	return slot->ends_at < 0;
}

/* When a bucket has all of its burst again, in ticks. */
static inline int64
limiter_bucket_full_at(LimiterSlot *slot)
{
	return (int64) (pg_atomic_read_u64(&slot->bucket) & LIMITER_BUCKET_TIME);
}

/* The word of a bucket in a slot whose state is this. */
static inline uint64
limiter_bucket_word(uint64 state, int64 full_at)
{
	uint64 turn = (state / LIMITER_TURN) & LIMITER_BUCKET_TURNS;

	return LIMITER_IS_BUCKET | (turn << LIMITER_BUCKET_TURN_SHIFT) |
		   (uint64) full_at;
}

/* When nothing of a slot is left that counts, in microseconds. */
static inline int64
limiter_slot_ends_at(LimiterSlot *slot)
{
	if (limiter_is_bucket(slot))
		return (limiter_bucket_full_at(slot) + LIMITER_TICKS_PER_US - 1) /
			   LIMITER_TICKS_PER_US;

	return slot->ends_at;
}

/* Requests that have passed, or that a bucket lacks. */
static inline int64
limiter_slot_used(LimiterSlot *slot, int64 now)
{
	if (limiter_is_bucket(slot))
	{
		int64 used = limiter_bucket_full_at(slot) - now * LIMITER_TICKS_PER_US;

		return (Max(used, 0) + slot->window_us - 1) / slot->window_us;
	}

	return (int64) (pg_atomic_read_u64(&slot->state) & LIMITER_PASSED);
}

/*
 * Since when a slot is of little use.  Signed, because a window may have been
 * used before the machine started; a bucket counts by how much of it is there.
 */
static inline int64
limiter_slot_idle_since(LimiterSlot *slot)
{
	if (limiter_is_bucket(slot))
		return limiter_slot_ends_at(slot) -
			   slot->limit * slot->window_us / LIMITER_TICKS_PER_US;

	return (int64) pg_atomic_read_u64(&slot->used_at);
}

/* The first half of a print says where a key belongs. */
static inline int
limiter_partition_of(const LimiterKey *key)
{
	return (int) (key->print[0] >> 32) & (plinth_limiter_table.partitions - 1);
}

static inline pg_atomic_uint32 *
limiter_head_of(const uint64 *print)
{
	Size partition = (print[0] >> 32) & (plinth_limiter_table.partitions - 1);

	return &plinth_limiter_table
				.heads[partition * plinth_limiter_table.partition_heads +
					   ((uint32) print[0] &
						(plinth_limiter_table.partition_heads - 1))];
}

/*
 * Find the slot of a key, or NULL.  Without the lock the answer is a guess:
 * the walk may stray into another chain when a slot is reused under its feet,
 * so it ends after as many steps as a partition has slots, and what it finds
 * is judged by the slot's state.
 */
static inline LimiterSlot *
limiter_find_slot(const LimiterKey *key)
{
	uint32 number = pg_atomic_read_u32(limiter_head_of(key->print));

	for (int steps = 0; number != LIMITER_NO_SLOT &&
						steps < plinth_limiter_table.partition_slots;
		 steps++)
	{
		LimiterSlot *slot = &plinth_limiter_table.slots[number];

		if (slot->print[0] == key->print[0] && slot->print[1] == key->print[1])
			return slot;
		number = pg_atomic_read_u32(&slot->next);
	}

	return NULL;
}

/*
 * Keep requests without the lock off a slot.  From here on its count stands:
 * no exchange expects a state that is held.
 */
static inline void
limiter_hold_slot(LimiterSlot *slot)
{
	pg_atomic_fetch_or_u64(&slot->state, LIMITER_HELD);
}

/*
 * Let requests at a slot that is held, with a new count and a new turn.
 */
static inline void
limiter_release_slot(LimiterSlot *slot, uint64 count)
{
	uint64 turns = pg_atomic_read_u64(&slot->state) & LIMITER_TURNS;

	pg_write_barrier();
	pg_atomic_write_u64(&slot->state, (turns + LIMITER_TURN) | count);
}

#endif /* PLINTH_LIMITER_SLOT_H */
