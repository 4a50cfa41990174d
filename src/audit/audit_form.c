/*-------------------------------------------------------------------------
 *
 * audit_form.c
 *		The audit triggers of a table: which it has, which it must have.
 *
 * A plain table has one trigger for each event, with transition tables.  A
 * partitioned table and a table of an inheritance tree have a row trigger:
 * there a statement on another table reaches the rows.  So the form changes
 * when a table gets its first relative.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "access/relation.h"
#include "catalog/partition.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/reltrigger.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/own_ddl.h"

/* The triggers of both forms. */
static const struct
{
	const char *form; /* NULL: both */
	const char *name;
	const char *event;
	const char *level;
	const char *function;
	bool has_lists; /* its arguments: the redacted and the ignored columns */
} trigger_forms[] = {
	{"row", "plinth_audit_row", "AFTER INSERT OR UPDATE OR DELETE",
	 "FOR EACH ROW", "audit_row", true},
	{"statement", "plinth_audit_insert", "AFTER INSERT",
	 "REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT", "audit_statement",
	 true},
	{"statement", "plinth_audit_update", "AFTER UPDATE",
	 "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"
	 " FOR EACH STATEMENT",
	 "audit_statement", true},
	{"statement", "plinth_audit_delete", "AFTER DELETE",
	 "REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT", "audit_statement",
	 true},
	{NULL, "plinth_audit_truncate", "AFTER TRUNCATE", "FOR EACH STATEMENT",
	 "audit_statement", true},
	/* fires where the others do not, and says so */
	{NULL, "plinth_audit_replica", "BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE",
	 "FOR EACH STATEMENT", "audit_mark", false},
};

/* What is to be done to a table. */
typedef struct FormChange
{
	Oid relid;
	const char *form; /* row or statement; NULL: no triggers */
	const char *redacted;
	const char *ignored;
} FormChange;

static void change_form(void *arg);
static void drop_other_triggers(const char *table, Oid relid, const char *form);
static bool belongs_to(const char *name, const char *form);
static void run(const char *command);
static char *table_name(Oid relid);
static Oid function_oid(const char *schema, const char *name);
static void set_form(Oid relid, const char *form, const char *redacted,
					 const char *ignored);
static void adopt_child(Oid relid, const AuditTriggers *parent);

/*
 * plinth.audit_set_triggers(relation oid, form text, redact text, ignore text)
 *		-> void
 *
 * Give a table the audit triggers of one form, "row" or "statement", in
 * place of those that it has, or take them away when form is NULL.  What
 * audit.attach() and audit.detach() do; rights are the caller's.  It leaves
 * no marks.
 *
 *	redact, ignore	text[] literals
 *
 * Errors: 22023 another form; 42501 not the table's owner; 42P01 no such
 * table.
 */
PG_FUNCTION_INFO_V1(plinth_sql_audit_set_triggers);
Datum
plinth_sql_audit_set_triggers(PG_FUNCTION_ARGS)
{
	FormChange change = {.redacted = "{}", .ignored = "{}"};

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("cannot audit a table that is null")));
	change.relid = PG_GETARG_OID(0);
	if (!PG_ARGISNULL(1))
		change.form = text_to_cstring(PG_GETARG_TEXT_PP(1));
	if (!PG_ARGISNULL(2))
		change.redacted = text_to_cstring(PG_GETARG_TEXT_PP(2));
	if (!PG_ARGISNULL(3))
		change.ignored = text_to_cstring(PG_GETARG_TEXT_PP(3));
	if (change.form != NULL && strcmp(change.form, "row") != 0 &&
		strcmp(change.form, "statement") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unknown form \"%s\" of audit triggers", change.form),
				 errhint("Use audit.attach().")));

	plinth_own_ddl_run(change_form, &change);

	PG_RETURN_VOID();
}

static void
change_form(void *arg)
{
	const FormChange *change = arg;
	char *table = table_name(change->relid);
	char *lists = NULL;

	if (change->form != NULL)
		lists = psprintf("%s, %s", quote_literal_cstr(change->redacted),
						 quote_literal_cstr(change->ignored));

	SPI_connect();
	drop_other_triggers(table, change->relid, change->form);
	for (int i = 0; change->form != NULL && i < (int) lengthof(trigger_forms); i++)
		if (belongs_to(trigger_forms[i].name, change->form))
			run(psprintf("CREATE OR REPLACE TRIGGER %s %s ON %s %s"
						 " EXECUTE FUNCTION " PLINTH_SCHEMA ".%s(%s)",
						 trigger_forms[i].name, trigger_forms[i].event, table,
						 trigger_forms[i].level, trigger_forms[i].function,
						 trigger_forms[i].has_lists ? lists : ""));
	if (change->form != NULL)
		run(psprintf("ALTER TABLE ONLY %s"
					 " ENABLE ALWAYS TRIGGER plinth_audit_replica",
					 table));
	SPI_finish();
}

/*
 * Drop the audit triggers that are not of the form; those that are will be
 * replaced in place.
 */
static void
drop_other_triggers(const char *table, Oid relid, const char *form)
{
	Oid types[] = {OIDOID};
	Datum values[] = {ObjectIdGetDatum(relid)};
	SPITupleTable *found;

	if (SPI_execute_with_args(
			"SELECT tgname::pg_catalog.text FROM pg_catalog.pg_trigger"
			" WHERE tgrelid OPERATOR(pg_catalog.=) $1 AND NOT tgisinternal"
			" AND tgparentid OPERATOR(pg_catalog.=) 0"
			" AND tgname OPERATOR(pg_catalog.~~) E'plinth\\\\_audit%'"
			" ORDER BY tgname",
			1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the audit triggers of a table");
	found = SPI_tuptable;
	for (uint64 i = 0; i < found->numvals; i++)
	{
		char *name = SPI_getvalue(found->vals[i], found->tupdesc, 1);

		if (form == NULL || !belongs_to(name, form))
			run(psprintf("DROP TRIGGER %s ON %s", quote_identifier(name), table));
	}
	SPI_freetuptable(found);
}

static bool
belongs_to(const char *name, const char *form)
{
	for (int i = 0; i < (int) lengthof(trigger_forms); i++)
		if (strcmp(trigger_forms[i].name, name) == 0)
			return trigger_forms[i].form == NULL ||
				   strcmp(trigger_forms[i].form, form) == 0;

	return false;
}

static void
run(const char *command)
{
	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not run: %s", command);
}

/*
 * The quoted name of a table.
 */
static char *
table_name(Oid relid)
{
	char *name = get_rel_name(relid);

	if (name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("table with OID %u does not exist", relid)));

	return quote_qualified_identifier(
		get_namespace_name(get_rel_namespace(relid)), name);
}

/*
 * Look which triggers of ours a table has.
 */
void
plinth_audit_look(Oid relid, AuditTriggers *triggers)
{
	Oid row = function_oid(PLINTH_SCHEMA, "audit_row");
	Oid statement = function_oid(PLINTH_SCHEMA, "audit_statement");
	Oid mark = function_oid(PLINTH_SCHEMA, "audit_mark");
	Oid guard = function_oid("audit", "refuse_change");
	Relation rel = try_relation_open(relid, AccessShareLock);

	memset(triggers, 0, sizeof(AuditTriggers));
	if (rel == NULL)
		return;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];
		bool always = trigger->tgfoid == mark || trigger->tgfoid == guard;
		bool records = trigger->tgfoid == row || trigger->tgfoid == statement;

		if (!OidIsValid(trigger->tgfoid) || !(always || records))
			continue;
		triggers->watched = true;
		if (trigger->tgenabled != TRIGGER_FIRES_ALWAYS &&
			(always || trigger->tgenabled != TRIGGER_FIRES_ON_ORIGIN))
			triggers->weakened = true;
		if (!records || trigger->tgnargs != 2)
			continue;
		if (trigger->tgisclone)
			triggers->cloned = true;
		else
			triggers->own = true;
		if (trigger->tgfoid == statement && !TRIGGER_FOR_TRUNCATE(trigger->tgtype))
			triggers->by_statement = true;
		if (triggers->redacted == NULL || !trigger->tgisclone)
		{
			triggers->redacted = pstrdup(trigger->tgargs[0]);
			triggers->ignored = pstrdup(trigger->tgargs[1]);
		}
	}
	relation_close(rel, AccessShareLock);
}

static Oid
function_oid(const char *schema, const char *name)
{
	return LookupFuncName(
		list_make2(makeString(pstrdup(schema)), makeString(pstrdup(name))), 0,
		NULL, true);
}

/*
 * A table has become a child, a parent or a partition: give it, and those
 * that inherit from it, the triggers that they must have now.
 *
 * Errors: 55000 a partition has a list of redacted or ignored columns other
 * than that of the table that it has come to; 42809 a child cannot be
 * audited.
 */
void
plinth_audit_adopt(Oid relid)
{
	AuditTriggers triggers;
	List *children;
	ListCell *cell;

	if (!OidIsValid(relid))
		return;
	plinth_audit_look(relid, &triggers);
	if (triggers.own && triggers.cloned)
	{
		AuditTriggers parent;

		plinth_audit_look(get_partition_parent(relid, true), &parent);
		if (parent.redacted != NULL &&
			(strcmp(parent.redacted, triggers.redacted) != 0 ||
			 strcmp(parent.ignored, triggers.ignored) != 0))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("cannot audit partition %s by itself",
							table_name(relid)),
					 errdetail("It is audited with the table that it becomes a "
							   "partition of, which redacts or ignores other "
							   "columns."),
					 errhint("Call audit.detach() for it first.")));
		set_form(relid, NULL, NULL, NULL);
		return;
	}
	if (!triggers.own)
		return;

	if (triggers.by_statement && (has_subclass(relid) || has_superclass(relid)))
		set_form(relid, "row", triggers.redacted, triggers.ignored);
	if (get_rel_relkind(relid) != RELKIND_RELATION)
		return;

	children = find_all_inheritors(relid, AccessShareLock, NULL);
	foreach (cell, children)
		if (lfirst_oid(cell) != relid)
			adopt_child(lfirst_oid(cell), &triggers);
}

/*
 * A child is audited with the table that it inherits from; one that was
 * audited before keeps its own lists of columns.
 */
static void
adopt_child(Oid relid, const AuditTriggers *parent)
{
	AuditTriggers triggers;

	plinth_audit_look(relid, &triggers);
	if (triggers.own && !triggers.by_statement)
		return;
	if (get_rel_relkind(relid) != RELKIND_RELATION ||
		get_rel_persistence(relid) == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot audit %s", table_name(relid)),
				 errdetail("It inherits from a table that is audited, and only "
						   "permanent tables can be audited.")));
	if (triggers.own)
		set_form(relid, "row", triggers.redacted, triggers.ignored);
	else
		set_form(relid, "row", parent->redacted, parent->ignored);
}

/*
 * A partition of an audited table stands alone: it stays audited.
 */
void
plinth_audit_adopt_detached(Oid partition, Oid parent)
{
	AuditTriggers triggers;
	AuditTriggers before;

	if (!OidIsValid(partition))
		return;
	plinth_audit_look(partition, &triggers);
	plinth_audit_look(parent, &before);
	if (triggers.watched || before.redacted == NULL ||
		(get_rel_relkind(partition) != RELKIND_RELATION &&
		 get_rel_relkind(partition) != RELKIND_PARTITIONED_TABLE))
		return;

	set_form(partition,
			 get_rel_relkind(partition) == RELKIND_PARTITIONED_TABLE
				 ? "row"
				 : "statement",
			 before.redacted, before.ignored);
}

/*
 * Change the form of a table as the superuser that made the cluster: whoever
 * may make a child of an audited table need not have the right to audit one.
 * No code but the server's runs meanwhile.
 */
static void
set_form(Oid relid, const char *form, const char *redacted, const char *ignored)
{
	FormChange change = {
		.relid = relid, .form = form, .redacted = redacted, .ignored = ignored};
	Oid user;
	int context;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   context | SECURITY_LOCAL_USERID_CHANGE);
	plinth_own_ddl_run(change_form, &change);
	SetUserIdAndSecContext(user, context);
}
