/*-------------------------------------------------------------------------
 *
 * wire_filter.c
 *		Does a change match a filter?
 *
 * A filter is column=op.value, several joined by commas; a value with a
 * comma in it stands in double quotes, a list in parentheses.  The grammar
 * is PostgREST's for horizontal filtering.
 *
 * Pure: text in, values out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "wire/wire.h"

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

static bool find_operator(const char *name, size_t length, WireOperator *op);
static const char *skip_quoted(const char *text);
static const char *skip_list(const char *text);

const char *
plinth_wire_parse_filter(const char **text, WireFilter *filter)
{
	const char *p = *text;
	const char *start = p;

	while (*p != '\0' && *p != '=' && *p != ',')
		p++;
	if (*p != '=' || p == start)
		return "A filter has the form column=operator.value.";
	filter->column = start;
	filter->column_length = p - start;

	start = ++p;
	filter->negated = strncmp(p, "not.", 4) == 0;
	if (filter->negated)
		start = p += 4;
	while (*p >= 'a' && *p <= 'z')
		p++;
	if (*p != '.')
		return "A filter's operator is followed by a point and a value.";
	if (!find_operator(start, p - start, &filter->op))
		return "The operators are eq, neq, lt, lte, gt, gte, in, like, ilike, "
			   "is, match, imatch and isdistinct, and not. before them.";

	start = ++p;
	filter->quoted = *p == '"';
	if (filter->quoted)
	{
		p = skip_quoted(p);
		if (p == NULL)
			return "A quoted value has no end.";
	}
	else if (filter->op == WIRE_OP_IN)
	{
		p = skip_list(p);
		if (p == NULL)
			return "A list of values stands in parentheses.";
	}
	else
		while (*p != '\0' && *p != ',')
			p++;
	filter->value = start;
	filter->value_length = p - start;
	if (filter->quoted)
	{
		filter->value++;
		filter->value_length -= 2;
	}

	if (*p == ',')
	{
		if (*++p == '\0')
			return "A comma is followed by another filter.";
	}
	else if (*p != '\0')
		return "A quoted value or a list is followed by a comma or nothing.";
	*text = p;
	return NULL;
}

char *
plinth_wire_filter_value(const WireFilter *filter)
{
	char *value = palloc(filter->value_length + 1);
	char *to = value;

	for (size_t i = 0; i < filter->value_length; i++)
	{
		if (filter->quoted && filter->value[i] == '\\' &&
			i + 1 < filter->value_length)
			i++;
		*to++ = filter->value[i];
	}
	*to = '\0';
	return value;
}

char **
plinth_wire_filter_list(const WireFilter *filter, int *count)
{
	const char *p = filter->value + 1;
	const char *end = filter->value + filter->value_length - 1;
	char **values;
	int n = 0;

	/* no more values than bytes */
	values = palloc(sizeof(char *) * (filter->value_length + 1));
	while (p <= end && filter->value_length > 2)
	{
		char *value = palloc(end - p + 1);
		char *to = value;

		if (*p == '"')
		{
			const char *close = skip_quoted(p) - 1;

			for (p++; p < close; p++)
			{
				if (*p == '\\')
					p++;
				*to++ = *p;
			}
			p++;
		}
		while (p < end && *p != ',')
			*to++ = *p++;
		p++;
		*to = '\0';
		values[n++] = value;
	}
	*count = n;
	return values;
}

const char *
plinth_wire_operator_name(WireOperator op)
{
	for (size_t i = 0; i < lengthof(operators); i++)
		if (operators[i].op == op)
			return operators[i].name;
	return NULL; /* keep the compiler quiet */
}

static bool
find_operator(const char *name, size_t length, WireOperator *op)
{
	for (size_t i = 0; i < lengthof(operators); i++)
		if (strlen(operators[i].name) == length &&
			memcmp(operators[i].name, name, length) == 0)
		{
			*op = operators[i].op;
			return true;
		}
	return false;
}

/*
 * Behind the closing quote of the string that begins here, or NULL.  A
 * backslash takes the next character as it is.
 */
static const char *
skip_quoted(const char *text)
{
	for (text++; *text != '\0'; text++)
	{
		if (*text == '"')
			return text + 1;
		if (*text == '\\' && *++text == '\0')
			break;
	}
	return NULL;
}

/*
 * Behind the closing parenthesis of the list that begins here, or NULL.
 */
static const char *
skip_list(const char *text)
{
	if (*text != '(')
		return NULL;
	text++;
	while (*text != '\0' && *text != ')')
	{
		if (*text == '"')
		{
			text = skip_quoted(text);
			if (text == NULL)
				return NULL;
		}
		else
			text++;
	}
	return *text == ')' ? text + 1 : NULL;
}
