/*-------------------------------------------------------------------------
 *
 * relations.c
 *		OIDs of the extension's own tables, dropped by invalidation.
 *
 * The cache is a short array: the extension has a dozen tables, and a
 * backend asks for few of them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/relations.h"

#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/names.h"

#define RELATIONS_CACHED 32

typedef struct KnownRelation
{
	const char *name; /* NULL: free */
	Oid oid;
} KnownRelation;

static KnownRelation known[RELATIONS_CACHED];
static bool callback_registered = false;

static void forget_relation(Datum arg, Oid relid);

Oid
plinth_relation_oid(const char *name)
{
	Oid schema;
	Oid oid;

	for (int i = 0; i < RELATIONS_CACHED && known[i].name != NULL; i++)
		if (strcmp(known[i].name, name) == 0 && OidIsValid(known[i].oid))
			return known[i].oid;

	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(forget_relation, (Datum) 0);
		callback_registered = true;
	}

	schema = get_namespace_oid(PLINTH_SCHEMA, true);
	if (!OidIsValid(schema))
		return InvalidOid;
	oid = get_relname_relid(name, schema);
	if (!OidIsValid(oid))
		return InvalidOid;

	for (int i = 0; i < RELATIONS_CACHED; i++)
		if (known[i].name == NULL || strcmp(known[i].name, name) == 0)
		{
			known[i].name = name;
			known[i].oid = oid;
			break;
		}

	return oid;
}

Oid
plinth_relation_require(const char *name)
{
	Oid oid = plinth_relation_oid(name);

	if (!OidIsValid(oid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s.%s\" does not exist", PLINTH_SCHEMA, name),
				 errhint("Create it with CREATE EXTENSION %s CASCADE.",
						 PLINTH_EXTENSION)));
	return oid;
}

/*
 * Forget one relation, or all.  The name keeps its place.
 */
static void
forget_relation(Datum arg, Oid relid)
{
	for (int i = 0; i < RELATIONS_CACHED; i++)
		if (!OidIsValid(relid) || known[i].oid == relid)
			known[i].oid = InvalidOid;
}

/*
 * plinth.table_changed() -> trigger
 *
 * Of a table whose rows backends keep: tells all of them, by way of the
 * table's relcache entry, when the transaction commits.
 *
 * Errors: 39P01 it is not called by an AFTER trigger for each statement.
 */
PG_FUNCTION_INFO_V1(plinth_sql_base_table_changed);
Datum
plinth_sql_base_table_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function \"%s\" must be called by an AFTER trigger "
							   "for each statement",
							   "plinth.table_changed")));

	CacheInvalidateRelcache(trigger->tg_relation);

	return PointerGetDatum(NULL);
}
