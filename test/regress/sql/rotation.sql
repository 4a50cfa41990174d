--
-- ROTATION
-- A new seal key, and the worker that reseals what is under the old ones.
--
-- Needs: setup, the upkeep worker
-- Leaves: seal keys more in the keyring, the former ones retired
--
\set SHOW_CONTEXT never
SET client_min_messages = warning;

CREATE TABLE public.regress_vault (id int PRIMARY KEY, token bytea, touched int NOT NULL DEFAULT 0);
ALTER TABLE public.regress_vault OWNER TO plinth_owner;
CREATE FUNCTION public.regress_reseal(batch integer) RETURNS bigint
LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	WITH resealed AS (
		UPDATE public.regress_vault AS v
		SET token = plinth.reseal(v.token, 'regress_vault.token:' || v.id), touched = v.touched + 1
		WHERE v.id IN (
			SELECT o.id FROM public.regress_vault AS o
			WHERE plinth.sealed_key_id(o.token) <> (SELECT k.key_id FROM plinth.keys AS k WHERE k.purpose = 'seal' AND k.state = 'active')
			ORDER BY o.id LIMIT batch FOR UPDATE)
		RETURNING v.id)
	SELECT count(*) FROM resealed
$$;
INSERT INTO public.regress_vault (id, token)
SELECT i, plinth.seal(convert_to('token ' || i, 'UTF8'), 'regress_vault.token:' || i) FROM generate_series(1, 1200) AS i;
INSERT INTO public.regress_vault VALUES (0, NULL);
INSERT INTO plinth.sealed_columns VALUES ('public.regress_vault', 'token', 'public.regress_reseal');

-- wait until nothing of a column remains, or until its last error is one
CREATE FUNCTION pg_temp.wait_for_rotation(error text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	stat	record;
BEGIN
	FOR i IN 1 .. 1200 LOOP
		SELECT * INTO stat FROM plinth.stat_rotation WHERE relation = 'public.regress_vault';
		IF error IS NULL AND stat.remaining = 0 AND stat.last_error IS NULL THEN
			RETURN format('%s done', stat.done);
		ELSIF stat.last_error = error THEN
			RETURN format('%s remaining', stat.remaining);
		END IF;
		PERFORM pg_sleep(0.05);
	END LOOP;
	RETURN 'waited in vain: ' || stat;
END;
$$;

-- all values move to the new key, each once
SELECT done, remaining, last_error FROM plinth.stat_rotation WHERE relation = 'public.regress_vault';
SELECT plinth.rotate_keys() AS new_kid \gset
SELECT pg_temp.wait_for_rotation();
SELECT k.state, k.kid = :'new_kid' AS the_new_one, count(*), max(v.touched) AS touched,
	bool_and(plinth.unseal(v.token, 'regress_vault.token:' || v.id) = convert_to('token ' || v.id, 'UTF8')) AS readable
FROM public.regress_vault AS v JOIN plinth.keys AS k ON k.key_id = plinth.sealed_key_id(v.token) GROUP BY 1, 2;
SELECT key_id = (SELECT key_id FROM plinth.keys WHERE kid = :'new_kid') AS to_the_new_one FROM plinth.stat_rotation WHERE relation = 'public.regress_vault';

-- the key before can go then, but not sooner
SELECT plinth.key_set_state(kid, 'revoked') FROM plinth.keys
WHERE purpose = 'seal' AND state = 'retired' AND key_id = (SELECT max(key_id) FROM plinth.keys WHERE purpose = 'seal' AND state = 'retired');

-- a function that fails is called again later, and the view says why
ALTER FUNCTION public.regress_reseal(integer) RENAME TO regress_reseal_good;
CREATE FUNCTION public.regress_reseal(batch integer) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'no % today', 'resealing';
END;
$$;
SELECT plinth.rotate_keys('seal') IS NOT NULL AS made;
SELECT pg_temp.wait_for_rotation('no resealing today');
-- one that does nothing is found out
CREATE OR REPLACE FUNCTION public.regress_reseal(batch integer) RETURNS bigint LANGUAGE sql AS 'SELECT NULL::bigint';
SELECT pg_temp.wait_for_rotation('the function has left values under other keys');
DROP FUNCTION public.regress_reseal(integer);
ALTER FUNCTION public.regress_reseal_good(integer) RENAME TO regress_reseal;
SELECT pg_temp.wait_for_rotation();

-- the function has no more rights than plinth_owner
CREATE FUNCTION public.regress_who(batch integer) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'called as %', current_user;
END;
$$;
UPDATE plinth.sealed_columns SET reseal_function = 'public.regress_who' WHERE relation = 'public.regress_vault';
SELECT plinth.rotate_keys() IS NOT NULL AS made;
SELECT pg_temp.wait_for_rotation('called as plinth_owner');
UPDATE plinth.sealed_columns SET reseal_function = 'public.regress_reseal' WHERE relation = 'public.regress_vault';
SELECT pg_temp.wait_for_rotation();

-- a table that is gone
BEGIN;
ALTER TABLE public.regress_vault RENAME TO regress_gone;
SELECT relation, done, remaining FROM plinth.stat_rotation WHERE relation = 'public.regress_vault';
ROLLBACK;

-- other purposes have nothing to reseal
SELECT plinth.rotate_keys('url') AS url_kid \gset
SELECT purpose, state FROM plinth.keys WHERE kid = :'url_kid';
SELECT plinth.rotate_keys(NULL) IS NULL AS nothing;
\set VERBOSITY sqlstate
SELECT plinth.rotate_keys('x');

-- who may do what
SET ROLE anon;
SELECT * FROM plinth.stat_rotation;
SELECT plinth.rotate_keys();
SET ROLE authenticated;
SELECT * FROM plinth.stat_rotation;
SELECT plinth.rotate_keys();
SET ROLE service_role;
SELECT relation, done, remaining, last_error FROM plinth.stat_rotation WHERE relation = 'public.regress_vault';
SELECT plinth.rotate_keys();
SET ROLE plinth_owner;
SELECT plinth.rotate_keys();
RESET ROLE;
INSERT INTO auth.users (id, email, app_role) VALUES ('00000000-0000-4000-8000-0000000000a9', 'rotation@example.com', 'admin');
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a9","role":"authenticated"}';
SET ROLE authenticated;
SELECT relation, done, remaining, last_error FROM plinth.stat_rotation WHERE relation = 'public.regress_vault';
RESET ROLE;
RESET request.jwt.claims;
DELETE FROM auth.users WHERE id = '00000000-0000-4000-8000-0000000000a9';

DELETE FROM plinth.sealed_columns WHERE relation = 'public.regress_vault';
DROP TABLE public.regress_vault;
DROP FUNCTION public.regress_reseal(integer), public.regress_who(integer);
