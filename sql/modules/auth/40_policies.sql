-- ---------------------------------------------------------------------
-- Policies
--
--		users, refresh_tokens, lockouts, one_time_tokens, flow_states and
--		redirect_urls have none: they are reached by functions only.  The scalar
--		subquery makes the claim a constant of the statement.
-- ---------------------------------------------------------------------
ALTER TABLE @schema@.users ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.identities ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.refresh_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.lockouts ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.one_time_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.flow_states ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.mfa_factors ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.mfa_challenges ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.mfa_recovery_codes ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.events ENABLE ROW LEVEL SECURITY;
ALTER TABLE @schema@.redirect_urls ENABLE ROW LEVEL SECURITY;

CREATE POLICY identities_select ON @schema@.identities FOR SELECT TO authenticated
	USING (user_id = (SELECT @schema@.uid()));
CREATE POLICY sessions_select ON @schema@.sessions FOR SELECT TO authenticated
	USING (user_id = (SELECT @schema@.uid()));
CREATE POLICY sessions_delete ON @schema@.sessions FOR DELETE TO authenticated
	USING (user_id = (SELECT @schema@.uid()));
CREATE POLICY events_select ON @schema@.events FOR SELECT TO authenticated
	USING (user_id = (SELECT @schema@.uid()));
CREATE POLICY mfa_factors_select ON @schema@.mfa_factors FOR SELECT TO authenticated
	USING (user_id = (SELECT @schema@.uid()));
