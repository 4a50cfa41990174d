/*-------------------------------------------------------------------------
 *
 * claims_issue.c
 *		Claims to a token.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claims/claims_token.h"

#include <math.h>

#include "base/bytes.h"
#include "base/compat.h"
#include "base/names.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

static const SecretsKey *signing_key(const SecretsRing *ring);
static char *complete_claims(Jsonb *claims);
static bool has_member(Jsonb *claims, const char *name);
static char *quote_json(const char *text);
static void add_member(StringInfo buffer, const char *name, const char *value);
static int64 token_life(void);
static void append_base64url(StringInfo buffer, const void *bytes, size_t size);

/*
 * plinth.jwt_sign(claims jsonb) -> text
 *
 * Sign claims with the active token key.  iat, exp, iss and aud are added
 * when they are absent: now, now plus the setting auth.access_token_ttl,
 * plinth.jwt_issuer and plinth.jwt_audience (the last two unless empty).
 *
 * Errors: 22023 the claims are no object; 54000 the token would be longer
 * than plinth.jwt_max_size; 55000 no keyring, or no key that signs.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_jwt_sign);
Datum
plinth_sql_claims_jwt_sign(PG_FUNCTION_ARGS)
{
	Jsonb *argument = PG_GETARG_JSONB_P(0);
	uint8 signature[SECRETS_SIGNATURE_SIZE];
	size_t signature_size;
	const SecretsKey *key;
	StringInfoData header;
	StringInfoData token;
	JsonSlice object;
	char *claims;

	if (!JB_ROOT_IS_OBJECT(argument))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("cannot sign claims that are not an object")));

	claims = complete_claims(argument);
	claims = pg_server_to_any(claims, (int) strlen(claims), PG_UTF8);
	if (!plinth_json_check(claims, strlen(claims), false, NULL, &object))
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot sign claims that no token may have"),
			 errdetail(
				 "They nest more than %d deep, or have a number beyond the limits.",
				 JSON_SCAN_DEPTH)));

	/* nothing below reads the keyring anew, so that key stays good */
	key = signing_key(plinth_secrets_ring());

	initStringInfo(&header);
	appendStringInfo(&header, "{\"alg\":\"%s\",\"kid\":",
					 plinth_claims_token_alg(key->algorithm));
	escape_json(&header, key->kid);
	appendStringInfoString(&header, ",\"typ\":\"JWT\"}");

	initStringInfo(&token);
	append_base64url(&token, header.data, header.len);
	appendStringInfoChar(&token, '.');
	append_base64url(&token, claims, strlen(claims));
	signature_size = plinth_secrets_sign(key, token.data, token.len, signature);
	appendStringInfoChar(&token, '.');
	append_base64url(&token, signature, signature_size);

	if (token.len > plinth_claims_jwt_max_size)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("token would be too long"),
				 errdetail("It would have %d bytes; \"plinth.jwt_max_size\" is %d.",
						   token.len, plinth_claims_jwt_max_size)));

	PG_RETURN_TEXT_P(cstring_to_text_with_len(token.data, token.len));
}

/*
 * The key that signs tokens: Ed25519 if there is one, else HS256.
 */
static const SecretsKey *
signing_key(const SecretsRing *ring)
{
	const SecretsKey *key =
		plinth_secrets_active(ring, SECRETS_TOKEN, SECRETS_ED25519);

	if (key == NULL)
		key = plinth_secrets_active(ring, SECRETS_TOKEN, SECRETS_HS256);
	if (key == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no key signs tokens"),
				 errdetail("The keyring has not one active key of purpose token."),
				 errhint(PLINTH_PREFLIGHT_HINT)));

	return key;
}

/*
 * The text of an object of claims, with what it lacks of a token's.
 */
static char *
complete_claims(Jsonb *claims)
{
	int64 now = (int64) floor((double) GetCurrentTimestamp() / USECS_PER_SEC) +
				(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
	StringInfoData buffer;

	initStringInfo(&buffer);
	JsonbToCString(&buffer, &claims->root, VARSIZE(claims));
	buffer.data[--buffer.len] = '\0'; /* the closing brace */

	if (!has_member(claims, "iat"))
		add_member(&buffer, "iat", psprintf(INT64_FORMAT, now));
	if (!has_member(claims, "exp"))
		add_member(&buffer, "exp", psprintf(INT64_FORMAT, now + token_life()));
	if (plinth_claims_jwt_issuer[0] != '\0' && !has_member(claims, "iss"))
		add_member(&buffer, "iss", quote_json(plinth_claims_jwt_issuer));
	if (plinth_claims_jwt_audience[0] != '\0' && !has_member(claims, "aud"))
		add_member(&buffer, "aud", quote_json(plinth_claims_jwt_audience));
	appendStringInfoChar(&buffer, '}');

	return buffer.data;
}

static bool
has_member(Jsonb *claims, const char *name)
{
	JsonbValue key = {
		.type = jbvString,
		.val.string = {.len = (int) strlen(name), .val = unconstify(char *, name)},
	};

	return findJsonbValueFromContainer(&claims->root, JB_FOBJECT, &key) != NULL;
}

static char *
quote_json(const char *text)
{
	StringInfoData quoted;

	initStringInfo(&quoted);
	escape_json(&quoted, text);

	return quoted.data;
}

static void
add_member(StringInfo buffer, const char *name, const char *value)
{
	if (buffer->data[buffer->len - 1] != '{')
		appendStringInfoString(buffer, ", ");
	appendStringInfo(buffer, "\"%s\": %s", name, value);
}

/*
 * Seconds that an access token lives, from the modules' settings.
 */
static int64
token_life(void)
{
	bool isnull;
	Datum seconds;
	int64 life;

	SPI_connect();
	if (SPI_execute(
			"SELECT pg_catalog.floor(pg_catalog.date_part('epoch',"
			" (plinth.setting('auth.access_token_ttl')"
			" OPERATOR(pg_catalog.#>>) '{}')::pg_catalog.interval))::pg_catalog.int8",
			true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read the life of tokens");
	seconds =
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (isnull)
		elog(ERROR, "tokens have no life");
	life = DatumGetInt64(seconds);
	SPI_finish();

	return life;
}

static void
append_base64url(StringInfo buffer, const void *bytes, size_t size)
{
	enlargeStringInfo(buffer, (int) PLINTH_BASE64URL_SIZE(size) + 1);
	buffer->len +=
		plinth_bytes_to_base64url(bytes, size, buffer->data + buffer->len);
}
