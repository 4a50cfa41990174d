-- ---------------------------------------------------------------------
-- Secrets: how is a value sealed or signed?
--
--		The keys are in a file of the server (plinth.keyring), never in the
--		database; here is what can be known of them.
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.keys(
	OUT key_id smallint,
	OUT kid text,
	OUT purpose text,
	OUT algorithm text,
	OUT state text,
	OUT created_at timestamptz)
RETURNS SETOF record
LANGUAGE C VOLATILE PARALLEL SAFE ROWS 10
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_keys';
COMMENT ON FUNCTION plinth.keys() IS
'keys of the keyring without the keys themselves; behind the view plinth.keys; 55000 when there is no keyring';

CREATE VIEW plinth.keys AS
	SELECT k.key_id, k.kid, k.purpose, k.algorithm, k.state, k.created_at
	FROM plinth.keys() AS k;
COMMENT ON VIEW plinth.keys IS
'keys of the keyring (never the keys themselves): purpose token, seal, audit, certificate or url; state active (signs or seals), verify (imported), retired (verifies and opens) or revoked; 55000 when there is no keyring';

CREATE FUNCTION plinth.key_import(jwks jsonb, purpose text DEFAULT 'token')
RETURNS integer
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_key_import';
COMMENT ON FUNCTION plinth.key_import(jsonb, text) IS
'add the keys of a JWK set (RFC 7517, RFC 8037: oct with at least 32 bytes for HS256, OKP of curve Ed25519) to the keyring, to verify only; purpose token, audit or certificate; returns how many are new; superuser only; not undone by rollback; 22023 a key is not acceptable, 42710 its kid stands for another key, 55000 no keyring; call it where statements are not logged';

CREATE FUNCTION plinth.key_create(purpose text, algorithm text DEFAULT NULL)
RETURNS text
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_key_create';
COMMENT ON FUNCTION plinth.key_create(text, text) IS
'make a new active key of a purpose (token, seal, audit, certificate, url) and return its kid; the active one of its purpose and algorithm retires; algorithm by default Ed25519, XChaCha20-Poly1305 for seal, HMAC-SHA-256 for url; superuser only; not undone by rollback; 22023 no such purpose or algorithm, 55000 no keyring';

CREATE FUNCTION plinth.key_set_state(kid text, state text)
RETURNS void
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_key_set_state';
COMMENT ON FUNCTION plinth.key_set_state(text, text) IS
'retire a key (it verifies its tokens until they have expired, and opens for ever) or revoke it (refused at once), in every backend from its next use on; superuser only; not undone by rollback; 22023 no such key or state, 55000 the last active key of a purpose cannot retire, a revoked one neither, and a seal key under which a declared column of this database has values cannot be revoked';

CREATE FUNCTION plinth.auth_jwks()
RETURNS jsonb
LANGUAGE C STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_auth_jwks';
COMMENT ON FUNCTION plinth.auth_jwks() IS
'public keys that verify tokens now, as a JWK set (RFC 7517, RFC 8037); symmetric keys are left out; behind auth.jwks(); 55000 no keyring';

CREATE FUNCTION plinth.keyring_export(passphrase text)
RETURNS bytea
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_keyring_export';
COMMENT ON FUNCTION plinth.keyring_export(text) IS
'all keys, wrapped under a passphrase of 12 to 1024 bytes with argon2id (3 passes, 256 MB) and XChaCha20-Poly1305; superuser only; 22023 the passphrase is too short or too long, 53200 no memory, 55000 no keyring; send the passphrase as a parameter';

CREATE FUNCTION plinth.keyring_import(wrapped bytea, passphrase text)
RETURNS integer
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_keyring_import';
COMMENT ON FUNCTION plinth.keyring_import(bytea, text) IS
'add the keys of plinth.keyring_export() that the keyring does not have, and return how many; keys of purposes seal and audit keep their numbers, an active one retires when there is one already; superuser only; not undone by rollback; 22023 no export, or another passphrase, 42710 a kid stands for another key, or a number for another key that this database has used (then nothing is added), 53200 no memory, 55000 no keyring; send the passphrase as a parameter';
