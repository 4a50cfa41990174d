/*-------------------------------------------------------------------------
 *
 * json_check.c
 *		Is this text JSON, and none that would hurt?
 *
 * The grammar is that of RFC 8259.  The checker recurses, at most
 * JSON_SCAN_DEPTH deep; every loop moves on through the text, so the time is
 * linear in its length, but for sorting an object's names.
 *
 *-------------------------------------------------------------------------
 */
#include "base/json_scan.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_internal.h"

/* Where the checker stands. */
typedef struct Scanner
{
	const char *at;
	const char *end;
	bool ascii;		 /* refuse what is beyond ASCII */
	JsonName *names; /* of the open objects, innermost last; or NULL */
	size_t name_count;
	size_t name_limit;
} Scanner;

static bool check_value(Scanner *s, int depth, JsonSlice *value);
static bool check_object(Scanner *s, int depth);
static bool check_array(Scanner *s, int depth);
static bool check_string(Scanner *s);
static bool check_escape(Scanner *s);
static bool check_utf8(Scanner *s);
static bool check_number(Scanner *s);
static bool check_word(Scanner *s, const char *word);
static bool has_duplicate(JsonName *names, size_t count);

bool
plinth_json_check(const char *text, size_t length, bool ascii, JsonName *names,
				  JsonSlice *value)
{
	Scanner s = {
		.at = text,
		.end = text + length,
		.ascii = ascii,
		.names = names,
		.name_limit = JSON_SCAN_NAMES(length),
	};

	json_skip_space(&s.at, s.end);
	if (!check_value(&s, 0, value))
		return false;
	json_skip_space(&s.at, s.end);

	return s.at == s.end;
}

/*
 * Check one value, which starts here.
 */
static bool
check_value(Scanner *s, int depth, JsonSlice *value)
{
	const char *start = s->at;
	bool ok;

	if (s->at == s->end)
		return false;

	switch (*s->at)
	{
		case '{':
			value->kind = JSON_OBJECT;
			ok = check_object(s, depth + 1);
			break;
		case '[':
			value->kind = JSON_ARRAY;
			ok = check_array(s, depth + 1);
			break;
		case '"':
			value->kind = JSON_STRING;
			ok = check_string(s);
			break;
		case 'n':
			value->kind = JSON_NULL;
			ok = check_word(s, "null");
			break;
		case 't':
			value->kind = JSON_TRUE;
			ok = check_word(s, "true");
			break;
		case 'f':
			value->kind = JSON_FALSE;
			ok = check_word(s, "false");
			break;
		default:
			value->kind = JSON_NUMBER;
			ok = check_number(s);
			break;
	}
	value->start = start;
	value->length = s->at - start;

	return ok;
}

static bool
check_object(Scanner *s, int depth)
{
	size_t first_name = s->name_count;
	JsonSlice member;

	if (depth > JSON_SCAN_DEPTH)
		return false;

	s->at++;
	json_skip_space(&s->at, s->end);
	if (s->at < s->end && *s->at == '}')
	{
		s->at++;
		return true;
	}

	for (;;)
	{
		const char *name = s->at;

		if (s->at == s->end || *s->at != '"' || !check_string(s))
			return false;
		if (s->names != NULL)
		{
			if (s->name_count == s->name_limit)
				return false;
			s->names[s->name_count].start = name;
			s->names[s->name_count++].length = s->at - name;
		}
		json_skip_space(&s->at, s->end);
		if (s->at == s->end || *s->at++ != ':')
			return false;
		json_skip_space(&s->at, s->end);
		if (!check_value(s, depth, &member))
			return false;
		json_skip_space(&s->at, s->end);
		if (s->at == s->end)
			return false;
		if (*s->at == '}')
			break;
		if (*s->at++ != ',')
			return false;
		json_skip_space(&s->at, s->end);
	}
	s->at++;

	if (s->names != NULL)
	{
		if (has_duplicate(s->names + first_name, s->name_count - first_name))
			return false;
		s->name_count = first_name;
	}

	return true;
}

static bool
check_array(Scanner *s, int depth)
{
	JsonSlice element;

	if (depth > JSON_SCAN_DEPTH)
		return false;

	s->at++;
	json_skip_space(&s->at, s->end);
	if (s->at < s->end && *s->at == ']')
	{
		s->at++;
		return true;
	}

	for (;;)
	{
		if (!check_value(s, depth, &element))
			return false;
		json_skip_space(&s->at, s->end);
		if (s->at == s->end)
			return false;
		if (*s->at == ']')
			break;
		if (*s->at++ != ',')
			return false;
		json_skip_space(&s->at, s->end);
	}
	s->at++;

	return true;
}

/*
 * Check a string, whose opening quote is here.
 */
static bool
check_string(Scanner *s)
{
	s->at++;
	while (s->at < s->end)
	{
		unsigned char c = (unsigned char) *s->at;

		if (c == '"')
		{
			s->at++;
			return true;
		}
		if (c < 0x20)
			return false;
		if (c == '\\')
		{
			if (!check_escape(s))
				return false;
		}
		else if (c < 0x80)
			s->at++;
		else if (s->ascii || !check_utf8(s))
			return false;
	}

	return false;
}

/*
 * Check an escape, whose backslash is here: a pair of surrogates is one.
 */
static bool
check_escape(Scanner *s)
{
	uint32_t code;

	if (s->end - s->at < 2)
		return false;
	if (s->at[1] != 'u')
	{
		/* strchr would find the terminating zero as well */
		if (s->at[1] == '\0' || strchr("\"\\/bfnrt", s->at[1]) == NULL)
			return false;
		s->at += 2;
		return true;
	}

	if (s->end - s->at < 6)
		return false;
	code = json_hex4(s->at + 2);
	if (code == 0 || code > 0xFFFF || (code >= 0xDC00 && code <= 0xDFFF))
		return false;
	if (s->ascii && code > 0x7F)
		return false;
	s->at += 6;
	if (code < 0xD800 || code > 0xDBFF)
		return true;

	if (s->end - s->at < 6 || s->at[0] != '\\' || s->at[1] != 'u')
		return false;
	code = json_hex4(s->at + 2);
	s->at += 6;

	return code >= 0xDC00 && code <= 0xDFFF;
}

/*
 * Check one character of two to four bytes (Unicode 15, table 3-7).
 */
static bool
check_utf8(Scanner *s)
{
	const unsigned char *at = (const unsigned char *) s->at;
	size_t left = s->end - s->at;
	unsigned char low = 0x80;
	unsigned char high = 0xBF;
	size_t length;

	if (at[0] >= 0xC2 && at[0] <= 0xDF)
		length = 2;
	else if (at[0] >= 0xE0 && at[0] <= 0xEF)
		length = 3;
	else if (at[0] >= 0xF0 && at[0] <= 0xF4)
		length = 4;
	else
		return false;
	if (left < length)
		return false;

	/* the second byte is where overlong forms, surrogates and the end show */
	if (at[0] == 0xE0)
		low = 0xA0;
	else if (at[0] == 0xED)
		high = 0x9F;
	else if (at[0] == 0xF0)
		low = 0x90;
	else if (at[0] == 0xF4)
		high = 0x8F;
	if (at[1] < low || at[1] > high)
		return false;
	for (size_t i = 2; i < length; i++)
		if ((at[i] & 0xC0) != 0x80)
			return false;
	s->at += length;

	return true;
}

static bool
check_number(Scanner *s)
{
	const char *start = s->at;
	int exponent = 0;

	if (*s->at == '-')
		s->at++;

	if (s->at == s->end || !json_is_digit(*s->at))
		return false;
	if (*s->at == '0')
		s->at++;
	else
		while (s->at < s->end && json_is_digit(*s->at))
			s->at++;

	if (s->at < s->end && *s->at == '.')
	{
		s->at++;
		if (s->at == s->end || !json_is_digit(*s->at))
			return false;
		while (s->at < s->end && json_is_digit(*s->at))
			s->at++;
	}

	if (s->at < s->end && (*s->at == 'e' || *s->at == 'E'))
	{
		s->at++;
		if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
			s->at++;
		if (s->at == s->end || !json_is_digit(*s->at))
			return false;
		for (; s->at < s->end && json_is_digit(*s->at); s->at++)
			if (exponent <= JSON_SCAN_EXPONENT)
				exponent = exponent * 10 + (*s->at - '0');
	}

	return exponent <= JSON_SCAN_EXPONENT && s->at - start <= JSON_SCAN_NUMBER;
}

static bool
check_word(Scanner *s, const char *word)
{
	size_t length = strlen(word);

	if ((size_t) (s->end - s->at) < length || memcmp(s->at, word, length) != 0)
		return false;
	s->at += length;

	return true;
}

/*
 * Do two of the names say the same?  Sorts them.
 */
static bool
has_duplicate(JsonName *names, size_t count)
{
	if (count < 2)
		return false;

	qsort(names, count, sizeof(JsonName), plinth_json_compare_names);
	for (size_t i = 1; i < count; i++)
		if (plinth_json_compare_names(&names[i - 1], &names[i]) == 0)
			return true;

	return false;
}
