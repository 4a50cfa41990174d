-- ---------------------------------------------------------------------
-- Seed: the badges of the start
-- ---------------------------------------------------------------------
INSERT INTO @schema@.badges
	(name, description, rarity, category, requirement_type, requirement_value, points, requirement_metric)
VALUES
	('First Steps', 'Complete your first skill assessment', 'common', 'milestone', 'skill_mastery', 1, 50, 'skill_assessments'),
	('Social Butterfly', 'Get 10 followers', 'common', 'social', 'social', 10, 50, 'followers'),
	('Knowledge Seeker', 'Enroll in your first learning path', 'common', 'learning', 'course_complete', 1, 50, 'enrollments'),
	('Skill Master', 'Master 5 skills', 'rare', 'skill', 'skill_mastery', 5, 200, 'skills_mastered'),
	('Dedicated Learner', '30-day login streak', 'rare', 'achievement', 'streak', 30, 300, 'login_streak'),
	('Community Leader', 'Get 100 post likes', 'epic', 'social', 'social', 100, 500, 'post_likes'),
	('Expert', 'Master 20 skills', 'legendary', 'skill', 'skill_mastery', 20, 1000, 'skills_mastered')
ON CONFLICT (name) DO NOTHING;
