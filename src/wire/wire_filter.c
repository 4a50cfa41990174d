/*-------------------------------------------------------------------------
 *
 * wire_filter.c
 *		The text of a filter: column=[not.]op.value
 *
 * A value with a comma, a quote or a backslash in it stands in double
 * quotes, where a backslash keeps the next character as it is.  Conditions
 * are joined by commas.  The names of the operators are those of PostgREST.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "wire/wire.h"

#include "lib/stringinfo.h"

static const struct
{
	const char *name;
	WireOperator op;
} operators[] = {
	{"eq", WIRE_OP_EQ},
	{"neq", WIRE_OP_NEQ},
	{"lt", WIRE_OP_LT},
	{"lte", WIRE_OP_LTE},
	{"gt", WIRE_OP_GT},
	{"gte", WIRE_OP_GTE},
	{"in", WIRE_OP_IN},
	{"like", WIRE_OP_LIKE},
	{"ilike", WIRE_OP_ILIKE},
	{"is", WIRE_OP_IS},
	{"match", WIRE_OP_MATCH},
	{"imatch", WIRE_OP_IMATCH},
	{"isdistinct", WIRE_OP_ISDISTINCT},
};

static bool read_operator(const char **at, WireOperator *op);
static const char *read_value(const char *at, WireFilter *filter);

/*
 * Read the first condition of a filter.
 */
const char *
plinth_wire_read_filter(const char *text, WireFilter *filter)
{
	const char *equals = strchr(text, '=');
	const char *at;

	memset(filter, 0, sizeof(*filter));
	if (equals == NULL || equals == text)
		return "A filter has the form column=operator.value.";
	filter->column = pnstrdup(text, equals - text);

	at = equals + 1;
	if (strncmp(at, "not.", 4) == 0)
	{
		filter->negated = true;
		at += 4;
	}
	if (!read_operator(&at, &filter->op))
		return "The operators are eq, neq, lt, lte, gt, gte, in, like, ilike, "
			   "is, match, imatch and isdistinct, with or without \"not.\" "
			   "before them.";

	return read_value(at, filter);
}

/*
 * Read an operator and the dot after it.
 */
static bool
read_operator(const char **at, WireOperator *op)
{
	for (size_t i = 0; i < lengthof(operators); i++)
	{
		size_t length = strlen(operators[i].name);

		if (strncmp(*at, operators[i].name, length) == 0 && (*at)[length] == '.')
		{
			*op = operators[i].op;
			*at += length + 1;
			return true;
		}
	}
	return false;
}

/*
 * Read a value, up to the end or the comma before the next condition.
 */
static const char *
read_value(const char *at, WireFilter *filter)
{
	StringInfoData value;

	initStringInfo(&value);
	if (*at == '"')
	{
		for (at++; *at != '"'; at++)
		{
			if (*at == '\\')
				at++;
			if (*at == '\0')
				return "A quoted value has no end.";
			appendStringInfoChar(&value, *at);
		}
		at++;
		if (*at != '\0' && *at != ',')
			return "Something stands behind a quoted value.";
	}
	else
		for (; *at != '\0' && *at != ','; at++)
			appendStringInfoChar(&value, *at);

	filter->value = value.data;
	filter->more = *at == ',';
	return NULL;
}
