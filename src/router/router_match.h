/*-------------------------------------------------------------------------
 *
 * router_match.h
 *		A round of matching: changes, candidates, questions, messages.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ROUTER_MATCH_H
#define PLINTH_ROUTER_MATCH_H

#include "router/router_ask.h"
#include "router/router_audience.h"
#include "router/router_index.h"

#define ROUTER_OLD 0
#define ROUTER_NEW 1

/* A subscription that a change may be for. */
typedef struct RouterCandidate
{
	RouterLocal *local;
	RouterVerdict sees[2];	/* of the old image and the new */
	int questions[2];		/* in the inquiry, where it has to be asked */
	RouterInquiry *inquiry; /* or NULL */
} RouterCandidate;

/* A change and its candidates, by path: all of one role. */
typedef struct RouterCase
{
	const WireTransaction *txn;
	const WireChange *change;
	RouterPath *path; /* NULL: a message to a topic, without candidates */
	int first;		  /* of the round's candidates */
	int count;
} RouterCase;

typedef struct RouterRound
{
	MemoryContext context;
	ExprContext *econtext;
	TimestampTz now;
	uint64 number;				/* tells this round from others */
	bool replay;				/* for those only who wait for it */
	const WireTransaction *txn; /* whose changes are looked at */
	RouterTable *table;			/* the slots are for this table's rows */
	TupleTableSlot *slots[2];
	int ncases;
	int cases_size;
	RouterCase *cases;
	int ncandidates;
	int candidates_size;
	RouterCandidate *candidates;
	int nquestions;
	int ninquiries;
	int inquiries_size;
	RouterInquiry **inquiries;
	int nmatches;
	int matches_size;
	RouterMatch *matches;
} RouterRound;

/* router_find.c */

/* Add a change with its candidates, and what has to be asked, to a round. */
extern void plinth_router_find(RouterRound *round, const WireTransaction *txn,
							   const WireChange *change);

/* Let go what the round took; its candidates are void. */
extern void plinth_router_end_round(RouterRound *round);

/* router_tell.c: the answers are there; make messages of them. */
extern void plinth_router_tell(RouterRound *round);

/*
 * Make room for one more element of an array that grows; its size is kept
 * beside it.
 */
extern void *plinth_router_grow(MemoryContext context, void *array, int count,
								int *size, Size element);

#endif /* PLINTH_ROUTER_MATCH_H */
