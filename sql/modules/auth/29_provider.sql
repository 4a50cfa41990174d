-- ---------------------------------------------------------------------
-- Providers: sign in with an account elsewhere (OAuth 2.0 with PKCE)
--
--		The back end talks to the provider; here is who it was, and the proof
--		that who ends a sign-in is who began it (RFC 7636, S256 only).
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.sign_in_with_provider(provider text, redirect_to text, code_challenge text,
		query_params jsonb DEFAULT '{"access_type": "offline", "prompt": "consent"}') RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		flow	@schema@.flow_states;
	BEGIN
		PERFORM @schema@.limit_attempts(NULL);
		IF sign_in_with_provider.provider IS NULL
			OR sign_in_with_provider.provider NOT IN ('google', 'github', 'apple', 'azure')
		THEN
			RAISE EXCEPTION 'unrecognized provider "%"', sign_in_with_provider.provider
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'The providers are google, github, apple and azure.';
		END IF;
		IF sign_in_with_provider.redirect_to IS NULL THEN
			RAISE EXCEPTION 'a sign-in by a provider needs a redirect address'
				USING ERRCODE = 'invalid_parameter_value';
		END IF;
		PERFORM @schema@.check_redirect(sign_in_with_provider.redirect_to);
		IF sign_in_with_provider.code_challenge IS NULL
			OR octet_length(sign_in_with_provider.code_challenge) <> 43
			OR sign_in_with_provider.code_challenge !~ '^[A-Za-z0-9_-]{43}$'
		THEN
			RAISE EXCEPTION 'invalid code challenge'
				USING ERRCODE = 'invalid_parameter_value',
					  DETAIL = 'It is the SHA-256 of the verifier as 43 characters of base64url (RFC 7636 section 4.2, S256).';
		END IF;
		IF jsonb_typeof(sign_in_with_provider.query_params) IS DISTINCT FROM 'object'
			OR octet_length(sign_in_with_provider.query_params::text) > 4096
		THEN
			RAISE EXCEPTION 'query_params must be a JSON object of at most 4096 bytes'
				USING ERRCODE = 'invalid_parameter_value';
		END IF;

		INSERT INTO @schema@.flow_states (provider, code_challenge, redirect_to, query_params, expires_at)
		VALUES (sign_in_with_provider.provider, sign_in_with_provider.code_challenge,
			sign_in_with_provider.redirect_to, sign_in_with_provider.query_params,
			clock_timestamp() + interval '10 min')
		RETURNING * INTO flow;
		RETURN jsonb_build_object('flow_id', flow.id, 'provider', flow.provider,
			'redirect_to', flow.redirect_to, 'query_params', flow.query_params);
	END
	$$;
COMMENT ON FUNCTION @schema@.sign_in_with_provider(text, text, text, jsonb) IS
'begins a sign-in by a provider (google, github, apple, azure) and answers {flow_id, provider, redirect_to, query_params} for the request to it; code_challenge = base64url of the SHA-256 of a secret that exchange_code() is told (RFC 7636, S256); it has 10 minutes; errors: 22023 another provider, redirect_to not allowed, challenge or query_params not acceptable; PT429 too many attempts';

CREATE FUNCTION @schema@.account_of_identity(provider text, provider_id text, identity_data jsonb)
	RETURNS @schema@.users
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		account		@schema@.users;
		address		text := identity_data ->> 'email';
		-- Some say it with a string.
		asserted	boolean := coalesce(lower(identity_data ->> 'email_verified') = 'true', false);
	BEGIN
		SELECT u.* INTO account FROM @schema@.identities AS i JOIN @schema@.users AS u ON u.id = i.user_id
		WHERE i.provider = account_of_identity.provider AND i.provider_id = account_of_identity.provider_id;
		IF FOUND THEN
			UPDATE @schema@.identities
			SET identity_data = account_of_identity.identity_data, last_sign_in_at = clock_timestamp()
			WHERE provider = account_of_identity.provider AND provider_id = account_of_identity.provider_id;
			RETURN account;
		END IF;

		-- An address that nobody vouches for would let its bearer wait in the
		-- account of whoever owns it.
		IF NOT asserted THEN
			RAISE EXCEPTION 'the provider does not assert that the address is the user''s'
				USING ERRCODE = 'object_not_in_prerequisite_state';
		END IF;
		PERFORM @schema@.check_email(address);

		INSERT INTO @schema@.users (email, email_confirmed_at, raw_user_meta_data)
		VALUES (address, clock_timestamp(), jsonb_strip_nulls(jsonb_build_object(
			'full_name', left(coalesce(identity_data ->> 'full_name', identity_data ->> 'name'), 200),
			'avatar_url', left(coalesce(identity_data ->> 'avatar_url', identity_data ->> 'picture'), 500))))
		ON CONFLICT (lower(email)) DO NOTHING
		RETURNING * INTO account;
		IF NOT FOUND THEN
			SELECT u.* INTO account FROM @schema@.users AS u WHERE lower(u.email) = lower(address) FOR UPDATE;
			IF account.email_confirmed_at IS NULL THEN
				RAISE EXCEPTION 'an account has this address, and has not confirmed it'
					USING ERRCODE = 'object_not_in_prerequisite_state',
						  HINT = 'A magic link or a recovery link confirms the address.';
			END IF;
			PERFORM @schema@.record_event(account.id, NULL, 'USER_UPDATED');
		END IF;
		INSERT INTO @schema@.identities (user_id, provider, provider_id, identity_data, last_sign_in_at)
		VALUES (account.id, account_of_identity.provider, account_of_identity.provider_id,
			account_of_identity.identity_data, clock_timestamp());
		RETURN account;
	END
	$$;
COMMENT ON FUNCTION @schema@.account_of_identity(text, text, jsonb) IS
'the account that a provider''s user has here: the one that is linked, else that of the address when the provider asserts the address (email_verified) and the account has confirmed it, else a new one; errors: 55000 the provider does not assert the address, or the account has not confirmed it; 22023 no address; 23505 the same user at the same moment';

CREATE FUNCTION @schema@.complete_provider_sign_in(flow_id uuid, provider_id text, identity_data jsonb) RETURNS text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		flow	@schema@.flow_states;
		account	@schema@.users;
		code	text := plinth.auth_new_token();
	BEGIN
		PERFORM @schema@.require_service('complete_provider_sign_in');
		IF coalesce(octet_length(complete_provider_sign_in.provider_id), 0) NOT BETWEEN 1 AND 255 THEN
			RAISE EXCEPTION 'a provider''s id has 1 to 255 bytes' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		IF jsonb_typeof(complete_provider_sign_in.identity_data) IS DISTINCT FROM 'object'
			OR octet_length(complete_provider_sign_in.identity_data::text) > 16384
		THEN
			RAISE EXCEPTION 'identity_data must be a JSON object of at most 16384 bytes'
				USING ERRCODE = 'invalid_parameter_value';
		END IF;

		UPDATE @schema@.flow_states
		SET auth_code_hash = @schema@.token_hash(code), expires_at = clock_timestamp() + interval '10 min'
		WHERE id = complete_provider_sign_in.flow_id AND auth_code_hash IS NULL
			AND expires_at > clock_timestamp()
		RETURNING * INTO flow;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'there is no such sign-in under way' USING ERRCODE = 'no_data_found';
		END IF;

		account := @schema@.account_of_identity(flow.provider, complete_provider_sign_in.provider_id,
			complete_provider_sign_in.identity_data);
		IF account.banned_until > clock_timestamp() THEN
			RAISE EXCEPTION 'the user is banned' USING ERRCODE = 'invalid_authorization_specification';
		END IF;
		UPDATE @schema@.flow_states SET user_id = account.id WHERE id = flow.id;
		RETURN code;
	END
	$$;
COMMENT ON FUNCTION @schema@.complete_provider_sign_in(uuid, text, jsonb) IS
'tells who the provider says the user is, and answers the code that goes to the redirect address, good once for 10 minutes; provider_id = 1 to 255 bytes, the provider''s own name of the user; identity_data = object of at most 16384 bytes with email, email_verified, full_name or name, avatar_url or picture; the account is the one that is linked, else that of the address when the provider asserts it and the account has confirmed it, else a new one; errors: 22023 an argument is not acceptable; P0002 no such sign-in under way; 55000 the provider does not assert the address, or its account has not confirmed it; 28000 the user is banned; 42501 caller is not the service';

CREATE FUNCTION @schema@.exchange_code(auth_code text, code_verifier text) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		flow	@schema@.flow_states;
		account	@schema@.users;
		new_id	uuid := gen_random_uuid();
		answer	jsonb;
	BEGIN
		PERFORM @schema@.limit_attempts(NULL);
		PERFORM plinth.auth_journal_ready();

		-- Of any number of callers with one code this lets a single one pass.
		UPDATE @schema@.flow_states
		SET used_at = clock_timestamp()
		WHERE auth_code_hash = @schema@.token_hash(exchange_code.auth_code)
			AND used_at IS NULL AND expires_at > clock_timestamp()
		RETURNING * INTO flow;
		IF FOUND AND plinth.auth_pkce_verify(flow.code_challenge, exchange_code.code_verifier) THEN
			SELECT u.* INTO account FROM @schema@.users AS u
			WHERE u.id = flow.user_id AND (u.banned_until IS NULL OR u.banned_until <= clock_timestamp());
		ELSIF NOT FOUND THEN
			-- Two have code and verifier, and one of them is a thief.  Who has the
			-- code alone got it from a log or a history, and ends nothing with it.
			PERFORM plinth.auth_journal('revocation', s.user_id, s.id)
			FROM @schema@.flow_states AS f JOIN @schema@.sessions AS s ON s.id = f.session_id
			WHERE f.auth_code_hash = @schema@.token_hash(exchange_code.auth_code)
				AND s.revoked_at IS NULL
				AND plinth.auth_pkce_verify(f.code_challenge, exchange_code.code_verifier);
		END IF;
		IF account.id IS NULL THEN
			RAISE EXCEPTION 'Invalid or expired code'
				USING ERRCODE = 'invalid_authorization_specification';
		END IF;

		answer := @schema@.open_session(account.id, 'oauth', new_id);
		UPDATE @schema@.flow_states SET session_id = new_id WHERE id = flow.id;
		RETURN answer;
	END
	$$;
COMMENT ON FUNCTION @schema@.exchange_code(text, text) IS
'exchanges the code of a sign-in by a provider, once, for a session; code_verifier = 43 to 128 characters whose SHA-256 is the challenge that the sign-in began with (RFC 7636 section 4.6); code and verifier presented again end that session, which stands whatever becomes of the transaction (RFC 6749 section 4.1.2); errors: 28000 "Invalid or expired code": unknown, used or expired, not the verifier, or the user is banned; PT429 too many attempts; 53000 the security journal is full; 55000 library not preloaded; 40001 lost to another use of the code at a stricter isolation level';
