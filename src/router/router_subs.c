/*-------------------------------------------------------------------------
 *
 * router_subs.c
 *		The subscriptions of all databases, in shared memory.
 *
 * Locking: router->lock guards everything here but the generation.  It is
 * held for one slot's worth of work, except where a full table is swept, a
 * session that subscribed ends, or a worker attaches or has fallen behind:
 * then for one pass over the slots.  No error is raised and no memory is
 * taken meanwhile but for the copies that plinth_router_changed() makes.
 *
 * Each change of a slot is written to a short circular log, and the
 * generation counts the entries ever written; it is read without the lock.
 * A stream worker that has seen n entries reads the rest, or every slot when
 * the log has come round.  A commit record that is written after subscribe
 * has returned is decoded after the generation moved, so that its decoding
 * sees the subscription.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sodium.h>

#include "router/router.h"
#include "router/router_internal.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/settings.h"

#define ROUTER_TRANCHE "plinth router"
#define ROUTER_LOG_SIZE 4096 /* entries; a power of two */
#define ROUTER_SLOT_BITS 20	 /* low bits of an id that say its slot */
#define ROUTER_MAX_SLOTS (1 << ROUTER_SLOT_BITS)

/* How long a subscription lives on without its session, and an ended one. */
#define ROUTER_ORPHAN_MS (5 * 60 * 1000)

#define ROUTER_KEY_BYTES 24 /* of randomness in a session key */
#define ROUTER_KEY_LABEL "plinth subscription key:"
#define ROUTER_CHANNEL_LABEL "plinth subscription channel:"
#define ROUTER_CHANNEL_PREFIX "plinth_"

typedef struct RouterSlot
{
	RouterSubscription sub;
	int next_free; /* while it is free; -1 ends the list */
} RouterSlot;

/* Who decodes a database. */
typedef struct RouterDatabase
{
	Oid database; /* InvalidOid in a free entry */
	int pid;
} RouterDatabase;

/* A user of a database, or a session of nobody's. */
typedef struct RouterOwner
{
	Oid database;
	int pid; /* 0 for a user */
	pg_uuid_t user_id;
} RouterOwner;

typedef struct RouterOwnerEntry
{
	RouterOwner owner; /* hash key - MUST BE FIRST */
	int live;
} RouterOwnerEntry;

typedef struct RouterShared
{
	LWLock *lock;
	pg_atomic_uint64 generation; /* log entries ever written */
	ConditionVariable attached;	 /* a worker has attached */
	int first_free;
	int ndatabases;
	int log[ROUTER_LOG_SIZE]; /* slots that changed */
} RouterShared;

int plinth_router_max_subscriptions = 20000;

/* Links to shared memory; NULL when the library was not preloaded. */
static RouterShared *router = NULL;
static RouterSlot *router_slots = NULL;
static RouterDatabase *router_databases = NULL;
static HTAB *router_owners = NULL;

static bool exit_registered = false;
static bool attached = false;

static int databases_size(void);
static bool in_database(int slot, Oid dboid);
static void set_owner(RouterOwner *owner, const RouterSubscription *sub);
static void log_slot(int slot);
static RouterSubscription *find_slot(uint64 id);
static void end_locked(RouterSubscription *sub, const char *reason);
static void free_locked(RouterSubscription *sub);
static bool is_over(const RouterSubscription *sub, TimestampTz now,
					const char **reason);
static void sweep_locked(TimestampTz now);
static RouterDatabase *find_database(Oid dboid);
static void hash_with_label(const char *label, const char *key,
							uint8 hash[ROUTER_KEY_HASH_SIZE]);
static void on_session_exit(int code, Datum arg);
static void on_worker_exit(int code, Datum arg);

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
		"Each takes about one kilobyte of shared memory.",
		&plinth_router_max_subscriptions, 20000, 16, ROUTER_MAX_SLOTS,
		PLINTH_PGC_START, 0, NULL, NULL, NULL);
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

	router = ShmemInitStruct(ROUTER_TRANCHE, sizeof(RouterShared), &found);
	if (!found)
	{
		router->lock = &(GetNamedLWLockTranche(ROUTER_TRANCHE))->lock;
		pg_atomic_init_u64(&router->generation, 0);
		ConditionVariableInit(&router->attached);
		router->first_free = 0;
		router->ndatabases = databases_size();
	}

	router_slots = ShmemInitStruct(
		"plinth router subscriptions",
		mul_size(plinth_router_max_subscriptions, sizeof(RouterSlot)), &found);
	if (!found)
		for (int i = 0; i < plinth_router_max_subscriptions; i++)
		{
			router_slots[i].sub.id = 0;
			router_slots[i].sub.slot = i;
			router_slots[i].next_free =
				i + 1 < plinth_router_max_subscriptions ? i + 1 : -1;
		}

	router_databases = ShmemInitStruct(
		"plinth router databases",
		mul_size(databases_size(), sizeof(RouterDatabase)), &found);
	if (!found)
		memset(router_databases, 0,
			   mul_size(databases_size(), sizeof(RouterDatabase)));

	info.keysize = sizeof(RouterOwner);
	info.entrysize = sizeof(RouterOwnerEntry);
	router_owners =
		ShmemInitHash("plinth router owners", plinth_router_max_subscriptions,
					  plinth_router_max_subscriptions, &info,
					  HASH_ELEM | HASH_BLOBS | HASH_FIXED_SIZE);
}

/*
 * Raise 55000 unless the library was preloaded.
 */
void
plinth_router_require(void)
{
	if (router == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the change stream is not available"),
						errdetail("\"%s\" is not in \"shared_preload_libraries\".",
								  PLINTH_LIBRARY),
						errhint(PLINTH_PREFLIGHT_HINT)));
}

/*
 * Draw a session key and set the channel and hash that follow from it.
 *
 * Who knows the channel cannot find the key, nor the other way round for who
 * has only seen the memory: both are hashes of it under labels of their own.
 */
char *
plinth_router_new_key(RouterSubscription *sub)
{
	uint8 random[ROUTER_KEY_BYTES];
	uint8 hash[ROUTER_KEY_HASH_SIZE];
	char *key = palloc(ROUTER_KEY_BYTES * 2 + 1);

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not generate random values")));
	sodium_bin2hex(key, ROUTER_KEY_BYTES * 2 + 1, random, sizeof(random));
	sodium_memzero(random, sizeof(random));

	hash_with_label(ROUTER_KEY_LABEL, key, sub->key_hash);
	hash_with_label(ROUTER_CHANNEL_LABEL, key, hash);
	strlcpy(sub->channel, ROUTER_CHANNEL_PREFIX, sizeof(sub->channel));
	sodium_bin2hex(sub->channel + strlen(ROUTER_CHANNEL_PREFIX), 33, hash, 16);

	return key;
}

/*
 * Enter a subscription.  From the moment that the lock is released each
 * commit decoded by the attached worker is matched with it.
 */
RouterEntry
plinth_router_enter(RouterSubscription *sub)
{
	RouterOwner owner;
	RouterOwnerEntry *entry;
	RouterSlot *slot;
	uint64 random;
	bool found;

	if (!pg_strong_random(&random, sizeof(random)))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not generate random values")));
	random = (random >> 4) & ~(uint64) (ROUTER_MAX_SLOTS - 1);
	if (random == 0)
		random = ROUTER_MAX_SLOTS;

	/* So that the end of this session is noted on what it leaves behind. */
	if (!exit_registered)
	{
		before_shmem_exit(on_session_exit, (Datum) 0);
		exit_registered = true;
	}

	sub->database = MyDatabaseId;
	sub->pid = MyProcPid;
	sub->orphan = false;
	sub->ended = false;
	sub->reason[0] = '\0';
	sub->created_at = sub->last_seen = GetCurrentTimestamp();
	set_owner(&owner, sub);

	LWLockAcquire(router->lock, LW_EXCLUSIVE);
	if (find_database(MyDatabaseId) == NULL)
	{
		LWLockRelease(router->lock);
		return ROUTER_NO_WORKER;
	}
	if (router->first_free < 0)
		sweep_locked(sub->created_at);
	if (router->first_free < 0)
	{
		LWLockRelease(router->lock);
		return ROUTER_FULL;
	}
	entry = hash_search(router_owners, &owner, HASH_FIND, NULL);
	if (entry != NULL && entry->live >= ROUTER_MAX_PER_USER)
	{
		LWLockRelease(router->lock);
		return ROUTER_USER_LIMIT;
	}
	entry = hash_search(router_owners, &owner, HASH_ENTER_NULL, &found);
	if (entry == NULL)
	{
		LWLockRelease(router->lock);
		return ROUTER_FULL;
	}
	if (!found)
		entry->live = 0;
	entry->live++;

	slot = &router_slots[router->first_free];
	sub->slot = router->first_free;
	sub->id = random | (uint64) sub->slot;
	router->first_free = slot->next_free;
	slot->sub = *sub;
	log_slot(sub->slot);
	LWLockRelease(router->lock);

	return ROUTER_ENTERED;
}

/*
 * Wait for a stream worker of this database; at most the time given.
 */
bool
plinth_router_await_worker(int timeout_ms)
{
	TimestampTz until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	bool there = false;

	ConditionVariablePrepareToSleep(&router->attached);
	for (;;)
	{
		long left;

		LWLockAcquire(router->lock, LW_SHARED);
		there = find_database(MyDatabaseId) != NULL;
		LWLockRelease(router->lock);
		if (there)
			break;

		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(
			&router->attached, left, plinth_wait_event("PlinthStreamWorker"));
	}
	ConditionVariableCancelSleep();

	return there;
}

/*
 * A copy of a subscription for the holder of its key.
 */
void
plinth_router_open(uint64 id, const char *session_key, RouterSubscription *copy)
{
	uint8 hash[ROUTER_KEY_HASH_SIZE];
	RouterSubscription *sub;
	bool found = false;
	bool allowed = false;

	plinth_router_require();
	hash_with_label(ROUTER_KEY_LABEL, session_key, hash);

	LWLockAcquire(router->lock, LW_EXCLUSIVE);
	sub = find_slot(id);
	if (sub != NULL)
	{
		found = true;
		allowed = sodium_memcmp(sub->key_hash, hash, sizeof(hash)) == 0;
		if (allowed)
		{
			sub->last_seen = GetCurrentTimestamp();
			*copy = *sub;
		}
	}
	LWLockRelease(router->lock);

	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("there is no such subscription"),
				 errdetail("It has ended, or was never made in this database."),
				 errhint("Call realtime.subscribe() and read afresh.")));
	if (!allowed)
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for this subscription"),
						errdetail("The session key is not its key.")));
}

/*
 * Give a subscription's slot back, for the holder of its key.
 */
void
plinth_router_remove(uint64 id, const char *session_key)
{
	RouterSubscription copy;
	RouterSubscription *sub;

	plinth_router_open(id, session_key, &copy);

	LWLockAcquire(router->lock, LW_EXCLUSIVE);
	sub = find_slot(id);
	if (sub != NULL)
		free_locked(sub);
	LWLockRelease(router->lock);
}

/*
 * Move the end of a live subscription.  The caller has opened it.
 */
bool
plinth_router_extend(uint64 id, TimestampTz expires_at)
{
	RouterSubscription *sub;
	bool live;

	LWLockAcquire(router->lock, LW_EXCLUSIVE);
	sub = find_slot(id);
	live = sub != NULL && !sub->ended;
	if (live)
	{
		sub->expires_at = expires_at;
		log_slot(sub->slot);
	}
	LWLockRelease(router->lock);

	return live;
}

/*
 * All subscriptions of this database.
 */
RouterSubscription *
plinth_router_list(int *count)
{
	RouterSubscription *list;
	int n = 0;

	*count = 0;
	if (router == NULL)
		return NULL;

	LWLockAcquire(router->lock, LW_SHARED);
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (in_database(i, MyDatabaseId))
			n++;
	list = MemoryContextAllocHuge(CurrentMemoryContext,
								  mul_size(Max(n, 1), sizeof(*list)));
	n = 0;
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (in_database(i, MyDatabaseId))
			list[n++] = router_slots[i].sub;
	LWLockRelease(router->lock);

	*count = n;
	return list;
}

/*
 * How many subscriptions of a database are live.
 */
int
plinth_router_count(Oid dboid)
{
	int n = 0;

	if (router == NULL)
		return 0;

	LWLockAcquire(router->lock, LW_SHARED);
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (in_database(i, dboid) && !router_slots[i].sub.ended)
			n++;
	LWLockRelease(router->lock);

	return n;
}

/*
 * The stream worker decodes every commit of its database from now on.
 */
void
plinth_router_attach_worker(Oid dboid)
{
	static bool registered = false;
	bool entered = false;

	if (router == NULL)
		return;
	Assert(dboid == MyDatabaseId);

	if (!registered)
	{
		before_shmem_exit(on_worker_exit, (Datum) 0);
		registered = true;
	}
	plinth_router_detach_worker();
	plinth_router_reset_index();

	LWLockAcquire(router->lock, LW_EXCLUSIVE);
	for (int i = 0; i < router->ndatabases && !entered; i++)
	{
		RouterDatabase *database = &router_databases[i];

		if (database->database == InvalidOid)
		{
			database->database = dboid;
			database->pid = MyProcPid;
			entered = true;
		}
	}
	LWLockRelease(router->lock);

	if (!entered)
		elog(ERROR, "no entry is free for the stream worker");

	attached = true;
	plinth_router_mark_gap();
	ConditionVariableBroadcast(&router->attached);
}

/*
 * The stream worker decodes no more.
 */
void
plinth_router_detach_worker(void)
{
	if (router == NULL || !attached)
		return;

	attached = false;
	LWLockAcquire(router->lock, LW_EXCLUSIVE);
	for (int i = 0; i < router->ndatabases; i++)
		if (router_databases[i].pid == MyProcPid)
		{
			router_databases[i].database = InvalidOid;
			router_databases[i].pid = 0;
		}
	LWLockRelease(router->lock);
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
	LWLockAcquire(router->lock, LW_EXCLUSIVE);
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
	{
		RouterSubscription *sub = &router_slots[i].sub;

		if (sub->id != 0 && sub->database == MyDatabaseId && !sub->ended)
		{
			sub->gaps++;
			log_slot(i);
		}
	}
	LWLockRelease(router->lock);
}

/*
 * End a subscription: no more changes, and its reader is told why.
 */
void
plinth_router_end(const RouterSubscription *sub, const char *reason)
{
	RouterSubscription *shared;

	LWLockAcquire(router->lock, LW_EXCLUSIVE);
	shared = find_slot(sub->id);
	if (shared != NULL && !shared->ended)
		end_locked(shared, reason);
	LWLockRelease(router->lock);
}

/*
 * Show another route.
 */
void
plinth_router_set_route(const RouterSubscription *sub, RouterRouteKind route)
{
	RouterSubscription *shared;

	LWLockAcquire(router->lock, LW_EXCLUSIVE);
	shared = find_slot(sub->id);
	if (shared != NULL)
		shared->route = route;
	LWLockRelease(router->lock);
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
			   : is_over(sub, now, &reason);
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

	LWLockAcquire(router->lock, LW_EXCLUSIVE);
	shared = find_slot(sub->id);
	if (shared != NULL)
	{
		if (shared->ended)
		{
			if (TimestampDifferenceExceeds(shared->last_seen, now,
										   ROUTER_ORPHAN_MS))
				free_locked(shared);
		}
		else if (is_over(shared, now, &reason))
			end_locked(shared, reason);
	}
	LWLockRelease(router->lock);
}

/*
 * What changed since the worker looked last.
 */
RouterSubscription *
plinth_router_changed(uint64 *generation, int *count, bool *all)
{
	RouterSubscription *copies;
	uint64 now = pg_atomic_read_u64(&router->generation);
	Size size;

	*count = 0;
	*all = false;
	if (now == *generation)
		return NULL;

	LWLockAcquire(router->lock, LW_SHARED);
	now = pg_atomic_read_u64(&router->generation);
	*all = now - *generation > ROUTER_LOG_SIZE;
	size = *all ? (Size) plinth_router_max_subscriptions
				: (Size) (now - *generation);
	copies = MemoryContextAllocHuge(CurrentMemoryContext,
									mul_size(size, sizeof(RouterSubscription)));
	if (*all)
	{
		for (int i = 0; i < plinth_router_max_subscriptions; i++)
			if (in_database(i, MyDatabaseId))
				copies[(*count)++] = router_slots[i].sub;
	}
	else
	{
		for (uint64 i = *generation; i < now; i++)
			copies[(*count)++] =
				router_slots[router->log[i % ROUTER_LOG_SIZE]].sub;
	}
	LWLockRelease(router->lock);

	*generation = now;
	return copies;
}

/*
 * Entries of the table of databases: each needs a worker.
 */
static int
databases_size(void)
{
	return max_worker_processes;
}

/*
 * Is a slot taken by a subscription of a database?
 */
static bool
in_database(int slot, Oid dboid)
{
	return router_slots[slot].sub.id != 0 &&
		   router_slots[slot].sub.database == dboid;
}

/*
 * Whose count a subscription adds to.
 */
static void
set_owner(RouterOwner *owner, const RouterSubscription *sub)
{
	memset(owner, 0, sizeof(*owner));
	owner->database = sub->database;
	if (sub->has_user)
		owner->user_id = sub->user_id;
	else
		owner->pid = sub->pid;
}

/*
 * Note that a slot changed.  The caller holds the lock.
 */
static void
log_slot(int slot)
{
	uint64 next = pg_atomic_read_u64(&router->generation);

	router->log[next % ROUTER_LOG_SIZE] = slot;
	pg_atomic_write_u64(&router->generation, next + 1);
}

/*
 * The slot of an id in this database, or NULL.  The caller holds the lock.
 */
static RouterSubscription *
find_slot(uint64 id)
{
	uint64 slot = id & (ROUTER_MAX_SLOTS - 1);

	if (id == 0 || slot >= (uint64) plinth_router_max_subscriptions ||
		router_slots[slot].sub.id != id ||
		router_slots[slot].sub.database != MyDatabaseId)
		return NULL;
	return &router_slots[slot].sub;
}

/*
 * Mark a live subscription as ended.  The caller holds the lock.
 */
static void
end_locked(RouterSubscription *sub, const char *reason)
{
	RouterOwner owner;
	RouterOwnerEntry *entry;

	set_owner(&owner, sub);
	entry = hash_search(router_owners, &owner, HASH_FIND, NULL);
	if (entry != NULL && --entry->live == 0)
		hash_search(router_owners, &owner, HASH_REMOVE, NULL);

	sub->ended = true;
	sub->last_seen = GetCurrentTimestamp();
	strlcpy(sub->reason, reason, sizeof(sub->reason));
	log_slot(sub->slot);
}

/*
 * Give a slot back.  The caller holds the lock.
 */
static void
free_locked(RouterSubscription *sub)
{
	RouterSlot *slot = &router_slots[sub->slot];

	if (!sub->ended)
		end_locked(sub, "");
	sub->id = 0;
	slot->next_free = router->first_free;
	router->first_free = sub->slot;
	log_slot(sub->slot);
}

/*
 * Has a live subscription come to its end?
 */
static bool
is_over(const RouterSubscription *sub, TimestampTz now, const char **reason)
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
 * Free every slot that nobody can want any more, of whatever database; one
 * whose database is gone has no worker that would.  The caller holds the
 * lock.
 */
static void
sweep_locked(TimestampTz now)
{
	const char *reason;

	for (int i = 0; i < plinth_router_max_subscriptions; i++)
	{
		RouterSubscription *sub = &router_slots[i].sub;

		if (sub->id != 0 && (sub->ended || is_over(sub, now, &reason)))
			free_locked(sub);
	}
}

/*
 * The entry of a database that is decoded, or NULL.  The caller holds the
 * lock.
 */
static RouterDatabase *
find_database(Oid dboid)
{
	for (int i = 0; i < router->ndatabases; i++)
		if (router_databases[i].database == dboid)
			return &router_databases[i];
	return NULL;
}

/*
 * SHA-256 over a label and a key.
 */
static void
hash_with_label(const char *label, const char *key,
				uint8 hash[ROUTER_KEY_HASH_SIZE])
{
	crypto_hash_sha256_state state;

	crypto_hash_sha256_init(&state);
	crypto_hash_sha256_update(&state, (const unsigned char *) label,
							  strlen(label));
	crypto_hash_sha256_update(&state, (const unsigned char *) key, strlen(key));
	crypto_hash_sha256_final(&state, hash);
	sodium_memzero(&state, sizeof(state));
}

/*
 * The session is going: its subscriptions live on for a while without it.
 */
static void
on_session_exit(int code, Datum arg)
{
	LWLockAcquire(router->lock, LW_EXCLUSIVE);
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
	{
		RouterSubscription *sub = &router_slots[i].sub;

		if (sub->id != 0 && !sub->orphan && sub->pid == MyProcPid)
		{
			sub->orphan = true;
			sub->last_seen = GetCurrentTimestamp();
			log_slot(i);
		}
	}
	LWLockRelease(router->lock);
}

/*
 * The worker is going.
 */
static void
on_worker_exit(int code, Datum arg)
{
	plinth_router_detach_worker();
}
