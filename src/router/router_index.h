/*-------------------------------------------------------------------------
 *
 * router_index.h
 *		The stream worker's index over the subscriptions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ROUTER_INDEX_H
#define PLINTH_ROUTER_INDEX_H

#include "lib/ilist.h"

#include "router/router_internal.h"

#define ROUTER_USER_SIZE 37 /* a uuid's text and its zero */

typedef struct RouterGroup RouterGroup;
typedef struct RouterTopic RouterTopic;

/* A subscription, as the worker last saw it. */
typedef struct RouterLocal
{
	RouterSubscription sub;
	char user[ROUTER_USER_SIZE]; /* "" for nobody */
	dlist_node node;	   /* in a bucket, or among the table's new ones */
	dlist_node group_node; /* in its group, when it is in a bucket */
	RouterGroup *group;	   /* NULL while it is in no bucket */
	RouterTopic *topic;	   /* when it follows one, and node is there */
	uint64 hash;		   /* of its key, when it is in a bucket */
	bool listed;		   /* node is in a list */
	uint32 told_gaps;	   /* its reader knows of these */
	bool told_end;
} RouterLocal;

/* A followed table. */
typedef struct RouterTable
{
	Oid relid; /* hash key - MUST BE FIRST */
	int live;
	bool stale;		  /* routes must be compiled again */
	dlist_head fresh; /* subscriptions that are in no group yet */
	dlist_head groups;
} RouterTable;

/* The subscribers of a table that share role and filter column. */
struct RouterGroup
{
	dlist_node node;
	uint32 number; /* never used twice; part of the buckets' keys */
	RouterTable *table;
	Oid role;
	AttrNumber filter_column;
	Oid filter_type;
	RouterRoute route; /* its set is in the index's context */
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
	dlist_head subscribers;
} RouterBucket;

/* Take in what changed in shared memory; asks no catalog. */
extern void plinth_router_synchronize(void);

/* The entry of a table that has subscribers, or NULL. */
extern RouterTable *plinth_router_followed(Oid relid);

/*
 * Bring a table's groups up to date, in a transaction: routes are compiled
 * where they are missing or stale, and who has none any more is ended.
 */
extern void plinth_router_settle(RouterTable *table);

/*
 * Those of a group with this key, or NULL.  Two keys may share a bucket: the
 * caller compares.
 */
extern dlist_head *plinth_router_bucket(const RouterGroup *group,
										const char *user, const char *value);

/* router_topic.c: those that follow a topic; the table is in the context. */
extern void plinth_router_reset_topics(MemoryContext context);
extern void plinth_router_follow_topic(RouterLocal *local);
extern void plinth_router_leave_topic(RouterLocal *local);

/*
 * Add a subscription to an array of readers that grows in the current memory
 * context, unless it is over by now or began after the transaction.
 */
extern RouterReader *plinth_router_add_reader(RouterReader *readers,
											  int *nreaders,
											  const RouterSubscription *sub,
											  const WireTransaction *txn,
											  TimestampTz now);

/* Forget everything: the next look takes in every slot. */
extern void plinth_router_reset_index(void);

#endif /* PLINTH_ROUTER_INDEX_H */
