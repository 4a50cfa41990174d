/*-------------------------------------------------------------------------
 *
 * router_audience.h
 *		Who may see a row image, as far as it can be told by looking at it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ROUTER_AUDIENCE_H
#define PLINTH_ROUTER_AUDIENCE_H

#include "executor/tuptable.h"
#include "nodes/execnodes.h"

#include "router/router_internal.h"

#define ROUTER_USERS_SIZE 16 /* users that a set names one by one */

/* A set of users: all, or those that are named. */
typedef struct RouterUsers
{
	bool all;
	int count;
	const char *users[ROUTER_USERS_SIZE]; /* as uuid_out writes them */
} RouterUsers;

/*
 * Those in sure see the row, those not in perhaps do not; about the others
 * the policies have to be asked.
 */
typedef struct RouterAudience
{
	RouterUsers sure;
	RouterUsers perhaps;
} RouterAudience;

/* One image of a row, and what of it is known. */
typedef struct RouterImage
{
	bool there; /* the change has it, if only its key */
	bool lost;	/* it has tuples, but not for the table of now */
	const WireRelation *relation;
	const WireValue *row;	   /* as text, or NULL */
	const WireValue *fallback; /* of large values that it leaves out, or NULL */
	bool key_only;			   /* of row, the key alone is of this image */
	HeapTuple tuple;		   /* or NULL */
	const Bitmapset *unknown;  /* columns without a value in the tuple */
	TupleTableSlot *slot;	   /* has the tuple in it, once it was looked at */
} RouterImage;

/* Take down what a change says of the row before, or after. */
extern void plinth_router_image(RouterImage *image, const WireChange *change,
								bool old, uint64 layout);

/*
 * A column's text.  False: the image does not tell.  NULL is SQL NULL.
 */
extern bool plinth_router_field(const RouterImage *image, AttrNumber number,
								const char **text);

/* Are all these columns known, in the tuple? */
extern bool plinth_router_knows(const RouterImage *image,
								const Bitmapset *columns);

/* The tuple in a slot of the descriptor; the slot is made when it is NULL. */
extern void plinth_router_load(RouterImage *image, TupleDesc desc,
							   TupleTableSlot **slot);

/*
 * Who may see an image.  The image has been loaded, or has no tuple.
 */
extern void plinth_router_audience(RouterAudience *audience, RouterTerm *term,
								   RouterImage *image, ExprContext *econtext);

extern bool plinth_router_has_user(const RouterUsers *users, const char *user);

/* router_guard.c */

/*
 * Call a function in a subtransaction and under the time limit of policies.
 * False: it raised an error, whose message is in *problem, in the current
 * memory context.  What it leaves in memory is the caller's.
 */
extern bool plinth_router_guarded(void (*step)(void *arg), void *arg,
								  char **problem);

/* The time limit itself, for who has a subtransaction already. */
extern void plinth_router_start_limit(void);
extern void plinth_router_stop_limit(void);

/* Before a further row: the limit is for one, or nearly so. */
extern void plinth_router_extend_limit(void);

/* What of an error is for the subscriber's eyes; palloc'd. */
extern char *plinth_router_describe_error(const ErrorData *error);

/* A table whose policies are run now, or InvalidOid. */
extern void plinth_router_guard_table(Oid relid);

#endif /* PLINTH_ROUTER_AUDIENCE_H */
