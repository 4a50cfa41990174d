-- ---------------------------------------------------------------------
-- Presence
--
--		Who is under a topic.  In shared memory: what these functions do is no
--		part of the transaction.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.track(topic text, connection_id uuid, state jsonb DEFAULT '{}')
RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN plinth.realtime_track(topic, connection_id, state);
COMMENT ON FUNCTION @schema@.track(text, uuid, jsonb) IS
'the caller is under a topic with a connection, an id of its own choice; state: status (online, away, busy, offline; else online), current_page (at most 2048 characters), device_info {type: desktop, mobile or tablet, browser}, meta (an object of at most 4 kB), all else is ignored; replaces what the connection said before; ends with the session that has authenticated itself, else after 60 s without a call for the connection; errors: 22023 an argument is wrong, 28000 no user, 42501 the topic is not for the caller, 53400 too many connections, 55000 not preloaded';

CREATE FUNCTION @schema@.set_status(topic text, connection_id uuid, status text)
RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN plinth.realtime_set_status(topic, connection_id, status);
COMMENT ON FUNCTION @schema@.set_status(text, uuid, text) IS
'status of a connection: online, away, busy or offline; errors: as @schema@.track(), and P0002 the connection is not there';

CREATE FUNCTION @schema@.set_current_page(topic text, connection_id uuid, page text)
RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN plinth.realtime_set_current_page(topic, connection_id, page);
COMMENT ON FUNCTION @schema@.set_current_page(text, uuid, text) IS
'where a connection is, at most 2048 characters, or null; errors: as @schema@.track(), and P0002 the connection is not there';

CREATE FUNCTION @schema@.heartbeat(topic text, connection_id uuid)
RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN plinth.realtime_heartbeat(topic, connection_id);
COMMENT ON FUNCTION @schema@.heartbeat(text, uuid) IS
'the connection is still there: to be called every 30 s where the session has not authenticated itself for good; errors: as @schema@.track(), and P0002 the connection is not there';

CREATE FUNCTION @schema@.untrack(topic text, connection_id uuid)
RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN plinth.realtime_untrack(topic, connection_id);
COMMENT ON FUNCTION @schema@.untrack(text, uuid) IS
'the connection leaves, if it was there; errors: 22023 an argument is wrong, 28000 no user, 55000 not preloaded';

CREATE FUNCTION @schema@.presence_state(topic text)
RETURNS jsonb
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
RETURN plinth.realtime_presence_state(topic);
COMMENT ON FUNCTION @schema@.presence_state(text) IS
'who is under a topic, by user id: of several connections the one that stands for the user (online beats busy beats away beats offline, then the most recent), and connections, how many there are; beside the users online, how many are, and total, how many there are at all; errors: 22023 no topic of 1 to 255 bytes, 42501 the topic is not for the caller, 55000 not preloaded';

CREATE VIEW @schema@.presence WITH (security_invoker = true) AS
SELECT p.topic, p.user_id, p.connection_id, p.username, p.avatar_url, p.status,
	   p.last_seen, p.online_at, p.current_page, p.device_type,
	   p.device_browser, p.meta
FROM plinth.realtime_presence() AS p;
COMMENT ON VIEW @schema@.presence IS
'every connection under the topics that the caller may read from';
COMMENT ON COLUMN @schema@.presence.username IS 'from the user''s profile when it was tracked; Anonymous where there is none';
COMMENT ON COLUMN @schema@.presence.last_seen IS 'when it was last heard of; one that a session holds need not be heard of';
COMMENT ON COLUMN @schema@.presence.online_at IS 'since when it is there';
