/*-------------------------------------------------------------------------
 *
 * json_scan.c
 *		Read JSON that nobody vouches for.
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

/* Reads the characters of a checked string one byte at a time. */
typedef struct Unescaper
{
	const char *at;
	const char *end;
	unsigned char held[4]; /* bytes of the current character */
	int held_count;
	int held_at;
} Unescaper;

static bool check_value(Scanner *s, int depth, JsonSlice *value);
static bool check_object(Scanner *s, int depth);
static bool check_array(Scanner *s, int depth);
static bool check_string(Scanner *s);
static bool check_escape(Scanner *s);
static bool check_utf8(Scanner *s);
static bool check_number(Scanner *s);
static bool check_word(Scanner *s, const char *word);
static bool has_duplicate(JsonName *names, size_t count);
static int compare_names(const void *a, const void *b);
static void skip_space(const char **at, const char *end);
static const char *skip_string(const char *at);
static void skip_value(const char **at, JsonSlice *value);
static void unescape_start(Unescaper *u, const char *start, size_t length);
static int unescape_next(Unescaper *u);
static uint32_t read_hex4(const char *at);
static int put_utf8(uint32_t code, unsigned char *bytes);
static bool is_digit(char c);

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

	skip_space(&s.at, s.end);
	if (!check_value(&s, 0, value))
		return false;
	skip_space(&s.at, s.end);

	return s.at == s.end;
}

bool
plinth_json_next(const JsonSlice *container, size_t *position, JsonSlice *name,
				 JsonSlice *value)
{
	const char *end = container->start + container->length;
	const char *at = container->start + (*position == 0 ? 1 : *position);

	skip_space(&at, end);
	if (*at == ',')
	{
		at++;
		skip_space(&at, end);
	}
	if (*at == '}' || *at == ']')
		return false;

	if (container->kind == JSON_OBJECT)
	{
		name->kind = JSON_STRING;
		name->start = at;
		at = skip_string(at);
		name->length = at - name->start;
		skip_space(&at, end);
		at++; /* the colon */
		skip_space(&at, end);
	}
	skip_value(&at, value);
	*position = at - container->start;

	return true;
}

bool
plinth_json_member(const JsonSlice *object, const char *name, JsonSlice *value)
{
	size_t position = 0;
	bool found = false;
	JsonSlice member;
	JsonSlice found_value;

	while (plinth_json_next(object, &position, &member, &found_value))
		if (plinth_json_is(&member, name))
		{
			*value = found_value;
			found = true;
		}

	return found;
}

bool
plinth_json_is(const JsonSlice *string, const char *text)
{
	Unescaper u;
	int byte;

	if (string->kind != JSON_STRING)
		return false;

	unescape_start(&u, string->start, string->length);
	while ((byte = unescape_next(&u)) >= 0)
		if (byte != (unsigned char) *text++)
			return false;

	return *text == '\0';
}

size_t
plinth_json_text(const JsonSlice *string, char *text)
{
	char *out = text;
	Unescaper u;
	int byte;

	unescape_start(&u, string->start, string->length);
	while ((byte = unescape_next(&u)) >= 0)
		*out++ = (char) byte;
	*out = '\0';

	return out - text;
}

double
plinth_json_number(const JsonSlice *number)
{
	char digits[JSON_SCAN_NUMBER + 1];

	memcpy(digits, number->start, number->length);
	digits[number->length] = '\0';

	return strtod(digits, NULL);
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
	skip_space(&s->at, s->end);
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
		skip_space(&s->at, s->end);
		if (s->at == s->end || *s->at++ != ':')
			return false;
		skip_space(&s->at, s->end);
		if (!check_value(s, depth, &member))
			return false;
		skip_space(&s->at, s->end);
		if (s->at == s->end)
			return false;
		if (*s->at == '}')
			break;
		if (*s->at++ != ',')
			return false;
		skip_space(&s->at, s->end);
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
	skip_space(&s->at, s->end);
	if (s->at < s->end && *s->at == ']')
	{
		s->at++;
		return true;
	}

	for (;;)
	{
		if (!check_value(s, depth, &element))
			return false;
		skip_space(&s->at, s->end);
		if (s->at == s->end)
			return false;
		if (*s->at == ']')
			break;
		if (*s->at++ != ',')
			return false;
		skip_space(&s->at, s->end);
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
	code = read_hex4(s->at + 2);
	if (code == 0 || code > 0xFFFF || (code >= 0xDC00 && code <= 0xDFFF))
		return false;
	if (s->ascii && code > 0x7F)
		return false;
	s->at += 6;
	if (code < 0xD800 || code > 0xDBFF)
		return true;

	if (s->end - s->at < 6 || s->at[0] != '\\' || s->at[1] != 'u')
		return false;
	code = read_hex4(s->at + 2);
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

	if (s->at == s->end || !is_digit(*s->at))
		return false;
	if (*s->at == '0')
		s->at++;
	else
		while (s->at < s->end && is_digit(*s->at))
			s->at++;

	if (s->at < s->end && *s->at == '.')
	{
		s->at++;
		if (s->at == s->end || !is_digit(*s->at))
			return false;
		while (s->at < s->end && is_digit(*s->at))
			s->at++;
	}

	if (s->at < s->end && (*s->at == 'e' || *s->at == 'E'))
	{
		s->at++;
		if (s->at < s->end && (*s->at == '+' || *s->at == '-'))
			s->at++;
		if (s->at == s->end || !is_digit(*s->at))
			return false;
		for (; s->at < s->end && is_digit(*s->at); s->at++)
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

	qsort(names, count, sizeof(JsonName), compare_names);
	for (size_t i = 1; i < count; i++)
		if (compare_names(&names[i - 1], &names[i]) == 0)
			return true;

	return false;
}

/*
 * Order names by their bytes after unescaping.
 */
static int
compare_names(const void *a, const void *b)
{
	const JsonName *left = a;
	const JsonName *right = b;
	Unescaper l;
	Unescaper r;
	int left_byte;
	int right_byte;

	unescape_start(&l, left->start, left->length);
	unescape_start(&r, right->start, right->length);
	do
	{
		left_byte = unescape_next(&l);
		right_byte = unescape_next(&r);
	} while (left_byte == right_byte && left_byte >= 0);

	return left_byte - right_byte;
}

static void
skip_space(const char **at, const char *end)
{
	while (*at < end &&
		   (**at == ' ' || **at == '\t' || **at == '\n' || **at == '\r'))
		(*at)++;
}

/*
 * The place after a checked string, whose opening quote is at.
 */
static const char *
skip_string(const char *at)
{
	for (at++; *at != '"'; at++)
		if (*at == '\\')
			at++;

	return at + 1;
}

/*
 * Pass a checked value that is inside an object or array, so that a bracket
 * or a comma follows it.
 */
static void
skip_value(const char **at, JsonSlice *value)
{
	const char *p = *at;
	int depth = 0;

	value->start = p;
	switch (*p)
	{
		case '"':
			value->kind = JSON_STRING;
			p = skip_string(p);
			break;
		case '{':
		case '[':
			value->kind = *p == '{' ? JSON_OBJECT : JSON_ARRAY;
			do
			{
				if (*p == '"')
				{
					p = skip_string(p);
					continue;
				}
				if (*p == '{' || *p == '[')
					depth++;
				else if (*p == '}' || *p == ']')
					depth--;
				p++;
			} while (depth > 0);
			break;
		case 'n':
			value->kind = JSON_NULL;
			p += 4;
			break;
		case 't':
			value->kind = JSON_TRUE;
			p += 4;
			break;
		case 'f':
			value->kind = JSON_FALSE;
			p += 5;
			break;
		default:
			value->kind = JSON_NUMBER;
			while (is_digit(*p) || *p == '-' || *p == '+' || *p == '.' ||
				   *p == 'e' || *p == 'E')
				p++;
			break;
	}
	value->length = p - value->start;
	*at = p;
}

/*
 * Start to read a checked string, given with its quotes.
 */
static void
unescape_start(Unescaper *u, const char *start, size_t length)
{
	u->at = start + 1;
	u->end = start + length - 1;
	u->held_count = 0;
	u->held_at = 0;
}

/*
 * The string's next byte, or -1 at its end.
 */
static int
unescape_next(Unescaper *u)
{
	static const char letters[] = "bfnrt";
	static const char controls[] = "\b\f\n\r\t";
	const char *letter;
	uint32_t code;

	if (u->held_at < u->held_count)
		return u->held[u->held_at++];
	if (u->at == u->end)
		return -1;
	if (*u->at != '\\')
		return (unsigned char) *u->at++;

	if (u->at[1] != 'u')
	{
		letter = strchr(letters, u->at[1]);
		code = letter ? controls[letter - letters] : u->at[1];
		u->at += 2;
		return (int) code;
	}

	code = read_hex4(u->at + 2);
	u->at += 6;
	if (code >= 0xD800 && code <= 0xDBFF)
	{
		code =
			0x10000 + ((code - 0xD800) << 10) + (read_hex4(u->at + 2) - 0xDC00);
		u->at += 6;
	}
	u->held_count = put_utf8(code, u->held);
	u->held_at = 1;

	return u->held[0];
}

/*
 * Value of four hexadecimal digits, or more than 0xFFFF when they are none.
 */
static uint32_t
read_hex4(const char *at)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++)
	{
		char c = at[i];

		value <<= 4;
		if (is_digit(c))
			value |= (uint32_t) (c - '0');
		else if (c >= 'a' && c <= 'f')
			value |= (uint32_t) (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			value |= (uint32_t) (c - 'A' + 10);
		else
			return UINT32_MAX;
	}

	return value;
}

/*
 * Write a character as UTF-8; returns its number of bytes.
 */
static int
put_utf8(uint32_t code, unsigned char *bytes)
{
	if (code < 0x80)
	{
		bytes[0] = (unsigned char) code;
		return 1;
	}
	if (code < 0x800)
	{
		bytes[0] = (unsigned char) (0xC0 | code >> 6);
		bytes[1] = (unsigned char) (0x80 | (code & 0x3F));
		return 2;
	}
	if (code < 0x10000)
	{
		bytes[0] = (unsigned char) (0xE0 | code >> 12);
		bytes[1] = (unsigned char) (0x80 | (code >> 6 & 0x3F));
		bytes[2] = (unsigned char) (0x80 | (code & 0x3F));
		return 3;
	}
	bytes[0] = (unsigned char) (0xF0 | code >> 18);
	bytes[1] = (unsigned char) (0x80 | (code >> 12 & 0x3F));
	bytes[2] = (unsigned char) (0x80 | (code >> 6 & 0x3F));
	bytes[3] = (unsigned char) (0x80 | (code & 0x3F));

	return 4;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}
