-- ---------------------------------------------------------------------
-- Settings of the modules
--
--		What an application may tune while it runs.  A row only where the
--		value differs from the default; the defaults are in code.
--
-- Offers:	plinth.settings, plinth.setting()
-- Rights:	superusers, service_role and plinth_owner read and write
-- Tests:	test/regress/sql/settings.sql
-- ---------------------------------------------------------------------

-- The collation is that of the look-up in plinth.setting().
CREATE TABLE plinth.settings (
	name		text COLLATE "C" CONSTRAINT settings_pkey PRIMARY KEY,
	value		jsonb NOT NULL,
	changed_by	text DEFAULT current_user,
	changed_at	timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE plinth.settings IS
'Settings of the modules that differ from their defaults. Durations are intervals written as strings ("15 min") or whole numbers of seconds, sizes are whole numbers of bytes. An unknown name or a value that the setting cannot have is refused with 22023.';
COMMENT ON COLUMN plinth.settings.changed_by IS 'role that wrote the value last';

SELECT pg_catalog.pg_extension_config_dump('plinth.settings', '');

CREATE FUNCTION plinth.settings_check() RETURNS trigger
	LANGUAGE c VOLATILE
	AS 'MODULE_PATHNAME', 'plinth_sql_module_settings_check';
COMMENT ON FUNCTION plinth.settings_check() IS
'Trigger of plinth.settings: refuses an unknown name or a value of the wrong kind or range (22023) and notes who changed a row and when.';

CREATE TRIGGER settings_check BEFORE INSERT OR UPDATE ON plinth.settings
	FOR EACH ROW EXECUTE FUNCTION plinth.settings_check();

CREATE FUNCTION plinth.setting(name text) RETURNS jsonb
	LANGUAGE c STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'plinth_sql_module_setting';
COMMENT ON FUNCTION plinth.setting(text) IS
'Value in force of a module''s setting: the row of plinth.settings, else the default, else NULL. A duration is read as (plinth.setting(name) #>> ''{}'')::interval. Errors: 22023 there is no setting of that name.';

ALTER TABLE plinth.settings ENABLE ROW LEVEL SECURITY;
CREATE POLICY settings_owner ON plinth.settings TO plinth_owner
	USING (true) WITH CHECK (true);

