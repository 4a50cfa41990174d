/*-------------------------------------------------------------------------
 *
 * certificate_pattern.c
 *		How the numbers of a series are written.  Pure.
 *
 * A pattern is text with {name}, {year} and {n} in it; {n:6} fills the number
 * with zeros to six digits, and longer numbers are longer.  The number must
 * be there, once: then two numbers of a series and year never look the same.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "certificate/certificate_internal.h"

typedef enum PatternKind
{
	PATTERN_LITERAL, /* one byte that stands for itself */
	PATTERN_NAME,
	PATTERN_YEAR,
	PATTERN_NUMBER
} PatternKind;

static size_t next_item(const char *pattern, size_t length, PatternKind *kind,
						int *width);

/*
 * See certificate_internal.h.
 */
const char *
plinth_certificate_pattern_check(const char *pattern, size_t length, bool *by_year)
{
	int numbers = 0;

	*by_year = false;
	if (length < 1 || length > CERTIFICATE_MAX_PATTERN)
		return "A pattern has 1 to 200 bytes.";

	for (size_t i = 0; i < length;)
	{
		PatternKind kind;
		int width;
		size_t size;

		if ((unsigned char) pattern[i] < ' ' || pattern[i] == 0x7F)
			return "A pattern has no control characters.";
		size = next_item(pattern + i, length - i, &kind, &width);
		if (size == 0)
			return "Braces are for {name}, {year}, {n} and {n:1} to {n:18}.";
		if (kind == PATTERN_NUMBER)
			numbers++;
		else if (kind == PATTERN_YEAR)
			*by_year = true;
		i += size;
	}

	return numbers == 1 ? NULL : "A pattern has {n} or {n:digits} once.";
}

/*
 * See certificate_internal.h.
 */
void
plinth_certificate_pattern_write(StringInfo out, const char *pattern,
								 const char *name, int year, int64 number)
{
	size_t length = strlen(pattern);

	for (size_t i = 0; i < length;)
	{
		PatternKind kind;
		int width;
		size_t size = next_item(pattern + i, length - i, &kind, &width);

		if (size == 0)
			elog(ERROR, "invalid pattern of a series");
		switch (kind)
		{
			case PATTERN_LITERAL:
				appendStringInfoChar(out, pattern[i]);
				break;
			case PATTERN_NAME:
				appendStringInfoString(out, name);
				break;
			case PATTERN_YEAR:
				appendStringInfo(out, "%04d", year);
				break;
			case PATTERN_NUMBER:
				appendStringInfo(out, "%0*lld", width, (long long) number);
				break;
		}
		i += size;
	}
}

/*
 * What comes first in the rest of a pattern, and how many bytes it takes; 0
 * when a brace is out of place.
 */
static size_t
next_item(const char *pattern, size_t length, PatternKind *kind, int *width)
{
	const char *end;
	size_t size;
	int digits;

	*kind = PATTERN_LITERAL;
	*width = 1;
	if (pattern[0] == '}')
		return 0;
	if (pattern[0] != '{')
		return 1;

	end = memchr(pattern, '}', length);
	if (end == NULL)
		return 0;
	size = end + 1 - pattern;

	if (size == 6 && memcmp(pattern, "{name}", 6) == 0)
		*kind = PATTERN_NAME;
	else if (size == 6 && memcmp(pattern, "{year}", 6) == 0)
		*kind = PATTERN_YEAR;
	else if (size == 3 && pattern[1] == 'n')
		*kind = PATTERN_NUMBER;
	else if ((size == 5 || size == 6) && memcmp(pattern, "{n:", 3) == 0)
	{
		*kind = PATTERN_NUMBER;
		*width = 0;
		for (const char *c = pattern + 3; c < end; c++)
		{
			digits = *c - '0';
			if (digits < 0 || digits > 9)
				return 0;
			*width = *width * 10 + digits;
		}
		if (pattern[3] == '0' || *width > CERTIFICATE_MAX_WIDTH)
			return 0;
	}
	else
		return 0;

	return size;
}
