-- ---------------------------------------------------------------------
-- Rights: chat
-- ---------------------------------------------------------------------
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA @schema@ FROM PUBLIC;

GRANT SELECT, INSERT (id, name, kind, created_by), UPDATE (name, archived_at) ON @schema@.rooms TO authenticated;
GRANT SELECT ON @schema@.room_members TO authenticated;
GRANT SELECT, INSERT (id, room_id, user_id, content, message_type, object_id) ON @schema@.messages TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.rooms, @schema@.room_members, @schema@.messages TO service_role;

-- what the policies ask
GRANT EXECUTE ON FUNCTION @schema@.room_role(uuid), @schema@.is_room_member(uuid), @schema@.may_write_in_room(uuid)
	TO authenticated;
GRANT EXECUTE ON FUNCTION @schema@.create_room(text, text, uuid[]), @schema@.add_member(uuid, uuid, text),
	@schema@.remove_member(uuid, uuid), @schema@.leave_room(uuid), @schema@.mark_room_read(uuid),
	@schema@.send_message(uuid, text, text, uuid), @schema@.edit_message(uuid, text), @schema@.delete_message(uuid),
	@schema@.room_messages(uuid, uuid, integer)
	TO authenticated;
GRANT EXECUTE ON FUNCTION @schema@.add_member(uuid, uuid, text), @schema@.remove_member(uuid, uuid) TO service_role;
