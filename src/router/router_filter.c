/*-------------------------------------------------------------------------
 *
 * router_filter.c
 *		A subscription's filter: read, written in one form, and run.
 *
 * Comparisons are those of the column's type and collation: what its default
 * btree operator class says.  Functions that are neither the server's nor in
 * C are not run, because here they would run with the worker's rights.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "router/router.h"
#include "router/router_filter.h"
#include "router/router_internal.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/transam.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "base/text_form.h"

static int read_conditions(Relation rel, const char *text,
						   const Bitmapset *readable,
						   RouterCondition *conditions);
static AttrNumber find_column(Relation rel, const WireFilter *raw,
							  const char *text, const Bitmapset *readable);
static void read_condition(Relation rel, const WireFilter *raw,
						   RouterCondition *condition);
static bool is_plain_type(Oid type);
static void read_is(const char *word, RouterCondition *condition);
static void set_function(Oid function, RouterCondition *condition);
static Oid comparison_function(RouterCondition *condition, const char *column);
static Oid pattern_function(RouterCondition *condition, const char *column);
static Datum read_value(const char *value, Oid type);
static bool hashes(const RouterCondition *condition);
static char *write_value(Oid type, Datum value);
static void append_value(StringInfo out, const char *value);
static void append_condition(StringInfo out, Relation rel,
							 const RouterCondition *condition);
static RouterVerdict run_condition(RouterCondition *condition,
								   TupleTableSlot *slot);
static bool call(RouterCondition *condition, Datum value, Datum other);
pg_noreturn static void invalid(const char *detail);

/*
 * Read a filter for the worker.
 */
RouterFilter *
plinth_router_read_filter(Relation rel, const char *text,
						  const Bitmapset *readable)
{
	RouterCondition conditions[ROUTER_FILTER_CONDITIONS] = {0};
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "plinth router filter", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RouterFilter *filter = palloc0(sizeof(RouterFilter));
	int count = read_conditions(rel, text, readable, conditions);

	filter->context = context;
	filter->conditions = palloc(count * sizeof(RouterCondition));
	for (int i = 0; i < count; i++)
	{
		RouterCondition *condition = &conditions[i];

		if (filter->hash_column == 0 && hashes(condition))
		{
			filter->hash_column = condition->column;
			filter->values = palloc(condition->nvalues * sizeof(char *));
			for (int j = 0; j < condition->nvalues; j++)
			{
				char *value = write_value(condition->type, condition->values[j]);
				bool known = false;

				for (int k = 0; k < filter->nvalues && !known; k++)
					known = strcmp(filter->values[k], value) == 0;
				if (!known)
					filter->values[filter->nvalues++] = value;
			}
		}
		else
			filter->conditions[filter->nconditions++] = *condition;
	}
	MemoryContextSwitchTo(old);
	return filter;
}

/*
 * A filter in the form that any session reads alike.
 */
char *
plinth_router_canonical_filter(Relation rel, const char *text,
							   const Bitmapset *readable)
{
	RouterCondition *conditions =
		palloc0(sizeof(RouterCondition) * ROUTER_FILTER_CONDITIONS);
	int count = read_conditions(rel, text, readable, conditions);
	StringInfoData out;
	int nest;

	initStringInfo(&out);
	nest = NewGUCNestLevel();
	plinth_text_form_local();
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			appendStringInfoChar(&out, ',');
		append_condition(&out, rel, &conditions[i]);
	}
	AtEOXact_GUC(true, nest);

	if (out.len >= ROUTER_FILTER_SIZE)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the filter is too long"),
						errdetail("It may have at most %d bytes.",
								  ROUTER_FILTER_SIZE - 1)));
	return out.data;
}

/*
 * Does a row pass the conditions that are run?
 */
RouterVerdict
plinth_router_filter_row(RouterFilter *filter, TupleTableSlot *slot,
						 const Bitmapset *unknown)
{
	RouterVerdict verdict = ROUTER_YES;

	for (int i = 0; i < filter->nconditions; i++)
	{
		RouterCondition *condition = &filter->conditions[i];

		if (bms_is_member(condition->column, unknown))
			verdict = ROUTER_UNKNOWN;
		else if (run_condition(condition, slot) == ROUTER_NO)
			return ROUTER_NO;
	}
	return verdict;
}

bool
plinth_router_filter_is_guarded(const RouterFilter *filter)
{
	for (int i = 0; i < filter->nconditions; i++)
		if (filter->conditions[i].guarded)
			return true;
	return false;
}

/*
 * Read all conditions of a text; raises what is wrong with it.
 */
static int
read_conditions(Relation rel, const char *text, const Bitmapset *readable,
				RouterCondition *conditions)
{
	const char *rest = text;
	int count = 0;

	do
	{
		WireFilter raw;
		const char *fault = plinth_wire_parse_filter(&rest, &raw);

		if (fault != NULL)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("invalid filter \"%s\"", text),
							errdetail("%s", fault),
							errhint("For example: room_id=eq.42")));
		if (count == ROUTER_FILTER_CONDITIONS)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("the filter has too many conditions"),
							errdetail("It may have at most %d.",
									  ROUTER_FILTER_CONDITIONS)));
		conditions[count].column = find_column(rel, &raw, text, readable);
		read_condition(rel, &raw, &conditions[count]);
		count++;
	} while (*rest != '\0');

	return count;
}

static AttrNumber
find_column(Relation rel, const WireFilter *raw, const char *text,
			const Bitmapset *readable)
{
	char *column = pnstrdup(raw->column, raw->column_length);
	AttrNumber number = get_attnum(RelationGetRelid(rel), column);

	if (number <= 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the table has no column \"%s\"", column)));
	if (!bms_is_member(number, readable))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("permission denied for column \"%s\"", column),
						errdetail("A filter on a column would tell what is "
								  "in it.")));
	return number;
}

/*
 * One condition, whose column is known.
 */
static void
read_condition(Relation rel, const WireFilter *raw, RouterCondition *condition)
{
	Form_pg_attribute attribute =
		TupleDescAttr(RelationGetDescr(rel), condition->column - 1);
	const char *column = NameStr(attribute->attname);

	condition->type = getBaseType(attribute->atttypid);
	condition->collation = attribute->attcollation;
	condition->op = raw->op;
	condition->negated = raw->negated;
	condition->test = ROUTER_TEST_FUNCTION;

	if (raw->op != WIRE_OP_IS && !is_plain_type(condition->type))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot filter column \"%s\" by \"%s\"", column,
						plinth_wire_operator_name(raw->op)),
				 errdetail("Type %s may have parts with checks of their own.",
						   format_type_be(condition->type))));

	switch (raw->op)
	{
		case WIRE_OP_IS:
			read_is(plinth_wire_filter_value(raw), condition);
			return;
		case WIRE_OP_LIKE:
		case WIRE_OP_ILIKE:
		case WIRE_OP_MATCH:
		case WIRE_OP_IMATCH:
			set_function(pattern_function(condition, column), condition);
			condition->guarded = true;
			condition->nvalues = 1;
			condition->values = palloc(sizeof(Datum));
			condition->values[0] =
				CStringGetTextDatum(plinth_wire_filter_value(raw));

			/* so that a pattern that is none is told here */
			if (raw->op == WIRE_OP_MATCH || raw->op == WIRE_OP_IMATCH)
				(void) call(condition, read_value("", condition->type),
							condition->values[0]);
			return;
		case WIRE_OP_IN:
		{
			char **values;

			if (raw->quoted)
				invalid("A list of values stands in parentheses.");
			values = plinth_wire_filter_list(raw, &condition->nvalues);
			if (condition->nvalues < 1 ||
				condition->nvalues > ROUTER_FILTER_VALUES)
				invalid("A list has 1 to 100 values.");
			condition->test = ROUTER_TEST_IN;
			condition->values = palloc(condition->nvalues * sizeof(Datum));
			for (int i = 0; i < condition->nvalues; i++)
				condition->values[i] = read_value(values[i], condition->type);
			break;
		}
		case WIRE_OP_ISDISTINCT:
			condition->test = ROUTER_TEST_DISTINCT;
			/* fall through */
		default:
			condition->nvalues = 1;
			condition->values = palloc(sizeof(Datum));
			condition->values[0] =
				read_value(plinth_wire_filter_value(raw), condition->type);
			break;
	}
	set_function(comparison_function(condition, column), condition);
}

/*
 * Is a type, which is no domain, one whose values can be read and compared
 * without running what an ordinary user may have written?  Composite types
 * and ranges of users may hold domains, and arrays too.
 */
static bool
is_plain_type(Oid type)
{
	Oid element = get_element_type(type);
	char kind;

	if (OidIsValid(element))
		type = element;
	kind = get_typtype(type);
	return type < FirstGenbkiObjectId || kind == TYPTYPE_BASE ||
		   kind == TYPTYPE_ENUM;
}

/*
 * The word behind "is".
 */
static void
read_is(const char *word, RouterCondition *condition)
{
	if (strcmp(word, "null") == 0)
		condition->test = ROUTER_TEST_NULL;
	else if (strcmp(word, "true") == 0)
		condition->test = ROUTER_TEST_TRUE;
	else if (strcmp(word, "false") == 0)
		condition->test = ROUTER_TEST_FALSE;
	else if (strcmp(word, "unknown") == 0)
		condition->test = ROUTER_TEST_UNKNOWN;
	else
		invalid("What follows is. is null, true, false or unknown.");
	if (condition->test != ROUTER_TEST_NULL && condition->type != BOOLOID)
		invalid("Only a boolean column is true, false or unknown.");
}

/*
 * Take a function that may be run here.
 */
static void
set_function(Oid function, RouterCondition *condition)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid language;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	language = ((Form_pg_proc) GETSTRUCT(tuple))->prolang;
	ReleaseSysCache(tuple);
	if (language != INTERNALlanguageId && language != ClanguageId)
		invalid("The type's comparison is not written in C.");
	fmgr_info_cxt(function, &condition->function, CurrentMemoryContext);
	if (function >= FirstGenbkiObjectId || condition->type >= FirstGenbkiObjectId)
		condition->guarded = true;
}

/*
 * The function of the type's default btree operator class, or for equality
 * of its hash one.
 */
static Oid
comparison_function(RouterCondition *condition, const char *column)
{
	TypeCacheEntry *cache = lookup_type_cache(
		condition->type, TYPECACHE_BTREE_OPFAMILY | TYPECACHE_EQ_OPR);
	StrategyNumber strategy = InvalidStrategy;
	Oid op = InvalidOid;

	switch (condition->op)
	{
		case WIRE_OP_LT:
			strategy = BTLessStrategyNumber;
			break;
		case WIRE_OP_LTE:
			strategy = BTLessEqualStrategyNumber;
			break;
		case WIRE_OP_GT:
			strategy = BTGreaterStrategyNumber;
			break;
		case WIRE_OP_GTE:
			strategy = BTGreaterEqualStrategyNumber;
			break;
		default:
			op = cache->eq_opr;
			break;
	}
	if (strategy != InvalidStrategy && OidIsValid(cache->btree_opf))
		op = get_opfamily_member(cache->btree_opf, cache->btree_opintype,
								 cache->btree_opintype, strategy);
	if (!OidIsValid(op))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("cannot filter column \"%s\" by \"%s\"", column,
							   plinth_wire_operator_name(condition->op)),
						errdetail("Type %s has no such comparison of its own.",
								  format_type_be(condition->type))));
	return get_opcode(op);
}

/*
 * The function that matches a pattern.
 */
static Oid
pattern_function(RouterCondition *condition, const char *column)
{
	static const struct
	{
		Oid type;
		Oid functions[4]; /* like, ilike, match, imatch */
	} known[] = {
		{TEXTOID, {F_TEXTLIKE, F_TEXTICLIKE, F_TEXTREGEXEQ, F_TEXTICREGEXEQ}},
		{VARCHAROID, {F_TEXTLIKE, F_TEXTICLIKE, F_TEXTREGEXEQ, F_TEXTICREGEXEQ}},
		{BPCHAROID,
		 {F_BPCHARLIKE, F_BPCHARICLIKE, F_BPCHARREGEXEQ, F_BPCHARICREGEXEQ}},
		{NAMEOID, {F_NAMELIKE, F_NAMEICLIKE, F_NAMEREGEXEQ, F_NAMEICREGEXEQ}},
	};
	int place = condition->op == WIRE_OP_LIKE	 ? 0
				: condition->op == WIRE_OP_ILIKE ? 1
				: condition->op == WIRE_OP_MATCH ? 2
												 : 3;

	if (OidIsValid(condition->collation) &&
		!get_collation_isdeterministic(condition->collation))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("cannot filter column \"%s\" by \"%s\"", column,
							   plinth_wire_operator_name(condition->op)),
						errdetail("Its collation is not deterministic.")));
	for (size_t i = 0; i < lengthof(known); i++)
		if (known[i].type == condition->type)
			return known[i].functions[place];
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot filter column \"%s\" by \"%s\"", column,
					plinth_wire_operator_name(condition->op)),
			 errdetail("Type %s is no text.", format_type_be(condition->type))));
}

/*
 * A value of a type, which is no domain: checks of domains are their owners'
 * functions.  Its input function says 22P02 or the like to what is no value.
 */
static Datum
read_value(const char *value, Oid type)
{
	Oid input;
	Oid param;

	getTypeInputInfo(type, &input, &param);
	return OidInputFunctionCall(input, pstrdup(value), param, -1);
}

/*
 * Can a condition be looked up by text: does it ask for equality, and has
 * each value one text whatever the settings?
 */
static bool
hashes(const RouterCondition *condition)
{
	if (condition->negated ||
		(condition->op != WIRE_OP_EQ && condition->op != WIRE_OP_IN))
		return false;

	switch (condition->type)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case UUIDOID:
		case NAMEOID:
		case DATEOID:
			return true;
		case TEXTOID:
		case VARCHAROID:
			return !OidIsValid(condition->collation) ||
				   get_collation_isdeterministic(condition->collation);
		default:
			return type_is_enum(condition->type);
	}
}

/*
 * A value as the type's output function gives it.
 */
static char *
write_value(Oid type, Datum value)
{
	Oid output;
	bool is_varlena;

	getTypeOutputInfo(type, &output, &is_varlena);
	return OidOutputFunctionCall(output, value);
}

/*
 * Write a value, in quotes where the grammar needs them.
 */
static void
append_value(StringInfo out, const char *value)
{
	if (*value != '\0' && strpbrk(value, ",()\"\\") == NULL)
	{
		appendStringInfoString(out, value);
		return;
	}
	appendStringInfoChar(out, '"');
	for (const char *p = value; *p != '\0'; p++)
	{
		if (*p == '"' || *p == '\\')
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, *p);
	}
	appendStringInfoChar(out, '"');
}

static void
append_condition(StringInfo out, Relation rel, const RouterCondition *condition)
{
	static const char *const words[] = {[ROUTER_TEST_NULL] = "null",
										[ROUTER_TEST_TRUE] = "true",
										[ROUTER_TEST_FALSE] = "false",
										[ROUTER_TEST_UNKNOWN] = "unknown"};

	appendStringInfo(
		out, "%s=%s%s.",
		NameStr(
			TupleDescAttr(RelationGetDescr(rel), condition->column - 1)->attname),
		condition->negated ? "not." : "",
		plinth_wire_operator_name(condition->op));
	switch (condition->op)
	{
		case WIRE_OP_IS:
			appendStringInfoString(out, words[condition->test]);
			break;
		case WIRE_OP_LIKE:
		case WIRE_OP_ILIKE:
		case WIRE_OP_MATCH:
		case WIRE_OP_IMATCH:
			append_value(out, TextDatumGetCString(condition->values[0]));
			break;
		case WIRE_OP_IN:
			appendStringInfoChar(out, '(');
			for (int i = 0; i < condition->nvalues; i++)
			{
				if (i > 0)
					appendStringInfoChar(out, ',');
				append_value(out,
							 write_value(condition->type, condition->values[i]));
			}
			appendStringInfoChar(out, ')');
			break;
		default:
			append_value(out, write_value(condition->type, condition->values[0]));
			break;
	}
}

/*
 * Run a condition on a row that has its column.  NULL is no match, negated or
 * not, but for those tests that ask for it.
 */
static RouterVerdict
run_condition(RouterCondition *condition, TupleTableSlot *slot)
{
	bool isnull;
	Datum value = slot_getattr(slot, condition->column, &isnull);
	bool passed = false;

	switch (condition->test)
	{
		case ROUTER_TEST_FUNCTION:
			if (isnull)
				return ROUTER_NO;
			passed = call(condition, value, condition->values[0]);
			if (condition->op == WIRE_OP_NEQ)
				passed = !passed;
			break;
		case ROUTER_TEST_IN:
			if (isnull)
				return ROUTER_NO;
			for (int i = 0; i < condition->nvalues && !passed; i++)
				passed = call(condition, value, condition->values[i]);
			break;
		case ROUTER_TEST_DISTINCT:
			passed = isnull || !call(condition, value, condition->values[0]);
			break;
		case ROUTER_TEST_NULL:
		case ROUTER_TEST_UNKNOWN:
			passed = isnull;
			break;
		case ROUTER_TEST_TRUE:
			passed = !isnull && DatumGetBool(value);
			break;
		case ROUTER_TEST_FALSE:
			passed = !isnull && !DatumGetBool(value);
			break;
	}
	return passed != condition->negated ? ROUTER_YES : ROUTER_NO;
}

static bool
call(RouterCondition *condition, Datum value, Datum other)
{
	return DatumGetBool(FunctionCall2Coll(&condition->function,
										  condition->collation, value, other));
}

static void
invalid(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid filter"),
			 errdetail("%s", detail), errhint("For example: room_id=eq.42")));
}
