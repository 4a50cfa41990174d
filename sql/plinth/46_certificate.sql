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

-- Not STRICT: a missing name is an error, not a number that is missing.
CREATE FUNCTION plinth.series_create(
	name text, pattern text DEFAULT '{name}-{year}-{n:6}', reset text DEFAULT 'year',
	time_zone text DEFAULT 'UTC', first_number bigint DEFAULT 1)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_certificate_series_create';

COMMENT ON FUNCTION plinth.series_create(text, text, text, text, bigint) IS
'declare a series of numbers without gaps: name (1 to 100 characters), pattern (text with {n} or {n:digits} once, {name}, {year}), reset (none, or year: the number begins at 1 again with the year, which is in the pattern), time_zone (where the year begins), first_number (of the first year); a series that is declared like that is left as it is; 22023 an argument is missing or invalid, 42710 it exists with another pattern, reset or zone, 55000 the module series is not installed';

CREATE FUNCTION plinth.series_next(name text)
RETURNS text
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_certificate_series_next';

COMMENT ON FUNCTION plinth.series_next(text) IS
'the next number of a series, without gaps among committed rows: the series is locked until the transaction ends; an unknown name becomes a series with pattern {name}-{n:6} that never resets; the year is that of now() in the zone of the series, never one before that of its last number; 22023 the name is missing or invalid, 22003 the numbers are used up, 40001 under repeatable read another transaction took one, 55000 the module series is not installed';

-- Not STRICT: who signs nothing by mistake hears of it.
CREATE FUNCTION plinth.certificate_sign(body jsonb)
RETURNS text
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_certificate_sign';

COMMENT ON FUNCTION plinth.certificate_sign(jsonb) IS
'what a certificate says (an object of at most 1 MB), signed with the active certificate key: a compact JWS (RFC 7515) with EdDSA (RFC 8037) and typ plinth-certificate+jws, never good as an access token; 22023 missing, no object, or nested more than 32 deep, 54000 too long, 55000 no keyring or no key that signs';

CREATE FUNCTION plinth.certificate_verify(signed text)
RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_certificate_verify';

COMMENT ON FUNCTION plinth.certificate_verify(text) IS
'the body that plinth.certificate_sign() has signed, else NULL, whatever the text is; retired keys verify, revoked ones do not; what the body says, such as an end or a later revocation, is not looked at; 55000 no keyring';

CREATE FUNCTION plinth.certificate_keys()
RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_certificate_keys';

COMMENT ON FUNCTION plinth.certificate_keys() IS
'the public keys that verify certificates, as a JWK set (RFC 7517, RFC 8037): active, retired and imported ones, no revoked one; 55000 no keyring';
