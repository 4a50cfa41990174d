-- ---------------------------------------------------------------------
-- Chat: rooms and their members
--
--		Policies ask these helpers and not each other's tables, which would
--		recurse.  What a client cannot do by a grant of its own is done here
--		with the owner's rights, after a look at who asks.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.room_role(room_id uuid) RETURNS text
	LANGUAGE sql STABLE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT m.role FROM @schema@.room_members AS m
	WHERE m.room_id = room_role.room_id AND m.user_id = auth.uid()
	$$;
COMMENT ON FUNCTION @schema@.room_role(uuid) IS
'what the caller is in a room: owner, moderator or member; NULL: not in it';

CREATE FUNCTION @schema@.is_room_member(room_id uuid) RETURNS boolean
	LANGUAGE sql STABLE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT EXISTS (SELECT FROM @schema@.room_members AS m
		WHERE m.room_id = is_room_member.room_id AND m.user_id = auth.uid())
	$$;
COMMENT ON FUNCTION @schema@.is_room_member(uuid) IS 'is the caller in a room?';

CREATE FUNCTION @schema@.may_write_in_room(room_id uuid) RETURNS boolean
	LANGUAGE sql STABLE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT EXISTS (SELECT FROM @schema@.room_members AS m JOIN @schema@.rooms AS r ON r.id = m.room_id
		WHERE m.room_id = may_write_in_room.room_id AND m.user_id = auth.uid()
			AND (m.muted_until IS NULL OR m.muted_until <= clock_timestamp()) AND r.archived_at IS NULL)
	$$;
COMMENT ON FUNCTION @schema@.may_write_in_room(uuid) IS
'is the caller in a room that is not archived, and not muted there?';

CREATE FUNCTION @schema@.chat_caller() RETURNS uuid
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		caller	uuid := auth.uid();
	BEGIN
		IF caller IS NULL THEN
			RAISE EXCEPTION 'User not authenticated' USING ERRCODE = 'invalid_authorization_specification';
		END IF;
		RETURN caller;
	END
	$$;
COMMENT ON FUNCTION @schema@.chat_caller() IS 'the caller; errors: 28000 not signed in';

CREATE FUNCTION @schema@.locked_room(room_id uuid) RETURNS @schema@.rooms
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		result	@schema@.rooms;
	BEGIN
		IF NOT plinth.is_service() THEN
			PERFORM @schema@.chat_caller();
		END IF;
		SELECT r.* INTO result FROM @schema@.rooms AS r WHERE r.id = locked_room.room_id FOR NO KEY UPDATE;
		-- A room that the caller cannot see is not there.
		IF NOT FOUND OR (result.kind <> 'public' AND @schema@.room_role(result.id) IS NULL
			AND NOT plinth.is_service())
		THEN
			RAISE EXCEPTION 'no such room' USING ERRCODE = 'no_data_found';
		END IF;
		RETURN result;
	END
	$$;
COMMENT ON FUNCTION @schema@.locked_room(uuid) IS
'a room that the caller can see, locked: of two changes of its members the second sees the first; errors: 28000 not signed in; P0002 there is none';

CREATE FUNCTION @schema@.create_room(name text, kind text DEFAULT 'group', members uuid[] DEFAULT '{}') RETURNS @schema@.rooms
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		caller	uuid := @schema@.chat_caller();
		others	uuid[] := ARRAY(SELECT DISTINCT m FROM unnest(create_room.members) AS m WHERE m <> caller);
		result	@schema@.rooms;
	BEGIN
		IF create_room.kind IS NULL OR create_room.kind NOT IN ('direct', 'group', 'public') THEN
			RAISE EXCEPTION 'unrecognized kind of room "%"', create_room.kind
				USING ERRCODE = 'invalid_parameter_value', HINT = 'The kinds are direct, group and public.';
		END IF;
		IF char_length(create_room.name) NOT BETWEEN 1 AND 200 THEN
			RAISE EXCEPTION 'the name of a room has 1 to 200 characters' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		IF cardinality(others) > 1000 THEN
			RAISE EXCEPTION 'a room begins with at most 1000 members' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		IF create_room.kind = 'direct' AND cardinality(others) <> 1 THEN
			RAISE EXCEPTION 'a direct room is for the caller and one other' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		IF (SELECT count(*) FROM auth.users AS u WHERE u.id = ANY (others)) <> cardinality(others) THEN
			RAISE EXCEPTION 'no such user' USING ERRCODE = 'no_data_found';
		END IF;

		INSERT INTO @schema@.rooms (name, kind, created_by, direct_pair)
		VALUES (create_room.name, create_room.kind, caller,
			CASE create_room.kind WHEN 'direct'
				THEN ARRAY[least(caller, others[1]), greatest(caller, others[1])] END)
		ON CONFLICT (direct_pair) DO NOTHING
		RETURNING * INTO result;
		IF NOT FOUND THEN
			-- The room of the two is there, whoever made it; who left comes back.
			UPDATE @schema@.rooms SET archived_at = NULL
			WHERE direct_pair = ARRAY[least(caller, others[1]), greatest(caller, others[1])]
			RETURNING * INTO result;
		END IF;
		INSERT INTO @schema@.room_members (room_id, user_id)
		SELECT result.id, o FROM unnest(CASE create_room.kind WHEN 'direct' THEN others || caller ELSE others END) AS o
		ON CONFLICT DO NOTHING;
		RETURN result;
	END
	$$;
COMMENT ON FUNCTION @schema@.create_room(text, text, uuid[]) IS
'makes a room with the caller as owner and others as members, and returns it; of a pair there is one direct room, which is returned if it is there; name = 1 to 200 characters or NULL; kind = direct, group or public; members = at most 1000; errors: 28000 not signed in; 22023 name, kind or number of members; P0002 no such user';

CREATE FUNCTION @schema@.add_member(room_id uuid, user_id uuid, role text DEFAULT 'member') RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		caller	uuid := auth.uid();
		room	@schema@.rooms := @schema@.locked_room(add_member.room_id);
		own		text := @schema@.room_role(room.id);
		former	text;
	BEGIN
		IF add_member.role IS NULL OR add_member.role NOT IN ('owner', 'moderator', 'member') THEN
			RAISE EXCEPTION 'unrecognized role "%"', add_member.role
				USING ERRCODE = 'invalid_parameter_value', HINT = 'The roles are owner, moderator and member.';
		END IF;
		IF room.kind = 'direct' OR room.archived_at IS NOT NULL THEN
			RAISE EXCEPTION 'nobody can be added to a room that is direct or archived'
				USING ERRCODE = 'object_not_in_prerequisite_state';
		END IF;
		SELECT m.role INTO former FROM @schema@.room_members AS m
		WHERE m.room_id = room.id AND m.user_id = add_member.user_id;
		IF former = add_member.role THEN
			RETURN;
		END IF;

		-- Owners decide; moderators let members in; who likes joins a public room.
		IF NOT (plinth.is_service() OR own IS NOT DISTINCT FROM 'owner'
			OR (former IS NULL AND add_member.role = 'member'
				AND (own IS NOT DISTINCT FROM 'moderator'
					OR (room.kind = 'public' AND add_member.user_id IS NOT DISTINCT FROM caller))))
		THEN
			RAISE EXCEPTION 'permission denied for room' USING ERRCODE = 'insufficient_privilege';
		END IF;
		IF NOT EXISTS (SELECT FROM auth.users AS u WHERE u.id = add_member.user_id) THEN
			RAISE EXCEPTION 'no such user' USING ERRCODE = 'no_data_found';
		END IF;
		IF former = 'owner' AND NOT EXISTS (SELECT FROM @schema@.room_members AS m
			WHERE m.room_id = room.id AND m.role = 'owner' AND m.user_id <> add_member.user_id)
		THEN
			RAISE EXCEPTION 'a room has an owner'
				USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Make somebody else owner first.';
		END IF;

		INSERT INTO @schema@.room_members (room_id, user_id, role)
		VALUES (room.id, add_member.user_id, add_member.role)
		ON CONFLICT (room_id, user_id) DO UPDATE SET role = excluded.role;
	END
	$$;
COMMENT ON FUNCTION @schema@.add_member(uuid, uuid, text) IS
'puts a user into a room, or gives a member another role: owners any, moderators new members, and everybody themselves into a public room; role = owner, moderator or member; errors: 28000 not signed in; P0002 no such room or user; 22023 another role; 42501 not for the caller; 55000 the room is direct or archived, or it would have no owner';

CREATE FUNCTION @schema@.remove_member(room_id uuid, user_id uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		room	@schema@.rooms := @schema@.locked_room(remove_member.room_id);
		own		text := @schema@.room_role(room.id);
		former	text;
	BEGIN
		SELECT m.role INTO former FROM @schema@.room_members AS m
		WHERE m.room_id = room.id AND m.user_id = remove_member.user_id;
		IF NOT (plinth.is_service() OR remove_member.user_id IS NOT DISTINCT FROM auth.uid()
			OR own IS NOT DISTINCT FROM 'owner'
			OR (own IS NOT DISTINCT FROM 'moderator' AND former IS NOT DISTINCT FROM 'member'))
		THEN
			RAISE EXCEPTION 'permission denied for room' USING ERRCODE = 'insufficient_privilege';
		END IF;
		IF former IS NULL THEN
			RAISE EXCEPTION 'no such member' USING ERRCODE = 'no_data_found';
		END IF;
		DELETE FROM @schema@.room_members AS m
		WHERE m.room_id = room.id AND m.user_id = remove_member.user_id;
	END
	$$;
COMMENT ON FUNCTION @schema@.remove_member(uuid, uuid) IS
'takes a user out of a room: owners anybody, moderators members, everybody themselves; when the last owner goes the moderator or member who joined first becomes owner, and a room that nobody is left in is archived; errors: 28000 not signed in; P0002 no such room or member; 42501 not for the caller';

CREATE FUNCTION @schema@.leave_room(room_id uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		PERFORM @schema@.remove_member(leave_room.room_id, @schema@.chat_caller());
	END
	$$;
COMMENT ON FUNCTION @schema@.leave_room(uuid) IS
'takes the caller out of a room, as remove_member does; errors: 28000 not signed in; P0002 the caller is in no such room';

CREATE FUNCTION @schema@.mark_room_read(room_id uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		UPDATE @schema@.room_members AS m SET last_read_at = clock_timestamp()
		WHERE m.room_id = mark_room_read.room_id AND m.user_id = @schema@.chat_caller();
		IF NOT FOUND THEN
			RAISE EXCEPTION 'no such room' USING ERRCODE = 'no_data_found';
		END IF;
	END
	$$;
COMMENT ON FUNCTION @schema@.mark_room_read(uuid) IS
'notes that the caller has read everything in a room until now; errors: 28000 not signed in; P0002 the caller is in no such room';

-- ---------------------------------------------------------------------
-- Topics: room:<id> and chat-room-<id> are for the members of the room; who
-- is muted reads and does not write.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.may_use_room_topic(rest text, action text) RETURNS boolean
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		-- One spelling of an id is one topic.
		IF rest !~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN
			RETURN false;
		END IF;
		RETURN CASE action WHEN 'read' THEN @schema@.is_room_member(rest::uuid)
			ELSE @schema@.may_write_in_room(rest::uuid) END;
	END
	$$;
COMMENT ON FUNCTION @schema@.may_use_room_topic(text, text) IS
'rule of the prefixes room: and chat-room-: members of the room with that id, spelled as PostgreSQL spells it, read, and write unless they are muted; raises no error';

INSERT INTO @schema@.channel_rules (prefix, check_function) VALUES
	('room:', '@schema@.may_use_room_topic'),
	('chat-room-', '@schema@.may_use_room_topic');
