/*-------------------------------------------------------------------------
 *
 * claims_funcs.c
 *		The claims as SQL sees them.
 *
 * Policies call these for each row, so they do next to nothing: the claims
 * were parsed when they were set.  What they return is always a copy, because
 * the setting may change before the value is used.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claims/claims_internal.h"

#include "base/compat.h"
#include "base/names.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

/* The claims as jsonb, converted once for each set of claims. */
static MemoryContext jwt_context = NULL;
static Jsonb *jwt_value = NULL;
static uint64 jwt_serial = 0;

static Datum copy_uuid(const pg_uuid_t *uuid);

/*
 * plinth.auth_uid() -> uuid: the claim sub, or NULL.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_auth_uid);
Datum
plinth_sql_claims_auth_uid(PG_FUNCTION_ARGS)
{
	const ClaimsIdentity *claims = plinth_claims_current();

	if (claims == NULL || !claims->has_user)
		PG_RETURN_NULL();

	return copy_uuid(&claims->user_id);
}

/*
 * plinth.auth_session_id() -> uuid: the claim session_id, or NULL.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_auth_session_id);
Datum
plinth_sql_claims_auth_session_id(PG_FUNCTION_ARGS)
{
	const ClaimsIdentity *claims = plinth_claims_current();

	if (claims == NULL || !claims->has_session)
		PG_RETURN_NULL();

	return copy_uuid(&claims->session_id);
}

/*
 * plinth.auth_role() -> text: the claim role, else anon.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_auth_role);
Datum
plinth_sql_claims_auth_role(PG_FUNCTION_ARGS)
{
	const ClaimsIdentity *claims = plinth_claims_current();

	if (claims == NULL || claims->role == NULL)
		PG_RETURN_TEXT_P(cstring_to_text(PLINTH_ANON_ROLE));

	PG_RETURN_TEXT_P(cstring_to_text(claims->role));
}

/*
 * plinth.auth_email() -> text: the claim email, or NULL.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_auth_email);
Datum
plinth_sql_claims_auth_email(PG_FUNCTION_ARGS)
{
	const ClaimsIdentity *claims = plinth_claims_current();

	if (claims == NULL || claims->email == NULL)
		PG_RETURN_NULL();

	PG_RETURN_TEXT_P(cstring_to_text(claims->email));
}

/*
 * plinth.auth_aal() -> text: the claim aal, or NULL.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_auth_aal);
Datum
plinth_sql_claims_auth_aal(PG_FUNCTION_ARGS)
{
	const ClaimsIdentity *claims = plinth_claims_current();

	if (claims == NULL || claims->aal == NULL)
		PG_RETURN_NULL();

	PG_RETURN_TEXT_P(cstring_to_text(claims->aal));
}

/*
 * plinth.auth_jwt() -> jsonb: all claims, or NULL.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_auth_jwt);
Datum
plinth_sql_claims_auth_jwt(PG_FUNCTION_ARGS)
{
	const ClaimsBlock *block = plinth_claims_current_block();
	Jsonb *copy;

	if (block == NULL)
		PG_RETURN_NULL();

	if (jwt_value == NULL || jwt_serial != block->serial)
	{
		MemoryContext caller;

		if (jwt_context == NULL)
			jwt_context = AllocSetContextCreate(CacheMemoryContext,
												"plinth claims as jsonb",
												ALLOCSET_SMALL_SIZES);
		jwt_value = NULL;
		MemoryContextReset(jwt_context);
		caller = MemoryContextSwitchTo(jwt_context);
		jwt_value = DatumGetJsonbP(DirectFunctionCall1(
			jsonb_in, CStringGetDatum(block->identity.json)));
		jwt_serial = block->serial;
		MemoryContextSwitchTo(caller);
	}

	copy = palloc(VARSIZE(jwt_value));
	memcpy(copy, jwt_value, VARSIZE(jwt_value));
	PG_RETURN_JSONB_P(copy);
}

/*
 * plinth.is_service() -> boolean: may the caller do what services may?
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_is_service);
Datum
plinth_sql_claims_is_service(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(plinth_claims_is_service());
}

static Datum
copy_uuid(const pg_uuid_t *uuid)
{
	pg_uuid_t *copy = palloc(sizeof(pg_uuid_t));

	memcpy(copy, uuid, sizeof(pg_uuid_t));

	return UUIDPGetDatum(copy);
}
