/*-------------------------------------------------------------------------
 *
 * router_internal.h
 *		What the router's files share with each other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ROUTER_INTERNAL_H
#define PLINTH_ROUTER_INTERNAL_H

#include "utils/relcache.h"

#include "router/router.h"

#define ROUTER_ROUTE_MAX_COLUMNS 8 /* columns of one route's OR */

/* A table's SELECT policies for one role, compiled. */
typedef struct RouterRoute
{
	RouterRouteKind kind;
	int ncolumns; /* of ROUTER_ROUTE_HASH */
	AttrNumber columns[ROUTER_ROUTE_MAX_COLUMNS];
	uint8 events;		 /* that the publication has: ROUTER_EVENT_* */
	bool truncate;		 /* and whether it has TRUNCATE */
	Bitmapset *readable; /* columns that the role may select */
} RouterRoute;

/* Why a subscription cannot be; the strings are palloc'd or constant. */
typedef struct RouterProblem
{
	int sqlerrcode;
	char *message;
	char *detail; /* or NULL */
	char *hint;	  /* or NULL */
} RouterProblem;

/*
 * Compile the route of a table for a role.  The route's sets are in the
 * current memory context.  False: there is none, and the problem says why;
 * with explain, it quotes the policy that stands in the way.  Runs no user's
 * function, and without explain takes no lock on a user's table.
 */
extern bool plinth_router_compile(Oid relid, Oid role, bool explain,
								  RouterRoute *route, RouterProblem *problem);

/* router_relation.c: all of a route that does not depend on policies. */
extern bool plinth_router_read_relation(Relation rel, Oid role,
										RouterRoute *route,
										RouterProblem *problem);

/* Fill in a problem; always false. */
extern bool plinth_router_refuse(RouterProblem *problem, int sqlerrcode,
								 char *message, char *detail, char *hint);

/* The quoted name of a table with its schema. */
extern char *plinth_router_table_name(Relation rel);

typedef enum RouterEntry
{
	ROUTER_ENTERED,
	ROUTER_NO_WORKER,  /* nobody decodes this database now */
	ROUTER_USER_LIMIT, /* as many as one user may have are live */
	ROUTER_FULL		   /* plinth.realtime_max_subscriptions are live */
} RouterEntry;

#define ROUTER_MAX_PER_USER 100

/* Enter a subscription; fills in slot, id and created_at. */
extern RouterEntry plinth_router_enter(RouterSubscription *sub);

/* Wait until a stream worker is attached to this database; false: none came.
 */
extern bool plinth_router_await_worker(int timeout_ms);

/* Give a slot back at once. */
extern void plinth_router_remove(uint64 id, const char *session_key);

/* Move the end of a subscription; false when it has ended already. */
extern bool plinth_router_extend(uint64 id, TimestampTz expires_at);

/* A new session key and the channel and hash that follow from it. */
extern char *plinth_router_new_key(RouterSubscription *sub);

/* For the stream worker: end a subscription, unless it has gone already. */
extern void plinth_router_end(const RouterSubscription *sub, const char *reason);

/* For the stream worker: what the views show as the route. */
extern void plinth_router_set_route(const RouterSubscription *sub,
									RouterRouteKind route);

/*
 * For the stream worker: what is over by the clock ends, and the slot of what
 * ended long ago is given back.
 */
extern void plinth_router_free(const RouterSubscription *sub);
extern bool plinth_router_over(const RouterSubscription *sub, TimestampTz now);

/* For the stream worker: a gap for all of its database. */
extern void plinth_router_mark_gap(void);

/*
 * Copies of the slots that changed since *generation, which is moved on, in
 * the current memory context; NULL when nothing changed.  With *all the
 * copies are all that there are and what is not among them is gone.
 */
extern RouterSubscription *plinth_router_changed(uint64 *generation, int *count,
												 bool *all);

#endif /* PLINTH_ROUTER_INTERNAL_H */
