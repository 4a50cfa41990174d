-- ---------------------------------------------------------------------
-- Join: auth with profiles
--
--		What profiles shows of an account follows the account.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.mirror_profile() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		UPDATE profiles.private_profiles AS p
		SET email = new.email, role = new.app_role
		WHERE p.id = new.id AND (p.email, p.role) IS DISTINCT FROM (new.email, new.app_role);
		UPDATE profiles.profiles AS p
		SET is_guest = new.is_anonymous
		WHERE p.id = new.id AND p.is_guest IS DISTINCT FROM new.is_anonymous;
		RETURN NULL;
	END
	$$;
COMMENT ON FUNCTION @schema@.mirror_profile() IS
'trigger of users: carries address, role and guest state over to the user''s profile';
REVOKE ALL ON FUNCTION @schema@.mirror_profile() FROM PUBLIC;

CREATE TRIGGER mirror_profile AFTER UPDATE OF app_role, email, is_anonymous ON @schema@.users
	FOR EACH ROW EXECUTE FUNCTION @schema@.mirror_profile();
