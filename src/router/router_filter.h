/*-------------------------------------------------------------------------
 *
 * router_filter.h
 *		A subscription's filter.
 *
 * A filter is a list of conditions that all have to hold.  The first that
 * asks for equality with some values of a type whose equal values have one
 * text is looked up by that text; the others are run on the decoded row.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_ROUTER_FILTER_H
#define PLINTH_ROUTER_FILTER_H

#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/relcache.h"

#include "router/router_internal.h"

#define ROUTER_FILTER_SIZE 2048 /* of a filter's text, in bytes */
#define ROUTER_FILTER_CONDITIONS 16
#define ROUTER_FILTER_VALUES 100 /* in one list */

/* What is asked of a column's value, with the negation kept apart. */
typedef enum RouterTest
{
	ROUTER_TEST_FUNCTION, /* the function of it and the value is true */
	ROUTER_TEST_IN,		  /* so for one of the values */
	ROUTER_TEST_DISTINCT, /* it is distinct from the value */
	ROUTER_TEST_NULL,
	ROUTER_TEST_TRUE,
	ROUTER_TEST_FALSE,
	ROUTER_TEST_UNKNOWN
} RouterTest;

typedef struct RouterCondition
{
	AttrNumber column;
	Oid type; /* of the column, its domain taken off */
	WireOperator op;
	bool negated;
	RouterTest test;
	bool guarded; /* may raise an error or take long */
	Oid collation;
	FmgrInfo function;
	int nvalues;
	Datum *values;
} RouterCondition;

typedef enum RouterVerdict
{
	ROUTER_NO,
	ROUTER_YES,
	ROUTER_UNKNOWN, /* the image lacks what would tell */
	ROUTER_ASK,		/* only the policy can tell */
	ROUTER_LOST		/* it could have been told, had nothing changed since */
} RouterVerdict;

typedef struct RouterFilter
{
	AttrNumber hash_column; /* 0: none */
	int nvalues;			/* that it is looked up by */
	char **values;
	int nconditions; /* the others */
	RouterCondition *conditions;
	MemoryContext context; /* of all of it */
} RouterFilter;

/*
 * Read a filter on a table, in a context of its own below the current one;
 * readable are the columns that the subscriber may ask about.  Errors: 22023
 * and those of the types' input functions.
 */
extern RouterFilter *plinth_router_read_filter(Relation rel, const char *text,
											   const Bitmapset *readable);

/*
 * A filter as text in the one form that any session reads alike; from the
 * text that a caller gave, read with the caller's settings.
 */
extern char *plinth_router_canonical_filter(Relation rel, const char *text,
											const Bitmapset *readable);

/*
 * Does a row pass the conditions that are run?  The columns in unknown have
 * no value in the slot.
 */
extern RouterVerdict plinth_router_filter_row(RouterFilter *filter,
											  TupleTableSlot *slot,
											  const Bitmapset *unknown);

/* May running it raise an error or take long? */
extern bool plinth_router_filter_is_guarded(const RouterFilter *filter);

#endif /* PLINTH_ROUTER_FILTER_H */
