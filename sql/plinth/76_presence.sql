-- ---------------------------------------------------------------------
-- Rooms: presence, delivery
--
--		The C behind the module realtime: who is under a topic, and what is
--		sent to it.  Each function asks realtime.may_use() about its caller.
--
-- Tests:	test/regress/sql/realtime_presence.sql, realtime_broadcast.sql,
--			test/tap/073_presence.pl
-- ---------------------------------------------------------------------
CREATE FUNCTION plinth.realtime_track(topic text, connection_id uuid, state jsonb DEFAULT '{}')
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_presence_track';

COMMENT ON FUNCTION plinth.realtime_track(text, uuid, jsonb) IS
'the caller is under a topic with a connection; state: status (online, away, busy, offline), current_page (at most 2048 characters), device_info {type, browser}, meta (an object of at most 4 kB), all else is ignored; not transactional; errors: 22023 an argument is wrong, 28000 no user, 42501 the topic is not for the caller, 53400 too many connections, 55000 not preloaded or the module realtime is not installed';

CREATE FUNCTION plinth.realtime_set_status(topic text, connection_id uuid, status text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_presence_set_status';

COMMENT ON FUNCTION plinth.realtime_set_status(text, uuid, text) IS
'status of a connection; errors: as plinth.realtime_track(), and P0002 the connection is not there';

CREATE FUNCTION plinth.realtime_set_current_page(topic text, connection_id uuid, page text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_presence_set_current_page';

COMMENT ON FUNCTION plinth.realtime_set_current_page(text, uuid, text) IS
'where a connection is, at most 2048 characters, or null; errors: as plinth.realtime_track(), and P0002 the connection is not there';

CREATE FUNCTION plinth.realtime_heartbeat(topic text, connection_id uuid)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_presence_heartbeat';

COMMENT ON FUNCTION plinth.realtime_heartbeat(text, uuid) IS
'the connection is still there; errors: as plinth.realtime_track(), and P0002 the connection is not there';

CREATE FUNCTION plinth.realtime_untrack(topic text, connection_id uuid)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_presence_untrack';

COMMENT ON FUNCTION plinth.realtime_untrack(text, uuid) IS
'the connection leaves, if it was there; errors: 22023 an argument is wrong, 28000 no user, 55000 not preloaded';

CREATE FUNCTION plinth.realtime_presence_state(topic text)
RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'plinth_sql_presence_state';

COMMENT ON FUNCTION plinth.realtime_presence_state(text) IS
'who is under a topic, by user id, and the counts online and total; errors: 22023 no topic of 1 to 255 bytes, 42501 the topic is not for the caller, 55000 not preloaded or the module realtime is not installed';

CREATE FUNCTION plinth.realtime_presence(
	OUT topic text, OUT user_id uuid, OUT connection_id uuid,
	OUT username text, OUT avatar_url text, OUT status text,
	OUT last_seen timestamptz, OUT online_at timestamptz,
	OUT current_page text, OUT device_type text, OUT device_browser text,
	OUT meta jsonb)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 100
AS 'MODULE_PATHNAME', 'plinth_sql_presence_list';

COMMENT ON FUNCTION plinth.realtime_presence() IS
'every connection under the topics that the caller may read from; read realtime.presence; errors: 55000 the module realtime is not installed';

CREATE FUNCTION plinth.realtime_broadcast(topic text, event text, payload jsonb,
	transactional boolean DEFAULT true)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_delivery_broadcast';

COMMENT ON FUNCTION plinth.realtime_broadcast(text, text, jsonb, boolean) IS
'send a message to those who follow a topic: event 1 to 255 bytes, payload at most 64 kB as text; transactional: if and when the transaction commits, at its place among its changes, else at once; errors: 22023 an argument is wrong, 28000 no user, 42501 the topic is not for the caller, PT429 too many, 53000 the queue stays full, 55000 the stream cannot run here or the module realtime is not installed';
