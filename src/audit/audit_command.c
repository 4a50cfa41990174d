/*-------------------------------------------------------------------------
 *
 * audit_command.c
 *		What a command did to a table, in the words of a mark.
 *
 * Names of columns, triggers and roles are said; expressions, defaults and
 * literals are not, for they may hold what nobody should read.  Pure over
 * parse trees, but for the names of roles.
 *
 *-------------------------------------------------------------------------
 */
#include "audit/audit_internal.h"

#include "miscadmin.h"
#include "nodes/value.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "base/compat.h"

/* Commands that a mark names; all others are changes of some kind. */
static const struct
{
	AlterTableType type;
	const char *text;
	const char *kind; /* NULL: ddl */
	bool is_trigger;  /* it says which triggers fire */
} command_texts[] = {
	{AT_AddColumn, "ADD COLUMN", NULL, false},
	{AT_DropColumn, "DROP COLUMN", NULL, false},
	{AT_AlterColumnType, "ALTER COLUMN TYPE", NULL, false},
	{AT_ColumnDefault, "ALTER COLUMN DEFAULT", NULL, false},
	{AT_SetNotNull, "SET NOT NULL", NULL, false},
	{AT_DropNotNull, "DROP NOT NULL", NULL, false},
	{AT_DropExpression, "DROP EXPRESSION", NULL, false},
	{AT_AddConstraint, "ADD CONSTRAINT", NULL, false},
	{AT_AddIndexConstraint, "ADD CONSTRAINT", NULL, false},
	{AT_DropConstraint, "DROP CONSTRAINT", NULL, false},
	{AT_AlterConstraint, "ALTER CONSTRAINT", NULL, false},
	{AT_ChangeOwner, "OWNER TO", "privilege", false},
	{AT_EnableRowSecurity, "ENABLE ROW LEVEL SECURITY", "privilege", false},
	{AT_DisableRowSecurity, "DISABLE ROW LEVEL SECURITY", "privilege", false},
	{AT_ForceRowSecurity, "FORCE ROW LEVEL SECURITY", "privilege", false},
	{AT_NoForceRowSecurity, "NO FORCE ROW LEVEL SECURITY", "privilege", false},
	{AT_EnableTrig, "ENABLE TRIGGER", NULL, true},
	{AT_EnableAlwaysTrig, "ENABLE ALWAYS TRIGGER", NULL, true},
	{AT_EnableReplicaTrig, "ENABLE REPLICA TRIGGER", NULL, true},
	{AT_DisableTrig, "DISABLE TRIGGER", NULL, true},
	{AT_EnableTrigAll, "ENABLE TRIGGER ALL", NULL, true},
	{AT_DisableTrigAll, "DISABLE TRIGGER ALL", NULL, true},
	{AT_EnableTrigUser, "ENABLE TRIGGER USER", NULL, true},
	{AT_DisableTrigUser, "DISABLE TRIGGER USER", NULL, true},
	{AT_EnableRule, "ENABLE RULE", NULL, false},
	{AT_EnableAlwaysRule, "ENABLE ALWAYS RULE", NULL, false},
	{AT_EnableReplicaRule, "ENABLE REPLICA RULE", NULL, false},
	{AT_DisableRule, "DISABLE RULE", NULL, false},
	{AT_AddInherit, "INHERIT", NULL, false},
	{AT_DropInherit, "NO INHERIT", NULL, false},
	{AT_AttachPartition, "ATTACH PARTITION", NULL, false},
	{AT_DetachPartition, "DETACH PARTITION", NULL, false},
	{AT_DetachPartitionFinalize, "DETACH PARTITION", NULL, false},
	{AT_ReplicaIdentity, "REPLICA IDENTITY", NULL, false},
	{AT_SetLogged, "SET LOGGED", NULL, false},
	{AT_SetUnLogged, "SET UNLOGGED", NULL, false},
};

static const struct
{
	AclMode right;
	const char *text;
} right_texts[] = {
	{ACL_SELECT, "SELECT"},		{ACL_INSERT, "INSERT"},
	{ACL_UPDATE, "UPDATE"},		{ACL_DELETE, "DELETE"},
	{ACL_TRUNCATE, "TRUNCATE"}, {ACL_REFERENCES, "REFERENCES"},
	{ACL_TRIGGER, "TRIGGER"},
};

static int find_command(const AlterTableCmd *command);
static const char *object_name(const AlterTableCmd *command);
static const char *role_name(const RoleSpec *role);
static char *column_right(const AccessPriv *right);
static void append_item(StringInfo list, const char *item);

/*
 * The kind of mark that a part of ALTER TABLE leaves.
 *
 *	weakened	a trigger of ours does not fire as it should, now that the
 *				command is over
 */
const char *
plinth_audit_command_kind(Node *command, bool weakened)
{
	int i = IsA(command, AlterTableCmd) ? find_command((AlterTableCmd *) command)
										: -1;

	if (i >= 0 && command_texts[i].is_trigger && weakened)
		return "trigger_disabled";
	if (i >= 0 && command_texts[i].kind != NULL)
		return command_texts[i].kind;

	return "ddl";
}

/*
 * The words for a part of ALTER TABLE; NULL when there are none.
 */
char *
plinth_audit_command_text(Node *command)
{
	const char *name;
	int i;

	if (!IsA(command, AlterTableCmd))
		return NULL;
	i = find_command((AlterTableCmd *) command);
	if (i < 0)
		return NULL;
	name = object_name((AlterTableCmd *) command);

	return name == NULL
			   ? pstrdup(command_texts[i].text)
			   : psprintf("%s %s", command_texts[i].text, quote_identifier(name));
}

static int
find_command(const AlterTableCmd *command)
{
	AlterTableType type = plinth_alter_table_type(command->subtype);

	for (int i = 0; i < (int) lengthof(command_texts); i++)
		if (command_texts[i].type == type)
			return i;

	return -1;
}

/*
 * What the command is about, when that has a name.
 */
static const char *
object_name(const AlterTableCmd *command)
{
	if (command->newowner != NULL)
		return role_name(command->newowner);
	if (command->name != NULL)
		return command->name;
	if (command->def == NULL)
		return NULL;
	if (IsA(command->def, ColumnDef))
		return ((ColumnDef *) command->def)->colname;
	if (IsA(command->def, Constraint))
		return ((Constraint *) command->def)->conname;
	if (IsA(command->def, RangeVar))
		return ((RangeVar *) command->def)->relname;
	if (IsA(command->def, PartitionCmd))
		return ((PartitionCmd *) command->def)->name->relname;

	return NULL;
}

static const char *
role_name(const RoleSpec *role)
{
	return role->roletype == ROLESPEC_CSTRING
			   ? role->rolename
			   : GetUserNameFromId(get_rolespec_oid(role, false), true);
}

/*
 * The words for GRANT and REVOKE.
 */
char *
plinth_audit_grant_text(const InternalGrant *grant)
{
	StringInfoData rights;
	StringInfoData grantees;
	ListCell *cell;

	initStringInfo(&rights);
	for (int i = 0; i < (int) lengthof(right_texts); i++)
		if (grant->privileges & right_texts[i].right)
			append_item(&rights, right_texts[i].text);
	if (grant->all_privs)
	{
		resetStringInfo(&rights);
		append_item(&rights, "ALL");
	}
	foreach (cell, grant->col_privs)
		append_item(&rights, column_right(lfirst_node(AccessPriv, cell)));

	initStringInfo(&grantees);
	foreach (cell, grant->grantees)
	{
		Oid role = lfirst_oid(cell);
		const char *name =
			role == ACL_ID_PUBLIC ? "PUBLIC" : GetUserNameFromId(role, true);

		append_item(&grantees, name != NULL ? name : "an unknown role");
	}

	return psprintf("%s %s %s %s", grant->is_grant ? "GRANT" : "REVOKE",
					rights.data, grant->is_grant ? "TO" : "FROM", grantees.data);
}

/*
 * A right to some columns.
 */
static char *
column_right(const AccessPriv *right)
{
	StringInfoData columns;
	ListCell *cell;

	initStringInfo(&columns);
	foreach (cell, right->cols)
		append_item(&columns, quote_identifier(strVal(lfirst(cell))));

	return psprintf("%s (%s)",
					right->priv_name != NULL
						? asc_toupper(right->priv_name, strlen(right->priv_name))
						: "ALL",
					columns.data);
}

static void
append_item(StringInfo list, const char *item)
{
	appendStringInfo(list, "%s%s", list->len > 0 ? ", " : "", item);
}
