-- ---------------------------------------------------------------------
-- CHAT RIGHTS
-- Rooms, members and messages: every table, every verb, as everybody.
--
-- A number is how many rows the statement touched, a code the error.
-- owner made the rooms, member is let in, other is not.
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
SET client_min_messages = warning;

INSERT INTO auth.users (id, email) VALUES
	('00000000-0000-4000-8000-000000000ca1', 'owner@example.com'),
	('00000000-0000-4000-8000-000000000cb1', 'member@example.com'),
	('00000000-0000-4000-8000-000000000cd1', 'other@example.com');
INSERT INTO profiles.profiles (id) SELECT id FROM auth.users WHERE email IN ('owner@example.com', 'member@example.com', 'other@example.com');
INSERT INTO realtime.rooms (id, name, kind, created_by) VALUES
	('00000000-0000-4000-8000-0000000000e1', 'group', 'group', '00000000-0000-4000-8000-000000000ca1'),
	('00000000-0000-4000-8000-0000000000e2', 'public', 'public', '00000000-0000-4000-8000-000000000ca1');
INSERT INTO realtime.room_members (room_id, user_id) VALUES
	('00000000-0000-4000-8000-0000000000e1', '00000000-0000-4000-8000-000000000cb1');
INSERT INTO realtime.messages (id, room_id, user_id, content, deleted_at) VALUES
	('00000000-0000-4000-8000-0000000000f1', '00000000-0000-4000-8000-0000000000e1', '00000000-0000-4000-8000-000000000cb1', 'hello', NULL),
	('00000000-0000-4000-8000-0000000000f2', '00000000-0000-4000-8000-0000000000e1', '00000000-0000-4000-8000-000000000cb1', '', now()),
	('00000000-0000-4000-8000-0000000000f3', '00000000-0000-4000-8000-0000000000e2', '00000000-0000-4000-8000-000000000ca1', 'hello', NULL);

-- what a statement comes to for somebody, undone
CREATE FUNCTION pg_temp.attempt(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	touched	bigint;
BEGIN
	PERFORM set_config('request.jwt.claims', coalesce(
		(SELECT jsonb_build_object('role', 'authenticated', 'sub', u.id)::text FROM auth.users AS u
		 WHERE u.email = who || '@example.com'), ''), true);
	PERFORM set_config('role', CASE who WHEN 'anon' THEN 'anon' WHEN 'service' THEN 'service_role'
		ELSE 'authenticated' END, true);
	EXECUTE statement;
	GET DIAGNOSTICS touched = ROW_COUNT;
	RAISE EXCEPTION USING ERRCODE = 'PT000', MESSAGE = touched::text;
EXCEPTION
	WHEN SQLSTATE 'PT000' THEN RETURN SQLERRM;
	WHEN OTHERS THEN RETURN SQLSTATE;
END
$$;

SELECT statement, pg_temp.attempt('anon', statement) AS anon, pg_temp.attempt('other', statement) AS other,
	pg_temp.attempt('member', statement) AS member, pg_temp.attempt('owner', statement) AS owner,
	pg_temp.attempt('service', statement) AS service
FROM unnest(ARRAY[
	$$SELECT FROM realtime.rooms$$,
	$$INSERT INTO realtime.rooms (name) VALUES ('mine')$$,
	$$INSERT INTO realtime.rooms (name, created_by) VALUES ('mine', auth.uid())$$,
	$$INSERT INTO realtime.rooms (name, created_by) VALUES ('another''s', '00000000-0000-4000-8000-000000000ca1')$$,
	$$INSERT INTO realtime.rooms (kind, created_by) VALUES ('direct', auth.uid())$$,
	$$INSERT INTO realtime.rooms (kind, created_by, direct_pair) VALUES ('direct', auth.uid(), ARRAY[auth.uid(), 'ffffffff-0000-4000-8000-000000000cd1'])$$,
	$$INSERT INTO realtime.rooms (created_by, created_at) VALUES (auth.uid(), now())$$,
	$$UPDATE realtime.rooms SET name = 'renamed'$$,
	$$UPDATE realtime.rooms SET archived_at = now()$$,
	$$UPDATE realtime.rooms SET kind = 'public'$$,
	$$UPDATE realtime.rooms SET created_by = auth.uid()$$,
	$$DELETE FROM realtime.rooms$$,
	$$TRUNCATE realtime.rooms CASCADE$$,
	$$SELECT FROM realtime.room_members$$,
	$$INSERT INTO realtime.room_members (room_id, user_id) VALUES ('00000000-0000-4000-8000-0000000000e2', '00000000-0000-4000-8000-000000000cd1')$$,
	$$UPDATE realtime.room_members SET role = 'owner'$$,
	$$UPDATE realtime.room_members SET muted_until = NULL$$,
	$$DELETE FROM realtime.room_members$$,
	$$SELECT FROM realtime.messages$$,
	$$INSERT INTO realtime.messages (room_id, user_id, content) VALUES ('00000000-0000-4000-8000-0000000000e1', auth.uid(), 'x')$$,
	$$INSERT INTO realtime.messages (room_id, user_id, content) VALUES ('00000000-0000-4000-8000-0000000000e2', auth.uid(), 'x')$$,
	$$INSERT INTO realtime.messages (room_id, user_id, content) VALUES ('00000000-0000-4000-8000-0000000000e1', '00000000-0000-4000-8000-000000000ca1', 'x')$$,
	$$INSERT INTO realtime.messages (room_id, user_id, content, created_at) VALUES ('00000000-0000-4000-8000-0000000000e1', auth.uid(), 'x', now())$$,
	$$INSERT INTO realtime.messages (room_id, user_id, content, edited_at) VALUES ('00000000-0000-4000-8000-0000000000e1', auth.uid(), 'x', now())$$,
	$$UPDATE realtime.messages SET content = 'forged'$$,
	$$UPDATE realtime.messages SET user_id = auth.uid()$$,
	$$DELETE FROM realtime.messages$$]) AS statement;

-- seen is what is in the rooms of the caller and not deleted
SELECT who, pg_temp.attempt(who, $$SELECT FROM realtime.messages WHERE deleted_at IS NOT NULL$$) AS deleted,
	pg_temp.attempt(who, $$SELECT FROM realtime.rooms WHERE kind = 'group'$$) AS closed
FROM unnest(ARRAY['other', 'member', 'owner', 'service']) AS who;

-- signed in as nobody
SELECT statement, pg_temp.attempt('nobody', statement)
FROM unnest(ARRAY[
	$$SELECT FROM realtime.rooms$$,
	$$SELECT realtime.send_message('00000000-0000-4000-8000-0000000000e1', 'x')$$,
	$$SELECT realtime.create_room('x')$$,
	$$SELECT realtime.leave_room('00000000-0000-4000-8000-0000000000e1')$$,
	$$SELECT realtime.mark_room_read('00000000-0000-4000-8000-0000000000e1')$$,
	$$SELECT realtime.edit_message('00000000-0000-4000-8000-0000000000f1', 'x')$$,
	$$SELECT realtime.delete_message('00000000-0000-4000-8000-0000000000f1')$$,
	$$SELECT realtime.room_messages('00000000-0000-4000-8000-0000000000e1')$$,
	$$SELECT realtime.add_member('00000000-0000-4000-8000-0000000000e2', '00000000-0000-4000-8000-000000000cd1')$$,
	$$SELECT realtime.remove_member('00000000-0000-4000-8000-0000000000e1', '00000000-0000-4000-8000-000000000cb1')$$]) AS statement;

DELETE FROM realtime.rooms;
DELETE FROM auth.users WHERE email IN ('owner@example.com', 'member@example.com', 'other@example.com');
