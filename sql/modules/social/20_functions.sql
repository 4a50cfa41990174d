-- ---------------------------------------------------------------------
-- Points and badges
--
--		lock_growth, give_xp and earn_level_badges do the work and belong to
--		the owner alone: the functions below them and the triggers of this
--		schema call them, having looked at the caller.  Everything that gives
--		points or badges locks the user's row of user_levels first, so that
--		awards of one user queue up, in any transaction and any order, and
--		never wait for each other in a circle.
-- ---------------------------------------------------------------------

-- Make the user's row when it is missing, lock it until the transaction
-- ends, and give it.
CREATE FUNCTION @schema@.lock_growth(member uuid)
RETURNS @schema@.user_levels
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	growth	@schema@.user_levels;
BEGIN
	PERFORM FROM auth.users u WHERE u.id = member;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'user "%" does not exist', member
			USING ERRCODE = 'no_data_found';
	END IF;

	SELECT * INTO growth FROM @schema@.user_levels l
	WHERE l.user_id = member FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		-- another transaction may be making it too: then this waits for it
		INSERT INTO @schema@.user_levels (user_id) VALUES (member)
		ON CONFLICT (user_id) DO NOTHING;
		SELECT * INTO STRICT growth FROM @schema@.user_levels l
		WHERE l.user_id = member FOR NO KEY UPDATE;
	END IF;

	RETURN growth;
END;
$$;

COMMENT ON FUNCTION @schema@.lock_growth(uuid) IS
'internal: the user''s row of user_levels, made when missing, locked until the transaction ends; error: P0002 no such user';

-- Award the badges of metric level that the level has reached and the user
-- does not hold.  The caller holds the user's row.
CREATE FUNCTION @schema@.earn_level_badges(member uuid, reached integer)
RETURNS SETOF @schema@.badges
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
	WITH earned AS (
		INSERT INTO @schema@.user_badges (user_id, badge_id)
		SELECT member, b.id
		FROM @schema@.badges b
		WHERE b.requirement_metric = 'level' AND b.requirement_value <= reached
		ON CONFLICT (user_id, badge_id) DO NOTHING
		RETURNING badge_id
	)
	SELECT b.*
	FROM @schema@.badges b JOIN earned e ON e.badge_id = b.id
	ORDER BY b.requirement_value, b.name;
$$;

COMMENT ON FUNCTION @schema@.earn_level_badges(uuid, integer) IS
'internal: awards the badges of metric level up to a level and returns the new ones; their points are for the caller to give';

-- Give points, and the badges and their points that follow from them.
CREATE FUNCTION @schema@.give_xp(
	member uuid, points integer, origin text, details jsonb, once text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	growth	@schema@.user_levels := @schema@.lock_growth(member);
	before	integer := growth.current_level;
	seen	integer := growth.current_level;
	added	integer := points;
	pending	bigint := points;
	badge	@schema@.badges;
	rewards	jsonb := '[]';
BEGIN
	-- The key is looked at under the lock: whoever used it has committed.
	INSERT INTO @schema@.xp_transactions (user_id, amount, source, metadata, idempotency_key)
	VALUES (member, points, origin, coalesce(details, '{}'), once)
	ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		added := 0;
		pending := 0;
	END IF;

	-- A badge may bring points, points a level, and a level further badges.
	WHILE pending > 0 LOOP
		UPDATE @schema@.user_levels l
		SET total_xp = l.total_xp + pending,
			current_level = greatest(l.current_level, plinth.level_for_xp(l.total_xp + pending))
		WHERE l.id = growth.id
		RETURNING * INTO growth;

		pending := 0;
		IF growth.current_level > seen THEN
			seen := growth.current_level;
			FOR badge IN SELECT * FROM @schema@.earn_level_badges(member, seen) LOOP
				rewards := rewards || jsonb_build_object('type', 'achievement',
					'id', badge.id, 'name', badge.name, 'points', badge.points);
				IF badge.points > 0 THEN
					INSERT INTO @schema@.xp_transactions (user_id, amount, source, metadata, idempotency_key)
					VALUES (member, badge.points, 'achievement_unlock',
							jsonb_build_object('badge_id', badge.id), 'badge:' || badge.id)
					ON CONFLICT DO NOTHING;
					IF FOUND THEN
						pending := pending + badge.points;
					END IF;
				END IF;
			END LOOP;
		END IF;
	END LOOP;

	RETURN jsonb_build_object('success', true, 'data', jsonb_build_object(
		'xp_added', added,
		'total_xp', growth.total_xp,
		'current_level', growth.current_level,
		'level_up', growth.current_level > before,
		'new_level', CASE WHEN growth.current_level > before THEN growth.current_level END,
		'rewards', rewards));
END;
$$;

COMMENT ON FUNCTION @schema@.give_xp(uuid, integer, text, jsonb, text) IS
'internal: add_xp() without the look at the caller and the arguments';

-- ---------------------------------------------------------------------
-- Function: add_xp(user_id uuid, amount integer, source text,
--				metadata jsonb, idempotency_key text) -> jsonb
--
--		Give a user experience points, the level they reach and the badges of
--		that level, with their points; all of it or nothing, and nothing lost
--		or doubled however many do it at once.
--
--	amount			points, 1 or more
--	source			what for: one of those in xp_transactions
--	metadata		kept with the award
--	idempotency_key	the second award of a user with the same source and key
--					adds nothing and reports the totals
--
-- Returns {success, data: {xp_added, total_xp, current_level, level_up,
-- new_level, rewards: [{type, id, name, points}]}}: xp_added without the
-- points of badges, the totals with them, rewards new with this call.
-- Errors: 42501 the caller is not a service; 22023 a missing or invalid
-- argument; P0002 no such user; 22003 the total leaves the bigint range.
-- Definer: users may not write what they earn.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.add_xp(
	user_id uuid, amount integer, source text,
	metadata jsonb DEFAULT '{}', idempotency_key text DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT plinth.is_service() THEN
		RAISE EXCEPTION 'permission denied to award experience points'
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF user_id IS NULL OR coalesce(amount, 0) = 0 OR source IS NULL THEN
		RAISE EXCEPTION 'Missing required fields'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'An award needs a user, an amount and a source.';
	END IF;
	IF amount < 0 THEN
		RAISE EXCEPTION 'amount of experience points must be positive'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = format('The value given was %s.', amount);
	END IF;
	IF source NOT IN ('course_completion', 'skill_mastery', 'social_interaction',
			'quiz_completion', 'project_submission', 'daily_login', 'achievement_unlock') THEN
		RAISE EXCEPTION 'invalid source of experience points "%"', source
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'The sources are course_completion, skill_mastery, social_interaction, quiz_completion, project_submission, daily_login and achievement_unlock.';
	END IF;

	RETURN @schema@.give_xp(user_id, amount, source, metadata, idempotency_key);
END;
$$;

COMMENT ON FUNCTION @schema@.add_xp(uuid, integer, text, jsonb, text) IS
'give a user experience points (1 or more) for a source, once for each idempotency_key; returns {success, data: {xp_added, total_xp, current_level, level_up, new_level, rewards}}; errors: 42501 not a service, 22023 missing or invalid argument, P0002 no such user, 22003 the total leaves bigint';

-- ---------------------------------------------------------------------
-- Function: award_badge(user_id uuid, badge_id uuid, metadata jsonb) -> boolean
--
--		Give a user a badge, and its points with it, once.
--
-- Returns true when it is new.
-- Errors: 42501 the caller is not a service; 22023 no user or badge given;
-- P0002 no such user or badge; 22003 as add_xp.
-- Definer: users may not write what they earn.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.award_badge(user_id uuid, badge_id uuid, metadata jsonb DEFAULT '{}')
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	badge	@schema@.badges;
BEGIN
	IF NOT plinth.is_service() THEN
		RAISE EXCEPTION 'permission denied to award a badge'
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF user_id IS NULL OR badge_id IS NULL THEN
		RAISE EXCEPTION 'Missing required fields'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'An award needs a user and a badge.';
	END IF;

	PERFORM @schema@.lock_growth(user_id);
	SELECT b.* INTO badge FROM @schema@.badges b WHERE b.id = award_badge.badge_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'badge "%" does not exist', badge_id
			USING ERRCODE = 'no_data_found';
	END IF;

	INSERT INTO @schema@.user_badges (user_id, badge_id, metadata)
	VALUES (award_badge.user_id, badge.id, coalesce(award_badge.metadata, '{}'))
	ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		RETURN false;
	END IF;

	IF badge.points > 0 THEN
		PERFORM @schema@.give_xp(user_id, badge.points, 'achievement_unlock',
			jsonb_build_object('badge_id', badge.id), 'badge:' || badge.id);
	END IF;
	RETURN true;
END;
$$;

COMMENT ON FUNCTION @schema@.award_badge(uuid, uuid, jsonb) IS
'give a user a badge and, the first time, its points; true when it is new; errors: 42501 not a service, 22023 missing argument, P0002 no such user or badge, 22003 as add_xp()';

-- ---------------------------------------------------------------------
-- Function: check_badges(user_id uuid) -> setof badges
--
--		Award every badge whose figure the user has reached.  Badges that are
--		earned are never taken back.
--
-- Returns the badges that are new, those that their points led to included.
-- Errors: 42501 the caller is not a service; 22023 no user given; P0002 no
-- such user; 22003 as add_xp.
-- Definer: users may not write what they earn.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.check_badges(user_id uuid)
RETURNS SETOF @schema@.badges
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	growth	@schema@.user_levels;
	held	uuid[];
	badge	@schema@.badges;
BEGIN
	IF NOT plinth.is_service() THEN
		RAISE EXCEPTION 'permission denied to award badges'
			USING ERRCODE = 'insufficient_privilege';
	END IF;
	IF user_id IS NULL THEN
		RAISE EXCEPTION 'Missing required fields'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'A user is needed.';
	END IF;

	growth := @schema@.lock_growth(user_id);
	held := ARRAY(SELECT u.badge_id FROM @schema@.user_badges u
				  WHERE u.user_id = check_badges.user_id);

	FOR badge IN SELECT * FROM @schema@.earn_level_badges(user_id, growth.current_level) LOOP
		IF badge.points > 0 THEN
			PERFORM @schema@.give_xp(user_id, badge.points, 'achievement_unlock',
				jsonb_build_object('badge_id', badge.id), 'badge:' || badge.id);
		END IF;
	END LOOP;

	RETURN QUERY
		SELECT b.*
		FROM @schema@.user_badges u JOIN @schema@.badges b ON b.id = u.badge_id
		WHERE u.user_id = check_badges.user_id AND u.badge_id <> ALL (held)
		ORDER BY b.requirement_value, b.name;
END;
$$;

COMMENT ON FUNCTION @schema@.check_badges(uuid) IS
'award every badge whose figure the user has reached, with their points; returns the new ones; errors: 42501 not a service, 22023 missing argument, P0002 no such user, 22003 as add_xp()';

-- ---------------------------------------------------------------------
-- Function: my_badges() -> setof user_badges
--
--		The caller's badges with their metadata, newest first; of others'
--		badges the column is closed.
--
-- Errors: 28000 no user.
-- Definer: column privileges cannot tell one's own rows from others'.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.my_badges()
RETURNS SETOF @schema@.user_badges
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF auth.uid() IS NULL THEN
		RAISE EXCEPTION 'Unauthorized'
			USING ERRCODE = 'invalid_authorization_specification',
				  HINT = 'Call this function with a signed token.';
	END IF;

	RETURN QUERY
		SELECT b.*
		FROM @schema@.user_badges b
		WHERE b.user_id = auth.uid()
		ORDER BY b.earned_at DESC, b.id;
END;
$$;

COMMENT ON FUNCTION @schema@.my_badges() IS
'the caller''s badges, metadata included, newest first; error: 28000 no user';
