/*-------------------------------------------------------------------------
 *
 * claims_act.c
 *		Act for a user without a token of theirs.
 *
 * For work that is done later, in a user's name: what it may see is what the
 * user's policies let through.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claims/claims_internal.h"

#include "base/compat.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/uuid.h"

/*
 * plinth.act_as(user_id uuid, role text) -> void
 *
 * Make {sub, role} the verified claims until the transaction ends, as
 * auth.authenticate() does with those of a token.  Neither the database role
 * nor any session is touched, and the user need not exist.
 *
 * EXECUTE is for superusers alone.
 *
 * Errors: 22023 an argument is NULL, or a token may not name the role.
 */
PG_FUNCTION_INFO_V1(plinth_sql_claims_act_as);
Datum
plinth_sql_claims_act_as(PG_FUNCTION_ARGS)
{
	StringInfoData claims;
	char *role;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("\"user_id\" and \"role\" must not be NULL")));
	role = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!plinth_claims_role_allowed(role))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("cannot act in role \"%s\"", role),
						errhint("The setting \"plinth.jwt_roles\" lists the "
								"roles that claims may name.")));

	initStringInfo(&claims);
	appendStringInfo(
		&claims, "{\"sub\": \"%s\", \"role\": ",
		DatumGetCString(DirectFunctionCall1(uuid_out, PG_GETARG_DATUM(0))));
	escape_json(&claims, role);
	appendStringInfoChar(&claims, '}');
	plinth_claims_set_verified(claims.data, true);

	PG_RETURN_VOID();
}
