/*-------------------------------------------------------------------------
 *
 * functions.c
 *		Functions of modules that C calls.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/functions.h"

#include "access/htup_details.h"
#include "base/names.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

Oid
plinth_module_function(const char *schema, const char *name, int nargs,
					   const Oid *types, Oid result)
{
	Oid namespace = get_namespace_oid(schema, true);
	oidvector *arguments;
	Oid function = InvalidOid;
	HeapTuple tuple;

	if (!OidIsValid(namespace))
		return InvalidOid;

	arguments = buildoidvector(types, nargs);
	tuple = SearchSysCache3(PROCNAMEARGSNSP, CStringGetDatum(name),
							PointerGetDatum(arguments),
							ObjectIdGetDatum(namespace));
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);

		if (proc->proowner == get_role_oid(PLINTH_OWNER_ROLE, true) &&
			proc->prorettype == result && !proc->proretset)
			function = proc->oid;
		ReleaseSysCache(tuple);
	}
	pfree(arguments);

	return function;
}
