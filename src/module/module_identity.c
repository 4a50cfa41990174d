/*-------------------------------------------------------------------------
 *
 * module_identity.c
 *		What is installed here, and is this the database it was enabled in?
 *
 * A database is told apart by the system identifier of its cluster and by its
 * OID: a restored, cloned or upgraded one differs in at least one of them
 * (S6.3).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/relations.h"
#include "module/module_internal.h"

/* Columns of plinth.installed_modules, as 10_module.sql has them. */
enum
{
	INSTALLED_MODULE = 1,
	INSTALLED_SCHEMA,
	INSTALLED_VERSION,
	INSTALLED_JOINED,
	INSTALLED_SYSTEM_IDENTIFIER,
	INSTALLED_DATABASE_OID,
	INSTALLED_ERA
};

static ModuleInstance *read_instance(TupleTableSlot *slot);
static Datum column(TupleTableSlot *slot, AttrNumber number);
static List *text_array_to_list(Datum array);
static int compare_instances(const ListCell *a, const ListCell *b);

/*
 * The table is read under the newest snapshot, not the transaction's: in a
 * repeatable-read transaction too the caller must see what the transaction
 * that held the install lock before it has committed.
 */
List *
plinth_module_instances(void)
{
	List *instances = NIL;
	Oid oid = plinth_relation_oid("installed_modules");
	Relation relation;
	TupleTableSlot *slot;
	TableScanDesc scan;
	Snapshot snapshot;

	if (!OidIsValid(oid))
		return NIL;

	/* what this transaction has written itself is seen too */
	CommandCounterIncrement();
	relation = table_open(oid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	slot = table_slot_create(relation, NULL);
	scan = table_beginscan(relation, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		instances = lappend(instances, read_instance(slot));
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);

	list_sort(instances, compare_instances);
	return instances;
}

bool
plinth_module_installed(const char *module)
{
	ListCell *cell;

	foreach (cell, plinth_module_instances())
	{
		ModuleInstance *instance = lfirst(cell);

		if (strcmp(instance->module, module) == 0)
			return true;
	}
	return false;
}

bool
plinth_module_identity_matches(void)
{
	uint64 system_identifier = GetSystemIdentifier();
	ListCell *cell;

	foreach (cell, plinth_module_instances())
	{
		ModuleInstance *instance = lfirst(cell);

		if (instance->system_identifier != system_identifier ||
			instance->database_oid != MyDatabaseId)
			return false;
	}
	return true;
}

static ModuleInstance *
read_instance(TupleTableSlot *slot)
{
	ModuleInstance *instance = palloc0(sizeof(ModuleInstance));

	instance->module = TextDatumGetCString(column(slot, INSTALLED_MODULE));
	instance->schema = TextDatumGetCString(column(slot, INSTALLED_SCHEMA));
	instance->version = TextDatumGetCString(column(slot, INSTALLED_VERSION));
	instance->joined = text_array_to_list(column(slot, INSTALLED_JOINED));
	/* bigint holds the 64 bits of the identifier, whatever their sign */
	instance->system_identifier =
		(uint64) DatumGetInt64(column(slot, INSTALLED_SYSTEM_IDENTIFIER));
	instance->database_oid =
		DatumGetObjectId(column(slot, INSTALLED_DATABASE_OID));
	instance->era = DatumGetInt16(column(slot, INSTALLED_ERA));
	return instance;
}

/*
 * A column that the table declares NOT NULL.
 */
static Datum
column(TupleTableSlot *slot, AttrNumber number)
{
	bool isnull;
	Datum value = slot_getattr(slot, number, &isnull);

	if (isnull)
		elog(ERROR, "null in column %d of plinth.installed_modules",
			 (int) number);
	return value;
}

static List *
text_array_to_list(Datum array)
{
	Datum *elements;
	bool *nulls;
	int count;
	List *list = NIL;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			list = lappend(list, TextDatumGetCString(elements[i]));
	return list;
}

static int
compare_instances(const ListCell *a, const ListCell *b)
{
	const ModuleInstance *left = lfirst(a);
	const ModuleInstance *right = lfirst(b);
	int order = strcmp(left->module, right->module);

	return order != 0 ? order : strcmp(left->schema, right->schema);
}
