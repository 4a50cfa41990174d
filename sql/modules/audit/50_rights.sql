-- ---------------------------------------------------------------------
-- Rights
--
--		Whoever owns tables of another schema and audits them is given
--		USAGE on this schema and EXECUTE on attach, detach and on
--		plinth.audit_set_triggers, audit_statement, audit_row and audit_mark
--		by the administrator.
-- ---------------------------------------------------------------------
GRANT USAGE ON SCHEMA @schema@ TO authenticated, service_role;
GRANT SELECT ON @schema@.audit_logs, @schema@.activity_logs, @schema@.seals,
	@schema@.marks
	TO authenticated, service_role;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA @schema@ FROM PUBLIC;
GRANT EXECUTE ON FUNCTION @schema@.log_activity(text, text, uuid, jsonb),
	@schema@.history(regclass, uuid, integer),
	@schema@.history(regclass, jsonb, integer),
	@schema@.history(regclass, text, integer),
	@schema@.verify(timestamptz, timestamptz, jsonb), @schema@.head(),
	@schema@.proof(uuid)
	TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION @schema@.log_activity(text, text, uuid, jsonb, uuid),
	@schema@.ensure_partitions(integer), @schema@.purge(interval, interval)
	TO service_role;

