-- ---------------------------------------------------------------------
-- Rights
-- ---------------------------------------------------------------------

GRANT USAGE ON SCHEMA @schema@ TO anon, authenticated, service_role;

GRANT SELECT, INSERT, UPDATE, DELETE ON
	@schema@.user_levels, @schema@.xp_transactions, @schema@.badges, @schema@.user_badges,
	@schema@.skills, @schema@.user_skills, @schema@.certification_requests, @schema@.certifications
	TO service_role;
GRANT SELECT ON @schema@.leaderboard_all_time TO service_role;

GRANT SELECT ON @schema@.user_levels, @schema@.badges, @schema@.skills, @schema@.user_skills
	TO anon, authenticated;
GRANT SELECT (id, user_id, badge_id, earned_at) ON @schema@.user_badges TO anon, authenticated;
GRANT SELECT ON @schema@.xp_transactions, @schema@.certification_requests, @schema@.certifications
	TO authenticated;

-- for admins; what a badge is worth is for the service alone (S4.3)
GRANT INSERT (name, description, icon_url, rarity, category, requirement_type, requirement_value,
			  requirement_score, skill_id, requirement_metric),
	UPDATE (name, description, icon_url, rarity, category, requirement_type, requirement_value,
			requirement_score, skill_id, requirement_metric),
	DELETE ON @schema@.badges TO authenticated;
GRANT INSERT (name, category, description, is_active),
	UPDATE (name, category, description, is_active),
	DELETE ON @schema@.skills TO authenticated;

-- for users
GRANT INSERT (skill_id, proficiency_level), UPDATE (proficiency_level), DELETE
	ON @schema@.user_skills TO authenticated;
GRANT INSERT (user_id, skill_id, requested_level, evidence_type, evidence_urls, description), DELETE
	ON @schema@.certification_requests TO authenticated;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA @schema@ FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	@schema@.add_xp(uuid, integer, text, jsonb, text),
	@schema@.award_badge(uuid, uuid, jsonb),
	@schema@.check_badges(uuid),
	@schema@.refresh_leaderboard()
	TO service_role;
GRANT EXECUTE ON FUNCTION
	@schema@.get_leaderboard(integer, bigint, text),
	@schema@.verify_certificate(text)
	TO anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION
	@schema@.my_badges(),
	@schema@.may_review(),
	@schema@.request_certification(uuid, text, text, text[], text),
	@schema@.review_certification(uuid, text, text, timestamptz)
	TO authenticated;
