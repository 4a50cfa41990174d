/*-------------------------------------------------------------------------
 *
 * limiter_request.c
 *		What is asked before a request that comes over HTTP.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "limiter/limiter_internal.h"

#include "base/compat.h"
#include "claims/claims.h"
#include "fmgr.h"

/*
 * plinth.pre_request() -> void
 *
 * For the db-pre-request of PostgREST, which has verified the token and set
 * the role and the claims, but knows neither that the token's session has
 * ended since nor how much its bearer asks.  A service is not limited.
 *
 * Writes nothing, so that it passes in a read-only transaction.
 *
 * Errors: 28000 the session of the claims has ended; PT429 over the limit;
 * 22023 the tier has no row; 55000 not preloaded.
 */
PG_FUNCTION_INFO_V1(plinth_sql_limiter_pre_request);
Datum
plinth_sql_limiter_pre_request(PG_FUNCTION_ARGS)
{
	if (!plinth_claims_session_open())
		ereport(ERROR, (errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
						errmsg("Invalid or expired token")));
	if (!plinth_claims_is_service())
		plinth_limiter_require(NULL);

	PG_RETURN_VOID();
}
