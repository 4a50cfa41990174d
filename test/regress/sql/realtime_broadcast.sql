--
-- REALTIME: BROADCAST
-- Messages to topics: when they are sent, to whom, and who may send them.
--
-- Needs: setup; the stream worker of this database
-- Leaves: nothing
--
SET client_min_messages = warning;
CREATE SCHEMA regress_broadcast;
GRANT USAGE ON SCHEMA regress_broadcast TO anon, authenticated, service_role;

-- a statement's SQLSTATE and message, or that it went well
CREATE FUNCTION regress_broadcast.outcome(statement text) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END;
$$;

-- wait for the message with this name, at most 20 s, and show all
CREATE FUNCTION regress_broadcast.messages(id bigint, key text, last text,
	OUT seq bigint, OUT event text, OUT name text, OUT payload jsonb, OUT sender text)
RETURNS SETOF record
LANGUAGE plpgsql AS $$
DECLARE
	deadline	timestamptz := clock_timestamp() + interval '20 s';
BEGIN
	WHILE NOT EXISTS (SELECT FROM realtime.poll(id, key, 0) AS p WHERE p.payload ->> 'event' = last)
		AND clock_timestamp() < deadline LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN QUERY
	SELECT p.seq, p.event, p.payload ->> 'event', p.payload -> 'payload', right(p.payload ->> 'from', 2)
	FROM realtime.poll(id, key, 0) AS p;
END;
$$;

CREATE TABLE regress_broadcast.item (id int PRIMARY KEY);
GRANT SELECT ON regress_broadcast.item TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_broadcast.item;
\set ada '{"sub":"00000000-0000-4000-8000-00000000dba1","role":"authenticated"}'
\set bob '{"sub":"00000000-0000-4000-8000-00000000dbb2","role":"authenticated"}'

--
-- What is refused
--
SET request.jwt.claims = :'ada';
SET ROLE authenticated;
SELECT what, regress_broadcast.outcome('SELECT realtime.broadcast(' || arguments || ')') AS outcome
FROM (VALUES
	('no topic', $$NULL, 'e', '{}'$$),
	('empty topic', $$'', 'e', '{}'$$),
	('long topic', $$repeat('t', 256), 'e', '{}'$$),
	('no event', $$'t', NULL, '{}'$$),
	('empty event', $$'t', '', '{}'$$),
	('long event', $$'t', repeat('e', 256), '{}'$$),
	('no payload', $$'t', 'e', NULL$$),
	('large payload', $$'t', 'e', to_jsonb(repeat('p', 65535))$$),
	('neither', $$'t', 'e', '{}', NULL$$),
	('topic of another', $$'user:00000000-0000-4000-8000-00000000dbb2', 'e', '{}'$$),
	('and at once', $$'user:00000000-0000-4000-8000-00000000dbb2', 'e', '{}', false$$)) AS v (what, arguments);
SET request.jwt.claims = '{"role":"authenticated"}';
SELECT regress_broadcast.outcome($$SELECT realtime.broadcast('t', 'e', '{}')$$);
SET request.jwt.claims = '';
SET ROLE anon;
SELECT regress_broadcast.outcome($$SELECT realtime.broadcast('t', 'e', '{}')$$);
SELECT regress_broadcast.outcome($$SELECT plinth.realtime_broadcast('t', 'e', '{}')$$);

--
-- What arrives, and when
--
SET request.jwt.claims = :'bob';
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('regress talk') \gset talk_
SELECT * FROM realtime.subscribe('regress talk', event => 'broadcast') \gset also_
SELECT * FROM realtime.subscribe('regress talk', event => 'presence') \gset deaf_
SELECT * FROM realtime.subscribe('regress talk', 'regress_broadcast', 'item') \gset table_
SELECT * FROM realtime.subscribe('regress talk 2') \gset other_
SELECT topic, table_name, event, route FROM realtime.subscriptions WHERE topic LIKE 'regress talk%' ORDER BY created_at;
SET request.jwt.claims = :'ada';

-- of a transaction that is rolled back nothing, but for what was sent at once
BEGIN;
SELECT realtime.broadcast('regress talk', 'rolled back', '1');
SELECT realtime.broadcast('regress talk', 'now: of a rollback', '{"n": 2}', false);
ROLLBACK;

-- nor of a part of one; the rest when it commits, in its order
BEGIN;
SELECT realtime.broadcast('regress talk', 'first', '[3, "ü", null]');
SAVEPOINT s;
SELECT realtime.broadcast('regress talk', 'in savepoint', '4');
ROLLBACK TO s;
SAVEPOINT s;
SELECT realtime.broadcast('regress talk', 'in another', '5');
RELEASE s;
RESET ROLE;
INSERT INTO regress_broadcast.item VALUES (1);
SET ROLE authenticated;
SELECT realtime.broadcast('regress talk', 'last of it', '6');
COMMIT;

-- what fits just so, and a name and a payload with all that has to be escaped
SELECT realtime.broadcast('regress talk', repeat('e', 255), to_jsonb(repeat('p', 65534)));
SELECT realtime.broadcast('regress talk', repeat('n', 255), to_jsonb(repeat('p', 65534)), false);
SELECT realtime.broadcast('regress talk', E'"\\\n', '{"\"\\\n": "\u0007"}');

-- the service speaks for nobody
RESET request.jwt.claims;
SET ROLE service_role;
SELECT realtime.broadcast('regress talk', 'now: service', 'null', false);
SET ROLE authenticated;
SET request.jwt.claims = :'ada';
SELECT realtime.broadcast('regress talk 2', 'end', 'null');
SELECT realtime.broadcast('regress talk', 'end', 'null');
RESET ROLE;
SELECT count(*) > 0 AS heard FROM regress_broadcast.messages(:talk_subscription_id, :'talk_session_key', 'now: service');
CREATE TEMPORARY TABLE heard AS
SELECT seq, event, CASE WHEN length(name) > 250 THEN left(name, 1) || length(name) ELSE name END AS name,
	   CASE WHEN length(payload::text) > 250 THEN to_jsonb(length(payload #>> '{}')) ELSE payload END AS payload, sender
FROM regress_broadcast.messages(:talk_subscription_id, :'talk_session_key', 'end');
SELECT array_agg(seq ORDER BY seq) AS numbers FROM heard;
SELECT row_number() OVER (ORDER BY seq) AS place, event, name, payload, sender FROM heard WHERE name NOT LIKE 'n%' ORDER BY seq;
SELECT event, name, payload, sender FROM heard WHERE name LIKE 'n%' ORDER BY name COLLATE "C";
DROP TABLE heard;
SELECT count(*) FROM regress_broadcast.messages(:also_subscription_id, :'also_session_key', 'end');
SELECT count(*) FROM regress_broadcast.messages(:other_subscription_id, :'other_session_key', 'end');
SELECT count(*) AS deaf FROM realtime.poll(:deaf_subscription_id, :'deaf_session_key', 0);

-- a table's follower hears its changes and nothing of the topic, at the same position
SELECT p.event, p.lsn = ANY (SELECT t.lsn FROM realtime.poll(:talk_subscription_id, :'talk_session_key', 0) AS t
		WHERE t.payload ->> 'event' IN ('first', 'last of it')) AS same_commit
FROM realtime.poll(:table_subscription_id, :'table_session_key', 0) AS p;
SELECT count(DISTINCT lsn) AS commits FROM realtime.poll(:talk_subscription_id, :'talk_session_key', 0)
WHERE payload ->> 'event' IN ('first', 'in another', 'last of it');
SELECT bool_and(payload ->> 'topic' = 'regress talk') AS topic, bool_and(payload ->> 'eventType' = event) AS event,
	   bool_and(payload ->> 'lsn' = lsn::text) AS lsn, bool_and(seq = (payload ->> 'seq')::bigint) AS seq
FROM realtime.poll(:talk_subscription_id, :'talk_session_key', 0);

--
-- Who else writes to the WAL is not heard
--
CREATE FUNCTION regress_broadcast.forge(xid bytea) RETURNS bytea LANGUAGE sql
RETURN decode(repeat('00', 32), 'hex') || xid || decode('0100' || repeat('00', 16), 'hex') ||
	convert_to('regress talk', 'UTF8') || '\x00' || convert_to('forged', 'UTF8') || '\x00' || convert_to('{}', 'UTF8') || '\x00';
SELECT count(pg_logical_emit_message(transactional, prefix, content))
FROM unnest(ARRAY[true, false]) AS transactional,
	 unnest(ARRAY['plinth.broadcast', 'plinth', '']) AS prefix,
	 int8send(pg_current_xact_id()::text::bigint) AS x,
	 unnest(ARRAY[''::bytea, 'x', decode(repeat('00', 36), 'hex'), decode(repeat('00', 32) || '01000000' || '01' || repeat('00', 17), 'hex'),
		regress_broadcast.forge(substr(x, 5)),
		regress_broadcast.forge(substr(x, 8, 1) || substr(x, 7, 1) || substr(x, 6, 1) || substr(x, 5, 1))]) AS content;
SELECT realtime.broadcast('regress talk', 'after the forged', 'null');
SELECT count(*) FROM regress_broadcast.messages(:talk_subscription_id, :'talk_session_key', 'after the forged')
WHERE name = 'forged';

--
-- The rate: 60 a minute for a user, at once or not, and whatever became of them
--
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-00000000dbf9","role":"authenticated"}';
SET ROLE authenticated;
BEGIN;
SELECT count(realtime.broadcast('regress talk', 'many', '{}', n % 2 = 0)) FROM generate_series(1, 59) AS n;
ROLLBACK;
SELECT regress_broadcast.outcome($$SELECT realtime.broadcast('regress talk', 'sixty', '{}')$$);
SELECT regress_broadcast.outcome($$SELECT realtime.broadcast('regress talk', 'one more', '{}')$$);
SELECT regress_broadcast.outcome($$SELECT realtime.broadcast('user:00000000-0000-4000-8000-00000000dbf9', 'and elsewhere', '{}', false)$$);
RESET ROLE;
SELECT plinth.rate_limit_reset('00000000-0000-4000-8000-00000000dbf9', 'authenticated/broadcast');

-- more than the queue holds at once: the sender waits for the worker; the service is not limited
SET request.jwt.claims = :'bob';
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('regress burst') \gset burst_
SET request.jwt.claims = '';
SET ROLE service_role;
SELECT count(realtime.broadcast('regress burst', 'burst', to_jsonb(n), false)) FROM generate_series(1, 20000) AS n;
RESET ROLE;
CREATE FUNCTION regress_broadcast.received(id bigint, key text, wanted bigint) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	deadline	timestamptz := clock_timestamp() + interval '20 s';
	seen		bigint := 0;
	piece		record;
BEGIN
	WHILE seen < wanted AND clock_timestamp() < deadline LOOP
		FOR piece IN SELECT p.seq, p.payload ->> 'payload' AS n FROM realtime.poll(id, key, seen, 1000) AS p LOOP
			seen := seen + 1;
			IF piece.seq <> seen OR piece.n <> seen::text THEN
				RETURN format('number %s is %s with %s', seen, piece.seq, piece.n);
			END IF;
		END LOOP;
	END LOOP;
	RETURN seen || ' in order';
END;
$$;
SELECT regress_broadcast.received(:burst_subscription_id, :'burst_session_key', 20000);

--
-- Rules by prefix and declared channels
--
CREATE FUNCTION regress_broadcast.only_read(rest text, action text) RETURNS boolean LANGUAGE sql STABLE RETURN action = 'read' AND rest = 'me';
CREATE FUNCTION regress_broadcast.longer(rest text, action text) RETURNS boolean LANGUAGE sql IMMUTABLE RETURN CASE rest WHEN 'null' THEN NULL ELSE true END;
CREATE FUNCTION regress_broadcast.volatile(rest text, action text) RETURNS boolean LANGUAGE sql VOLATILE RETURN true;
CREATE FUNCTION regress_broadcast.number(rest text, action text) RETURNS int LANGUAGE sql STABLE RETURN 1;
CREATE FUNCTION regress_broadcast.one(rest text) RETURNS boolean LANGUAGE sql STABLE RETURN true;
GRANT USAGE ON SCHEMA regress_broadcast TO plinth_owner;

-- a rule is checked when it is written
SELECT name, regress_broadcast.outcome(format('INSERT INTO realtime.channel_rules VALUES (%L, %L)', 'regress-bad:', name)) AS outcome
FROM unnest(ARRAY['regress_broadcast.volatile', 'regress_broadcast.number', 'regress_broadcast.one', 'regress_broadcast.none',
	'nowhere.at_all', 'regress_broadcast.longer(text,text)', 'x; DROP TABLE y', 'longer', '', NULL]) AS name;

INSERT INTO realtime.channel_rules VALUES
	('regress:', 'regress_broadcast.only_read'), ('regress:long:', 'regress_broadcast.longer');
INSERT INTO auth.users (id, email) VALUES ('00000000-0000-4000-8000-00000000dba1', 'broadcast.ada@example.org');
INSERT INTO realtime.channels (name, kind, created_by) VALUES
	('regress public', 'public', NULL), ('regress private', 'private', '00000000-0000-4000-8000-00000000dba1'),
	('regress orphan', 'private', NULL), ('regress:declared', 'public', NULL);
SET request.jwt.claims = :'ada';
SET ROLE authenticated;
CREATE TEMPORARY TABLE asked AS SELECT unnest(ARRAY['regress:me', 'regress:you', 'regress:', 'regress', 'regress:long:x', 'regress:long:null',
	'regress:declared', 'regress public', 'regress private', 'regress orphan', 'regress undeclared']) AS topic;
GRANT SELECT ON asked TO anon;
SELECT topic, realtime.may_use(topic, 'read') AS read, realtime.may_use(topic, 'write') AS write FROM asked;
SET request.jwt.claims = :'bob';
SELECT topic, realtime.may_use(topic, 'read') AS read, realtime.may_use(topic, 'write') AS write FROM asked
WHERE topic LIKE 'regress private';
SET request.jwt.claims = '';
SET ROLE anon;
SELECT topic, realtime.may_use(topic, 'read') AS read FROM asked;
SET ROLE service_role;
SELECT realtime.may_use('regress:you', 'write') AS service;
RESET ROLE;

-- a subscription is asked again when it is renewed, as the user of the token
SELECT plinth.jwt_sign('{"sub":"00000000-0000-4000-8000-00000000dba1","role":"authenticated"}') AS token \gset
SET request.jwt.claims = :'ada';
SET ROLE authenticated;
SELECT * FROM realtime.subscribe('regress private') \gset private_
SET request.jwt.claims = '';
SELECT realtime.renew(:private_subscription_id, :'private_session_key', :'token');
SELECT auth.uid() IS NULL AS nobody;
RESET ROLE;
UPDATE realtime.channels SET created_by = NULL WHERE name = 'regress private';
SET ROLE authenticated;
SELECT regress_broadcast.outcome(format('SELECT realtime.renew(%s, %L, %L)', :private_subscription_id, :'private_session_key', :'token'));
SELECT auth.uid() IS NULL AS nobody;
RESET ROLE;

-- a rule whose function is gone, or became volatile, lets nobody in
ALTER FUNCTION regress_broadcast.longer(text, text) VOLATILE;
DROP FUNCTION regress_broadcast.only_read(text, text);
SET request.jwt.claims = :'ada';
SET ROLE authenticated;
SELECT realtime.may_use('regress:long:x', 'read') AS volatile, realtime.may_use('regress:me', 'read') AS gone;

-- nobody but the owner makes rules
SELECT regress_broadcast.outcome($$INSERT INTO realtime.channel_rules VALUES ('x:', 'regress_broadcast.longer')$$);
SELECT regress_broadcast.outcome($$SELECT * FROM realtime.channel_rules$$);
SELECT regress_broadcast.outcome($$INSERT INTO realtime.channels (name, kind) VALUES ('x', 'public')$$);
SET ROLE service_role;
SELECT regress_broadcast.outcome($$INSERT INTO realtime.channel_rules VALUES ('x:', 'regress_broadcast.longer')$$);
SELECT regress_broadcast.outcome($$INSERT INTO realtime.channels (name, kind) VALUES ('regress bad', 'secret')$$);
SELECT regress_broadcast.outcome($$INSERT INTO realtime.channels (name, kind) VALUES ('', 'public')$$);
RESET ROLE;
RESET request.jwt.claims;

DELETE FROM realtime.channel_rules WHERE prefix LIKE 'regress%';
DELETE FROM realtime.channels WHERE name LIKE 'regress%';
DELETE FROM auth.users WHERE email = 'broadcast.ada@example.org';
DROP TABLE asked;
DROP SCHEMA regress_broadcast CASCADE;
