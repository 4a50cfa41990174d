/*-------------------------------------------------------------------------
 *
 * secrets_columns.c
 *		Which columns hold sealed values, and under which keys these are.
 *
 * The rows of plinth.sealed_columns are names: what they name is looked up
 * each time, and may be gone.  Tables are read as plinth_owner, who is also
 * the one that writes the rows, so that a name can lead to nothing that its
 * writer could not do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "secrets/secrets_internal.h"

#include "access/htup_details.h"
#include "base/compat.h"
#include "base/names.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

/* The identity that has been put aside. */
typedef struct SavedUser
{
	Oid user;
	int context;
} SavedUser;

static SavedUser become_owner(void);
static void become_again(SavedUser saved);
static bool quoted_names(const SecretsColumn *column, const char **relation,
						 const char **attribute);

List *
plinth_secrets_columns(void)
{
	MemoryContext caller = CurrentMemoryContext;
	SavedUser saved = become_owner();
	List *columns = NIL;

	SPI_connect();
	if (SPI_execute("SELECT c.relation, c.column_name, c.reseal_function"
					" FROM plinth.sealed_columns AS c"
					" ORDER BY c.relation COLLATE pg_catalog.\"C\","
					" c.column_name COLLATE pg_catalog.\"C\"",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the columns of sealed values");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		MemoryContext inner = MemoryContextSwitchTo(caller);
		SecretsColumn *column = palloc(sizeof(SecretsColumn));

		column->relation = pstrdup(SPI_getvalue(row, desc, 1));
		column->column = pstrdup(SPI_getvalue(row, desc, 2));
		column->function = pstrdup(SPI_getvalue(row, desc, 3));
		columns = lappend(columns, column);
		MemoryContextSwitchTo(inner);
	}
	SPI_finish();
	become_again(saved);

	return columns;
}

bool
plinth_secrets_count(const SecretsColumn *column, int16 key_id, int64 *under,
					 int64 *others)
{
	Oid types[] = {INT4OID};
	Datum values[] = {Int32GetDatum(key_id)};
	const char *relation;
	const char *attribute;
	SavedUser saved;
	bool isnull;

	/* the owner finds the table; the caller may not see its schema */
	saved = become_owner();
	if (!quoted_names(column, &relation, &attribute))
	{
		become_again(saved);
		return false;
	}
	SPI_connect();
	/* what is too short to be sealed is counted with the others */
	if (SPI_execute_with_args(
			psprintf("SELECT pg_catalog.count(*) FILTER (WHERE v.key_id"
					 " OPERATOR(pg_catalog.=) $1),"
					 " pg_catalog.count(*) FILTER (WHERE v.key_id"
					 " OPERATOR(pg_catalog.<>) $1)"
					 " FROM (SELECT CASE WHEN pg_catalog.octet_length(t.%s)"
					 " OPERATOR(pg_catalog.>=) %d THEN"
					 " pg_catalog.get_byte(pg_catalog.substr(t.%s, 1, 3), 1)"
					 " OPERATOR(pg_catalog.*) 256 OPERATOR(pg_catalog.+)"
					 " pg_catalog.get_byte(pg_catalog.substr(t.%s, 1, 3), 2)"
					 " ELSE -1 END AS key_id"
					 " FROM %s AS t WHERE t.%s IS NOT NULL) AS v",
					 attribute, SECRETS_BOX_OVERHEAD, attribute, attribute,
					 relation, attribute),
			lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count sealed values");
	*under = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 1, &isnull));
	*others = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 2, &isnull));
	SPI_finish();
	become_again(saved);

	return true;
}

void
plinth_secrets_require_unused(int16 key_id)
{
	ListCell *cell;

	foreach (cell, plinth_secrets_columns())
	{
		const SecretsColumn *column = lfirst(cell);
		int64 under;
		int64 others;

		if (plinth_secrets_count(column, key_id, &under, &others) && under > 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot revoke key %d", key_id),
					 errdetail("Column \"%s\" of table %s has " INT64_FORMAT
							   " values that are sealed with it.",
							   column->column, column->relation, under),
					 errhint("Call plinth.rotate_keys(), and wait until "
							 "plinth.stat_rotation has nothing remaining.")));
	}
}

/*
 * An error puts the caller's identity back with the (sub)transaction.
 */
static SavedUser
become_owner(void)
{
	SavedUser saved;

	GetUserIdAndSecContext(&saved.user, &saved.context);
	SetUserIdAndSecContext(get_role_oid(PLINTH_OWNER_ROLE, false),
						   saved.context | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);

	return saved;
}

static void
become_again(SavedUser saved)
{
	SetUserIdAndSecContext(saved.user, saved.context);
}

/*
 * The names of a column as a query needs them, if it is a column of bytea.
 */
static bool
quoted_names(const SecretsColumn *column, const char **relation,
			 const char **attribute)
{
	RangeVar *name = makeRangeVarFromNameList(
		textToQualifiedNameList(cstring_to_text(column->relation)));
	Oid oid;
	AttrNumber number;

	if (name->schemaname == NULL)
		return false;
	oid = RangeVarGetRelid(name, NoLock, true);
	if (!OidIsValid(oid))
		return false;
	number = get_attnum(oid, column->column);
	if (number == InvalidAttrNumber || get_atttype(oid, number) != BYTEAOID)
		return false;

	*relation = quote_qualified_identifier(name->schemaname, name->relname);
	*attribute = quote_identifier(column->column);
	return true;
}
