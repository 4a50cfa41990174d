-- ---------------------------------------------------------------------
-- Room: worker
--
--		What the workers are doing, and whether they may.
-- ---------------------------------------------------------------------
CREATE FUNCTION plinth.worker_stat(
	OUT database_oid oid, OUT worker text, OUT pid integer, OUT state text,
	OUT started_at timestamptz, OUT restarts bigint, OUT failures bigint,
	OUT last_error text, OUT last_error_at timestamptz,
	OUT stats_reset timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'plinth_sql_worker_stat';

COMMENT ON FUNCTION plinth.worker_stat() IS
'the workers of all databases; read plinth.stat_workers; errors: 42501 the caller is neither service, monitor nor administrator';

CREATE VIEW plinth.stat_workers WITH (security_invoker = true) AS
SELECT d.datname AS database, w.worker, w.pid, w.state, w.started_at,
	   w.restarts, w.failures, w.last_error, w.last_error_at, w.stats_reset
FROM plinth.worker_stat() AS w
	JOIN pg_catalog.pg_database AS d
		ON d.oid OPERATOR(pg_catalog.=) w.database_oid;

COMMENT ON VIEW plinth.stat_workers IS
'one row for each worker that a database should have: its process, its state, and its last error';

CREATE FUNCTION plinth.enable()
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_worker_enable';

COMMENT ON FUNCTION plinth.enable() IS
'let the workers work in this database, after a restore, a clone or plinth.disable(); superusers only (42501)';

CREATE FUNCTION plinth.disable()
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_worker_disable';

COMMENT ON FUNCTION plinth.disable() IS
'keep the workers out of this database until plinth.enable(); they have left when it returns; superusers only (42501)';

CREATE FUNCTION plinth.preflight(
	OUT requirement text, OUT ok boolean, OUT found text, OUT remedy text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 12
AS 'MODULE_PATHNAME', 'plinth_sql_module_preflight';

COMMENT ON FUNCTION plinth.preflight() IS
'each requirement of plinth, whether it is met, what was found, and the command that mends it';
