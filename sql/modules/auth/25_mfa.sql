-- ---------------------------------------------------------------------
-- Second factors (TOTP, RFC 6238)
--
--		Wrong codes are counted by the security journal, so that they stand
--		whatever becomes of the caller's transaction.  The caller's account is
--		locked while a code is looked at: of any number of guesses at the same
--		moment each is counted before the next is seen.  The lock lets the
--		journal through, and nothing that the journal writes is locked here.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.mfa_context(factor_id uuid) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$ SELECT 'mfa_factors.secret_sealed:' || factor_id $$;
COMMENT ON FUNCTION @schema@.mfa_context(uuid) IS
'where the sealed secret of a factor belongs: what plinth.seal() is told';

CREATE FUNCTION @schema@.uri_part(part text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT coalesce(string_agg(CASE
			WHEN b BETWEEN 48 AND 57 OR b BETWEEN 65 AND 90 OR b BETWEEN 97 AND 122 OR b IN (45, 46, 95, 126) THEN chr(b)
			ELSE '%' || upper(lpad(to_hex(b), 2, '0'))
		END, '' ORDER BY i), '')
	FROM convert_to(part, 'UTF8') AS v, generate_series(0, octet_length(v) - 1) AS i, get_byte(v, i) AS b
	$$;
COMMENT ON FUNCTION @schema@.uri_part(text) IS
'text as a part of an address: all but letters, digits and - . _ ~ as %XX (RFC 3986 section 2)';

CREATE FUNCTION @schema@.mfa_session(account @schema@.users) RETURNS @schema@.sessions
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		session	@schema@.sessions;
	BEGIN
		SELECT s.* INTO session FROM @schema@.sessions AS s
		WHERE s.id = plinth.auth_session_id() AND s.user_id = account.id;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'not signed in' USING ERRCODE = 'invalid_authorization_specification';
		END IF;
		RETURN session;
	END
	$$;
COMMENT ON FUNCTION @schema@.mfa_session(@schema@.users) IS
'the session of the caller''s claims, which a second factor raises; errors: 28000 the claims name none';

CREATE FUNCTION @schema@.require_aal2(account @schema@.users, session @schema@.sessions) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		-- What the session is now, not what a token says that it was.
		IF session.aal <> 'aal2' AND EXISTS (SELECT FROM @schema@.mfa_factors AS f
			WHERE f.user_id = account.id AND f.status = 'verified')
		THEN
			RAISE EXCEPTION 'this needs the second factor'
				USING ERRCODE = 'insufficient_privilege',
					  HINT = 'Call mfa_challenge and mfa_verify first.';
		END IF;
	END
	$$;
COMMENT ON FUNCTION @schema@.require_aal2(@schema@.users, @schema@.sessions) IS
'refuses a session that has not shown the second factor of a user who has one; errors: 42501';

CREATE FUNCTION @schema@.mfa_guesses_left(challenge_id uuid, pending integer) RETURNS integer
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	-- Three codes of a million are good at a time: ten guesses an hour take
	-- years to find one, and each needs the password first.
	SELECT (least(5 - c.attempts, 10 - (SELECT sum(o.attempts) FROM @schema@.mfa_challenges AS o
		WHERE o.factor_id = c.factor_id AND o.created_at > clock_timestamp() - interval '1 hour')) - pending)::integer
	FROM @schema@.mfa_challenges AS c WHERE c.id = mfa_guesses_left.challenge_id
	$$;
COMMENT ON FUNCTION @schema@.mfa_guesses_left(uuid, integer) IS
'how many wrong codes a challenge can still take: 5 each, and 10 an hour for all those of its factor; pending = wrong codes that only the security journal has; NULL when there is no such challenge; called through plinth.auth_mfa_guesses_left()';

CREATE FUNCTION @schema@.commit_mfa_failure(user_id uuid, subject uuid, address inet, source inet, user_agent text,
		happened_at timestamptz) RETURNS void
	LANGUAGE sql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	UPDATE @schema@.mfa_challenges AS c SET attempts = c.attempts + 1 WHERE c.id = commit_mfa_failure.subject;
	INSERT INTO @schema@.events (user_id, event, ip, user_agent, created_at)
	SELECT u.id, 'SIGN_IN_FAILED', commit_mfa_failure.address, commit_mfa_failure.user_agent, commit_mfa_failure.happened_at
	FROM @schema@.users AS u WHERE u.id = commit_mfa_failure.user_id;
	$$;
COMMENT ON FUNCTION @schema@.commit_mfa_failure(uuid, uuid, inet, inet, text, timestamptz) IS
'commits a wrong code of a second factor from the security journal, with the event SIGN_IN_FAILED; subject = the challenge';

CREATE FUNCTION @schema@.mfa_enroll(name text DEFAULT NULL) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		account	@schema@.users := @schema@.caller_account();
		session	@schema@.sessions := @schema@.mfa_session(account);
		new_id	uuid := gen_random_uuid();
		secret	bytea := plinth.auth_totp_secret();
		issuer	text := coalesce(nullif(current_setting('plinth.jwt_issuer'), ''), current_database());
	BEGIN
		PERFORM @schema@.require_aal2(account, session);
		IF mfa_enroll.name IS NOT NULL AND char_length(mfa_enroll.name) NOT BETWEEN 1 AND 100 THEN
			RAISE EXCEPTION 'the name of a factor has 1 to 100 characters' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		-- One that was never finished makes room for the next of its name.
		DELETE FROM @schema@.mfa_factors
		WHERE user_id = account.id AND status = 'unverified' AND friendly_name IS NOT DISTINCT FROM mfa_enroll.name;
		IF EXISTS (SELECT FROM @schema@.mfa_factors WHERE user_id = account.id AND friendly_name = mfa_enroll.name) THEN
			RAISE EXCEPTION 'a factor has this name already' USING ERRCODE = 'unique_violation';
		END IF;
		IF (SELECT count(*) FROM @schema@.mfa_factors WHERE user_id = account.id) >= 10 THEN
			RAISE EXCEPTION 'an account has at most 10 factors' USING ERRCODE = 'configuration_limit_exceeded';
		END IF;

		INSERT INTO @schema@.mfa_factors (id, user_id, friendly_name, secret_sealed)
		VALUES (new_id, account.id, mfa_enroll.name, plinth.seal(secret, @schema@.mfa_context(new_id)));
		RETURN jsonb_build_object(
			'factor_id', new_id,
			'secret', plinth.auth_base32(secret),
			'uri', format('otpauth://totp/%s:%s?secret=%s&issuer=%1$s&algorithm=SHA1&digits=6&period=30',
				@schema@.uri_part(issuer), @schema@.uri_part(coalesce(account.email, account.id::text)),
				plinth.auth_base32(secret)));
	END
	$$;
COMMENT ON FUNCTION @schema@.mfa_enroll(text) IS
'begins a second factor (TOTP, RFC 6238) and answers {factor_id, secret, uri}: the secret in base32, shown this once, and the address that authenticators read as a QR code; it counts from the first mfa_verify() on; name = 1 to 100 characters, or NULL; errors: 28000 not signed in; 42501 the user has a factor, and the session has not shown it; 22023 name; 23505 another factor has it; 53400 ten factors; 55000 no seal key';

CREATE FUNCTION @schema@.mfa_challenge(factor uuid) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		account	@schema@.users := @schema@.caller_account();
		asked	@schema@.mfa_challenges;
		answer	record;
	BEGIN
		IF NOT EXISTS (SELECT FROM @schema@.mfa_factors AS f
			WHERE f.id = mfa_challenge.factor AND f.user_id = account.id)
		THEN
			RAISE EXCEPTION 'there is no such factor' USING ERRCODE = 'no_data_found';
		END IF;
		SELECT * INTO answer FROM plinth.check_rate_limit('mfa:' || account.id, 'anonymous');
		IF NOT answer.allowed THEN
			RAISE EXCEPTION 'Rate limit exceeded'
				USING ERRCODE = 'PT429', DETAIL = format('The limit is reset at %s.', answer.reset);
		END IF;

		INSERT INTO @schema@.mfa_challenges (factor_id, expires_at, ip)
		VALUES (mfa_challenge.factor, clock_timestamp() + interval '300 s', plinth.auth_client_address())
		RETURNING * INTO asked;
		RETURN jsonb_build_object('challenge_id', asked.id, 'expires_at', asked.expires_at);
	END
	$$;
COMMENT ON FUNCTION @schema@.mfa_challenge(uuid) IS
'asks for a code of the caller''s factor and answers {challenge_id, expires_at}: it can be answered for 300 s, from the next transaction on; errors: 28000 not signed in; P0002 no such factor of the caller; PT429 more than the tier anonymous allows';

CREATE FUNCTION @schema@.mfa_proven(factor @schema@.mfa_factors, code text, OUT step bigint, OUT proven boolean)
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	BEGIN
		step := plinth.auth_totp_step(plinth.unseal(factor.secret_sealed, @schema@.mfa_context(factor.id)),
			code, clock_timestamp(), factor.last_used_step);
		proven := step IS NOT NULL;
		-- A spare code stands for a factor that counts already; its spelling takes
		-- more characters than the code has, but not many.
		IF NOT proven AND factor.status = 'verified' AND octet_length(code) <= 64 THEN
			UPDATE @schema@.mfa_recovery_codes SET used_at = clock_timestamp()
			WHERE user_id = factor.user_id AND used_at IS NULL
				AND code_hash = @schema@.token_hash(upper(regexp_replace(mfa_proven.code, '[^A-Za-z0-9]', '', 'g')));
			proven := FOUND;
		END IF;
	END
	$$;
COMMENT ON FUNCTION @schema@.mfa_proven(@schema@.mfa_factors, text) IS
'whether a code is that of the factor now, step = when; or one of the user''s recovery codes, which is used up, step = NULL; errors: 22023, 55000 the secret cannot be opened';

CREATE FUNCTION @schema@.mfa_verify(factor uuid, challenge uuid, code text) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		account	@schema@.users := @schema@.caller_account();
		session	@schema@.sessions := @schema@.mfa_session(account);
		held	@schema@.mfa_factors;
		asked	@schema@.mfa_challenges;
		answer	record;
	BEGIN
		PERFORM plinth.auth_journal_ready();

		SELECT f.* INTO held FROM @schema@.mfa_factors AS f
		WHERE f.id = mfa_verify.factor AND f.user_id = account.id;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'there is no such factor' USING ERRCODE = 'no_data_found';
		END IF;
		-- Who has not shown the factor that counts brings no other one.
		IF held.status = 'unverified' THEN
			PERFORM @schema@.require_aal2(account, session);
		END IF;
		SELECT c.* INTO asked FROM @schema@.mfa_challenges AS c
		WHERE c.id = mfa_verify.challenge AND c.factor_id = held.id;
		-- The journal could not count against a challenge that nobody else sees.
		IF asked.created_at = now() THEN
			RAISE EXCEPTION 'a challenge is answered in a later transaction'
				USING ERRCODE = 'object_not_in_prerequisite_state';
		END IF;
		IF asked.id IS NULL OR asked.verified_at IS NOT NULL OR asked.expires_at <= clock_timestamp()
			OR coalesce(plinth.auth_mfa_guesses_left(asked.id), 0) <= 0
		THEN
			RAISE EXCEPTION 'Invalid or expired code' USING ERRCODE = 'invalid_authorization_specification';
		END IF;

		SELECT * INTO answer FROM @schema@.mfa_proven(held, mfa_verify.code);
		IF NOT answer.proven THEN
			PERFORM plinth.auth_journal('mfa_failure', account.id, asked.id);
			RAISE EXCEPTION 'Invalid or expired code' USING ERRCODE = 'invalid_authorization_specification';
		END IF;

		UPDATE @schema@.mfa_challenges SET verified_at = clock_timestamp() WHERE id = asked.id;
		UPDATE @schema@.mfa_factors
		SET status = 'verified', last_used_step = coalesce(answer.step, last_used_step)
		WHERE id = held.id;
		UPDATE @schema@.sessions
		SET aal = 'aal2', factor_id = held.id, amr = array_remove(array_remove(amr, 'otp'), 'mfa') || '{otp,mfa}'
		WHERE id = session.id
		RETURNING * INTO session;
		PERFORM @schema@.record_event(account.id, session.id, 'MFA_VERIFIED');
		RETURN @schema@.session_json(account, session, NULL) - 'refresh_token';
	END
	$$;
COMMENT ON FUNCTION @schema@.mfa_verify(uuid, uuid, text) IS
'answers a challenge with the six digits of the authenticator (RFC 6238, one step of 30 s before or after, each code once) or with a recovery code, raises the caller''s session to aal2 and answers it with a new access token; the refresh token stays; the first answer makes the factor count; errors: 28000 not signed in, or "Invalid or expired code": wrong, used, the challenge unknown, answered, older than 300 s or out of its 5 guesses, or 10 wrong codes in an hour; P0002 no such factor of the caller; 42501 another factor than the one that counts; 55000 the challenge is of this transaction, no seal key, library not preloaded; 53000 the journal is full';

CREATE FUNCTION @schema@.mfa_unenroll(factor uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		account	@schema@.users := @schema@.caller_account();
		session	@schema@.sessions := @schema@.mfa_session(account);
		held	@schema@.mfa_factors;
	BEGIN
		SELECT f.* INTO held FROM @schema@.mfa_factors AS f
		WHERE f.id = mfa_unenroll.factor AND f.user_id = account.id;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'there is no such factor' USING ERRCODE = 'no_data_found';
		END IF;
		IF held.status = 'verified' THEN
			PERFORM @schema@.require_aal2(account, session);
		END IF;

		UPDATE @schema@.sessions SET aal = 'aal1', amr = array_remove(amr, 'mfa') WHERE factor_id = held.id;
		DELETE FROM @schema@.mfa_factors WHERE id = held.id;
		IF NOT EXISTS (SELECT FROM @schema@.mfa_factors WHERE user_id = account.id AND status = 'verified') THEN
			DELETE FROM @schema@.mfa_recovery_codes WHERE user_id = account.id;
		END IF;
		PERFORM @schema@.record_event(account.id, session.id, 'USER_UPDATED');
	END
	$$;
COMMENT ON FUNCTION @schema@.mfa_unenroll(uuid) IS
'removes a factor of the caller; the sessions that it had raised are aal1 again, and with the last one that counts the recovery codes go; errors: 28000 not signed in; P0002 no such factor of the caller; 42501 it counts, and the session has shown none';

CREATE FUNCTION @schema@.mfa_recovery_codes() RETURNS SETOF text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER ROWS 10
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		account	@schema@.users := @schema@.caller_account();
		session	@schema@.sessions := @schema@.mfa_session(account);
		code	text;
	BEGIN
		IF NOT EXISTS (SELECT FROM @schema@.mfa_factors WHERE user_id = account.id AND status = 'verified') THEN
			RAISE EXCEPTION 'there is no factor that a recovery code could stand for'
				USING ERRCODE = 'object_not_in_prerequisite_state';
		END IF;
		PERFORM @schema@.require_aal2(account, session);

		DELETE FROM @schema@.mfa_recovery_codes WHERE user_id = account.id;
		FOR n IN 1 .. 10 LOOP
			code := plinth.auth_recovery_code();
			INSERT INTO @schema@.mfa_recovery_codes (user_id, code_hash)
			VALUES (account.id, @schema@.token_hash(replace(code, '-', '')));
			RETURN NEXT code;
		END LOOP;
		PERFORM @schema@.record_event(account.id, session.id, 'USER_UPDATED');
	END
	$$;
COMMENT ON FUNCTION @schema@.mfa_recovery_codes() IS
'ten new codes, shown this once, each of which mfa_verify() takes once in place of the six digits; those from before are void; errors: 28000 not signed in; 55000 no factor that counts; 42501 the session has not shown it';

CREATE FUNCTION @schema@.rotate_mfa_keys(batch integer DEFAULT 1000) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		done	bigint;
	BEGIN
		PERFORM @schema@.require_service('rotate_mfa_keys');
		IF batch IS NULL OR batch < 1 THEN
			RAISE EXCEPTION 'batch must be at least 1' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		-- A value under the active key comes back as it is.
		UPDATE @schema@.mfa_factors AS f
		SET secret_sealed = plinth.reseal(f.secret_sealed, @schema@.mfa_context(f.id))
		WHERE f.id IN (SELECT o.id FROM @schema@.mfa_factors AS o
			WHERE plinth.reseal(o.secret_sealed, @schema@.mfa_context(o.id)) <> o.secret_sealed
			LIMIT batch FOR NO KEY UPDATE SKIP LOCKED);
		GET DIAGNOSTICS done = ROW_COUNT;
		RETURN done;
	END
	$$;
COMMENT ON FUNCTION @schema@.rotate_mfa_keys(integer) IS
'seals at most so many secrets of factors under the active key and returns how many; 0 when all are; called by the upkeep worker after plinth.rotate_keys(); errors: 22023 batch below 1; 42501 caller is not the service; 55000 a key is not in the ring';
