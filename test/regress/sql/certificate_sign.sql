--
-- CERTIFICATE_SIGN
-- Signed certificates: what is signed is read back, nothing else is.
--
-- Needs: setup
-- Leaves: another active certificate key in the server's keyring, and a
--	revoked one
--
\set SHOW_CONTEXT never

CREATE FUNCTION pg_temp.to_base64url(bytes bytea)
RETURNS text
LANGUAGE sql IMMUTABLE
RETURN rtrim(translate(encode(bytes, 'base64'), E'+/\n', '-_'), '=');
CREATE FUNCTION pg_temp.from_base64url(part text)
RETURNS bytea
LANGUAGE sql IMMUTABLE
RETURN decode(translate(part, '-_', '+/') || repeat('=', (4 - length(part) % 4) % 4), 'base64');

-- a key of this test's own, for it is revoked in the end
SELECT plinth.key_create('certificate') <> '' AS created;
CREATE TEMPORARY TABLE good AS
SELECT body, plinth.certificate_sign(body) AS signed
FROM (VALUES ('{"number": "EVOLV-0123456789AB", "holder_name": "Ann Ünïcode ☃ 🎓", "expires_at": null}'::jsonb),
			 ('{}'), ('{"n": 1.10, "big": 12345678901234567890123, "t": [true, false, null, {"a": ""}]}'),
			 ('{"text": "line\nquote\"back\\slash\u0001\u007f"}')) AS v (body);
-- what comes back is what was signed
SELECT body, plinth.certificate_verify(signed) = body AS read_back FROM good;
-- the form, read without our verifier
SELECT count(*) FILTER (WHERE signed ~ '^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}$') AS compact,
	   count(*) FILTER (WHERE convert_from(pg_temp.from_base64url(split_part(signed, '.', 1)), 'UTF8')
			= format('{"alg":"EdDSA","kid":"%s","typ":"plinth-certificate+jws"}', k.kid)) AS header,
	   count(*) FILTER (WHERE convert_from(pg_temp.from_base64url(split_part(signed, '.', 2)), 'UTF8')::jsonb = body) AS payload
FROM good, plinth.keys AS k WHERE k.purpose = 'certificate' AND k.state = 'active';
-- Ed25519 is deterministic, so the same body is the same text
SELECT bool_and(plinth.certificate_sign(body) = signed) AS same FROM good;

-- the keys are public, and their set verifies what was signed
SELECT jsonb_object_keys(jwk) AS member FROM jsonb_path_query(plinth.certificate_keys(), '$.keys[0]') AS jwk ORDER BY 1;
SELECT jwk - 'kid' - 'x' AS jwk, length(jwk ->> 'x') AS x,
	   (jwk ->> 'kid') IN (SELECT kid FROM plinth.keys WHERE purpose = 'certificate') AS known
FROM jsonb_path_query(plinth.certificate_keys(), '$.keys[0]') AS jwk;
SELECT count(*) AS verified
FROM good, jsonb_path_query(plinth.certificate_keys(), '$.keys[*]') AS jwk
WHERE convert_from(plinth.jws_verify(signed, jwk), 'UTF8')::jsonb = body;

-- every changed character of a signed text, cut or added ones: NULL
WITH sample AS (SELECT signed FROM good LIMIT 1)
SELECT count(*) = max(length(signed)) AS all_places,
	   count(*) FILTER (WHERE plinth.certificate_verify(overlay(signed PLACING
			CASE substr(signed, place, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM place FOR 1)) IS NOT NULL) AS accepted
FROM sample, generate_series(1, (SELECT length(signed) FROM good LIMIT 1)) AS place;
WITH sample AS (SELECT signed FROM good LIMIT 1)
SELECT count(*) FILTER (WHERE plinth.certificate_verify(left(signed, place)) IS NOT NULL) AS shorter,
	   count(*) FILTER (WHERE plinth.certificate_verify(substr(signed, 1 + place)) IS NOT NULL) AS without_begin,
	   count(*) FILTER (WHERE plinth.certificate_verify(left(signed, place) || 'A' || substr(signed, place + 1)) IS NOT NULL) AS longer
FROM sample, generate_series(1, (SELECT length(signed) - 1 FROM good LIMIT 1)) AS place;
-- each bit of the last character of the signature counts, as padding must be zero
WITH sample AS (SELECT signed FROM good LIMIT 1)
SELECT count(*) FILTER (WHERE plinth.certificate_verify(left(signed, -1) || last) IS NOT NULL) AS spellings
FROM sample, regexp_split_to_table('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_', '') AS last;
-- parts of two certificates do not go together
SELECT count(*) AS pairs, count(plinth.certificate_verify(split_part(a.signed, '.', 1) || '.' || split_part(a.signed, '.', 2) || '.' || split_part(b.signed, '.', 3))) AS accepted
FROM good AS a, good AS b WHERE a.signed <> b.signed;
-- other headers, with the signature of a good one or with none
SELECT header, plinth.certificate_verify(pg_temp.to_base64url(convert_to(replace(header, 'KID', k.kid), 'UTF8')) || substr(g.signed, strpos(g.signed, '.'))) AS answer
FROM (SELECT signed FROM good LIMIT 1) AS g, (SELECT kid FROM plinth.keys WHERE purpose = 'certificate' AND state = 'active') AS k,
	unnest(ARRAY['{"alg":"none","kid":"KID","typ":"plinth-certificate+jws"}', '{"alg":"HS256","kid":"KID","typ":"plinth-certificate+jws"}',
				 '{"alg":"EdDSA","kid":"nobody","typ":"plinth-certificate+jws"}', '{"alg":"EdDSA","kid":"KID","typ":"JWT"}',
				 '{"alg":"EdDSA","kid":"KID"}', '{"alg":"EdDSA","typ":"plinth-certificate+jws"}',
				 '{"alg":"EdDSA","crit":["x"],"kid":"KID","typ":"plinth-certificate+jws"}',
				 '{"alg":"EdDSA", "kid":"KID","typ":"plinth-certificate+jws"}', '[]', '']) AS header;
-- what is no signed text at all
SELECT left(v.signed, 20) AS begin, length(v.signed), plinth.certificate_verify(v.signed) AS answer
FROM (VALUES (''), ('.'), ('..'), ('...'), ('a.b.c'), (repeat('.', 1000)), (repeat('A', 1000000)), (repeat('.', 3000000)),
			 ('☃.☃.☃'), (E'\x01'), (' '), (NULL)) AS v (signed);
SELECT count(plinth.certificate_verify(' ' || signed)) + count(plinth.certificate_verify(signed || E'\n')) + count(plinth.certificate_verify(signed || '=')) AS accepted FROM good;
-- a megabyte behind a good header
SELECT plinth.certificate_verify(split_part(signed, '.', 1) || '.' || repeat('A', 1000000) || '.' || split_part(signed, '.', 3)) AS answer,
	   plinth.certificate_verify(split_part(signed, '.', 1) || '.' || split_part(signed, '.', 3)) AS no_body,
	   plinth.certificate_verify(split_part(signed, '.', 1) || '..' || split_part(signed, '.', 3)) AS empty_body
FROM good LIMIT 1;

-- access tokens and certificates are never taken for each other (RFC 8725)
SELECT plinth.certificate_verify(plinth.jwt_sign('{"sub": "00000000-0000-4000-8000-0000000000a1", "role": "authenticated"}')) AS token_as_certificate;
CREATE TEMPORARY TABLE pretender AS
SELECT plinth.certificate_sign('{"sub": "00000000-0000-4000-8000-0000000000a1", "role": "authenticated", "exp": 4102444800}') AS signed;
SELECT plinth.certificate_verify(signed) ->> 'role' AS as_certificate FROM pretender;
DO $$
DECLARE
	signed	text := (SELECT p.signed FROM pretender AS p);
BEGIN
	BEGIN
		PERFORM plinth.jwt_verify(signed);
		RAISE WARNING 'accepted';
	EXCEPTION WHEN OTHERS THEN
		RAISE INFO '% %', SQLSTATE, SQLERRM;
	END;
	BEGIN
		PERFORM auth.authenticate(signed);
		RAISE WARNING 'accepted';
	EXCEPTION WHEN OTHERS THEN
		RAISE INFO '% %', SQLSTATE, SQLERRM;
	END;
	-- not even where its type is accepted: the key is not one for tokens
	PERFORM set_config('plinth.jwt_typ', 'plinth-certificate+jws', true);
	BEGIN
		PERFORM plinth.jwt_verify(signed);
		RAISE WARNING 'accepted';
	EXCEPTION WHEN OTHERS THEN
		RAISE INFO '% %', SQLSTATE, SQLERRM;
	END;
END;
$$;

-- what cannot be signed
DO $$
DECLARE
	call	text;
	state	text;
	said	text;
	more	text;
BEGIN
	FOREACH call IN ARRAY ARRAY['NULL', '''[]''', '''"text"''', '''null''', '''7''',
								'(repeat(''{"a":'', 33) || ''1'' || repeat(''}'', 33))::jsonb',
								'jsonb_build_object(''a'', repeat(''x'', 1048576))'] LOOP
		BEGIN
			EXECUTE format('SELECT plinth.certificate_sign(%s)', call);
			RAISE WARNING 'accepted: %', call;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL;
			RAISE INFO '% % %: %', call, state, said, more;
		END;
	END LOOP;
END;
$$;
-- the largest and the deepest that can
SELECT plinth.certificate_verify(plinth.certificate_sign(body)) = body AS largest
FROM jsonb_build_object('a', repeat('x', 1048576 - 9)) AS body;
SELECT plinth.certificate_verify(plinth.certificate_sign(body)) = body AS deepest
FROM CAST(repeat('{"a":', 32) || '1' || repeat('}', 32) AS jsonb) AS body;

-- keys change: what the former one has signed stays good, new ones sign
SELECT plinth.key_create('certificate') <> '' AS created;
SELECT count(*) FILTER (WHERE plinth.certificate_verify(signed) = body) AS still_good,
	   count(*) FILTER (WHERE plinth.certificate_sign(body) = signed) AS signed_alike FROM good;
SELECT bool_and(plinth.certificate_verify(plinth.certificate_sign(body)) = body) AS signed_anew FROM good;
SELECT count(*) FILTER (WHERE jwk ->> 'kid' IN (SELECT kid FROM plinth.keys WHERE purpose = 'certificate' AND state IN ('active', 'retired'))) >= 2 AS both_public
FROM jsonb_path_query(plinth.certificate_keys(), '$.keys[*]') AS jwk;
-- a revoked key verifies nothing and is not public
SELECT count(*) AS before FROM good WHERE plinth.certificate_verify(signed) IS NOT NULL;
SELECT convert_from(pg_temp.from_base64url(split_part(signed, '.', 1)), 'UTF8')::jsonb ->> 'kid' AS former FROM good LIMIT 1 \gset
SELECT plinth.key_set_state(:'former', 'revoked');
SELECT count(*) AS after FROM good WHERE plinth.certificate_verify(signed) IS NOT NULL;
SELECT count(*) AS published FROM jsonb_path_query(plinth.certificate_keys(), '$.keys[*]') AS jwk WHERE jwk ->> 'kid' = :'former';

-- who may: sign for the modules' owner, check for everybody
SET ROLE plinth_owner;
SELECT plinth.certificate_verify(plinth.certificate_sign('{"a": 1}')) AS body;
SET ROLE service_role;
SELECT plinth.certificate_sign('{"a": 1}');
SELECT plinth.certificate_verify('x') IS NULL AS may, jsonb_typeof(plinth.certificate_keys()) AS keys;
SET ROLE authenticated;
SELECT plinth.certificate_sign('{"a": 1}');
SELECT plinth.certificate_verify('x') IS NULL AS may, jsonb_typeof(plinth.certificate_keys()) AS keys;
SET ROLE anon;
SELECT plinth.certificate_sign('{"a": 1}');
SELECT plinth.certificate_verify('x') IS NULL AS may, jsonb_typeof(plinth.certificate_keys()) AS keys;
RESET ROLE;

DROP TABLE good, pretender;
DROP FUNCTION pg_temp.to_base64url(bytea), pg_temp.from_base64url(text);
