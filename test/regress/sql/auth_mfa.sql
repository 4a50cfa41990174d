-- ---------------------------------------------------------------------
-- auth: second factors
--
-- RFC 6238, S3.5, S3.7
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set SHOW_CONTEXT never
SET client_min_messages = warning;
UPDATE plinth.rate_limit_tiers SET enabled = false WHERE name = 'anonymous';

INSERT INTO auth.users (id, email, email_confirmed_at) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'a+b@example.com', now()), ('00000000-0000-4000-8000-0000000000b1', 'b@example.com', now());
INSERT INTO auth.sessions (id, user_id, amr, not_after)
	SELECT id, id, '{pwd}', now() + interval '1 day' FROM auth.users;
INSERT INTO auth.sessions (id, user_id, amr, not_after)
	VALUES ('00000000-0000-4000-8000-0000000000e1', '00000000-0000-4000-8000-0000000000a1', '{pwd}', now() + interval '1 day');

-- become a user in one of their sessions
CREATE FUNCTION pg_temp.become(who text, session text) RETURNS boolean LANGUAGE sql AS $$
	SELECT set_config('request.jwt.claims', jsonb_build_object('role', 'authenticated', 'sub', '00000000-0000-4000-8000-0000000000' || who,
		'session_id', '00000000-0000-4000-8000-0000000000' || session, 'aal', 'aal2')::text, false) <> '' $$;
-- the code that the authenticator shows
CREATE FUNCTION pg_temp.code(factor uuid, later interval DEFAULT '0') RETURNS text LANGUAGE sql SECURITY DEFINER AS $$
	SELECT plinth.auth_totp_code(plinth.unseal(secret_sealed, 'mfa_factors.secret_sealed:' || id), clock_timestamp() + later)
	FROM auth.mfa_factors WHERE id = factor $$;
-- a code that it does not show now
CREATE FUNCTION pg_temp.wrong(factor uuid) RETURNS text LANGUAGE sql AS $$
	SELECT lpad(n::text, 6, '0') FROM generate_series(0, 9) AS n
	WHERE lpad(n::text, 6, '0') NOT IN (SELECT pg_temp.code(factor, make_interval(secs => s)) FROM generate_series(-60, 60, 30) AS s)
	LIMIT 1 $$;

--
-- enroll: the secret is shown, sealed, and not to be read again
--
SELECT pg_temp.become('a1', 'a1');
SET ROLE authenticated;
SELECT auth.mfa_enroll('phone') AS factor \gset
SELECT :'factor'::jsonb ->> 'factor_id' AS factor_id, :'factor'::jsonb ->> 'secret' AS secret \gset
RESET ROLE;
SELECT :'secret' ~ '^[A-Z2-7]{32}$' AS form,
	replace(:'factor'::jsonb ->> 'uri', :'secret', '<secret>') = 'otpauth://totp/' || current_database()
		|| ':a%2Bb%40example.com?secret=<secret>&issuer=' || current_database() || '&algorithm=SHA1&digits=6&period=30' AS uri;
SELECT plinth.auth_base32(plinth.unseal(secret_sealed, 'mfa_factors.secret_sealed:' || id)) = :'secret' AS opens,
	position(plinth.unseal(secret_sealed, 'mfa_factors.secret_sealed:' || id) IN secret_sealed) AS in_clear, status, last_used_step FROM auth.mfa_factors;
SELECT plinth.unseal(secret_sealed, 'mfa_factors.secret_sealed:00000000-0000-4000-8000-000000000001') FROM auth.mfa_factors;
SELECT auth.uri_part('A z-9._~/é' || chr(10));
SET ROLE authenticated;
SELECT friendly_name, factor_type, status FROM auth.mfa_factors;
SELECT secret_sealed FROM auth.mfa_factors;
-- refused
SELECT auth.mfa_enroll('');
SELECT auth.mfa_enroll(repeat('x', 101));
SELECT auth.mfa_challenge('00000000-0000-4000-8000-000000000099');
SELECT auth.mfa_challenge(NULL);
-- nobody's factor, and somebody else's
RESET request.jwt.claims;
SELECT auth.mfa_enroll();
SELECT auth.mfa_challenge(:'factor_id');
SELECT auth.mfa_verify(:'factor_id', NULL, NULL);
SELECT auth.mfa_unenroll(:'factor_id');
SELECT auth.mfa_recovery_codes();
SELECT pg_temp.become('b1', 'b1');
SELECT count(*) FROM auth.mfa_factors;
SELECT auth.mfa_challenge(:'factor_id');
SELECT auth.mfa_verify(:'factor_id', NULL, '000000');
SELECT auth.mfa_unenroll(:'factor_id');
-- one that is not finished makes room for the next of its name
SELECT auth.mfa_enroll('phone') ->> 'factor_id' AS b_factor, auth.mfa_enroll() ->> 'factor_id' AS nameless \gset
SELECT auth.mfa_enroll('phone') ->> 'factor_id' AS b_factor \gset
SELECT count(*) FROM auth.mfa_factors;
SELECT count(auth.mfa_enroll('factor ' || n)) FROM generate_series(1, 9) AS n;
-- claims without a session have nothing to raise
SET request.jwt.claims = '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000a1"}';
SELECT auth.mfa_enroll('phone');
SELECT auth.mfa_verify(:'factor_id', NULL, NULL);

--
-- a factor that has shown no code protects nothing, and gives no recovery codes
--
SELECT pg_temp.become('a1', 'a1');
SELECT auth.mfa_recovery_codes();
SELECT auth.mfa_challenge(:'factor_id') ->> 'challenge_id' AS challenge \gset
RESET ROLE;
SELECT expires_at - clock_timestamp() BETWEEN '299 s' AND '300 s' AS five_minutes FROM auth.mfa_challenges;
SET ROLE authenticated;
SELECT auth.mfa_verify(:'factor_id', :'challenge', pg_temp.code(:'factor_id')) AS answer \gset
RESET ROLE;
SELECT string_agg(k, ' ' ORDER BY k) AS fields, plinth.jwt_verify(:'answer'::jsonb ->> 'access_token') ->> 'aal' AS aal,
	plinth.jwt_verify(:'answer'::jsonb ->> 'access_token') -> 'amr' AS amr FROM jsonb_object_keys(:'answer'::jsonb) AS k;
SELECT id = '00000000-0000-4000-8000-0000000000a1' AS this, aal, amr, factor_id = :'factor_id' AS by_factor FROM auth.sessions
WHERE user_id = '00000000-0000-4000-8000-0000000000a1' ORDER BY 1;
-- what its refresh token gives says so too
INSERT INTO auth.refresh_tokens (session_id, token_hash, expires_at)
VALUES ('00000000-0000-4000-8000-0000000000a1', sha256('the refresh token'), now() + interval '1 day');
SELECT claims ->> 'aal' AS aal, claims -> 'amr' AS amr FROM plinth.jwt_verify(auth.refresh_session('the refresh token') ->> 'access_token') AS claims;
SELECT status, last_used_step IS NOT NULL AS used FROM auth.mfa_factors WHERE id = :'factor_id';
SELECT event, session_id = '00000000-0000-4000-8000-0000000000a1' AS this FROM auth.events ORDER BY id;

--
-- a challenge once, a code once, the neighbours of its time
--
SET ROLE authenticated;
SELECT auth.mfa_verify(:'factor_id', :'challenge', pg_temp.code(:'factor_id', '30 s'));
SELECT auth.mfa_challenge(:'factor_id') ->> 'challenge_id' AS challenge \gset
RESET ROLE;
UPDATE auth.mfa_factors SET last_used_step = last_used_step + 3 WHERE id = :'factor_id';
SET ROLE authenticated;
SELECT auth.mfa_verify(:'factor_id', :'challenge', pg_temp.code(:'factor_id'));
RESET ROLE;
UPDATE auth.mfa_factors SET last_used_step = NULL WHERE id = :'factor_id';
SET ROLE authenticated;
SELECT auth.mfa_verify(:'factor_id', :'challenge', pg_temp.code(:'factor_id', '-90 s'));
SELECT auth.mfa_verify(:'factor_id', :'challenge', pg_temp.code(:'factor_id', '-25 s')) ->> 'token_type' AS before;
SELECT auth.mfa_challenge(:'factor_id') ->> 'challenge_id' AS challenge \gset
SELECT auth.mfa_verify(:'factor_id', :'challenge', pg_temp.code(:'factor_id', '30 s')) ->> 'token_type' AS after;
RESET ROLE;
DELETE FROM auth.mfa_challenges;
-- an old challenge, another factor's, none; and one that the journal could not count against
SET ROLE authenticated;
SELECT auth.mfa_challenge(:'factor_id') ->> 'challenge_id' AS challenge \gset
RESET ROLE;
UPDATE auth.mfa_challenges SET expires_at = clock_timestamp();
UPDATE auth.mfa_factors SET last_used_step = NULL WHERE id = :'factor_id';
SET ROLE authenticated;
SELECT auth.mfa_verify(:'factor_id', :'challenge', pg_temp.code(:'factor_id'));
SELECT auth.mfa_verify(:'factor_id', '00000000-0000-4000-8000-000000000099', pg_temp.code(:'factor_id'));
SELECT auth.mfa_verify(:'factor_id', NULL, pg_temp.code(:'factor_id'));
SELECT auth.mfa_verify(NULL, :'challenge', '000000');
BEGIN;
SELECT auth.mfa_challenge(:'factor_id') ->> 'challenge_id' AS challenge \gset
SELECT auth.mfa_verify(:'factor_id', :'challenge', pg_temp.code(:'factor_id'));
ROLLBACK;

--
-- five guesses, which no rollback gives back
--
SELECT auth.mfa_challenge(:'factor_id') ->> 'challenge_id' AS challenge \gset
RESET ROLE;
SELECT plinth.auth_mfa_guesses_left(:'challenge');
CREATE FUNCTION pg_temp.guess(factor uuid, challenge uuid, code text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN auth.mfa_verify(factor, challenge, code) ->> 'token_type';
EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END
$$;
SET ROLE authenticated;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.guess(:'factor_id', :'challenge', code) FROM unnest(ARRAY[pg_temp.wrong(:'factor_id'), '', NULL]) AS code;
ROLLBACK;
RESET ROLE;
SELECT plinth.auth_mfa_guesses_left(:'challenge');
SET ROLE authenticated;
-- a snapshot from before sees them all the same
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.guess(:'factor_id', :'challenge', code) FROM unnest(ARRAY['x', 'y', pg_temp.code(:'factor_id')]) AS code;
COMMIT;
SELECT pg_temp.guess(:'factor_id', :'challenge', pg_temp.code(:'factor_id')) AS right_but_late;
-- another challenge gives five more, and an hour no more than ten
SELECT auth.mfa_challenge(:'factor_id') ->> 'challenge_id' AS challenge \gset
SELECT pg_temp.guess(:'factor_id', :'challenge', '1') FROM generate_series(1, 4);
SELECT pg_temp.guess(:'factor_id', :'challenge', pg_temp.code(:'factor_id')) AS fifth;
SELECT auth.mfa_challenge(:'factor_id') ->> 'challenge_id' AS challenge \gset
SELECT pg_temp.guess(:'factor_id', :'challenge', repeat('1', 1000000)) AS tenth;
SELECT pg_temp.guess(:'factor_id', :'challenge', pg_temp.code(:'factor_id', '30 s')) AS right_but_too_many;
RESET ROLE;
DO $$ BEGIN WHILE plinth.auth_journal_pending() > 0 LOOP PERFORM pg_sleep(0.005); END LOOP; END $$;
SELECT sum(attempts) AS counted FROM auth.mfa_challenges;
DELETE FROM auth.mfa_challenges;

--
-- who has not shown the factor, changes none, whatever the token says
--
UPDATE auth.mfa_factors SET last_used_step = NULL WHERE id = :'factor_id';
SELECT pg_temp.become('a1', 'e1');
SET ROLE authenticated;
SELECT auth.mfa_enroll('mine');
SELECT auth.mfa_unenroll(:'factor_id');
SELECT auth.mfa_recovery_codes();
-- nor with one that was begun before
SELECT pg_temp.become('a1', 'a1');
SELECT auth.mfa_enroll('begun') ->> 'factor_id' AS begun \gset
SELECT pg_temp.become('a1', 'e1');
SELECT auth.mfa_challenge(:'begun') ->> 'challenge_id' AS challenge \gset
SELECT auth.mfa_verify(:'begun', :'challenge', pg_temp.code(:'begun'));
-- what never counted may go
SELECT auth.mfa_unenroll(:'begun');
SELECT friendly_name, status FROM auth.mfa_factors;

--
-- recovery codes: ten, each once, in any spelling
--
SELECT pg_temp.become('a1', 'a1');
SELECT array_agg(code) AS old_codes FROM auth.mfa_recovery_codes() AS code \gset
SELECT array_agg(code) AS codes, count(DISTINCT code) AS number FROM auth.mfa_recovery_codes() AS code \gset
SELECT :number AS number;
SELECT FROM auth.mfa_recovery_codes;
RESET ROLE;
SELECT count(*) AS kept, bool_and(octet_length(code_hash) = 32) AS hashed FROM auth.mfa_recovery_codes;
SELECT pg_temp.become('a1', 'e1');
SET ROLE authenticated;
SELECT auth.mfa_challenge(:'factor_id') ->> 'challenge_id' AS challenge \gset
SELECT pg_temp.guess(:'factor_id', :'challenge', (:'old_codes'::text[])[1]) AS void;
SELECT pg_temp.guess(:'factor_id', :'challenge', lower(replace((:'codes'::text[])[1], '-', ' '))) AS good;
RESET ROLE;
SELECT aal, amr FROM auth.sessions WHERE id = '00000000-0000-4000-8000-0000000000e1';
SET ROLE authenticated;
SELECT auth.mfa_challenge(:'factor_id') ->> 'challenge_id' AS challenge \gset
SELECT pg_temp.guess(:'factor_id', :'challenge', (:'codes'::text[])[1]) AS used;
SELECT pg_temp.guess(:'factor_id', :'challenge', (:'codes'::text[])[2]) AS another;
-- not for a factor that does not count yet
SELECT auth.mfa_enroll('second') ->> 'factor_id' AS second \gset
SELECT auth.mfa_challenge(:'second') ->> 'challenge_id' AS challenge \gset
SELECT pg_temp.guess(:'second', :'challenge', (:'codes'::text[])[3]) AS no_factor;
RESET ROLE;
SELECT count(*) AS unused FROM auth.mfa_recovery_codes WHERE used_at IS NULL;

--
-- the factor goes: the sessions that it has raised fall, and nothing is left of it
--
SET ROLE authenticated;
SELECT auth.mfa_unenroll(:'factor_id');
SELECT auth.mfa_unenroll(:'factor_id');
RESET ROLE;
SELECT right(id::text, 2) AS session, aal, amr, factor_id FROM auth.sessions WHERE user_id = '00000000-0000-4000-8000-0000000000a1' ORDER BY id;
SELECT count(*) AS codes FROM auth.mfa_recovery_codes;
SELECT event, count(*) FROM auth.events WHERE event NOT IN ('SIGN_IN_FAILED', 'TOKEN_REFRESHED') GROUP BY event ORDER BY event;

-- challenges are limited like attempts to sign in
UPDATE plinth.rate_limit_tiers SET enabled = true, requests = 1 WHERE name = 'anonymous';
\set VERBOSITY sqlstate
SET ROLE authenticated;
SELECT auth.mfa_challenge(:'second') IS NOT NULL AS first;
SELECT auth.mfa_challenge(:'second') IS NOT NULL AS second;
RESET ROLE;
\set VERBOSITY default
UPDATE plinth.rate_limit_tiers SET requests = 10 WHERE name = 'anonymous';
DO $$ BEGIN PERFORM plinth.rate_limit_reset('mfa:00000000-0000-4000-8000-0000000000a1', 'anonymous'); END $$;

--
-- the secrets follow a change of keys
--
SELECT relation, column_name, reseal_function FROM plinth.sealed_columns WHERE relation = 'auth.mfa_factors';
SELECT plinth.key_create('seal') IS NOT NULL AS new_key;
SET ROLE service_role;
SELECT auth.rotate_mfa_keys() <= 10 AS resealed;
SELECT auth.rotate_mfa_keys();
RESET ROLE;
SELECT bool_and(plinth.sealed_key_id(f.secret_sealed) = k.key_id) AS all_under_it,
	bool_and(octet_length(plinth.unseal(f.secret_sealed, 'mfa_factors.secret_sealed:' || f.id)) = 20) AS all_open
FROM auth.mfa_factors AS f, plinth.keys AS k WHERE k.purpose = 'seal' AND k.state = 'active';
SET ROLE service_role;
SELECT auth.rotate_mfa_keys(0);
SELECT auth.rotate_mfa_keys(NULL);
RESET ROLE;

-- what was never finished, or has ended, goes after a day
UPDATE auth.mfa_challenges SET expires_at = now() - interval '25 hours';
UPDATE auth.mfa_factors SET created_at = now() - interval '25 hours';
SELECT auth.purge_expired() > 0 AS purged;
SELECT count(*) AS factors FROM auth.mfa_factors;
SELECT count(*) AS challenges FROM auth.mfa_challenges;

RESET request.jwt.claims;
DELETE FROM auth.users;
DELETE FROM auth.events;
