-- ---------------------------------------------------------------------
-- Room: certificate
--
--		What number does it get?
--
-- Tests:	test/regress/sql/certificate.sql
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.generate_certificate_number()
RETURNS text
LANGUAGE c VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_certificate_number';

COMMENT ON FUNCTION plinth.generate_certificate_number() IS
'EVOLV- and 12 characters of 0-9A-F, 48 bits of a cryptographic generator; whether it is new is for the unique constraint of its column to say';

