-- ---------------------------------------------------------------------
-- Lock-out, and what the security journal commits
--
--		A source that fails auth.failures_to_lock times in a row at an account
--		waits 1 minute, and twice as long after each further failure, 15 minutes
--		at most.  When all sources together fail 50 times within an hour, those
--		that never signed in to the account wait likewise.  So a password cannot
--		be guessed, nobody is shut out for good, and never by others from where
--		they have signed in (S3.5).
--
--		commit_failure, commit_refusal and commit_revocation are called by the
--		upkeep worker alone: sql/plinth/41_journal.sql says what they promise.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.lock_wait(failures bigint, allowed integer) RETURNS interval
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT CASE WHEN failures >= allowed
		THEN least(interval '15 min', interval '1 min' * (1 << least(failures - allowed, 10)::integer))
		END
	$$;
COMMENT ON FUNCTION @schema@.lock_wait(bigint, integer) IS
'how long to wait after that many failures, of which allowed - 1 are free: 1 minute, doubled each time, 15 minutes at most; NULL: not at all';

CREATE FUNCTION @schema@.lockout(user_id uuid, source inet) RETURNS SETOF @schema@.lockouts
	LANGUAGE sql STABLE ROWS 1
	SET search_path = pg_catalog, pg_temp
	AS $$
	-- One look into the index, whichever of the two is unknown.
	SELECT l.* FROM @schema@.lockouts AS l WHERE l.user_id = lockout.user_id AND l.source = lockout.source
	UNION ALL
	SELECT l.* FROM @schema@.lockouts AS l WHERE lockout.source IS NULL AND l.user_id = lockout.user_id AND l.source IS NULL
	UNION ALL
	SELECT l.* FROM @schema@.lockouts AS l WHERE lockout.user_id IS NULL AND l.user_id IS NULL AND l.source = lockout.source
	UNION ALL
	SELECT l.* FROM @schema@.lockouts AS l
	WHERE lockout.user_id IS NULL AND lockout.source IS NULL AND l.user_id IS NULL AND l.source IS NULL
	$$;
COMMENT ON FUNCTION @schema@.lockout(uuid, inet) IS
'the row of lockouts for an account and a source, either of which may be NULL, or no row';

CREATE FUNCTION @schema@.failures_in_hour(user_id uuid, until timestamptz, pending timestamptz[] DEFAULT '{}') RETURNS bigint
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	-- An entry of the journal that has been committed meanwhile is the same one.
	SELECT count(*) FROM (
		SELECT e.created_at FROM @schema@.events AS e
		WHERE e.user_id = failures_in_hour.user_id AND e.event = 'SIGN_IN_FAILED'
			AND e.created_at > failures_in_hour.until - interval '1 hour'
		UNION
		SELECT p FROM unnest(failures_in_hour.pending) AS p WHERE p > failures_in_hour.until - interval '1 hour') AS failures
	$$;
COMMENT ON FUNCTION @schema@.failures_in_hour(uuid, timestamptz, timestamptz[]) IS
'failures to sign in to an account, from anywhere, in the hour before a time; pending = times of those that only the security journal has';

CREATE FUNCTION @schema@.lock_ends(user_id uuid, source inet, from_source timestamptz[], from_all timestamptz[])
	RETURNS timestamptz
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		known		@schema@.lockouts;
		pending		timestamptz[];
		ends		timestamptz;
		account_end	timestamptz;
	BEGIN
		SELECT * INTO known FROM @schema@.lockout(lock_ends.user_id, lock_ends.source);
		ends := known.locked_until;
		pending := ARRAY(SELECT p FROM unnest(from_source) AS p
			WHERE known.id IS NULL OR p > greatest(known.last_failure_at, known.last_success_at));
		IF pending <> '{}' THEN
			ends := greatest(ends, (SELECT max(p) FROM unnest(pending) AS p)
				+ @schema@.lock_wait(coalesce(known.failures, 0) + cardinality(pending),
					plinth.setting('auth.failures_to_lock')::integer));
		END IF;

		-- Where the user has signed in before, others cannot shut them out.
		IF lock_ends.user_id IS NOT NULL AND known.last_success_at IS NULL THEN
			SELECT u.locked_until INTO account_end FROM @schema@.users AS u WHERE u.id = lock_ends.user_id;
			IF from_all <> '{}' THEN
				account_end := greatest(account_end, (SELECT max(p) FROM unnest(from_all) AS p)
					+ @schema@.lock_wait(@schema@.failures_in_hour(lock_ends.user_id, clock_timestamp(), from_all), 50));
			END IF;
		END IF;
		RETURN greatest(ends, account_end);
	END
	$$;
COMMENT ON FUNCTION @schema@.lock_ends(uuid, inet, timestamptz[], timestamptz[]) IS
'until when sign-ins from a source to an account wait, or NULL; from_source, from_all = times of failures that only the security journal has, from there and from anywhere; called through plinth.auth_lock_ends(), which sees the tables as they are at this moment';

CREATE FUNCTION @schema@.note_success(user_id uuid) RETURNS void
	LANGUAGE sql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO @schema@.lockouts AS l (user_id, source, last_failure_at, last_success_at)
	VALUES (note_success.user_id, plinth.auth_source(), clock_timestamp(), clock_timestamp())
	ON CONFLICT (user_id, source) DO UPDATE
	SET failures = 0, locked_until = NULL, last_success_at = excluded.last_success_at
	$$;
COMMENT ON FUNCTION @schema@.note_success(uuid) IS
'the user has signed in: the failures in a row from the caller''s source are forgotten, and that source is known';

CREATE FUNCTION @schema@.unlock(user_id uuid) RETURNS void
	LANGUAGE sql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	UPDATE @schema@.users AS u SET failed_attempts = 0, locked_until = NULL WHERE u.id = unlock.user_id;
	UPDATE @schema@.lockouts AS l SET failures = 0, locked_until = NULL, last_failure_at = clock_timestamp()
	WHERE l.user_id = unlock.user_id;
	$$;
COMMENT ON FUNCTION @schema@.unlock(uuid) IS
'ends every lock of an account, from all sources: for a user who has proved by a recovery link who they are';

CREATE FUNCTION @schema@.commit_failure(user_id uuid, subject uuid, address inet, source inet, user_agent text, happened_at timestamptz)
	RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		allowed	integer := plinth.setting('auth.failures_to_lock')::integer;
	BEGIN
		IF commit_failure.user_id IS NOT NULL THEN
			UPDATE @schema@.users SET failed_attempts = failed_attempts + 1
			WHERE id = commit_failure.user_id AND (last_sign_in_at IS NULL OR last_sign_in_at < happened_at);
			-- The account has gone: so have its locks.
			IF NOT EXISTS (SELECT FROM @schema@.users WHERE id = commit_failure.user_id) THEN
				RETURN;
			END IF;
		END IF;

		-- A failure from before a success or an unlocking counts no more.
		INSERT INTO @schema@.lockouts AS l (user_id, source, failures, last_failure_at, locked_until)
		VALUES (commit_failure.user_id, commit_failure.source, 1, happened_at, happened_at + @schema@.lock_wait(1, allowed))
		ON CONFLICT (user_id, source) DO UPDATE
		SET failures = l.failures + 1, last_failure_at = excluded.last_failure_at,
			locked_until = greatest(l.locked_until, excluded.last_failure_at + @schema@.lock_wait(l.failures + 1, allowed))
		WHERE excluded.last_failure_at > greatest(l.last_failure_at, l.last_success_at);

		IF commit_failure.user_id IS NOT NULL THEN
			INSERT INTO @schema@.events (user_id, event, ip, user_agent, created_at)
			VALUES (commit_failure.user_id, 'SIGN_IN_FAILED', address, commit_failure.user_agent, happened_at);
			UPDATE @schema@.users AS u
			SET locked_until = greatest(u.locked_until, happened_at + w.wait)
			FROM (SELECT @schema@.lock_wait(@schema@.failures_in_hour(commit_failure.user_id, happened_at), 50)) AS w (wait)
			WHERE u.id = commit_failure.user_id AND w.wait IS NOT NULL;
		END IF;
	END
	$$;
COMMENT ON FUNCTION @schema@.commit_failure(uuid, uuid, inet, inet, text, timestamptz) IS
'commits a wrong password from the security journal: counters, locks, and the event; user_id NULL = an address without an account, of which the source alone is kept; subject = NULL';

CREATE FUNCTION @schema@.commit_refusal(user_id uuid, subject uuid, address inet, source inet, user_agent text, happened_at timestamptz)
	RETURNS void
	LANGUAGE sql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO @schema@.lockouts AS l (user_id, source, refused, last_failure_at)
	SELECT commit_refusal.user_id, commit_refusal.source, 1, commit_refusal.happened_at
	WHERE commit_refusal.user_id IS NULL
		OR EXISTS (SELECT FROM @schema@.users AS u WHERE u.id = commit_refusal.user_id)
	ON CONFLICT (user_id, source) DO UPDATE SET refused = l.refused + 1
	$$;
COMMENT ON FUNCTION @schema@.commit_refusal(uuid, uuid, inet, inet, text, timestamptz) IS
'commits an attempt from the security journal that was refused whatever the password: it is counted and prolongs no lock; subject = NULL';

CREATE FUNCTION @schema@.commit_revocation(user_id uuid, subject uuid, address inet, source inet, user_agent text, happened_at timestamptz)
	RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		owner	uuid;
	BEGIN
		UPDATE @schema@.sessions AS s SET revoked_at = happened_at
		WHERE s.id = subject AND s.revoked_at IS NULL
		RETURNING s.user_id INTO owner;
		IF FOUND THEN
			INSERT INTO @schema@.events (user_id, session_id, event, ip, user_agent, created_at)
			VALUES (owner, subject, 'SIGNED_OUT', address, commit_revocation.user_agent, happened_at);
		END IF;
	END
	$$;
COMMENT ON FUNCTION @schema@.commit_revocation(uuid, uuid, inet, inet, text, timestamptz) IS
'commits the end of a session from the security journal, with the event SIGNED_OUT; subject = the session';
