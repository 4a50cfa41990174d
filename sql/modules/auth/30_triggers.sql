-- ---------------------------------------------------------------------
-- Triggers: updated_at, and sessions that their users delete
--
--		Counters, locks and the time of the last sign-in are no change of an
--		account; updated_at of a session is its last use.
-- ---------------------------------------------------------------------
CREATE TRIGGER touch BEFORE UPDATE OF email, encrypted_password, email_confirmed_at, raw_user_meta_data,
	raw_app_meta_data, app_role, is_anonymous, banned_until, updated_at ON @schema@.users
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
CREATE TRIGGER touch BEFORE UPDATE ON @schema@.identities
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
CREATE TRIGGER touch BEFORE UPDATE OF user_agent, ip, aal, amr ON @schema@.sessions
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
CREATE TRIGGER touch BEFORE UPDATE OF friendly_name, status, updated_at ON @schema@.mfa_factors
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();

CREATE FUNCTION @schema@.note_deleted_session() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		-- Not where the session goes because the account does, or the purge comes.
		IF old.user_id = plinth.auth_uid()
			AND EXISTS (SELECT FROM @schema@.users AS u WHERE u.id = old.user_id)
		THEN
			PERFORM @schema@.record_event(old.user_id, old.id, 'SIGNED_OUT');
		END IF;
		RETURN NULL;
	END
	$$;
COMMENT ON FUNCTION @schema@.note_deleted_session() IS
'trigger of sessions: a user who deletes one of theirs signs it out, which the device is told';
CREATE TRIGGER note_deleted AFTER DELETE ON @schema@.sessions
	FOR EACH ROW WHEN (old.revoked_at IS NULL) EXECUTE FUNCTION @schema@.note_deleted_session();
