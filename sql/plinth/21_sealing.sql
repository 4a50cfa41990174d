-- ---------------------------------------------------------------------
-- Room: secrets, sealed values
--
--		A value is sealed with a key of the server and bound to its place,
--		so that the table, its dumps and its WAL tell nothing of it.
--
-- Offers:	plinth.seal(), plinth.unseal(), plinth.reseal(),
--			plinth.sealed_key_id(), plinth.sealed_columns, plinth.key_checks
-- Rights:	plinth_owner seals and opens; the tables are its own
-- Tests:	test/regress/sql/sealing.sql, test/tap/
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.seal(plaintext bytea, context text)
RETURNS bytea
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_seal';
COMMENT ON FUNCTION plinth.seal(bytea, text) IS
'seal bytes with the active seal key (XChaCha20-Poly1305, a random nonce each time) in the place named by the context, "table.column:row id" with the table''s name without its schema, 1 to 1024 bytes; errors: 22023 the context is empty or too long, 54000 the plaintext is too long, 55000 no keyring, no active seal key, or one that this database has not used under its number';

CREATE FUNCTION plinth.unseal(sealed bytea, context text)
RETURNS bytea
LANGUAGE C STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_unseal';
COMMENT ON FUNCTION plinth.unseal(bytea, text) IS
'open a sealed value in the place for which it was sealed; errors: 22023 it is no sealed value, was changed, or belongs elsewhere, 55000 its key is not in the keyring, revoked, or another one than this database has used (with its number), 55000 no keyring';

CREATE FUNCTION plinth.reseal(sealed bytea, context text)
RETURNS bytea
LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_reseal';
COMMENT ON FUNCTION plinth.reseal(bytea, text) IS
'seal a value anew with the active seal key; the same value when it is under that key already; errors: those of plinth.unseal() and plinth.seal()';

CREATE FUNCTION plinth.sealed_key_id(sealed bytea)
RETURNS smallint
LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_sealed_key_id';
COMMENT ON FUNCTION plinth.sealed_key_id(bytea) IS
'number of the key that a value is sealed with, without opening it; 22023 it is no sealed value';

-- Written by whoever seals first, past rights and row security.
CREATE TABLE plinth.key_checks (
	key_id		smallint CONSTRAINT key_checks_pkey PRIMARY KEY,
	check_value	bytea NOT NULL
);
COMMENT ON TABLE plinth.key_checks IS
'For each seal key that this database has used, a MAC (HMAC-SHA-256) of a constant under it: a keyring that has another key under that number is refused when it is used, and reported at start and by plinth.preflight().';

ALTER TABLE plinth.key_checks ENABLE ROW LEVEL SECURITY;
CREATE POLICY key_checks_owner ON plinth.key_checks TO plinth_owner
	USING (true) WITH CHECK (true);
SELECT pg_catalog.pg_extension_config_dump('plinth.key_checks', '');

CREATE FUNCTION plinth.keyring_problem()
RETURNS text
LANGUAGE C VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'plinth_sql_secrets_keyring_problem';
COMMENT ON FUNCTION plinth.keyring_problem() IS
'what plinth.preflight() says of the keyring: why it cannot be read, or which key that this database has used is missing or another one; NULL when it belongs to the data; raises no error';

CREATE TABLE plinth.sealed_columns (
	relation		text COLLATE "C",
	column_name		text COLLATE "C",
	reseal_function	text NOT NULL,
	CONSTRAINT sealed_columns_pkey PRIMARY KEY (relation, column_name)
);
COMMENT ON TABLE plinth.sealed_columns IS
'Columns that hold sealed values, so that plinth.rotate_keys() reaches them and a key that they need is not revoked. Names that lead to no column of bytea, or to no function of an integer that returns bigint, are refused with 22023.';
COMMENT ON COLUMN plinth.sealed_columns.relation IS 'table with its schema, as regclass writes it';
COMMENT ON COLUMN plinth.sealed_columns.reseal_function IS
'schema.function(batch integer) returning bigint: reseals at most so many values that are not under the active key, each with plinth.reseal(), and returns how many; called by the upkeep worker as plinth_owner, a transaction a batch, until it returns 0';

CREATE FUNCTION plinth.sealed_columns_check() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	table_oid	regclass := to_regclass(NEW.relation);
	function_oid regprocedure := to_regprocedure(NEW.reseal_function || '(integer)');
BEGIN
	IF table_oid IS NULL OR NOT EXISTS (
			SELECT FROM pg_attribute AS a
			WHERE a.attrelid = table_oid AND a.attname = NEW.column_name
				AND a.atttypid = 'bytea'::regtype AND a.attnum > 0 AND NOT a.attisdropped) THEN
		RAISE EXCEPTION 'column "%" of table "%" cannot hold sealed values', NEW.column_name, NEW.relation
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'It must be a column of type bytea of a table that is named with its schema.';
	END IF;
	IF function_oid IS NULL OR NOT EXISTS (
			SELECT FROM pg_proc AS p
			WHERE p.oid = function_oid AND p.prokind = 'f' AND NOT p.proretset
				AND p.prorettype = 'bigint'::regtype) THEN
		RAISE EXCEPTION 'function "%" cannot reseal values', NEW.reseal_function
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'It must be a function of an integer that returns bigint, named with its schema.';
	END IF;
	NEW.relation := table_oid::text;
	RETURN NEW;
END;
$$;
COMMENT ON FUNCTION plinth.sealed_columns_check() IS
'trigger of plinth.sealed_columns: refuses names that lead to nothing that can be resealed (22023)';
CREATE TRIGGER sealed_columns_check BEFORE INSERT OR UPDATE ON plinth.sealed_columns
	FOR EACH ROW EXECUTE FUNCTION plinth.sealed_columns_check();

ALTER TABLE plinth.sealed_columns ENABLE ROW LEVEL SECURITY;
CREATE POLICY sealed_columns_owner ON plinth.sealed_columns TO plinth_owner
	USING (true) WITH CHECK (true);
SELECT pg_catalog.pg_extension_config_dump('plinth.sealed_columns', '');
