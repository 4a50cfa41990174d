/*-------------------------------------------------------------------------
 *
 * account_bcrypt.c
 *		Passwords that were hashed elsewhere, with bcrypt.
 *
 * Computed by pgcrypto, found by its extension and never by a search path.
 * It knows the prefixes $2a$ and $2x$; $2b$ and $2y$ are names that other
 * implementations gave to what its $2a$ does ($2x$, an error of one of them, is
 * refused).  bcrypt sees the first 72 bytes of a password.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "account/account_internal.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "catalog/dependency.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/syscache.h"

#include "base/bytes.h"
#include "base/compat.h"

#define BCRYPT_LENGTH 60
#define BCRYPT_HEAD 7 /* "$2a$10$" */

/* Each step doubles the time; the last takes about a second. */
#define COST_MIN 4
#define COST_MAX 14

static Oid find_crypt(void);

/*
 * Is this a bcrypt string that can be checked: of the right form, at a cost
 * that ends in time?
 */
bool
plinth_account_bcrypt_form(const char *hash)
{
	int cost;

	if (strlen(hash) != BCRYPT_LENGTH || strncmp(hash, "$2", 2) != 0 ||
		strchr("aby", hash[2]) == NULL || hash[3] != '$' ||
		!isdigit((unsigned char) hash[4]) ||
		!isdigit((unsigned char) hash[5]) || hash[6] != '$')
		return false;
	cost = (hash[4] - '0') * 10 + (hash[5] - '0');
	return cost >= COST_MIN && cost <= COST_MAX &&
		   strspn(hash + BCRYPT_HEAD,
				  "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "abcdefghijklmnopqrstuvwxyz") == BCRYPT_LENGTH - BCRYPT_HEAD;
}

/*
 * Is this the password of a bcrypt string of the right form?  Interrupts are
 * served meanwhile.
 *
 * Errors: 55000 pgcrypto is not there.
 */
bool
plinth_account_bcrypt_verify(const char *password, size_t length, const char *hash)
{
	text *key = cstring_to_text_with_len(password, length);
	text *setting = cstring_to_text(hash);
	Datum answer;
	text *computed;
	bool matches;

	VARDATA(setting)[2] = 'a';
	answer = OidFunctionCall2Coll(find_crypt(), DEFAULT_COLLATION_OID,
								  PointerGetDatum(key), PointerGetDatum(setting));
	computed = DatumGetTextPP(answer);
	matches = VARSIZE_ANY_EXHDR(computed) == BCRYPT_LENGTH &&
			  plinth_bytes_equal(VARDATA_ANY(computed) + BCRYPT_HEAD,
								 hash + BCRYPT_HEAD, BCRYPT_LENGTH - BCRYPT_HEAD);
	plinth_bytes_zero(VARDATA(key), length);

	return matches;
}

/*
 * pgcrypto's crypt(text, text), whatever schema it is in, and whoever else has
 * a function of that name there.
 */
static Oid
find_crypt(void)
{
	Oid extension = get_extension_oid("pgcrypto", true);
	Oid function = InvalidOid;
	CatCList *named;

	named = SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum("crypt"));
	for (int i = 0; i < named->n_members && OidIsValid(extension); i++)
	{
		Form_pg_proc form = (Form_pg_proc) GETSTRUCT(&named->members[i]->tuple);

		if (form->pronargs == 2 && form->proargtypes.values[0] == TEXTOID &&
			form->proargtypes.values[1] == TEXTOID &&
			form->prorettype == TEXTOID &&
			getExtensionOfObject(ProcedureRelationId, form->oid) == extension)
			function = form->oid;
	}
	ReleaseSysCacheList(named);

	if (!OidIsValid(function))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a password hash made by bcrypt cannot be checked"),
				 errdetail("The extension pgcrypto has no function crypt(text, "
						   "text) here."),
				 errhint("ALTER EXTENSION pgcrypto UPDATE")));

	return function;
}
