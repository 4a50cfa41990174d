-- ---------------------------------------------------------------------
-- Profiles
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.get_or_create_profile() RETURNS @schema@.profiles
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		caller		uuid := auth.uid();
		account		auth.users;
		result		@schema@.profiles;
		base		text;
		candidate	text;
	BEGIN
		SELECT p.* INTO result FROM @schema@.profiles AS p WHERE p.id = caller;
		IF FOUND THEN
			RETURN result;
		END IF;

		SELECT u.* INTO account FROM auth.users AS u WHERE u.id = caller;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'not signed in' USING ERRCODE = 'invalid_authorization_specification';
		END IF;

		IF NOT account.is_anonymous THEN
			base := left(rpad(regexp_replace(split_part(account.email, '@', 1), '[^a-zA-Z0-9_]', '_', 'g'),
				greatest(3, char_length(split_part(account.email, '@', 1))), '_'), 50);
		END IF;

		-- Another session of the same user may be first, and another user may
		-- have the name: either way nothing is inserted, and the look-up tells.
		FOREACH candidate IN ARRAY ARRAY[base,
			left(base, 46) || lpad(floor(random() * 10000)::integer::text, 4, '0'), NULL]
		LOOP
			INSERT INTO @schema@.profiles (id, username, full_name, avatar_url)
			VALUES (caller, candidate,
				left(nullif(btrim(account.raw_user_meta_data ->> 'full_name'), ''), 200),
				CASE WHEN char_length(account.raw_user_meta_data ->> 'avatar_url') BETWEEN 1 AND 2048
					THEN account.raw_user_meta_data ->> 'avatar_url' END)
			ON CONFLICT DO NOTHING
			RETURNING * INTO result;
			EXIT WHEN FOUND;

			SELECT p.* INTO result FROM @schema@.profiles AS p WHERE p.id = caller;
			EXIT WHEN FOUND;
		END LOOP;

		RETURN result;
	END
	$$;
COMMENT ON FUNCTION @schema@.get_or_create_profile() IS
'the caller''s profile, made at the first call: username from the local part of the address (other characters than letters, digits and _ become _, 3 to 50 characters; taken: with four digits, else none), full_name and avatar_url from the user''s metadata; a guest gets no username; errors: 28000 not signed in';

CREATE FUNCTION @schema@.update_profile(changes jsonb) RETURNS @schema@.profiles
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		caller	uuid := auth.uid();
		field	record;
		result	@schema@.profiles;
	BEGIN
		IF caller IS NULL THEN
			RAISE EXCEPTION 'not signed in' USING ERRCODE = 'invalid_authorization_specification';
		END IF;
		IF jsonb_typeof(changes) IS DISTINCT FROM 'object' THEN
			RAISE EXCEPTION 'changes must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
		END IF;
		FOR field IN SELECT f.key, jsonb_typeof(f.value) AS type FROM jsonb_each(changes) AS f LOOP
			IF field.key NOT IN ('username', 'full_name', 'avatar_url', 'website', 'bio', 'location') THEN
				RAISE EXCEPTION 'field "%" cannot be changed', field.key
					USING ERRCODE = 'invalid_parameter_value',
						  HINT = 'The fields are username, full_name, avatar_url, website, bio and location.';
			END IF;
			IF field.type NOT IN ('string', 'null') THEN
				RAISE EXCEPTION 'field "%" must be a string or null', field.key
					USING ERRCODE = 'invalid_parameter_value';
			END IF;
		END LOOP;

		UPDATE @schema@.profiles AS p SET
			username = CASE WHEN changes ? 'username' THEN changes ->> 'username' ELSE p.username END,
			full_name = CASE WHEN changes ? 'full_name' THEN changes ->> 'full_name' ELSE p.full_name END,
			avatar_url = CASE WHEN changes ? 'avatar_url' THEN changes ->> 'avatar_url' ELSE p.avatar_url END,
			website = CASE WHEN changes ? 'website' THEN changes ->> 'website' ELSE p.website END,
			bio = CASE WHEN changes ? 'bio' THEN changes ->> 'bio' ELSE p.bio END,
			location = CASE WHEN changes ? 'location' THEN changes ->> 'location' ELSE p.location END
		WHERE p.id = caller
		RETURNING p.* INTO result;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'No user or profile found' USING ERRCODE = 'no_data_found';
		END IF;
		RETURN result;
	END
	$$;
COMMENT ON FUNCTION @schema@.update_profile(jsonb) IS
'changes the caller''s profile; changes = object of username, full_name, avatar_url, website, bio, location with strings or nulls; errors: 28000 not signed in; 22023 another field or kind of value; P0002 no profile; 23505 username taken; 23514 value too long or of the wrong form';

CREATE FUNCTION @schema@.set_avatar(object_name text) RETURNS text
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		caller	uuid := auth.uid();
		former	text;
		url		text;
	BEGIN
		IF caller IS NULL THEN
			RAISE EXCEPTION 'not signed in' USING ERRCODE = 'invalid_authorization_specification';
		END IF;
		IF NOT EXISTS (SELECT FROM plinth.installed_modules AS m WHERE m.module = 'storage') THEN
			RAISE EXCEPTION 'an avatar needs the module storage'
				USING ERRCODE = 'object_not_in_prerequisite_state',
					  HINT = 'SELECT plinth.install(''storage'')';
		END IF;

		IF NOT EXISTS (SELECT FROM storage.objects AS o
			WHERE o.bucket_id = 'avatars' AND o.name = object_name AND o.status = 'ready'
				AND o.owner_id = caller AND starts_with(o.name, caller || '/'))
		THEN
			RAISE EXCEPTION 'no such object' USING ERRCODE = 'no_data_found';
		END IF;
		url := storage.public_url('avatars', object_name);

		SELECT p.avatar_url INTO former FROM @schema@.profiles AS p WHERE p.id = caller FOR UPDATE;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'No user or profile found' USING ERRCODE = 'no_data_found';
		END IF;
		UPDATE @schema@.profiles AS p SET avatar_url = url WHERE p.id = caller;
		PERFORM storage.remove('avatars', array_agg(o.name))
		FROM storage.objects AS o
		WHERE o.bucket_id = 'avatars' AND o.owner_id = caller AND o.name <> object_name
			AND starts_with(o.name, caller || '/') AND storage.public_url('avatars', o.name) = former
		HAVING count(*) > 0;
		RETURN url;
	END
	$$;
COMMENT ON FUNCTION @schema@.set_avatar(text) IS
'makes an object of the caller in bucket avatars their avatar, removes the former one, and returns the public address; object_name = <user id>/...; errors: 28000 not signed in; 55000 the module storage is not installed; P0002 no such object of the caller, or no profile';

CREATE FUNCTION @schema@.search_profiles(search_term text)
	RETURNS TABLE (id uuid, username text, full_name text, avatar_url text, bio text)
	LANGUAGE plpgsql STABLE ROWS 50
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		-- What the caller types stands for itself, wildcards included.
		term	text := plinth.escape_like(btrim(search_term));
		counted	record;
	BEGIN
		IF char_length(btrim(search_term)) >= 2 IS NOT TRUE THEN
			RAISE EXCEPTION 'Search term must be at least 2 characters long'
				USING ERRCODE = 'invalid_parameter_value';
		END IF;
		SELECT * INTO counted FROM plinth.rate_limit_caller('search_profiles');
		IF NOT counted.allowed THEN
			RAISE EXCEPTION 'Rate limit exceeded'
				USING ERRCODE = 'PT429',
					  DETAIL = format('The limit is reset at %s.', counted.reset),
					  HINT = format('%s requests remain.', counted.remaining);
		END IF;

		RETURN QUERY
		SELECT p.id, p.username, p.full_name, p.avatar_url, p.bio
		FROM @schema@.profiles AS p
		WHERE (p.username ILIKE '%' || term || '%' OR p.full_name ILIKE '%' || term || '%')
			AND NOT p.is_guest
		ORDER BY
			CASE
				WHEN p.username ILIKE term || '%' THEN 1
				WHEN p.full_name ILIKE term || '%' THEN 2
				ELSE 3
			END, p.username, p.id
		LIMIT 50;
	END
	$$;
COMMENT ON FUNCTION @schema@.search_profiles(text) IS
'at most 50 profiles whose username or full name contains the term, without regard to case, those that begin with it first; guests left out; errors: 22023 fewer than 2 characters, PT429 too many searches';

CREATE FUNCTION @schema@.get_user_stats(user_id uuid) RETURNS json
	LANGUAGE plpgsql STABLE
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		result	json;
	BEGIN
		SELECT json_build_object(
			'profile_completion', CASE
				WHEN filled.username AND filled.full_name AND filled.bio THEN 100
				WHEN filled.username AND filled.full_name THEN 75
				WHEN filled.username THEN 50
				ELSE 25
			END,
			'member_since', p.created_at,
			'last_updated', p.updated_at)
		INTO result
		FROM @schema@.profiles AS p
			CROSS JOIN LATERAL (SELECT
				coalesce(p.username, '') <> '' AS username,
				coalesce(btrim(p.full_name), '') <> '' AS full_name,
				coalesce(btrim(p.bio), '') <> '' AS bio) AS filled
		WHERE p.id = get_user_stats.user_id;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'No user or profile found' USING ERRCODE = 'no_data_found';
		END IF;
		RETURN result;
	END
	$$;
COMMENT ON FUNCTION @schema@.get_user_stats(uuid) IS
'public figures of a profile: profile_completion (25, 50, 75, 100), member_since, last_updated; errors: P0002 no such profile';

CREATE FUNCTION @schema@.set_user_type(user_id uuid, user_type text) RETURNS @schema@.profiles
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		result	@schema@.profiles;
	BEGIN
		IF NOT plinth.is_service() AND NOT auth.is_admin() THEN
			RAISE EXCEPTION 'permission denied for function set_user_type'
				USING ERRCODE = 'insufficient_privilege';
		END IF;
		IF set_user_type.user_type IS NULL OR set_user_type.user_type NOT IN ('student', 'teacher', 'alumni') THEN
			RAISE EXCEPTION 'unrecognized user type "%"', set_user_type.user_type
				USING ERRCODE = 'invalid_parameter_value',
					  HINT = 'The user types are student, teacher and alumni.';
		END IF;

		UPDATE @schema@.profiles AS p SET user_type = set_user_type.user_type
		WHERE p.id = set_user_type.user_id
		RETURNING p.* INTO result;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'No user or profile found' USING ERRCODE = 'no_data_found';
		END IF;
		RETURN result;
	END
	$$;
COMMENT ON FUNCTION @schema@.set_user_type(uuid, text) IS
'gives a user a type: student, teacher, alumni; errors: 42501 caller is neither administrator nor the service; 22023 another type; P0002 no such profile';

