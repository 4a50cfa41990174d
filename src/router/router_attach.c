/*-------------------------------------------------------------------------
 *
 * router_attach.c
 *		The subscriptions as the stream worker of their database has them.
 *
 * See router_shmem.h for the locking.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_ask.h"
#include "router/router_index.h"
#include "router/router_internal.h"
#include "router/router_shmem.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

static bool attached = false;

static void on_worker_exit(int code, Datum arg);

/*
 * The stream worker decodes every commit of its database from now on.
 */
void
plinth_router_attach_worker(Oid dboid)
{
	static bool registered = false;
	bool entered = false;

	if (plinth_router == NULL)
		return;
	Assert(dboid == MyDatabaseId);

	if (!registered)
	{
		before_shmem_exit(on_worker_exit, (Datum) 0);
		registered = true;
	}
	plinth_router_detach_worker();
	plinth_router_reset_index();
	plinth_router_ask_session();

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	for (int i = 0; i < plinth_router->ndatabases && !entered; i++)
	{
		RouterDatabase *database = &plinth_router_databases[i];

		if (database->database == InvalidOid)
		{
			database->database = dboid;
			database->pid = MyProcPid;
			entered = true;
		}
	}
	LWLockRelease(plinth_router->lock);

	if (!entered)
		elog(ERROR, "no entry is free for the stream worker");

	attached = true;
	plinth_router_mark_gap();
	ConditionVariableBroadcast(&plinth_router->attached);
}

/*
 * The stream worker decodes no more.
 */
void
plinth_router_detach_worker(void)
{
	if (plinth_router == NULL || !attached)
		return;

	attached = false;
	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	for (int i = 0; i < plinth_router->ndatabases; i++)
		if (plinth_router_databases[i].pid == MyProcPid)
		{
			plinth_router_databases[i].database = InvalidOid;
			plinth_router_databases[i].pid = 0;
		}
	LWLockRelease(plinth_router->lock);
}

/*
 * Is this process the attached stream worker of its database?
 */
bool
plinth_router_attached(void)
{
	return attached;
}

/*
 * A gap for every subscription of the attached database.
 */
void
plinth_router_mark_gap(void)
{
	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
	{
		RouterSubscription *sub = &plinth_router_slots[i].sub;

		if (sub->id != 0 && sub->database == MyDatabaseId && !sub->ended)
		{
			sub->gaps++;
			sub->since = InvalidXLogRecPtr;
			plinth_router_log_slot(i);
		}
	}
	LWLockRelease(plinth_router->lock);
}

/*
 * A gap for one subscription.  Returns how many it has had.
 */
uint32
plinth_router_mark_gap_of(const RouterSubscription *sub)
{
	RouterSubscription *shared;
	uint32 gaps = sub->gaps;

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	shared = plinth_router_find_slot(sub->id);
	if (shared != NULL && !shared->ended)
	{
		gaps = ++shared->gaps;
		plinth_router_log_slot(sub->slot);
	}
	LWLockRelease(plinth_router->lock);

	return gaps;
}

/*
 * A subscription wants nothing of the past any more.
 */
void
plinth_router_forget_since(const RouterSubscription *sub)
{
	RouterSubscription *shared;

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	shared = plinth_router_find_slot(sub->id);
	if (shared != NULL)
	{
		shared->since = InvalidXLogRecPtr;
		plinth_router_log_slot(sub->slot);
	}
	LWLockRelease(plinth_router->lock);
}

/*
 * Add to what a subscription's policies have cost.
 */
void
plinth_router_add_cost(const RouterSubscription *sub, int64 rows, int64 us)
{
	RouterSubscription *shared;

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	shared = plinth_router_find_slot(sub->id);
	if (shared != NULL)
	{
		shared->judged += rows;
		shared->judged_us += us;
	}
	LWLockRelease(plinth_router->lock);
}

/*
 * Let nobody follow a table under its policies for a while.  When too many
 * are parked, the one goes that would be let go first.
 */
void
plinth_router_park(Oid relid)
{
	TimestampTz now = GetCurrentTimestamp();
	RouterParked *entry;

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	entry = &plinth_router->parked[0];
	for (int i = 0; i < ROUTER_PARKED_SIZE; i++)
	{
		RouterParked *candidate = &plinth_router->parked[i];

		if (candidate->database == MyDatabaseId && candidate->relid == relid)
		{
			entry = candidate;
			break;
		}
		if (candidate->until < entry->until)
			entry = candidate;
	}
	entry->database = MyDatabaseId;
	entry->relid = relid;
	entry->until = TimestampTzPlusMilliseconds(now, ROUTER_PARKED_MS);
	LWLockRelease(plinth_router->lock);
}

/*
 * End a subscription: no more changes, and its reader is told why.
 */
void
plinth_router_end(const RouterSubscription *sub, const char *reason)
{
	RouterSubscription *shared;

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	shared = plinth_router_find_slot(sub->id);
	if (shared != NULL && !shared->ended)
		plinth_router_end_locked(shared, reason);
	LWLockRelease(plinth_router->lock);
}

/*
 * Show another route.
 */
void
plinth_router_set_route(const RouterSubscription *sub, RouterRouteKind route)
{
	RouterSubscription *shared;

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	shared = plinth_router_find_slot(sub->id);
	if (shared != NULL)
		shared->route = route;
	LWLockRelease(plinth_router->lock);
}

/*
 * Would plinth_router_free() do something, as far as this copy tells?
 */
bool
plinth_router_over(const RouterSubscription *sub, TimestampTz now)
{
	const char *reason;

	return sub->ended
			   ? TimestampDifferenceExceeds(sub->last_seen, now, ROUTER_ORPHAN_MS)
			   : plinth_router_is_over(sub, now, &reason);
}

/*
 * End what is over by the clock, and free what ended long ago.
 */
void
plinth_router_free(const RouterSubscription *sub)
{
	RouterSubscription *shared;
	TimestampTz now = GetCurrentTimestamp();
	const char *reason;

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	shared = plinth_router_find_slot(sub->id);
	if (shared != NULL)
	{
		if (shared->ended)
		{
			if (TimestampDifferenceExceeds(shared->last_seen, now,
										   ROUTER_ORPHAN_MS))
				plinth_router_free_locked(shared);
		}
		else if (plinth_router_is_over(shared, now, &reason))
			plinth_router_end_locked(shared, reason);
	}
	LWLockRelease(plinth_router->lock);
}

/*
 * What changed since the worker looked last.
 */
RouterSubscription *
plinth_router_changed(uint64 *generation, int *count, bool *all)
{
	RouterSubscription *copies;
	uint64 now = pg_atomic_read_u64(&plinth_router->generation);
	Size size;

	*count = 0;
	*all = false;
	if (now == *generation)
		return NULL;

	LWLockAcquire(plinth_router->lock, LW_SHARED);
	now = pg_atomic_read_u64(&plinth_router->generation);
	*all = now - *generation > ROUTER_LOG_SIZE;
	size = *all ? (Size) plinth_router_max_subscriptions
				: (Size) (now - *generation);
	copies = MemoryContextAllocHuge(CurrentMemoryContext,
									mul_size(size, sizeof(RouterSubscription)));
	if (*all)
	{
		for (int i = 0; i < plinth_router_max_subscriptions; i++)
			if (plinth_router_in_database(i, MyDatabaseId))
				copies[(*count)++] = plinth_router_slots[i].sub;
	}
	else
	{
		for (uint64 i = *generation; i < now; i++)
			copies[(*count)++] =
				plinth_router_slots[plinth_router->log[i % ROUTER_LOG_SIZE]].sub;
	}
	LWLockRelease(plinth_router->lock);

	*generation = now;
	return copies;
}

/*
 * The worker is going.
 */
static void
on_worker_exit(int code, Datum arg)
{
	plinth_router_detach_worker();
}
