/*-------------------------------------------------------------------------
 *
 * fuzz_certificate.c
 *		Fuzz target: codes with a check character, and patterns of numbers.
 *
 * The first byte of an input says what the rest is:
 *
 *		c	a code as somebody types it
 *		g	random bytes: the code made of them is valid, with one character
 *			changed it is not, and neither with two neighbours exchanged
 *		p	a pattern: a good one makes different texts of different numbers
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fuzz_keys.h"

#include "certificate/certificate_internal.h"

#define PREFIX "COA"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
static void check_code(const char *text, size_t length);
static void make_code(const uint8 *random, size_t size);
static void check_pattern(const char *text, size_t length);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *rest;

	if (size < 1)
		return 0;
	rest = fuzz_copy(data + 1, size - 1);
	if (data[0] == 'c')
		check_code(rest, size - 1);
	else if (data[0] == 'g')
		make_code((const uint8 *) rest, size - 1);
	else if (data[0] == 'p')
		check_pattern(rest, size - 1);
	free(rest);

	return 0;
}

static void
check_code(const char *text, size_t length)
{
	char *spaced = malloc(2 * length + 1);
	bool valid = plinth_certificate_code_valid(text, length);

	/* spaces and hyphens say nothing, nor does the case of letters */
	FUZZ_CHECK(spaced != NULL);
	for (size_t i = 0; i < length; i++)
	{
		spaced[2 * i] = (char) pg_ascii_tolower((unsigned char) text[i]);
		spaced[2 * i + 1] = i % 2 == 0 ? ' ' : '-';
	}
	FUZZ_CHECK(plinth_certificate_code_valid(spaced, 2 * length) == valid);
	free(spaced);
}

static void
make_code(const uint8 *random, size_t size)
{
	char code[CERTIFICATE_CODE_SIZE + 1];
	size_t length;
	size_t at;
	char was;

	if (size < CERTIFICATE_CODE_MIN || size > CERTIFICATE_CODE_MAX ||
		!plinth_certificate_code(PREFIX, strlen(PREFIX), random, (int) size, code))
		return;
	length = strlen(code);
	FUZZ_CHECK(length <= CERTIFICATE_CODE_SIZE);
	FUZZ_CHECK(plinth_certificate_code_valid(code, length));

	/* one character, in a place that the input decides */
	at = random[0] % length;
	was = code[at];
	if (was != '-')
	{
		code[at] = was == '7' ? 'Q' : '7';
		FUZZ_CHECK(!plinth_certificate_code_valid(code, length));
		code[at] = was;
	}
	/* two neighbours */
	for (at = strlen(PREFIX); at + 1 < length; at++)
	{
		size_t next = code[at + 1] == '-' ? at + 2 : at + 1;

		if (code[at] == '-' || next >= length || code[at] == code[next])
			continue;
		was = code[at];
		code[at] = code[next];
		code[next] = was;
		FUZZ_CHECK(!plinth_certificate_code_valid(code, length));
		was = code[at];
		code[at] = code[next];
		code[next] = was;
	}
}

static void
check_pattern(const char *text, size_t length)
{
	static const int64 numbers[] = {1, 10, 11, 999999999999999999, PG_INT64_MAX};
	StringInfoData written[lengthof(numbers)];
	bool by_year;
	char *pattern;

	if (plinth_certificate_pattern_check(text, length, &by_year) != NULL ||
		memchr(text, '\0', length) != NULL)
		return;
	pattern = malloc(length + 1);
	FUZZ_CHECK(pattern != NULL);
	memcpy(pattern, text, length);
	pattern[length] = '\0';
	for (size_t i = 0; i < lengthof(numbers); i++)
	{
		initStringInfo(&written[i]);
		plinth_certificate_pattern_write(&written[i], pattern, "name", 2026,
										 numbers[i]);
		for (size_t j = 0; j < i; j++)
			FUZZ_CHECK(strcmp(written[i].data, written[j].data) != 0);
	}
	for (size_t i = 0; i < lengthof(numbers); i++)
		pfree(written[i].data);
	free(pattern);
}

/* elog(ERROR) of a pattern that was not checked: it was. */
bool
errstart(int elevel, const char *domain)
{
	abort();
}

bool
errstart_cold(int elevel, const char *domain)
{
	abort();
}

void
errfinish(const char *filename, int lineno, const char *funcname)
{
	abort();
}

int
errmsg_internal(const char *fmt, ...)
{
	abort();
}
