/*-------------------------------------------------------------------------
 *
 * router_policy.c
 *		A table's SELECT policies for a role, compiled into a route.
 *
 * Policies are combined as PostgreSQL combines them (rewrite/rowsecurity.c):
 * those for SELECT and for ALL that name the role count; permissive ones are
 * ORed, restrictive ones ANDed to that; without a permissive one nobody sees
 * a row.  The owner, superusers and BYPASSRLS see all, but for FORCE.
 *
 * What is understood: constants, AND, OR, and "user = column", where user is
 * plinth.auth_uid(), bare or in a scalar sub-query, or an SQL function that
 * does nothing but return it.  Expressions are looked at and never run or
 * simplified by the server's own means, because that may call functions with
 * the worker's rights.  Whatever is not understood is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_internal.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "rewrite/rowsecurity.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/names.h"

/* Wrappers around wrappers that are looked into. */
#define ROUTER_MAX_WRAPPERS 4

/* What an expression says, and what it is read with. */
typedef struct RouterReading
{
	Oid uid_function; /* plinth.auth_uid() */
	Oid role;
	bool forbidden; /* the role may not call a function in it */
} RouterReading;

typedef struct RouterCondition
{
	RouterRouteKind kind;
	int ncolumns;
	AttrNumber columns[ROUTER_ROUTE_MAX_COLUMNS]; /* ascending */
} RouterCondition;

static bool read_policies(Relation rel, Oid role, bool explain,
						  RouterRoute *route, RouterProblem *problem);
static bool applies_to_role(const RowSecurityPolicy *policy, Oid role);
static bool read_condition(Node *node, RouterReading *reading,
						   RouterCondition *condition);
static bool read_equality(const OpExpr *expr, RouterReading *reading,
						  RouterCondition *condition);
static bool is_user(Node *node, RouterReading *reading, int depth);
static bool is_user_function(const FuncExpr *call, RouterReading *reading,
							 int depth);
static Node *only_target(Node *node);
static bool either(RouterCondition *left, const RouterCondition *right);
static bool both(RouterCondition *left, const RouterCondition *right);
static Node *strip_relabel(Node *node);

/*
 * Compile the route of a table for a role.
 */
bool
plinth_router_compile(Oid relid, Oid role, bool explain, RouterRoute *route,
					  RouterProblem *problem)
{
	Relation rel;
	bool compiled;

	memset(route, 0, sizeof(*route));
	memset(problem, 0, sizeof(*problem));

	rel = RelationIdGetRelation(relid);
	if (!RelationIsValid(rel))
		return plinth_router_refuse(problem, ERRCODE_INVALID_PARAMETER_VALUE,
									"the table does not exist any more", NULL,
									NULL);

	compiled = plinth_router_read_relation(rel, role, route, problem) &&
			   read_policies(rel, role, explain, route, problem);
	RelationClose(rel);

	return compiled;
}

/*
 * The name of a route in views.
 */
const char *
plinth_router_route_name(RouterRouteKind kind)
{
	switch (kind)
	{
		case ROUTER_ROUTE_NONE:
			return "none";
		case ROUTER_ROUTE_ALL:
			return "all";
		case ROUTER_ROUTE_HASH:
			return "hash";
	}
	return NULL; /* keep the compiler quiet */
}

/*
 * The route itself.
 */
static bool
read_policies(Relation rel, Oid role, bool explain, RouterRoute *route,
			  RouterProblem *problem)
{
	RouterReading reading = {.role = role};
	RouterCondition permissive = {.kind = ROUTER_ROUTE_NONE};
	RouterCondition restrictive = {.kind = ROUTER_ROUTE_ALL};
	ListCell *lc;

	/* Hooks of other libraries may add policies that cannot be seen here. */
	if (row_security_policy_hook_permissive != NULL ||
		row_security_policy_hook_restrictive != NULL)
		return plinth_router_refuse(
			problem, ERRCODE_FEATURE_NOT_SUPPORTED,
			"cannot compile row security policies",
			"Another loaded library adds policies of its own.", NULL);

	if (check_enable_rls(RelationGetRelid(rel), role, true) != RLS_ENABLED)
	{
		route->kind = ROUTER_ROUTE_ALL;
		return true;
	}

	reading.uid_function = LookupFuncName(
		list_make2(makeString(PLINTH_SCHEMA), makeString("auth_uid")), 0, NULL,
		true);

	foreach (lc, rel->rd_rsdesc->policies)
	{
		RowSecurityPolicy *policy = lfirst(lc);
		RouterCondition condition = {.kind = ROUTER_ROUTE_NONE};

		if ((policy->polcmd != '*' && policy->polcmd != ACL_SELECT_CHR) ||
			policy->qual == NULL || !applies_to_role(policy, role))
			continue;

		if (read_condition((Node *) policy->qual, &reading, &condition) &&
			(policy->permissive ? either(&permissive, &condition)
								: both(&restrictive, &condition)))
			continue;

		if (reading.forbidden)
			return plinth_router_refuse(
				problem, ERRCODE_INSUFFICIENT_PRIVILEGE,
				psprintf("permission denied for a function in a "
						 "policy of table \"%s\"",
						 plinth_router_table_name(rel)),
				psprintf("The policy is \"%s\".", policy->policy_name), NULL);
		return plinth_router_refuse(
			problem, ERRCODE_FEATURE_NOT_SUPPORTED,
			psprintf("cannot follow the changes of \"%s\" under its policies",
					 plinth_router_table_name(rel)),
			explain
				? psprintf("Policy \"%s\" is: %s", policy->policy_name,
						   deparse_expression(
							   (Node *) policy->qual,
							   deparse_context_for(RelationGetRelationName(rel),
												   RelationGetRelid(rel)),
							   false, false))
				: psprintf("The policy is \"%s\".", policy->policy_name),
			"The change stream supports true, false, and auth.uid() = column "
			"joined by OR.");
	}

	if (!both(&permissive, &restrictive))
		return plinth_router_refuse(
			problem, ERRCODE_FEATURE_NOT_SUPPORTED,
			psprintf("cannot follow the changes of \"%s\" under "
					 "its policies",
					 plinth_router_table_name(rel)),
			"Its permissive and restrictive policies name "
			"different columns.",
			"The change stream supports true, false, and "
			"auth.uid() = column joined by OR.");

	route->kind = permissive.kind;
	route->ncolumns = permissive.ncolumns;
	memcpy(route->columns, permissive.columns, sizeof(route->columns));
	return true;
}

/*
 * Does a policy name the role, a role whose rights it has, or PUBLIC?
 */
static bool
applies_to_role(const RowSecurityPolicy *policy, Oid role)
{
	Datum *roles;
	int count;
	bool applies = false;

	deconstruct_array(policy->roles, OIDOID, sizeof(Oid), true, TYPALIGN_INT,
					  &roles, NULL, &count);
	for (int i = 0; i < count && !applies; i++)
	{
		Oid named = DatumGetObjectId(roles[i]);

		applies = named == ACL_ID_PUBLIC || has_privs_of_role(role, named);
	}
	pfree(roles);
	return applies;
}

/*
 * Read a boolean expression; false when it is not understood.  NULL counts
 * as false: nothing that is understood turns the one into true and not the
 * other.
 */
static bool
read_condition(Node *node, RouterReading *reading, RouterCondition *condition)
{
	check_stack_depth();

	condition->ncolumns = 0;
	if (IsA(node, Const))
	{
		Const *constant = (Const *) node;

		if (constant->consttype != BOOLOID)
			return false;
		condition->kind =
			!constant->constisnull && DatumGetBool(constant->constvalue)
				? ROUTER_ROUTE_ALL
				: ROUTER_ROUTE_NONE;
		return true;
	}
	if (IsA(node, BoolExpr))
	{
		BoolExpr *expr = (BoolExpr *) node;
		ListCell *lc;

		if (expr->boolop == NOT_EXPR)
			return false;
		condition->kind =
			expr->boolop == AND_EXPR ? ROUTER_ROUTE_ALL : ROUTER_ROUTE_NONE;
		foreach (lc, expr->args)
		{
			RouterCondition part;

			if (!read_condition(lfirst(lc), reading, &part) ||
				!(expr->boolop == AND_EXPR ? both(condition, &part)
										   : either(condition, &part)))
				return false;
		}
		return true;
	}
	if (IsA(node, OpExpr))
		return read_equality((OpExpr *) node, reading, condition);
	return false;
}

/*
 * Read "user = column", in either order.
 */
static bool
read_equality(const OpExpr *expr, RouterReading *reading,
			  RouterCondition *condition)
{
	Node *left;
	Node *right;
	Var *column;

	if (list_length(expr->args) != 2 || get_opcode(expr->opno) != F_UUID_EQ)
		return false;
	left = strip_relabel(linitial(expr->args));
	right = strip_relabel(lsecond(expr->args));
	if (IsA(right, Var))
	{
		Node *swap = left;

		left = right;
		right = swap;
	}
	if (!IsA(left, Var))
		return false;
	column = (Var *) left;
	if (column->varno != 1 || column->varlevelsup != 0 || column->varattno <= 0 ||
		getBaseType(column->vartype) != UUIDOID || !is_user(right, reading, 0))
		return false;

	condition->kind = ROUTER_ROUTE_HASH;
	condition->ncolumns = 1;
	condition->columns[0] = column->varattno;
	return true;
}

/*
 * Is it the user of the claims?
 */
static bool
is_user(Node *node, RouterReading *reading, int depth)
{
	if (node == NULL)
		return false;
	node = strip_relabel(node);
	if (IsA(node, SubLink))
	{
		SubLink *link = (SubLink *) node;

		if (link->subLinkType != EXPR_SUBLINK)
			return false;
		return is_user(only_target(link->subselect), reading, depth);
	}
	if (IsA(node, FuncExpr))
		return is_user_function((FuncExpr *) node, reading, depth);
	return false;
}

/*
 * Is it a call of plinth.auth_uid(), or of a function that returns just
 * that?  Notes when the role may not make the call.
 */
static bool
is_user_function(const FuncExpr *call, RouterReading *reading, int depth)
{
	HeapTuple tuple;
	Form_pg_proc proc;
	Datum body;
	bool no_config;
	bool no_body;
	Node *inner = NULL;

	if (call->args != NIL || call->funcresulttype != UUIDOID ||
		call->funcretset || depth > ROUTER_MAX_WRAPPERS)
		return false;
	if (plinth_proc_aclcheck(call->funcid, reading->role, ACL_EXECUTE) !=
		ACLCHECK_OK)
	{
		reading->forbidden = true;
		return false;
	}
	if (OidIsValid(reading->uid_function) && call->funcid == reading->uid_function)
		return true;

	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	if (!HeapTupleIsValid(tuple))
		return false;
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	(void) SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_proconfig, &no_config);
	body = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &no_body);
	if (proc->prolang == SQLlanguageId && proc->prokind == PROKIND_FUNCTION &&
		!proc->prosecdef && no_config && !no_body)
		inner = only_target(stringToNode(TextDatumGetCString(body)));
	ReleaseSysCache(tuple);

	return is_user(inner, reading, depth + 1);
}

/*
 * What a query without FROM selects, when it is one value and nothing else.
 */
static Node *
only_target(Node *node)
{
	Query *query;
	TargetEntry *target;

	/* A body in the BEGIN ATOMIC form is a list of lists of statements. */
	while (node != NULL && IsA(node, List))
	{
		if (list_length((List *) node) != 1)
			return NULL;
		node = linitial((List *) node);
	}
	if (node == NULL || !IsA(node, Query))
		return NULL;

	query = (Query *) node;
	if (query->commandType != CMD_SELECT || query->rtable != NIL ||
		query->jointree == NULL || query->jointree->fromlist != NIL ||
		query->jointree->quals != NULL || query->hasAggs ||
		query->hasWindowFuncs || query->hasTargetSRFs || query->hasSubLinks ||
		query->cteList != NIL || query->groupClause != NIL ||
		query->groupingSets != NIL || query->havingQual != NULL ||
		query->distinctClause != NIL || query->limitOffset != NULL ||
		query->limitCount != NULL || query->rowMarks != NIL ||
		query->setOperations != NULL || list_length(query->targetList) != 1)
		return NULL;

	target = linitial_node(TargetEntry, query->targetList);
	return target->resjunk ? NULL : (Node *) target->expr;
}

/*
 * OR another condition to one; false when it has too many columns.
 */
static bool
either(RouterCondition *left, const RouterCondition *right)
{
	if (left->kind == ROUTER_ROUTE_ALL || right->kind == ROUTER_ROUTE_NONE)
		return true;
	if (right->kind == ROUTER_ROUTE_ALL || left->kind == ROUTER_ROUTE_NONE)
	{
		*left = *right;
		return true;
	}
	for (int i = 0; i < right->ncolumns; i++)
	{
		int at = 0;

		while (at < left->ncolumns && left->columns[at] < right->columns[i])
			at++;
		if (at < left->ncolumns && left->columns[at] == right->columns[i])
			continue;
		if (left->ncolumns == ROUTER_ROUTE_MAX_COLUMNS)
			return false;
		memmove(&left->columns[at + 1], &left->columns[at],
				(left->ncolumns - at) * sizeof(AttrNumber));
		left->columns[at] = right->columns[i];
		left->ncolumns++;
	}
	return true;
}

/*
 * AND another condition to one; false when the result would be none of the
 * conditions that are understood.
 */
static bool
both(RouterCondition *left, const RouterCondition *right)
{
	if (left->kind == ROUTER_ROUTE_NONE || right->kind == ROUTER_ROUTE_ALL)
		return true;
	if (right->kind == ROUTER_ROUTE_NONE || left->kind == ROUTER_ROUTE_ALL)
	{
		*left = *right;
		return true;
	}
	return left->ncolumns == right->ncolumns &&
		   memcmp(left->columns, right->columns,
				  left->ncolumns * sizeof(AttrNumber)) == 0;
}

/*
 * An expression without the changes of type that change no bit.
 */
static Node *
strip_relabel(Node *node)
{
	while (node != NULL && IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}
