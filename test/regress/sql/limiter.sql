--
-- LIMITER
-- Fixed windows: what passes, who may count whom, and what is shown.
--
-- Needs: shared_preload_libraries = 'plinth', module auth
-- Leaves: nothing
--
\set VERBOSITY sqlstate
\set SHOW_CONTEXT never

INSERT INTO plinth.rate_limit_tiers (name, requests, window_seconds, enabled) VALUES
	('regress_three', 3, 3600, true), ('regress_open', 1, 3600, false);

-- a tier of three: the fourth is refused, and all see the same end
SELECT n, allowed, remaining,
	   reset - now() BETWEEN '59 minutes' AND '61 minutes' AS ends_in_an_hour
FROM generate_series(1, 5) AS n,
	 LATERAL plinth.check_rate_limit('regress ' || n * 0, 'regress_three');

-- another identifier has a count of its own
SELECT allowed, remaining FROM plinth.check_rate_limit('regress other', 'regress_three');

-- a rollback gives nothing back, nor does a savepoint
BEGIN;
SELECT allowed, remaining FROM plinth.check_rate_limit('regress rolled', 'regress_three');
SAVEPOINT before;
SELECT allowed, remaining FROM plinth.check_rate_limit('regress rolled', 'regress_three');
ROLLBACK TO before;
ROLLBACK;
SELECT allowed, remaining FROM plinth.check_rate_limit('regress rolled', 'regress_three');

-- it works where nothing may be written
BEGIN READ ONLY;
SELECT allowed, remaining FROM plinth.check_rate_limit('regress read only', 'regress_three');
COMMIT;

-- a tier that is disabled limits nobody and counts nothing
SELECT * FROM plinth.check_rate_limit('regress', 'regress_open')
UNION ALL SELECT * FROM plinth.check_rate_limit('regress', 'regress_open');

-- a row spelled out with .* is one call a column: three, as PostgreSQL expands it
SELECT (plinth.check_rate_limit('regress star', 'regress_three')).*\gset star_
SELECT :'star_allowed' AS allowed, :'star_remaining' AS remaining;

-- what cannot be counted
SELECT plinth.check_rate_limit('regress', 'regress_none');
SELECT plinth.check_rate_limit('regress', '');
SELECT plinth.check_rate_limit('', 'regress_three');
SELECT plinth.check_rate_limit(NULL, 'regress_three');
SELECT plinth.check_rate_limit('regress', NULL);

-- a change of a tier acts at once, also on open windows: two more pass
UPDATE plinth.rate_limit_tiers SET requests = 5 WHERE name = 'regress_three';
SELECT allowed, remaining FROM generate_series(1, 3) AS n,
	 LATERAL plinth.check_rate_limit('regress ' || n * 0, 'regress_three');
-- below what has passed already: refused
UPDATE plinth.rate_limit_tiers SET requests = 2 WHERE name = 'regress_three';
SELECT allowed, remaining FROM plinth.check_rate_limit('regress 0', 'regress_three');
-- undone: what was
BEGIN;
UPDATE plinth.rate_limit_tiers SET requests = 1000 WHERE name = 'regress_three';
SELECT allowed, remaining FROM plinth.check_rate_limit('regress 0', 'regress_three');
ROLLBACK;
SELECT allowed, remaining FROM plinth.check_rate_limit('regress 0', 'regress_three');
-- a longer window is longer from its beginning
UPDATE plinth.rate_limit_tiers SET requests = 3, window_seconds = 7200 WHERE name = 'regress_three';
SELECT allowed, reset - now() BETWEEN '119 minutes' AND '121 minutes' AS ends_in_two_hours
FROM plinth.check_rate_limit('regress 0', 'regress_three');
-- removed: unknown
BEGIN;
DELETE FROM plinth.rate_limit_tiers WHERE name = 'regress_three';
SELECT plinth.check_rate_limit('regress 0', 'regress_three');
ROLLBACK;

-- no tier without a name, requests or a window
INSERT INTO plinth.rate_limit_tiers VALUES ('', 1, 1);
INSERT INTO plinth.rate_limit_tiers VALUES ('regress_bad', 0, 1);
INSERT INTO plinth.rate_limit_tiers VALUES ('regress_bad', 1, 0);

-- long texts differ although they begin alike, and are shown cut and hashed
SELECT n, remaining
FROM (VALUES (1, 'a'), (2, 'b'), (3, 'a')) AS long (n, last),
	 LATERAL plinth.check_rate_limit(repeat('ä', 5000) || last, 'regress_three')
ORDER BY n;
SELECT octet_length(identifier), left(identifier, 10), request_count
FROM plinth.rate_limits WHERE identifier LIKE 'ää%' ORDER BY request_count;

-- an IPv6 address counts as its /64, one that carries IPv4 as that
SELECT address, remaining
FROM (VALUES (1, '2001:db8:0:1::1'), (2, '2001:DB8:0:1:ffff::2'), (3, '2001:db8:0:2::1'),
	  (4, '192.0.2.7'), (5, '::ffff:192.0.2.7'), (6, '192.0.2.8')) AS v (n, address),
	 LATERAL plinth.check_rate_limit(address, 'regress_three')
ORDER BY n;

-- the form for endpoints
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress/endpoint', 2, 60)
FROM generate_series(1, 4);
-- other parameters, another user and another endpoint are other counts
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress/endpoint', 2, 61),
	   plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a2', 'regress/endpoint', 2, 60),
	   plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress/other', 2, 60);
-- 100 an hour unless said
SELECT passed, count(*)
FROM (SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1'::uuid, 'regress/default') AS passed
	  FROM generate_series(1, 150)) AS calls
GROUP BY passed ORDER BY passed;
-- the largest that there is
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress/large', 2147483647, 2147483647);
SELECT plinth.check_rate_limit(NULL::uuid, 'regress');
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1'::uuid, NULL);
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1'::uuid, '');
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress', 0, 60);
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress', 5, -1);
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress', NULL, 60);
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress', 5, NULL);

-- the windows: never counted past limit and one
SELECT identifier, user_id, endpoint, request_count, window_end - window_start AS lasts
FROM plinth.rate_limits WHERE endpoint LIKE 'regress/%' ORDER BY endpoint, identifier, lasts;
SELECT kind, endpoint, keys, allowed, refused
FROM plinth.rate_limit_status WHERE endpoint LIKE 'regress%' ORDER BY endpoint COLLATE "C";
SELECT keys > 0 AS keys, allowed > 0 AS allowed, capacity >= current_setting('plinth.rate_limit_entries')::int AS capacity,
	   evictions >= 0 AS evictions, refused_no_space >= 0 AS refused_no_space, stats_reset < now() AS since_start
FROM plinth.rate_limit_status WHERE kind = 'total';

-- forgotten on request, whatever the parameters
SELECT plinth.rate_limit_reset('regress 0', 'regress_three') AS tier,
	   plinth.rate_limit_reset('regress 0', 'regress_three') AS again,
	   plinth.rate_limit_reset('00000000-0000-4000-8000-0000000000a1', 'regress/endpoint') AS endpoint,
	   plinth.rate_limit_reset('2001:db8:0:1::9', 'regress_three') AS address,
	   plinth.rate_limit_reset(repeat('ä', 5000) || 'a', 'regress_three') AS long,
	   plinth.rate_limit_reset('regress 0', 'regress_none') AS none;
SELECT allowed, remaining FROM plinth.check_rate_limit('regress 0', 'regress_three');
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress/endpoint', 2, 60);
SELECT plinth.rate_limit_reset(NULL, 'regress_three');

-- headers: of an answer, of a refusal, of no limit
SELECT plinth.rate_limit_headers(7, '2100-01-01 00:00:00.1234+00', 100, 60) - 'RateLimit' AS policy;
SELECT plinth.rate_limit_headers(7, '2000-01-01', 100) AS no_window;
SELECT plinth.rate_limit_headers(0, '2000-01-01 00:00+00') AS nothing_left;
SELECT (plinth.rate_limit_headers(0, clock_timestamp() + '90 s') ->> 'Retry-After')::int BETWEEN 80 AND 90 AS retry_after;
SELECT plinth.rate_limit_headers(NULL, NULL) AS no_limit;
SELECT plinth.rate_limit_headers(3, NULL) AS no_reset;
SELECT plinth.rate_limit_headers(3, 'infinity', 100, 60) AS never, plinth.rate_limit_headers(0, '-infinity') AS always;

--
-- Users
--
INSERT INTO auth.users (id, email, app_role) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'limiter-a1@example.com', 'user'),
	('00000000-0000-4000-8000-0000000000a2', 'limiter-a2@example.com', 'admin');

-- nobody has asked before
SELECT count(plinth.rate_limit_reset('00000000-0000-4000-8000-0000000000a1', name)) AS fresh
FROM plinth.rate_limit_tiers WHERE name IN ('authenticated', 'premium');

-- a user counts itself, under either spelling of what it is, and nobody else
SET request.jwt.claims = '{"sub": "00000000-0000-4000-8000-0000000000a1", "role": "authenticated"}';
SET ROLE authenticated;
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress/own', 1, 60)
FROM generate_series(1, 2);
SELECT allowed, remaining FROM plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress_three');
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a2', 'regress/own', 1, 60);
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a2', 'regress_three');
SELECT plinth.check_rate_limit('192.0.2.7', 'regress_three');
SELECT plinth.check_rate_limit('local', 'regress_three');
-- nor does it reset, require, change a tier, or look
SELECT plinth.rate_limit_reset('00000000-0000-4000-8000-0000000000a1', 'regress_three');
SELECT plinth.require_rate_limit('regress_three');
SELECT * FROM plinth.rate_limits;
SELECT * FROM plinth.rate_limit_status;
INSERT INTO plinth.rate_limit_tiers VALUES ('regress_mine', 1000, 1);
UPDATE plinth.rate_limit_tiers SET requests = 1000 WHERE name LIKE 'regress%' RETURNING name;
DELETE FROM plinth.rate_limit_tiers RETURNING name;
TRUNCATE plinth.rate_limit_tiers;
SELECT name FROM plinth.rate_limit_tiers WHERE name LIKE 'regress%' ORDER BY name;
-- the caller's tier, and an endpoint that counts by itself
SELECT remaining FROM plinth.rate_limit_caller()
UNION ALL SELECT remaining FROM plinth.rate_limit_caller()
UNION ALL SELECT remaining FROM plinth.rate_limit_caller('regress');
SELECT plinth.rate_limit_caller('');
SET request.jwt.claims = '{"sub": "00000000-0000-4000-8000-0000000000a1", "role": "authenticated", "app_metadata": {"tier": "premium"}}';
SELECT remaining FROM plinth.rate_limit_caller();
SET request.jwt.claims = '{"sub": "00000000-0000-4000-8000-0000000000a1", "role": "authenticated", "app_metadata": {"tier": "regress_three"}}';
SELECT remaining FROM plinth.rate_limit_caller();
-- signed in no more
SET request.jwt.claims = '{"sub": "00000000-0000-4000-8000-0000000000a1", "role": "authenticated", "exp": 1}';
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1', 'regress/own', 1, 60);

-- a visitor counts by its address; a local one has none
RESET ROLE;
SELECT plinth.rate_limit_reset('local', 'anonymous') IS NOT NULL AS unused;
SET request.jwt.claims = '{"role": "anon"}';
SET ROLE anon;
SELECT allowed, remaining FROM plinth.check_rate_limit('local', 'regress_three');
SELECT remaining FROM plinth.rate_limit_caller();
SELECT plinth.check_rate_limit('regress 0', 'regress_three');
SELECT plinth.check_rate_limit('00000000-0000-4000-8000-0000000000a1'::uuid, 'regress');
SELECT plinth.rate_limit_reset('local', 'regress_three');
SELECT * FROM plinth.rate_limits;
SELECT count(*) FROM plinth.rate_limit_tiers WHERE name LIKE 'regress%';
RESET ROLE;
-- behind a gateway that says so, by the address it was given
SET plinth.trust_forwarded_for = on;
SET request.headers = '{"x-forwarded-for": "2001:db8:0:7::1"}';
SET ROLE anon;
SELECT remaining FROM plinth.check_rate_limit('2001:db8:0:7::2', 'regress_three')
UNION ALL SELECT remaining FROM plinth.check_rate_limit('2001:db8:0:7::1', 'regress_three');
SELECT plinth.check_rate_limit('local', 'regress_three');
RESET ROLE;
RESET request.headers;
RESET plinth.trust_forwarded_for;

-- an administrator looks, sees no identifier in clear, and changes tiers
SET request.jwt.claims = '{"sub": "00000000-0000-4000-8000-0000000000a2", "role": "authenticated"}';
SET ROLE authenticated;
SELECT identifier ~ '^[0-9a-f]{32}$' AS hashed, user_id, request_count
FROM plinth.rate_limits WHERE endpoint = 'regress/own';
SELECT allowed, refused FROM plinth.rate_limit_status WHERE endpoint = 'regress/own';
UPDATE plinth.rate_limit_tiers SET requests = 4 WHERE name = 'regress_three' RETURNING requests;
SELECT plinth.rate_limit_reset('00000000-0000-4000-8000-0000000000a1', 'regress_three');
RESET ROLE;
UPDATE auth.users SET app_role = 'user' WHERE id = '00000000-0000-4000-8000-0000000000a2';
SET ROLE authenticated;
SELECT * FROM plinth.rate_limits;
UPDATE plinth.rate_limit_tiers SET requests = 5 WHERE name = 'regress_three' RETURNING requests;
RESET ROLE;
RESET request.jwt.claims;

-- a service counts and requires for anyone
SET ROLE service_role;
SELECT allowed, remaining FROM plinth.check_rate_limit('regress service', 'regress_three');
SELECT identifier FROM plinth.rate_limits WHERE identifier = 'regress service';
SELECT plinth.rate_limit_reset('regress service', 'regress_three');
SELECT plinth.rate_limit_reset('local', 'regress_three');
SELECT plinth.require_rate_limit('regress_three') FROM generate_series(1, 4);
SELECT plinth.require_rate_limit('regress_three');
SELECT plinth.require_rate_limit('regress_none');
RESET ROLE;

-- a monitor sees counts, and no identifier in clear
SET ROLE pg_monitor;
SELECT allowed, refused FROM plinth.rate_limit_status WHERE endpoint = 'regress/own';
SELECT count(*) FROM plinth.rate_limits WHERE identifier = 'local';
RESET ROLE;

-- code of plinth_owner counts what it was told to, for its caller
GRANT CREATE ON SCHEMA plinth TO plinth_owner;
SET ROLE plinth_owner;
CREATE FUNCTION plinth.regress_sign_up(email text) RETURNS integer
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT remaining FROM plinth.check_rate_limit(email, 'regress_three') $$;
CREATE FUNCTION plinth.regress_required() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT plinth.require_rate_limit('regress_three') $$;
GRANT EXECUTE ON FUNCTION plinth.regress_sign_up(text), plinth.regress_required() TO anon, authenticated;
RESET ROLE;
SET ROLE anon;
SELECT plinth.regress_sign_up('limiter@example.com'), plinth.regress_sign_up('limiter@example.com');
SELECT plinth.check_rate_limit('limiter@example.com', 'regress_three');
RESET ROLE;
-- and require counts the user who called
SET request.jwt.claims = '{"sub": "00000000-0000-4000-8000-0000000000a2", "role": "authenticated"}';
SET ROLE authenticated;
SELECT count(*) FROM (SELECT plinth.regress_required() FROM generate_series(1, 4) OFFSET 0) AS calls;
SELECT plinth.regress_required();
RESET ROLE;
RESET request.jwt.claims;
SELECT request_count FROM plinth.rate_limits
WHERE user_id = '00000000-0000-4000-8000-0000000000a2' AND endpoint = 'regress_three';

-- the words of a refusal
\set VERBOSITY terse
SET ROLE service_role;
SELECT plinth.require_rate_limit('regress_three');
RESET ROLE;

-- the trigger is for its table's statements only
CREATE TABLE pg_temp.regress_rows (id integer);
\set VERBOSITY sqlstate
CREATE TRIGGER wrong BEFORE INSERT ON pg_temp.regress_rows FOR EACH ROW EXECUTE FUNCTION plinth.table_changed();
INSERT INTO pg_temp.regress_rows VALUES (1);

-- leave nothing
DROP TABLE pg_temp.regress_rows;
DROP FUNCTION plinth.regress_sign_up(text), plinth.regress_required();
REVOKE CREATE ON SCHEMA plinth FROM plinth_owner;
DELETE FROM auth.users WHERE email LIKE 'limiter-%';
DELETE FROM plinth.rate_limit_tiers WHERE name LIKE 'regress%';
SELECT count(plinth.rate_limit_reset(identifier, endpoint)) > 0 AS forgotten FROM plinth.rate_limits
WHERE endpoint LIKE 'regress%' OR identifier = 'local' OR user_id::text LIKE '00000000-0000-4000-8000-0000000000a_';
