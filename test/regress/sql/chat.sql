-- ---------------------------------------------------------------------
-- CHAT
-- Rooms, members and messages: who may do what, and what becomes of it.
--
-- a makes rooms, b and c are let in, d is not.
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
SET client_min_messages = warning;

INSERT INTO auth.users (id, email) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'a@example.com'),
	('00000000-0000-4000-8000-0000000000b1', 'b@example.com'),
	('00000000-0000-4000-8000-0000000000c1', 'c@example.com'),
	('00000000-0000-4000-8000-0000000000d1', 'd@example.com');

-- the people by a letter, the rooms and messages by a name
CREATE TABLE public.regress_known (name text PRIMARY KEY, id uuid);
INSERT INTO public.regress_known SELECT left(email, 1), id FROM auth.users WHERE email LIKE '_@example.com';
CREATE FUNCTION public.regress_id(name text) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER
	RETURN (SELECT k.id FROM public.regress_known AS k WHERE k.name = regress_id.name);
CREATE FUNCTION public.regress_name(id uuid) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER
	RETURN (SELECT k.name FROM public.regress_known AS k WHERE k.id = regress_name.id);
CREATE FUNCTION public.regress_note(name text, id uuid) RETURNS void LANGUAGE sql SECURITY DEFINER
	AS $$ INSERT INTO public.regress_known VALUES (name, id) $$;

-- run a statement as somebody; its result as text, or its error
CREATE FUNCTION public.regress_as(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result	text;
BEGIN
	PERFORM set_config('request.jwt.claims', CASE
		WHEN who IN ('anon', 'service') THEN ''
		ELSE jsonb_build_object('role', 'authenticated', 'sub', public.regress_id(who))::text END, true);
	PERFORM set_config('role', CASE who WHEN 'anon' THEN 'anon' WHEN 'service' THEN 'service_role'
		ELSE 'authenticated' END, true);
	EXECUTE statement INTO result;
	PERFORM set_config('role', 'none', true);
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || ' ' || sqlerrm;
END
$$;
CREATE VIEW public.regress_members AS
	SELECT public.regress_name(room_id) AS room, string_agg(public.regress_name(user_id) || ' ' || role, ', ' ORDER BY public.regress_name(user_id)) AS members
	FROM realtime.room_members GROUP BY 1;

-- ---------------------------------------------------------------------
-- Rooms
-- ---------------------------------------------------------------------
SELECT public.regress_as('a', $$SELECT public.regress_note('group', id) FROM realtime.create_room('the group', members => ARRAY[public.regress_id('b'), public.regress_id('a'), public.regress_id('b')])$$);
SELECT public.regress_as('a', $$SELECT public.regress_note('square', id) FROM realtime.create_room('the square', 'public')$$);
SELECT public.regress_as('a', $$SELECT public.regress_note('pair', id) FROM realtime.create_room(NULL, 'direct', ARRAY[public.regress_id('b')])$$);
SELECT * FROM public.regress_members ORDER BY room;
SELECT public.regress_name(id) AS room, name, kind, public.regress_name(created_by) AS created_by,
	archived_at IS NULL AS live, direct_pair IS NOT NULL AS of_a_pair
FROM realtime.rooms ORDER BY 1;

-- of a pair there is one, whoever asks
SELECT public.regress_as('b', $$SELECT public.regress_name(id) FROM realtime.create_room('ours', 'direct', ARRAY[public.regress_id('a')])$$);

-- what a room cannot be
SELECT statement, public.regress_as('a', statement) FROM unnest(ARRAY[
	$$SELECT realtime.create_room('', 'group')$$,
	$$SELECT realtime.create_room(repeat('n', 201))$$,
	$$SELECT realtime.create_room('x', 'secret')$$,
	$$SELECT realtime.create_room('x', NULL)$$,
	$$SELECT realtime.create_room('x', 'direct')$$,
	$$SELECT realtime.create_room('x', 'direct', ARRAY[public.regress_id('a')])$$,
	$$SELECT realtime.create_room('x', 'direct', ARRAY[public.regress_id('b'), public.regress_id('c')])$$,
	$$SELECT realtime.create_room('x', 'group', ARRAY['00000000-0000-4000-8000-00000000dead'::uuid])$$,
	$$SELECT realtime.create_room('x', 'group', ARRAY(SELECT gen_random_uuid() FROM generate_series(1, 1001)))$$]) AS statement;
SELECT public.regress_as('anon', $$SELECT realtime.create_room('x')$$);
SELECT public.regress_as('service', $$SELECT realtime.create_room('x')$$);

-- ---------------------------------------------------------------------
-- Members
-- ---------------------------------------------------------------------
SELECT who, what, public.regress_as(who, what) AS outcome FROM (VALUES
	-- a group is closed, a public room open; nobody gives themselves a role
	('d', $$SELECT realtime.add_member(public.regress_id('group'), public.regress_id('d'))$$),
	('d', $$SELECT realtime.add_member(public.regress_id('square'), public.regress_id('d'), 'moderator')$$),
	('d', $$SELECT realtime.add_member(public.regress_id('square'), public.regress_id('c'))$$),
	('d', $$SELECT realtime.add_member(public.regress_id('square'), public.regress_id('d'))$$),
	('d', $$SELECT realtime.add_member(public.regress_id('square'), public.regress_id('d'), 'owner')$$),
	-- a member lets nobody in, a moderator members, an owner anybody
	('b', $$SELECT realtime.add_member(public.regress_id('group'), public.regress_id('c'))$$),
	('a', $$SELECT realtime.add_member(public.regress_id('group'), public.regress_id('b'), 'moderator')$$),
	('b', $$SELECT realtime.add_member(public.regress_id('group'), public.regress_id('c'), 'moderator')$$),
	('b', $$SELECT realtime.add_member(public.regress_id('group'), public.regress_id('c'))$$),
	('b', $$SELECT realtime.add_member(public.regress_id('group'), public.regress_id('c'))$$),
	('b', $$SELECT realtime.add_member(public.regress_id('group'), public.regress_id('a'), 'member')$$),
	('a', $$SELECT realtime.add_member(public.regress_id('group'), public.regress_id('a'), 'member')$$),
	-- what there is not
	('a', $$SELECT realtime.add_member(public.regress_id('group'), public.regress_id('c'), 'king')$$),
	('a', $$SELECT realtime.add_member(public.regress_id('group'), '00000000-0000-4000-8000-00000000dead')$$),
	('a', $$SELECT realtime.add_member(public.regress_id('group'), NULL)$$),
	('a', $$SELECT realtime.add_member('00000000-0000-4000-8000-00000000dead', public.regress_id('c'))$$),
	('a', $$SELECT realtime.add_member(NULL, public.regress_id('c'))$$),
	('a', $$SELECT realtime.add_member(public.regress_id('pair'), public.regress_id('c'))$$),
	-- moderators send members away, not each other
	('c', $$SELECT realtime.remove_member(public.regress_id('group'), public.regress_id('b'))$$),
	('b', $$SELECT realtime.remove_member(public.regress_id('group'), public.regress_id('a'))$$),
	('b', $$SELECT realtime.remove_member(public.regress_id('group'), public.regress_id('d'))$$),
	('a', $$SELECT realtime.remove_member(public.regress_id('group'), public.regress_id('d'))$$),
	('d', $$SELECT realtime.leave_room(public.regress_id('group'))$$),
	('d', $$SELECT realtime.mark_room_read(public.regress_id('group'))$$),
	('c', $$SELECT realtime.mark_room_read(public.regress_id('group'))$$)) AS v (who, what);
SELECT * FROM public.regress_members ORDER BY room;
SELECT public.regress_name(user_id) AS who, last_read_at <= clock_timestamp() AS read
FROM realtime.room_members WHERE room_id = public.regress_id('group') ORDER BY 1;

-- ---------------------------------------------------------------------
-- Messages
-- ---------------------------------------------------------------------
SELECT public.regress_as('a', $$SELECT public.regress_note('m1', id) FROM realtime.send_message(public.regress_id('group'), 'first')$$);
SELECT public.regress_as('b', $$SELECT public.regress_note('m2', id) FROM realtime.send_message(public.regress_id('group'), 'second', 'file', '00000000-0000-4000-8000-00000000f11e')$$);
SELECT public.regress_as('c', $$SELECT public.regress_note('m3', id) FROM realtime.send_message(public.regress_id('group'), repeat('x', 10000))$$);
SELECT public.regress_name(id) AS message, public.regress_name(user_id) AS author, left(content, 10) AS content, message_type, object_id
FROM realtime.messages ORDER BY created_at, id;

SELECT who, what, public.regress_as(who, what) AS outcome FROM (VALUES
	('anon', $$SELECT realtime.send_message(public.regress_id('group'), 'hello')$$),
	('service', $$SELECT realtime.send_message(public.regress_id('group'), 'hello')$$),
	('d', $$SELECT realtime.send_message(public.regress_id('group'), 'hello')$$),
	('d', $$SELECT realtime.send_message(NULL, 'hello')$$),
	('a', $$SELECT realtime.send_message(public.regress_id('group'), '')$$),
	('a', $$SELECT realtime.send_message(public.regress_id('group'), NULL)$$),
	('a', $$SELECT realtime.send_message(public.regress_id('group'), repeat('x', 10001))$$),
	('a', $$SELECT realtime.send_message(public.regress_id('group'), 'x', 'video')$$),
	('a', $$SELECT realtime.send_message(public.regress_id('group'), 'x', NULL)$$),
	-- only the author edits
	('b', $$SELECT realtime.edit_message(public.regress_id('m1'), 'not mine')$$),
	('d', $$SELECT realtime.edit_message(public.regress_id('m1'), 'not there')$$),
	('a', $$SELECT realtime.edit_message(public.regress_id('m1'), '')$$),
	('a', $$SELECT content || ' ' || (edited_at >= created_at) FROM realtime.edit_message(public.regress_id('m1'), 'the first')$$),
	('a', $$SELECT realtime.edit_message('00000000-0000-4000-8000-00000000dead', 'x')$$),
	-- the author and moderators delete
	('c', $$SELECT realtime.delete_message(public.regress_id('m1'))$$),
	('d', $$SELECT realtime.delete_message(public.regress_id('m1'))$$),
	('b', $$SELECT realtime.delete_message(public.regress_id('m3'))$$),
	('c', $$SELECT realtime.delete_message(public.regress_id('m3'))$$),
	('c', $$SELECT content FROM realtime.edit_message(public.regress_id('m3'), 'back')$$)) AS v (who, what);
SELECT public.regress_name(id) AS message, content, edited_at IS NOT NULL AS edited, deleted_at IS NOT NULL AS deleted
FROM realtime.messages ORDER BY created_at, id;

-- muted, and archived
UPDATE realtime.room_members SET muted_until = 'infinity' WHERE user_id = public.regress_id('b') AND room_id = public.regress_id('group');
SELECT public.regress_as('b', $$SELECT realtime.send_message(public.regress_id('group'), 'hello')$$);
SELECT public.regress_as('b', $$SELECT realtime.edit_message(public.regress_id('m2'), 'hello')$$);
SELECT public.regress_as('b', $$INSERT INTO realtime.messages (room_id, user_id, content) VALUES (public.regress_id('group'), public.regress_id('b'), 'hello')$$);
UPDATE realtime.room_members SET muted_until = '-infinity' WHERE user_id = public.regress_id('b') AND room_id = public.regress_id('group');
SELECT public.regress_as('b', $$SELECT content FROM realtime.send_message(public.regress_id('group'), 'again')$$);
SELECT public.regress_as('a', $$UPDATE realtime.rooms SET archived_at = now() WHERE id = public.regress_id('group') RETURNING name$$);
SELECT public.regress_as('a', $$SELECT realtime.send_message(public.regress_id('group'), 'hello')$$);
SELECT public.regress_as('a', $$SELECT realtime.add_member(public.regress_id('group'), public.regress_id('d'))$$);
SELECT public.regress_as('a', $$UPDATE realtime.rooms SET archived_at = NULL WHERE id = public.regress_id('group') RETURNING name$$);

-- ---------------------------------------------------------------------
-- Topics of rooms are for their members
-- ---------------------------------------------------------------------
UPDATE realtime.room_members SET muted_until = 'infinity' WHERE user_id = public.regress_id('c') AND room_id = public.regress_id('group');
SELECT regexp_replace(topic, '[0-9a-fA-F]{8}-.*', CASE WHEN topic ~ '[A-F]' THEN '<ID>' ELSE '<id>' END) AS topic, string_agg(concat_ws(' ', who, CASE public.regress_as(who, format('SELECT realtime.may_use(%L, ''read'')', topic)) WHEN 'true' THEN 'reads' END,
	CASE public.regress_as(who, format('SELECT realtime.may_use(%L, ''write'')', topic)) WHEN 'true' THEN 'writes' END), ', ' ORDER BY who) AS who
FROM unnest(ARRAY['anon', 'b', 'c', 'd', 'service']) AS who,
	LATERAL (VALUES (1, 'room:' || public.regress_id('group')), (2, 'chat-room-' || public.regress_id('group')),
		(3, 'room:' || upper(public.regress_id('group')::text)), (4, 'room:'), (5, 'room:x')) AS v (n, topic)
GROUP BY n, v.topic ORDER BY n;
UPDATE realtime.room_members SET muted_until = NULL WHERE user_id = public.regress_id('c') AND room_id = public.regress_id('group');

-- ---------------------------------------------------------------------
-- The newest, read upwards; further back from one of them
-- ---------------------------------------------------------------------
INSERT INTO realtime.messages (id, room_id, user_id, content, created_at)
	SELECT format('00000000-0000-4000-8000-%s', lpad(n::text, 12, '0'))::uuid, public.regress_id('square'), public.regress_id('a'), n::text,
		'2026-01-01'::timestamptz + n / 2 * interval '1 s'
	FROM generate_series(1, 150) AS n;
UPDATE realtime.messages SET content = '', deleted_at = now() WHERE content IN ('120', '149');
SELECT public.regress_as('d', $$SELECT format('%s: %s to %s', count(*), min(content::int), max(content::int)) FROM realtime.room_messages(public.regress_id('square'))$$);
SELECT public.regress_as('d', $$SELECT string_agg(content, ',') FROM realtime.room_messages(public.regress_id('square'), limit_count => 4)$$);
-- two of the same moment are told apart, and a deleted one still says where
SELECT public.regress_as('d', $$SELECT string_agg(content, ',') FROM realtime.room_messages(public.regress_id('square'), '00000000-0000-4000-8000-000000000123', 3)$$);
SELECT public.regress_as('d', $$SELECT string_agg(content, ',') FROM realtime.room_messages(public.regress_id('square'), '00000000-0000-4000-8000-000000000120', 3)$$);
SELECT public.regress_as('d', $$SELECT count(*) FROM realtime.room_messages(public.regress_id('square'), limit_count => $$ || n || ')') AS messages
FROM unnest(ARRAY['1000', '0', '-1', 'NULL']) AS n;
SELECT public.regress_as('d', $$SELECT realtime.room_messages(public.regress_id('group'))$$);
SELECT public.regress_as('d', $$SELECT realtime.room_messages(public.regress_id('square'), public.regress_id('m1'))$$);
SELECT public.regress_as('anon', $$SELECT realtime.room_messages(public.regress_id('square'))$$);
-- authors: by name, without one, gone
UPDATE profiles.profiles SET username = 'ada' WHERE id = public.regress_id('a');
UPDATE profiles.profiles SET username = NULL WHERE id = public.regress_id('b');
SELECT public.regress_as('c', $$SELECT string_agg(content || ' by ' || username, ', ') FROM realtime.room_messages(public.regress_id('group'))$$);
DELETE FROM profiles.profiles WHERE id = public.regress_id('a');
SELECT public.regress_as('c', $$SELECT string_agg(content || ' by ' || username, ', ') FROM realtime.room_messages(public.regress_id('group'))$$);

-- ---------------------------------------------------------------------
-- When people go
-- ---------------------------------------------------------------------
SELECT public.regress_as('a', $$SELECT realtime.leave_room(public.regress_id('group'))$$);
SELECT * FROM public.regress_members WHERE room = 'group';
DELETE FROM auth.users WHERE id = public.regress_id('b');
SELECT * FROM public.regress_members ORDER BY room;
SELECT public.regress_as('c', $$SELECT realtime.remove_member(public.regress_id('group'), public.regress_id('c'))$$);
SELECT public.regress_name(id) AS room, archived_at IS NOT NULL AS archived FROM realtime.rooms ORDER BY 1;
-- a room takes everything with it
DELETE FROM realtime.rooms WHERE id = public.regress_id('square');
SELECT count(*) FROM realtime.room_members WHERE room_id = public.regress_id('square');
SELECT count(*) FROM realtime.messages WHERE room_id = public.regress_id('square');

-- every message counts, however it comes; 60 a minute for a user
SELECT public.regress_as('d', $$SELECT public.regress_note('monologue', id) FROM realtime.create_room('alone')$$);
SELECT left(outcome, 5) AS outcome, count(*)
FROM generate_series(1, 70) AS n, public.regress_as('d', format($$SELECT 'sent' FROM realtime.send_message(public.regress_id('monologue'), '%s')$$, n)) AS outcome
GROUP BY 1 ORDER BY 1;

DELETE FROM realtime.rooms;
DELETE FROM auth.users WHERE email LIKE '_@example.com';
DROP VIEW public.regress_members;
DROP FUNCTION public.regress_as(text, text), public.regress_id(text), public.regress_name(uuid), public.regress_note(text, uuid);
DROP TABLE public.regress_known;
