/*-------------------------------------------------------------------------
 *
 * certificate_funcs.c
 *		Certificate numbers for SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "certificate/certificate.h"

#include <sodium.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/compat.h"

static void draw(uint8 *random, size_t size);
static void check_prefix(const char *prefix, size_t length);

/*
 * plinth.generate_certificate_number() -> text
 *
 * A number that nobody can guess: "EVOLV-" and 48 random bits as twelve
 * characters of 0-9A-F.  Two of n numbers are equal with a probability of
 * about n^2 / 2^49, so the column that keeps them is unique and whoever
 * inserts takes another number when it says so.
 *
 * Errors: XX000 the source of randomness is not to be had.
 */
PG_FUNCTION_INFO_V1(plinth_sql_certificate_number);
Datum
plinth_sql_certificate_number(PG_FUNCTION_ARGS)
{
	uint8 random[CERTIFICATE_NUMBER_RANDOM];
	char number[CERTIFICATE_NUMBER_SIZE + 1];

	draw(random, sizeof(random));
	plinth_certificate_number(random, number);

	PG_RETURN_TEXT_P(cstring_to_text_with_len(number, CERTIFICATE_NUMBER_SIZE));
}

/*
 * plinth.certificate_code(prefix text, length integer) -> text
 *
 * A code that nobody can guess and that shows when it is mistyped: prefix,
 * random characters in groups of four, check character.
 *
 *	prefix	1 to 12 characters of A-Z and 0-9
 *	length	random characters, 8 to 32; each is five bits
 *
 * Errors: 22023 an argument is missing or out of range; XX000 the source of
 * randomness is not to be had.
 *
 * Source: Crockford's base 32; ISO/IEC 7064:2003, hybrid system MOD 37,36.
 */
PG_FUNCTION_INFO_V1(plinth_sql_certificate_code);
Datum
plinth_sql_certificate_code(PG_FUNCTION_ARGS)
{
	uint8 random[CERTIFICATE_CODE_MAX];
	char code[CERTIFICATE_CODE_SIZE + 1];
	text *prefix;
	int32 length;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot make a certificate code without prefix or length")));
	prefix = PG_GETARG_TEXT_PP(0);
	length = PG_GETARG_INT32(1);
	check_prefix(VARDATA_ANY(prefix), VARSIZE_ANY_EXHDR(prefix));
	if (length < CERTIFICATE_CODE_MIN || length > CERTIFICATE_CODE_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"length\" must be between %d and %d",
							   CERTIFICATE_CODE_MIN, CERTIFICATE_CODE_MAX),
						errdetail("The value given was %d.", length)));

	/* about one draw in six is thrown away, so this ends soon */
	do
	{
		CHECK_FOR_INTERRUPTS();
		draw(random, length);
	} while (!plinth_certificate_code(
		VARDATA_ANY(prefix), VARSIZE_ANY_EXHDR(prefix), random, length, code));

	PG_RETURN_TEXT_P(cstring_to_text(code));
}

/*
 * plinth.certificate_code_valid(code text) -> boolean
 *
 * Does the check character hold?  Letter case, spaces and hyphens do not
 * matter.  Whether the code was ever given out is another question.
 *
 * Errors: none.
 */
PG_FUNCTION_INFO_V1(plinth_sql_certificate_code_valid);
Datum
plinth_sql_certificate_code_valid(PG_FUNCTION_ARGS)
{
	text *code = PG_GETARG_TEXT_PP(0);

	PG_RETURN_BOOL(plinth_certificate_code_valid(VARDATA_ANY(code),
												 VARSIZE_ANY_EXHDR(code)));
}

/*
 * Fill memory from the cryptographic generator.
 */
static void
draw(uint8 *random, size_t size)
{
	/* opens the source at the first call, and costs nothing after it */
	if (sodium_init() < 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not generate random values")));
	randombytes_buf(random, size);
}

static void
check_prefix(const char *prefix, size_t length)
{
	bool ok = length >= 1 && length <= CERTIFICATE_CODE_MAX_PREFIX;

	for (size_t i = 0; ok && i < length; i++)
		ok = (prefix[i] >= 'A' && prefix[i] <= 'Z') ||
			 (prefix[i] >= '0' && prefix[i] <= '9');
	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid prefix of a certificate code"),
				 errdetail("A prefix has 1 to %d characters of A-Z and 0-9.",
						   CERTIFICATE_CODE_MAX_PREFIX)));
}
