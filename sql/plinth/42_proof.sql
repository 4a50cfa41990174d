-- ---------------------------------------------------------------------
-- Room: account
--
--		Proofs other than a password: the secret behind a challenge.
--
-- Rights:	plinth_owner only
-- Tests:	test/regress/sql/auth_provider.sql
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.auth_pkce_verify(challenge text, verifier text) RETURNS boolean
	LANGUAGE c IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_pkce_verify';
COMMENT ON FUNCTION plinth.auth_pkce_verify(text, text) IS
'whether the challenge is base64url of the SHA-256 of the verifier (RFC 7636 section 4.6, method S256), compared in constant time; false for a NULL and for a verifier that is not 43 to 128 letters, digits and - . _ ~; raises no error';
