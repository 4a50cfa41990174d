-- ---------------------------------------------------------------------
-- Links: what a mail proves, and what a user changes of the account
--
--		A token is made when its mail is sent: who sends mail calls
--		generate_link().  What a user asks for before that names no token.
-- ---------------------------------------------------------------------
CREATE INDEX one_time_tokens_relates_to_idx ON @schema@.one_time_tokens (lower(relates_to))
	WHERE kind = 'email_change' AND used_at IS NULL;

CREATE FUNCTION @schema@.link_ttl(kind text) RETURNS interval
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		CASE kind
			WHEN 'confirmation', 'email_change' THEN
				RETURN @schema@.ttl('confirmation_ttl');
			WHEN 'recovery', 'reauthentication' THEN
				RETURN @schema@.ttl('recovery_ttl');
			WHEN 'magic_link' THEN
				RETURN @schema@.ttl('magic_link_ttl');
			ELSE
				RAISE EXCEPTION 'unrecognized kind of token "%"', kind
					USING ERRCODE = 'invalid_parameter_value',
						  HINT = 'The kinds are confirmation, recovery, magic_link, email_change and reauthentication.';
		END CASE;
	END
	$$;
COMMENT ON FUNCTION @schema@.link_ttl(text) IS
'how long a one-time token of the kind is good, by the settings auth.*_ttl; errors: 22023 another kind';

CREATE FUNCTION @schema@.check_email(email text) RETURNS void
	LANGUAGE plpgsql IMMUTABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		IF email IS NULL OR char_length(email) > 320
			OR email !~ '^[^@[:space:][:cntrl:]]+@[^@[:space:][:cntrl:]]+$'
		THEN
			RAISE EXCEPTION 'invalid e-mail address' USING ERRCODE = 'invalid_parameter_value';
		END IF;
	END
	$$;
COMMENT ON FUNCTION @schema@.check_email(text) IS
'refuses what can be no address: not one @ between something and something, white space, or more than 320 characters; errors: 22023';

CREATE FUNCTION @schema@.caller_account(locked boolean DEFAULT true) RETURNS @schema@.users
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		account	@schema@.users;
		current	uuid := plinth.auth_session_id();
		-- the journal first, the table after: what leaves the one is in the other
		revoked	boolean := current IS NOT NULL AND plinth.auth_journal_pending('revocation', current) > 0;
	BEGIN
		IF locked THEN
			PERFORM FROM @schema@.users AS u WHERE u.id = plinth.auth_uid() FOR NO KEY UPDATE;
		END IF;

		-- A token outlives the end of its session; what changes an account does not.
		SELECT u.* INTO account FROM @schema@.users AS u
		WHERE u.id = plinth.auth_uid()
			AND (u.banned_until IS NULL OR u.banned_until <= clock_timestamp())
			AND (current IS NULL OR EXISTS (SELECT FROM @schema@.sessions AS s
				WHERE s.id = current AND s.user_id = u.id AND s.revoked_at IS NULL
					AND s.not_after > clock_timestamp()));
		IF NOT FOUND OR revoked THEN
			RAISE EXCEPTION 'not signed in' USING ERRCODE = 'invalid_authorization_specification';
		END IF;
		RETURN account;
	END
	$$;
COMMENT ON FUNCTION @schema@.caller_account(boolean) IS
'the caller''s account; locked = until the transaction ends, against all others who ask for it so; errors: 28000 not signed in, the session has ended, or the user is banned or gone';

CREATE FUNCTION @schema@.end_sessions(user_id uuid, kept uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		ended	uuid;
	BEGIN
		FOR ended IN
			UPDATE @schema@.sessions AS s SET revoked_at = clock_timestamp()
			WHERE s.user_id = end_sessions.user_id AND s.revoked_at IS NULL
				AND s.id IS DISTINCT FROM end_sessions.kept
			RETURNING s.id
		LOOP
			PERFORM @schema@.record_event(end_sessions.user_id, ended, 'SIGNED_OUT');
		END LOOP;
	END
	$$;
COMMENT ON FUNCTION @schema@.end_sessions(uuid, uuid) IS
'ends the sessions of a user but the one that is kept (NULL: all), with their refresh tokens';

CREATE FUNCTION @schema@.generate_link(kind text, email text, redirect_to text DEFAULT NULL) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		account		@schema@.users;
		token		text := plinth.auth_new_token();
		expires_at	timestamptz;
		link		text;
	BEGIN
		IF NOT plinth.is_service() THEN
			RAISE EXCEPTION 'permission denied for function generate_link'
				USING ERRCODE = 'insufficient_privilege';
		END IF;
		expires_at := clock_timestamp() + @schema@.link_ttl(generate_link.kind);
		PERFORM @schema@.check_redirect(generate_link.redirect_to);

		IF generate_link.kind = 'email_change' THEN
			-- The address is one that a user wants to have: update_user() notes it.
			SELECT u.* INTO account
			FROM @schema@.one_time_tokens AS t JOIN @schema@.users AS u ON u.id = t.user_id
			WHERE t.kind = 'email_change' AND t.used_at IS NULL AND t.expires_at > clock_timestamp()
				AND lower(t.relates_to) = lower(generate_link.email)
				AND NOT EXISTS (SELECT FROM @schema@.users AS o WHERE lower(o.email) = lower(generate_link.email))
			ORDER BY t.created_at DESC LIMIT 1;
			IF NOT FOUND THEN
				RAISE EXCEPTION 'nobody waits for the confirmation of this address'
					USING ERRCODE = 'no_data_found';
			END IF;
		ELSE
			SELECT u.* INTO account FROM @schema@.users AS u
			WHERE lower(u.email) = lower(generate_link.email);
			IF NOT FOUND THEN
				RAISE EXCEPTION 'no account has this address' USING ERRCODE = 'no_data_found';
			END IF;
		END IF;
		IF generate_link.kind = 'confirmation' AND account.email_confirmed_at IS NOT NULL THEN
			RAISE EXCEPTION 'the address is confirmed already'
				USING ERRCODE = 'object_not_in_prerequisite_state';
		END IF;
		IF generate_link.kind = 'reauthentication' AND account.email_confirmed_at IS NULL THEN
			RAISE EXCEPTION 'the address is not confirmed'
				USING ERRCODE = 'object_not_in_prerequisite_state';
		END IF;

		INSERT INTO @schema@.one_time_tokens (user_id, kind, token_hash, relates_to, redirect_to, expires_at)
		VALUES (account.id, generate_link.kind, @schema@.token_hash(token),
			CASE WHEN generate_link.kind = 'email_change' THEN generate_link.email END,
			generate_link.redirect_to, expires_at)
		ON CONFLICT (user_id, kind) WHERE used_at IS NULL DO UPDATE
		SET token_hash = excluded.token_hash, relates_to = excluded.relates_to,
			redirect_to = excluded.redirect_to, created_at = excluded.created_at,
			expires_at = excluded.expires_at;

		-- The query goes before the fragment.
		link := regexp_replace(generate_link.redirect_to, '^([^#]*)',
			E'\\1' || CASE WHEN generate_link.redirect_to ~ '^[^#]*[?]' THEN '&' ELSE '?' END
			|| 'kind=' || generate_link.kind || '&token=' || token);
		RETURN jsonb_build_object('token', token, 'link', link, 'expires_at', expires_at);
	END
	$$;
COMMENT ON FUNCTION @schema@.generate_link(text, text, text) IS
'a one-time token for the mail to an address, which replaces an unused one: {token, link, expires_at}; link = redirect_to with kind and token, or null without redirect_to; kind = confirmation, recovery, magic_link, reauthentication, or email_change, where email is the new address; errors: 22023 another kind, or redirect_to not allowed; P0002 no account, or nobody who wants that address; 55000 confirmed already, or for reauthentication not confirmed; 42501 caller is not the service';

CREATE FUNCTION @schema@.verify_otp(kind text, token text) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		spent	@schema@.one_time_tokens;
		account	@schema@.users;
	BEGIN
		PERFORM @schema@.limit_attempts(NULL);
		PERFORM @schema@.link_ttl(verify_otp.kind);

		UPDATE @schema@.one_time_tokens
		SET used_at = clock_timestamp()
		WHERE token_hash = @schema@.token_hash(verify_otp.token) AND kind = verify_otp.kind
			AND used_at IS NULL AND expires_at > clock_timestamp()
		RETURNING * INTO spent;
		IF FOUND THEN
			SELECT u.* INTO account FROM @schema@.users AS u
			WHERE u.id = spent.user_id AND (u.banned_until IS NULL OR u.banned_until <= clock_timestamp())
			FOR UPDATE;
		END IF;
		IF FOUND AND spent.kind = 'email_change' THEN
			-- Somebody else may have come to have the address meanwhile.
			BEGIN
				UPDATE @schema@.users
				SET email = spent.relates_to, email_confirmed_at = clock_timestamp(), is_anonymous = false
				WHERE id = account.id;
			EXCEPTION WHEN unique_violation THEN
				account := NULL;
			END;
		END IF;
		IF account.id IS NULL THEN
			RAISE EXCEPTION 'Invalid or expired token'
				USING ERRCODE = 'invalid_authorization_specification';
		END IF;

		IF spent.kind = 'confirmation' THEN
			UPDATE @schema@.users
			SET email_confirmed_at = coalesce(email_confirmed_at, clock_timestamp())
			WHERE id = account.id;
		ELSIF spent.kind = 'email_change' THEN
			UPDATE @schema@.identities
			SET identity_data = identity_data || jsonb_build_object('email', spent.relates_to)
			WHERE user_id = account.id AND provider = 'email';
			-- What went to the old address is no proof any more.
			DELETE FROM @schema@.one_time_tokens WHERE user_id = account.id AND used_at IS NULL;
			PERFORM @schema@.record_event(account.id, NULL, 'USER_UPDATED');
		ELSIF account.email_confirmed_at IS NULL THEN
			-- The one who reads the mail need not be the one who has chosen the
			-- password, and nobody else may keep a way in.
			UPDATE @schema@.users SET email_confirmed_at = clock_timestamp(), encrypted_password = NULL
			WHERE id = account.id;
			PERFORM @schema@.end_sessions(account.id, NULL);
		END IF;

		IF spent.kind = 'recovery' THEN
			PERFORM @schema@.unlock(account.id);
			PERFORM @schema@.record_event(account.id, NULL, 'PASSWORD_RECOVERY');
			RETURN @schema@.open_session(account.id, 'recovery');
		END IF;
		RETURN @schema@.open_session(account.id, 'otp');
	END
	$$;
COMMENT ON FUNCTION @schema@.verify_otp(text, text) IS
'takes a one-time token, once, and answers a new session; confirmation, recovery and magic_link confirm the address, the last two then without the password that came with an unconfirmed one; email_change gives the account its new address; in the session of a recovery a new password needs no old one for auth.recovery_ttl; errors: 22023 another kind; 28000 the token is unknown, used or expired, its user is banned, or the new address has an account by now; PT429 too many attempts';

CREATE FUNCTION @schema@.reset_password_for_email(email text, redirect_to text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		PERFORM @schema@.limit_attempts(email);
		PERFORM @schema@.check_redirect(redirect_to);
		PERFORM @schema@.check_email(email);
	END
	$$;
COMMENT ON FUNCTION @schema@.reset_password_for_email(text, text) IS
'asks for a mail that lets its reader choose a new password; asks nothing of the accounts, so that answer and time are the same whether or not the address has one; the back end that sends the mail calls generate_link(''recovery'', email, redirect_to); errors: 22023 no address, or redirect_to not allowed; PT429 too many attempts';

CREATE FUNCTION @schema@.may_set_password(current_password text) RETURNS text
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		-- Not locked: a failure is committed by another transaction.
		account	@schema@.users := @schema@.caller_account(false);
		proven	boolean;
		refused	boolean;
	BEGIN
		IF current_password IS NOT NULL THEN
			-- Who holds a token must not guess faster than who signs in.
			PERFORM @schema@.limit_attempts(account.email);
			PERFORM plinth.auth_journal_ready();
			proven := plinth.auth_password_verify(current_password, account.encrypted_password);
			refused := coalesce(plinth.auth_lock_ends(account.id) > clock_timestamp(), false);
			IF refused OR NOT proven THEN
				PERFORM plinth.auth_journal(CASE WHEN refused THEN 'refusal' ELSE 'failure' END, account.id);
				RAISE EXCEPTION 'Invalid login credentials'
					USING ERRCODE = 'invalid_authorization_specification';
			END IF;
		ELSIF NOT EXISTS (SELECT FROM @schema@.sessions AS s
			WHERE s.id = plinth.auth_session_id() AND s.user_id = account.id AND 'recovery' = ANY (s.amr)
				AND s.created_at > clock_timestamp() - @schema@.ttl('recovery_ttl'))
		THEN
			RAISE EXCEPTION 'a new password needs the current one'
				USING ERRCODE = 'insufficient_privilege',
					  HINT = 'Give current_password, or follow a recovery link.';
		END IF;
		RETURN account.encrypted_password;
	END
	$$;
COMMENT ON FUNCTION @schema@.may_set_password(text) IS
'refuses a new password to who gives neither the current one nor a session that a recovery link has started within auth.recovery_ttl, and answers the hash that it replaces; a wrong one counts as a failure to sign in; errors: 28000 not signed in, not the current one, or the account is locked; 42501 neither; PT429 too many attempts; 53000 no free hash slot, or the journal is full';

CREATE FUNCTION @schema@.update_user(password text DEFAULT NULL, email text DEFAULT NULL, data jsonb DEFAULT NULL,
		current_password text DEFAULT NULL) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		account	@schema@.users;
		current	uuid := plinth.auth_session_id();
		former	text;
		hash	text;
	BEGIN
		IF update_user.password IS NOT NULL THEN
			PERFORM plinth.auth_password_check(update_user.password);
			former := @schema@.may_set_password(update_user.current_password);
			hash := plinth.auth_password_hash(update_user.password);
		END IF;

		account := @schema@.caller_account();
		IF hash IS NOT NULL AND account.encrypted_password IS DISTINCT FROM former THEN
			RAISE EXCEPTION 'the password has just been changed'
				USING ERRCODE = 'serialization_failure';
		END IF;
		IF update_user.data IS NOT NULL AND (jsonb_typeof(update_user.data) <> 'object'
			OR octet_length((account.raw_user_meta_data || update_user.data)::text) > 4096)
		THEN
			RAISE EXCEPTION 'metadata must be a JSON object of at most 4096 bytes'
				USING ERRCODE = 'invalid_parameter_value';
		END IF;
		IF update_user.email IS NOT NULL THEN
			PERFORM @schema@.check_email(update_user.email);
		END IF;

		UPDATE @schema@.users
		SET encrypted_password = coalesce(hash, encrypted_password),
			raw_user_meta_data = raw_user_meta_data || coalesce(update_user.data, '{}')
		WHERE id = account.id
		RETURNING * INTO account;

		IF hash IS NOT NULL THEN
			INSERT INTO @schema@.identities (user_id, provider, provider_id, identity_data)
			VALUES (account.id, 'email', account.id::text,
				jsonb_build_object('sub', account.id, 'email', account.email))
			ON CONFLICT (provider, provider_id) DO NOTHING;
			-- Whoever else had found a way in has it no more.
			PERFORM @schema@.end_sessions(account.id, current);
			UPDATE @schema@.sessions SET amr = array_replace(amr, 'recovery', 'otp')
			WHERE id = current AND user_id = account.id;
			DELETE FROM @schema@.one_time_tokens WHERE user_id = account.id AND used_at IS NULL;
		END IF;

		-- Noted for a known address too: neither answer nor time tells of it.  The
		-- token is nobody's; generate_link() puts another in its place.
		IF lower(update_user.email) IS DISTINCT FROM lower(account.email) AND update_user.email IS NOT NULL THEN
			INSERT INTO @schema@.one_time_tokens (user_id, kind, token_hash, relates_to, expires_at)
			VALUES (account.id, 'email_change', @schema@.token_hash(plinth.auth_new_token()), update_user.email,
				clock_timestamp() + @schema@.link_ttl('email_change'))
			ON CONFLICT (user_id, kind) WHERE used_at IS NULL DO UPDATE
			SET token_hash = excluded.token_hash, relates_to = excluded.relates_to,
				created_at = excluded.created_at, expires_at = excluded.expires_at;
		END IF;

		PERFORM @schema@.record_event(account.id, current, 'USER_UPDATED');
		RETURN @schema@.user_json(account);
	END
	$$;
COMMENT ON FUNCTION @schema@.update_user(text, text, jsonb, text) IS
'changes the caller''s account and answers it; password needs current_password, or a session that a recovery link has started within auth.recovery_ttl, and ends the user''s other sessions and unused one-time tokens; email is asked for, and taken when verify_otp(''email_change'', ...) confirms it: the back end that sends the mail calls generate_link(''email_change'', new address); data is merged into the user''s metadata; errors: 28000 not signed in, or not the current password; 42501 neither that nor a recovery; 22023 password, address or data not acceptable; PT429 too many wrong passwords; 40001 the password was changed at the same moment; 53000 no free hash slot, or the security journal is full';
