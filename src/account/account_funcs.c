/*-------------------------------------------------------------------------
 *
 * account_funcs.c
 *		The account room's SQL face.
 *
 * EXECUTE on all of these is for plinth_owner, whose functions in schema
 * auth decide who may ask what.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account.h"

#include <sodium.h>

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "base/bytes.h"
#include "base/compat.h"
#include "claims/claims.h"

/* What is kept of a user agent; it is the client's to choose. */
#define USER_AGENT_BYTES 512

static void wipe_copy(text *value, Datum argument);

/*
 * plinth.auth_password_hash(password text) -> text
 *
 * The argon2id string of a password; whether it may be chosen is asked of
 * plinth.auth_password_check().
 *
 * Errors: 22023 longer than 1024 bytes; 53000 no free hash slot within 50 ms;
 * 55000 the library is not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_password_hash);
Datum
plinth_sql_account_password_hash(PG_FUNCTION_ARGS)
{
	text *password = PG_GETARG_TEXT_PP(0);
	char *hash;

	if (VARSIZE_ANY_EXHDR(password) > ACCOUNT_PASSWORD_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a password has at most %d bytes",
							   ACCOUNT_PASSWORD_MAX)));

	hash =
		plinth_account_hash(VARDATA_ANY(password), VARSIZE_ANY_EXHDR(password));

	PG_RETURN_TEXT_P(cstring_to_text(hash));
}

/*
 * plinth.auth_password_verify(password text, hash text) -> boolean
 *
 * Is this the password of that hash?  A NULL for either means no, after as
 * much work as for any other answer (S3.4).
 *
 * Errors: 53000, 55000 as plinth.auth_password_hash().
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_password_verify);
Datum
plinth_sql_account_password_verify(PG_FUNCTION_ARGS)
{
	text *password = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);
	char *hash = NULL;
	bool matches;

	if (password == NULL)
		PG_RETURN_BOOL(plinth_account_verify("", 0, NULL));

	if (!PG_ARGISNULL(1))
		hash = text_to_cstring(PG_GETARG_TEXT_PP(1));

	matches = plinth_account_verify(VARDATA_ANY(password),
									VARSIZE_ANY_EXHDR(password), hash);
	wipe_copy(password, PG_GETARG_DATUM(0));

	PG_RETURN_BOOL(matches);
}

/*
 * plinth.auth_password_outdated(hash text) -> boolean
 *
 * Should the password be hashed anew when it is next known?
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_password_outdated);
Datum
plinth_sql_account_password_outdated(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(plinth_account_outdated(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * plinth.auth_password_check(password text) -> void
 *
 * Refuse a password that nobody may choose (S3.2).  The message does not
 * repeat it.
 *
 * Errors: 22023 NULL, not 8 to 1024 bytes, or on the list of common ones;
 * 55000 the file of plinth.password_list cannot be read.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_password_check);
Datum
plinth_sql_account_password_check(PG_FUNCTION_ARGS)
{
	text *password = PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0);

	if (password == NULL || VARSIZE_ANY_EXHDR(password) < ACCOUNT_PASSWORD_MIN ||
		VARSIZE_ANY_EXHDR(password) > ACCOUNT_PASSWORD_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a password has %d to %d bytes",
							   ACCOUNT_PASSWORD_MIN, ACCOUNT_PASSWORD_MAX)));

	if (plinth_account_common(VARDATA_ANY(password), VARSIZE_ANY_EXHDR(password)))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("this password is too common"),
						errhint("Choose one that others do not use.")));
	wipe_copy(password, PG_GETARG_DATUM(0));

	PG_RETURN_VOID();
}

/*
 * plinth.auth_new_token() -> text
 *
 * 256 random bits of libsodium's generator as 43 characters of base64url.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_new_token);
Datum
plinth_sql_account_new_token(PG_FUNCTION_ARGS)
{
	uint8 bytes[ACCOUNT_TOKEN_BYTES];
	char token[PLINTH_BASE64URL_SIZE(ACCOUNT_TOKEN_BYTES) + 1];
	text *result;

	randombytes_buf(bytes, sizeof(bytes));
	plinth_bytes_to_base64url(bytes, sizeof(bytes), token);
	result = cstring_to_text(token);
	plinth_bytes_zero(bytes, sizeof(bytes));
	plinth_bytes_zero(token, sizeof(token));

	PG_RETURN_TEXT_P(result);
}

/*
 * plinth.auth_client_address() -> inet
 *
 * Where the request comes from, as claims.h says; NULL when it is unknown.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_client_address);
Datum
plinth_sql_account_client_address(PG_FUNCTION_ARGS)
{
	char *address = plinth_claims_client_address();

	if (address == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall1(inet_in, CStringGetDatum(address)));
}

/*
 * plinth.auth_user_agent() -> text
 *
 * The program that the request's headers name, at most USER_AGENT_BYTES of
 * it; NULL when there are no headers to be believed.
 */
PG_FUNCTION_INFO_V1(plinth_sql_account_user_agent);
Datum
plinth_sql_account_user_agent(PG_FUNCTION_ARGS)
{
	char *agent = plinth_claims_user_agent();
	size_t length;

	if (agent == NULL)
		PG_RETURN_NULL();
	length = strlen(agent);
	if (length > USER_AGENT_BYTES)
		length = pg_mbcliplen(agent, length, USER_AGENT_BYTES);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(agent, length));
}

/*
 * Wipe what was made of a compressed or stored password; the argument itself
 * is the caller's.
 */
static void
wipe_copy(text *value, Datum argument)
{
	if ((Pointer) value != DatumGetPointer(argument))
		plinth_bytes_zero(value, VARSIZE_ANY(value));
}
