/*-------------------------------------------------------------------------
 *
 * router_index.h
 *		The stream worker's index over the subscriptions.
 *
 * Subscriptions of a table are grouped by role, which has one route, and by
 * the column that their filters hash on.  In a group each has a place in a
 * bucket for each key under which it is to be found: its user and filter
 * value, or its filter value alone where a row may be seen by everybody.
 *
 * The index is private to the worker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ROUTER_INDEX_H
#define PLINTH_ROUTER_INDEX_H

#include "lib/ilist.h"
#include "utils/hsearch.h"

#include "router/router_filter.h"
#include "router/router_internal.h"

#define ROUTER_USER_SIZE 37 /* a uuid's text and its zero */

typedef struct RouterGroup RouterGroup;
typedef struct RouterLocal RouterLocal;
typedef struct RouterTopic RouterTopic;

/* A role and its claims: whoever shares them sees the same rows. */
typedef struct RouterIdentityKey
{
	RouterText claims;
	Oid role;
	uint32 stated; /* in request.jwt.claims as well; no padding, it is hashed */
} RouterIdentityKey;

typedef struct RouterIdentity
{
	RouterIdentityKey key; /* hash key - MUST BE FIRST */
	int uses;
	char *claims;				   /* NULL: nobody's */
	struct RouterInquiry *inquiry; /* the latest, of that round */
	uint64 inquiry_round;
} RouterIdentity;

/* A subscription under one of its keys. */
typedef struct RouterPlace
{
	dlist_node node; /* in its bucket */
	RouterLocal *local;
	const char *user;  /* "" under the filter's value alone */
	const char *value; /* "" without a filter that hashes */
	uint64 hash;
} RouterPlace;

/* A subscription, as the worker last saw it. */
struct RouterLocal
{
	RouterSubscription sub;
	char user[ROUTER_USER_SIZE]; /* "" for nobody */
	dlist_node node;			 /* among the table's new ones, or waiting */
	dlist_node group_node;		 /* in its group */
	RouterGroup *group;			 /* NULL while it is new */
	RouterTopic *topic;			 /* when it follows one, and node is there */
	dlist_node topic_node;		 /* and in the order of being asked again */
	int64 asked_ms;				 /* when its right to it was asked last */
	RouterIdentity *identity;	 /* when it is in a group */
	RouterFilter *filter;		 /* when it is in a group and has one */
	int nplaces;
	RouterPlace *places;
	bool listed;	  /* among the new ones, in a group, or waiting */
	bool waiting;	  /* node is among those that wait for a replay */
	bool replaying;	  /* the replay under way is for it, too */
	bool let_in;	  /* it waits no more, once for all */
	uint32 told_gaps; /* its reader knows of these */
	bool told_end;
	uint64 stamp;	   /* image of a change that it was last found for */
	int candidate;	   /* its number among those */
	uint64 gap_round;  /* round in which it last got a gap and nothing since */
	uint64 cost_stamp; /* round whose costs it has */
	int64 judged;	   /* not yet added to the shared counts */
	int64 judged_us;
};

/* A followed table. */
typedef struct RouterTable
{
	Oid relid; /* hash key - MUST BE FIRST */
	int live;
	int waiting;		   /* of these, for a replay */
	bool stale;			   /* routes must be compiled again */
	bool tuples;		   /* somebody of those placed cannot do with text */
	uint64 layout;		   /* of its rows as they are now */
	TupleDesc desc;		   /* a copy */
	dlist_head fresh;	   /* subscriptions that are in no group yet */
	dlist_head routes;	   /* RouterPath */
	MemoryContext context; /* of routes, groups and descriptor, or NULL */
} RouterTable;

/* The route of a role to a table, and who goes it. */
typedef struct RouterPath
{
	dlist_node node;
	Oid role;
	RouterRoute route;
	dlist_head groups;
} RouterPath;

/* The subscribers of a path whose filters hash on the same column. */
struct RouterGroup
{
	dlist_node node;
	uint32 number; /* never used twice; part of the buckets' keys */
	RouterPath *path;
	AttrNumber column; /* 0: no filter that hashes */
	dlist_head members;
};

typedef struct RouterBucketKey
{
	uint64 hash; /* of user and filter value */
	uint32 group;
	uint32 padding;
} RouterBucketKey;

typedef struct RouterBucket
{
	RouterBucketKey key; /* hash key - MUST BE FIRST */
	dlist_head places;
} RouterBucket;

/* The memory of all of it, emptied when the worker attaches. */
extern MemoryContext plinth_router_index_context;

/* End a subscription that is not in a group. */
extern void plinth_router_fail(RouterLocal *local, const char *reason);

/* There is something for plinth_router_expire() to add up. */
extern void plinth_router_note_costs(void);

/* Take in what changed in shared memory; asks no catalog. */
extern void plinth_router_synchronize(void);

/* The entry of a table that has subscribers, or NULL. */
extern RouterTable *plinth_router_followed(Oid relid);

/*
 * Those that wait for a replay: let them be placed, with their tables settled,
 * and give a gap to those for whom something is missing.  In a transaction.
 * Returns the position from which on the others want it.
 */
extern XLogRecPtr plinth_router_begin_replay(const RouterTurn *turn);
extern void plinth_router_end_replay(void);

/* Forget everything: the next look takes in every slot. */
extern void plinth_router_reset_index(void);

/* router_place.c */

/* Start with no buckets and identities. */
extern void plinth_router_reset_places(void);

/*
 * Bring a table's groups up to date, in a transaction: routes are compiled
 * where they are missing or stale, and who has none any more is ended.
 */
extern void plinth_router_settle(RouterTable *table);
extern void plinth_router_settle_all(void);

/* Take a subscription out of its group, if it is in one. */
extern void plinth_router_leave(RouterLocal *local);

/*
 * The places of a group under a key, or NULL.  Two keys may share a bucket:
 * the caller compares.
 */
extern dlist_head *plinth_router_bucket(const RouterGroup *group,
										const char *user, const char *value);

/*
 * router_topic.c: those that follow a topic; the table is in the context.  Some
 * of them are asked again whether they may, now and then, and end when they
 * may not; in a transaction, for a bounded time.
 */
extern bool plinth_router_topics_due(void);
extern void plinth_router_recheck_topics(void);
extern void plinth_router_reset_topics(MemoryContext context);
extern void plinth_router_follow_topic(RouterLocal *local);
extern void plinth_router_leave_topic(RouterLocal *local);

/*
 * As plinth_router_topic_readers(), of those who are in the index: takes in
 * nothing of what changed in shared memory.
 */
extern RouterReader *plinth_router_readers_of_topic(const char *topic,
													uint8 event,
													const WireTransaction *txn,
													int *nreaders);

/*
 * Is a subscription to be told of a transaction: is it not over by now, and
 * did it not begin after it?
 */
extern bool plinth_router_concerns(const RouterSubscription *sub,
								   const WireTransaction *txn, TimestampTz now);

/*
 * Add a subscription to an array of readers that grows in the current memory
 * context, unless it is over by now or began after the transaction.
 */
extern RouterReader *plinth_router_add_reader(RouterReader *readers,
											  int *nreaders,
											  const RouterSubscription *sub,
											  const WireTransaction *txn,
											  TimestampTz now);

#endif /* PLINTH_ROUTER_INDEX_H */
