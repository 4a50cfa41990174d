/*-------------------------------------------------------------------------
 *
 * fuzz_json.c
 *		Fuzz target: the check of JSON, and the walk through what has passed.
 *
 * What passes is walked whole: each value lies in its container, and passes
 * by itself as well.  What passes without names may have duplicates; what
 * passes with them, or as ASCII, passes without.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz_keys.h"

#include "base/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static bool check(const char *text, size_t length, bool ascii, bool with_names,
				  JsonSlice *value);
static void walk(const JsonSlice *value, int depth);
static void look_at_string(const JsonSlice *string);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_copy(data, size);
	JsonSlice value;
	JsonSlice ignored;
	bool plain = check(text, size, false, false, &value);

	if (plain)
		walk(&value, 0);
	FUZZ_CHECK(!check(text, size, false, true, &ignored) || plain);
	FUZZ_CHECK(!check(text, size, true, true, &ignored) || plain);
	free(text);

	return 0;
}

static bool
check(const char *text, size_t length, bool ascii, bool with_names,
	  JsonSlice *value)
{
	JsonName *names =
		with_names ? malloc(JSON_SCAN_NAMES(length) * sizeof(JsonName)) : NULL;
	bool good = plinth_json_check(text, length, ascii, names, value);

	free(names);

	return good;
}

static void
walk(const JsonSlice *value, int depth)
{
	char *copy = fuzz_copy(value->start, value->length);
	JsonSlice alone;
	size_t position = 0;
	JsonSlice name;
	JsonSlice member;

	FUZZ_CHECK(depth <= JSON_SCAN_DEPTH);
	FUZZ_CHECK(check(copy, value->length, false, false, &alone));
	FUZZ_CHECK(alone.kind == value->kind && alone.length == value->length);
	free(copy);

	if (value->kind == JSON_STRING)
		look_at_string(value);
	else if (value->kind == JSON_NUMBER)
		(void) plinth_json_number(value);
	if (value->kind != JSON_OBJECT && value->kind != JSON_ARRAY)
		return;

	while (plinth_json_next(value, &position, &name, &member))
	{
		FUZZ_CHECK(member.start > value->start);
		FUZZ_CHECK(member.start + member.length < value->start + value->length);
		if (value->kind == JSON_OBJECT)
			look_at_string(&name);
		walk(&member, depth + 1);
	}
	if (value->kind == JSON_OBJECT)
		(void) plinth_json_member(value, "exp", &member);
}

static void
look_at_string(const JsonSlice *string)
{
	char *text = malloc(string->length);
	size_t length;

	FUZZ_CHECK(text != NULL && string->kind == JSON_STRING);
	length = plinth_json_text(string, text);
	FUZZ_CHECK(length < string->length);
	/* there is no zero byte in it */
	FUZZ_CHECK(strlen(text) == length);
	FUZZ_CHECK(plinth_json_is(string, text));
	free(text);
}
