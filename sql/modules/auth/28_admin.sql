-- ---------------------------------------------------------------------
-- Administration: accounts in the hands of the service and of administrators
--
--		There is always an administrator who can act, that is, who is not
--		banned: whoever changes one locks all of them, in the order of their
--		ids, and so waits for the others that do.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.require_service(function_name text) RETURNS void
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		IF NOT plinth.is_service() THEN
			RAISE EXCEPTION 'permission denied for function %', function_name
				USING ERRCODE = 'insufficient_privilege';
		END IF;
	END
	$$;
COMMENT ON FUNCTION @schema@.require_service(text) IS
'refuses everybody but the service; errors: 42501';

CREATE FUNCTION @schema@.account_for_admin(id uuid, function_name text, loses_power boolean) RETURNS @schema@.users
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		account	@schema@.users;
		others	bigint;
	BEGIN
		IF NOT (plinth.is_service() OR @schema@.is_admin()) THEN
			RAISE EXCEPTION 'permission denied for function %', function_name
				USING ERRCODE = 'insufficient_privilege';
		END IF;

		-- The caller may have ceased to be one while this waited.
		PERFORM FROM @schema@.users AS u
		WHERE u.app_role = 'admin' OR u.id = account_for_admin.id
		ORDER BY u.id FOR NO KEY UPDATE;
		IF NOT (plinth.is_service() OR @schema@.is_admin()) THEN
			RAISE EXCEPTION 'permission denied for function %', function_name
				USING ERRCODE = 'insufficient_privilege';
		END IF;

		SELECT u.* INTO account FROM @schema@.users AS u WHERE u.id = account_for_admin.id;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'there is no such user' USING ERRCODE = 'no_data_found';
		END IF;
		IF loses_power AND account.app_role = 'admin' THEN
			SELECT count(*) INTO others FROM @schema@.users AS u
			WHERE u.app_role = 'admin' AND u.id <> account.id
				AND (u.banned_until IS NULL OR u.banned_until <= clock_timestamp());
			IF others = 0 THEN
				RAISE EXCEPTION 'cannot take away the last administrator'
					USING ERRCODE = 'object_not_in_prerequisite_state',
						  HINT = 'Make somebody else an administrator first.';
			END IF;
		END IF;
		RETURN account;
	END
	$$;
COMMENT ON FUNCTION @schema@.account_for_admin(uuid, text, boolean) IS
'an account that the service or an administrator is about to change, locked with those of all administrators until the transaction ends; loses_power = it may be no administrator afterwards; errors: 42501 caller is neither; P0002 no such user; 55000 it is the last administrator who is not banned';

CREATE FUNCTION @schema@.admin_create_user(email text, password text, user_metadata jsonb DEFAULT '{}',
		email_confirm boolean DEFAULT true) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		account	@schema@.users;
	BEGIN
		PERFORM @schema@.require_service('admin_create_user');
		PERFORM @schema@.check_email(admin_create_user.email);
		IF jsonb_typeof(admin_create_user.user_metadata) IS DISTINCT FROM 'object'
			OR octet_length(admin_create_user.user_metadata::text) > 4096
		THEN
			RAISE EXCEPTION 'metadata must be a JSON object of at most 4096 bytes'
				USING ERRCODE = 'invalid_parameter_value';
		END IF;
		IF admin_create_user.password IS NOT NULL THEN
			PERFORM plinth.auth_password_check(admin_create_user.password);
		END IF;

		INSERT INTO @schema@.users (email, encrypted_password, raw_user_meta_data, email_confirmed_at)
		VALUES (admin_create_user.email, plinth.auth_password_hash(admin_create_user.password),
			admin_create_user.user_metadata,
			CASE WHEN admin_create_user.email_confirm THEN clock_timestamp() END)
		ON CONFLICT (lower(email)) DO NOTHING
		RETURNING * INTO account;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'an account has this address already' USING ERRCODE = 'unique_violation';
		END IF;
		INSERT INTO @schema@.identities (user_id, provider, provider_id, identity_data)
		VALUES (account.id, 'email', account.id::text,
			jsonb_build_object('sub', account.id, 'email', account.email));
		RETURN @schema@.user_json(account);
	END
	$$;
COMMENT ON FUNCTION @schema@.admin_create_user(text, text, jsonb, boolean) IS
'makes an account and answers it; password NULL = none, to be chosen by a recovery link; email_confirm = take the address as proven; errors: 22023 address, password or metadata not acceptable; 23505 the address has an account; 42501 caller is not the service; 53000 no free hash slot';

CREATE FUNCTION @schema@.admin_get_user_by_id(id uuid) RETURNS jsonb
	LANGUAGE plpgsql STABLE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		account	@schema@.users;
	BEGIN
		PERFORM @schema@.require_service('admin_get_user_by_id');
		SELECT u.* INTO account FROM @schema@.users AS u WHERE u.id = admin_get_user_by_id.id;
		IF NOT FOUND THEN
			RETURN NULL;
		END IF;
		RETURN @schema@.user_json(account);
	END
	$$;
COMMENT ON FUNCTION @schema@.admin_get_user_by_id(uuid) IS
'an account as its user sees it, or NULL when there is none; errors: 42501 caller is not the service';

CREATE FUNCTION @schema@.admin_set_role(id uuid, role text) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	BEGIN
		PERFORM @schema@.account_for_admin(admin_set_role.id, 'admin_set_role',
			admin_set_role.role IS DISTINCT FROM 'admin');
		IF admin_set_role.role IS NULL OR admin_set_role.role NOT IN ('user', 'admin', 'developer') THEN
			RAISE EXCEPTION 'unrecognized role "%"', admin_set_role.role
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'The roles are user, admin and developer.';
		END IF;
		UPDATE @schema@.users SET app_role = admin_set_role.role
		WHERE id = admin_set_role.id AND app_role <> admin_set_role.role;
		IF FOUND THEN
			PERFORM @schema@.record_event(admin_set_role.id, NULL, 'USER_UPDATED');
		END IF;
	END
	$$;
COMMENT ON FUNCTION @schema@.admin_set_role(uuid, text) IS
'gives a user another application role (user, admin, developer), which acts at once; errors: 42501 caller is neither the service nor an administrator; P0002 no such user; 22023 another role; 55000 the last administrator';

CREATE FUNCTION @schema@.admin_ban_user(id uuid, banned_until timestamptz DEFAULT 'infinity') RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	DECLARE
		banned	boolean := coalesce(admin_ban_user.banned_until > clock_timestamp(), false);
	BEGIN
		PERFORM @schema@.account_for_admin(admin_ban_user.id, 'admin_ban_user', banned);
		UPDATE @schema@.users
		SET banned_until = CASE WHEN banned THEN admin_ban_user.banned_until END
		WHERE id = admin_ban_user.id;
		IF banned THEN
			PERFORM @schema@.end_sessions(admin_ban_user.id, NULL);
			DELETE FROM @schema@.one_time_tokens WHERE user_id = admin_ban_user.id AND used_at IS NULL;
		END IF;
		PERFORM @schema@.record_event(admin_ban_user.id, NULL, 'USER_UPDATED');
	END
	$$;
COMMENT ON FUNCTION @schema@.admin_ban_user(uuid, timestamptz) IS
'keeps a user out until a time, and ends all their sessions and unused links; NULL, or a time that is over, lets them in again; errors: 42501 caller is neither the service nor an administrator; P0002 no such user; 55000 the last administrator';

CREATE FUNCTION @schema@.admin_delete_user(id uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	#variable_conflict use_column
	BEGIN
		PERFORM @schema@.account_for_admin(admin_delete_user.id, 'admin_delete_user', true);
		PERFORM @schema@.end_sessions(admin_delete_user.id, NULL);
		DELETE FROM @schema@.users WHERE id = admin_delete_user.id;
	END
	$$;
COMMENT ON FUNCTION @schema@.admin_delete_user(uuid) IS
'deletes a user with sessions, identities and all that other modules keep as theirs; the record of what happened stays, without the name; errors: 42501 caller is neither the service nor an administrator; P0002 no such user; 55000 the last administrator';

CREATE FUNCTION @schema@.unlink_identity(identity_id uuid) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		account	@schema@.users := @schema@.caller_account();
		gone	@schema@.identities;
	BEGIN
		SELECT i.* INTO gone FROM @schema@.identities AS i
		WHERE i.id = unlink_identity.identity_id AND i.user_id = account.id;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'there is no such identity' USING ERRCODE = 'no_data_found';
		END IF;
		IF NOT EXISTS (SELECT FROM @schema@.identities AS i
			WHERE i.user_id = account.id AND i.id <> gone.id
				AND (i.provider <> 'email' OR account.encrypted_password IS NOT NULL))
		THEN
			RAISE EXCEPTION 'cannot remove the last way to sign in'
				USING ERRCODE = 'object_not_in_prerequisite_state',
					  HINT = 'Link another identity, or choose a password, first.';
		END IF;

		DELETE FROM @schema@.identities AS i WHERE i.id = gone.id;
		IF gone.provider = 'email' THEN
			UPDATE @schema@.users AS u SET encrypted_password = NULL WHERE u.id = account.id;
		END IF;
		PERFORM @schema@.record_event(account.id, plinth.auth_session_id(), 'USER_UPDATED');
	END
	$$;
COMMENT ON FUNCTION @schema@.unlink_identity(uuid) IS
'removes one of the caller''s identities, with the password when it is that of the address; errors: 28000 not signed in; P0002 no such identity of the caller; 55000 the last way to sign in';
