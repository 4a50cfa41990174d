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

-- Topics: what nobody may read directly is asked by may_use().  The functions
-- of rules run with the owner's rights, so nobody else writes them.
ALTER TABLE @schema@.channels ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.channel_rules ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.channels TO service_role;
GRANT SELECT ON @schema@.channel_rules TO service_role;

-- presence and broadcast
GRANT SELECT ON @schema@.presence TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION @schema@.track(text, uuid, jsonb),
	@schema@.set_status(text, uuid, text), @schema@.set_current_page(text, uuid, text),
	@schema@.heartbeat(text, uuid), @schema@.untrack(text, uuid)
	TO authenticated;
GRANT EXECUTE ON FUNCTION @schema@.presence_state(text)
	TO anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION @schema@.broadcast(text, text, jsonb, boolean)
	TO authenticated, service_role;
