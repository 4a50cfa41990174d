/*-------------------------------------------------------------------------
 *
 * admin.c
 *		Asks the module auth whether the caller is an administrator.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/admin.h"

#include "base/functions.h"
#include "catalog/pg_type.h"
#include "fmgr.h"

#define ADMIN_SCHEMA "auth"
#define ADMIN_FUNCTION "is_admin"

bool
plinth_admin_is_caller(void)
{
	Oid function =
		plinth_module_function(ADMIN_SCHEMA, ADMIN_FUNCTION, 0, NULL, BOOLOID);
	LOCAL_FCINFO(call, 0);
	FmgrInfo info;
	Datum result;

	if (!OidIsValid(function))
		return false;

	fmgr_info(function, &info);
	InitFunctionCallInfoData(*call, &info, 0, InvalidOid, NULL, NULL);
	result = FunctionCallInvoke(call);

	return !call->isnull && DatumGetBool(result);
}

/*
 * plinth.is_admin() -> boolean: the same for policies.
 */
PG_FUNCTION_INFO_V1(plinth_sql_base_is_admin);
Datum
plinth_sql_base_is_admin(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(plinth_admin_is_caller());
}
