-- ---------------------------------------------------------------------
-- Accounts: sign up, sign in, stay signed in, sign out
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.sign_up(email text, password text, metadata jsonb DEFAULT '{}', redirect_to text DEFAULT NULL)
	RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		hash	text;
		new_id	uuid;
	BEGIN
		PERFORM @schema@.limit_attempts(sign_up.email);
		PERFORM @schema@.check_redirect(sign_up.redirect_to);
		PERFORM plinth.auth_password_check(sign_up.password);
		PERFORM @schema@.check_email(sign_up.email);
		IF jsonb_typeof(sign_up.metadata) IS DISTINCT FROM 'object'
			OR octet_length(sign_up.metadata::text) > 4096
		THEN
			RAISE EXCEPTION 'metadata must be a JSON object of at most 4096 bytes'
				USING ERRCODE = 'invalid_parameter_value';
		END IF;

		-- Hashed for a known address too: the time tells nothing.
		hash := plinth.auth_password_hash(sign_up.password);

		INSERT INTO @schema@.users (email, encrypted_password, raw_user_meta_data, email_confirmed_at)
		VALUES (sign_up.email, hash, sign_up.metadata,
			CASE WHEN NOT plinth.setting('auth.require_confirmation')::boolean THEN clock_timestamp() END)
		ON CONFLICT (lower(email)) DO NOTHING
		RETURNING id INTO new_id;
		IF FOUND THEN
			INSERT INTO @schema@.identities (user_id, provider, provider_id, identity_data)
			VALUES (new_id, 'email', new_id::text, jsonb_build_object('sub', new_id, 'email', sign_up.email));
		END IF;

		-- Another id than the account's, or profiles would tell whose was new.
		RETURN jsonb_build_object('user',
			jsonb_build_object('id', gen_random_uuid(), 'email', sign_up.email));
	END
	$$;
COMMENT ON FUNCTION @schema@.sign_up(text, text, jsonb, text) IS
'makes an account that waits for confirmation, unless the address has one: the answer {user: {id, email}} is the same, and its id tells nothing; metadata = object of at most 4096 bytes for display; errors: 22023 address, password (8 to 1024 bytes, not a common one), metadata or redirect_to not acceptable, PT429 too many attempts, 53000 no free hash slot';

CREATE FUNCTION @schema@.sign_in_with_password(email text, password text) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		account	@schema@.users;
		proven	boolean;
		refused	boolean;
	BEGIN
		PERFORM @schema@.limit_attempts(sign_in_with_password.email);
		PERFORM plinth.auth_journal_ready();

		SELECT u.* INTO account FROM @schema@.users AS u
		WHERE lower(u.email) = lower(sign_in_with_password.email);

		-- Without an account, or an account without a password, as much work.
		proven := plinth.auth_password_verify(sign_in_with_password.password, account.encrypted_password);

		-- What does not depend on the password, asked whatever came of that.  An
		-- attempt while the lock holds is none: it neither counts nor prolongs it.
		refused := coalesce(plinth.auth_lock_ends(account.id) > clock_timestamp(), false);
		IF NOT proven
			OR refused
			OR account.banned_until > clock_timestamp()
			OR (account.email_confirmed_at IS NULL AND plinth.setting('auth.require_confirmation')::boolean)
		THEN
			PERFORM plinth.auth_journal(CASE WHEN proven OR refused THEN 'refusal' ELSE 'failure' END, account.id);
			RAISE EXCEPTION 'Invalid login credentials'
				USING ERRCODE = 'invalid_authorization_specification';
		END IF;

		IF plinth.auth_password_outdated(account.encrypted_password) THEN
			UPDATE @schema@.users
			SET encrypted_password = plinth.auth_password_hash(sign_in_with_password.password)
			WHERE id = account.id AND encrypted_password = account.encrypted_password;
		END IF;
		UPDATE @schema@.identities SET last_sign_in_at = clock_timestamp()
		WHERE user_id = account.id AND provider = 'email';

		RETURN @schema@.open_session(account.id, 'pwd');
	END
	$$;
COMMENT ON FUNCTION @schema@.sign_in_with_password(text, text) IS
'starts a session and answers it; errors: 28000 "Invalid login credentials" for an unknown address, a wrong password, an unconfirmed, locked or banned account alike, after the same work, with the attempt in the security journal; PT429 too many attempts; 53000 no free hash slot within 50 ms, or the journal is full';

CREATE FUNCTION @schema@.presented_again(token text) RETURNS @schema@.refresh_tokens
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		spent	@schema@.refresh_tokens;
	BEGIN
		SELECT t.* INTO spent FROM @schema@.refresh_tokens AS t
		WHERE t.token_hash = @schema@.token_hash(presented_again.token) AND t.used_at IS NOT NULL
		FOR NO KEY UPDATE;
		IF NOT FOUND THEN
			RETURN NULL;
		END IF;

		-- An answer that was lost, or two windows of one browser: nobody has used
		-- the successor yet.  It is given once more; after that, only refused.
		IF spent.used_at > clock_timestamp() - @schema@.ttl('refresh_grace')
			AND EXISTS (SELECT FROM @schema@.refresh_tokens AS t
				WHERE t.parent_id = spent.id AND t.used_at IS NULL AND t.revoked_at IS NULL)
		THEN
			UPDATE @schema@.refresh_tokens SET successor_sealed = NULL
			WHERE id = spent.id AND successor_sealed IS NOT NULL;
			RETURN spent;
		END IF;

		-- Two have the token, and one of them is a thief: neither goes on.
		PERFORM plinth.auth_journal('revocation', s.user_id, s.id) FROM @schema@.sessions AS s
		WHERE s.id = spent.session_id AND s.revoked_at IS NULL;
		RETURN NULL;
	END
	$$;
COMMENT ON FUNCTION @schema@.presented_again(text) IS
'a refresh token that has been used before: within the grace its row, with successor_sealed the first time, as long as its successor is unused (RFC 9700 section 4.14.2); else NULL, with its session ended through the security journal';

CREATE FUNCTION @schema@.refresh_session(refresh_token text) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		spent		@schema@.refresh_tokens;
		session		@schema@.sessions;
		account		@schema@.users;
		successor	text := plinth.auth_new_token();
		again		boolean;
	BEGIN
		PERFORM @schema@.limit_attempts(NULL);

		-- Of any number of callers with one token this lets a single one pass.
		UPDATE @schema@.refresh_tokens
		SET used_at = clock_timestamp(),
			successor_sealed = CASE WHEN @schema@.ttl('refresh_grace') > '0'
				THEN plinth.auth_successor_seal(refresh_session.refresh_token, successor) END
		WHERE token_hash = @schema@.token_hash(refresh_session.refresh_token)
			AND used_at IS NULL AND revoked_at IS NULL AND expires_at > clock_timestamp()
		RETURNING * INTO spent;
		again := NOT FOUND;
		IF again THEN
			spent := @schema@.presented_again(refresh_session.refresh_token);
			successor := plinth.auth_successor_open(refresh_session.refresh_token, spent.successor_sealed);
		END IF;

		-- The row is locked: a sign-out at the same moment comes before or after.
		IF successor IS NOT NULL AND plinth.auth_journal_pending('revocation', spent.session_id) = 0 THEN
			UPDATE @schema@.sessions
			SET user_agent = coalesce(plinth.auth_user_agent(), user_agent),
				ip = coalesce(plinth.auth_client_address(), ip)
			WHERE id = spent.session_id AND revoked_at IS NULL AND not_after > clock_timestamp()
				AND updated_at > clock_timestamp() - @schema@.ttl('session_idle_ttl')
			RETURNING * INTO session;
			SELECT u.* INTO account FROM @schema@.users AS u
			WHERE u.id = session.user_id AND (u.banned_until IS NULL OR u.banned_until <= clock_timestamp());
		END IF;
		IF account.id IS NULL THEN
			RAISE EXCEPTION 'Invalid or expired token'
				USING ERRCODE = 'invalid_authorization_specification';
		END IF;

		IF NOT again THEN
			PERFORM @schema@.add_refresh_token(session, spent.id, successor);
			UPDATE @schema@.refresh_tokens SET successor_sealed = NULL
			WHERE id = spent.parent_id AND successor_sealed IS NOT NULL;
		END IF;
		PERFORM @schema@.record_event(account.id, session.id, 'TOKEN_REFRESHED');
		RETURN @schema@.session_json(account, session, successor);
	END
	$$;
COMMENT ON FUNCTION @schema@.refresh_session(text) IS
'exchanges a refresh token, once, for a new access and refresh token of its session (RFC 6749 section 6, rotation as RFC 9700 section 4.14.2); within the setting auth.refresh_grace of that the same successor is given once more, while it is unused; a used token presented later ends the session, which stands whatever becomes of the transaction; errors: 28000 the token is unknown, used or expired, its session has ended, or its user is banned; PT429 too many attempts; 53000 the security journal is full; 40001 lost to another use of the token at a stricter isolation level';

CREATE FUNCTION @schema@.empty_successors() RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		emptied	bigint;
	BEGIN
		IF NOT plinth.is_service() THEN
			RAISE EXCEPTION 'permission denied for function empty_successors'
				USING ERRCODE = 'insufficient_privilege';
		END IF;

		-- The upkeep worker waits for nobody's lock: what is in use comes later.
		UPDATE @schema@.refresh_tokens AS t SET successor_sealed = NULL
		WHERE t.id IN (
			SELECT r.id FROM @schema@.refresh_tokens AS r
			WHERE r.successor_sealed IS NOT NULL
				AND r.used_at <= clock_timestamp() - @schema@.ttl('refresh_grace')
			FOR NO KEY UPDATE SKIP LOCKED);
		GET DIAGNOSTICS emptied = ROW_COUNT;
		RETURN emptied;
	END
	$$;
COMMENT ON FUNCTION @schema@.empty_successors() IS
'removes the sealed successors of refresh tokens whose grace is over; returns how many; the upkeep worker calls it each minute; errors: 42501 caller is not the service';

CREATE FUNCTION @schema@.sign_out(scope text DEFAULT 'local') RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		caller	uuid := plinth.auth_uid();
		current	uuid := plinth.auth_session_id();
		ended	uuid;
	BEGIN
		IF caller IS NULL THEN
			RAISE EXCEPTION 'not signed in' USING ERRCODE = 'invalid_authorization_specification';
		END IF;
		IF scope IS NULL OR scope NOT IN ('local', 'others', 'global') THEN
			RAISE EXCEPTION 'unrecognized scope "%"', scope
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'The scopes are local, others and global.';
		END IF;

		FOR ended IN
			UPDATE @schema@.sessions AS s SET revoked_at = clock_timestamp()
			WHERE s.user_id = caller AND s.revoked_at IS NULL
				AND CASE scope
					WHEN 'local' THEN s.id = current
					WHEN 'others' THEN s.id IS DISTINCT FROM current
					ELSE true
				END
			RETURNING s.id
		LOOP
			PERFORM @schema@.record_event(caller, ended, 'SIGNED_OUT');
		END LOOP;

		IF scope <> 'others' THEN
			PERFORM plinth.auth_deauthenticate();
		END IF;
	END
	$$;
COMMENT ON FUNCTION @schema@.sign_out(text) IS
'ends sessions of the caller with their refresh tokens; scope = local (that of the token), others (all but that), global (all); errors: 28000 not signed in; 22023 another scope';

CREATE FUNCTION @schema@.get_user() RETURNS jsonb
	LANGUAGE plpgsql STABLE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		account	@schema@.users;
	BEGIN
		SELECT u.* INTO account FROM @schema@.users AS u WHERE u.id = plinth.auth_uid();
		IF NOT FOUND THEN
			RAISE EXCEPTION 'not signed in' USING ERRCODE = 'invalid_authorization_specification';
		END IF;
		RETURN @schema@.user_json(account);
	END
	$$;
COMMENT ON FUNCTION @schema@.get_user() IS
'the caller''s account as it is now, without hash and counters; errors: 28000 not signed in, or the account is gone';

CREATE FUNCTION @schema@.get_session() RETURNS jsonb
	LANGUAGE plpgsql STABLE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		session	@schema@.sessions;
	BEGIN
		SELECT s.* INTO session FROM @schema@.sessions AS s
		WHERE s.id = plinth.auth_session_id() AND s.user_id = plinth.auth_uid()
			AND s.revoked_at IS NULL AND s.not_after > clock_timestamp()
			AND plinth.auth_journal_pending('revocation', s.id) = 0;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'not signed in' USING ERRCODE = 'invalid_authorization_specification';
		END IF;
		RETURN jsonb_build_object(
			'id', session.id,
			'aal', session.aal,
			'amr', session.amr,
			'created_at', session.created_at,
			'not_after', session.not_after,
			'expires_at', plinth.auth_jwt() -> 'exp',
			'user', @schema@.get_user());
	END
	$$;
COMMENT ON FUNCTION @schema@.get_session() IS
'the session of the caller''s token, with the end of that token in seconds since 1970; errors: 28000 not signed in, or the session has ended';

CREATE FUNCTION @schema@.anon_key(ttl interval DEFAULT '365 days') RETURNS text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		IF NOT plinth.is_service() THEN
			RAISE EXCEPTION 'permission denied for function anon_key'
				USING ERRCODE = 'insufficient_privilege';
		END IF;
		IF ttl IS NULL OR ttl < '1 min' OR ttl > '10 years' THEN
			RAISE EXCEPTION 'ttl must be from 1 minute to 10 years'
				USING ERRCODE = 'invalid_parameter_value';
		END IF;
		RETURN plinth.jwt_sign(jsonb_build_object('role', 'anon',
			'iat', floor(extract(epoch FROM clock_timestamp())),
			'exp', floor(extract(epoch FROM clock_timestamp() + ttl))));
	END
	$$;
COMMENT ON FUNCTION @schema@.anon_key(interval) IS
'a token of role anon, without a user, for front ends that want a key; it ends with its signing key; ttl = 1 minute to 10 years; errors: 22023 another ttl; 42501 caller is not the service';

CREATE FUNCTION @schema@.purge_expired() RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		-- Ended things stay for a day, for those who ask what happened.
		horizon	timestamptz := clock_timestamp() - interval '1 day';
		gone	bigint;
		total	bigint;
	BEGIN
		IF NOT plinth.is_service() THEN
			RAISE EXCEPTION 'permission denied for function purge_expired'
				USING ERRCODE = 'insufficient_privilege';
		END IF;

		DELETE FROM @schema@.one_time_tokens AS t WHERE t.expires_at < horizon OR t.used_at < horizon;
		GET DIAGNOSTICS total = ROW_COUNT;
		DELETE FROM @schema@.flow_states AS f WHERE f.expires_at < horizon;
		GET DIAGNOSTICS gone = ROW_COUNT;
		total := total + gone;
		DELETE FROM @schema@.mfa_challenges AS c WHERE c.expires_at < horizon;
		GET DIAGNOSTICS gone = ROW_COUNT;
		total := total + gone;
		DELETE FROM @schema@.mfa_factors AS f WHERE f.status = 'unverified' AND f.created_at < horizon;
		GET DIAGNOSTICS gone = ROW_COUNT;
		total := total + gone;
		-- A used token of a live session is what tells a thief, until it expires.
		DELETE FROM @schema@.refresh_tokens AS t WHERE t.expires_at < horizon;
		GET DIAGNOSTICS gone = ROW_COUNT;
		total := total + gone;
		DELETE FROM @schema@.sessions AS s WHERE s.not_after < horizon OR s.revoked_at < horizon;
		GET DIAGNOSTICS gone = ROW_COUNT;
		total := total + gone;
		-- Sources are remembered for as long as they may be of use to their users.
		DELETE FROM @schema@.lockouts AS l
		WHERE l.last_failure_at < horizon - interval '30 days'
			AND (l.last_success_at IS NULL OR l.last_success_at < horizon - interval '1 year');
		GET DIAGNOSTICS gone = ROW_COUNT;
		total := total + gone;
		-- What users did is kept as long here as in the log of activities.
		DELETE FROM @schema@.events AS e
		WHERE e.created_at < clock_timestamp() - (plinth.setting('audit.activity_retention') #>> '{}')::interval;
		GET DIAGNOSTICS gone = ROW_COUNT;
		RETURN total + gone;
	END
	$$;
COMMENT ON FUNCTION @schema@.purge_expired() IS
'removes one-time tokens, sign-ins under way, challenges, factors that were never finished, refresh tokens and sessions that ended more than a day ago, what is known of sources that failed last a month and signed in last a year before that, and events older than the setting audit.activity_retention; returns how many rows; errors: 42501 caller is not the service';

CREATE FUNCTION @schema@.own_account()
	RETURNS TABLE (id uuid, email text, email_confirmed_at timestamptz, user_metadata jsonb, app_metadata jsonb,
		app_role text, is_anonymous boolean, last_sign_in_at timestamptz, created_at timestamptz, updated_at timestamptz)
	LANGUAGE sql STABLE SECURITY DEFINER ROWS 1
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT u.id, u.email, u.email_confirmed_at, u.raw_user_meta_data, u.raw_app_meta_data,
		u.app_role, u.is_anonymous, u.last_sign_in_at, u.created_at, u.updated_at
	FROM @schema@.users AS u WHERE u.id = plinth.auth_uid()
	$$;
COMMENT ON FUNCTION @schema@.own_account() IS
'the caller''s account, without hash, counters and locks; no row when not signed in; the view me shows it';

CREATE VIEW @schema@.me WITH (security_invoker = true) AS
	SELECT * FROM @schema@.own_account();
COMMENT ON VIEW @schema@.me IS 'the caller''s own account';

