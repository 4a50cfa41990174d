/*-------------------------------------------------------------------------
 *
 * claims_rules.c
 *		What a token must say to be accepted: the settings plinth.jwt_*.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "claims/claims_internal.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "base/names.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

char *plinth_claims_jwt_issuer = NULL;
char *plinth_claims_jwt_audience = NULL;
char *plinth_claims_jwt_typ = NULL;
int plinth_claims_jwt_leeway = 30;
int plinth_claims_jwt_max_size = 16 * 1024;

static char *jwt_roles = NULL;

static bool check_jwt_roles(char **newval, void **extra, GucSource source);
static bool role_is_wide(const char *name, bool *exists);

/*
 * Define plinth.jwt_*.
 */
void
plinth_claims_define_rules(void)
{
	DefineCustomStringVariable(
		"plinth.jwt_issuer",
		"Sets the issuer of tokens: written into new ones and, unless empty, asked of all.",
		NULL, &plinth_claims_jwt_issuer, "", PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomStringVariable(
		"plinth.jwt_audience",
		"Sets the audience of tokens: written into new ones and, unless empty, asked of all.",
		NULL, &plinth_claims_jwt_audience, "", PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomStringVariable(
		"plinth.jwt_roles", "Sets the roles that a token may name.",
		"Roles that pass by row security or own plinth's objects are refused.",
		&jwt_roles, "anon, authenticated", PGC_SUSET, GUC_LIST_INPUT,
		check_jwt_roles, NULL, NULL);

	DefineCustomStringVariable(
		"plinth.jwt_typ", "Sets the token type that is accepted besides JWT.",
		NULL, &plinth_claims_jwt_typ, "at+jwt", PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable(
		"plinth.jwt_leeway",
		"Sets how far clocks may differ when the times of a token are judged.",
		NULL, &plinth_claims_jwt_leeway, 30, 0, 60, PGC_SUSET, GUC_UNIT_S, NULL,
		NULL, NULL);

	DefineCustomIntVariable(
		"plinth.jwt_max_size",
		"Sets the length of the longest token that is looked at.", NULL,
		&plinth_claims_jwt_max_size, 16 * 1024, 1024, 1024 * 1024, PGC_SUSET,
		GUC_UNIT_BYTE, NULL, NULL, NULL);
}

bool
plinth_claims_role_allowed(const char *role)
{
	char *names = pstrdup(jwt_roles);
	List *list;
	ListCell *cell;
	bool listed = false;
	bool exists;

	if (SplitIdentifierString(names, ',', &list))
		foreach (cell, list)
			if (strcmp(lfirst(cell), role) == 0)
				listed = true;
	list_free(list);
	pfree(names);

	return listed && !role_is_wide(role, &exists) && exists;
}

/*
 * Check hook: a list of names, none of them of a role that is too wide.  The
 * catalog is asked where it can be; at server start it cannot, so the same
 * question is asked again at each use.
 */
static bool
check_jwt_roles(char **newval, void **extra, GucSource source)
{
	char *names = pstrdup(*newval);
	List *list;
	ListCell *cell;
	bool ok = true;
	bool exists;

	if (!SplitIdentifierString(names, ',', &list))
	{
		GUC_check_errdetail(
			"It must be a list of role names, separated by commas.");
		ok = false;
	}
	else if (IsTransactionState() && OidIsValid(MyDatabaseId) &&
			 !InitializingParallelWorker)
	{
		foreach (cell, list)
			if (role_is_wide(lfirst(cell), &exists))
			{
				GUC_check_errdetail(
					"Role \"%s\" is a superuser, passes by row security, or owns plinth's objects.",
					(char *) lfirst(cell));
				GUC_check_errhint(
					"Reach such a role by a database login, not by a token.");
				ok = false;
				break;
			}
	}
	list_free(list);
	pfree(names);

	return ok;
}

/*
 * Is this a role that no token may name (S1.10)?
 */
static bool
role_is_wide(const char *name, bool *exists)
{
	HeapTuple tuple = SearchSysCache1(AUTHNAME, CStringGetDatum(name));
	Form_pg_authid role;
	Oid owner;
	bool wide;

	*exists = HeapTupleIsValid(tuple);
	if (!*exists)
		return false;

	role = (Form_pg_authid) GETSTRUCT(tuple);
	owner = get_role_oid(PLINTH_OWNER_ROLE, true);
	wide = role->rolsuper || role->rolbypassrls ||
		   role->oid == BOOTSTRAP_SUPERUSERID ||
		   (OidIsValid(owner) && is_member_of_role_nosuper(role->oid, owner));
	ReleaseSysCache(tuple);

	return wide;
}
