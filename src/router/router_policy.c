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
 * The result is a tree whose leaves are what a look-up or a look at the row
 * can tell; what neither can is a leaf that says so, and the row is judged by
 * PostgreSQL's own plan (router_ask.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_internal.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "rewrite/rowsecurity.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/rel.h"
#include "utils/rls.h"

static bool read_policies(Relation rel, Oid role, RouterRoute *route,
						  RouterProblem *problem);
static bool applies_to_role(const RowSecurityPolicy *policy, Oid role);
static RouterTerm *constant(RouterTermKind kind);
static void describe_route(RouterRoute *route);
static void look_at_term(const RouterTerm *term, RouterRoute *route, bool *asks,
						 bool *users, bool *rows);
static bool is_bounded(const RouterTerm *term);

/*
 * Compile the route of a table for a role.
 */
bool
plinth_router_compile(Oid relid, Oid role, RouterRoute *route,
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
			   read_policies(rel, role, route, problem);
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
		case ROUTER_ROUTE_EXPRESSION:
			return "expression";
		case ROUTER_ROUTE_QUERY:
			return "query";
	}
	return NULL; /* keep the compiler quiet */
}

/*
 * The route itself.
 */
static bool
read_policies(Relation rel, Oid role, RouterRoute *route, RouterProblem *problem)
{
	RouterTerm *permissive = constant(ROUTER_TERM_FALSE);
	RouterTerm *restrictive = constant(ROUTER_TERM_TRUE);
	bool system = false;
	ListCell *lc;

	if (check_enable_rls(RelationGetRelid(rel), role, true) != RLS_ENABLED)
		route->term = constant(ROUTER_TERM_TRUE);
	else if (row_security_policy_hook_permissive != NULL ||
			 row_security_policy_hook_restrictive != NULL)
	{
		/* another library may add policies that cannot be seen here */
		route->term = constant(ROUTER_TERM_ASK);
		for (int i = 1; i <= RelationGetNumberOfAttributes(rel); i++)
			route->asked = bms_add_member(route->asked, i);
	}
	else
	{
		foreach (lc, rel->rd_rsdesc->policies)
		{
			RowSecurityPolicy *policy = lfirst(lc);
			RouterTerm *term;

			if ((policy->polcmd != '*' && policy->polcmd != ACL_SELECT_CHR) ||
				policy->qual == NULL || !applies_to_role(policy, role))
				continue;

			term = plinth_router_read_term((Node *) policy->qual, role);
			if (policy->permissive)
				permissive =
					plinth_router_join_terms(ROUTER_TERM_OR, permissive, term);
			else
				restrictive =
					plinth_router_join_terms(ROUTER_TERM_AND, restrictive, term);
			route->asked = bms_join(
				route->asked, plinth_router_columns_of(
								  (Node *) policy->qual,
								  RelationGetNumberOfAttributes(rel), &system));
		}
		route->term =
			plinth_router_join_terms(ROUTER_TERM_AND, permissive, restrictive);
	}

	describe_route(route);
	if (route->kind == ROUTER_ROUTE_QUERY && system)
		return plinth_router_refuse(
			problem, ERRCODE_FEATURE_NOT_SUPPORTED,
			psprintf("cannot follow the changes of \"%s\" under its policies",
					 plinth_router_table_name(rel)),
			"A policy reads a system column, which the WAL does not carry.",
			NULL);
	if (route->kind == ROUTER_ROUTE_QUERY &&
		plinth_router_is_parked(RelationGetRelid(rel)))
		return plinth_router_refuse(
			problem, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
			psprintf("the changes of \"%s\" cannot be followed for now",
					 plinth_router_table_name(rel)),
			"Its policies ran too long, and could not be stopped but with the "
			"stream worker.",
			"Mend the policy, and subscribe again after ten minutes.");
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

static RouterTerm *
constant(RouterTermKind kind)
{
	RouterTerm *term = palloc0(sizeof(RouterTerm));

	term->kind = kind;
	return term;
}

/*
 * What follows from a route's tree.
 */
static void
describe_route(RouterRoute *route)
{
	bool asks = false;
	bool users = false;
	bool rows = false;

	look_at_term(route->term, route, &asks, &users, &rows);
	route->by_user = users;
	route->by_value = !is_bounded(route->term);
	route->tuples = route->tuples || asks || rows;
	if (route->term->kind == ROUTER_TERM_TRUE)
		route->kind = ROUTER_ROUTE_ALL;
	else if (route->term->kind == ROUTER_TERM_FALSE)
		route->kind = ROUTER_ROUTE_NONE;
	else if (asks)
		route->kind = ROUTER_ROUTE_QUERY;
	else if (users)
		route->kind = ROUTER_ROUTE_HASH;
	else
		route->kind = ROUTER_ROUTE_EXPRESSION;
}

/*
 * Which kinds of leaves are there?
 */
static void
look_at_term(const RouterTerm *term, RouterRoute *route, bool *asks,
			 bool *users, bool *rows)
{
	switch (term->kind)
	{
		case ROUTER_TERM_TRUE:
		case ROUTER_TERM_FALSE:
			break;
		case ROUTER_TERM_USER:
			*users = true;

			/* text is there of what is published, and lists are no text */
			if (term->type == UUIDARRAYOID ||
				(route->published != NULL &&
				 !bms_is_member(term->column, route->published)))
				route->tuples = true;
			break;
		case ROUTER_TERM_ROW:
			*rows = true;

			/* one that fails is left to the identity's own SELECT */
			if (term->guarded)
				route->tuples = true;
			break;
		case ROUTER_TERM_ASK:
			*asks = true;
			break;
		case ROUTER_TERM_AND:
		case ROUTER_TERM_OR:
			for (int i = 0; i < term->nargs; i++)
				look_at_term(term->args[i], route, asks, users, rows);
			break;
	}
}

/*
 * Do columns name all who may see a row, whatever else is in it?
 */
static bool
is_bounded(const RouterTerm *term)
{
	bool all = true;
	bool any = false;

	switch (term->kind)
	{
		case ROUTER_TERM_FALSE:
			return true;
		case ROUTER_TERM_USER:
			/* an array may have too many in it to look each of them up */
			return term->type != UUIDARRAYOID;
		case ROUTER_TERM_TRUE:
		case ROUTER_TERM_ROW:
		case ROUTER_TERM_ASK:
			return false;
		case ROUTER_TERM_AND:
		case ROUTER_TERM_OR:
			for (int i = 0; i < term->nargs; i++)
			{
				bool bounded = is_bounded(term->args[i]);

				all = all && bounded;
				any = any || bounded;
			}
			break;
	}
	return term->kind == ROUTER_TERM_AND ? any : all;
}
