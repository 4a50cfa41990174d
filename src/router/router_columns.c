/*-------------------------------------------------------------------------
 *
 * router_columns.c
 *		Which columns of its table a policy's condition reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_internal.h"

#include "access/sysattr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"

typedef struct ColumnsWalk
{
	int depth;
	int natts;
	bool system;
	Bitmapset *columns;
} ColumnsWalk;

static bool columns_walker(Node *node, void *context);

/*
 * Columns of the table that a condition reads, also from within sub-queries;
 * all of them when it takes the row as a whole.  Notes system columns other
 * than tableoid.
 */
Bitmapset *
plinth_router_columns_of(Node *condition, int natts, bool *system)
{
	ColumnsWalk walk = {.natts = natts};

	(void) columns_walker(condition, &walk);
	*system = *system || walk.system;
	return walk.columns;
}

static bool
columns_walker(Node *node, void *context)
{
	ColumnsWalk *walk = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;

		if ((int) var->varlevelsup != walk->depth || var->varno != 1)
			return false;
		if (var->varattno > 0)
			walk->columns = bms_add_member(walk->columns, var->varattno);
		else if (var->varattno == 0)
			for (int i = 1; i <= walk->natts; i++)
				walk->columns = bms_add_member(walk->columns, i);
		else if (var->varattno != TableOidAttributeNumber)
			walk->system = true;
		return false;
	}
	if (IsA(node, Query))
	{
		walk->depth++;
		(void) query_tree_walker((Query *) node, columns_walker, context, 0);
		walk->depth--;
		return false;
	}
	return expression_tree_walker(node, columns_walker, context);
}
