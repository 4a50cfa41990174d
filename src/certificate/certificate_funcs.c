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
#include "utils/builtins.h"

#include "base/compat.h"

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

	/* opens the source at the first call, and costs nothing after it */
	if (sodium_init() < 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not generate random values")));
	randombytes_buf(random, sizeof(random));
	plinth_certificate_number(random, number);

	PG_RETURN_TEXT_P(cstring_to_text_with_len(number, CERTIFICATE_NUMBER_SIZE));
}
