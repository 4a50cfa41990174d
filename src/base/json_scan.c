/*-------------------------------------------------------------------------
 *
 * json_scan.c
 *		Walk JSON that json_check.c has passed.
 *
 * The text is known to be well formed, so nothing is checked again: brackets
 * close, strings end, escapes are whole.
 *
 *-------------------------------------------------------------------------
 */
#include "base/json_scan.h"

#include "base/json_internal.h"

#include <stdlib.h>
#include <string.h>

/* Reads the characters of a checked string one byte at a time. */
typedef struct Unescaper
{
	const char *at;
	const char *end;
	unsigned char held[4]; /* bytes of the current character */
	int held_count;
	int held_at;
} Unescaper;

static const char *skip_string(const char *at);
static void skip_value(const char **at, JsonSlice *value);
static void unescape_start(Unescaper *u, const char *start, size_t length);
static int unescape_next(Unescaper *u);
static int put_utf8(uint32_t code, unsigned char *bytes);

bool
plinth_json_next(const JsonSlice *container, size_t *position, JsonSlice *name,
				 JsonSlice *value)
{
	const char *end = container->start + container->length;
	const char *at = container->start + (*position == 0 ? 1 : *position);

	json_skip_space(&at, end);
	if (*at == ',')
	{
		at++;
		json_skip_space(&at, end);
	}
	if (*at == '}' || *at == ']')
		return false;

	if (container->kind == JSON_OBJECT)
	{
		name->kind = JSON_STRING;
		name->start = at;
		at = skip_string(at);
		name->length = at - name->start;
		json_skip_space(&at, end);
		at++; /* the colon */
		json_skip_space(&at, end);
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

int
plinth_json_compare_names(const void *a, const void *b)
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

double
plinth_json_number(const JsonSlice *number)
{
	char digits[JSON_SCAN_NUMBER + 1];

	memcpy(digits, number->start, number->length);
	digits[number->length] = '\0';

	return strtod(digits, NULL);
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
			while (json_is_digit(*p) || *p == '-' || *p == '+' || *p == '.' ||
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

	code = json_hex4(u->at + 2);
	u->at += 6;
	if (code >= 0xD800 && code <= 0xDBFF)
	{
		code =
			0x10000 + ((code - 0xD800) << 10) + (json_hex4(u->at + 2) - 0xDC00);
		u->at += 6;
	}
	u->held_count = put_utf8(code, u->held);
	u->held_at = 1;

	return u->held[0];
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
