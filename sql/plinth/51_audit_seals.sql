-- ---------------------------------------------------------------------
-- Room: audit, the seals and marks
--
--		The triggers that leave marks, and the C behind audit.verify(), audit.proof() and audit.head(), which ask who
--		calls; these have the rights of their caller.
--
-- Tests:	test/regress/sql/audit_marks.sql, audit_ddl.sql, test/tap/080_audit_seals.pl
-- ---------------------------------------------------------------------
CREATE FUNCTION plinth.audit_verify(
	from_time timestamptz, to_time timestamptz, head jsonb DEFAULT NULL,
	OUT seal_id bigint, OUT status text, OUT detail text)
RETURNS SETOF record
LANGUAGE c STABLE PARALLEL UNSAFE COST 10000 ROWS 100
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'plinth_sql_audit_verify';

COMMENT ON FUNCTION plinth.audit_verify(timestamptz, timestamptz, jsonb) IS
'the C behind audit.verify(); errors: 22023 head is not one, 55000 the log is not installed or a key is not in the keyring';

CREATE FUNCTION plinth.audit_proof(record_id uuid)
RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL UNSAFE COST 10000
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'plinth_sql_audit_proof';

COMMENT ON FUNCTION plinth.audit_proof(uuid) IS
'the C behind audit.proof(); RFC 9162 section 2.1.3; errors: P0002 no such record, 55000 no seal yet, the seal does not hold, or the log is not installed';

CREATE FUNCTION plinth.audit_head()
RETURNS jsonb
LANGUAGE c STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'plinth_sql_audit_head';

COMMENT ON FUNCTION plinth.audit_head() IS
'the C behind audit.head(); errors: 55000 the log is not installed';

CREATE FUNCTION plinth.audit_mark()
RETURNS trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'plinth_sql_audit_mark';

COMMENT ON FUNCTION plinth.audit_mark() IS
'writes a mark "replica_role" when a table is written to under session_replication_role = replica; BEFORE, FOR EACH STATEMENT, ENABLE ALWAYS; made by audit.attach(); errors: 39P01 not such a trigger';

CREATE FUNCTION plinth.audit_set_triggers(relation oid, form text, redact text, ignore text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_audit_set_triggers';

COMMENT ON FUNCTION plinth.audit_set_triggers(oid, text, text, text) IS
'the C behind audit.attach() and audit.detach(): give a table the audit triggers of one form, row or statement, or none (NULL); redact and ignore are text[] literals; for the table''s owner; errors: 22023 other form, 42501 not the owner, 42P01 no such table';

CREATE FUNCTION plinth.audit_upkeep(step text, argument text)
RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_audit_upkeep';

COMMENT ON FUNCTION plinth.audit_upkeep(text, text) IS
'run a function of the log''s upkeep without marks: "make partition" (a month), "move strays", "drop partition" (its name); part of audit.ensure_partitions() and audit.purge(); errors: 22023 other step, else those of the function';

CREATE FUNCTION plinth.audit_ddl()
RETURNS event_trigger
LANGUAGE c
AS 'MODULE_PATHNAME', 'plinth_sql_audit_ddl';

COMMENT ON FUNCTION plinth.audit_ddl() IS
'marks commands on audited tables and on the log itself, and gives a table that gets children, a parent or partitions the audit triggers that it needs then; errors: 39P03 not called by an event trigger, 55000 or 42809 the table cannot be audited where it goes';

-- Commands that cannot matter are not named, and cost nothing.
CREATE EVENT TRIGGER plinth_audit_ddl ON ddl_command_end
	WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA',
		'ALTER SCHEMA', 'CREATE TRIGGER', 'ALTER TRIGGER', 'CREATE RULE', 'ALTER RULE', 'CREATE POLICY', 'ALTER POLICY',
		'GRANT', 'REVOKE', 'CREATE FUNCTION', 'ALTER FUNCTION', 'ALTER ROUTINE')
	EXECUTE FUNCTION plinth.audit_ddl();
CREATE EVENT TRIGGER plinth_audit_drop ON sql_drop
	WHEN TAG IN ('DROP TABLE', 'DROP FOREIGN TABLE', 'DROP SCHEMA', 'DROP OWNED', 'DROP TRIGGER', 'DROP RULE', 'DROP POLICY',
		'DROP FUNCTION', 'DROP ROUTINE', 'DROP EXTENSION', 'DROP TYPE', 'DROP DOMAIN', 'DROP VIEW', 'ALTER TABLE')
	EXECUTE FUNCTION plinth.audit_ddl();

COMMENT ON EVENT TRIGGER plinth_audit_ddl IS
'marks commands on audited tables, see audit.marks';
COMMENT ON EVENT TRIGGER plinth_audit_drop IS
'marks what is dropped of audited tables, see audit.marks';
