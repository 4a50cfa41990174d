/*-------------------------------------------------------------------------
 *
 * router_shmem.c
 *		The memory of the subscriptions, and what may be done under its lock.
 *
 * See router_shmem.h for the locking.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_internal.h"
#include "router/router_shmem.h"

#include "miscadmin.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/settings.h"

#define ROUTER_TRANCHE "plinth router"

int plinth_router_max_subscriptions = 20000;
int plinth_router_policy_timeout = 50; /* ms */

RouterShared *plinth_router = NULL;
RouterSlot *plinth_router_slots = NULL;
RouterDatabase *plinth_router_databases = NULL;
HTAB *plinth_router_owners = NULL;

static int databases_size(void);

/*
 * Define the router's settings.  Called once, from _PG_init().
 */
void
plinth_router_define_settings(void)
{
	/* Sizes shared memory, so it is fixed once the server is up. */
	DefineCustomIntVariable(
		"plinth.realtime_max_subscriptions",
		"Sets the number of subscriptions that can be live at once.",
		"Each takes about two kilobytes of shared memory.",
		&plinth_router_max_subscriptions, 20000, 16, ROUTER_MAX_SLOTS,
		PLINTH_PGC_START, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"plinth.realtime_policy_timeout",
		"Sets how long the policies of a table may run for one subscriber of its changes.",
		"A subscription whose policies run longer ends.",
		&plinth_router_policy_timeout, 50, 1, 60000, PGC_SIGHUP, GUC_UNIT_MS,
		NULL, NULL, NULL);
}

/*
 * Ask for the memory and the lock.
 */
void
plinth_router_shmem_request(void)
{
	Size size = MAXALIGN(sizeof(RouterShared));

	size = add_size(
		size, mul_size(plinth_router_max_subscriptions, sizeof(RouterSlot)));
	size = add_size(size, mul_size(databases_size(), sizeof(RouterDatabase)));
	size = add_size(size, hash_estimate_size(plinth_router_max_subscriptions,
											 sizeof(RouterOwnerEntry)));
	size = add_size(size, plinth_router_text_size());
	RequestAddinShmemSpace(size);
	RequestNamedLWLockTranche(ROUTER_TRANCHE, 1);
}

/*
 * Create the table, or attach to it.  The caller holds AddinShmemInitLock.
 */
void
plinth_router_shmem_startup(void)
{
	HASHCTL info = {0};
	bool found;

	plinth_router = ShmemInitStruct(ROUTER_TRANCHE, sizeof(RouterShared), &found);
	if (!found)
	{
		plinth_router->lock = &(GetNamedLWLockTranche(ROUTER_TRANCHE))->lock;
		pg_atomic_init_u64(&plinth_router->generation, 0);
		ConditionVariableInit(&plinth_router->attached);
		plinth_router->first_free = 0;
		plinth_router->ndatabases = databases_size();
		memset(plinth_router->parked, 0, sizeof(plinth_router->parked));
	}

	plinth_router_slots = ShmemInitStruct(
		"plinth router subscriptions",
		mul_size(plinth_router_max_subscriptions, sizeof(RouterSlot)), &found);
	if (!found)
		for (int i = 0; i < plinth_router_max_subscriptions; i++)
		{
			plinth_router_slots[i].sub.id = 0;
			plinth_router_slots[i].sub.slot = i;
			plinth_router_slots[i].next_free =
				i + 1 < plinth_router_max_subscriptions ? i + 1 : -1;
		}

	plinth_router_databases = ShmemInitStruct(
		"plinth router databases",
		mul_size(databases_size(), sizeof(RouterDatabase)), &found);
	if (!found)
		memset(plinth_router_databases, 0,
			   mul_size(databases_size(), sizeof(RouterDatabase)));

	info.keysize = sizeof(RouterOwner);
	info.entrysize = sizeof(RouterOwnerEntry);
	plinth_router_owners =
		ShmemInitHash("plinth router owners", plinth_router_max_subscriptions,
					  plinth_router_max_subscriptions, &info,
					  HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
	plinth_router_text_startup();
}

/*
 * Raise 55000 unless the library was preloaded.
 */
void
plinth_router_require(void)
{
	if (plinth_router == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the change stream is not available"),
						errdetail("\"%s\" is not in \"shared_preload_libraries\".",
								  PLINTH_LIBRARY),
						errhint(PLINTH_PREFLIGHT_HINT)));
}

/*
 * Note that a slot changed.  The caller holds the lock.
 */
void
plinth_router_log_slot(int slot)
{
	uint64 next = pg_atomic_read_u64(&plinth_router->generation);

	plinth_router->log[next % ROUTER_LOG_SIZE] = slot;
	pg_atomic_write_u64(&plinth_router->generation, next + 1);
}

/*
 * The slot of an id in this database, or NULL.  The caller holds the lock.
 */
RouterSubscription *
plinth_router_find_slot(uint64 id)
{
	uint64 slot = id & (ROUTER_MAX_SLOTS - 1);

	if (id == 0 || slot >= (uint64) plinth_router_max_subscriptions ||
		plinth_router_slots[slot].sub.id != id ||
		plinth_router_slots[slot].sub.database != MyDatabaseId)
		return NULL;
	return &plinth_router_slots[slot].sub;
}

/*
 * Is a slot taken by a subscription of a database?
 */
bool
plinth_router_in_database(int slot, Oid dboid)
{
	return plinth_router_slots[slot].sub.id != 0 &&
		   plinth_router_slots[slot].sub.database == dboid;
}

/*
 * The entry of a database that is decoded, or NULL.  The caller holds the
 * lock.
 */
RouterDatabase *
plinth_router_find_database(Oid dboid)
{
	for (int i = 0; i < plinth_router->ndatabases; i++)
		if (plinth_router_databases[i].database == dboid)
			return &plinth_router_databases[i];
	return NULL;
}

/*
 * Whose count a subscription adds to.
 */
void
plinth_router_set_owner(RouterOwner *owner, const RouterSubscription *sub)
{
	memset(owner, 0, sizeof(*owner));
	owner->database = sub->database;
	if (sub->has_user)
		owner->user_id = sub->user_id;
	else
		owner->pid = sub->pid;
}

/*
 * Mark a live subscription as ended.  The caller holds the lock.
 */
void
plinth_router_end_locked(RouterSubscription *sub, const char *reason)
{
	RouterOwner owner;
	RouterOwnerEntry *entry;

	plinth_router_set_owner(&owner, sub);
	entry = hash_search(plinth_router_owners, &owner, HASH_FIND, NULL);
	if (entry != NULL && --entry->live == 0)
		hash_search(plinth_router_owners, &owner, HASH_REMOVE, NULL);

	sub->ended = true;
	sub->last_seen = GetCurrentTimestamp();
	strlcpy(sub->reason, reason, sizeof(sub->reason));
	plinth_router_log_slot(sub->slot);
}

/*
 * Give a slot back.  The caller holds the lock.
 */
void
plinth_router_free_locked(RouterSubscription *sub)
{
	RouterSlot *slot = &plinth_router_slots[sub->slot];

	if (!sub->ended)
		plinth_router_end_locked(sub, "");
	plinth_router_text_drop(&sub->claims);
	plinth_router_text_drop(&sub->filter);
	sub->id = 0;
	slot->next_free = plinth_router->first_free;
	plinth_router->first_free = sub->slot;
	plinth_router_log_slot(sub->slot);
}

/*
 * Has a live subscription come to its end?
 */
bool
plinth_router_is_over(const RouterSubscription *sub, TimestampTz now,
					  const char **reason)
{
	if (sub->expires_at <= now)
		*reason = "token expired";
	else if (sub->orphan &&
			 TimestampDifferenceExceeds(sub->last_seen, now, ROUTER_ORPHAN_MS))
		*reason = "session gone";
	else
		return false;
	return true;
}

/*
 * Entries of the table of databases: each needs a worker.
 */
static int
databases_size(void)
{
	return max_worker_processes;
}
