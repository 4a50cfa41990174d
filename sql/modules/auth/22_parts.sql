-- ---------------------------------------------------------------------
-- Parts of the account functions
--
--		No role but the owner may execute these.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.user_json(account @schema@.users) RETURNS jsonb
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT jsonb_build_object(
		'id', (account).id,
		'email', (account).email,
		'email_confirmed_at', (account).email_confirmed_at,
		'app_role', (account).app_role,
		'app_metadata', (account).raw_app_meta_data,
		'user_metadata', (account).raw_user_meta_data,
		'is_anonymous', (account).is_anonymous,
		'last_sign_in_at', (account).last_sign_in_at,
		'created_at', (account).created_at,
		'updated_at', (account).updated_at)
	$$;
COMMENT ON FUNCTION @schema@.user_json(@schema@.users) IS
'an account as its user sees it: no hash, no counter, no lock; account = row of users';

CREATE FUNCTION @schema@.token_hash(token text) RETURNS bytea
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
	AS $$
	-- The bytes as they came: where the encoding is SQL_ASCII they may be any.
	SELECT sha256(convert_to(token, getdatabaseencoding()))
	$$;
COMMENT ON FUNCTION @schema@.token_hash(text) IS
'what is stored of a token: SHA-256 (FIPS 180-4); a token has 256 random bits, so no salt and no slow hash is needed';

CREATE FUNCTION @schema@.ttl(name text) RETURNS interval
	LANGUAGE sql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$ SELECT (plinth.setting('auth.' || name) #>> '{}')::interval $$;
COMMENT ON FUNCTION @schema@.ttl(text) IS
'duration that the setting auth.<name> gives; errors: 22023 no such setting';

CREATE FUNCTION @schema@.record_event(user_id uuid, session_id uuid, event text) RETURNS void
	LANGUAGE sql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO @schema@.events (user_id, session_id, event, ip, user_agent)
	VALUES (record_event.user_id, record_event.session_id, record_event.event,
		plinth.auth_client_address(), plinth.auth_user_agent())
	$$;
COMMENT ON FUNCTION @schema@.record_event(uuid, uuid, text) IS
'adds a row to events with the caller''s address and user agent';

CREATE FUNCTION @schema@.limit_attempts(email text) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		counted	text;
		answer	record;
	BEGIN
		-- By address even where claims name a user: accounts are cheap.
		FOREACH counted IN ARRAY ARRAY[
			coalesce(host(plinth.auth_client_address()), 'local'),
			'email:' || lower(email)]
		LOOP
			CONTINUE WHEN counted IS NULL;
			SELECT * INTO answer FROM plinth.check_rate_limit(counted, 'anonymous');
			IF NOT answer.allowed THEN
				RAISE EXCEPTION 'Rate limit exceeded'
					USING ERRCODE = 'PT429',
						  DETAIL = format('The limit is reset at %s.', answer.reset),
						  HINT = format('%s requests remain.', answer.remaining);
			END IF;
		END LOOP;
	END
	$$;
COMMENT ON FUNCTION @schema@.limit_attempts(text) IS
'counts an attempt against the tier anonymous, for the caller''s address and for the e-mail address, unless that is NULL; errors: PT429 over the limit; 55000 library not preloaded';

CREATE FUNCTION @schema@.check_redirect(redirect_to text) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		-- Every character but letters and digits is taken literally, then the
		-- star gets its meaning back: what a name or a path segment is made of,
		-- so that it can reach across no part of an address.  The backslashes are
		-- spelled so that no setting of the caller's session changes them.
		IF redirect_to IS NOT NULL AND NOT EXISTS (
			SELECT FROM @schema@.redirect_urls AS u
			WHERE octet_length(redirect_to) <= 2048
				AND redirect_to ~ ('^(?:' || replace(
					regexp_replace(u.pattern, '([^A-Za-z0-9])', E'\\\\\\1', 'g'),
					E'\\*', '[A-Za-z0-9._~-]*') || ')$'))
		THEN
			RAISE EXCEPTION 'redirect address is not allowed'
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'The allowed addresses are the rows of @schema@.redirect_urls.';
		END IF;
	END
	$$;
COMMENT ON FUNCTION @schema@.check_redirect(text) IS
'refuses an address that no row of redirect_urls allows; NULL passes; errors: 22023';

CREATE FUNCTION @schema@.session_json(account @schema@.users, session @schema@.sessions, refresh_token text)
	RETURNS jsonb
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		issued_at	bigint := floor(extract(epoch FROM clock_timestamp()));
		expires_at	bigint := least(issued_at + floor(extract(epoch FROM @schema@.ttl('access_token_ttl'))),
									floor(extract(epoch FROM session.not_after)));
		claims		jsonb := jsonb_build_object(
			'sub', account.id,
			'role', 'authenticated',
			'app_metadata', account.raw_app_meta_data,
			'user_metadata', account.raw_user_meta_data,
			'session_id', session.id,
			'aal', session.aal,
			'amr', session.amr,
			'iat', issued_at,
			'exp', expires_at);
	BEGIN
		IF account.email IS NOT NULL THEN
			claims := claims || jsonb_build_object('email', account.email);
		END IF;

		RETURN jsonb_build_object(
			'access_token', plinth.jwt_sign(claims),
			'token_type', 'bearer',
			'expires_in', expires_at - issued_at,
			'expires_at', expires_at,
			'refresh_token', refresh_token,
			'user', @schema@.user_json(account));
	END
	$$;
COMMENT ON FUNCTION @schema@.session_json(@schema@.users, @schema@.sessions, text) IS
'what a sign-in answers: access token (RFC 7519; the extension adds iss and aud), its life in seconds and its end in seconds since 1970, the refresh token, the user';

CREATE FUNCTION @schema@.add_refresh_token(session @schema@.sessions, parent_id bigint, token text) RETURNS void
	LANGUAGE sql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO @schema@.refresh_tokens (session_id, token_hash, parent_id, expires_at)
	VALUES (session.id, @schema@.token_hash(token), add_refresh_token.parent_id,
		least(clock_timestamp() + @schema@.ttl('session_idle_ttl'), session.not_after))
	$$;
COMMENT ON FUNCTION @schema@.add_refresh_token(@schema@.sessions, bigint, text) IS
'a new refresh token of the session, of which only the hash is kept; parent_id = the token that it replaces, or NULL';

CREATE FUNCTION @schema@.open_session(user_id uuid, method text, session_id uuid DEFAULT gen_random_uuid()) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		account	@schema@.users;
		session	@schema@.sessions;
		token	text := plinth.auth_new_token();
	BEGIN
		UPDATE @schema@.users
		SET last_sign_in_at = clock_timestamp(), failed_attempts = 0, locked_until = NULL
		WHERE id = open_session.user_id
		RETURNING * INTO STRICT account;

		PERFORM @schema@.note_success(account.id);
		INSERT INTO @schema@.sessions (id, user_id, amr, user_agent, ip, not_after)
		VALUES (open_session.session_id, open_session.user_id, ARRAY[method], plinth.auth_user_agent(), plinth.auth_client_address(),
			clock_timestamp() + @schema@.ttl('session_ttl'))
		RETURNING * INTO session;

		PERFORM @schema@.record_event(account.id, session.id, 'SIGNED_IN');
		PERFORM @schema@.add_refresh_token(session, NULL, token);
		RETURN @schema@.session_json(account, session, token);
	END
	$$;
COMMENT ON FUNCTION @schema@.open_session(uuid, text, uuid) IS
'starts a session of the user, who has just proved who they are by method (RFC 8176), and answers it; session_id = the id that it gets';

