-- ---------------------------------------------------------------------
-- Triggers
-- ---------------------------------------------------------------------
CREATE TRIGGER touch BEFORE UPDATE ON @schema@.profiles
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();
CREATE TRIGGER touch BEFORE UPDATE ON @schema@.private_profiles
	FOR EACH ROW EXECUTE FUNCTION plinth.touch_updated_at();

CREATE FUNCTION @schema@.note_guest() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		new.is_guest := coalesce((SELECT u.is_anonymous FROM auth.users AS u WHERE u.id = new.id), false);
		RETURN new;
	END
	$$;
COMMENT ON FUNCTION @schema@.note_guest() IS
'trigger of profiles: a new profile is a guest''s when the account is';
CREATE TRIGGER note_guest BEFORE INSERT ON @schema@.profiles
	FOR EACH ROW EXECUTE FUNCTION @schema@.note_guest();

-- With the owner's rights: the user may not write this table.
CREATE FUNCTION @schema@.add_private_profile() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		INSERT INTO @schema@.private_profiles (id, email, role)
		SELECT u.id, u.email, u.app_role FROM auth.users AS u WHERE u.id = new.id;
		RETURN NULL;
	END
	$$;
COMMENT ON FUNCTION @schema@.add_private_profile() IS
'trigger of profiles: a profile has a private part, with address and role of the account';
CREATE TRIGGER add_private_profile AFTER INSERT ON @schema@.profiles
	FOR EACH ROW EXECUTE FUNCTION @schema@.add_private_profile();

