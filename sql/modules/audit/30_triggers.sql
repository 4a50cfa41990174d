-- ---------------------------------------------------------------------
-- Immutability
--
--		Statement triggers speak even when no row is touched; the row
--		triggers are cloned to the partitions and hold where one of them is
--		named directly.  ALWAYS: session_replication_role does not get by.
-- ---------------------------------------------------------------------
CREATE TRIGGER audit_logs_immutable
	BEFORE UPDATE OR DELETE ON @schema@.audit_logs
	FOR EACH STATEMENT EXECUTE FUNCTION @schema@.refuse_change();
CREATE TRIGGER audit_logs_immutable_row
	BEFORE UPDATE OR DELETE ON @schema@.audit_logs
	FOR EACH ROW EXECUTE FUNCTION @schema@.refuse_change();
CREATE TRIGGER audit_logs_immutable_truncate
	BEFORE TRUNCATE ON @schema@.audit_logs
	FOR EACH STATEMENT EXECUTE FUNCTION @schema@.refuse_change();

ALTER TABLE @schema@.audit_logs ENABLE ALWAYS TRIGGER audit_logs_immutable;
ALTER TABLE @schema@.audit_logs ENABLE ALWAYS TRIGGER audit_logs_immutable_row;
ALTER TABLE @schema@.audit_logs ENABLE ALWAYS TRIGGER audit_logs_immutable_truncate;


CREATE TRIGGER seals_immutable
	BEFORE UPDATE OR DELETE OR TRUNCATE ON @schema@.seals
	FOR EACH STATEMENT EXECUTE FUNCTION @schema@.refuse_change();
CREATE TRIGGER marks_immutable
	BEFORE UPDATE OR DELETE OR TRUNCATE ON @schema@.marks
	FOR EACH STATEMENT EXECUTE FUNCTION @schema@.refuse_change();

ALTER TABLE @schema@.seals ENABLE ALWAYS TRIGGER seals_immutable;
ALTER TABLE @schema@.marks ENABLE ALWAYS TRIGGER marks_immutable;
