-- ---------------------------------------------------------------------
-- Public keys, for those who verify our tokens themselves
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.jwks() RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN plinth.auth_jwks();
COMMENT ON FUNCTION @schema@.jwks() IS
'public keys that verify access tokens now, as a JWK set (RFC 7517 section 5, RFC 8037): active, imported, and retired ones whose tokens may still live; HS256 keys are secret and left out; errors: 55000 no keyring';
GRANT EXECUTE ON FUNCTION @schema@.jwks() TO anon, authenticated, service_role;
