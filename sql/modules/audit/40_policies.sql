-- ---------------------------------------------------------------------
-- Policies: administrators read everything, users their own activities;
-- service_role passes them.  Nobody writes but the owner's functions.
-- ---------------------------------------------------------------------
ALTER TABLE @schema@.audit_logs ENABLE ROW LEVEL SECURITY;
CREATE POLICY audit_logs_admin ON @schema@.audit_logs
	FOR SELECT TO authenticated
	USING ((SELECT auth.is_admin()));

ALTER TABLE @schema@.seals ENABLE ROW LEVEL SECURITY;
CREATE POLICY seals_admin ON @schema@.seals
	FOR SELECT TO authenticated
	USING ((SELECT auth.is_admin()));

ALTER TABLE @schema@.marks ENABLE ROW LEVEL SECURITY;
CREATE POLICY marks_admin ON @schema@.marks
	FOR SELECT TO authenticated
	USING ((SELECT auth.is_admin()));

ALTER TABLE @schema@.activity_logs ENABLE ROW LEVEL SECURITY;
CREATE POLICY activity_logs_own ON @schema@.activity_logs
	FOR SELECT TO authenticated
	USING (user_id = (SELECT auth.uid()));
CREATE POLICY activity_logs_admin ON @schema@.activity_logs
	FOR SELECT TO authenticated
	USING ((SELECT auth.is_admin()));

