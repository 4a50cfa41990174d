-- ---------------------------------------------------------------------
-- Leaderboard
-- ---------------------------------------------------------------------

-- ---------------------------------------------------------------------
-- Function: refresh_leaderboard() -> boolean
--
--		Bring leaderboard_all_time up to date, without holding up those who
--		read it, unless another session is at it: until this transaction ends
--		nobody else is.
--
-- Returns false when another session is refreshing it.
-- Errors: 42501 the caller is not a service.
-- Definer: only its owner may refresh a materialized view.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.refresh_leaderboard()
RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	board	oid := '@schema@.leaderboard_all_time'::regclass;
BEGIN
	IF NOT plinth.is_service() THEN
		RAISE EXCEPTION 'permission denied to refresh the leaderboard'
			USING ERRCODE = 'insufficient_privilege';
	END IF;

	-- "lead" and the view: no other lock of ours has this class
	IF NOT pg_try_advisory_xact_lock(x'6c656164'::integer, board::integer) THEN
		RETURN false;
	END IF;

	-- the first time there is nothing that could go on being read
	IF (SELECT c.relispopulated FROM pg_class c WHERE c.oid = board) THEN
		REFRESH MATERIALIZED VIEW CONCURRENTLY @schema@.leaderboard_all_time;
	ELSE
		REFRESH MATERIALIZED VIEW @schema@.leaderboard_all_time;
	END IF;
	RETURN true;
END;
$$;

COMMENT ON FUNCTION @schema@.refresh_leaderboard() IS
'bring leaderboard_all_time up to date while it is read; false when another session is at it; error: 42501 not a service';

-- ---------------------------------------------------------------------
-- Function: get_leaderboard(limit_count integer, offset_count bigint,
--				period text) -> setof record
--
--		A page of the leaderboard, best first.
--
--	limit_count		ranks a page, 1 to 100
--	offset_count	ranks to leave out
--	period			all; month and week need ranked sets
--
-- A rank is left out when its user is gone, hides or is a guest since the
-- last refresh.
-- Errors: 22023 no such period; 55000 a period without a ranked set, or the
-- view was never refreshed.
-- Definer: clients have no right to the view, which shows everybody.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.get_leaderboard(
	limit_count integer DEFAULT 100, offset_count bigint DEFAULT 0, period text DEFAULT 'all')
RETURNS TABLE (
	rank bigint, user_id uuid, full_name text, avatar_url text, user_type text,
	current_level integer, total_xp bigint, badge_count bigint, skill_count bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	page		integer := least(greatest(coalesce(limit_count, 100), 1), 100);
	after_rank	bigint := least(greatest(coalesce(offset_count, 0), 0), 9223372036854775807 - page);
BEGIN
	IF period IN ('month', 'week') THEN
		RAISE EXCEPTION 'leaderboard of period "%" is not available', period
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = 'It is answered from a ranked set, and there is none.';
	ELSIF period IS DISTINCT FROM 'all' THEN
		RAISE EXCEPTION 'invalid leaderboard period "%"', period
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'The periods are all, month and week.';
	END IF;

	-- ranks have no gaps, so that a page is a range of them
	RETURN QUERY
		SELECT b.rank, b.user_id, b.full_name, b.avatar_url, b.user_type,
			   b.current_level, b.total_xp, b.badge_count, b.skill_count
		FROM @schema@.leaderboard_all_time b
		JOIN profiles.profiles p ON p.id = b.user_id AND NOT p.is_guest
		LEFT JOIN profiles.private_profiles h ON h.id = p.id
		WHERE b.rank > after_rank
			AND b.rank <= after_rank + page
			AND h.preferences ->> 'hide_from_leaderboard' IS DISTINCT FROM 'true'
		ORDER BY b.rank;
END;
$$;

COMMENT ON FUNCTION @schema@.get_leaderboard(integer, bigint, text) IS
'a page of 1 to 100 ranks of the leaderboard, best first, for period all; errors: 22023 no such period, 55000 no ranked set for the period';
