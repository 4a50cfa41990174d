/*-------------------------------------------------------------------------
 *
 * module_install.c
 *		plinth.install(), plinth.upgrade(), plinth.modules(), and joins.
 *
 * Installers of one database take turns by an advisory lock that they hold
 * until their transaction ends, and read what is there after they have it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "base/names.h"
#include "module/module_internal.h"

/* The lock, in the two-key space of advisory locks: "plin", "inst". */
#define INSTALL_LOCK_CLASS 0x706c696e
#define INSTALL_LOCK_OBJECT 0x696e7374

static void begin_change(const char *function);
static const ModuleDef *find_available(const char *name);
static void check_schema(const ModuleDef *module, const char *schema);
static ModuleInstance *find_instance(const char *module, const char *schema);
static char *install_module(const ModuleDef *module, const char *schema);
static void install_prerequisites(const ModuleDef *module);
static void run_missing_joins(void);
static void join_modules(const ModuleInstance *instance,
						 const ModuleDef *module, const ModuleDef *other);
static void record(const char *query, const char *module, const char *schema,
				   const char *third);
static void put_module(ReturnSetInfo *rsinfo, const ModuleDef *module,
					   const ModuleInstance *instance);

/*
 * plinth.install(module text, schema text) -> text
 *
 * Make a module's schema with everything in it, its prerequisites first, and
 * what it adds to those that are there.
 *
 *	module	one of the modules of plinth.modules()
 *	schema	name of the schema; NULL: the module's own name.  Shared modules
 *			have no other.
 *
 * Returns the version that is installed; nothing is changed when it was
 * there before.
 *
 * Errors: 42501 the caller could not become plinth_owner; 22023 no such
 * module, or not under that name; 42P06 or 42710 the schema or an object of
 * it is there and not ours; 55000 the database was restored or cloned, or a
 * prerequisite has to be upgraded first.
 */
PG_FUNCTION_INFO_V1(plinth_sql_module_install);
Datum
plinth_sql_module_install(PG_FUNCTION_ARGS)
{
	const ModuleDef *module;
	const char *schema;
	char *version;
	ModuleOwner owner;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("module name must not be null")));
	begin_change("plinth.install()");
	module = find_available(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	schema =
		PG_ARGISNULL(1) ? module->name : text_to_cstring(PG_GETARG_TEXT_PP(1));
	check_schema(module, schema);

	plinth_module_become_owner(&owner);
	version = install_module(module, schema);
	run_missing_joins();
	plinth_module_resign_owner(&owner);

	PG_RETURN_TEXT_P(cstring_to_text(version));
}

/*
 * plinth.upgrade(module text, schema text) -> text
 *
 * Bring an installed module to the version of the library, by the steps that
 * lead there.
 *
 * Returns that version; nothing is changed when the module has it.
 *
 * Errors: 42501, 22023 and 55000 as plinth.install(); 22023 the module is not
 * installed under that name, or no steps lead from its version.
 */
PG_FUNCTION_INFO_V1(plinth_sql_module_upgrade);
Datum
plinth_sql_module_upgrade(PG_FUNCTION_ARGS)
{
	const ModuleDef *module;
	const char *schema;
	ModuleInstance *instance;
	ModuleOwner owner;

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("module name must not be null")));
	begin_change("plinth.upgrade()");
	module = find_available(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	schema =
		PG_ARGISNULL(1) ? module->name : text_to_cstring(PG_GETARG_TEXT_PP(1));
	instance = find_instance(module->name, schema);
	if (instance == NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("module \"%s\" is not installed in schema \"%s\"",
							   module->name, schema)));

	plinth_module_become_owner(&owner);
	if (strcmp(instance->version, PLINTH_VERSION) != 0)
	{
		List *scripts = plinth_module_upgrade_path(module, instance->version,
												   PLINTH_VERSION);
		ListCell *cell;

		if (scripts == NIL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("module \"%s\" has no upgrade path from version "
							"\"%s\" to version \"%s\"",
							module->name, instance->version, PLINTH_VERSION)));
		foreach (cell, scripts)
			plinth_module_run_script(lfirst(cell), schema);
		record("UPDATE plinth.installed_modules"
			   " SET version = $3, upgraded_at = pg_catalog.now()"
			   " WHERE module OPERATOR(pg_catalog.=) $1"
			   " AND schema OPERATOR(pg_catalog.=) $2",
			   module->name, schema, PLINTH_VERSION);
	}
	run_missing_joins();
	plinth_module_resign_owner(&owner);

	PG_RETURN_TEXT_P(cstring_to_text(PLINTH_VERSION));
}

/*
 * plinth.modules() -> setof (module, schema, available, installed, shared)
 *
 * One row for each installed instance, and one for each module that could be
 * installed and is not.
 */
PG_FUNCTION_INFO_V1(plinth_sql_module_modules);
Datum
plinth_sql_module_modules(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	List *instances;
	const ModuleDef *registry;
	int count;

	InitMaterializedSRF(fcinfo, 0);
	instances = plinth_module_instances();
	registry = plinth_module_registry(&count);
	for (int i = 0; i < count; i++)
	{
		bool installed = false;
		ListCell *cell;

		foreach (cell, instances)
		{
			ModuleInstance *instance = lfirst(cell);

			if (strcmp(instance->module, registry[i].name) != 0)
				continue;
			put_module(rsinfo, &registry[i], instance);
			installed = true;
		}
		if (!installed &&
			plinth_module_script_exists(plinth_module_script_name(&registry[i])))
			put_module(rsinfo, &registry[i], NULL);
	}
	return (Datum) 0;
}

/*
 * What every change of the installed modules begins with: rights, a place
 * where it can be done, the lock, and the identity of the database.
 */
static void
begin_change(const char *function)
{
	LOCKTAG tag;

	plinth_module_require_owner();
	PreventCommandIfReadOnly(function);
	PreventCommandDuringRecovery(function);
	/* the module's objects would become members of that extension */
	if (creating_extension)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot call %s in an extension's script", function)));

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, INSTALL_LOCK_CLASS,
						 INSTALL_LOCK_OBJECT, 2);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);

	if (!plinth_module_identity_matches())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the modules of this database were enabled in another "
						"database"),
				 errdetail("It has been restored, cloned or upgraded since."),
				 errhint("SELECT plinth.enable() as superuser, when this "
						 "database is to do the work of the other.")));
}

/*
 * A module whose script is there; else an error that lists those.
 */
static const ModuleDef *
find_available(const char *name)
{
	const ModuleDef *module = plinth_module_find(name);

	if (module == NULL ||
		!plinth_module_script_exists(plinth_module_script_name(module)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("module \"%s\" does not exist", name),
				 errhint("The modules are: %s.", plinth_module_known_names())));
	return module;
}

/*
 * May the module be installed in a schema of that name?  Whether the schema
 * is free is for CREATE SCHEMA to say.
 */
static void
check_schema(const ModuleDef *module, const char *schema)
{
	size_t length = strlen(schema);

	if (strcmp(schema, module->name) == 0)
		return;
	if (module->shared)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("module \"%s\" cannot be installed in schema \"%s\"",
						module->name, schema),
				 errdetail("It is shared by all modules, and its schema is "
						   "\"%s\".",
						   module->name)));
	if (length == 0 || length >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid schema name \"%s\"", schema),
				 errdetail("A schema name has 1 to %d bytes.", NAMEDATALEN - 1)));
	/* one way of quoting must do inside literals and outside */
	for (const char *c = schema; *c != '\0'; c++)
		if (strchr("\"$'\\", *c) != NULL || (unsigned char) *c < ' ')
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("invalid schema name \"%s\"", schema),
							errdetail("A module's schema name must not contain "
									  "quotes, backslashes, dollar signs or control "
									  "characters.")));
	if (plinth_module_find(schema) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("module \"%s\" cannot be installed in schema \"%s\"",
						module->name, schema),
				 errdetail("That is the name of another module.")));
}

static ModuleInstance *
find_instance(const char *module, const char *schema)
{
	ListCell *cell;

	foreach (cell, plinth_module_instances())
	{
		ModuleInstance *instance = lfirst(cell);

		if (strcmp(instance->module, module) == 0 &&
			strcmp(instance->schema, schema) == 0)
			return instance;
	}
	return NULL;
}

/*
 * Install what is missing of the module and its prerequisites; the version
 * that is there then.
 */
static char *
install_module(const ModuleDef *module, const char *schema)
{
	ModuleInstance *instance = find_instance(module->name, schema);

	if (instance != NULL)
		return instance->version;

	install_prerequisites(module);
	plinth_module_run_script(plinth_module_script_name(module), schema);
	record("INSERT INTO plinth.installed_modules"
		   " (module, schema, version, system_identifier, database_oid, era)"
		   " SELECT $1, $2, $3, $4, $5, coalesce(pg_catalog.max(m.era), 1)"
		   " FROM plinth.installed_modules m",
		   module->name, schema, PLINTH_VERSION);
	return PLINTH_VERSION;
}

static void
install_prerequisites(const ModuleDef *module)
{
	for (int i = 0; i < MODULE_MAX_NEEDS && module->needs[i] != NULL; i++)
	{
		const ModuleDef *needed = find_available(module->needs[i]);
		char *version = install_module(needed, needed->name);

		if (strcmp(version, PLINTH_VERSION) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("module \"%s\" needs version \"%s\" of module "
							"\"%s\"",
							module->name, PLINTH_VERSION, needed->name),
					 errdetail("Version \"%s\" is installed.", version),
					 errhint("SELECT plinth.upgrade('%s') first.", needed->name)));
	}
}

/*
 * Join every installed module with every shared one that is there, where it
 * has a script for that and has not been joined.  A script names the other
 * module by its own name, so that the other one is always a shared one.
 */
static void
run_missing_joins(void)
{
	List *instances = plinth_module_instances();
	const ModuleDef *registry;
	int count;
	ListCell *cell;

	registry = plinth_module_registry(&count);
	for (int i = 0; i < count; i++)
	{
		if (!registry[i].shared || !plinth_module_installed(registry[i].name))
			continue;
		foreach (cell, instances)
		{
			ModuleInstance *instance = lfirst(cell);
			const ModuleDef *module = plinth_module_find(instance->module);

			/* a script is written for the tables of its own version */
			if (module != NULL && strcmp(instance->version, PLINTH_VERSION) == 0)
				join_modules(instance, module, &registry[i]);
		}
	}
}

static void
join_modules(const ModuleInstance *instance, const ModuleDef *module,
			 const ModuleDef *other)
{
	char *script = plinth_module_join_name(module, other);
	ListCell *cell;

	foreach (cell, instance->joined)
		if (strcmp(lfirst(cell), other->name) == 0)
			return;
	if (!plinth_module_script_exists(script))
		return;

	plinth_module_run_script(script, instance->schema);
	record("UPDATE plinth.installed_modules"
		   " SET joined = joined OPERATOR(pg_catalog.||) $3"
		   " WHERE module OPERATOR(pg_catalog.=) $1"
		   " AND schema OPERATOR(pg_catalog.=) $2",
		   instance->module, instance->schema, other->name);
}

/*
 * Run a statement that changes one row of plinth.installed_modules, as
 * plinth_owner.  Its parameters are the module, the schema, a third text, and
 * the identity of this database.
 */
static void
record(const char *query, const char *module, const char *schema,
	   const char *third)
{
	Oid types[] = {TEXTOID, TEXTOID, TEXTOID, INT8OID, OIDOID};
	Datum values[] = {CStringGetTextDatum(module), CStringGetTextDatum(schema),
					  CStringGetTextDatum(third),
					  Int64GetDatum((int64) GetSystemIdentifier()),
					  ObjectIdGetDatum(MyDatabaseId)};
	int result;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "could not connect to SPI");
	result = SPI_execute_with_args(query, lengthof(types), types, values, NULL,
								   false, 0);
	if (result < 0 || SPI_processed != 1)
		elog(ERROR, "could not record module \"%s\" in schema \"%s\"", module,
			 schema);
	SPI_finish();
}

static void
put_module(ReturnSetInfo *rsinfo, const ModuleDef *module,
		   const ModuleInstance *instance)
{
	Datum values[5];
	bool nulls[5] = {false};

	values[0] = CStringGetTextDatum(module->name);
	values[1] = CStringGetTextDatum(instance ? instance->schema : module->name);
	nulls[2] = !plinth_module_script_exists(plinth_module_script_name(module));
	values[2] = CStringGetTextDatum(PLINTH_VERSION);
	nulls[3] = (instance == NULL);
	values[3] = instance ? CStringGetTextDatum(instance->version) : (Datum) 0;
	values[4] = BoolGetDatum(module->shared);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}
