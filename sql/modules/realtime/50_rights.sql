-- ---------------------------------------------------------------------
-- Rights: the access matrix of the module
-- ---------------------------------------------------------------------
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA @schema@ FROM PUBLIC;
GRANT USAGE ON SCHEMA @schema@ TO anon, authenticated, service_role;

GRANT SELECT ON @schema@.subscriptions TO anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION @schema@.subscribe(text, text, text, text, text, pg_lsn),
	@schema@.unsubscribe(bigint, text), @schema@.renew(bigint, text, text),
	@schema@.poll(bigint, text, bigint, integer)
	TO anon, authenticated;
GRANT EXECUTE ON FUNCTION @schema@.may_use(text, text)
	TO anon, authenticated, service_role;
