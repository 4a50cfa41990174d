/*-------------------------------------------------------------------------
 *
 * module_preflight.c
 *		What the server lacks, and the command that mends it.
 *
 * Each check looks at one requirement and never fails itself.  What is only
 * recommended is ok without it, and still has its remedy.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "base/compat.h"
#include "base/names.h"
#include "module/module_internal.h"

/* Debian 11 and all later releases have this one. */
#define SODIUM_MAJOR 10
#define SODIUM_MINOR 3
#define SODIUM_WANTED "1.0.18"

#define THEN_RESTART "; -- then restart the server"

/* What a check has found; texts in the caller's context. */
typedef struct Finding
{
	bool ok;
	char *found;
	char *remedy; /* NULL: nothing to do */
} Finding;

typedef struct Requirement
{
	const char *name;
	void (*check)(Finding *finding);
} Requirement;

static void check_preload(Finding *finding);
static void check_wal_level(Finding *finding);
static void check_slots(Finding *finding);
static void check_libsodium(Finding *finding);
static void check_key_file(Finding *finding);
static void check_workers(Finding *finding);
static void check_publication(Finding *finding);
static void check_plugin_setting(Finding *finding);
static void check_identity(Finding *finding);
static void check_pg_cron(Finding *finding);
static void check_statements(Finding *finding);
static bool is_preloaded(void);
static bool preloaded(void);
static const char *setting(const char *name);
static bool list_has(const char *list, const char *name);
static char *add_to_list(const char *name, const char *value);
static char *query_text(const char *query);
static void check_optional_extension(Finding *finding, const char *extension,
									 bool preloaded);

static const Requirement requirements[] = {
	{"shared_preload_libraries", check_preload},
	{"wal_level", check_wal_level},
	{"max_replication_slots", check_slots},
	{"libsodium", check_libsodium},
	{"key file", check_key_file},
	{"identity", check_identity},
	{"workers", check_workers},
	{"publication", check_publication},
	{"output_plugin_libraries", check_plugin_setting},
	{"pg_cron", check_pg_cron},
	{"pg_stat_statements", check_statements},
};

/*
 * plinth.preflight() -> setof (requirement, ok, found, remedy)
 *
 * Look whether everything is there that plinth needs.
 *
 * remedy is the command that mends it, NULL where there is nothing to do.
 */
PG_FUNCTION_INFO_V1(plinth_sql_module_preflight);
Datum
plinth_sql_module_preflight(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < (int) lengthof(requirements); i++)
	{
		Finding finding = {0};
		Datum values[4];
		bool nulls[4] = {false};

		requirements[i].check(&finding);
		values[0] = CStringGetTextDatum(requirements[i].name);
		values[1] = BoolGetDatum(finding.ok);
		values[2] = CStringGetTextDatum(finding.found);
		nulls[3] = (finding.remedy == NULL);
		values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(finding.remedy);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

static bool
is_preloaded(void)
{
	const char *libraries = setting("shared_preload_libraries");

	return list_has(libraries, PLINTH_LIBRARY) ||
		   list_has(libraries, "$libdir/" PLINTH_LIBRARY);
}

static void
check_preload(Finding *finding)
{
	finding->ok = is_preloaded();
	finding->found = pstrdup(setting("shared_preload_libraries"));
	if (!finding->ok)
		finding->remedy = add_to_list("shared_preload_libraries", PLINTH_LIBRARY);
}

static void
check_wal_level(Finding *finding)
{
	finding->ok = strcmp(setting("wal_level"), "logical") == 0;
	finding->found = pstrdup(setting("wal_level"));
	if (!finding->ok)
		finding->remedy =
			pstrdup("ALTER SYSTEM SET wal_level = 'logical'" THEN_RESTART);
}

/*
 * The stream worker of this database has its slot, or can have one.
 */
static void
check_slots(Finding *finding)
{
	char *used = query_text("SELECT pg_catalog.count(*)::pg_catalog.text"
							" FROM pg_catalog.pg_replication_slots");
	char *ours = query_text("SELECT pg_catalog.count(*)::pg_catalog.text"
							" FROM pg_catalog.pg_replication_slots"
							" WHERE plugin OPERATOR(pg_catalog.=) 'plinth'"
							" AND database OPERATOR(pg_catalog.=)"
							" pg_catalog.current_database()");

	finding->ok = atoi(used) < max_replication_slots || atoi(ours) > 0;
	finding->found = psprintf("%s of %d in use", used, max_replication_slots);
	if (!finding->ok)
		finding->remedy =
			psprintf("ALTER SYSTEM SET max_replication_slots = %d" THEN_RESTART,
					 max_replication_slots + 10);
}

static void
check_libsodium(Finding *finding)
{
	int major = sodium_library_version_major();
	int minor = sodium_library_version_minor();

	finding->ok = major > SODIUM_MAJOR ||
				  (major == SODIUM_MAJOR && minor >= SODIUM_MINOR);
	finding->found = pstrdup(sodium_version_string());
	if (!finding->ok)
		finding->remedy = pstrdup("-- install libsodium " SODIUM_WANTED
								  " or later, then restart the server");
}

/*
 * The key file is there, nobody else reads it, and it has the keys that this
 * database has used.
 */
static void
check_key_file(Finding *finding)
{
	const char *path = setting("plinth.keyring");
	char *problem;
	struct stat status;

	if (stat(path, &status) != 0)
	{
		finding->found = psprintf("%s: %m", path);
		finding->remedy =
			pstrdup("-- restart the server: it makes a missing key file");
		return;
	}
	finding->ok = (status.st_mode & (S_IRWXG | S_IRWXO)) == 0;
	finding->found =
		psprintf("%s, mode %04o", path, (unsigned) (status.st_mode & 07777));
	if (!finding->ok)
		finding->remedy =
			psprintf("-- in the data directory: chmod 600 %s", path);
	if (!finding->ok || !preloaded())
		return;

	problem = query_text("SELECT plinth.keyring_problem()");
	if (problem[0] == '\0')
		return;
	finding->ok = false;
	finding->found = problem;
	finding->remedy = psprintf("-- put the keyring back that belongs to the "
							   "data, with mode 0600: %s in the data directory",
							   path);
}

static void
check_identity(Finding *finding)
{
	finding->ok = plinth_module_identity_matches();
	finding->found =
		pstrdup(plinth_module_instances() == NIL ? "no module installed"
				: finding->ok					 ? "this database"
							  : "another database or cluster");
	if (!finding->ok)
		finding->remedy = pstrdup("SELECT plinth.enable();");
}

/*
 * This database's workers run.
 */
static void
check_workers(Finding *finding)
{
	char *missing;

	if (RecoveryInProgress())
	{
		finding->ok = true;
		finding->found = pstrdup("none on a standby");
		return;
	}
	if (strcmp(setting("plinth.enabled"), "off") == 0)
	{
		finding->found = pstrdup("disabled");
		finding->remedy = pstrdup("SELECT plinth.enable();");
		return;
	}
	finding->found = query_text(
		"SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', w.worker,"
		" w.state, CASE WHEN w.pid IS NULL THEN '(' OPERATOR(pg_catalog.||)"
		" w.last_error OPERATOR(pg_catalog.||) ')' END), ', '"
		" ORDER BY w.worker COLLATE pg_catalog.\"C\")"
		" FROM plinth.stat_workers AS w WHERE w.database"
		" OPERATOR(pg_catalog.=) pg_catalog.current_database()");
	missing = query_text(
		"SELECT pg_catalog.string_agg(pg_catalog.concat('-', w.last_error), '')"
		" FROM plinth.stat_workers AS w WHERE w.database"
		" OPERATOR(pg_catalog.=) pg_catalog.current_database()"
		" AND w.pid IS NULL");
	finding->ok = finding->found[0] != '\0' && missing[0] == '\0';
	if (finding->found[0] == '\0')
		finding->found = pstrdup("none");
	if (finding->ok)
		return;

	if (strcmp(setting("wal_level"), "logical") != 0)
		finding->remedy =
			pstrdup("ALTER SYSTEM SET wal_level = 'logical'" THEN_RESTART);
	else if (strstr(missing, "max_worker_processes") != NULL)
		finding->remedy =
			psprintf("ALTER SYSTEM SET max_worker_processes = %d" THEN_RESTART,
					 max_worker_processes + 8);
	else if (!is_preloaded())
		finding->remedy = add_to_list("shared_preload_libraries", PLINTH_LIBRARY);
	else
		finding->remedy =
			pstrdup("SELECT pg_reload_conf(); -- tries again what is parked; "
					"the server's log has the error");
}

/*
 * The publication is there, and every table in it can be updated.
 */
static void
check_publication(Finding *finding)
{
	char *tables;

	if (!plinth_module_installed("realtime"))
	{
		finding->ok = true;
		finding->found = pstrdup("module realtime is not installed");
		return;
	}
	if (query_text("SELECT p.pubname FROM pg_catalog.pg_publication AS p"
				   " WHERE p.pubname OPERATOR(pg_catalog.=)"
				   " '" PLINTH_PUBLICATION "'")[0] == '\0')
	{
		finding->found = pstrdup("missing");
		finding->remedy = pstrdup("CREATE PUBLICATION " PLINTH_PUBLICATION
								  "; ALTER PUBLICATION " PLINTH_PUBLICATION
								  " OWNER TO " PLINTH_OWNER_ROLE ";");
		return;
	}
	tables = query_text(
		"SELECT pg_catalog.string_agg(pg_catalog.format('ALTER TABLE %I.%I"
		" REPLICA IDENTITY FULL;', t.schemaname, t.tablename), ' ')"
		" FROM pg_catalog.pg_publication_tables AS t"
		" JOIN pg_catalog.pg_namespace AS n"
		" ON n.nspname OPERATOR(pg_catalog.=) t.schemaname"
		" JOIN pg_catalog.pg_class AS c"
		" ON c.relnamespace OPERATOR(pg_catalog.=) n.oid"
		" AND c.relname OPERATOR(pg_catalog.=) t.tablename"
		" WHERE t.pubname OPERATOR(pg_catalog.=) '" PLINTH_PUBLICATION "'"
		" AND (c.relreplident OPERATOR(pg_catalog.=) 'n'"
		" OR c.relreplident OPERATOR(pg_catalog.=) 'd' AND NOT EXISTS"
		" (SELECT FROM pg_catalog.pg_index AS i"
		" WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisprimary))");
	finding->ok = tables[0] == '\0';
	finding->found = finding->ok
						 ? pstrdup(PLINTH_PUBLICATION)
						 : pstrdup("has tables without replica identity");
	if (!finding->ok)
		finding->remedy = tables;
}

/*
 * Our own worker sets it for itself; a slot that a user makes with plinth as
 * plugin needs it.
 */
static void
check_plugin_setting(Finding *finding)
{
	const char *plugins = GetConfigOption("output_plugin_libraries", true, false);

	finding->ok = true;
	if (plugins == NULL)
		finding->found = pstrdup("this release does not have it");
	else if (list_has(plugins, PLINTH_LIBRARY))
		finding->found = pstrdup(plugins);
	else
	{
		finding->found = psprintf(
			"%s (slots of your own with plinth as plugin need it)", plugins);
		finding->remedy = add_to_list("output_plugin_libraries", PLINTH_LIBRARY);
	}
}

static void
check_pg_cron(Finding *finding)
{
	check_optional_extension(
		finding, "pg_cron",
		list_has(setting("shared_preload_libraries"), "pg_cron"));
}

static void
check_statements(Finding *finding)
{
	check_optional_extension(
		finding, "pg_stat_statements",
		list_has(setting("shared_preload_libraries"), "pg_stat_statements"));
}

/*
 * An extension that plinth makes use of where it is there.
 */
static void
check_optional_extension(Finding *finding, const char *extension, bool preloaded)
{
	finding->ok = true;
	if (OidIsValid(get_extension_oid(extension, true)))
		finding->found = pstrdup("installed");
	else if (preloaded)
	{
		finding->found = pstrdup("preloaded, not installed (optional)");
		finding->remedy = psprintf("CREATE EXTENSION %s;", extension);
	}
	else
	{
		finding->found = pstrdup("not installed (optional)");
		finding->remedy = add_to_list("shared_preload_libraries", extension);
	}
}

static bool
preloaded(void)
{
	const char *libraries = setting("shared_preload_libraries");

	return list_has(libraries, PLINTH_LIBRARY) ||
		   list_has(libraries, "$libdir/" PLINTH_LIBRARY);
}

static const char *
setting(const char *name)
{
	return GetConfigOption(name, false, false);
}

/*
 * Is the name in a list as shared_preload_libraries has it?
 */
static bool
list_has(const char *list, const char *name)
{
	List *names;
	ListCell *cell;

	if (!SplitDirectoriesString(pstrdup(list), ',', &names))
		return false;
	foreach (cell, names)
		if (strcmp(lfirst(cell), name) == 0)
			return true;
	return false;
}

/*
 * The command that adds a name to such a setting and keeps what is there.
 */
static char *
add_to_list(const char *name, const char *value)
{
	StringInfoData command;
	List *names;
	ListCell *cell;

	initStringInfo(&command);
	appendStringInfo(&command, "ALTER SYSTEM SET %s = ", name);
	if (SplitDirectoriesString(pstrdup(setting(name)), ',', &names))
		foreach (cell, names)
			appendStringInfo(&command, "%s, ", quote_literal_cstr(lfirst(cell)));
	appendStringInfo(&command, "%s" THEN_RESTART, quote_literal_cstr(value));
	return command.data;
}

/*
 * The one text that a query returns, '' for null and for no row.
 */
static char *
query_text(const char *query)
{
	MemoryContext caller = CurrentMemoryContext;
	char *text = NULL;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	if (SPI_execute(query, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look at the database");
	if (SPI_processed == 1)
		text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (text != NULL)
		text = MemoryContextStrdup(caller, text);
	SPI_finish();
	return text != NULL ? text : pstrdup("");
}
