/*-------------------------------------------------------------------------
 *
 * router_term.c
 *		What a policy's condition says, as a tree that can be looked up.
 *
 * Understood are constants, AND, OR, "user = column", "user = ANY (column)",
 * and expressions over the row alone.  User is plinth.auth_uid(), bare or in a scalar sub-query,
 * an SQL function that does nothing but return it, or one of these as text.
 * An expression is over the row alone when it calls nothing but functions of
 * the server itself that depend on their arguments only, which can therefore
 * be run with the worker's rights.
 *
 * Conditions are looked at and never run or simplified by the server's own
 * means, because that may call functions with the worker's rights.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_internal.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/names.h"

/* Wrappers around wrappers that are looked into. */
#define TERM_MAX_WRAPPERS 4

/*
 * Functions that are stable and not immutable, and still the same for all
 * subscribers: the time of judging, and sums with it in the worker's zone.
 */
static const Oid harmless[] = {F_NOW, F_TIMESTAMPTZ_PL_INTERVAL,
							   F_TIMESTAMPTZ_MI_INTERVAL, F_ENUM_OUT};

/* What a condition is read with. */
typedef struct TermReading
{
	Oid uid_function; /* plinth.auth_uid() */
	Oid role;
} TermReading;

typedef struct RowExpressionCheck
{
	Oid role;
	bool guarded;
} RowExpressionCheck;

static RouterTerm *read_term(Node *node, TermReading *reading);
static RouterTerm *make_term(RouterTermKind kind);
static RouterTerm *read_equality(const OpExpr *expr, TermReading *reading);
static RouterTerm *read_any(const ScalarArrayOpExpr *expr, TermReading *reading);
static bool is_own_column(Node *node, Oid type);
static RouterTerm *match_user(Node *left, Node *right, Oid function,
							  Oid collation, TermReading *reading);
static bool is_user(Node *node, TermReading *reading, int depth);
static bool is_user_function(const FuncExpr *call, TermReading *reading,
							 int depth);
static Node *only_target(Node *node);
static bool needs_identity(Node *node, void *context);
static bool is_plain_type(Oid type);
static bool needs_function(Oid function, void *context);
static bool is_comparison(Oid function);
static Node *strip_relabel(Node *node);

/*
 * A policy's condition as a tree, in the current memory context.  NULL counts
 * as false: nothing above a leaf turns the one into true and not the other.
 */
RouterTerm *
plinth_router_read_term(Node *condition, Oid role)
{
	TermReading reading = {.role = role};

	reading.uid_function = LookupFuncName(
		list_make2(makeString(PLINTH_SCHEMA), makeString("auth_uid")), 0, NULL,
		true);
	return read_term(copyObject(condition), &reading);
}

/*
 * AND or OR of two terms, without what cannot matter.
 */
RouterTerm *
plinth_router_join_terms(RouterTermKind kind, RouterTerm *left, RouterTerm *right)
{
	RouterTermKind neutral =
		kind == ROUTER_TERM_AND ? ROUTER_TERM_TRUE : ROUTER_TERM_FALSE;
	RouterTermKind decisive =
		kind == ROUTER_TERM_AND ? ROUTER_TERM_FALSE : ROUTER_TERM_TRUE;
	RouterTerm *term;

	if (left->kind == neutral || right->kind == decisive)
		return right;
	if (right->kind == neutral || left->kind == decisive)
		return left;

	term = make_term(kind);
	term->nargs = 2;
	term->args = palloc(2 * sizeof(RouterTerm *));
	term->args[0] = left;
	term->args[1] = right;
	return term;
}

static RouterTerm *
read_term(Node *node, TermReading *reading)
{
	RowExpressionCheck check = {.role = reading->role};
	RouterTerm *term = NULL;

	check_stack_depth();

	if (IsA(node, Const))
	{
		Const *constant = (Const *) node;

		return make_term(!constant->constisnull &&
								 DatumGetBool(constant->constvalue)
							 ? ROUTER_TERM_TRUE
							 : ROUTER_TERM_FALSE);
	}
	if (!needs_identity(node, &check))
	{
		bool system = false;

		term = make_term(ROUTER_TERM_ROW);
		term->expression = (Expr *) node;
		term->guarded = check.guarded;
		term->columns = plinth_router_columns_of(node, 0, &system);
		return term;
	}
	if (IsA(node, BoolExpr) && ((BoolExpr *) node)->boolop != NOT_EXPR)
	{
		BoolExpr *expr = (BoolExpr *) node;
		RouterTermKind kind =
			expr->boolop == AND_EXPR ? ROUTER_TERM_AND : ROUTER_TERM_OR;
		ListCell *lc;

		term = make_term(expr->boolop == AND_EXPR ? ROUTER_TERM_TRUE
												  : ROUTER_TERM_FALSE);
		foreach (lc, expr->args)
			term = plinth_router_join_terms(kind, term,
											read_term(lfirst(lc), reading));
		return term;
	}
	if (IsA(node, OpExpr))
		term = read_equality((OpExpr *) node, reading);
	else if (IsA(node, ScalarArrayOpExpr))
		term = read_any((ScalarArrayOpExpr *) node, reading);

	return term != NULL ? term : make_term(ROUTER_TERM_ASK);
}

static RouterTerm *
make_term(RouterTermKind kind)
{
	RouterTerm *term = palloc0(sizeof(RouterTerm));

	term->kind = kind;
	return term;
}

/*
 * Read "user = column", in either order; or NULL.
 */
static RouterTerm *
read_equality(const OpExpr *expr, TermReading *reading)
{
	Node *left;
	Node *right;

	if (list_length(expr->args) != 2)
		return NULL;
	left = strip_relabel(linitial(expr->args));
	right = strip_relabel(lsecond(expr->args));
	if (IsA(right, Var))
		return match_user(right, left, get_opcode(expr->opno),
						  expr->inputcollid, reading);
	return match_user(left, right, get_opcode(expr->opno), expr->inputcollid,
					  reading);
}

/*
 * Read "user IN (column, ...)" and "user = ANY (column)"; or NULL.
 */
static RouterTerm *
read_any(const ScalarArrayOpExpr *expr, TermReading *reading)
{
	RouterTerm *term = make_term(ROUTER_TERM_FALSE);
	ListCell *lc;

	if (!expr->useOr)
		return NULL;
	if (get_opcode(expr->opno) == F_UUID_EQ &&
		is_own_column(strip_relabel(lsecond(expr->args)), UUIDARRAYOID) &&
		is_user(linitial(expr->args), reading, 0))
	{
		term->kind = ROUTER_TERM_USER;
		term->column = ((Var *) strip_relabel(lsecond(expr->args)))->varattno;
		term->type = UUIDARRAYOID;
		return term;
	}
	if (!IsA(lsecond(expr->args), ArrayExpr) ||
		lsecond_node(ArrayExpr, expr->args)->multidims)
		return NULL;
	foreach (lc, lsecond_node(ArrayExpr, expr->args)->elements)
	{
		RouterTerm *part = match_user(
			strip_relabel(lfirst(lc)), strip_relabel(linitial(expr->args)),
			get_opcode(expr->opno), expr->inputcollid, reading);

		if (part == NULL)
			return NULL;
		term = plinth_router_join_terms(ROUTER_TERM_OR, term, part);
	}
	return term;
}

/*
 * Is it a column of the row, of that type or a domain over it?
 */
static bool
is_own_column(Node *node, Oid type)
{
	Var *column = (Var *) node;

	return IsA(node, Var) && column->varno == 1 && column->varlevelsup == 0 &&
		   column->varattno > 0 && getBaseType(column->vartype) == type;
}

/*
 * Is the one a column of the row and the other the user, as uuids or as text?
 */
static RouterTerm *
match_user(Node *left, Node *right, Oid function, Oid collation,
		   TermReading *reading)
{
	RouterTerm *term;
	Var *column;
	Oid type;

	if (!IsA(left, Var))
		return NULL;
	column = (Var *) left;
	if (column->varno != 1 || column->varlevelsup != 0 || column->varattno <= 0)
		return NULL;
	type = getBaseType(column->vartype);

	if (function == F_UUID_EQ)
	{
		if (type != UUIDOID || !is_user(right, reading, 0))
			return NULL;
	}
	else if (function == F_TEXTEQ)
	{
		CoerceViaIO *coerced = (CoerceViaIO *) right;

		if ((type != TEXTOID && type != VARCHAROID) ||
			!get_collation_isdeterministic(collation) ||
			!IsA(right, CoerceViaIO) || coerced->resulttype != TEXTOID ||
			exprType((Node *) coerced->arg) != UUIDOID ||
			!is_user((Node *) coerced->arg, reading, 0))
			return NULL;
	}
	else
		return NULL;

	term = make_term(ROUTER_TERM_USER);
	term->column = column->varattno;
	term->type = type;
	return term;
}

/*
 * Is it the user of the claims?
 */
static bool
is_user(Node *node, TermReading *reading, int depth)
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
 * Is it a call of plinth.auth_uid(), or of a function that returns just that,
 * and may the role make it?
 */
static bool
is_user_function(const FuncExpr *call, TermReading *reading, int depth)
{
	HeapTuple tuple;
	Form_pg_proc proc;
	Datum body;
	bool no_config;
	bool no_body;
	Node *inner = NULL;

	if (call->args != NIL || call->funcresulttype != UUIDOID ||
		call->funcretset || depth > TERM_MAX_WRAPPERS ||
		plinth_proc_aclcheck(call->funcid, reading->role, ACL_EXECUTE) !=
			ACLCHECK_OK)
		return false;
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
 * Is there something in an expression that is not of the row alone?  Only the
 * kinds of node that are named here are known not to be.  Notes when its
 * evaluation may raise an error or take long.
 */
static bool
needs_identity(Node *node, void *context)
{
	RowExpressionCheck *check = context;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
		{
			Var *var = (Var *) node;

			if (var->varno != 1 || var->varlevelsup != 0 ||
				var->varattno <= 0 || !is_plain_type(var->vartype))
				return true;
			break;
		}
		case T_Const:
			if (!is_plain_type(((Const *) node)->consttype))
				return true;
			break;
		case T_FuncExpr:
		{
			FuncExpr *call = (FuncExpr *) node;

			/* defaults of arguments are the planner's to fill in */
			if (call->funcretset ||
				list_length(call->args) != get_func_nargs(call->funcid))
				return true;
			check->guarded = true;
			break;
		}
		case T_OpExpr:
		case T_DistinctExpr:
		case T_NullIfExpr:
			set_opfuncid((OpExpr *) node);
			if (((OpExpr *) node)->opretset)
				return true;
			if (!is_comparison(((OpExpr *) node)->opfuncid))
				check->guarded = true;
			break;
		case T_ScalarArrayOpExpr:
			set_sa_opfuncid((ScalarArrayOpExpr *) node);
			if (!is_comparison(((ScalarArrayOpExpr *) node)->opfuncid))
				check->guarded = true;
			break;
		case T_ArrayExpr:
		case T_BoolExpr:
		case T_BooleanTest:
		case T_CaseExpr:
		case T_CaseTestExpr:
		case T_CaseWhen:
		case T_CoalesceExpr:
		case T_CollateExpr:
		case T_List:
		case T_RelabelType:
			break;
		case T_NullTest:
			if (((NullTest *) node)->argisrow)
				return true;
			break;
		case T_CoerceViaIO:
			check->guarded = true;
			break;
		default:
			return true;
	}
	if (check_functions_in_node(node, needs_function, check))
		return true;
	return expression_tree_walker(node, needs_identity, context);
}

/*
 * Is it a type of the server's own?  Functions over others' types call what
 * these bring with them.
 */
static bool
is_plain_type(Oid type)
{
	Oid base = getBaseType(type);

	return base < FirstGenbkiObjectId || type_is_enum(base);
}

/*
 * Is it a function that must not be run here, or not by the role?
 */
static bool
needs_function(Oid function, void *context)
{
	RowExpressionCheck *check = context;
	HeapTuple tuple;
	Form_pg_proc proc;
	bool needed;

	if (function >= FirstGenbkiObjectId)
		return true;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	if (!HeapTupleIsValid(tuple))
		return true;
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	needed = proc->prolang != INTERNALlanguageId ||
			 proc->provolatile != PROVOLATILE_IMMUTABLE;
	ReleaseSysCache(tuple);

	for (size_t i = 0; i < lengthof(harmless) && needed; i++)
		needed = harmless[i] != function;
	return needed || plinth_proc_aclcheck(function, check->role, ACL_EXECUTE) !=
						 ACLCHECK_OK;
}

/*
 * Is it one that compares two plain values, and so neither fails nor lasts?
 */
static bool
is_comparison(Oid function)
{
	switch (function)
	{
		case F_BOOLEQ:
		case F_BOOLNE:
		case F_INT2EQ:
		case F_INT2NE:
		case F_INT2LT:
		case F_INT2LE:
		case F_INT2GT:
		case F_INT2GE:
		case F_INT4EQ:
		case F_INT4NE:
		case F_INT4LT:
		case F_INT4LE:
		case F_INT4GT:
		case F_INT4GE:
		case F_INT8EQ:
		case F_INT8NE:
		case F_INT8LT:
		case F_INT8LE:
		case F_INT8GT:
		case F_INT8GE:
		case F_INT84EQ:
		case F_INT84NE:
		case F_INT84LT:
		case F_INT84LE:
		case F_INT84GT:
		case F_INT84GE:
		case F_INT48EQ:
		case F_INT48NE:
		case F_TEXTEQ:
		case F_TEXTNE:
		case F_UUID_EQ:
		case F_UUID_NE:
		case F_ENUM_EQ:
		case F_ENUM_NE:
		case F_DATE_EQ:
		case F_DATE_LT:
		case F_DATE_LE:
		case F_DATE_GT:
		case F_DATE_GE:
		case F_TIMESTAMPTZ_EQ:
		case F_TIMESTAMPTZ_LT:
		case F_TIMESTAMPTZ_LE:
		case F_TIMESTAMPTZ_GT:
		case F_TIMESTAMPTZ_GE:
			return true;
		default:
			return false;
	}
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
