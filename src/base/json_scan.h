/*-------------------------------------------------------------------------
 *
 * json_scan.h
 *		Read JSON that nobody vouches for.
 *
 * A text is checked once, whole; what passes can then be walked without
 * further checks.  Pure: no server header, no allocation, no error raised, so
 * that it serves the check hooks of settings and can be fuzzed on its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PLINTH_JSON_SCAN_H
#define PLINTH_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Objects and arrays within each other, the outermost counted. */
#define JSON_SCAN_DEPTH 32

/*
 * Characters of a number, and digits of its exponent's value: what is longer
 * would overflow or swell the server's numeric type.
 */
#define JSON_SCAN_NUMBER 1000
#define JSON_SCAN_EXPONENT 1000

typedef enum JsonKind
{
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT
} JsonKind;

/* A value in a checked text, its quotes or brackets included. */
typedef struct JsonSlice
{
	JsonKind kind;
	const char *start;
	size_t length;
} JsonSlice;

/* A member's name in the text; scratch memory of plinth_json_check(). */
typedef struct JsonName
{
	const char *start; /* the opening quote */
	size_t length;
} JsonName;

/* Names that a text of this length can hold. */
#define JSON_SCAN_NAMES(length) ((length) / 4 + 1)

/*
 * Is the text one JSON value (RFC 8259) and nothing else?  Beyond the grammar
 * it must be UTF-8, nest at most JSON_SCAN_DEPTH deep, hold no \u0000 and no
 * half of a surrogate pair, and numbers within the limits above.
 *
 * names is NULL, or room for JSON_SCAN_NAMES(length) names: then an object
 * with two members of one name, compared after unescaping, is refused too.
 * With ascii, characters beyond ASCII are refused, escaped ones included.
 */
extern bool plinth_json_check(const char *text, size_t length, bool ascii,
							  JsonName *names, JsonSlice *value);

/*
 * Walk a checked object or array: the next member after *position, which
 * starts as 0.  name is the slice of the member's name, and may be NULL for
 * an array.  Returns false at the end.
 */
extern bool plinth_json_next(const JsonSlice *container, size_t *position,
							 JsonSlice *name, JsonSlice *value);

/*
 * The member of that name of a checked object; the last one when there are
 * several, as in jsonb.  Returns false when there is none.
 */
extern bool plinth_json_member(const JsonSlice *object, const char *name,
							   JsonSlice *value);

/* Is the checked slice a string, and this one? */
extern bool plinth_json_is(const JsonSlice *string, const char *text);

/*
 * Unescape a checked string into text, zero-terminated; there must be room for
 * string->length bytes.  Returns the bytes written without the zero.
 */
extern size_t plinth_json_text(const JsonSlice *string, char *text);

/* The value of a checked number. */
extern double plinth_json_number(const JsonSlice *number);

#endif /* PLINTH_JSON_SCAN_H */
