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

-- Tokens.

CREATE FUNCTION plinth.jwt_verify(token text)
RETURNS jsonb
LANGUAGE C VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_claims_jwt_verify';
COMMENT ON FUNCTION plinth.jwt_verify(text) IS
'claims of a token (RFC 7519, compact form, HS256 or EdDSA, by a token key of the keyring) that is good now; reads no table; 28000 "Invalid or expired token" for any other, the cause at debug1; 55000 no keyring';

CREATE FUNCTION plinth.jwt_sign(claims jsonb)
RETURNS text
LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'plinth_sql_claims_jwt_sign';
COMMENT ON FUNCTION plinth.jwt_sign(jsonb) IS
'token of these claims, signed with the active token key (EdDSA, RFC 8037); adds iat, exp (after the setting auth.access_token_ttl), iss and aud (plinth.jwt_issuer, plinth.jwt_audience) when absent; 22023 no object, 54000 longer than plinth.jwt_max_size, 55000 no keyring';

CREATE FUNCTION plinth.jws_verify(jws text, jwk jsonb)
RETURNS bytea
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_claims_jws_verify';
COMMENT ON FUNCTION plinth.jws_verify(text, jsonb) IS
'payload of a compact JWS (RFC 7515) when the signature of this JSON Web Key (oct for HS256, OKP of curve Ed25519) holds, else NULL; nothing is asked of the payload; 22023 the key is not acceptable';

CREATE FUNCTION plinth.auth_authenticate(token text, is_local boolean DEFAULT true)
RETURNS jsonb
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_claims_auth_authenticate';
COMMENT ON FUNCTION plinth.auth_authenticate(text, boolean) IS
'verify a token, and that its session has not ended, and make its claims those of the transaction, or with is_local false those of the session until auth.deauthenticate(), RESET ALL or DISCARD ALL; returns them; the role is not changed; 28000 "No authorization header" for NULL or empty, "Invalid or expired token" for anything not good; 55000 no keyring';

CREATE FUNCTION plinth.auth_deauthenticate()
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_claims_auth_deauthenticate';
COMMENT ON FUNCTION plinth.auth_deauthenticate() IS
'verified claims are gone, as any setting until a rollback; no error when there are none';

