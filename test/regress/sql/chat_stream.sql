-- ---------------------------------------------------------------------
-- CHAT, AS IT HAPPENS
-- What members of a room, and others, are sent of its messages.
--
-- Needs:	setup; the stream worker of this database
-- Leaves:	nothing
-- ---------------------------------------------------------------------
SET client_min_messages = warning;

INSERT INTO auth.users (id, email) VALUES
	('00000000-0000-4000-8000-000000000fa1', 'ada@example.com'),
	('00000000-0000-4000-8000-000000000fb1', 'bob@example.com'),
	('00000000-0000-4000-8000-000000000fd1', 'dan@example.com');

CREATE SCHEMA regress_chat;
GRANT USAGE ON SCHEMA regress_chat TO authenticated;
CREATE TABLE regress_chat.subscribed (who text, id bigint, key text);
GRANT INSERT ON regress_chat.subscribed TO authenticated;

-- what has been sent to somebody, when all that is committed has been
CREATE FUNCTION regress_chat.heard(name text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	target		pg_lsn := pg_current_wal_insert_lsn();
	deadline	timestamptz := clock_timestamp() + interval '20 s';
BEGIN
	WHILE NOT EXISTS (SELECT FROM plinth.stat_stream
					  WHERE database = current_database() AND confirmed_lsn >= target)
		AND clock_timestamp() < deadline LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
	RETURN QUERY
	SELECT concat_ws(' ', p.event, p.payload #>> '{new,content}', p.payload -> 'old')
	FROM regress_chat.subscribed AS s, realtime.poll(s.id, s.key, 0) AS p
	WHERE s.who = heard.name ORDER BY p.seq;
END
$$;

SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-000000000fa1"}';
SET ROLE authenticated;
SELECT id AS room FROM realtime.create_room('engines', members => '{00000000-0000-4000-8000-000000000fb1}') \gset
SELECT id AS other FROM realtime.create_room('another') \gset
INSERT INTO regress_chat.subscribed SELECT 'ada', subscription_id, session_key
	FROM realtime.subscribe('all of mine', 'realtime', 'messages');
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-000000000fb1"}';
INSERT INTO regress_chat.subscribed SELECT 'bob', subscription_id, session_key
	FROM realtime.subscribe('one room', 'realtime', 'messages', '*', 'room_id=eq.' || :'room');
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-000000000fd1"}';
INSERT INTO regress_chat.subscribed SELECT 'dan', subscription_id, session_key
	FROM realtime.subscribe('a room that is not mine', 'realtime', 'messages', '*', 'room_id=eq.' || :'room');

-- written, edited, deleted; and something in another room
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-000000000fa1"}';
SELECT id AS message FROM realtime.send_message(:'room', 'It weaves.') \gset
SELECT id AS elsewhere FROM realtime.send_message(:'other', 'to myself') \gset
SELECT content FROM realtime.edit_message(:'message', 'It weaves patterns.');
SELECT realtime.delete_message(:'message');
SELECT content FROM realtime.send_message(:'room', 'still here');
RESET ROLE;
SELECT replace(replace(h, :'message', '<message>'), :'room', '<room>') AS ada FROM regress_chat.heard('ada') AS h
	WHERE h NOT LIKE 'UPDATE%';
-- an update carries the whole row before it
SELECT h LIKE 'UPDATE It weaves patterns. {%"content": "It weaves."%' AS edited FROM regress_chat.heard('ada') AS h WHERE h LIKE 'UPDATE%';
SELECT regexp_replace(replace(h, :'message', '<message>'), '(UPDATE [^{]*).*', '\1') AS bob FROM regress_chat.heard('bob') AS h;
SELECT h AS dan FROM regress_chat.heard('dan') AS h;

-- who has left hears no more
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-000000000fb1"}';
SET ROLE authenticated;
SELECT realtime.leave_room(:'room');
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-000000000fa1"}';
SELECT content FROM realtime.send_message(:'room', 'without Bob');
RESET ROLE;
SELECT count(*) FILTER (WHERE h LIKE '%without Bob%') AS of_bob FROM regress_chat.heard('bob') AS h;
SELECT count(*) FILTER (WHERE h LIKE '%without Bob%') AS of_ada FROM regress_chat.heard('ada') AS h;

SELECT s.who, v.route FROM regress_chat.subscribed AS s JOIN plinth.stat_subscriptions AS v USING (id) ORDER BY s.who;
SELECT count(realtime.unsubscribe(id, key)) FROM regress_chat.subscribed;
DELETE FROM realtime.rooms;
DELETE FROM auth.users WHERE email IN ('ada@example.com', 'bob@example.com', 'dan@example.com');
DROP SCHEMA regress_chat CASCADE;
