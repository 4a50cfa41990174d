/*-------------------------------------------------------------------------
 *
 * module_script.c
 *		Runs a module's script as plinth_owner.
 *
 * The way is that of CREATE EXTENSION: the whole script is split by the
 * server's own parser, and each statement is analyzed after the one before it
 * has run, in the caller's transaction.  Identity and settings come back by
 * themselves when an error ends the transaction or the subtransaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xact.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/names.h"
#include "base/own_ddl.h"
#include "module/module_internal.h"

/* What a script is written for, whatever the caller has set. */
static const struct
{
	const char *name;
	const char *value;
} script_settings[] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"check_function_bodies", "on"},
	{"standard_conforming_strings", "on"},
	{"quote_all_identifiers", "off"},
	{"transform_null_equals", "off"},
	{"array_nulls", "on"},
	{"row_security", "on"},
	{"client_min_messages", "warning"},
	{"DateStyle", "ISO, MDY"},
	{"IntervalStyle", "postgres"},
	{"default_tablespace", ""},
};

/* Where in which script an error is. */
typedef struct ScriptPlace
{
	const char *script; /* file name */
	const char *text;	/* as it runs, placeholders replaced */
	int location;		/* start of the statement, bytes; -1 while parsing */
} ScriptPlace;

static char *read_script(const char *script);
static char *put_schema(const char *text, const char *schema);
static int statement_start(const char *text, int location);
static void run_statements(void *arg);
static void run_statement(RawStmt *raw, const char *text);
static void show_place(void *arg);
static int line_of(const char *text, int location);

/*
 * Refuse a caller who could not become plinth_owner by SET ROLE.
 */
void
plinth_module_require_owner(void)
{
	Oid owner = get_role_oid(PLINTH_OWNER_ROLE, false);

	if (!plinth_member_can_set_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to manage modules"),
				 errdetail("Only superusers and members of the role \"%s\" may "
						   "do this.",
						   PLINTH_OWNER_ROLE)));
}

/*
 * Work as plinth_owner under the settings that scripts are written for.  The
 * local-change flag keeps a script from SET ROLE and its like.  The setting
 * "role" follows, as by SET ROLE, for those who ask plinth.is_service(); in a
 * SECURITY DEFINER function nobody may set it, and it stays.
 */
void
plinth_module_become_owner(ModuleOwner *owner)
{
	Oid role = get_role_oid(PLINTH_OWNER_ROLE, false);

	GetUserIdAndSecContext(&owner->saved_user, &owner->saved_context);
	owner->guc_level = NewGUCNestLevel();
	if (owner->saved_context == 0 &&
		plinth_member_can_set_role(GetSessionUserId(), role))
		(void) set_config_option("role", PLINTH_OWNER_ROLE, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SetUserIdAndSecContext(role,
						   owner->saved_context | SECURITY_LOCAL_USERID_CHANGE);
	for (int i = 0; i < (int) lengthof(script_settings); i++)
		(void) set_config_option(script_settings[i].name,
								 script_settings[i].value, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
plinth_module_resign_owner(ModuleOwner *owner)
{
	SetUserIdAndSecContext(owner->saved_user, owner->saved_context);
	AtEOXact_GUC(true, owner->guc_level);
}

/*
 * Run a script with @schema@ standing for the schema.  The caller has become
 * plinth_owner.
 */
void
plinth_module_run_script(const char *script, const char *schema)
{
	ScriptPlace place = {.script = script, .location = -1};
	ErrorContextCallback callback;

	place.text = put_schema(read_script(script), schema);

	callback.callback = show_place;
	callback.arg = &place;
	callback.previous = error_context_stack;
	error_context_stack = &callback;

	plinth_own_ddl_run(run_statements, &place);
	/* what the last statement did is seen by what follows */
	CommandCounterIncrement();

	error_context_stack = callback.previous;
}

static void
run_statements(void *arg)
{
	ScriptPlace *place = arg;
	List *statements = pg_parse_query(place->text);
	ListCell *cell;

	foreach (cell, statements)
	{
		RawStmt *raw = lfirst_node(RawStmt, cell);

		place->location = statement_start(place->text, raw->stmt_location);
		run_statement(raw, place->text);
	}
}

/*
 * The text of a script, in the encoding of the database.
 */
static char *
read_script(const char *script)
{
	char *path = plinth_module_script_path(script);
	FILE *file = AllocateFile(path, PG_BINARY_R);
	struct stat status;
	char *text;
	size_t length;

	if (file == NULL)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not open module script \"%s\": %m", path)));
	if (fstat(fileno(file), &status) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not stat module script \"%s\": %m", path)));
	if (status.st_size > (off_t) (MaxAllocSize / 4))
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("module script \"%s\" is too large", path)));

	text = palloc(status.st_size + 1);
	length = fread(text, 1, status.st_size, file);
	if (ferror(file))
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not read module script \"%s\": %m", path)));
	FreeFile(file);
	text[length] = '\0';

	(void) pg_verify_mbstr(PG_UTF8, text, length, false);
	return pg_any_to_server(text, length, PG_UTF8);
}

/*
 * The text with @schema@ replaced.  The name has been checked to need no
 * other quoting inside a literal than outside.
 */
static char *
put_schema(const char *text, const char *schema)
{
	static const char placeholder[] = "@schema@";
	const char *quoted = quote_identifier(schema);
	const char *found;
	StringInfoData result;

	initStringInfo(&result);
	while ((found = strstr(text, placeholder)) != NULL)
	{
		appendBinaryStringInfo(&result, text, found - text);
		appendStringInfoString(&result, quoted);
		text = found + strlen(placeholder);
	}
	appendStringInfoString(&result, text);
	return result.data;
}

/*
 * Where a statement's first word is: the parser counts the white space and
 * the comments before it in.
 */
static int
statement_start(const char *text, int location)
{
	for (;;)
	{
		if (isspace((unsigned char) text[location]))
			location++;
		else if (text[location] == '-' && text[location + 1] == '-')
			location += strcspn(text + location, "\n");
		else
			return location;
	}
}

/*
 * Analyze, plan and run one statement; its result goes nowhere.
 */
static void
run_statement(RawStmt *raw, const char *text)
{
	MemoryContext context;
	MemoryContext caller;
	List *plans;
	ListCell *cell;

	context = AllocSetContextCreate(
		CurrentMemoryContext, "plinth module statement", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);

	CHECK_FOR_INTERRUPTS();
	CommandCounterIncrement();

	plans = pg_analyze_and_rewrite_fixedparams(raw, text, NULL, 0, NULL);
	plans = pg_plan_queries(plans, text, CURSOR_OPT_PARALLEL_OK, NULL);
	foreach (cell, plans)
	{
		PlannedStmt *plan = lfirst_node(PlannedStmt, cell);

		CommandCounterIncrement();
		PushActiveSnapshot(GetTransactionSnapshot());
		if (plan->utilityStmt == NULL)
		{
			QueryDesc *query =
				CreateQueryDesc(plan, text, GetActiveSnapshot(),
								InvalidSnapshot, None_Receiver, NULL, NULL, 0);

			ExecutorStart(query, 0);
			plinth_executor_run(query, ForwardScanDirection, 0);
			ExecutorFinish(query);
			ExecutorEnd(query);
			FreeQueryDesc(query);
		}
		else
		{
			if (IsA(plan->utilityStmt, TransactionStmt))
				ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
								errmsg("transaction control statements are not "
									   "allowed within a module script")));
			ProcessUtility(plan, text, false, PROCESS_UTILITY_QUERY, NULL, NULL,
						   None_Receiver, NULL);
		}
		PopActiveSnapshot();
	}

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}

/*
 * Error context callback: name the script and the line.
 *
 * A position in the script's text would mean nothing to the client, which
 * has sent another; the line replaces it.  Positions in a text of their own,
 * as of a function's body, are internal ones already and stay.
 */
static void
show_place(void *arg)
{
	ScriptPlace *place = arg;
	int position = geterrposition();
	int location = place->location;

	if (position > 0)
	{
		/* the position counts characters, from 1 */
		location =
			pg_mbcharcliplen(place->text, strlen(place->text), position - 1);
		errposition(0);
	}
	if (location >= 0)
		errcontext("module script \"%s\", line %d", place->script,
				   line_of(place->text, location));
	else
		errcontext("module script \"%s\"", place->script);
}

static int
line_of(const char *text, int location)
{
	int line = 1;

	for (int i = 0; i < location && text[i] != '\0'; i++)
		if (text[i] == '\n')
			line++;
	return line;
}
