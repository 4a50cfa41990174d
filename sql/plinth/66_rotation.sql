-- ---------------------------------------------------------------------
-- Room: worker, rotation
--
--		A new seal key, and the values that follow it.
--
-- Offers:	plinth.rotate_keys(), plinth.stat_rotation
-- Rights:	superusers rotate; services, administrators and monitors look
-- Tests:	test/regress/sql/rotation.sql, test/tap/012_rotation.pl
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.rotate_keys(purpose text DEFAULT 'seal')
RETURNS text
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_worker_rotate_keys';
COMMENT ON FUNCTION plinth.rotate_keys(text) IS
'make a new active key of a purpose, as plinth.key_create(), and return its kid; for purpose seal the upkeep workers then reseal in batches what plinth.sealed_columns declares, in this database from now on, in the others within ten seconds (progress: plinth.stat_rotation); values stay readable all the while, also when the server stops in between; superuser only; not undone by rollback; 22023 no such purpose, 55000 no keyring';

CREATE FUNCTION plinth.rotation_stat(
	OUT relation text, OUT column_name text, OUT key_id smallint, OUT done bigint,
	OUT remaining bigint, OUT last_error text, OUT stats_reset timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'plinth_sql_worker_rotation_stat';
COMMENT ON FUNCTION plinth.rotation_stat() IS
'what plinth.stat_rotation shows; errors: 42501 the caller is neither service, monitor nor administrator, 55000 no keyring';

CREATE VIEW plinth.stat_rotation WITH (security_invoker = true) AS
SELECT r.relation, r.column_name, r.key_id, r.done, r.remaining, r.last_error, r.stats_reset
FROM plinth.rotation_stat() AS r;
COMMENT ON VIEW plinth.stat_rotation IS
'one row for each column of plinth.sealed_columns; done and remaining are counted in the table at each look, and NULL where it is not there';
COMMENT ON COLUMN plinth.stat_rotation.key_id IS 'the active seal key';
COMMENT ON COLUMN plinth.stat_rotation.done IS 'values under that key';
COMMENT ON COLUMN plinth.stat_rotation.remaining IS 'values under other keys';
COMMENT ON COLUMN plinth.stat_rotation.last_error IS 'why the last batch failed; NULL when it did not';
COMMENT ON COLUMN plinth.stat_rotation.stats_reset IS 'since when errors are kept: the start of the server';
