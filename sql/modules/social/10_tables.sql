-- ---------------------------------------------------------------------
-- Module: social
--
--		Experience points, levels, badges and the leaderboard of those who
--		earn them; skills, and the certificates that prove them.
--
-- Schema:	social, or any other: one instance a tenant
-- Needs:	auth, profiles
-- Offers:	add_xp(), award_badge(), check_badges(), my_badges(),
--			get_leaderboard(), refresh_leaderboard(),
--			request_certification(), review_certification(),
--			verify_certificate()
-- Rights:	what others earned is public, what is asked for is not; points,
--			badges and certificates come from functions only
-- Tests:	test/regress/sql/social*.sql, test/isolation/specs/social*.spec
-- ---------------------------------------------------------------------

CREATE SCHEMA @schema@;
COMMENT ON SCHEMA @schema@ IS 'plinth: points, levels, badges, leaderboard, skills, certificates';

-- ---------------------------------------------------------------------
-- Growth
-- ---------------------------------------------------------------------

-- A user's row is also the lock under which they grow: whatever gives points
-- or badges takes it first.
CREATE TABLE @schema@.user_levels (
	id				uuid		PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id			uuid		NOT NULL UNIQUE REFERENCES auth.users ON DELETE CASCADE,
	current_level	integer		NOT NULL DEFAULT 1 CHECK (current_level >= 1),
	total_xp		bigint		NOT NULL DEFAULT 0 CHECK (total_xp >= 0),
	created_at		timestamptz	NOT NULL DEFAULT now(),
	updated_at		timestamptz	NOT NULL DEFAULT now()
);
CREATE INDEX idx_user_levels_total_xp ON @schema@.user_levels (total_xp DESC);

COMMENT ON TABLE @schema@.user_levels IS
'how far each user has come; written by add_xp() and award_badge()';
COMMENT ON COLUMN @schema@.user_levels.current_level IS
'plinth.level_for_xp(total_xp), or higher where somebody was given more; never lowered';

CREATE TABLE @schema@.xp_transactions (
	id				uuid		PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id			uuid		NOT NULL REFERENCES auth.users ON DELETE CASCADE,
	amount			integer		NOT NULL CHECK (amount > 0),
	source			text		NOT NULL CHECK (source IN (
						'course_completion', 'skill_mastery', 'social_interaction',
						'quiz_completion', 'project_submission', 'daily_login',
						'achievement_unlock')),
	metadata		jsonb		NOT NULL DEFAULT '{}',
	idempotency_key	text,
	created_at		timestamptz	NOT NULL DEFAULT now()
);
CREATE INDEX idx_xp_transactions_user_id ON @schema@.xp_transactions (user_id);
CREATE INDEX idx_xp_transactions_created_at ON @schema@.xp_transactions (created_at);
CREATE UNIQUE INDEX idx_xp_transactions_idempotency
	ON @schema@.xp_transactions (user_id, source, idempotency_key)
	WHERE idempotency_key IS NOT NULL;

COMMENT ON TABLE @schema@.xp_transactions IS
'where each user''s points come from; their sum is user_levels.total_xp';
COMMENT ON COLUMN @schema@.xp_transactions.idempotency_key IS
'names what the points are for; a second award with the same key adds nothing';

-- ---------------------------------------------------------------------
-- Skills
-- ---------------------------------------------------------------------

CREATE TABLE @schema@.skills (
	id			uuid		PRIMARY KEY DEFAULT gen_random_uuid(),
	name		text		NOT NULL,
	category	text,
	description	text,
	is_active	boolean		NOT NULL DEFAULT true,
	created_at	timestamptz	NOT NULL DEFAULT now(),
	updated_at	timestamptz	NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX idx_skills_name ON @schema@.skills (lower(name));
CREATE INDEX idx_skills_category ON @schema@.skills (category);

COMMENT ON TABLE @schema@.skills IS
'what can be learned and certified; admins write it';

CREATE TABLE @schema@.user_skills (
	id					uuid		PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id				uuid		NOT NULL DEFAULT auth.uid() REFERENCES auth.users ON DELETE CASCADE,
	skill_id			uuid		NOT NULL REFERENCES @schema@.skills ON DELETE CASCADE,
	proficiency_level	text		NOT NULL DEFAULT 'beginner'
		CHECK (proficiency_level IN ('beginner', 'intermediate', 'advanced', 'expert')),
	score				integer		NOT NULL DEFAULT 0 CHECK (score BETWEEN 0 AND 100),
	assessed_at			timestamptz,
	mastered			boolean		NOT NULL DEFAULT false,
	mastered_at			timestamptz,
	verified			boolean		NOT NULL DEFAULT false,
	verified_by			uuid		REFERENCES auth.users ON DELETE SET NULL,
	verified_at			timestamptz,
	created_at			timestamptz	NOT NULL DEFAULT now(),
	updated_at			timestamptz	NOT NULL DEFAULT now(),
	UNIQUE (user_id, skill_id)
);
CREATE INDEX idx_user_skills_verified ON @schema@.user_skills (user_id) WHERE verified;
CREATE INDEX idx_user_skills_skill_id ON @schema@.user_skills (skill_id);
CREATE INDEX idx_user_skills_verified_by ON @schema@.user_skills (verified_by);

COMMENT ON TABLE @schema@.user_skills IS
'what users say they can do; verified where a certificate says so too';
COMMENT ON COLUMN @schema@.user_skills.verified IS
'a certificate confirms the level; false again when the user changes the level';

-- ---------------------------------------------------------------------
-- Badges
-- ---------------------------------------------------------------------

CREATE TABLE @schema@.badges (
	id					uuid		PRIMARY KEY DEFAULT gen_random_uuid(),
	name				text		NOT NULL UNIQUE,
	description			text,
	icon_url			text,
	rarity				text		NOT NULL
		CHECK (rarity IN ('common', 'rare', 'epic', 'legendary')),
	category			text		NOT NULL
		CHECK (category IN ('learning', 'social', 'achievement', 'skill', 'milestone')),
	requirement_type	text		NOT NULL
		CHECK (requirement_type IN ('level', 'skill_mastery', 'social', 'course_complete', 'streak')),
	requirement_value	integer		NOT NULL,
	requirement_score	integer		NOT NULL DEFAULT 0,
	points				integer		NOT NULL DEFAULT 0 CHECK (points >= 0),
	skill_id			uuid		REFERENCES @schema@.skills ON DELETE SET NULL,
	requirement_metric	text		NOT NULL
		CHECK (requirement_metric IN ('level', 'skill_assessments', 'skills_mastered', 'followers',
			'post_likes', 'enrollments', 'courses_completed', 'login_streak')),
	created_at			timestamptz	NOT NULL DEFAULT now()
);
CREATE INDEX idx_badges_category ON @schema@.badges (category);
CREATE INDEX idx_badges_rarity ON @schema@.badges (rarity);
CREATE INDEX idx_badges_requirement ON @schema@.badges (requirement_metric, requirement_value);
CREATE INDEX idx_badges_skill_id ON @schema@.badges (skill_id);

COMMENT ON TABLE @schema@.badges IS
'what can be earned: a badge is earned when its metric reaches requirement_value';
COMMENT ON COLUMN @schema@.badges.requirement_type IS
'a label for display; requirement_metric decides';
COMMENT ON COLUMN @schema@.badges.requirement_score IS
'least score for a skill to count';
COMMENT ON COLUMN @schema@.badges.points IS
'experience points that come with the badge, once';

CREATE TABLE @schema@.user_badges (
	id			uuid		PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id		uuid		NOT NULL REFERENCES auth.users ON DELETE CASCADE,
	badge_id	uuid		NOT NULL REFERENCES @schema@.badges ON DELETE CASCADE,
	earned_at	timestamptz	NOT NULL DEFAULT now(),
	metadata	jsonb		NOT NULL DEFAULT '{}',
	UNIQUE (user_id, badge_id)
);
CREATE INDEX idx_user_badges_user_id ON @schema@.user_badges (user_id);
CREATE INDEX idx_user_badges_earned_at ON @schema@.user_badges (earned_at);
CREATE INDEX idx_user_badges_badge_id ON @schema@.user_badges (badge_id);

COMMENT ON TABLE @schema@.user_badges IS
'who has earned what; kept when the figure falls again';
COMMENT ON COLUMN @schema@.user_badges.metadata IS
'for the holder alone, who reads it through my_badges()';

-- ---------------------------------------------------------------------
-- Certificates
-- ---------------------------------------------------------------------

CREATE TABLE @schema@.certification_requests (
	id				uuid		PRIMARY KEY DEFAULT gen_random_uuid(),
	user_id			uuid		NOT NULL DEFAULT auth.uid() REFERENCES auth.users ON DELETE CASCADE,
	skill_id		uuid		NOT NULL REFERENCES @schema@.skills ON DELETE CASCADE,
	requested_level	text		NOT NULL
		CHECK (requested_level IN ('beginner', 'intermediate', 'advanced', 'expert')),
	evidence_type	text		NOT NULL,
	evidence_urls	text[]		NOT NULL DEFAULT '{}',
	description		text,
	status			text		NOT NULL DEFAULT 'pending'
		CHECK (status IN ('pending', 'under_review', 'approved', 'rejected')),
	reviewed_by		uuid		REFERENCES auth.users ON DELETE SET NULL,
	reviewed_at		timestamptz,
	review_notes	text,
	created_at		timestamptz	NOT NULL DEFAULT now(),
	updated_at		timestamptz	NOT NULL DEFAULT now()
);
CREATE INDEX idx_cert_requests_user_id ON @schema@.certification_requests (user_id);
CREATE INDEX idx_cert_requests_status ON @schema@.certification_requests (status);
CREATE INDEX idx_cert_requests_skill_id ON @schema@.certification_requests (skill_id);
CREATE INDEX idx_cert_requests_reviewed_by ON @schema@.certification_requests (reviewed_by);
CREATE UNIQUE INDEX idx_cert_requests_open
	ON @schema@.certification_requests (user_id, skill_id, requested_level)
	WHERE status IN ('pending', 'under_review');

COMMENT ON TABLE @schema@.certification_requests IS
'who asks for which certificate with what evidence; one open request for a skill and level';

-- A deleted skill must not erase certificates.
CREATE TABLE @schema@.certifications (
	id					uuid		PRIMARY KEY DEFAULT gen_random_uuid(),
	request_id			uuid		UNIQUE REFERENCES @schema@.certification_requests ON DELETE SET NULL,
	user_id				uuid		NOT NULL REFERENCES auth.users ON DELETE CASCADE,
	skill_id			uuid		NOT NULL REFERENCES @schema@.skills ON DELETE RESTRICT,
	level				text		NOT NULL
		CHECK (level IN ('beginner', 'intermediate', 'advanced', 'expert')),
	certificate_number	text		NOT NULL DEFAULT plinth.generate_certificate_number() UNIQUE
		CHECK (certificate_number ~ '^EVOLV-[0-9A-F]{12}$'),
	verification_url	text		NOT NULL,
	issued_at			timestamptz	NOT NULL DEFAULT now(),
	expires_at			timestamptz,
	verified_by			uuid		REFERENCES auth.users ON DELETE SET NULL,
	evidence			jsonb		NOT NULL DEFAULT '[]',
	signed_body			text,
	is_revoked			boolean		NOT NULL DEFAULT false,
	revoked_at			timestamptz,
	revocation_reason	text,
	CHECK (is_revoked = (revoked_at IS NOT NULL))
);
CREATE INDEX idx_certifications_user_id ON @schema@.certifications (user_id);
CREATE INDEX idx_certifications_skill_id ON @schema@.certifications (skill_id);
CREATE INDEX idx_certifications_number ON @schema@.certifications (certificate_number);
CREATE INDEX idx_certifications_issued_at ON @schema@.certifications (issued_at DESC);
CREATE INDEX idx_certifications_verified_by ON @schema@.certifications (verified_by);

COMMENT ON TABLE @schema@.certifications IS
'certificates issued; number, holder, skill, level, time of issue and what is signed never change';
COMMENT ON COLUMN @schema@.certifications.signed_body IS
'what is printed: number, holder_name, skill, level, issued_at, expires_at, issuer; signed by plinth.certificate_sign(); NULL where nothing was signed';

-- ---------------------------------------------------------------------
-- Leaderboard
--
--		Everybody with a profile but guests and those who set
--		hide_from_leaderboard in their preferences.  Counts are made before
--		they are joined, so that they do not multiply each other.  The unique
--		index is what lets it be refreshed while it is read.
-- ---------------------------------------------------------------------
CREATE MATERIALIZED VIEW @schema@.leaderboard_all_time AS
SELECT p.id AS user_id,
	   p.full_name,
	   p.avatar_url,
	   p.user_type,
	   coalesce(l.current_level, 1) AS current_level,
	   coalesce(l.total_xp, 0) AS total_xp,
	   coalesce(b.badge_count, 0) AS badge_count,
	   coalesce(s.skill_count, 0) AS skill_count,
	   row_number() OVER (ORDER BY coalesce(l.total_xp, 0) DESC,
						  coalesce(l.current_level, 1) DESC, p.id) AS rank
FROM profiles.profiles p
LEFT JOIN profiles.private_profiles h ON h.id = p.id
LEFT JOIN @schema@.user_levels l ON l.user_id = p.id
LEFT JOIN (SELECT user_id, count(*) AS badge_count
		   FROM @schema@.user_badges
		   GROUP BY user_id) b ON b.user_id = p.id
LEFT JOIN (SELECT user_id, count(*) AS skill_count
		   FROM @schema@.user_skills
		   WHERE verified
		   GROUP BY user_id) s ON s.user_id = p.id
WHERE NOT p.is_guest
	AND h.preferences ->> 'hide_from_leaderboard' IS DISTINCT FROM 'true';

CREATE UNIQUE INDEX idx_leaderboard_user_id ON @schema@.leaderboard_all_time (user_id);
CREATE INDEX idx_leaderboard_rank ON @schema@.leaderboard_all_time (rank);

COMMENT ON MATERIALIZED VIEW @schema@.leaderboard_all_time IS
'ranks by total_xp, then current_level, then user_id; refreshed by the upkeep worker when dirty; read through get_leaderboard()';
