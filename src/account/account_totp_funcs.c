/*-------------------------------------------------------------------------
 *
 * account_totp_funcs.c
 *		One-time passwords as SQL calls them.
 *
 * EXECUTE on all of these is for plinth_owner, whose functions in schema
 * auth decide who may ask what.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account.h"
#include "account/account_totp.h"

#include <sodium.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/bytes.h"
#include "base/compat.h"

/* The journal's kind for a wrong code; the subject is the challenge. */
#define FAILURE_KIND "mfa_failure"

/* Random bytes of a recovery code. */
#define RECOVERY_CODE_BYTES 10

static int64 step_at(TimestampTz at);
static pg_cryptohash_type read_hash(const char *name);

/*
 * plinth.auth_totp_code(secret bytea, at timestamptz, digits integer,
 *						 hash text) -> text
 *
 * The code that an authenticator shows at a time.
 *
 *	digits	1 to 9; authenticators show 6
 *	hash	sha1, sha256 or sha512; authenticators use sha1
 *
 * Errors: 22023 an argument is out of range.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_totp_code);
Datum
plinth_sql_account_totp_code(PG_FUNCTION_ARGS)
{
	bytea *secret = PG_GETARG_BYTEA_PP(0);
	int64 step = step_at(PG_GETARG_TIMESTAMPTZ(1));
	int32 digits = PG_GETARG_INT32(2);
	pg_cryptohash_type hash = read_hash(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	char code[ACCOUNT_OTP_DIGITS_MAX + 1];

	if (digits < 1 || digits > ACCOUNT_OTP_DIGITS_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"digits\" must be from 1 to %d",
							   ACCOUNT_OTP_DIGITS_MAX)));
	plinth_account_hotp(hash, (const uint8 *) VARDATA_ANY(secret),
						VARSIZE_ANY_EXHDR(secret), (uint64) step, digits, code);

	PG_RETURN_TEXT_P(cstring_to_text(code));
}

/*
 * plinth.auth_totp_step(secret bytea, code text, at timestamptz,
 *						 last_used_step bigint) -> bigint or NULL
 *
 * The step of 30 seconds that a code of six digits belongs to: that of the
 * time, or one before or after it.  NULL when it belongs to none of these,
 * to none after last_used_step, or when it is no code.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_totp_step);
Datum
plinth_sql_account_totp_step(PG_FUNCTION_ARGS)
{
	bytea *secret;
	text *code;
	int64 last_used = PG_ARGISNULL(3) ? -1 : PG_GETARG_INT64(3);
	int64 match;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_NULL();

	secret = PG_GETARG_BYTEA_PP(0);
	code = PG_GETARG_TEXT_PP(1);
	if (VARSIZE_ANY_EXHDR(code) != ACCOUNT_TOTP_DIGITS)
		PG_RETURN_NULL();
	match = plinth_account_totp_match(
		(const uint8 *) VARDATA_ANY(secret), VARSIZE_ANY_EXHDR(secret),
		VARDATA_ANY(code), step_at(PG_GETARG_TIMESTAMPTZ(2)), last_used);
	if (match < 0)
		PG_RETURN_NULL();

	PG_RETURN_INT64(match);
}

/*
 * plinth.auth_totp_secret() -> bytea: 160 random bits (RFC 4226 section 4).
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_totp_secret);
Datum
plinth_sql_account_totp_secret(PG_FUNCTION_ARGS)
{
	bytea *secret = palloc(VARHDRSZ + ACCOUNT_TOTP_SECRET_BYTES);

	SET_VARSIZE(secret, VARHDRSZ + ACCOUNT_TOTP_SECRET_BYTES);
	randombytes_buf(VARDATA(secret), ACCOUNT_TOTP_SECRET_BYTES);

	PG_RETURN_BYTEA_P(secret);
}

/*
 * plinth.auth_base32(bytes bytea) -> text: RFC 4648 section 6, no padding.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_base32);
Datum
plinth_sql_account_base32(PG_FUNCTION_ARGS)
{
	bytea *bytes = PG_GETARG_BYTEA_PP(0);
	size_t length = VARSIZE_ANY_EXHDR(bytes);
	char *digits = palloc(ACCOUNT_BASE32_SIZE(length) + 1);

	(void) plinth_account_base32((const uint8 *) VARDATA_ANY(bytes), length,
								 digits);

	PG_RETURN_TEXT_P(cstring_to_text(digits));
}

/*
 * plinth.auth_recovery_code() -> text
 *
 * 80 random bits as four groups of four characters of base32.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_recovery_code);
Datum
plinth_sql_account_recovery_code(PG_FUNCTION_ARGS)
{
	uint8 bytes[RECOVERY_CODE_BYTES];
	char code[ACCOUNT_BASE32_SIZE(RECOVERY_CODE_BYTES) + 1];
	char *grouped;

	randombytes_buf(bytes, sizeof(bytes));
	(void) plinth_account_base32(bytes, sizeof(bytes), code);
	grouped =
		psprintf("%.4s-%.4s-%.4s-%.4s", code, code + 4, code + 8, code + 12);
	plinth_bytes_zero(bytes, sizeof(bytes));
	plinth_bytes_zero(code, sizeof(code));

	PG_RETURN_TEXT_P(cstring_to_text(grouped));
}

/*
 * plinth.auth_mfa_guesses_left(challenge_id uuid) -> integer or NULL
 *
 * How many wrong codes a challenge can still take, by the tables as they are
 * at this moment, whatever the transaction's snapshot, and by the entries of
 * the security journal that no table shows yet.  The rule is
 * auth.mfa_guesses_left(); NULL when there is no such challenge.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_mfa_guesses_left);
Datum
plinth_sql_account_mfa_guesses_left(PG_FUNCTION_ARGS)
{
	pg_uuid_t *challenge = PG_GETARG_UUID_P(0);
	Oid types[] = {UUIDOID, INT4OID};
	Datum values[lengthof(types)];
	Datum left;
	bool is_null;

	/* The journal first, the table after: see account.h. */
	values[0] = UUIDPGetDatum(challenge);
	values[1] =
		Int32GetDatum(plinth_account_journal_count(FAILURE_KIND, challenge));

	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute_with_args("SELECT auth.mfa_guesses_left($1, $2)",
							  lengthof(types), types, values, NULL, true,
							  1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not call auth.mfa_guesses_left()");
	left =
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null);
	PopActiveSnapshot();
	SPI_finish();

	if (is_null)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(left);
}

/*
 * The number of whole periods since 1970 (RFC 6238 section 4.2).
 */
static int64
step_at(TimestampTz at)
{
	int64 seconds;

	if (TIMESTAMP_NOT_FINITE(at))
		seconds = -1;
	else
		seconds =
			at / USECS_PER_SEC +
			(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
	if (seconds < 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a one-time password needs a time from 1970 on")));

	return seconds / ACCOUNT_TOTP_PERIOD;
}

/*
 * The hash of that name, or an error.
 */
static pg_cryptohash_type
read_hash(const char *name)
{
	if (strcmp(name, "sha1") == 0)
		return PG_SHA1;
	if (strcmp(name, "sha256") == 0)
		return PG_SHA256;
	if (strcmp(name, "sha512") == 0)
		return PG_SHA512;

	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("unrecognized hash \"%s\"", name),
					errhint("The hashes are sha1, sha256 and sha512.")));
}
