-- ---------------------------------------------------------------------
-- Room: account
--
--		How a person proves who they are: what the module auth is built on.
--
-- Rights:	plinth_owner only
-- Tests:	test/regress/sql/auth_password.sql
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.auth_password_hash(password text) RETURNS text
	LANGUAGE c VOLATILE STRICT
	AS 'MODULE_PATHNAME', 'plinth_sql_account_password_hash';
COMMENT ON FUNCTION plinth.auth_password_hash(text) IS
'argon2id string (RFC 9106) of a password of at most 1024 bytes, with the memory and passes of plinth.password_memory and plinth.password_passes; errors: 22023 too long, 53000 no free hash slot within 50 ms, 55000 library not preloaded';

CREATE FUNCTION plinth.auth_password_verify(password text, hash text) RETURNS boolean
	LANGUAGE c VOLATILE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_password_verify';
COMMENT ON FUNCTION plinth.auth_password_verify(text, text) IS
'whether this is the password of that argon2id string, or of that bcrypt string ($2a$, $2b$ or $2y$, cost 4 to 14, computed by pgcrypto), of which the first 72 bytes of the password count; false for a NULL and any other string, after the work of a true comparison, so that time tells nothing; errors: 53000 no free hash slot within 50 ms, 55000 library not preloaded';

CREATE FUNCTION plinth.auth_password_outdated(hash text) RETURNS boolean
	LANGUAGE c STABLE STRICT
	AS 'MODULE_PATHNAME', 'plinth_sql_account_password_outdated';
COMMENT ON FUNCTION plinth.auth_password_outdated(text) IS
'whether the hash took less memory or fewer passes than one made now, or is no argon2id string';

CREATE FUNCTION plinth.auth_password_check(password text) RETURNS void
	LANGUAGE c VOLATILE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_password_check';
COMMENT ON FUNCTION plinth.auth_password_check(text) IS
'refuses a password that nobody may choose: errors 22023 NULL, not 8 to 1024 bytes, or on the built-in list or in the file of plinth.password_list (case of ASCII letters aside); 55000 that file cannot be read';

CREATE FUNCTION plinth.auth_new_token() RETURNS text
	LANGUAGE c VOLATILE
	AS 'MODULE_PATHNAME', 'plinth_sql_account_new_token';
COMMENT ON FUNCTION plinth.auth_new_token() IS
'256 bits of libsodium''s random generator as 43 characters of base64url (RFC 4648 section 5, no padding)';

CREATE FUNCTION plinth.auth_client_address() RETURNS inet
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'plinth_sql_account_client_address';
COMMENT ON FUNCTION plinth.auth_client_address() IS
'address that the request comes from: that of the connection, or the first of x-forwarded-for where plinth.trust_forwarded_for says so; NULL when unknown; raises no error';

CREATE FUNCTION plinth.auth_user_agent() RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'plinth_sql_account_user_agent';
COMMENT ON FUNCTION plinth.auth_user_agent() IS
'user agent of the request''s headers where they are believed, at most 512 bytes, else NULL; raises no error';


CREATE FUNCTION plinth.auth_successor_seal(token text, successor text) RETURNS bytea
	LANGUAGE c VOLATILE STRICT
	AS 'MODULE_PATHNAME', 'plinth_sql_account_successor_seal';
COMMENT ON FUNCTION plinth.auth_successor_seal(text, text) IS
'the token that replaces another, sealed for those who have that other: XChaCha20-Poly1305 under the BLAKE2b (RFC 7693) of the token; token = 256 random bits as text; raises no error';

CREATE FUNCTION plinth.auth_successor_open(token text, sealed bytea) RETURNS text
	LANGUAGE c VOLATILE STRICT
	AS 'MODULE_PATHNAME', 'plinth_sql_account_successor_open';
COMMENT ON FUNCTION plinth.auth_successor_open(text, bytea) IS
'what auth_successor_seal() has sealed for this token; NULL for another token or changed bytes; raises no error';
