/*-------------------------------------------------------------------------
 *
 * limiter_shmem.c
 *		The memory of the limiter: its size, its layout, its beginning.
 *
 * Everything is requested at the server's start; nothing is allocated later.
 * The rules of the table's locks are in limiter_slot.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_internal.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define LIMITER_TRANCHE "plinth_limiter"

/* Partitions get smaller until one has at most so many keys. */
#define PARTITION_KEYS 512

LimiterTable plinth_limiter_table = {.shared = NULL};

static LimiterTable table_shape(void);
static Size table_size(const LimiterTable *of);
static void init_table(LimiterTable *table);

/*
 * Ask for the memory and the locks.  Runs in the postmaster, after all
 * settings are final and before shared memory exists.
 */
void
plinth_limiter_shmem_request(void)
{
	LimiterTable wanted = table_shape();

	RequestAddinShmemSpace(table_size(&wanted));
	RequestAddinShmemSpace(plinth_limiter_stat_size());
	/* one more for the names that are counted by */
	RequestNamedLWLockTranche(LIMITER_TRANCHE, wanted.partitions + 1);
}

/*
 * Create the table, or attach to it.  The caller holds AddinShmemInitLock.
 */
void
plinth_limiter_shmem_startup(void)
{
	LimiterTable table = table_shape();
	Size slots = (Size) table.partitions * table.partition_slots;
	Size heads = (Size) table.partitions * table.partition_heads;
	bool found;
	char *memory;

	memory = ShmemInitStruct("plinth limiter", table_size(&table), &found);
	table.shared = (LimiterShared *) memory;
	memory += CACHELINEALIGN(sizeof(LimiterShared));
	table.slots = (LimiterSlot *) memory;
	memory += CACHELINEALIGN(sizeof(LimiterSlot) * slots);
	table.heads = (pg_atomic_uint32 *) memory;
	memory += CACHELINEALIGN(sizeof(pg_atomic_uint32) * heads);
	table.free = (uint32 *) memory;
	memory += CACHELINEALIGN(sizeof(uint32) * table.partitions);
	table.labels = (LimiterLabel *) memory;
	if (!found)
		init_table(&table);
	plinth_limiter_table = table;

	memory = ShmemInitStruct("plinth limiter counters",
							 plinth_limiter_stat_size(), &found);
	plinth_limiter_stat_init(memory, limiter_lock(table.partitions), !found);

	if (!IsUnderPostmaster)
		plinth_limiter_save_startup();
}

void
plinth_limiter_totals(LimiterTotals *totals)
{
	const LimiterTable *table = &plinth_limiter_table;

	totals->capacity = (int64) table->partitions * table->partition_slots;
	totals->evictions = pg_atomic_read_u64(&table->shared->evictions);
	totals->no_space = pg_atomic_read_u64(&table->shared->no_space);
	totals->started = table->shared->started;
}

/*
 * The table's shape.  Keys fall into partitions by chance, so where there are
 * several each has a quarter more slots than its share: that is four standard
 * deviations or more, and a table with fewer keys than the setting says does
 * not evict.
 */
static LimiterTable
table_shape(void)
{
	LimiterTable shape = {.partitions = 1, .partition_heads = 1};

	while (plinth_limiter_entries / shape.partitions > PARTITION_KEYS)
		shape.partitions *= 2;
	shape.partition_slots =
		(plinth_limiter_entries + shape.partitions - 1) / shape.partitions;
	if (shape.partitions > 1)
		shape.partition_slots += shape.partition_slots / 4;
	while (shape.partition_heads < shape.partition_slots)
		shape.partition_heads *= 2;

	return shape;
}

static Size
table_size(const LimiterTable *of)
{
	Size slots = mul_size(of->partitions, of->partition_slots);
	Size heads = mul_size(of->partitions, of->partition_heads);
	Size size = CACHELINEALIGN(sizeof(LimiterShared));

	size = add_size(size, CACHELINEALIGN(mul_size(sizeof(LimiterSlot), slots)));
	size = add_size(size,
					CACHELINEALIGN(mul_size(sizeof(pg_atomic_uint32), heads)));
	size =
		add_size(size, CACHELINEALIGN(mul_size(sizeof(uint32), of->partitions)));
	size = add_size(size, mul_size(sizeof(LimiterLabel), slots));

	return size;
}

/*
 * Draw the secret and chain all slots as free ones.
 */
static void
init_table(LimiterTable *table)
{
	LimiterShared *shared = table->shared;

	if (!pg_strong_random(shared->secret, sizeof(shared->secret)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not draw a random key for the rate "
							   "limiter")));
	shared->locks = GetNamedLWLockTranche(LIMITER_TRANCHE);
	shared->started = GetCurrentTimestamp();
	pg_atomic_init_u64(&shared->evictions, 0);
	pg_atomic_init_u64(&shared->no_space, 0);

	for (int partition = 0; partition < table->partitions; partition++)
	{
		uint32 first = (uint32) partition * table->partition_slots;
		pg_atomic_uint32 *heads =
			&table->heads[(Size) partition * table->partition_heads];

		table->free[partition] = first;
		for (int i = 0; i < table->partition_slots; i++)
		{
			LimiterSlot *slot = &table->slots[first + i];
			bool last = i + 1 == table->partition_slots;

			pg_atomic_init_u64(&slot->state, LIMITER_HELD);
			pg_atomic_init_u64(&slot->used_at, 0);
			pg_atomic_init_u32(&slot->next,
							   last ? LIMITER_NO_SLOT : first + i + 1);
		}
		for (int i = 0; i < table->partition_heads; i++)
			pg_atomic_init_u32(&heads[i], LIMITER_NO_SLOT);
	}
}
