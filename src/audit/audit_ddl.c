/*-------------------------------------------------------------------------
 *
 * audit_ddl.c
 *		Commands on audited tables: they leave marks, and a table that gets
 *		relatives gets the triggers that it needs then.
 *
 * Two event triggers call this.  They name the commands that can matter, so
 * that no others come here, and what comes here for a table that nobody
 * audits costs a look at its triggers.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/deparse_utility.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/own_ddl.h"

/* The schema of the log. */
#define AUDIT_SCHEMA "audit"

/* What the parts of an ALTER TABLE come to, by the kind of mark. */
typedef struct TableMarks
{
	const char *kind;
	StringInfoData text;
	List *said; /* char * */
} TableMarks;

static bool is_our_script(void);
static void see_commands(void);
static void see_command(CollectedCommand *command);
static void see_simple(CollectedCommand *command);
static void see_alter_table(CollectedCommand *command);
static void see_grant(CollectedCommand *command);
static void see_function(Oid function, const char *tag);
static void see_schema(Oid schema, const char *tag);
static void adopt_relatives(const CollectedCommand *command);
static Oid partition_of(Oid relid, const Node *command);
static void adopt_with_parents(Oid relid);
static void say(TableMarks *marks, int count, const char *kind, char *text);
static void mark_table(Oid relid, const char *kind, const char *command);
static char *rename_text(const char *tag, const Node *parsetree);
static Oid relation_of(const ObjectAddress *address, char **name);
static void see_drops(const char *tag);
static char *value_of(HeapTuple tuple, TupleDesc tupdesc, int column);

/*
 * plinth.audit_ddl() -> event_trigger
 *
 * For the events ddl_command_end and sql_drop.  Writes the marks of a command
 * on audited tables, on the log's own tables and on the functions that write
 * and guard it; none for what is our own, in a restored database that waits
 * for plinth.enable(), or where the module audit is not installed.  An error
 * is an error of the command.
 *
 * Errors: 39P03 it is not called by such a trigger.
 */
PG_FUNCTION_INFO_V1(plinth_sql_audit_ddl);
Datum
plinth_sql_audit_ddl(PG_FUNCTION_ARGS)
{
	EventTriggerData *event = (EventTriggerData *) fcinfo->context;

	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("plinth.audit_ddl() was not called as an event "
							   "trigger")));

	/* a table without parents is nobody's yet */
	if (IsA(event->parsetree, CreateStmt) &&
		((CreateStmt *) event->parsetree)->inhRelations == NIL)
		PG_RETURN_NULL();
	if (IsBinaryUpgrade || plinth_own_ddl() || is_our_script() ||
		!OidIsValid(get_namespace_oid(AUDIT_SCHEMA, true)))
		PG_RETURN_NULL();

	SPI_connect();
	if (strcmp(event->event, "sql_drop") == 0)
		see_drops(GetCommandTagName(event->tag));
	else
		see_commands();
	SPI_finish();

	PG_RETURN_NULL();
}

/*
 * Is a script of the extension running?
 */
static bool
is_our_script(void)
{
	return creating_extension &&
		   CurrentExtensionObject == get_extension_oid(PLINTH_EXTENSION, true);
}

static void
see_commands(void)
{
	SPITupleTable *commands;

	if (SPI_execute("SELECT command"
					" FROM pg_catalog.pg_event_trigger_ddl_commands()",
					false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the commands of an event trigger");
	commands = SPI_tuptable;
	for (uint64 i = 0; i < commands->numvals; i++)
	{
		bool is_null;
		Datum command =
			SPI_getbinval(commands->vals[i], commands->tupdesc, 1, &is_null);

		if (!is_null)
			see_command((CollectedCommand *) DatumGetPointer(command));
	}
	SPI_freetuptable(commands);
}

static void
see_command(CollectedCommand *command)
{
	switch (command->type)
	{
		case SCT_Simple:
			see_simple(command);
			break;
		case SCT_AlterTable:
			see_alter_table(command);
			break;
		case SCT_Grant:
			see_grant(command);
			break;
		default:
			break;
	}
}

/*
 * A command on one object: of those that belong to a table the table counts.
 */
static void
see_simple(CollectedCommand *command)
{
	const ObjectAddress *address = &command->d.simple.address;
	const char *tag = CreateCommandName(command->parsetree);
	char *name = NULL;
	Oid relid;

	if (address->classId == ProcedureRelationId)
	{
		see_function(address->objectId, tag);
		return;
	}
	if (address->classId == NamespaceRelationId)
	{
		if (IsA(command->parsetree, RenameStmt))
			see_schema(address->objectId, tag);
		return;
	}
	if (address->classId == RelationRelationId)
	{
		if (IsA(command->parsetree, CreateStmt) ||
			IsA(command->parsetree, CreateForeignTableStmt))
			adopt_with_parents(address->objectId);
		else if (IsA(command->parsetree, RenameStmt) ||
				 IsA(command->parsetree, AlterObjectSchemaStmt))
			mark_table(address->objectId, "ddl",
					   rename_text(tag, command->parsetree));
		return;
	}

	relid = relation_of(address, &name);
	if (!OidIsValid(relid))
		return;
	mark_table(relid, address->classId == PolicyRelationId ? "privilege" : "ddl",
			   IsA(command->parsetree, RenameStmt)
				   ? rename_text(tag, command->parsetree)
				   : psprintf("%s %s", tag, quote_identifier(name)));
}

static void
see_alter_table(CollectedCommand *command)
{
	TableMarks marks[] = {
		{.kind = "ddl"}, {.kind = "privilege"}, {.kind = "trigger_disabled"}};
	Oid relid = command->d.alterTable.objectId;
	AuditTriggers triggers;
	ListCell *cell;

	if (command->d.alterTable.classId != RelationRelationId)
		return;

	plinth_audit_look(relid, &triggers);
	for (int i = 0; i < (int) lengthof(marks); i++)
		initStringInfo(&marks[i].text);
	if (triggers.watched && plinth_audit_marks_wanted())
	{
		const char *tag = CreateCommandName(command->parsetree);

		foreach (cell, command->d.alterTable.subcmds)
		{
			CollectedATSubcmd *part = lfirst(cell);

			say(marks, lengthof(marks),
				plinth_audit_command_kind(part->parsetree, triggers.weakened),
				plinth_audit_command_text(part->parsetree));
		}
		for (int i = 0; i < (int) lengthof(marks); i++)
			if (marks[i].said != NIL)
				plinth_audit_write_mark(
					marks[i].kind, get_namespace_name(get_rel_namespace(relid)),
					get_rel_name(relid),
					marks[i].text.len > 0
						? psprintf("%s %s", tag, marks[i].text.data)
						: tag);
	}

	adopt_relatives(command);
}

/*
 * Add a part of a command to the mark of its kind; what is done to many
 * partitions is said once.
 */
static void
say(TableMarks *marks, int count, const char *kind, char *text)
{
	for (int i = 0; i < count; i++)
	{
		ListCell *cell;
		bool known = text == NULL;

		if (strcmp(marks[i].kind, kind) != 0)
			continue;
		foreach (cell, marks[i].said)
			known = known || strcmp(lfirst(cell), text) == 0;
		if (!known)
			appendStringInfo(&marks[i].text, "%s%s",
							 marks[i].text.len > 0 ? ", " : "", text);
		marks[i].said = lappend(marks[i].said, text != NULL ? text : "");
	}
}

/*
 * See to the tables that an ALTER TABLE has made relatives, or has parted.
 */
static void
adopt_relatives(const CollectedCommand *command)
{
	Oid relid = command->d.alterTable.objectId;
	ListCell *cell;

	foreach (cell, command->d.alterTable.subcmds)
	{
		CollectedATSubcmd *part = lfirst(cell);

		if (!IsA(part->parsetree, AlterTableCmd))
			continue;
		switch (((AlterTableCmd *) part->parsetree)->subtype)
		{
			case AT_AddInherit:
				adopt_with_parents(relid);
				break;
			case AT_AttachPartition:
				plinth_audit_adopt(partition_of(relid, part->parsetree));
				break;
			case AT_DetachPartition:
			case AT_DetachPartitionFinalize:
				plinth_audit_adopt_detached(partition_of(relid, part->parsetree),
											relid);
				break;
			default:
				break;
		}
	}
}

/*
 * The table that has become a partition, or is none any more, by its name in
 * the command; InvalidOid for an index.
 */
static Oid
partition_of(Oid relid, const Node *command)
{
	const PartitionCmd *partition =
		castNode(PartitionCmd, ((const AlterTableCmd *) command)->def);

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return InvalidOid;

	return RangeVarGetRelid(partition->name, NoLock, true);
}

/*
 * A new child: its parents come first, for it is audited as they are.
 */
static void
adopt_with_parents(Oid relid)
{
	Relation catalog = table_open(InheritsRelationId, AccessShareLock);
	List *parents = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	ListCell *cell;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, InheritsRelidSeqnoIndexId, true, NULL, 1,
							  &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		parents = lappend_oid(parents,
							  ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	foreach (cell, parents)
		plinth_audit_adopt(lfirst_oid(cell));
	plinth_audit_adopt(relid);
}

static void
see_grant(CollectedCommand *command)
{
	const InternalGrant *grant = command->d.grant.istmt;
	ListCell *cell;

	if (grant->objtype != OBJECT_TABLE)
		return;
	foreach (cell, grant->objects)
		mark_table(lfirst_oid(cell), "privilege", plinth_audit_grant_text(grant));
}

/*
 * A function that writes or guards the log: all of schema audit, and the C
 * behind it.
 */
static void
see_function(Oid function, const char *tag)
{
	char *name = get_func_name(function);
	char *schema = get_namespace_name(get_func_namespace(function));

	if (name == NULL || schema == NULL ||
		(strcmp(schema, AUDIT_SCHEMA) != 0 &&
		 (strcmp(schema, PLINTH_SCHEMA) != 0 ||
		  strncmp(name, "audit_", strlen("audit_")) != 0)))
		return;
	if (plinth_audit_marks_wanted())
		plinth_audit_write_mark(
			"ddl", schema, NULL,
			psprintf("%s %s", tag, format_procedure_qualified(function)));
}

/*
 * A schema has another name: so have its tables, in the log as well.
 */
static void
see_schema(Oid schema, const char *tag)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(schema)};
	SPITupleTable *tables;

	if (SPI_execute_with_args(
			"SELECT oid FROM pg_catalog.pg_class"
			" WHERE relnamespace OPERATOR(pg_catalog.=) $1 AND relhastriggers"
			" ORDER BY relname",
			1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the tables of a schema");
	tables = SPI_tuptable;
	for (uint64 i = 0; i < tables->numvals; i++)
	{
		bool is_null;

		mark_table(DatumGetObjectId(SPI_getbinval(tables->vals[i],
												  tables->tupdesc, 1, &is_null)),
				   "ddl", psprintf("%s RENAME", tag));
	}
	SPI_freetuptable(tables);
}

/*
 * Write a mark if the table is audited or one of the log's own.
 */
static void
mark_table(Oid relid, const char *kind, const char *command)
{
	AuditTriggers triggers;

	plinth_audit_look(relid, &triggers);
	if (triggers.watched && plinth_audit_marks_wanted())
		plinth_audit_write_mark(kind,
								get_namespace_name(get_rel_namespace(relid)),
								get_rel_name(relid), command);
}

/*
 * What was renamed or moved: the mark has the new name, its text the old one.
 */
static char *
rename_text(const char *tag, const Node *parsetree)
{
	const RenameStmt *rename = (const RenameStmt *) parsetree;

	if (!IsA(parsetree, RenameStmt))
		return psprintf("%s SET SCHEMA", tag);
	if (rename->subname != NULL)
		return psprintf("%s%s %s RENAME TO %s", tag,
						rename->renameType == OBJECT_COLUMN ? " COLUMN" : "",
						quote_identifier(rename->subname),
						quote_identifier(rename->newname));

	return psprintf("%s RENAME, from %s", tag,
					quote_identifier(rename->relation->relname));
}

/*
 * The table that a trigger, rule or policy belongs to, and its name;
 * InvalidOid for everything else.
 */
static Oid
relation_of(const ObjectAddress *address, char **name)
{
	AttrNumber key;
	Oid index;
	Oid relid = InvalidOid;
	Relation catalog;
	ScanKeyData scan_key;
	SysScanDesc scan;
	HeapTuple tuple;

	switch (address->classId)
	{
		case TriggerRelationId:
			key = Anum_pg_trigger_oid;
			index = TriggerOidIndexId;
			break;
		case RewriteRelationId:
			key = Anum_pg_rewrite_oid;
			index = RewriteOidIndexId;
			break;
		case PolicyRelationId:
			key = Anum_pg_policy_oid;
			index = PolicyOidIndexId;
			break;
		default:
			return InvalidOid;
	}

	catalog = table_open(address->classId, AccessShareLock);
	ScanKeyInit(&scan_key, key, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(address->objectId));
	scan = systable_beginscan(catalog, index, true, NULL, 1, &scan_key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		switch (address->classId)
		{
			case TriggerRelationId:
				relid = ((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid;
				*name = pstrdup(
					NameStr(((Form_pg_trigger) GETSTRUCT(tuple))->tgname));
				break;
			case RewriteRelationId:
				relid = ((Form_pg_rewrite) GETSTRUCT(tuple))->ev_class;
				*name = pstrdup(
					NameStr(((Form_pg_rewrite) GETSTRUCT(tuple))->rulename));
				break;
			default:
				relid = ((Form_pg_policy) GETSTRUCT(tuple))->polrelid;
				*name = pstrdup(
					NameStr(((Form_pg_policy) GETSTRUCT(tuple))->polname));
				break;
		}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);

	return relid;
}

/*
 * What has gone can no longer be looked at: a table was audited, or one of
 * the log's own, if one of our triggers has gone with it.
 */
static void
see_drops(const char *tag)
{
	SPITupleTable *drops;
	int guc_level;

	if (!plinth_audit_marks_wanted())
		return;

	guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (SPI_execute(
			"WITH gone AS MATERIALIZED ("
			" SELECT object_type AS type, address_names AS names,"
			"  object_identity AS identity"
			" FROM pg_event_trigger_dropped_objects() WHERE NOT is_temporary),"
			" parts AS ("
			" SELECT p.names[1] AS schema, p.names[2] AS relation, p.type,"
			"  p.names[3] AS name,"
			"  EXISTS (SELECT FROM gone AS t WHERE t.names = p.names[1:2]"
			"   AND t.type IN ('table', 'foreign table')) AS with_table,"
			"  p.type = 'trigger' AND (p.names[3] LIKE E'plinth\\\\_audit%'"
			"   OR p.names[1] = '" AUDIT_SCHEMA "'"
			"   AND p.names[3] ~ '_immutable(_row|_truncate)?$') AS ours"
			" FROM gone AS p WHERE p.type IN ('trigger', 'rule', 'policy'))"
			" SELECT schema, relation, with_table, bool_or(ours),"
			"  string_agg(format('DROP %s %I', upper(type), name), ', '"
			"   ORDER BY type, name) FILTER (WHERE type <> 'policy'),"
			"  string_agg(format('DROP POLICY %I', name), ', ' ORDER BY name)"
			"   FILTER (WHERE type = 'policy')"
			" FROM parts GROUP BY schema, relation, with_table"
			" UNION ALL"
			" SELECT names[1], NULL, true, true,"
			"  format('DROP FUNCTION %s', identity), NULL"
			" FROM gone WHERE type = 'function' AND (names[1] = '" AUDIT_SCHEMA
			"' OR names[1] = '" PLINTH_SCHEMA "' AND names[2] LIKE E'audit\\\\_%')"
			" ORDER BY 1, 2",
			false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read what was dropped");
	drops = SPI_tuptable;
	for (uint64 i = 0; i < drops->numvals; i++)
	{
		char *schema = value_of(drops->vals[i], drops->tupdesc, 1);
		char *table = value_of(drops->vals[i], drops->tupdesc, 2);
		bool with_table =
			strcmp(value_of(drops->vals[i], drops->tupdesc, 3), "t") == 0;
		bool watched =
			strcmp(value_of(drops->vals[i], drops->tupdesc, 4), "t") == 0;
		char *changes = value_of(drops->vals[i], drops->tupdesc, 5);
		char *policies = value_of(drops->vals[i], drops->tupdesc, 6);

		if (!watched && !with_table)
		{
			Oid relid = get_relname_relid(table, get_namespace_oid(schema, true));
			AuditTriggers triggers;

			plinth_audit_look(relid, &triggers);
			watched = triggers.watched;
		}
		if (!watched)
			continue;
		if (with_table && table != NULL)
			plinth_audit_write_mark("ddl", schema, table, tag);
		else
		{
			if (changes != NULL)
				plinth_audit_write_mark("ddl", schema, table, changes);
			if (policies != NULL)
				plinth_audit_write_mark("privilege", schema, table, policies);
		}
	}
	SPI_freetuptable(drops);
	AtEOXact_GUC(true, guc_level);
}

static char *
value_of(HeapTuple tuple, TupleDesc tupdesc, int column)
{
	return SPI_getvalue(tuple, tupdesc, column);
}
