-- ---------------------------------------------------------------------
-- Triggers: updated_at
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
