-- ---------------------------------------------------------------------
-- Notifications
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.notify(user_id uuid, type text, title text, message text, data jsonb DEFAULT '{}',
	scheduled_for timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
	related_entity_type text DEFAULT NULL, related_entity_id uuid DEFAULT NULL)
	RETURNS uuid
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		new_id	uuid;
	BEGIN
		-- Nobody to tell is no reason to undo what there was to tell.
		IF notify.user_id IS NULL THEN
			RETURN NULL;
		END IF;
		INSERT INTO @schema@.notifications (user_id, type, title, message, data,
			scheduled_for, expires_at, related_entity_type, related_entity_id)
		VALUES (notify.user_id, notify.type, notify.title, notify.message, coalesce(notify.data, '{}'),
			coalesce(notify.scheduled_for, now()), notify.expires_at,
			notify.related_entity_type, notify.related_entity_id)
		RETURNING id INTO new_id;
		RETURN new_id;
	END
	$$;
COMMENT ON FUNCTION @schema@.notify(uuid, text, text, text, jsonb, timestamptz, timestamptz, text, uuid) IS
'puts a notification into a user''s inbox and returns its id; no user, no row and no error; type = one of notifications_type_check; shown from scheduled_for (now) to expires_at (for ever); errors: 23502, 23514 value missing or not acceptable, 23503 no such user';

CREATE FUNCTION @schema@.unread_count() RETURNS bigint
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT count(*) FROM @schema@.notifications AS n
	WHERE n.user_id = auth.uid() AND NOT n.is_read
		AND n.scheduled_for <= now() AND (n.expires_at IS NULL OR n.expires_at > now())
	$$;
COMMENT ON FUNCTION @schema@.unread_count() IS
'how many notifications the caller has not read, of those that show now; raises no error';

CREATE FUNCTION @schema@.mark_read(ids uuid[] DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		changed	bigint;
	BEGIN
		UPDATE @schema@.notifications AS n SET is_read = true, read_at = now()
		WHERE n.user_id = auth.uid() AND NOT n.is_read AND (ids IS NULL OR n.id = ANY (ids))
			AND n.scheduled_for <= now() AND (n.expires_at IS NULL OR n.expires_at > now());
		GET DIAGNOSTICS changed = ROW_COUNT;
		RETURN changed;
	END
	$$;
COMMENT ON FUNCTION @schema@.mark_read(uuid[]) IS
'marks notifications of the caller that show now as read, all of them for NULL, and returns how many changed; raises no error';

CREATE FUNCTION @schema@.mark_opened(id uuid, action_taken text DEFAULT NULL) RETURNS @schema@.notifications
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		result	@schema@.notifications;
	BEGIN
		-- Not left to the constraint, whose message would show the whole row.
		IF char_length(mark_opened.action_taken) > 200 THEN
			RAISE EXCEPTION 'action_taken has at most 200 characters'
				USING ERRCODE = 'invalid_parameter_value';
		END IF;

		UPDATE @schema@.notifications AS n SET
			opened = true,
			opened_at = coalesce(n.opened_at, now()),
			is_read = true,
			read_at = coalesce(n.read_at, now()),
			action_taken = coalesce(mark_opened.action_taken, n.action_taken)
		WHERE n.id = mark_opened.id AND n.user_id = auth.uid()
			AND n.scheduled_for <= now() AND (n.expires_at IS NULL OR n.expires_at > now())
		RETURNING n.* INTO result;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'no such notification' USING ERRCODE = 'no_data_found';
		END IF;

		-- The sender's business.
		result.push_token_used := NULL;
		result.push_claimed_until := NULL;
		RETURN result;
	END
	$$;
COMMENT ON FUNCTION @schema@.mark_opened(uuid, text) IS
'notes that the caller opened a notification, which is then read too, and what they did; the first time counts; errors: P0002 no such notification of the caller that shows now; 22023 action_taken longer than 200 characters';

CREATE FUNCTION @schema@.claim_push(batch integer) RETURNS SETOF @schema@.notifications
	LANGUAGE plpgsql VOLATILE ROWS 100
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		IF batch IS NULL OR batch < 1 THEN
			RAISE EXCEPTION 'batch must be at least 1' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		RETURN QUERY
		WITH due AS (
			SELECT n.id FROM @schema@.notifications AS n
			WHERE NOT n.push_sent AND n.scheduled_for <= now()
				AND (n.expires_at IS NULL OR n.expires_at > now())
				AND (n.push_claimed_until IS NULL OR n.push_claimed_until <= clock_timestamp())
			ORDER BY n.scheduled_for
			LIMIT least(batch, 1000)
			FOR UPDATE SKIP LOCKED)
		UPDATE @schema@.notifications AS n
		SET push_claimed_until = clock_timestamp() + interval '5 minutes'
		FROM due WHERE n.id = due.id
		RETURNING n.*;
	END
	$$;
COMMENT ON FUNCTION @schema@.claim_push(integer) IS
'notifications that are due and not pushed yet, the oldest first, claimed by the caller for 5 minutes; batch = 1 to 1000; errors: 22023 batch less than 1';

CREATE FUNCTION @schema@.push_done(id uuid, token_used text) RETURNS @schema@.notifications
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		result	@schema@.notifications;
	BEGIN
		UPDATE @schema@.notifications AS n SET
			push_sent = true,
			push_sent_at = coalesce(n.push_sent_at, now()),
			push_token_used = token_used,
			push_claimed_until = NULL
		WHERE n.id = push_done.id
		RETURNING n.* INTO result;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'no such notification' USING ERRCODE = 'no_data_found';
		END IF;
		RETURN result;
	END
	$$;
COMMENT ON FUNCTION @schema@.push_done(uuid, text) IS
'notes that a notification was pushed, and to which device token; errors: P0002 no such notification';

CREATE FUNCTION @schema@.purge_notifications() RETURNS bigint
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		gone	bigint;
	BEGIN
		DELETE FROM @schema@.notifications AS n
		WHERE (n.is_read AND n.created_at < now() - interval '30 days')
			OR n.expires_at < now() - interval '30 days';
		GET DIAGNOSTICS gone = ROW_COUNT;
		RETURN gone;
	END
	$$;
COMMENT ON FUNCTION @schema@.purge_notifications() IS
'removes notifications read and older than 30 days, and those that expired more than 30 days ago; returns how many; raises no error';

