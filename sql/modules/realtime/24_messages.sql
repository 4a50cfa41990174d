-- ---------------------------------------------------------------------
-- Chat: messages
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.send_message(room_id uuid, content text, message_type text DEFAULT 'text', object_id uuid DEFAULT NULL)
	RETURNS @schema@.messages
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		caller	uuid := @schema@.chat_caller();
		result	@schema@.messages;
	BEGIN
		PERFORM @schema@.check_content(send_message.content);
		IF send_message.message_type IS NULL OR send_message.message_type NOT IN ('text', 'image', 'file') THEN
			RAISE EXCEPTION 'unrecognized type of message "%"', send_message.message_type
				USING ERRCODE = 'invalid_parameter_value', HINT = 'The types are text, image and file.';
		END IF;
		PERFORM @schema@.require_write(send_message.room_id);
		-- The author is a profile, which is made when it is needed first.
		PERFORM profiles.get_or_create_profile();

		INSERT INTO @schema@.messages (room_id, user_id, content, message_type, object_id)
		VALUES (send_message.room_id, caller, send_message.content, send_message.message_type, send_message.object_id)
		RETURNING * INTO result;
		RETURN result;
	END
	$$;
COMMENT ON FUNCTION @schema@.send_message(uuid, text, text, uuid) IS
'writes a message in a room and returns it; content = 1 to 10000 characters; message_type = text, image or file; object_id = its file; errors: 28000 not signed in ("User not authenticated"); 22023 content or type; 42501 not in the room, or muted there; 55000 the room is archived; PT429 more than the caller''s tier allows';

CREATE FUNCTION @schema@.check_content(content text) RETURNS void
	LANGUAGE plpgsql IMMUTABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		-- Not left to the constraint, whose message would show the row.
		IF content IS NULL OR char_length(content) NOT BETWEEN 1 AND 10000 THEN
			RAISE EXCEPTION 'a message has 1 to 10000 characters' USING ERRCODE = 'invalid_parameter_value';
		END IF;
	END
	$$;
COMMENT ON FUNCTION @schema@.check_content(text) IS
'refuses what is no content of a message; errors: 22023';

CREATE FUNCTION @schema@.require_write(room_id uuid) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		IF @schema@.may_write_in_room(require_write.room_id) THEN
			RETURN;
		END IF;
		IF EXISTS (SELECT FROM @schema@.rooms AS r WHERE r.id = require_write.room_id AND r.archived_at IS NOT NULL)
			AND @schema@.is_room_member(require_write.room_id)
		THEN
			RAISE EXCEPTION 'the room is archived' USING ERRCODE = 'object_not_in_prerequisite_state';
		END IF;
		RAISE EXCEPTION 'permission denied for room'
			USING ERRCODE = 'insufficient_privilege', DETAIL = 'The caller is not in it, or muted there.';
	END
	$$;
COMMENT ON FUNCTION @schema@.require_write(uuid) IS
'refuses a caller who may not write in a room; errors: 42501 not in it, or muted; 55000 archived';

CREATE FUNCTION @schema@.edit_message(id uuid, content text) RETURNS @schema@.messages
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		caller	uuid := @schema@.chat_caller();
		result	@schema@.messages;
	BEGIN
		PERFORM @schema@.check_content(edit_message.content);
		SELECT m.* INTO result FROM @schema@.messages AS m
		WHERE m.id = edit_message.id AND m.deleted_at IS NULL AND @schema@.is_room_member(m.room_id)
		FOR NO KEY UPDATE;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'no such message' USING ERRCODE = 'no_data_found';
		END IF;
		IF result.user_id IS DISTINCT FROM caller THEN
			RAISE EXCEPTION 'permission denied for message' USING ERRCODE = 'insufficient_privilege';
		END IF;
		PERFORM @schema@.require_write(result.room_id);

		UPDATE @schema@.messages AS m SET content = edit_message.content, edited_at = clock_timestamp()
		WHERE m.id = result.id
		RETURNING m.* INTO result;
		RETURN result;
	END
	$$;
COMMENT ON FUNCTION @schema@.edit_message(uuid, text) IS
'changes a message of the caller and returns it; content = 1 to 10000 characters; errors: 28000 not signed in; 22023 content; P0002 no such message in the caller''s rooms, or it is deleted; 42501 another''s message, or muted there; 55000 the room is archived';

CREATE FUNCTION @schema@.delete_message(id uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		caller	uuid := @schema@.chat_caller();
		message	@schema@.messages;
	BEGIN
		SELECT m.* INTO message FROM @schema@.messages AS m
		WHERE m.id = delete_message.id AND m.deleted_at IS NULL AND @schema@.is_room_member(m.room_id)
		FOR NO KEY UPDATE;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'no such message' USING ERRCODE = 'no_data_found';
		END IF;
		IF message.user_id IS DISTINCT FROM caller AND @schema@.room_role(message.room_id) = 'member' THEN
			RAISE EXCEPTION 'permission denied for message' USING ERRCODE = 'insufficient_privilege';
		END IF;
		UPDATE @schema@.messages AS m SET content = '', object_id = NULL, deleted_at = clock_timestamp()
		WHERE m.id = message.id;
	END
	$$;
COMMENT ON FUNCTION @schema@.delete_message(uuid) IS
'empties a message and hides it: its author, and owners and moderators of the room; errors: 28000 not signed in; P0002 no such message in the caller''s rooms, or it is deleted; 42501 another''s message';

CREATE FUNCTION @schema@.room_messages(room_id uuid, before uuid DEFAULT NULL, limit_count integer DEFAULT 100)
	RETURNS TABLE (id uuid, user_id uuid, content text, message_type text, edited_at timestamptz,
		object_id uuid, created_at timestamptz, username text, avatar_url text)
	LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		upto	@schema@.messages;
	BEGIN
		PERFORM @schema@.chat_caller();
		IF NOT @schema@.is_room_member(room_messages.room_id) THEN
			RAISE EXCEPTION 'no such room' USING ERRCODE = 'no_data_found';
		END IF;
		-- A deleted one still says where it was.
		SELECT m.* INTO upto FROM @schema@.messages AS m
		WHERE m.id = room_messages.before AND m.room_id = room_messages.room_id;
		IF NOT FOUND AND room_messages.before IS NOT NULL THEN
			RAISE EXCEPTION 'no such message' USING ERRCODE = 'no_data_found';
		END IF;

		RETURN QUERY
		SELECT n.id, n.user_id, n.content, n.message_type, n.edited_at, n.object_id, n.created_at,
			CASE WHEN n.user_id IS NULL THEN 'deleted user' ELSE coalesce(p.username, 'Anonymous') END, p.avatar_url
		FROM (
			SELECT m.* FROM @schema@.messages AS m
			WHERE m.room_id = room_messages.room_id AND m.deleted_at IS NULL
				AND (upto.id IS NULL OR (m.created_at, m.id) < (upto.created_at, upto.id))
			ORDER BY m.created_at DESC, m.id DESC
			LIMIT least(greatest(coalesce(room_messages.limit_count, 100), 1), 100)) AS n
		LEFT JOIN profiles.profiles AS p ON p.id = n.user_id
		ORDER BY n.created_at, n.id;
	END
	$$;
COMMENT ON FUNCTION @schema@.room_messages(uuid, uuid, integer) IS
'the newest messages of a room, or the newest before one of them, the oldest first, with the name and picture of their authors ("Anonymous" without a name, "deleted user" without an account); limit_count = 1 to 100; errors: 28000 not signed in; P0002 the caller is in no such room, or before is no message of it';
