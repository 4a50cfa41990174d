/*-------------------------------------------------------------------------
 *
 * admin.c
 *		Asks the module auth whether the caller is an administrator.
 *
 * The extension's own tables and views are there before any module is, so
 * auth.is_admin() is looked up when it is needed.  Only a function that
 * plinth_owner owns is called: in a database without the module anybody with
 * the right to create schemas could make one of that name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/admin.h"

#include "access/htup_details.h"
#include "base/compat.h"
#include "base/names.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#define ADMIN_SCHEMA "auth"
#define ADMIN_FUNCTION "is_admin"

bool
plinth_admin_is_caller(void)
{
	oidvector *arguments = buildoidvector(NULL, 0);
	Oid schema = get_namespace_oid(ADMIN_SCHEMA, true);
	Oid function = InvalidOid;
	HeapTuple tuple;
	LOCAL_FCINFO(call, 0);
	FmgrInfo info;
	Datum result;

	if (!OidIsValid(schema))
		return false;
	tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(ADMIN_FUNCTION),
							PointerGetDatum(arguments), ObjectIdGetDatum(schema));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);

		if (proc->proowner == get_role_oid(PLINTH_OWNER_ROLE, true) &&
			proc->prorettype == BOOLOID && !proc->proretset)
			function = proc->oid;
		ReleaseSysCache(tuple);
	}
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
