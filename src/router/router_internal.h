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

extern int plinth_router_policy_timeout; /* ms */

/* The claims of a subscription have at most this size, in bytes. */
#define ROUTER_MAX_CLAIMS (16 * 1024)

/* What decides whether a row is seen, as a tree. */
typedef enum RouterTermKind
{
	ROUTER_TERM_TRUE,
	ROUTER_TERM_FALSE,
	ROUTER_TERM_USER, /* the column's value is the user */
	ROUTER_TERM_ROW,  /* an expression over the row alone */
	ROUTER_TERM_ASK,  /* only the identity's own SELECT can tell */
	ROUTER_TERM_AND,
	ROUTER_TERM_OR
} RouterTermKind;

typedef struct RouterTerm
{
	RouterTermKind kind;
	AttrNumber column;		 /* USER */
	Oid type;				 /* USER: of the column: uuid, text, uuid[] */
	struct Expr *expression; /* ROW */
	Bitmapset *columns;		 /* ROW: that it reads */
	bool guarded;			 /* ROW: may raise an error or take long */
	int nargs;				 /* AND, OR */
	struct RouterTerm **args;
	struct ExprState *state; /* ROW: for the worker, made when first used */
} RouterTerm;

/* A table's SELECT policies for one role, compiled. */
typedef struct RouterRoute
{
	RouterRouteKind kind;
	RouterTerm *term;
	bool by_user;		  /* its readers can be found by their user */
	bool by_value;		  /* everybody may have to be looked at */
	bool tuples;		  /* cannot do with the text of rows */
	Bitmapset *asked;	  /* columns that its policies read */
	uint8 events;		  /* that the publication has: ROUTER_EVENT_* */
	bool truncate;		  /* and whether it has TRUNCATE */
	Bitmapset *readable;  /* columns that the role may select */
	Bitmapset *published; /* columns that the publication lists; NULL: all */
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
 * Compile the route of a table for a role, in the current memory context.
 * False: there is none, and the problem says why.  Runs no user's function
 * and takes no lock on a user's table.
 */
extern bool plinth_router_compile(Oid relid, Oid role, RouterRoute *route,
								  RouterProblem *problem);

/* router_term.c: a policy's condition as a tree, for that role. */
extern RouterTerm *plinth_router_read_term(struct Node *condition, Oid role);
extern RouterTerm *plinth_router_join_terms(RouterTermKind kind,
											RouterTerm *left, RouterTerm *right);

/*
 * router_columns.c: columns of the table that a policy's condition reads, also
 * in sub-queries.
 */
extern Bitmapset *plinth_router_columns_of(struct Node *condition, int natts,
										   bool *system);

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
	ROUTER_ENDED,	   /* there is nothing to renew */
	ROUTER_TEXTS_FULL, /* no room for its claims or filter */
	ROUTER_NO_WORKER,  /* nobody decodes this database now */
	ROUTER_USER_LIMIT, /* as many as one user may have are live */
	ROUTER_FULL		   /* plinth.realtime_max_subscriptions are live */
} RouterEntry;

#define ROUTER_MAX_PER_USER 100

/* Enter a subscription; fills in slot, id, created_at and texts. */
extern RouterEntry plinth_router_enter(RouterSubscription *sub,
									   const char *claims, const char *filter);

/* Wait until a stream worker is attached to this database; false: none came.
 */
extern bool plinth_router_await_worker(int timeout_ms);

/* Give a slot back at once. */
extern void plinth_router_remove(uint64 id, const char *session_key);

/* Give a live subscription new claims and another end. */
extern RouterEntry plinth_router_extend(uint64 id, TimestampTz expires_at,
										const char *claims);

/* Have a table's policies shown that they cannot be stopped? */
extern bool plinth_router_is_parked(Oid relid);
extern void plinth_router_park(Oid relid);

/* router_text.c */
extern void plinth_router_text_name(const char *string, RouterText *text);
extern bool plinth_router_text_is_none(const RouterText *text);

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

/*
 * For the stream worker: a gap for all of its database, who then want nothing
 * of the past any more, or for one.
 */
extern void plinth_router_mark_gap(void);
extern uint32 plinth_router_mark_gap_of(const RouterSubscription *sub);
extern void plinth_router_forget_since(const RouterSubscription *sub);

/* For the stream worker: rows judged by a subscription's policies. */
extern void plinth_router_add_cost(const RouterSubscription *sub, int64 rows,
								   int64 us);

/*
 * Copies of the slots that changed since *generation, which is moved on, in
 * the current memory context; NULL when nothing changed.  With *all the
 * copies are all that there are and what is not among them is gone.
 */
extern RouterSubscription *plinth_router_changed(uint64 *generation, int *count,
												 bool *all);

#endif /* PLINTH_ROUTER_INTERNAL_H */
