-- ---------------------------------------------------------------------
-- Rights: the access matrix of the module
-- ---------------------------------------------------------------------
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA @schema@ FROM PUBLIC;
GRANT USAGE ON SCHEMA @schema@ TO anon, authenticated, service_role;

-- tables
GRANT SELECT ON @schema@.profiles TO anon, authenticated;
GRANT INSERT (id, username, full_name, avatar_url, website, bio, location),
	UPDATE (username, full_name, avatar_url, website, bio, location),
	DELETE ON @schema@.profiles TO authenticated;
GRANT SELECT, UPDATE (preferences) ON @schema@.private_profiles TO authenticated;
GRANT SELECT (id, user_id, type, title, message, data, is_read, read_at, push_sent, push_sent_at, opened,
		opened_at, action_taken, scheduled_for, expires_at, related_entity_type, related_entity_id, created_at),
	UPDATE (is_read, read_at, opened, opened_at, action_taken),
	DELETE ON @schema@.notifications TO authenticated;
GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.profiles, @schema@.private_profiles, @schema@.notifications
	TO service_role;

-- functions
GRANT EXECUTE ON FUNCTION @schema@.search_profiles(text), @schema@.get_user_stats(uuid)
	TO anon, authenticated;
GRANT EXECUTE ON FUNCTION @schema@.get_or_create_profile(), @schema@.update_profile(jsonb),
	@schema@.set_avatar(text), @schema@.unread_count(), @schema@.mark_read(uuid[]), @schema@.mark_opened(uuid, text)
	TO authenticated;
GRANT EXECUTE ON FUNCTION @schema@.set_user_type(uuid, text) TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION
	@schema@.notify(uuid, text, text, text, jsonb, timestamptz, timestamptz, text, uuid),
	@schema@.claim_push(integer), @schema@.push_done(uuid, text), @schema@.purge_notifications()
	TO service_role;

