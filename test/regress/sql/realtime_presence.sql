--
-- REALTIME: PRESENCE
-- Who is under a topic, what is told of it, and who may say and see it.
--
-- Needs: setup; the stream worker of this database
-- Leaves: nothing
--
SET client_min_messages = warning;
CREATE SCHEMA regress_presence;
GRANT USAGE ON SCHEMA regress_presence TO anon, authenticated;

-- a statement's SQLSTATE and message, or that it went well
CREATE FUNCTION regress_presence.outcome(statement text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END;
$$;

-- wait until a subscription has a message like that, at most 20 s
CREATE FUNCTION regress_presence.told(id bigint, key text, wanted jsonb) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
	deadline	timestamptz := clock_timestamp() + interval '20 s';
BEGIN
	LOOP
		IF EXISTS (SELECT FROM realtime.poll(id, key, 0) AS p WHERE p.payload @> wanted) THEN
			RETURN true;
		ELSIF clock_timestamp() > deadline THEN
			RETURN false;
		END IF;
		PERFORM pg_sleep(0.01);
	END LOOP;
END;
$$;

-- who has come and gone, by the last letters of the ids
CREATE FUNCTION regress_presence.moves(id bigint, key text,
	OUT event text, OUT who text, OUT connection text, OUT status text, OUT last_seen boolean)
RETURNS SETOF record
LANGUAGE sql AS $$
	SELECT p.payload ->> 'event', right(p.payload ->> 'user_id', 2), right(p.payload ->> 'connection_id', 2),
		   p.payload ->> 'status', p.payload ->> 'last_seen' IS NOT NULL
	FROM realtime.poll(id, key, 0) AS p
	WHERE p.event = 'presence' AND p.payload ->> 'event' <> 'update' ORDER BY p.seq;
$$;

-- what presence_state says, by the last letters of the ids
CREATE FUNCTION regress_presence.state(topic text,
	OUT who text, OUT status text, OUT connection text, OUT connections text, OUT page text)
RETURNS SETOF record
LANGUAGE sql AS $$
	SELECT right(s.key, 2), coalesce(s.value ->> 'status', s.value #>> '{}'), right(s.value ->> 'connection_id', 2),
		   s.value ->> 'connections', s.value ->> 'current_page'
	FROM jsonb_each(realtime.presence_state(topic)) AS s ORDER BY s.key;
$$;

INSERT INTO auth.users (id, email) VALUES
	('00000000-0000-4000-8000-00000000daa1', 'presence.ada@example.org'),
	('00000000-0000-4000-8000-00000000dab2', 'presence.bob@example.org');
INSERT INTO profiles.profiles (id, username, avatar_url) VALUES
	('00000000-0000-4000-8000-00000000daa1', 'Presence_Ada', 'https://example.org/ada.png')
ON CONFLICT (id) DO UPDATE SET username = excluded.username, avatar_url = excluded.avatar_url;
\set ada '{"sub":"00000000-0000-4000-8000-00000000daa1","role":"authenticated"}'
\set bob '{"sub":"00000000-0000-4000-8000-00000000dab2","role":"authenticated"}'

SET request.jwt.claims = :'ada';
SET ROLE authenticated;

-- nobody is there
SELECT realtime.presence_state('regress lobby');

--
-- What is refused
--
SELECT what, regress_presence.outcome('SELECT realtime.' || call) AS outcome
FROM (VALUES
	('no topic', $$track(NULL, gen_random_uuid(), '{}')$$),
	('empty topic', $$track('', gen_random_uuid(), '{}')$$),
	('long topic', $$track(repeat('t', 256), gen_random_uuid(), '{}')$$),
	('no connection', $$track('t', NULL, '{}')$$),
	('no state', $$track('t', gen_random_uuid(), NULL)$$),
	('an array', $$track('t', gen_random_uuid(), '[]')$$),
	('a number', $$track('t', gen_random_uuid(), '1')$$),
	('unknown status', $$track('t', gen_random_uuid(), '{"status": "Online"}')$$),
	('status not a string', $$track('t', gen_random_uuid(), '{"status": 1}')$$),
	('long page', $$track('t', gen_random_uuid(), jsonb_build_object('current_page', repeat('ü', 2049)))$$),
	('page of an object', $$track('t', gen_random_uuid(), '{"current_page": {}}')$$),
	('unknown device', $$track('t', gen_random_uuid(), '{"device_info": {"type": "watch"}}')$$),
	('device a string', $$track('t', gen_random_uuid(), '{"device_info": "mobile"}')$$),
	('long browser', $$track('t', gen_random_uuid(), jsonb_build_object('device_info', jsonb_build_object('browser', repeat('b', 129))))$$),
	('meta not an object', $$track('t', gen_random_uuid(), '{"meta": [1]}')$$),
	('large meta', $$track('t', gen_random_uuid(), jsonb_build_object('meta', jsonb_build_object('a', repeat('m', 4089))))$$),
	('topic of another', $$track('user:00000000-0000-4000-8000-00000000dab2', gen_random_uuid(), '{}')$$),
	('status of nobody', $$set_status('t', gen_random_uuid(), 'away')$$),
	('no status', $$set_status('t', gen_random_uuid(), NULL)$$),
	('wrong status', $$set_status('t', gen_random_uuid(), 'sleeping')$$),
	('page of nobody', $$set_current_page('t', gen_random_uuid(), '/')$$),
	('long page alone', $$set_current_page('t', gen_random_uuid(), repeat('p', 2049))$$),
	('heartbeat of nobody', $$heartbeat('t', gen_random_uuid())$$),
	('untrack of nobody', $$untrack('t', gen_random_uuid())$$),
	('state of no topic', $$presence_state(NULL)$$),
	('state of an empty topic', $$presence_state('')$$),
	('state of another''s topic', $$presence_state('user:00000000-0000-4000-8000-00000000dab2')$$))
	AS v (what, call);

-- what just fits
SELECT regress_presence.outcome($$SELECT realtime.track('regress fit', gen_random_uuid(),
	jsonb_build_object('current_page', repeat('ü', 2048), 'meta', jsonb_build_object('a', repeat('m', 4087))))$$);
SELECT char_length(current_page) AS page, octet_length(meta::text) AS meta FROM realtime.presence WHERE topic = 'regress fit';
SELECT realtime.untrack(topic, connection_id) FROM realtime.presence WHERE topic = 'regress fit';

-- without a user, and by whom it is not for
SET request.jwt.claims = '{"role":"authenticated"}';
SELECT regress_presence.outcome($$SELECT realtime.track('t', gen_random_uuid(), '{}')$$);
SELECT regress_presence.outcome($$SELECT realtime.untrack('t', gen_random_uuid())$$);
SELECT regress_presence.outcome($$SELECT realtime.presence_state('t')$$);
SET request.jwt.claims = '';
SET ROLE anon;
SELECT regress_presence.outcome($$SELECT realtime.track('t', gen_random_uuid(), '{}')$$);
SELECT regress_presence.outcome($$SELECT realtime.presence_state('t')$$);
SELECT regress_presence.outcome($$SELECT * FROM realtime.presence$$);

--
-- One connection, and what its readers are told
--
SET request.jwt.claims = :'bob';
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('regress lobby', event => 'presence') \gset bob_
SELECT * FROM realtime.subscribe('regress lobby', event => 'broadcast') \gset deaf_
SELECT * FROM realtime.subscribe('regress other') \gset other_
SET request.jwt.claims = :'ada';

-- name and picture are the profile's; what a client must not say is ignored
SELECT realtime.track('regress lobby', '00000000-0000-4000-8000-0000000000c1', '{
	"status": "busy", "current_page": "/one", "device_info": {"type": "mobile", "browser": "Firefox/1"}, "meta": {"n": 1},
	"user_id": "00000000-0000-4000-8000-00000000dab2", "username": "root", "avatar_url": "x", "online_at": "1999-01-01", "email": "e"}');
SELECT topic, right(user_id::text, 2) AS who, right(connection_id::text, 2) AS connection, username, avatar_url, status,
	   current_page, device_type, device_browser, meta, online_at <= last_seen AS times
FROM realtime.presence WHERE topic = 'regress lobby';
SELECT regress_presence.told(:bob_subscription_id, :'bob_session_key', '{"event": "join"}');
SELECT payload - 'lsn' - 'commit_timestamp' - 'last_seen' - 'online_at' AS payload, lsn IS NOT NULL AS lsn
FROM realtime.poll(:bob_subscription_id, :'bob_session_key', 0);

-- what changes is told as an update, with all that is known
SELECT realtime.set_current_page('regress lobby', '00000000-0000-4000-8000-0000000000c1', '/two');
SELECT realtime.set_status('regress lobby', '00000000-0000-4000-8000-0000000000c1', 'away');
SELECT regress_presence.told(:bob_subscription_id, :'bob_session_key', '{"event": "update", "status": "away", "current_page": "/two",
	"username": "Presence_Ada", "device_type": "mobile", "device_browser": "Firefox/1", "meta": {"n": 1}}');

-- the same again, and a heartbeat, is nothing new; a page may be none
SELECT count(*) AS before FROM realtime.poll(:bob_subscription_id, :'bob_session_key', 0) \gset
SELECT realtime.set_current_page('regress lobby', '00000000-0000-4000-8000-0000000000c1', '/two');
SELECT realtime.heartbeat('regress lobby', '00000000-0000-4000-8000-0000000000c1');
SELECT realtime.set_current_page('regress lobby', '00000000-0000-4000-8000-0000000000c1', NULL);
SELECT regress_presence.told(:bob_subscription_id, :'bob_session_key', '{"event": "update", "current_page": null}');
SELECT count(*) - :before AS messages FROM realtime.poll(:bob_subscription_id, :'bob_session_key', 0);

-- within a second of each other, changes are one, the last
SELECT count(*) AS before FROM realtime.poll(:bob_subscription_id, :'bob_session_key', 0) \gset
SELECT count(realtime.set_current_page('regress lobby', '00000000-0000-4000-8000-0000000000c1', '/' || n)) FROM generate_series(1, 100) AS n;
SELECT regress_presence.told(:bob_subscription_id, :'bob_session_key', '{"event": "update", "current_page": "/100"}');
SELECT count(*) - :before <= 2 AS few FROM realtime.poll(:bob_subscription_id, :'bob_session_key', 0);

-- a connection of that id under another user or topic is another one
SET request.jwt.claims = :'bob';
SELECT regress_presence.outcome($$SELECT realtime.set_status('regress lobby', '00000000-0000-4000-8000-0000000000c1', 'online')$$);
SELECT realtime.untrack('regress lobby', '00000000-0000-4000-8000-0000000000c1');
SELECT regress_presence.outcome($$SELECT realtime.heartbeat('regress other', '00000000-0000-4000-8000-0000000000c1')$$);
SELECT * FROM regress_presence.state('regress lobby');

--
-- Several connections: online beats busy beats away, then the most recent
--
SET request.jwt.claims = :'ada';
SELECT realtime.track('regress lobby', '00000000-0000-4000-8000-0000000000c2', '{"status": "busy", "current_page": "/c2"}');
SELECT regress_presence.told(:bob_subscription_id, :'bob_session_key', '{"current_page": "/c2"}');
SELECT * FROM regress_presence.state('regress lobby');
SELECT realtime.track('regress lobby', '00000000-0000-4000-8000-0000000000c3', '{"current_page": "/c3"}');
SELECT regress_presence.told(:bob_subscription_id, :'bob_session_key', '{"current_page": "/c3"}');
SELECT * FROM regress_presence.state('regress lobby');
SELECT realtime.set_status('regress lobby', '00000000-0000-4000-8000-0000000000c2', 'online');
SELECT * FROM regress_presence.state('regress lobby');
SELECT realtime.heartbeat('regress lobby', '00000000-0000-4000-8000-0000000000c3');
SELECT * FROM regress_presence.state('regress lobby');
SET request.jwt.claims = :'bob';
SELECT realtime.track('regress lobby', '00000000-0000-4000-8000-0000000000d1', '{"status": "offline"}');
SELECT regress_presence.told(:bob_subscription_id, :'bob_session_key', '{"event": "join", "status": "offline"}');
SELECT * FROM regress_presence.state('regress lobby');

-- whoever leaves is told of with the status offline and the time
SET request.jwt.claims = :'ada';
SELECT realtime.untrack('regress lobby', '00000000-0000-4000-8000-0000000000c1');
SELECT realtime.untrack('regress lobby', '00000000-0000-4000-8000-0000000000c2');
SELECT realtime.untrack('regress lobby', '00000000-0000-4000-8000-0000000000c2');
SELECT regress_presence.told(:bob_subscription_id, :'bob_session_key',
	'{"event": "leave", "connection_id": "00000000-0000-4000-8000-0000000000c2"}');
SELECT * FROM regress_presence.moves(:bob_subscription_id, :'bob_session_key');
SELECT * FROM regress_presence.state('regress lobby');

-- none of it for those who follow something else
SELECT (SELECT count(*) FROM realtime.poll(:deaf_subscription_id, :'deaf_session_key', 0)) AS deaf,
	   (SELECT count(*) FROM realtime.poll(:other_subscription_id, :'other_session_key', 0)) AS other;

-- a rollback changes nothing: presence is no part of the transaction
BEGIN;
SELECT realtime.track('regress other', '00000000-0000-4000-8000-0000000000c4', '{}');
ROLLBACK;
SELECT * FROM regress_presence.state('regress other');
SELECT regress_presence.told(:other_subscription_id, :'other_session_key', '{"event": "join"}');

-- a private topic is seen by its user and the service
SELECT realtime.track('user:00000000-0000-4000-8000-00000000daa1', '00000000-0000-4000-8000-0000000000c5', '{}');
SELECT topic, right(connection_id::text, 2) AS connection FROM realtime.presence WHERE topic LIKE 'user:%' OR topic LIKE 'regress%' ORDER BY 1, 2;
SET request.jwt.claims = :'bob';
SELECT topic, right(connection_id::text, 2) AS connection FROM realtime.presence WHERE topic LIKE 'user:%' OR topic LIKE 'regress%' ORDER BY 1, 2;
RESET request.jwt.claims;
SET ROLE service_role;
SELECT topic, right(connection_id::text, 2) AS connection FROM realtime.presence WHERE topic LIKE 'user:%' OR topic LIKE 'regress%' ORDER BY 1, 2;
SELECT realtime.presence_state('user:00000000-0000-4000-8000-00000000daa1') ->> 'total' AS total;

-- a user has 100 at most
SET request.jwt.claims = :'bob';
SET ROLE authenticated;
SELECT count(realtime.track('regress many', ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, '{}'))
FROM generate_series(2, 100) AS n;
SELECT regress_presence.outcome($$SELECT realtime.track('regress many', gen_random_uuid(), '{}')$$);
SELECT regress_presence.outcome($$SELECT realtime.track('regress many', '00000000-0000-4000-8000-000000000002', '{"status": "busy"}')$$);
SELECT count(realtime.untrack(topic, connection_id)) FROM realtime.presence WHERE user_id = auth.uid();
SET request.jwt.claims = :'ada';
SELECT count(realtime.untrack(topic, connection_id)) FROM realtime.presence WHERE user_id = auth.uid();
RESET ROLE;
RESET request.jwt.claims;
SELECT count(*) FROM realtime.presence WHERE topic LIKE 'regress%';

DELETE FROM auth.users WHERE email LIKE 'presence.%@example.org';
DROP SCHEMA regress_presence CASCADE;
