-- ---------------------------------------------------------------------
-- Triggers: chat
-- ---------------------------------------------------------------------
CREATE TRIGGER touch BEFORE UPDATE ON @schema@.rooms
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();

CREATE FUNCTION @schema@.add_room_owner() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		INSERT INTO @schema@.room_members (room_id, user_id, role) VALUES (new.id, new.created_by, 'owner');
		RETURN NULL;
	END
	$$;
COMMENT ON FUNCTION @schema@.add_room_owner() IS
'trigger of rooms: who makes a room owns it';
-- The two of a direct room are equals.
CREATE TRIGGER add_room_owner AFTER INSERT ON @schema@.rooms
	FOR EACH ROW WHEN (new.kind <> 'direct' AND new.created_by IS NOT NULL)
	EXECUTE FUNCTION @schema@.add_room_owner();

CREATE FUNCTION @schema@.keep_room_owned() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		-- In the order of ids, so that two statements cannot wait for each other.
		PERFORM FROM @schema@.rooms AS r WHERE r.id IN (SELECT g.room_id FROM gone AS g)
		ORDER BY r.id FOR NO KEY UPDATE;
		-- Not a lock alone: who would not see what the other did is told so at
		-- the stricter isolation levels, by 40001.
		UPDATE @schema@.rooms AS r SET updated_at = now() WHERE r.id IN (SELECT g.room_id FROM gone AS g);
		UPDATE @schema@.rooms AS r SET archived_at = clock_timestamp()
		WHERE r.id IN (SELECT g.room_id FROM gone AS g) AND r.archived_at IS NULL
			AND NOT EXISTS (SELECT FROM @schema@.room_members AS m WHERE m.room_id = r.id);
		-- Owner, moderator, member: the alphabet backwards is their order.
		UPDATE @schema@.room_members AS m SET role = 'owner'
		FROM (
			SELECT DISTINCT ON (l.room_id) l.room_id, l.user_id
			FROM @schema@.room_members AS l JOIN @schema@.rooms AS r ON r.id = l.room_id
			WHERE l.room_id IN (SELECT g.room_id FROM gone AS g) AND r.kind <> 'direct'
				AND NOT EXISTS (SELECT FROM @schema@.room_members AS o WHERE o.room_id = l.room_id AND o.role = 'owner')
			ORDER BY l.room_id, l.role DESC, l.joined_at, l.user_id) AS heir
		WHERE m.room_id = heir.room_id AND m.user_id = heir.user_id;
		RETURN NULL;
	END
	$$;
COMMENT ON FUNCTION @schema@.keep_room_owned() IS
'trigger of room_members: when the last owner of a room is gone, the moderator, else the member, who joined first becomes owner; a room that nobody is left in is archived';
CREATE TRIGGER keep_room_owned AFTER DELETE ON @schema@.room_members
	REFERENCING OLD TABLE AS gone
	FOR EACH STATEMENT EXECUTE FUNCTION @schema@.keep_room_owned();

CREATE FUNCTION @schema@.limit_messages() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		answer	record;
	BEGIN
		IF NOT plinth.is_service() THEN
			SELECT * INTO answer FROM plinth.rate_limit_caller('send_message');
			IF NOT answer.allowed THEN
				RAISE EXCEPTION 'Rate limit exceeded'
					USING ERRCODE = 'PT429',
						  DETAIL = format('The limit is reset at %s.', answer.reset),
						  HINT = format('%s requests remain.', answer.remaining);
			END IF;
		END IF;
		RETURN new;
	END
	$$;
COMMENT ON FUNCTION @schema@.limit_messages() IS
'trigger of messages: each counts against the caller''s tier, by whatever way it comes; errors: PT429; 55000 library not preloaded';
CREATE TRIGGER limit_messages BEFORE INSERT ON @schema@.messages
	FOR EACH ROW EXECUTE FUNCTION @schema@.limit_messages();
