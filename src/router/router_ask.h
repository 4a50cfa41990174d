/*-------------------------------------------------------------------------
 *
 * router_ask.h
 *		What only the database can answer: may this identity see this row?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ROUTER_ASK_H
#define PLINTH_ROUTER_ASK_H

#include "access/htup.h"
#include "utils/plancache.h"
#include "utils/relcache.h"

#include "router/router_index.h"

/* A row of the table's present layout, with every column that matters. */
typedef struct RouterQuestion
{
	HeapTuple tuple;
	bool visible; /* the answer */
} RouterQuestion;

typedef enum RouterAnswer
{
	ROUTER_UNANSWERED,
	ROUTER_ANSWERED,
	ROUTER_FAILED, /* the policies raised an error or took too long */
	ROUTER_BLOCKED /* somebody holds a lock; nothing is wrong with them */
} RouterAnswer;

/* Rows of one table that one identity asks about. */
typedef struct RouterInquiry
{
	RouterIdentity *identity;
	Oid relid;
	int count;
	int size;
	RouterQuestion *questions;
	RouterAnswer answer;
	const char *problem;			 /* when it failed: what to tell */
	int64 us;						 /* that it took */
	struct RouterInquiry *earlier;	 /* of the same identity */
	const struct WireChange *change; /* that was asked about last, and the */
	int numbers[2];					 /* questions about its images, or -1 */
} RouterInquiry;

/*
 * Answer inquiries, each as its identity's own SELECT would see the rows if
 * they stood in the table.  Runs in a transaction with an active snapshot and
 * SPI connected; raises nothing on account of a policy.
 */
extern void plinth_router_ask(RouterInquiry **inquiries, int count);

/* For the worker when it starts, outside a transaction. */
extern void plinth_router_ask_session(void);

/* A table's name or nature may have changed. */
extern void plinth_router_forget_plans(Oid relid);

/*
 * router_run.c: answer an inquiry's questions by a plan that selects from the
 * table, as whoever is in force.
 */
extern void plinth_router_run_plan(Relation rel, CachedPlan *plan,
								   RouterInquiry *inquiry);

/*
 * router_immutable.c: does a query, with the policies in it, call a function
 * that the planner may compute in advance on somebody's word alone?
 */
extern bool plinth_router_trusts_immutable(struct Node *query);

#endif /* PLINTH_ROUTER_ASK_H */
