/*-------------------------------------------------------------------------
 *
 * router_shmem.h
 *		The subscriptions of all databases, as they lie in shared memory.
 *
 * Locking: plinth_router->lock guards everything here but the generation.  It
 * is held for one slot's worth of work, except where a full table is swept, a
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
#ifndef PLINTH_ROUTER_SHMEM_H
#define PLINTH_ROUTER_SHMEM_H

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "utils/hsearch.h"

#include "router/router_internal.h"

#define ROUTER_LOG_SIZE 4096 /* entries; a power of two */
#define ROUTER_SLOT_BITS 20	 /* low bits of an id that say its slot */
#define ROUTER_MAX_SLOTS (1 << ROUTER_SLOT_BITS)

/* How long a subscription lives on without its session, and an ended one. */
#define ROUTER_ORPHAN_MS (5 * 60 * 1000)

/*
 * Tables whose policies could not be stopped, of all databases, and how long
 * nobody can follow one under them.
 */
#define ROUTER_PARKED_SIZE 64
#define ROUTER_PARKED_MS (10 * 60 * 1000)

typedef struct RouterParked
{
	Oid database; /* InvalidOid in a free entry */
	Oid relid;
	TimestampTz until;
} RouterParked;

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
	RouterParked parked[ROUTER_PARKED_SIZE];
	int log[ROUTER_LOG_SIZE]; /* slots that changed */
} RouterShared;

/* Links to shared memory; NULL when the library was not preloaded. */
extern RouterShared *plinth_router;
extern RouterSlot *plinth_router_slots;
extern RouterDatabase *plinth_router_databases;
extern HTAB *plinth_router_owners;

/* For whom holds the lock. */
extern void plinth_router_log_slot(int slot);
extern RouterSubscription *plinth_router_find_slot(uint64 id);
extern bool plinth_router_in_database(int slot, Oid dboid);
extern RouterDatabase *plinth_router_find_database(Oid dboid);
extern void plinth_router_end_locked(RouterSubscription *sub, const char *reason);
extern void plinth_router_free_locked(RouterSubscription *sub);

/* router_text.c */
extern Size plinth_router_text_size(void);
extern void plinth_router_text_startup(void);

/* For whom holds the lock. */
extern bool plinth_router_text_keep(const RouterText *text, const char *string);
extern void plinth_router_text_drop(const RouterText *text);

/* Has a live subscription come to its end? */
extern bool plinth_router_is_over(const RouterSubscription *sub,
								  TimestampTz now, const char **reason);

/* Whose count a subscription adds to. */
extern void plinth_router_set_owner(RouterOwner *owner,
									const RouterSubscription *sub);

#endif /* PLINTH_ROUTER_SHMEM_H */
