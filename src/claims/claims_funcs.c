/*-------------------------------------------------------------------------
 *
 * claims_funcs.c
 *		The claims as SQL sees them.
 *
 * Policies call these for each row, so they do next to nothing: the claims
 * were parsed when they were set.  What they return never leads into the
 * setting, which may change before the value is used.
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

/* What a place of call has returned last, and from which claims. */
typedef struct ReturnedUuid
{
	uint64 serial;
	pg_uuid_t uuid;
} ReturnedUuid;

static Datum return_uuid(FmgrInfo *place, const ClaimsBlock *block,
						 const pg_uuid_t *uuid);

/*
 * plinth.auth_uid() -> uuid: the claim sub, or NULL.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_auth_uid);
Datum
plinth_sql_claims_auth_uid(PG_FUNCTION_ARGS)
{
	const ClaimsBlock *block = plinth_claims_current_block();

	if (block == NULL || !block->identity.has_user)
		PG_RETURN_NULL();

	return return_uuid(fcinfo->flinfo, block, &block->identity.user_id);
}

/*
 * plinth.auth_session_id() -> uuid: the claim session_id, or NULL.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_auth_session_id);
Datum
plinth_sql_claims_auth_session_id(PG_FUNCTION_ARGS)
{
	const ClaimsBlock *block = plinth_claims_current_block();

	if (block == NULL || !block->identity.has_session)
		PG_RETURN_NULL();

	return return_uuid(fcinfo->flinfo, block, &block->identity.session_id);
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

/*
 * Return a uuid of the claims in memory that lasts as long as the place of
 * call.  One copy serves all rows: with an allocation for each the executor
 * would have a context to reset for each, which costs as much as the call.  A
 * copy is never overwritten, because an earlier result may still be in use;
 * other claims get another one.
 */
static Datum
return_uuid(FmgrInfo *place, const ClaimsBlock *block, const pg_uuid_t *uuid)
{
	ReturnedUuid *returned = place != NULL ? place->fn_extra : NULL;

	if (returned == NULL || returned->serial != block->serial)
	{
		returned = MemoryContextAlloc(place != NULL ? place->fn_mcxt
													: CurrentMemoryContext,
									  sizeof(ReturnedUuid));
		returned->serial = block->serial;
		returned->uuid = *uuid;
		if (place != NULL)
			place->fn_extra = returned;
	}

	return UUIDPGetDatum(&returned->uuid);
}
