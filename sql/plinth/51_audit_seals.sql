-- ---------------------------------------------------------------------
-- Room: audit, the seals and marks
--
--		The trigger that marks the replica role, and the C behind audit.verify(), audit.proof() and audit.head(), which
--		ask who calls; these have the rights of their caller.
--
-- Tests:	test/tap/080_audit_seals.pl
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
