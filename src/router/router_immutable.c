/*-------------------------------------------------------------------------
 *
 * router_immutable.c
 *		May a plan be shared by identities?
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_ask.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

static bool is_claimed_immutable(Node *node, void *context);
static bool function_is_claimed_immutable(Oid function, void *context);

/*
 * Does a query call a function that the planner may compute in advance on
 * somebody's word alone?
 */
bool
plinth_router_trusts_immutable(Node *query)
{
	return is_claimed_immutable(query, NULL);
}

static bool
is_claimed_immutable(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, function_is_claimed_immutable, context))
		return true;
	if (IsA(node, Query)) /* policies are in its range table by now */
		return query_tree_walker((Query *) node, is_claimed_immutable, context,
								 0);
	return expression_tree_walker(node, is_claimed_immutable, context);
}

static bool
function_is_claimed_immutable(Oid function, void *context)
{
	HeapTuple tuple;
	Form_pg_proc proc;
	bool claimed = false;

	if (function < FirstGenbkiObjectId)
		return false;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return false;
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	if (proc->prolang == SQLlanguageId)
	{
		Datum body;
		bool no_body;

		/* the planner may look into it */
		body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &no_body);
		claimed =
			proc->provolatile == PROVOLATILE_IMMUTABLE ||
			(!no_body && is_claimed_immutable(
							 stringToNode(TextDatumGetCString(body)), context));
	}
	else if (proc->prolang != INTERNALlanguageId && proc->prolang != ClanguageId)
		claimed = proc->provolatile == PROVOLATILE_IMMUTABLE;
	ReleaseSysCache(tuple);
	return claimed;
}
