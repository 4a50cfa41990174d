/*-------------------------------------------------------------------------
 *
 * claims_authenticate.c
 *		Judge a token by the server's keys, settings and clock, and take its
 *		claims for the session.
 *
 * Whatever is wrong with a token, the caller is told the same; the cause goes
 * to the log at level debug1.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claims/claims_token.h"

#include "access/detoast.h"
#include "access/table.h"
#include "base/bytes.h"
#include "base/compat.h"
#include "base/names.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Where the module auth keeps its sessions. */
#define SESSIONS_SCHEMA "auth"
#define SESSIONS_TABLE "sessions"

bool (*plinth_claims_session_revoked)(const pg_uuid_t *session_id) = NULL;

static void verify(Datum token, char **scratch, TokenClaims *claims);
static void verify_in_session(Datum token, char **scratch, TokenClaims *claims);
static TokenCause judge(const char *token, size_t length, char *scratch,
						TokenClaims *claims);
pg_noreturn static void refuse(TokenCause cause);
static Datum claims_as_jsonb(const TokenClaims *claims);
static bool session_holds(const TokenClaims *claims);
static bool sessions_are_kept(Oid owner);
static bool session_is_open(const pg_uuid_t *session_id);

/*
 * plinth.jwt_verify(token text) -> jsonb
 *
 * The claims of a token that is good now.  No table is read.
 *
 * Errors: 28000 for any other token; 55000 no keyring.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_jwt_verify);
Datum
plinth_sql_claims_jwt_verify(PG_FUNCTION_ARGS)
{
	TokenClaims claims;
	char *scratch;
	Datum result;

	verify(PG_GETARG_DATUM(0), &scratch, &claims);
	result = claims_as_jsonb(&claims);
	pfree(scratch);

	return result;
}

/*
 * plinth.auth_authenticate(token text, is_local boolean) -> jsonb
 *
 * Verify a token, see that its session has not ended, and make its claims
 * those of the transaction, or of the session when is_local is false.
 *
 * Errors: 28000 no token, or none that is good; 55000 no keyring.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_auth_authenticate);
Datum
plinth_sql_claims_auth_authenticate(PG_FUNCTION_ARGS)
{
	bool is_local = PG_ARGISNULL(1) ? true : PG_GETARG_BOOL(1);
	TokenClaims claims;
	char *scratch;
	Datum result;

	if (PG_ARGISNULL(0) || toast_raw_datum_size(PG_GETARG_DATUM(0)) == VARHDRSZ)
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("No authorization header")));

	verify_in_session(PG_GETARG_DATUM(0), &scratch, &claims);

	plinth_claims_set_verified(claims.json, is_local);
	result = claims_as_jsonb(&claims);
	pfree(scratch);

	return result;
}

const ClaimsIdentity *
plinth_claims_of_token(Datum token)
{
	TokenClaims claims;
	ClaimsBlock *block;
	char *scratch;
	size_t length;

	verify_in_session(token, &scratch, &claims);
	length = strlen(claims.json);
	block = palloc(CLAIMS_BLOCK_SIZE(length));
	if (!plinth_claims_scan(claims.json, length,
							GetDatabaseEncoding() != PG_UTF8, block))
		elog(ERROR, "claims of a good token could not be read");
	pfree(scratch);

	return &block->identity;
}

bool
plinth_claims_session_open(void)
{
	const ClaimsIdentity *identity = plinth_claims_current();
	TokenClaims claims = {0};

	if (identity == NULL || !identity->has_session)
		return true;

	claims.has_session = true;
	claims.session_id = identity->session_id;
	return session_holds(&claims);
}

/*
 * plinth.auth_deauthenticate() -> void: the verified claims are gone.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_auth_deauthenticate);
Datum
plinth_sql_claims_auth_deauthenticate(PG_FUNCTION_ARGS)
{
	plinth_claims_set_verified("", false);

	PG_RETURN_VOID();
}

/*
 * plinth.jws_verify(jws text, jwk jsonb) -> bytea or NULL
 *
 * The payload of a compact JWS when the key's signature of it holds; NULL
 * otherwise.  Nothing is asked of the payload, and of the header only that
 * it has the key's algorithm and needs nothing that is not understood.
 *
 * Errors: 22023 the key is not acceptable.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_jws_verify);
Datum
plinth_sql_claims_jws_verify(PG_FUNCTION_ARGS)
{
	text *jws = PG_GETARG_TEXT_PP(0);
	Jsonb *argument = PG_GETARG_JSONB_P(1);
	size_t length = VARSIZE_ANY_EXHDR(jws);
	char *jwk_text = JsonbToCString(NULL, &argument->root, VARSIZE(argument));
	const char *problem;
	JsonSlice jwk;
	SecretsKey key;
	TokenParts parts;
	char *scratch;
	bytea *payload;
	size_t size;
	bool ok;

	if (plinth_json_check(jwk_text, strlen(jwk_text), false, NULL, &jwk))
		problem = plinth_secrets_read_jwk(&jwk, &key);
	else
		problem = "It nests too deep, or has a number beyond the limits.";
	plinth_bytes_zero(jwk_text, strlen(jwk_text));
	if (problem != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid JSON Web Key"),
						errdetail_internal("%s", problem)));

	if (length > (size_t) plinth_claims_jwt_max_size)
		PG_RETURN_NULL();
	scratch = palloc(TOKEN_SCRATCH_SIZE(length));
	payload = palloc(VARHDRSZ + length);
	ok = plinth_claims_token_split(VARDATA_ANY(jws), length, false, scratch,
								   &parts) == TOKEN_GOOD &&
		 plinth_claims_token_signature(&parts, &key) == TOKEN_GOOD &&
		 plinth_bytes_from_base64url(parts.payload_text, parts.payload_text_size,
									 VARDATA(payload), &size);
	plinth_bytes_zero(&key, sizeof(key));
	pfree(scratch);
	if (!ok)
		PG_RETURN_NULL();

	SET_VARSIZE(payload, VARHDRSZ + size);
	PG_RETURN_BYTEA_P(payload);
}

/*
 * Judge a token by all rules that ask no table.  The claims lead into the
 * scratch memory, which is the caller's to free.
 */
static void
verify(Datum token, char **scratch, TokenClaims *claims)
{
	Size length = toast_raw_datum_size(token) - VARHDRSZ;
	TokenCause cause;
	text *value;

	/* before it is even decompressed */
	if (length > (Size) plinth_claims_jwt_max_size)
		refuse(TOKEN_TOO_LONG);

	value = DatumGetTextPP(token);
	*scratch = palloc(TOKEN_SCRATCH_SIZE(length));
	cause = judge(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value), *scratch, claims);
	if (cause != TOKEN_GOOD)
		refuse(cause);
}

/*
 * As verify(), and its session must be open.
 */
static void
verify_in_session(Datum token, char **scratch, TokenClaims *claims)
{
	verify(token, scratch, claims);
	if (claims->names_session && !session_holds(claims))
		refuse(TOKEN_SESSION);
}

static TokenCause
judge(const char *token, size_t length, char *scratch, TokenClaims *claims)
{
	TokenRules rules = {
		.typ = plinth_claims_jwt_typ,
		.issuer = plinth_claims_jwt_issuer,
		.audience = plinth_claims_jwt_audience,
		.leeway = plinth_claims_jwt_leeway,
		.now = (double) GetCurrentTimestamp() / USECS_PER_SEC +
			   (double) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY,
		.ascii = GetDatabaseEncoding() != PG_UTF8,
	};
	TokenCause cause;

	cause = plinth_claims_token_check(token, length, plinth_secrets_ring(),
									  &rules, scratch, claims);
	if (cause == TOKEN_GOOD && !plinth_claims_role_allowed(claims->role))
		cause = TOKEN_ROLE;

	return cause;
}

static void
refuse(TokenCause cause)
{
	ereport(DEBUG1, (errmsg_internal("token refused: %s",
									 plinth_claims_token_cause(cause))));
	ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					errmsg("Invalid or expired token")));
}

static Datum
claims_as_jsonb(const TokenClaims *claims)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(claims->json));
}

/*
 * Is the session of the claims still open?  Where no sessions are kept, there
 * is none to end.
 */
static bool
session_holds(const TokenClaims *claims)
{
	Oid owner = get_role_oid(PLINTH_OWNER_ROLE, true);
	Oid caller;
	int context;
	bool open;

	if (!sessions_are_kept(owner))
		return true;
	if (!claims->has_session)
		return false;
	/* News first, the table after: what leaves the one is in the other. */
	if (plinth_claims_session_revoked != NULL &&
		plinth_claims_session_revoked(&claims->session_id))
		return false;

	/* An error puts the caller's identity back with the (sub)transaction. */
	GetUserIdAndSecContext(&caller, &context);
	SetUserIdAndSecContext(owner, context | SECURITY_LOCAL_USERID_CHANGE |
									  SECURITY_RESTRICTED_OPERATION);
	open = session_is_open(&claims->session_id);
	SetUserIdAndSecContext(caller, context);

	return open;
}

/*
 * Is there a table of sessions, and is it ours?  Anybody may have made one of
 * that name where the module is not installed, with policies of their own.
 */
static bool
sessions_are_kept(Oid owner)
{
	Oid schema = get_namespace_oid(SESSIONS_SCHEMA, true);
	Oid table;
	Relation relation;
	bool ours;

	if (!OidIsValid(owner) || !OidIsValid(schema))
		return false;
	table = get_relname_relid(SESSIONS_TABLE, schema);
	if (!OidIsValid(table))
		return false;

	relation = try_table_open(table, AccessShareLock);
	if (relation == NULL)
		return false;
	ours = relation->rd_rel->relowner == owner;
	table_close(relation, NoLock);

	return ours;
}

/*
 * Ask the table.  The caller has taken its owner's identity.
 */
static bool
session_is_open(const pg_uuid_t *session_id)
{
	static SPIPlanPtr plan = NULL;
	Oid types[] = {UUIDOID};
	Datum values[] = {UUIDPGetDatum(session_id)};
	bool open;

	SPI_connect();
	if (plan == NULL)
	{
		SPIPlanPtr made = SPI_prepare(
			"SELECT FROM " SESSIONS_SCHEMA "." SESSIONS_TABLE " AS s"
			" WHERE s.id OPERATOR(pg_catalog.=) $1"
			" AND s.revoked_at IS NULL"
			" AND s.not_after OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()",
			lengthof(types), types);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare the look-up of a session");
		plan = made;
	}
	/* As it is at this moment, whatever the transaction has seen. */
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute_plan(plan, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look a session up");
	open = SPI_processed > 0;
	PopActiveSnapshot();
	SPI_finish();

	return open;
}
