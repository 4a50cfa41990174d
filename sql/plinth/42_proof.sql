-- ---------------------------------------------------------------------
-- Room: account
--
--		Proofs other than a password: the secret behind a challenge, and codes
--		made of a secret and the time.
--
-- Rights:	plinth_owner only
-- Tests:	test/regress/sql/auth_provider.sql, auth_totp.sql
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.auth_pkce_verify(challenge text, verifier text) RETURNS boolean
	LANGUAGE c IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_pkce_verify';
COMMENT ON FUNCTION plinth.auth_pkce_verify(text, text) IS
'whether the challenge is base64url of the SHA-256 of the verifier (RFC 7636 section 4.6, method S256), compared in constant time; false for a NULL and for a verifier that is not 43 to 128 letters, digits and - . _ ~; raises no error';

CREATE FUNCTION plinth.auth_totp_code(secret bytea, at timestamptz, digits integer DEFAULT 6, hash text DEFAULT 'sha1')
	RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_totp_code';
COMMENT ON FUNCTION plinth.auth_totp_code(bytea, timestamptz, integer, text) IS
'one-time password (RFC 6238, 30 s) of a secret at a time; digits = 1 to 9, hash = sha1, sha256 or sha512: authenticators use 6 and sha1; errors: 22023 an argument out of range';

CREATE FUNCTION plinth.auth_totp_step(secret bytea, code text, at timestamptz, last_used_step bigint) RETURNS bigint
	LANGUAGE c IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_totp_step';
COMMENT ON FUNCTION plinth.auth_totp_step(bytea, text, timestamptz, bigint) IS
'the step (30 s, RFC 6238) that a code of six digits belongs to: that of the time, one before or one after; NULL when it belongs to none of these, or to none after last_used_step (NULL: never used); codes are compared in constant time; errors: 22023 a time before 1970';

CREATE FUNCTION plinth.auth_totp_secret() RETURNS bytea
	LANGUAGE c VOLATILE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_totp_secret';
COMMENT ON FUNCTION plinth.auth_totp_secret() IS
'160 bits of libsodium''s random generator, as RFC 4226 section 4 recommends for a shared secret';

CREATE FUNCTION plinth.auth_base32(bytes bytea) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_base32';
COMMENT ON FUNCTION plinth.auth_base32(bytea) IS
'bytes in base32 (RFC 4648 section 6) without padding, as authenticators take a secret';

CREATE FUNCTION plinth.auth_recovery_code() RETURNS text
	LANGUAGE c VOLATILE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_recovery_code';
COMMENT ON FUNCTION plinth.auth_recovery_code() IS
'80 bits of libsodium''s random generator as four groups of four characters of base32 (RFC 4648 section 6)';

CREATE FUNCTION plinth.auth_mfa_guesses_left(challenge_id uuid) RETURNS integer
	LANGUAGE c VOLATILE STRICT
	AS 'MODULE_PATHNAME', 'plinth_sql_account_mfa_guesses_left';
COMMENT ON FUNCTION plinth.auth_mfa_guesses_left(uuid) IS
'how many wrong codes a challenge can still take (auth.mfa_guesses_left), by the tables as they are at this moment, whatever the snapshot of the transaction, and the security journal; NULL when there is no such challenge';
