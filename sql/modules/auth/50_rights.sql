-- ---------------------------------------------------------------------
-- Rights: the access matrix of the module
-- ---------------------------------------------------------------------
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA @schema@ FROM PUBLIC;
GRANT USAGE ON SCHEMA @schema@ TO anon, authenticated, service_role;

-- tables
GRANT SELECT ON @schema@.me TO authenticated;
GRANT SELECT (id, created_at, user_agent, ip, aal), DELETE ON @schema@.sessions TO authenticated;
GRANT SELECT ON @schema@.identities, @schema@.events TO authenticated;
GRANT SELECT (id, user_id, factor_type, friendly_name, status, created_at, updated_at) ON @schema@.mfa_factors TO authenticated;
GRANT SELECT ON @schema@.users TO service_role;
GRANT SELECT, INSERT, UPDATE, DELETE ON @schema@.sessions, @schema@.identities, @schema@.events,
	@schema@.redirect_urls, @schema@.mfa_factors TO service_role;

-- claims, for everybody
GRANT EXECUTE ON FUNCTION @schema@.uid(), @schema@.jwt(), @schema@.role(), @schema@.email(),
	@schema@.session_id(), @schema@.aal(), @schema@.is_admin(), @schema@.has_role(text),
	@schema@.authenticate(text, boolean), @schema@.deauthenticate()
	TO anon, authenticated, service_role;

-- before signing in
GRANT EXECUTE ON FUNCTION @schema@.sign_up(text, text, jsonb, text), @schema@.sign_in_with_password(text, text),
	@schema@.refresh_session(text), @schema@.verify_otp(text, text), @schema@.reset_password_for_email(text, text),
	@schema@.sign_in_with_provider(text, text, text, jsonb), @schema@.exchange_code(text, text)
	TO anon;

-- signed in
GRANT EXECUTE ON FUNCTION @schema@.sign_out(text), @schema@.get_user(), @schema@.get_session(), @schema@.own_account(),
	@schema@.update_user(text, text, jsonb, text), @schema@.unlink_identity(uuid),
	@schema@.mfa_enroll(text), @schema@.mfa_challenge(uuid), @schema@.mfa_verify(uuid, uuid, text), @schema@.mfa_unenroll(uuid),
	@schema@.mfa_recovery_codes()
	TO authenticated;

-- the service
GRANT EXECUTE ON FUNCTION @schema@.generate_link(text, text, text), @schema@.anon_key(interval), @schema@.purge_expired(),
	@schema@.empty_successors()
	TO service_role;

-- the service, and users whom the function finds to be administrators
GRANT EXECUTE ON FUNCTION @schema@.admin_create_user(text, text, jsonb, boolean), @schema@.admin_get_user_by_id(uuid),
	@schema@.complete_provider_sign_in(uuid, text, jsonb), @schema@.rotate_mfa_keys(integer)
	TO service_role;
GRANT EXECUTE ON FUNCTION @schema@.admin_set_role(uuid, text), @schema@.admin_ban_user(uuid, timestamptz),
	@schema@.admin_delete_user(uuid)
	TO authenticated, service_role;
