/*-------------------------------------------------------------------------
 *
 * router_subs.c
 *		Subscriptions as backends make, find and end them.
 *
 * See router_shmem.h for the locking.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sodium.h>

#include "router/router.h"
#include "router/router_internal.h"
#include "router/router_shmem.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"

#define ROUTER_KEY_BYTES 24 /* of randomness in a session key */
#define ROUTER_KEY_LABEL "plinth subscription key:"
#define ROUTER_CHANNEL_LABEL "plinth subscription channel:"
#define ROUTER_CHANNEL_PREFIX "plinth_"

static bool exit_registered = false;

static void sweep_locked(TimestampTz now);
static void hash_with_label(const char *label, const char *key,
							uint8 hash[ROUTER_KEY_HASH_SIZE]);
static void on_session_exit(int code, Datum arg);

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
 * commit decoded by the attached worker is matched with it.  The claims and
 * the filter may be NULL.
 */
RouterEntry
plinth_router_enter(RouterSubscription *sub, const char *claims,
					const char *filter)
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
	plinth_router_text_name(claims, &sub->claims);
	plinth_router_text_name(filter, &sub->filter);
	plinth_router_set_owner(&owner, sub);

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	if (plinth_router_find_database(MyDatabaseId) == NULL)
	{
		LWLockRelease(plinth_router->lock);
		return ROUTER_NO_WORKER;
	}
	if (plinth_router->first_free < 0)
		sweep_locked(sub->created_at);
	if (plinth_router->first_free < 0)
	{
		LWLockRelease(plinth_router->lock);
		return ROUTER_FULL;
	}
	entry = hash_search(plinth_router_owners, &owner, HASH_FIND, NULL);
	if (entry != NULL && entry->live >= ROUTER_MAX_PER_USER)
	{
		LWLockRelease(plinth_router->lock);
		return ROUTER_USER_LIMIT;
	}
	if (!plinth_router_text_keep(&sub->claims, claims))
	{
		LWLockRelease(plinth_router->lock);
		return ROUTER_TEXTS_FULL;
	}
	if (!plinth_router_text_keep(&sub->filter, filter))
	{
		plinth_router_text_drop(&sub->claims);
		LWLockRelease(plinth_router->lock);
		return ROUTER_TEXTS_FULL;
	}
	entry = hash_search(plinth_router_owners, &owner, HASH_ENTER_NULL, &found);
	if (entry == NULL)
	{
		plinth_router_text_drop(&sub->claims);
		plinth_router_text_drop(&sub->filter);
		LWLockRelease(plinth_router->lock);
		return ROUTER_FULL;
	}
	if (!found)
		entry->live = 0;
	entry->live++;

	slot = &plinth_router_slots[plinth_router->first_free];
	sub->slot = plinth_router->first_free;
	sub->id = random | (uint64) sub->slot;
	plinth_router->first_free = slot->next_free;
	slot->sub = *sub;
	plinth_router_log_slot(sub->slot);
	LWLockRelease(plinth_router->lock);

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

	ConditionVariablePrepareToSleep(&plinth_router->attached);
	for (;;)
	{
		long left;

		LWLockAcquire(plinth_router->lock, LW_SHARED);
		there = plinth_router_find_database(MyDatabaseId) != NULL;
		LWLockRelease(plinth_router->lock);
		if (there)
			break;

		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (left <= 0)
			break;
		(void) ConditionVariableTimedSleep(
			&plinth_router->attached, left,
			plinth_wait_event("PlinthStreamWorker"));
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

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	sub = plinth_router_find_slot(id);
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
	LWLockRelease(plinth_router->lock);

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

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	sub = plinth_router_find_slot(id);
	if (sub != NULL)
		plinth_router_free_locked(sub);
	LWLockRelease(plinth_router->lock);
}

/*
 * Give a live subscription new claims and another end.  The caller has opened
 * it.
 */
RouterEntry
plinth_router_extend(uint64 id, TimestampTz expires_at, const char *claims)
{
	RouterEntry entry = ROUTER_ENDED;
	RouterSubscription *sub;
	RouterText name;

	plinth_router_text_name(claims, &name);

	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	sub = plinth_router_find_slot(id);
	if (sub != NULL && !sub->ended)
	{
		entry = ROUTER_TEXTS_FULL;
		if (plinth_router_text_keep(&name, claims))
		{
			plinth_router_text_drop(&sub->claims);
			sub->claims = name;
			sub->renewals++;
			sub->expires_at = expires_at;
			plinth_router_log_slot(sub->slot);
			entry = ROUTER_ENTERED;
		}
	}
	LWLockRelease(plinth_router->lock);

	return entry;
}

/*
 * Is nobody let follow a table, because its policies could not be stopped?
 */
bool
plinth_router_is_parked(Oid relid)
{
	TimestampTz now = GetCurrentTimestamp();
	bool parked = false;

	LWLockAcquire(plinth_router->lock, LW_SHARED);
	for (int i = 0; i < ROUTER_PARKED_SIZE && !parked; i++)
	{
		const RouterParked *entry = &plinth_router->parked[i];

		parked = entry->database == MyDatabaseId && entry->relid == relid &&
				 entry->until > now;
	}
	LWLockRelease(plinth_router->lock);

	return parked;
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
	if (plinth_router == NULL)
		return NULL;

	LWLockAcquire(plinth_router->lock, LW_SHARED);
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (plinth_router_in_database(i, MyDatabaseId))
			n++;
	list = MemoryContextAllocHuge(CurrentMemoryContext,
								  mul_size(Max(n, 1), sizeof(*list)));
	n = 0;
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (plinth_router_in_database(i, MyDatabaseId))
			list[n++] = plinth_router_slots[i].sub;
	LWLockRelease(plinth_router->lock);

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

	if (plinth_router == NULL)
		return 0;

	LWLockAcquire(plinth_router->lock, LW_SHARED);
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
		if (plinth_router_in_database(i, dboid) &&
			!plinth_router_slots[i].sub.ended)
			n++;
	LWLockRelease(plinth_router->lock);

	return n;
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
		RouterSubscription *sub = &plinth_router_slots[i].sub;

		if (sub->id != 0 &&
			(sub->ended || plinth_router_is_over(sub, now, &reason)))
			plinth_router_free_locked(sub);
	}
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
	LWLockAcquire(plinth_router->lock, LW_EXCLUSIVE);
	for (int i = 0; i < plinth_router_max_subscriptions; i++)
	{
		RouterSubscription *sub = &plinth_router_slots[i].sub;

		if (sub->id != 0 && !sub->orphan && sub->pid == MyProcPid)
		{
			sub->orphan = true;
			sub->last_seen = GetCurrentTimestamp();
			plinth_router_log_slot(i);
		}
	}
	LWLockRelease(plinth_router->lock);
}
