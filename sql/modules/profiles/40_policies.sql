-- ---------------------------------------------------------------------
-- Policies
-- ---------------------------------------------------------------------
ALTER TABLE @schema@.profiles ENABLE ROW LEVEL SECURITY;
CREATE POLICY profiles_select ON @schema@.profiles FOR SELECT TO anon, authenticated
	USING (true);
CREATE POLICY profiles_insert ON @schema@.profiles FOR INSERT TO authenticated
	WITH CHECK (id = (SELECT auth.uid()));
CREATE POLICY profiles_update ON @schema@.profiles FOR UPDATE TO authenticated
	USING (id = (SELECT auth.uid())) WITH CHECK (id = (SELECT auth.uid()));
CREATE POLICY profiles_delete ON @schema@.profiles FOR DELETE TO authenticated
	USING (id = (SELECT auth.uid()));

ALTER TABLE @schema@.private_profiles ENABLE ROW LEVEL SECURITY;
CREATE POLICY private_profiles_select ON @schema@.private_profiles FOR SELECT TO authenticated
	USING (id = (SELECT auth.uid()) OR (SELECT auth.is_admin()));
CREATE POLICY private_profiles_update ON @schema@.private_profiles FOR UPDATE TO authenticated
	USING (id = (SELECT auth.uid())) WITH CHECK (id = (SELECT auth.uid()));

ALTER TABLE @schema@.notifications ENABLE ROW LEVEL SECURITY;
CREATE POLICY notifications_select ON @schema@.notifications FOR SELECT TO authenticated
	USING (user_id = (SELECT auth.uid()) AND scheduled_for <= now()
		AND (expires_at IS NULL OR expires_at > now()));
CREATE POLICY notifications_update ON @schema@.notifications FOR UPDATE TO authenticated
	USING (user_id = (SELECT auth.uid())) WITH CHECK (user_id = (SELECT auth.uid()));
CREATE POLICY notifications_delete ON @schema@.notifications FOR DELETE TO authenticated
	USING (user_id = (SELECT auth.uid()));

