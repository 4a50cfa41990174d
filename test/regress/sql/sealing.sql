--
-- SEALING
-- Values that only their place opens, the keys that they are under, and the
-- keyring's own changes.
--
-- Needs: setup
-- Leaves: seal and url keys more in the keyring, the former ones retired
--
\set SHOW_CONTEXT never
SET client_min_messages = warning;

-- what is sealed opens in its place, is another each time, and tells nothing
SET ROLE plinth_owner;
SELECT plinth.seal('\x736563726574', 'regress_tokens.token:1') AS sealed \gset
SELECT get_byte(:'sealed', 0) AS version, length(:'sealed'::bytea) AS bytes,
	plinth.sealed_key_id(:'sealed') = get_byte(:'sealed', 1) * 256 + get_byte(:'sealed', 2) AS key_in_header,
	position('\x736563726574'::bytea IN :'sealed'::bytea) AS seen,
	plinth.seal('\x736563726574', 'regress_tokens.token:1') <> :'sealed'::bytea AS new_nonce;
SELECT plinth.unseal(:'sealed', 'regress_tokens.token:1') AS plain;
SELECT plinth.reseal(:'sealed', 'regress_tokens.token:1') = :'sealed'::bytea AS same_when_current;

-- the empty value, a long one that is compressed in a row, and one of 1 MB
CREATE TEMPORARY TABLE long (id int, plain bytea, sealed bytea);
INSERT INTO long SELECT 1, ''::bytea, plinth.seal('', 'long.sealed:1');
INSERT INTO long VALUES (2, convert_to(repeat('a', 100000), 'UTF8'), NULL), (3, convert_to(repeat('ab', 524288), 'UTF8'), NULL);
UPDATE long SET sealed = plinth.seal(plain, 'long.sealed:' || id) WHERE id > 1;
SELECT id, length(sealed) - length(plain) AS more, plinth.unseal(sealed, 'long.sealed:' || id) = plain AS whole FROM long ORDER BY id;
SELECT plinth.seal(NULL, 'x') IS NULL AND plinth.seal('x', NULL) IS NULL AND plinth.unseal(NULL, 'x') IS NULL
	AND plinth.unseal('x', NULL) IS NULL AND plinth.reseal(NULL, 'x') IS NULL AND plinth.sealed_key_id(NULL) IS NULL AS nothing;

-- another row, another column, another value: 22023 (S10.4)
\set VERBOSITY default
SELECT plinth.unseal(:'sealed', 'regress_tokens.token:2');
\set VERBOSITY sqlstate
SELECT plinth.unseal(:'sealed', 'regress_tokens.refresh:1');
SELECT plinth.reseal(:'sealed', 'regress_tokens.token:2');

-- every byte counts, and every length (one bit turned in each byte after the header)
CREATE FUNCTION pg_temp.try(sealed bytea, context text DEFAULT 'regress_tokens.token:1') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM plinth.unseal(sealed, context);
	RETURN 'opened';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END;
$$;
SELECT pg_temp.try(set_byte(:'sealed', i, get_byte(:'sealed', i) # 1)) AS answer, count(*)
FROM generate_series(3, length(:'sealed'::bytea) - 1) AS i GROUP BY 1;
SELECT pg_temp.try(substr(:'sealed'::bytea, 1, i)) AS answer, count(*)
FROM generate_series(0, length(:'sealed'::bytea) - 1) AS i GROUP BY 1;
SELECT pg_temp.try(:'sealed'::bytea || '\x00') AS longer, pg_temp.try(set_byte(:'sealed', 0, 2)) AS version,
	pg_temp.try(set_byte(:'sealed', 1, 255)) AS no_number, pg_temp.try('\x') AS empty;

-- of another version nothing is told, not even the key
SELECT plinth.sealed_key_id(set_byte(:'sealed', 0, 2));

-- a key that is not there is named
\set VERBOSITY default
SELECT plinth.unseal(set_byte(set_byte(:'sealed', 1, 127), 2, 255), 'regress_tokens.token:1');
\set VERBOSITY sqlstate
SELECT plinth.unseal(set_byte(set_byte(:'sealed', 1, 127), 2, 255), 'regress_tokens.token:1');
SELECT plinth.sealed_key_id(set_byte(set_byte(:'sealed', 1, 127), 2, 255)), plinth.sealed_key_id('\x0100');

-- contexts: 1 to 1024 bytes
SELECT length(plinth.seal('x', repeat('é', 512))) AS longest;
SELECT plinth.seal('x', '');
SELECT plinth.seal('x', repeat('x', 1025));
SELECT plinth.unseal(:'sealed', repeat('x', 1000000));

-- the check value is written by the first use, and stays when that is undone only until the next
RESET ROLE;
SELECT count(*) AS noted FROM plinth.key_checks WHERE key_id = plinth.sealed_key_id(:'sealed');
SELECT plinth.keyring_problem() IS NULL AS belongs;
SELECT plinth.key_create('seal') IS NOT NULL AS made;
BEGIN;
SAVEPOINT s;
SELECT count(plinth.seal('x', 'y')) AS sealed FROM generate_series(1, 10);
SELECT count(*) AS noted FROM plinth.key_checks AS c JOIN plinth.keys AS k USING (key_id) WHERE k.purpose = 'seal' AND k.state = 'active';
ROLLBACK TO s;
SELECT count(*) AS noted FROM plinth.key_checks AS c JOIN plinth.keys AS k USING (key_id) WHERE k.purpose = 'seal' AND k.state = 'active';
SELECT plinth.seal('x', 'y') IS NOT NULL AS sealed;
SELECT count(*) AS noted FROM plinth.key_checks AS c JOIN plinth.keys AS k USING (key_id) WHERE k.purpose = 'seal' AND k.state = 'active';
ROLLBACK;
BEGIN READ ONLY;
SELECT plinth.seal('x', 'y') IS NOT NULL AS sealed;
COMMIT;
SELECT count(*) AS noted FROM plinth.key_checks AS c JOIN plinth.keys AS k USING (key_id) WHERE k.purpose = 'seal' AND k.state = 'active';
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT plinth.seal('x', 'y') IS NOT NULL AS sealed;
COMMIT;
SELECT count(*) AS noted FROM plinth.key_checks AS c JOIN plinth.keys AS k USING (key_id) WHERE k.purpose = 'seal' AND k.state = 'active';

-- the new key seals, the retired one still opens
SELECT plinth.unseal(:'sealed', 'regress_tokens.token:1') AS plain,
	plinth.sealed_key_id(r) > plinth.sealed_key_id(:'sealed') AS newer,
	plinth.unseal(r, 'regress_tokens.token:1') AS still
FROM plinth.reseal(:'sealed', 'regress_tokens.token:1') AS r;

-- a key that is not the one this database has used is refused, whatever is asked of it
BEGIN;
UPDATE plinth.key_checks SET check_value = sha256('another keyring') WHERE key_id = plinth.sealed_key_id(:'sealed');
SELECT plinth.keyring_problem() = format('Key %s of the keyring is not the one that this database has used.', plinth.sealed_key_id(:'sealed')) AS named;
SELECT ok, found = plinth.keyring_problem() AS told, remedy IS NOT NULL AS remedy FROM plinth.preflight() WHERE requirement = 'key file';
INSERT INTO plinth.key_checks VALUES (32767, sha256('a key that is gone'));
DELETE FROM plinth.key_checks WHERE key_id <> 32767;
SELECT plinth.keyring_problem();
ROLLBACK;

-- columns that hold sealed values are declared, by names that lead to something
CREATE TABLE public.regress_tokens (id int PRIMARY KEY, token bytea, note text);
ALTER TABLE public.regress_tokens OWNER TO plinth_owner;
CREATE FUNCTION public.regress_reseal(batch integer) RETURNS bigint LANGUAGE sql
	AS 'SELECT 0::bigint';
INSERT INTO plinth.sealed_columns VALUES ('regress_tokens', 'token', 'public.regress_reseal');
INSERT INTO plinth.sealed_columns VALUES ('public.regress_none', 'token', 'public.regress_reseal');
INSERT INTO plinth.sealed_columns VALUES ('public.regress_tokens', 'note', 'public.regress_reseal');
INSERT INTO plinth.sealed_columns VALUES ('public.regress_tokens', 'token', 'public.regress_none');
INSERT INTO plinth.sealed_columns VALUES ('public.regress_tokens', 'token', 'pg_catalog.abs');
INSERT INTO plinth.sealed_columns VALUES ('public.regress_tokens', 'token', 'regress_reseal');
INSERT INTO plinth.sealed_columns VALUES ('public.regress_tokens', 'token', NULL);
SET ROLE plinth_owner;
BEGIN;
INSERT INTO plinth.sealed_columns VALUES ('"public".regress_tokens', 'token', 'public.regress_reseal') RETURNING relation;

-- a seal key that values need is not revoked
INSERT INTO public.regress_tokens VALUES (1, :'sealed'), (2, NULL);
RESET ROLE;
SELECT kid AS old_kid FROM plinth.keys WHERE key_id = plinth.sealed_key_id(:'sealed') \gset
SAVEPOINT s;
SELECT plinth.key_set_state(:'old_kid', 'revoked');
ROLLBACK TO s;
SELECT state FROM plinth.keys WHERE kid = :'old_kid';
UPDATE public.regress_tokens SET token = plinth.reseal(token, 'regress_tokens.token:' || id) WHERE token IS NOT NULL;
SELECT plinth.key_set_state(:'old_kid', 'revoked');
SELECT state FROM plinth.keys WHERE kid = :'old_kid';
SELECT plinth.unseal(token, 'regress_tokens.token:1') AS plain FROM public.regress_tokens WHERE id = 1;
ROLLBACK;
RESET ROLE;
-- it is refused at once, and says which it is; ROLLBACK has not put it back
SELECT plinth.unseal(:'sealed', 'regress_tokens.token:1');
\set VERBOSITY default
DO $$
BEGIN
	PERFORM plinth.unseal(set_byte('\x01'::bytea || decode(repeat('00', 60), 'hex'), 2, key_id), 'x') FROM plinth.keys
	WHERE purpose = 'seal' AND state = 'revoked' AND key_id < 256;
	RAISE 'opened';
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	RAISE WARNING '%', regexp_replace(SQLERRM, '[0-9]+', 'N');
END;
$$;
\set VERBOSITY sqlstate
SELECT plinth.key_set_state(:'old_kid', 'retired');
SELECT plinth.key_set_state(:'old_kid', 'revoked');

-- states of keys
SELECT kid AS url_kid FROM plinth.keys WHERE purpose = 'url' AND state = 'active' \gset
SELECT plinth.key_set_state(:'url_kid', 'retired');
SELECT plinth.key_set_state(:'url_kid', 'active');
SELECT plinth.key_set_state(:'url_kid', 'Revoked');
SELECT plinth.key_set_state('no such key', 'revoked');
SELECT plinth.key_set_state(NULL, 'revoked') IS NULL AS nothing;
SELECT plinth.key_create('url') AS new_kid \gset
SELECT k.state, n.algorithm, n.state AS new_state FROM plinth.keys AS k, plinth.keys AS n
WHERE k.kid = :'url_kid' AND n.kid = :'new_kid';
SELECT plinth.key_set_state(:'url_kid', 'revoked');
SELECT state FROM plinth.keys WHERE kid = :'url_kid';
SELECT plinth.key_create('url', 'Ed25519');
SELECT plinth.key_create('token', 'XChaCha20-Poly1305');
SELECT plinth.key_create('token', 'none');
SELECT plinth.key_create('Seal');
SELECT plinth.key_create('');
SELECT plinth.key_create(NULL);

-- public keys: Ed25519 keys of tokens, and never anything secret
SELECT jsonb_object_keys(j) AS member FROM auth.jwks() AS j;
SELECT array_agg(DISTINCT m) AS members, bool_and(key ->> 'kty' = 'OKP' AND key ->> 'crv' = 'Ed25519' AND key ->> 'alg' = 'EdDSA'
	AND key ->> 'use' = 'sig' AND length(key ->> 'x') = 43) AS form
FROM jsonb_array_elements(auth.jwks() -> 'keys') AS key, jsonb_object_keys(key) AS m;
SELECT (SELECT array_agg(key ->> 'kid' ORDER BY key ->> 'kid' COLLATE "C") FROM jsonb_array_elements(auth.jwks() -> 'keys') AS key)
	= (SELECT array_agg(kid ORDER BY kid COLLATE "C") FROM plinth.keys
		WHERE purpose = 'token' AND algorithm = 'Ed25519' AND state <> 'revoked') AS these;
-- what others do with it: check a token of ours by the set alone
SELECT plinth.jws_verify(t, key) IS NOT NULL AS verified
FROM plinth.jwt_sign('{"role":"anon"}') AS t, jsonb_array_elements(auth.jwks() -> 'keys') AS key
WHERE key ->> 'kid' = convert_from(decode(translate(rpad(split_part(t, '.', 1), 72, '='), '-_', '+/'), 'base64'), 'UTF8')::jsonb ->> 'kid';

-- who may do what
SET ROLE anon;
SELECT jsonb_array_length(auth.jwks() -> 'keys') > 0 AS keys;
SELECT plinth.seal('x', 'y');
SELECT plinth.unseal('x', 'y');
SELECT plinth.sealed_key_id('x');
SELECT * FROM plinth.key_checks;
SELECT * FROM plinth.sealed_columns;
SELECT plinth.keyring_problem();
SET ROLE authenticated;
SELECT jsonb_array_length(auth.jwks() -> 'keys') > 0 AS keys;
SELECT plinth.unseal('x', 'y');
SELECT plinth.reseal('x', 'y');
SELECT plinth.key_create('seal');
SELECT plinth.key_set_state('x', 'revoked');
SET ROLE service_role;
SELECT jsonb_array_length(auth.jwks() -> 'keys') > 0 AS keys;
SELECT plinth.unseal('x', 'y');
SELECT plinth.key_create('seal');
SELECT * FROM plinth.sealed_columns;
SET ROLE plinth_owner;
SELECT plinth.key_create('seal');
SELECT plinth.key_set_state('x', 'revoked');
RESET ROLE;
-- superuser at the time of use, whoever has been given the function
CREATE ROLE regress_plinth_keeper;
GRANT USAGE ON SCHEMA plinth TO regress_plinth_keeper;
GRANT EXECUTE ON FUNCTION plinth.key_create(text, text), plinth.key_set_state(text, text),
	plinth.keyring_export(text), plinth.keyring_import(bytea, text) TO regress_plinth_keeper;
SET ROLE regress_plinth_keeper;
SELECT plinth.key_create('seal');
SELECT plinth.key_set_state('x', 'revoked');
SELECT plinth.keyring_export('correct horse battery');
SELECT plinth.keyring_import('x', 'correct horse battery');
RESET ROLE;
DROP OWNED BY regress_plinth_keeper;
DROP ROLE regress_plinth_keeper;

DROP TABLE public.regress_tokens, long;
DROP FUNCTION public.regress_reseal(integer);
