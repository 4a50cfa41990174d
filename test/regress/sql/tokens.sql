--
-- TOKENS
-- Which tokens are good, which are not and why, and what a good one does.
--
-- Needs: setup
-- Leaves: keys "regress-plinth-*" in the server's keyring, which verify only
--
\set SHOW_CONTEXT never

-- a known key, imported: once, however often this runs in one server
SELECT plinth.key_import('{"keys": [{"kty": "oct", "kid": "regress-plinth-hs256", "alg": "HS256",
	"k": "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}]}') IN (0, 1) AS imported;
SELECT plinth.key_import('{"keys": [{"kty": "oct", "kid": "regress-plinth-hs256", "alg": "HS256",
	"k": "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}]}') AS again;
-- the public key of RFC 8037 A.2
SELECT plinth.key_import('{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "regress-plinth-ed25519",
	"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}') IN (0, 1) AS imported;
SELECT kid, purpose, algorithm, state FROM plinth.keys WHERE kid LIKE 'regress-plinth-%' ORDER BY kid COLLATE "C";
SELECT count(*) >= 6 AS all_purposes, count(DISTINCT purpose) AS purposes, bool_and(created_at <= now()) AS past
FROM plinth.keys WHERE state = 'active';

-- one id, one key; and keys that are none (S1.11)
CREATE FUNCTION pg_temp.try_import(jwks jsonb, purpose text DEFAULT 'token')
RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	detail text;
BEGIN
	RETURN 'took ' || plinth.key_import(jwks, purpose);
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, detail);
END;
$$;
SELECT jwk, pg_temp.try_import(jsonb_build_object('keys', jsonb_build_array(jwk::jsonb))) AS answer
FROM unnest(ARRAY[
	'{"kty":"oct","kid":"regress-plinth-hs256","k":"Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0M"}',
	'{"kty":"oct","kid":"a","k":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQg"}',
	'{"kty":"oct","kid":"a","k":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI="}',
	'{"kty":"oct","kid":"a","k":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ"}',
	'{"kty":"oct","kid":"a","k":1}',
	'{"kty":"oct","kid":"a"}',
	'{"kty":"oct","kid":"a","alg":"HS512","k":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}',
	'{"kty":"oct","kid":"a","use":"enc","k":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}',
	'{"kty":"oct","kid":"a b","k":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}',
	'{"kty":"oct","kid":"","k":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}',
	'{"kty":"oct","kid":7,"k":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}',
	'{"kty":"RSA","kid":"a"}',
	'{"kid":"a"}',
	'[]',
	'{"kty":"OKP","kid":"a","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}',
	'{"kty":"OKP","kid":"a","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHUQ"}',
	'{"kty":"OKP","kid":"a","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}',
	'{"kty":"OKP","kid":"a","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}',
	'{"kty":"OKP","kid":"a","crv":"Ed25519","alg":"HS256","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}',
	'{"kty":"OKP","kid":"a","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}'
	]) AS jwk;
SELECT set_text, pg_temp.try_import(set_text::jsonb) AS answer
FROM unnest(ARRAY['{}', '[]', '{"keys":{}}', '{"keys":[]}']) AS set_text;
SELECT purpose, pg_temp.try_import('{"keys":[{"kty":"oct","kid":"a","k":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}]}', purpose) AS answer
FROM unnest(ARRAY['audit', 'certificate', 'seal', 'url', 'x']) AS purpose;

-- the signature layer: RFC 7515 A.1 and RFC 8037 A.4 (S1.12)
SELECT convert_from(plinth.jws_verify('eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk',
	'{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}'), 'UTF8')::jsonb AS a1;
SELECT 'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg' AS a4,
	'{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}' AS jwk \gset
SELECT convert_from(plinth.jws_verify(:'a4', :'jwk'), 'UTF8') AS a4;
-- another payload, another key, and the same signature with a larger S (S1.8)
SELECT plinth.jws_verify(replace(:'a4', 'RXhh', 'RXhi'), :'jwk') IS NULL AS payload,
	plinth.jws_verify(:'a4', '{"kty":"oct","k":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}') IS NULL AS key;
CREATE FUNCTION pg_temp.base64url(bytes bytea)
RETURNS text
LANGUAGE sql IMMUTABLE
RETURN translate(encode(bytes, 'base64'), E'+/=\n', '-_');
-- no byte of a signature may be another (S1.8)
SELECT name, octet_length(signature) AS bytes, count(*) AS refused
FROM (VALUES
		('HS256', 'eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ',
			decode('dBjftJeZ4CVP+mB92K27uhbUJU1p1r/wW1gFWFOEjXk=', 'base64'),
			'{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}'::jsonb),
		('EdDSA', 'eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc',
			decode('hgyY0il/MGCjP0JzlnLWG1PPOt7+09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr/MuM0KAg==', 'base64'),
			'{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'::jsonb)
	) AS s (name, signed, signature, jwk), generate_series(0, octet_length(signature) - 1) AS i
WHERE plinth.jws_verify(signed || '.' || pg_temp.base64url(set_byte(signature, i, get_byte(signature, i) # 1)), jwk) IS NULL
	AND plinth.jws_verify(signed || '.' || pg_temp.base64url(signature), jwk) IS NOT NULL
GROUP BY name, signature ORDER BY name COLLATE "C";
CREATE FUNCTION pg_temp.raise_s(jws text)
RETURNS text
LANGUAGE plpgsql
AS $$
DECLARE
	signature	bytea := decode(translate(split_part(jws, '.', 3), '-_', '+/') || '==', 'base64');
	s			numeric := 0;
BEGIN
	FOR i IN REVERSE 63..32 LOOP
		s := s * 256 + get_byte(signature, i);
	END LOOP;
	s := s + 2::numeric ^ 252 + 27742317777372353535851937790883648493;
	FOR i IN 32..63 LOOP
		signature := set_byte(signature, i, (s % 256)::int);
		s := div(s, 256);
	END LOOP;
	RETURN split_part(jws, '.', 1) || '.' || split_part(jws, '.', 2) || '.' || pg_temp.base64url(signature);
END;
$$;
SELECT pg_temp.raise_s(:'a4') <> :'a4' AS other, plinth.jws_verify(pg_temp.raise_s(:'a4'), :'jwk') IS NULL AS refused;
\set VERBOSITY sqlstate
SELECT plinth.jws_verify(:'a4', '{"kty":"oct","k":"c2hvcnQ"}');
\set VERBOSITY default

-- tokens made by hand, signed with the known key
CREATE FUNCTION pg_temp.sign_raw(header bytea, payload bytea)
RETURNS text
LANGUAGE sql
RETURN (SELECT body || '.' || pg_temp.base64url(public.hmac(body::bytea, decode(repeat('42', 32), 'hex'), 'sha256'))
	FROM (SELECT pg_temp.base64url(header) || '.' || pg_temp.base64url(payload) AS body) AS b);
CREATE FUNCTION pg_temp.sign(payload text, header text DEFAULT '{"alg":"HS256","kid":"regress-plinth-hs256"}')
RETURNS text
LANGUAGE sql
RETURN pg_temp.sign_raw(convert_to(header, 'UTF8'), convert_to(payload, 'UTF8'));
CREATE FUNCTION pg_temp.try(what text, token text)
RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
	RAISE DEBUG '%', what;
	PERFORM plinth.jwt_verify(token);
	RAISE DEBUG 'taken';
EXCEPTION WHEN OTHERS THEN
	-- each cause must give this and nothing else
	IF SQLSTATE <> '28000' OR SQLERRM <> 'Invalid or expired token' THEN
		RAISE;
	END IF;
END;
$$;
SELECT '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated","exp":4102444800}' AS good \gset
SELECT plinth.jwt_verify(pg_temp.sign(:'good'));

-- the form (S1.5, S1.7)
SET client_min_messages = debug1;
DO $$
DECLARE
	good	text := '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated","exp":4102444800}';
	token	text := pg_temp.sign(good);
	head	text := split_part(token, '.', 1);
	body	text := split_part(token, '.', 2);
	mac		text := split_part(token, '.', 3);
BEGIN
	PERFORM pg_temp.try('good', token);
	PERFORM pg_temp.try('one dot', '.');
	PERFORM pg_temp.try('two dots', '..');
	PERFORM pg_temp.try('two parts', head || '.' || body);
	PERFORM pg_temp.try('four parts', token || '.x');
	PERFORM pg_temp.try('five parts (JWE)', token || '.x.x');
	PERFORM pg_temp.try('no signature', head || '.' || body || '.');
	PERFORM pg_temp.try('no header', '.' || body || '.' || mac);
	PERFORM pg_temp.try('no payload', head || '..' || mac);
	PERFORM pg_temp.try('JSON serialisation', '{"payload":"' || body || '","protected":"' || head || '","signature":"' || mac || '"}');
	PERFORM pg_temp.try('padding', token || '=');
	PERFORM pg_temp.try('space before', ' ' || token);
	PERFORM pg_temp.try('newline after', token || E'\n');
	PERFORM pg_temp.try('Bearer', 'Bearer ' || token);
	PERFORM pg_temp.try('alphabet of base64', head || '.' || body || '+.' || mac);
	PERFORM pg_temp.try('unused bits', left(token, -1) || translate(right(token, 1), 'AEIMQUYcgkosw048', 'BFJNRVZdhlptx159'));
	PERFORM pg_temp.try('one digit more', token || 'A');
	PERFORM pg_temp.try('short signature', left(token, -4));
	PERFORM pg_temp.try('one megabyte', repeat('a', 1048576));
	PERFORM pg_temp.try('a megabyte of dots', repeat('.', 1048576));
	PERFORM pg_temp.try('just too long', pg_temp.sign('{"a":"' || repeat('x', 16384) || '",' || substr(good, 2)));
END;
$$;

-- what is too long is not looked at: a megabyte takes no 5 ms (S1.7)
RESET client_min_messages;
DO $$
DECLARE
	token	text := repeat('a', 1048576);
	best	interval := '1 hour';
	began	timestamptz;
BEGIN
	FOR n IN 1 .. 20 LOOP
		began := clock_timestamp();
		PERFORM pg_temp.try('a megabyte', token);
		best := least(best, clock_timestamp() - began);
	END LOOP;
	ASSERT best <= interval '5 ms', best;
END;
$$;
SET client_min_messages = debug1;

-- the header (S1.1 to S1.4, S1.6)
DO $$
DECLARE
	good	text := '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated","exp":4102444800}';
	header	text;
BEGIN
	FOREACH header IN ARRAY ARRAY[
		'{"alg":"HS256","kid":"regress-plinth-hs256","typ":"JWT"}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","typ":"jwt"}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","typ":"AT+JWT"}',
		' {"alg":"HS256","kid":"regress-plinth-\u0068s256", "x":[{}]} ',
		'{"alg":"HS256","kid":"regress-plinth-hs256","jwk":{"kty":"oct","k":"AAAA"},"jku":"https://example.com","x5u":"x","x5c":[]}',
		'{"alg":"none","kid":"regress-plinth-hs256"}',
		'{"alg":"None"}',
		'{"alg":"none"}',
		'{"alg":"hs256","kid":"regress-plinth-hs256"}',
		'{"alg":"HS384","kid":"regress-plinth-hs256"}',
		'{"alg":"HS256 ","kid":"regress-plinth-hs256"}',
		'{"alg":"EdDSA","kid":"regress-plinth-hs256"}',
		'{"alg":"HS256","kid":"regress-plinth-ed25519"}',
		'{"alg":"EdDSA","kid":"regress-plinth-ed25519"}',
		'{"alg":"HS256","kid":"regress-plinth-unknown"}',
		'{"alg":"HS256","kid":"regress-plinth-hs256 "}',
		'{"alg":"HS256","kid":"../../etc/passwd"}',
		'{"alg":"HS256","kid":""}',
		'{"alg":"HS256"}',
		'{"alg":"HS256","kid":null}',
		'{"alg":"HS256","kid":["regress-plinth-hs256"]}',
		'{"alg":["HS256"],"kid":"regress-plinth-hs256"}',
		'{"kid":"regress-plinth-hs256"}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","crit":["exp"]}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","crit":[]}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","cr\u0069t":null}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","b64":true}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","zip":"DEF"}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","cty":"JWT"}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","enc":"A128GCM"}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","typ":"plinth-certificate+jws"}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","typ":""}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","typ":1}',
		'{"alg":"HS256","kid":"regress-plinth-hs256","alg":"HS256"}',
		'{"alg":"none","kid":"regress-plinth-hs256","\u0061lg":"HS256"}',
		'{"alg":"HS256","kid":"regress-plinth-hs256"}x',
		'[{"alg":"HS256","kid":"regress-plinth-hs256"}]',
		'"HS256"',
		'{}'
	] LOOP
		PERFORM pg_temp.try(header, pg_temp.sign(good, header));
	END LOOP;
	PERFORM pg_temp.try('header is not UTF-8', pg_temp.sign_raw('\x7b22616c67223a224853323536222c22ff223a317d', good::bytea));
END;
$$;

-- the payload (S1.6, S1.8 to S1.10)
DO $$
DECLARE
	user_part	text := '"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"';
	good		text := '{' || user_part || ',"exp":4102444800}';
	payload		text;
BEGIN
	PERFORM pg_temp.try('wrong signature, bad payload', replace(pg_temp.sign('{}'), '.', '.A'));
	FOREACH payload IN ARRAY ARRAY[
		'{' || user_part || ',"exp":4102444800.5,"nbf":0,"iat":1.5e9}',
		'{' || user_part || ',"exp":4.1024448E9}',
		'{' || user_part || ',"exp":4102444800,"unknown":[[]],"iss":1,"aud":2}',
		'{"role":"anon","exp":4102444800}',
		'{' || user_part || '}',
		'{' || user_part || ',"exp":null}',
		'{' || user_part || ',"exp":"4102444800"}',
		'{' || user_part || ',"exp":-1}',
		'{' || user_part || ',"exp":253402300800}',
		'{' || user_part || ',"exp":1e400}',
		'{' || user_part || ',"exp":18446744073709551617}',
		'{' || user_part || ',"exp":1300819380}',
		'{' || user_part || ',"exp":4102444800,"nbf":4102444000}',
		'{' || user_part || ',"exp":4102444800,"nbf":"0"}',
		'{' || user_part || ',"exp":4102444800,"iat":"0"}',
		'{"role":"authenticated","exp":4102444800}',
		'{"sub":"ann","role":"authenticated","exp":4102444800}',
		'{"sub":null,"role":"authenticated","exp":4102444800}',
		'{"sub":"ann","role":"anon","exp":4102444800}',
		'{"sub":"00000000-0000-4000-8000-0000000000a1","exp":4102444800}',
		'{"sub":"00000000-0000-4000-8000-0000000000a1","role":null,"exp":4102444800}',
		'{"sub":"00000000-0000-4000-8000-0000000000a1","role":["authenticated"],"exp":4102444800}',
		'{"sub":"00000000-0000-4000-8000-0000000000a1","role":"service_role","exp":4102444800}',
		'{"sub":"00000000-0000-4000-8000-0000000000a1","role":"Authenticated","exp":4102444800}',
		'{"sub":"00000000-0000-4000-8000-0000000000a1","role":"plinth_owner","exp":4102444800}',
		'{"sub":"00000000-0000-4000-8000-0000000000a1","role":"","exp":4102444800}',
		'{"sub":"00000000-0000-4000-8000-0000000000b2",' || substr(good, 2),
		'{"s\u0075b":"00000000-0000-4000-8000-0000000000b2",' || substr(good, 2),
		'{"a":{"b":1,"b":1},' || substr(good, 2),
		good || ' ' || good,
		good || 'x',
		'[' || good || ']',
		'null',
		'{"a":"\u0000",' || substr(good, 2),
		'{"a":"\ud800",' || substr(good, 2)
	] LOOP
		PERFORM pg_temp.try(payload, pg_temp.sign(payload));
	END LOOP;
	PERFORM pg_temp.try('32 deep', pg_temp.sign('{"a":' || repeat('[', 31) || repeat(']', 31) || ',' || substr(good, 2)));
	PERFORM pg_temp.try('33 deep', pg_temp.sign('{"a":' || repeat('[', 32) || repeat(']', 32) || ',' || substr(good, 2)));
	PERFORM pg_temp.try('very deep', pg_temp.sign('{"a":' || repeat('[', 10000)));
	PERFORM pg_temp.try('byte order mark', pg_temp.sign(E'\uFEFF' || good));
	PERFORM pg_temp.try('payload is not UTF-8', pg_temp.sign_raw('\x7b22616c67223a224853323536222c226b6964223a22726567726573732d706c696e74682d6873323536227d',
		'\x7b22ff22' || substr(good, 2)::bytea));
	PERFORM pg_temp.try('zero byte', pg_temp.sign_raw('\x7b22616c67223a224853323536222c226b6964223a22726567726573732d706c696e74682d6873323536227d',
		good::bytea || '\x00'));
END;
$$;

-- the leeway, to either side
DO $$
DECLARE
	user_part	text := '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"';
	now_is		bigint := extract(epoch FROM clock_timestamp());
BEGIN
	PERFORM pg_temp.try('expired 15 s ago', pg_temp.sign(user_part || ',"exp":' || now_is - 15 || '}'));
	PERFORM pg_temp.try('expired 35 s ago', pg_temp.sign(user_part || ',"exp":' || now_is - 35 || '}'));
	PERFORM pg_temp.try('from 15 s ahead on', pg_temp.sign(user_part || ',"exp":4102444800,"nbf":' || now_is + 15 || '}'));
	PERFORM pg_temp.try('from 60 s ahead on', pg_temp.sign(user_part || ',"exp":4102444800,"nbf":' || now_is + 60 || '}'));
	SET LOCAL plinth.jwt_leeway = 0;
	PERFORM pg_temp.try('no leeway', pg_temp.sign(user_part || ',"exp":' || now_is - 15 || '}'));
END;
$$;

-- a role on the list must be there, and still no wider than it may be (S1.10)
SET client_min_messages = warning;
CREATE ROLE regress_plinth_editor;
SET plinth.jwt_roles = 'anon, regress_plinth_editor, regress_plinth_absent';
CREATE FUNCTION pg_temp.try_role(role text)
RETURNS void
LANGUAGE sql
RETURN pg_temp.try(role, pg_temp.sign('{"sub":"00000000-0000-4000-8000-0000000000a1","exp":4102444800,"role":"' || role || '"}'));
SET client_min_messages = debug1;
DO $$
BEGIN
	PERFORM pg_temp.try_role('regress_plinth_editor');
	PERFORM pg_temp.try_role('regress_plinth_absent');
	PERFORM pg_temp.try_role('authenticated');
	ALTER ROLE regress_plinth_editor BYPASSRLS;
	PERFORM pg_temp.try_role('regress_plinth_editor');
	ALTER ROLE regress_plinth_editor NOBYPASSRLS SUPERUSER;
	PERFORM pg_temp.try_role('regress_plinth_editor');
	ALTER ROLE regress_plinth_editor NOSUPERUSER;
	GRANT plinth_owner TO regress_plinth_editor;
	PERFORM pg_temp.try_role('regress_plinth_editor');
	REVOKE plinth_owner FROM regress_plinth_editor;
	PERFORM pg_temp.try_role('regress_plinth_editor');
END;
$$;
RESET plinth.jwt_roles;
DROP ROLE regress_plinth_editor;

-- issuer and audience, once they are asked for
SET plinth.jwt_issuer = 'https://example.com/"a"';
SET plinth.jwt_audience = 'app';
DO $$
DECLARE
	user_part	text := '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated","exp":4102444800';
	rest		text;
BEGIN
	FOREACH rest IN ARRAY ARRAY[
		'"iss":"https://example.com/\"a\"","aud":"app"',
		'"iss":"https:\/\/example.com\/\u0022a\u0022","aud":["other","app"]',
		'"aud":"app"',
		'"iss":"https://example.com/","aud":"app"',
		'"iss":["https://example.com/\"a\""],"aud":"app"',
		'"iss":"https://example.com/\"a\""',
		'"iss":"https://example.com/\"a\"","aud":"app2"',
		'"iss":"https://example.com/\"a\"","aud":[]',
		'"iss":"https://example.com/\"a\"","aud":["app",1]',
		'"iss":"https://example.com/\"a\"","aud":{"app":1}'
	] LOOP
		PERFORM pg_temp.try(rest, pg_temp.sign(user_part || ',' || rest || '}'));
	END LOOP;
END;
$$;
RESET client_min_messages;

-- what we sign says so, and verifies
SELECT plinth.jwt_verify(plinth.jwt_sign('{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}')) - 'iat' - 'exp' AS claims;
SELECT plinth.jwt_verify(plinth.jwt_sign('{"role":"anon","exp":4102444800,"iat":1,"iss":"https://example.com/\"a\"","aud":["app"]}')) AS kept;
RESET plinth.jwt_issuer;
RESET plinth.jwt_audience;
SELECT claims ->> 'exp' = ((claims ->> 'iat')::bigint + 900)::text AS life, (claims ->> 'iat')::bigint BETWEEN extract(epoch FROM now()) - 2 AND extract(epoch FROM clock_timestamp()) AS now
FROM plinth.jwt_verify(plinth.jwt_sign('{"role":"anon"}')) AS claims;
SELECT header ->> 'alg' AS alg, header ->> 'typ' AS typ, kid IS NOT NULL AS known
FROM convert_from(decode(translate(rpad(split_part(plinth.jwt_sign('{"role":"anon"}'), '.', 1), 72, '='), '-_', '+/'), 'base64'), 'UTF8') AS text,
	LATERAL CAST(text AS jsonb) AS header
	LEFT JOIN plinth.keys ON kid = header ->> 'kid' AND state = 'active' AND algorithm = 'Ed25519' AND purpose = 'token';
\set VERBOSITY sqlstate
SELECT plinth.jwt_sign('[]');
SELECT plinth.jwt_sign('"x"');
SELECT plinth.jwt_sign(jsonb_build_object('a', repeat('x', 20000)));
SELECT plinth.jwt_sign(NULL) IS NULL AS nothing;

-- they go into parallel plans and read-only transactions, and none is LEAKPROOF (S1.13, S2.4)
SELECT proname, provolatile, proparallel, proleakproof FROM pg_proc
WHERE pronamespace = 'plinth'::regnamespace AND proname IN ('jwt_verify', 'jws_verify', 'auth_uid', 'auth_jwt', 'auth_role',
	'auth_email', 'auth_session_id', 'auth_aal', 'auth_authenticate', 'auth_jwks') ORDER BY proname COLLATE "C";
BEGIN READ ONLY;
SELECT plinth.jwt_verify(pg_temp.sign(:'good')) ->> 'role' AS role;
COMMIT;

-- who may do what
SET ROLE authenticated;
SELECT plinth.jwt_sign('{}');
SELECT plinth.jwt_verify('x');
SELECT plinth.jws_verify('x', '{}');
SELECT plinth.key_import('{}');
SELECT * FROM plinth.keys;
SELECT * FROM plinth.keys();
SET ROLE service_role;
SELECT plinth.jwt_sign('{}');
SELECT plinth.jwt_verify('x');
SELECT plinth.key_import('{}');
SELECT count(*) > 0 AS keys FROM plinth.keys;
SET ROLE plinth_owner;
SELECT plinth.key_import('{}');
RESET ROLE;

-- a person signs in on a direct connection
CREATE ROLE regress_plinth_person LOGIN IN ROLE authenticated;
SELECT pg_temp.sign(:'good') AS token \gset
SET SESSION AUTHORIZATION regress_plinth_person;
SELECT plinth.auth_authenticate('');
SELECT plinth.auth_authenticate(NULL);
SELECT plinth.auth_authenticate('x');
SELECT plinth.auth_authenticate(:'token' || 'x');
\set VERBOSITY default
SELECT plinth.auth_authenticate(NULL);
SELECT plinth.auth_authenticate('x');
SELECT plinth.auth_uid() IS NULL AS anonymous;

-- for the transaction
BEGIN;
SELECT plinth.auth_authenticate(:'token') ->> 'role' AS role, right(plinth.auth_uid()::text, 2) AS who;
SELECT right(plinth.auth_uid()::text, 2) AS who, plinth.auth_role(), current_user, plinth.is_service();
SAVEPOINT s;
SELECT plinth.auth_deauthenticate();
SELECT plinth.auth_uid() IS NULL AS anonymous;
ROLLBACK TO s;
SELECT right(plinth.auth_uid()::text, 2) AS who;
COMMIT;
SELECT plinth.auth_uid() IS NULL AS anonymous;
BEGIN;
SAVEPOINT s;
SELECT plinth.auth_authenticate(:'token') IS NOT NULL AS taken;
ROLLBACK TO s;
SELECT plinth.auth_uid() IS NULL AS anonymous;
COMMIT;

-- for the session, until it says so
SELECT plinth.auth_authenticate(:'token', false) IS NOT NULL AS taken;
BEGIN;
SELECT right(plinth.auth_uid()::text, 2) AS who;
ROLLBACK;
SELECT right(plinth.auth_uid()::text, 2) AS who;
RESET plinth.verified_claims;
SELECT plinth.auth_deauthenticate();
SELECT plinth.auth_uid() IS NULL AS anonymous;
BEGIN;
SELECT plinth.auth_authenticate(:'token', false) IS NOT NULL AS taken;
ROLLBACK;
SELECT plinth.auth_uid() IS NULL AS anonymous;
SELECT plinth.auth_authenticate(:'token', false) IS NOT NULL AS taken;
RESET ALL;
SELECT plinth.auth_uid() IS NULL AS anonymous;
SELECT plinth.auth_authenticate(:'token', false) IS NOT NULL AS taken;
BEGIN;
RESET ALL;
ROLLBACK;
SELECT right(plinth.auth_uid()::text, 2) AS who;
RESET SESSION AUTHORIZATION;
DISCARD ALL;
SELECT plinth.auth_uid() IS NULL AS anonymous;
-- in a read-only transaction too
SET SESSION AUTHORIZATION regress_plinth_person;
BEGIN READ ONLY;
SELECT plinth.auth_authenticate(:'token') IS NOT NULL AS taken;
COMMIT;
RESET SESSION AUTHORIZATION;

-- a token that names a session is as good as that session
INSERT INTO auth.users (id, email) VALUES ('00000000-0000-4000-8000-0000000000a1', 'tokens@example.com');
INSERT INTO auth.sessions (id, user_id, not_after, revoked_at)
VALUES ('00000000-0000-4000-8000-0000000000f1', '00000000-0000-4000-8000-0000000000a1', now() + interval '1 hour', NULL),
	('00000000-0000-4000-8000-0000000000f2', '00000000-0000-4000-8000-0000000000a1', now() + interval '1 hour', now()),
	('00000000-0000-4000-8000-0000000000f3', '00000000-0000-4000-8000-0000000000a1', now() - interval '1 second', NULL);
SELECT plinth.jwt_sign(claims || '{"session_id":"00000000-0000-4000-8000-0000000000f1"}') AS open,
	plinth.jwt_sign(claims || '{"session_id":"00000000-0000-4000-8000-0000000000f2"}') AS revoked,
	plinth.jwt_sign(claims || '{"session_id":"00000000-0000-4000-8000-0000000000f3"}') AS past,
	plinth.jwt_sign(claims || '{"session_id":"00000000-0000-4000-8000-0000000000f4"}') AS unknown,
	plinth.jwt_sign(claims || '{"session_id":"sess_1"}') AS odd
FROM CAST('{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}' AS jsonb) AS claims \gset
SET SESSION AUTHORIZATION regress_plinth_person;
SET client_min_messages = debug1;
SELECT plinth.auth_authenticate(:'open') IS NOT NULL AS taken;
SELECT plinth.auth_authenticate(:'revoked');
SELECT plinth.auth_authenticate(:'past');
SELECT plinth.auth_authenticate(:'unknown');
SELECT plinth.auth_authenticate(:'odd');
SELECT current_user = 'regress_plinth_person' AS still_me, plinth.auth_uid() IS NULL AS anonymous;
RESET client_min_messages;
RESET SESSION AUTHORIZATION;
-- ended while its token lives
BEGIN;
UPDATE auth.sessions SET revoked_at = now() WHERE id = '00000000-0000-4000-8000-0000000000f1';
SELECT plinth.auth_authenticate(:'open');
ROLLBACK;
SELECT plinth.auth_authenticate(:'open') IS NOT NULL AS taken;
-- a table of that name that is not ours is not asked
BEGIN;
ALTER TABLE auth.sessions OWNER TO CURRENT_USER;
SELECT plinth.auth_authenticate(:'revoked') IS NOT NULL AS taken;
ROLLBACK;
-- verified claims win over stated ones, and do not give way when they expire
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000b2"}';
SELECT right(plinth.auth_uid()::text, 2) AS who;
SELECT plinth.auth_authenticate(:'open', false) IS NOT NULL AS taken;
SELECT right(plinth.auth_uid()::text, 2) AS who;
SET plinth.verified_claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","exp":1300819380}';
SELECT plinth.auth_uid() IS NULL AS anonymous;
SELECT plinth.auth_deauthenticate();
SELECT right(plinth.auth_uid()::text, 2) AS who;
RESET request.jwt.claims;
-- the signature alone asks no table
SELECT plinth.jwt_verify(:'revoked') IS NOT NULL AS good;

DELETE FROM auth.users WHERE id = '00000000-0000-4000-8000-0000000000a1';
DROP ROLE regress_plinth_person;
