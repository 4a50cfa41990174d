-- ---------------------------------------------------------------------
-- Policies: chat
-- ---------------------------------------------------------------------
ALTER TABLE @schema@.rooms ENABLE ROW LEVEL SECURITY;
CREATE POLICY rooms_select ON @schema@.rooms FOR SELECT TO authenticated
	USING (kind = 'public' OR @schema@.is_room_member(id));
CREATE POLICY rooms_insert ON @schema@.rooms FOR INSERT TO authenticated
	WITH CHECK (created_by = (SELECT auth.uid()));
CREATE POLICY rooms_update ON @schema@.rooms FOR UPDATE TO authenticated
	USING (@schema@.room_role(id) = 'owner') WITH CHECK (@schema@.room_role(id) = 'owner');

ALTER TABLE @schema@.room_members ENABLE ROW LEVEL SECURITY;
CREATE POLICY room_members_select ON @schema@.room_members FOR SELECT TO authenticated
	USING (@schema@.is_room_member(room_id));

ALTER TABLE @schema@.messages ENABLE ROW LEVEL SECURITY;
CREATE POLICY messages_select ON @schema@.messages FOR SELECT TO authenticated
	USING (deleted_at IS NULL AND @schema@.is_room_member(room_id));
CREATE POLICY messages_insert ON @schema@.messages FOR INSERT TO authenticated
	WITH CHECK (user_id = (SELECT auth.uid()) AND @schema@.may_write_in_room(room_id));
