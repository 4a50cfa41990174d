/*-------------------------------------------------------------------------
 *
 * limiter_slot.c
 *		The table of windows and buckets.
 *
 * The table is cut into partitions of some hundred slots; a key's print says
 * which one is its own.  A partition has an array of slots, chains through
 * them from an array of heads, and a chain of free slots.  Nothing is
 * allocated after the start.
 *
 * Locking.  A partition's LWLock, from the tranche "plinth_limiter", guards
 * its chains and all fields of its slots and labels: whoever opens, reopens
 * or frees a slot holds it exclusively, whoever reads labels holds it shared.
 * It is held for one walk of a chain, or at most one pass over the slots of
 * the partition; no error is raised and nothing is allocated meanwhile.  No
 * other lock is taken under it.
 *
 * Whoever counts need not take the lock: limiter_window.c and limiter_bucket.c
 * say how.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_slot.h"

#include "miscadmin.h"

static LimiterTable *const table = &plinth_limiter_table;

static void free_slot(LimiterSlot *slot);
static bool make_room(int partition, int64 now, int64 *free_at);

/*
 * Put a saved window back.  Runs before any backend does, so takes no lock.
 * Returns false when there is no room for it.
 */
bool
plinth_limiter_restore(const LimiterWindow *window, int64 now)
{
	LimiterKey key;
	LimiterSlot *slot;
	int64 free_at;

	key.label = window->label;
	plinth_limiter_key_print(&key);
	if (limiter_find_slot(&key) != NULL)
		return false;
	slot = plinth_limiter_open_slot(&key, &window->terms, now, &free_at);
	if (slot == NULL)
		return false;

	slot->stat = plinth_limiter_stat_find(&key.label);
	pg_atomic_write_u64(&slot->used_at, window->used_at);
	if (key.label.kind == LIMITER_BUCKET)
	{
		uint64 next = pg_atomic_read_u64(&slot->state) + LIMITER_TURN;

		pg_atomic_write_u64(
			&slot->bucket,
			limiter_bucket_word(next, window->ends_at * LIMITER_TICKS_PER_US));
		limiter_release_slot(slot, 0);
	}
	else
	{
		slot->ends_at = window->ends_at;
		limiter_release_slot(slot, window->passed |
									   (window->over ? LIMITER_OVER : 0));
	}

	return true;
}

/*
 * Copy the windows and buckets of a partition, ended ones too; returns their
 * number.
 * Takes the lock, except in the postmaster, where nobody is left.
 */
int
plinth_limiter_partition_read(int partition, LimiterWindow *windows)
{
	uint32 first = (uint32) partition * table->partition_slots;
	int64 now = limiter_now();
	int count = 0;

	if (IsUnderPostmaster)
		LWLockAcquire(limiter_lock(partition), LW_SHARED);
	for (uint32 number = first; number < first + table->partition_slots; number++)
	{
		LimiterSlot *slot = &table->slots[number];
		uint64 state = pg_atomic_read_u64(&slot->state);
		LimiterWindow *window = &windows[count];

		if (state & LIMITER_HELD)
			continue;
		memcpy(&window->label, &table->labels[number],
			   LIMITER_LABEL_SIZE(&table->labels[number]));
		window->terms.limit = slot->limit;
		window->terms.window_us = slot->window_us;
		window->passed = (int32) limiter_slot_used(slot, now);
		window->over = !limiter_is_bucket(slot) && (state & LIMITER_OVER) != 0;
		window->ends_at = limiter_slot_ends_at(slot);
		window->used_at = limiter_slot_idle_since(slot);
		window->stat = slot->stat;
		count++;
	}
	if (IsUnderPostmaster)
		LWLockRelease(limiter_lock(partition));

	return count;
}

/*
 * Forget the windows of an identifier for a tier or endpoint, whatever its
 * parameters, or a bucket; returns how many had not ended.
 */
int
plinth_limiter_forget(const LimiterLabel *label, int64 now)
{
	int forgotten = 0;

	for (int partition = 0; partition < table->partitions; partition++)
	{
		uint32 first = (uint32) partition * table->partition_slots;

		LWLockAcquire(limiter_lock(partition), LW_EXCLUSIVE);
		for (uint32 number = first; number < first + table->partition_slots;
			 number++)
		{
			const LimiterLabel *other = &table->labels[number];

			if ((pg_atomic_read_u64(&table->slots[number].state) &
				 LIMITER_HELD) != 0 ||
				other->database != label->database ||
				(other->kind == LIMITER_BUCKET) !=
					(label->kind == LIMITER_BUCKET) ||
				other->shrunk != label->shrunk ||
				other->name_length != label->name_length ||
				other->identifier_length != label->identifier_length ||
				memcmp(other->text, label->text,
					   label->name_length + label->identifier_length) != 0)
				continue;
			if (limiter_slot_ends_at(&table->slots[number]) > now)
				forgotten++;
			free_slot(&table->slots[number]);
		}
		LWLockRelease(limiter_lock(partition));
		CHECK_FOR_INTERRUPTS();
	}

	return forgotten;
}

LimiterSlot *
plinth_limiter_open_slot(const LimiterKey *key, const LimiterTerms *terms,
						 int64 now, int64 *free_at)
{
	int partition = limiter_partition_of(key);
	pg_atomic_uint32 *head = limiter_head_of(key->print);
	LimiterSlot *slot;
	uint32 number;

	if (table->free[partition] == LIMITER_NO_SLOT &&
		!make_room(partition, now, free_at))
		return NULL;

	number = table->free[partition];
	slot = &table->slots[number];
	table->free[partition] = pg_atomic_read_u32(&slot->next);

	/* A free slot is held already; what it counted last goes with it. */
	pg_atomic_write_u64(&slot->state,
						(pg_atomic_read_u64(&slot->state) & LIMITER_TURNS) |
							LIMITER_HELD);
	slot->print[0] = key->print[0];
	slot->print[1] = key->print[1];
	slot->ends_at = now + terms->window_us;
	slot->window_us = terms->window_us;
	slot->limit = terms->limit;
	pg_atomic_write_u64(&slot->used_at, now);
	memcpy(&table->labels[number], &key->label, LIMITER_LABEL_SIZE(&key->label));

	pg_atomic_write_u32(&slot->next, pg_atomic_read_u32(head));
	pg_write_barrier();
	pg_atomic_write_u32(head, number);

	return slot;
}

/*
 * Take a slot out of its chain and put it with the free ones, held.
 */
static void
free_slot(LimiterSlot *slot)
{
	uint32 number = slot - table->slots;
	uint32 *free = &table->free[number / table->partition_slots];
	pg_atomic_uint32 *link = limiter_head_of(slot->print);

	limiter_hold_slot(slot);
	while (pg_atomic_read_u32(link) != number)
		link = &table->slots[pg_atomic_read_u32(link)].next;
	pg_atomic_write_u32(link, pg_atomic_read_u32(&slot->next));
	pg_atomic_write_u32(&slot->next, *free);
	*free = number;
}

/*
 * Free at least one slot of a partition that has none: all whose windows have
 * ended; else the one that was idle longest among keys that have requests
 * left; else the one whose window ends first, unless the limiter is to fail
 * closed.  Returns false when nothing may go; *free_at then says when a
 * window ends.
 */
static bool
make_room(int partition, int64 now, int64 *free_at)
{
	uint32 first = (uint32) partition * table->partition_slots;
	LimiterSlot *idlest = NULL;
	LimiterSlot *ending = NULL;
	bool freed = false;

	for (uint32 number = first; number < first + table->partition_slots; number++)
	{
		LimiterSlot *slot = &table->slots[number];

		if (limiter_slot_ends_at(slot) <= now)
		{
			free_slot(slot);
			freed = true;
			continue;
		}
		if (ending == NULL ||
			limiter_slot_ends_at(slot) < limiter_slot_ends_at(ending))
			ending = slot;
		if (limiter_slot_used(slot, now) < slot->limit &&
			(idlest == NULL ||
			 limiter_slot_idle_since(slot) < limiter_slot_idle_since(idlest)))
			idlest = slot;
	}
	if (freed)
		return true;

	if (idlest == NULL && plinth_limiter_fail_closed)
	{
		*free_at = limiter_slot_ends_at(ending);
		return false;
	}
	free_slot(idlest != NULL ? idlest : ending);
	pg_atomic_fetch_add_u64(&table->shared->evictions, 1);

	return true;
}
