-- ---------------------------------------------------------------------
-- Claims: who is asking?
--
--		The C behind the wrappers of schema auth.  STABLE and PARALLEL SAFE,
--		so that a policy on a large table may still be scanned in parallel.
--		Not LEAKPROOF: without arguments no row ever reaches them.
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.auth_uid()
RETURNS uuid
LANGUAGE C STABLE PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'plinth_sql_claims_auth_uid';
COMMENT ON FUNCTION plinth.auth_uid() IS
'user of the claims in force (sub, RFC 7519 section 4.1.2); NULL when anonymous or when sub is not a uuid; raises no error';

CREATE FUNCTION plinth.auth_jwt()
RETURNS jsonb
LANGUAGE C STABLE PARALLEL SAFE COST 2
AS 'MODULE_PATHNAME', 'plinth_sql_claims_auth_jwt';
COMMENT ON FUNCTION plinth.auth_jwt() IS
'the claims in force as one object; NULL when anonymous, also when the setting is empty or malformed; raises no error';

CREATE FUNCTION plinth.auth_role()
RETURNS text
LANGUAGE C STABLE PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'plinth_sql_claims_auth_role';
COMMENT ON FUNCTION plinth.auth_role() IS
'role of the claims in force, else anon; raises no error';

CREATE FUNCTION plinth.auth_email()
RETURNS text
LANGUAGE C STABLE PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'plinth_sql_claims_auth_email';
COMMENT ON FUNCTION plinth.auth_email() IS
'email of the claims in force, or NULL; raises no error';

CREATE FUNCTION plinth.auth_session_id()
RETURNS uuid
LANGUAGE C STABLE PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'plinth_sql_claims_auth_session_id';
COMMENT ON FUNCTION plinth.auth_session_id() IS
'session_id of the claims in force; NULL when absent or not a uuid; raises no error';

CREATE FUNCTION plinth.auth_aal()
RETURNS text
LANGUAGE C STABLE PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'plinth_sql_claims_auth_aal';
COMMENT ON FUNCTION plinth.auth_aal() IS
'assurance level of the claims in force (aal1, aal2), or NULL; raises no error';

CREATE FUNCTION plinth.is_service()
RETURNS boolean
LANGUAGE C STABLE PARALLEL SAFE COST 1
AS 'MODULE_PATHNAME', 'plinth_sql_claims_is_service';
COMMENT ON FUNCTION plinth.is_service() IS
'is the role in force outside any SECURITY DEFINER function (that of SET ROLE, else of the session) service_role, plinth_owner or a superuser; false in index expressions and other code that the server runs restricted; raises no error';

