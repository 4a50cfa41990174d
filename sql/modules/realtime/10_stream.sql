-- ---------------------------------------------------------------------
-- Module: realtime
--
--		The live stream of the changes that a subscriber may see, and rooms in
--		which people write to each other.
--
-- Schema:	realtime
-- Needs:	auth, profiles
-- Offers:	realtime.subscribe(), poll(), unsubscribe(), renew(), may_use(),
--			realtime.subscriptions, the publication plinth_realtime;
--			track(), set_status(), set_current_page(), heartbeat(),
--			untrack(), presence_state(), realtime.presence; broadcast();
--			create_room(), add_member(), remove_member(), leave_room(),
--			mark_room_read(), send_message(), edit_message(),
--			delete_message(), room_messages()
-- Rights:	everybody subscribes; the tables' own policies and grants decide
--			what arrives; may_use() decides on topics; rooms are for their
--			members
-- Tests:	test/regress/sql/realtime.sql, chat.sql, chat_rights.sql,
--			realtime_presence.sql, realtime_broadcast.sql,
--			test/tap/070_realtime.pl, 073_presence.pl
-- ---------------------------------------------------------------------
CREATE SCHEMA @schema@;
COMMENT ON SCHEMA @schema@ IS 'plinth: the live stream of changes';

-- Its tables are the application's choice: ALTER PUBLICATION.
CREATE PUBLICATION plinth_realtime;
COMMENT ON PUBLICATION plinth_realtime IS
'the tables whose changes can be followed with realtime.subscribe()';

CREATE VIEW @schema@.subscriptions WITH (security_invoker = true) AS
SELECT s.id, s.user_id, s.topic, s.schema_name, s.table_name, s.event,
	   s.filter, s.route, s.created_at, s.last_seen, s.expires_at,
	   s.delivered, s.dropped
FROM plinth.realtime_subscriptions() AS s
WHERE s.live;
COMMENT ON VIEW @schema@.subscriptions IS
'the caller''s live subscriptions, all of them to the service; route says how the policies of the table were compiled: all, hash or none';
