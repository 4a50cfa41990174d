-- ---------------------------------------------------------------------
-- Room: module
--
--		Which modules are installed, and the functions that install them.
-- ---------------------------------------------------------------------

-- One row for each installed module and schema.  Members of plinth_owner
-- write it through plinth.install() and plinth.upgrade(), superusers through
-- plinth.enable().
CREATE TABLE plinth.installed_modules (
	module				text		NOT NULL,
	schema				text		NOT NULL,
	version				text		NOT NULL,
	joined				text[]		NOT NULL DEFAULT '{}',
	system_identifier	bigint		NOT NULL,
	database_oid		oid			NOT NULL,
	era					smallint	NOT NULL DEFAULT 1,
	installed_at		timestamptz	NOT NULL DEFAULT pg_catalog.now(),
	upgraded_at			timestamptz,
	PRIMARY KEY (module, schema),
	CHECK (era OPERATOR(pg_catalog.>) 0)
);

COMMENT ON TABLE plinth.installed_modules IS
'modules that plinth.install() has made in this database';
COMMENT ON COLUMN plinth.installed_modules.joined IS
'shared modules whose join script has been run';
COMMENT ON COLUMN plinth.installed_modules.system_identifier IS
'cluster in which the modules were enabled; another one means that the database was restored';
COMMENT ON COLUMN plinth.installed_modules.database_oid IS
'database in which the modules were enabled; another one means that it was cloned or restored';
COMMENT ON COLUMN plinth.installed_modules.era IS
'number of the identity: one more at each plinth.enable() under a new one';

SELECT pg_catalog.pg_extension_config_dump('plinth.installed_modules', '');

CREATE FUNCTION plinth.table_changed()
RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'plinth_sql_base_table_changed';

COMMENT ON FUNCTION plinth.table_changed() IS
'trigger of tables whose rows backends keep: makes every backend read them anew; error: 39P01 used otherwise';

CREATE TRIGGER installed_modules_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON plinth.installed_modules
	FOR EACH STATEMENT EXECUTE FUNCTION plinth.table_changed();
-- in a session that replays changes too
ALTER TABLE plinth.installed_modules ENABLE ALWAYS TRIGGER installed_modules_changed;

ALTER TABLE plinth.installed_modules ENABLE ROW LEVEL SECURITY;
CREATE POLICY installed_modules_owner ON plinth.installed_modules
	TO plinth_owner
	USING (true) WITH CHECK (true);

CREATE FUNCTION plinth.install(module text, schema text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_module_install';

COMMENT ON FUNCTION plinth.install(text, text) IS
'install a module and what it needs, in a schema of its own name or, for a tenant module, of another; returns the installed version.  Errors: 42501 caller may not become plinth_owner; 22023 no such module, or not under that name; 42P06, 42710 schema or object exists; 55000 database was restored or cloned';

CREATE FUNCTION plinth.upgrade(module text, schema text DEFAULT NULL)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_module_upgrade';

COMMENT ON FUNCTION plinth.upgrade(text, text) IS
'bring an installed module to the version of the library; returns that version.  Errors: as plinth.install; 22023 not installed, or no steps lead from its version';

CREATE FUNCTION plinth.modules(
	OUT module text, OUT schema text, OUT available text, OUT installed text,
	OUT shared boolean)
RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 20
AS 'MODULE_PATHNAME', 'plinth_sql_module_modules';

COMMENT ON FUNCTION plinth.modules() IS
'one row for each installed module and schema, and each module that could be installed';
