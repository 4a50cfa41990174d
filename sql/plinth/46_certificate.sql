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

CREATE FUNCTION plinth.certificate_code(prefix text, length integer DEFAULT 12)
RETURNS text
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_certificate_code';

COMMENT ON FUNCTION plinth.certificate_code(text, integer) IS
'a code such as COA-7K2M-9QXR-40TW-C: prefix (1 to 12 of A-Z and 0-9), length (8 to 32) random characters of Crockford''s base 32 in groups of four, 5 bits each, and a check character (ISO 7064 MOD 37,36) over prefix and code; whether it is new is for the unique constraint of its column to say; 22023 an argument is missing or out of range';

CREATE FUNCTION plinth.certificate_code_valid(code text)
RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_certificate_code_valid';

COMMENT ON FUNCTION plinth.certificate_code_valid(text) IS
'is the last character the check character (ISO 7064 MOD 37,36) of those before it; letter case, spaces and hyphens do not matter, any other character is false; raises no error, and does not say that the code was ever given out';
