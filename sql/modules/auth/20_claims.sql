-- ---------------------------------------------------------------------
-- Claims: who is asking
--
--		Policies call these for every row: the planner inlines each into a
--		call of C, which a SET clause or SECURITY DEFINER would forbid.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.uid() RETURNS uuid
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN plinth.auth_uid();
COMMENT ON FUNCTION @schema@.uid() IS
'user of the caller''s claims (sub, RFC 7519 section 4.1.2); NULL when anonymous; raises no error';

CREATE FUNCTION @schema@.jwt() RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN plinth.auth_jwt();
COMMENT ON FUNCTION @schema@.jwt() IS
'the caller''s verified claims; NULL when there are none, also when the setting is empty or malformed; raises no error';

CREATE FUNCTION @schema@.role() RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN plinth.auth_role();
COMMENT ON FUNCTION @schema@.role() IS
'role of the caller''s claims, else anon; raises no error';

CREATE FUNCTION @schema@.email() RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN plinth.auth_email();
COMMENT ON FUNCTION @schema@.email() IS
'e-mail address of the caller''s claims, or NULL; raises no error';

CREATE FUNCTION @schema@.session_id() RETURNS uuid
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN plinth.auth_session_id();
COMMENT ON FUNCTION @schema@.session_id() IS
'session of the caller''s claims, or NULL; raises no error';

CREATE FUNCTION @schema@.aal() RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN plinth.auth_aal();
COMMENT ON FUNCTION @schema@.aal() IS
'assurance level of the caller''s session (aal1, aal2), or NULL; raises no error';

CREATE FUNCTION @schema@.authenticate(token text, is_local boolean DEFAULT true) RETURNS jsonb
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	RETURN plinth.auth_authenticate(token, is_local);
COMMENT ON FUNCTION @schema@.authenticate(text, boolean) IS
'verifies an access token (RFC 7519; HS256 or EdDSA) and that its session has not ended, takes its claims until the transaction ends or, with is_local false, until deauthenticate(), RESET ALL, DISCARD ALL or the end of the session, and returns them; the database role stays; errors: 28000 "Invalid or expired token", 28000 "No authorization header" for NULL or an empty one, 55000 no keyring';

CREATE FUNCTION @schema@.deauthenticate() RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	RETURN plinth.auth_deauthenticate();
COMMENT ON FUNCTION @schema@.deauthenticate() IS
'forgets the claims that authenticate() has taken; raises no error';

CREATE FUNCTION @schema@.has_role(role_name text) RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT EXISTS (SELECT FROM @schema@.users AS u
		WHERE u.id = plinth.auth_uid() AND u.app_role = has_role.role_name)
	$$;
COMMENT ON FUNCTION @schema@.has_role(text) IS
'whether the caller is signed in and has this application role (user, admin, developer) now: looked up, so that a change acts at once; raises no error';

CREATE FUNCTION @schema@.is_admin() RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT EXISTS (SELECT FROM @schema@.users AS u
		WHERE u.id = plinth.auth_uid() AND u.app_role = 'admin')
	$$;
COMMENT ON FUNCTION @schema@.is_admin() IS
'whether the caller is signed in and is an administrator now: looked up, so that a demotion acts at once; raises no error';

