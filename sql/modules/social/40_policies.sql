-- ---------------------------------------------------------------------
-- Policies
--
--		Where a table has no policy for a verb, functions do it.  What an
--		admin may write is limited by the column grants of 50_rights.sql too.
-- ---------------------------------------------------------------------

ALTER TABLE @schema@.user_levels ENABLE ROW LEVEL SECURITY;
CREATE POLICY user_levels_read ON @schema@.user_levels
	FOR SELECT TO anon, authenticated USING (true);

ALTER TABLE @schema@.xp_transactions ENABLE ROW LEVEL SECURITY;
CREATE POLICY xp_transactions_read_own ON @schema@.xp_transactions
	FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));

ALTER TABLE @schema@.badges ENABLE ROW LEVEL SECURITY;
CREATE POLICY badges_read ON @schema@.badges
	FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY badges_insert_admin ON @schema@.badges
	FOR INSERT TO authenticated WITH CHECK ((SELECT auth.is_admin()));
CREATE POLICY badges_update_admin ON @schema@.badges
	FOR UPDATE TO authenticated
	USING ((SELECT auth.is_admin())) WITH CHECK ((SELECT auth.is_admin()));
CREATE POLICY badges_delete_admin ON @schema@.badges
	FOR DELETE TO authenticated USING ((SELECT auth.is_admin()));

ALTER TABLE @schema@.user_badges ENABLE ROW LEVEL SECURITY;
CREATE POLICY user_badges_read ON @schema@.user_badges
	FOR SELECT TO anon, authenticated USING (true);

-- An admin sees what is not active too, and so can switch it off.
ALTER TABLE @schema@.skills ENABLE ROW LEVEL SECURITY;
CREATE POLICY skills_read_active ON @schema@.skills
	FOR SELECT TO anon, authenticated USING (is_active);
CREATE POLICY skills_read_admin ON @schema@.skills
	FOR SELECT TO authenticated USING ((SELECT auth.is_admin()));
CREATE POLICY skills_insert_admin ON @schema@.skills
	FOR INSERT TO authenticated WITH CHECK ((SELECT auth.is_admin()));
CREATE POLICY skills_update_admin ON @schema@.skills
	FOR UPDATE TO authenticated
	USING ((SELECT auth.is_admin())) WITH CHECK ((SELECT auth.is_admin()));
CREATE POLICY skills_delete_admin ON @schema@.skills
	FOR DELETE TO authenticated USING ((SELECT auth.is_admin()));

ALTER TABLE @schema@.user_skills ENABLE ROW LEVEL SECURITY;
CREATE POLICY user_skills_read_verified ON @schema@.user_skills
	FOR SELECT TO anon, authenticated USING (verified);
CREATE POLICY user_skills_read_own ON @schema@.user_skills
	FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
CREATE POLICY user_skills_insert_own ON @schema@.user_skills
	FOR INSERT TO authenticated WITH CHECK (user_id = (SELECT auth.uid()));
CREATE POLICY user_skills_update_own ON @schema@.user_skills
	FOR UPDATE TO authenticated
	USING (user_id = (SELECT auth.uid())) WITH CHECK (user_id = (SELECT auth.uid()));
CREATE POLICY user_skills_delete_own ON @schema@.user_skills
	FOR DELETE TO authenticated USING (user_id = (SELECT auth.uid()));

ALTER TABLE @schema@.certification_requests ENABLE ROW LEVEL SECURITY;
CREATE POLICY certification_requests_read_own ON @schema@.certification_requests
	FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
CREATE POLICY certification_requests_read_reviewer ON @schema@.certification_requests
	FOR SELECT TO authenticated USING ((SELECT @schema@.may_review()));
CREATE POLICY certification_requests_insert_own ON @schema@.certification_requests
	FOR INSERT TO authenticated
	WITH CHECK (user_id = (SELECT auth.uid()) AND status = 'pending'
				AND reviewed_by IS NULL AND reviewed_at IS NULL AND review_notes IS NULL);
CREATE POLICY certification_requests_delete_own ON @schema@.certification_requests
	FOR DELETE TO authenticated
	USING (user_id = (SELECT auth.uid()) AND status = 'pending');

ALTER TABLE @schema@.certifications ENABLE ROW LEVEL SECURITY;
CREATE POLICY certifications_read_own ON @schema@.certifications
	FOR SELECT TO authenticated USING (user_id = (SELECT auth.uid()));
CREATE POLICY certifications_read_reviewer ON @schema@.certifications
	FOR SELECT TO authenticated USING ((SELECT @schema@.may_review()));
