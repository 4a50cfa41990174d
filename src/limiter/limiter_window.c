/*-------------------------------------------------------------------------
 *
 * limiter_window.c
 *		Counts requests in the table of windows.
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

#include "limiter/limiter_internal.h"

#include "miscadmin.h"

static LimiterTable *const table = &plinth_limiter_table;

static inline int partition_of(const LimiterKey *key);
static inline pg_atomic_uint32 *head_of(const uint64 *print);
static inline LimiterSlot *find_slot(const LimiterKey *key);
static inline bool take_open(LimiterSlot *slot, const LimiterKey *key,
							 const LimiterTerms *terms, int64 now,
							 LimiterTake *take, uint16 *stat);
static void take_held(LimiterSlot *slot, const LimiterTerms *terms, int64 now,
					  LimiterTake *take);
static LimiterSlot *open_slot(const LimiterKey *key, const LimiterTerms *terms,
							  int64 now, int64 *free_at);
static void hold_slot(LimiterSlot *slot);
static void release_slot(LimiterSlot *slot, uint64 count);
static void free_slot(LimiterSlot *slot);
static bool make_room(int partition, int64 now, int64 *free_at);

/* Signed, because a window may have been used before the machine started. */
static inline int64
idle_since(LimiterSlot *slot)
{
	return (int64) pg_atomic_read_u64(&slot->used_at);
}

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
	LimiterSlot *slot = find_slot(key);
	int partition;
	uint16 stat;

	if (slot != NULL && take_open(slot, key, terms, now, take, &stat))
	{
		plinth_limiter_stat_count(stat, take->allowed);
		return;
	}

	stat = plinth_limiter_stat_find(&key->label);
	partition = partition_of(key);
	LWLockAcquire(limiter_lock(partition), LW_EXCLUSIVE);
	slot = find_slot(key);
	if (slot != NULL)
		hold_slot(slot);
	else
	{
		slot = open_slot(key, terms, now, &take->ends_at);
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
		pg_atomic_fetch_add_u64(&table->shared->no_space, 1);
	}
	plinth_limiter_stat_count(stat, take->allowed);
}

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
	if (find_slot(&key) != NULL)
		return false;
	slot = open_slot(&key, &window->terms, now, &free_at);
	if (slot == NULL)
		return false;

	slot->stat = plinth_limiter_stat_find(&key.label);
	slot->ends_at = window->ends_at;
	pg_atomic_write_u64(&slot->used_at, window->used_at);
	release_slot(slot, window->passed | (window->over ? LIMITER_OVER : 0));

	return true;
}

/*
 * Copy the windows of a partition, ended ones too; returns their number.
 * Takes the lock, except in the postmaster, where nobody is left.
 */
int
plinth_limiter_partition_read(int partition, LimiterWindow *windows)
{
	uint32 first = (uint32) partition * table->partition_slots;
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
		window->passed = (int32) (state & LIMITER_PASSED);
		window->over = (state & LIMITER_OVER) != 0;
		window->ends_at = slot->ends_at;
		window->used_at = idle_since(slot);
		window->stat = slot->stat;
		count++;
	}
	if (IsUnderPostmaster)
		LWLockRelease(limiter_lock(partition));

	return count;
}

/*
 * Forget the windows of an identifier for a tier or endpoint, whatever its
 * parameters; returns how many had not ended.
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
				other->shrunk != label->shrunk ||
				other->name_length != label->name_length ||
				other->identifier_length != label->identifier_length ||
				memcmp(other->text, label->text,
					   label->name_length + label->identifier_length) != 0)
				continue;
			if (table->slots[number].ends_at > now)
				forgotten++;
			free_slot(&table->slots[number]);
		}
		LWLockRelease(limiter_lock(partition));
		CHECK_FOR_INTERRUPTS();
	}

	return forgotten;
}

/* The first half of a print says where a key belongs. */
static inline int
partition_of(const LimiterKey *key)
{
	return (int) (key->print[0] >> 32) & (table->partitions - 1);
}

static inline pg_atomic_uint32 *
head_of(const uint64 *print)
{
	Size partition = (print[0] >> 32) & (table->partitions - 1);

	return &table->heads[partition * table->partition_heads +
						 ((uint32) print[0] & (table->partition_heads - 1))];
}

/*
 * Find the slot of a key, or NULL.  Without the lock the answer is a guess:
 * the walk may stray into another chain when a slot is reused under its feet,
 * so it ends after as many steps as a partition has slots, and what it finds
 * is judged by the slot's state.
 */
static inline LimiterSlot *
find_slot(const LimiterKey *key)
{
	uint32 number = pg_atomic_read_u32(head_of(key->print));

	for (int steps = 0;
		 number != LIMITER_NO_SLOT && steps < table->partition_slots; steps++)
	{
		LimiterSlot *slot = &table->slots[number];

		if (slot->print[0] == key->print[0] && slot->print[1] == key->print[1])
			return slot;
		number = pg_atomic_read_u32(&slot->next);
	}

	return NULL;
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

	release_slot(slot, passed | (over ? LIMITER_OVER : 0));
}

/*
 * Take a free slot for a key and link it, with an empty window that begins
 * now.  The slot is held: the caller fills in the rest and releases it.
 * Returns NULL when there is no room; *free_at then says when there will be.
 */
static LimiterSlot *
open_slot(const LimiterKey *key, const LimiterTerms *terms, int64 now,
		  int64 *free_at)
{
	int partition = partition_of(key);
	pg_atomic_uint32 *head = head_of(key->print);
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
 * Keep requests without the lock off a slot.  From here on its count stands:
 * no exchange expects a state that is held.
 */
static void
hold_slot(LimiterSlot *slot)
{
	pg_atomic_fetch_or_u64(&slot->state, LIMITER_HELD);
}

/*
 * Let requests at a slot that is held, with a new count and a new turn.
 */
static void
release_slot(LimiterSlot *slot, uint64 count)
{
	uint64 turns = pg_atomic_read_u64(&slot->state) & LIMITER_TURNS;

	pg_write_barrier();
	pg_atomic_write_u64(&slot->state, (turns + LIMITER_TURN) | count);
}

/*
 * Take a slot out of its chain and put it with the free ones, held.
 */
static void
free_slot(LimiterSlot *slot)
{
	uint32 number = slot - table->slots;
	uint32 *free = &table->free[number / table->partition_slots];
	pg_atomic_uint32 *link = head_of(slot->print);

	hold_slot(slot);
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
		uint64 passed = pg_atomic_read_u64(&slot->state) & LIMITER_PASSED;

		if (slot->ends_at <= now)
		{
			free_slot(slot);
			freed = true;
			continue;
		}
		if (ending == NULL || slot->ends_at < ending->ends_at)
			ending = slot;
		if (passed < (uint64) slot->limit &&
			(idlest == NULL || idle_since(slot) < idle_since(idlest)))
			idlest = slot;
	}
	if (freed)
		return true;

	if (idlest == NULL && plinth_limiter_fail_closed)
	{
		*free_at = ending->ends_at;
		return false;
	}
	free_slot(idlest != NULL ? idlest : ending);
	pg_atomic_fetch_add_u64(&table->shared->evictions, 1);

	return true;
}
