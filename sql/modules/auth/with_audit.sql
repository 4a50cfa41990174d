-- ---------------------------------------------------------------------
-- Join: auth with audit
--
--		Changes of accounts are recorded; a password's hash never is.
-- ---------------------------------------------------------------------
SELECT audit.attach('@schema@.users', '{encrypted_password}',
	'{failed_attempts,locked_until,last_sign_in_at,updated_at}');
