-- ---------------------------------------------------------------------
-- Tables: chat
--
--		Rooms, who is in them, and what they say.  A message that is deleted
--		stays as an empty row that nobody sees, so that those who had it are
--		told that it went.
-- ---------------------------------------------------------------------
CREATE TABLE @schema@.rooms (
	id			uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	name		text,
	kind		text NOT NULL DEFAULT 'group',
	created_by	uuid REFERENCES auth.users ON DELETE SET NULL,
	created_at	timestamptz NOT NULL DEFAULT now(),
	updated_at	timestamptz NOT NULL DEFAULT now(),
	archived_at	timestamptz,
	direct_pair	uuid[] CONSTRAINT rooms_direct_pair_key UNIQUE,
	CONSTRAINT rooms_kind CHECK (kind IN ('direct', 'group', 'public')),
	CONSTRAINT rooms_name CHECK (char_length(name) BETWEEN 1 AND 200),
	CONSTRAINT rooms_direct CHECK ((kind = 'direct') = (direct_pair IS NOT NULL)),
	CONSTRAINT rooms_direct_pair CHECK (cardinality(direct_pair) = 2 AND direct_pair[1] < direct_pair[2])
);
COMMENT ON TABLE @schema@.rooms IS 'where people write to each other';
COMMENT ON COLUMN @schema@.rooms.kind IS
'direct: two people, one room a pair; group: who is let in; public: everybody may see that it is there, and join';
COMMENT ON COLUMN @schema@.rooms.archived_at IS 'nobody writes any more since then; what was written can be read';
COMMENT ON COLUMN @schema@.rooms.direct_pair IS 'the two of a direct room, the lesser id first; makes the room unique';
CREATE INDEX rooms_created_by_idx ON @schema@.rooms (created_by);

CREATE TABLE @schema@.room_members (
	room_id			uuid NOT NULL REFERENCES @schema@.rooms ON DELETE CASCADE,
	user_id			uuid NOT NULL REFERENCES auth.users ON DELETE CASCADE,
	role			text NOT NULL DEFAULT 'member',
	joined_at		timestamptz NOT NULL DEFAULT now(),
	last_read_at	timestamptz,
	muted_until		timestamptz,
	PRIMARY KEY (room_id, user_id),
	CONSTRAINT room_members_role CHECK (role IN ('owner', 'moderator', 'member'))
);
COMMENT ON TABLE @schema@.room_members IS 'who is in a room, and as what';
COMMENT ON COLUMN @schema@.room_members.last_read_at IS 'set by @schema@.mark_room_read()';
COMMENT ON COLUMN @schema@.room_members.muted_until IS 'the member may read and not write until then; set by the service';
CREATE INDEX room_members_user_id_idx ON @schema@.room_members (user_id);

CREATE TABLE @schema@.messages (
	id				uuid PRIMARY KEY DEFAULT gen_random_uuid(),
	room_id			uuid NOT NULL REFERENCES @schema@.rooms ON DELETE CASCADE,
	user_id			uuid REFERENCES profiles.profiles ON DELETE SET NULL,
	content			text NOT NULL,
	message_type	text NOT NULL DEFAULT 'text',
	edited_at		timestamptz,
	deleted_at		timestamptz,
	object_id		uuid,
	created_at		timestamptz NOT NULL DEFAULT clock_timestamp(),
	CONSTRAINT messages_content CHECK (CASE WHEN deleted_at IS NULL
		THEN char_length(content) BETWEEN 1 AND 10000 ELSE content = '' END),
	CONSTRAINT messages_message_type CHECK (message_type IN ('text', 'image', 'file'))
);
COMMENT ON TABLE @schema@.messages IS 'what was written in a room';
COMMENT ON COLUMN @schema@.messages.user_id IS 'who wrote it; null when the account is gone';
COMMENT ON COLUMN @schema@.messages.deleted_at IS 'a deleted message has no content and is seen by nobody';
COMMENT ON COLUMN @schema@.messages.object_id IS 'the file of a message of type image or file, in the module storage';
CREATE INDEX messages_room_idx ON @schema@.messages (room_id, created_at, id);
CREATE INDEX messages_user_id_idx ON @schema@.messages (user_id);
CREATE INDEX messages_object_id_idx ON @schema@.messages (object_id);

-- Followed by room, and judged by room and deleted_at, which are no part of
-- the key: the WAL has to carry the whole old row.
ALTER TABLE @schema@.messages REPLICA IDENTITY FULL;
ALTER PUBLICATION plinth_realtime ADD TABLE @schema@.messages;
