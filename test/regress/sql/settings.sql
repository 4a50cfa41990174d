-- ---------------------------------------------------------------------
-- plinth.settings and plinth.setting()
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
\set VERBOSITY terse
BEGIN;

-- every setting has the default of the manual, or none
SELECT name, plinth.setting(name)
FROM unnest(ARRAY['audit.activity_retention', 'audit.retention',
	'auth.access_token_ttl', 'auth.confirmation_ttl', 'auth.failures_to_lock',
	'auth.magic_link_ttl', 'auth.recovery_ttl', 'auth.refresh_grace',
	'auth.require_confirmation', 'auth.session_idle_ttl', 'auth.session_ttl',
	'jobs.email_from', 'realtime.open_topics', 'social.verification_base_url',
	'storage.owner_quota', 'storage.public_base_url']) AS s (name);

-- durations read as intervals, whichever way they are written
SELECT (plinth.setting('auth.access_token_ttl') #>> '{}')::interval AS from_default;
INSERT INTO plinth.settings (name, value) VALUES ('auth.access_token_ttl', '600');
SELECT (plinth.setting('auth.access_token_ttl') #>> '{}')::interval AS from_number;
UPDATE plinth.settings SET value = '"5 min"' WHERE name = 'auth.access_token_ttl';
SELECT (plinth.setting('auth.access_token_ttl') #>> '{}')::interval AS from_text;

-- who changed it is noted, by insert and by update; a dumped row keeps its word
SELECT name, changed_by = session_user AS mine, changed_at = now() AS today FROM plinth.settings;
INSERT INTO plinth.settings VALUES ('auth.failures_to_lock', '3', 'somebody', '2020-01-01 00:00Z');
SELECT changed_by, changed_at = '2020-01-01 00:00Z' AS kept FROM plinth.settings
WHERE name = 'auth.failures_to_lock';
SET LOCAL ROLE service_role;
UPDATE plinth.settings SET value = '4', changed_by = 'nobody', changed_at = '-infinity'
WHERE name = 'auth.failures_to_lock';
RESET ROLE;
SELECT value, changed_by, changed_at = now() AS today FROM plinth.settings
WHERE name = 'auth.failures_to_lock';

-- a row that goes brings the default back
DELETE FROM plinth.settings WHERE name = 'auth.failures_to_lock';
SELECT plinth.setting('auth.failures_to_lock');

-- NULL in, NULL out
SELECT plinth.setting(NULL) IS NULL AS nothing;
ROLLBACK;

-- refused: names and values (all 22023)
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT plinth.setting('auth.no_such');
INSERT INTO plinth.settings (name, value) VALUES ('auth.no_such', '1');
INSERT INTO plinth.settings (name, value) VALUES ('auth.require_confirmation', '"true"');
INSERT INTO plinth.settings (name, value) VALUES ('auth.require_confirmation', 'null');
INSERT INTO plinth.settings (name, value) VALUES ('auth.failures_to_lock', '0');
INSERT INTO plinth.settings (name, value) VALUES ('auth.failures_to_lock', '2.5');
INSERT INTO plinth.settings (name, value) VALUES ('auth.failures_to_lock', '1e400');
INSERT INTO plinth.settings (name, value) VALUES ('auth.failures_to_lock', '{"a": 1}');
INSERT INTO plinth.settings (name, value) VALUES ('auth.failures_to_lock', '[5]');
INSERT INTO plinth.settings (name, value) VALUES ('auth.recovery_ttl', '"11 min"');
INSERT INTO plinth.settings (name, value) VALUES ('auth.recovery_ttl', '601');
INSERT INTO plinth.settings (name, value) VALUES ('auth.recovery_ttl', '"-1 min"');
INSERT INTO plinth.settings (name, value) VALUES ('auth.recovery_ttl', '"soon"');
INSERT INTO plinth.settings (name, value) VALUES ('auth.session_ttl', '"178000000 years"');
INSERT INTO plinth.settings (name, value) VALUES ('realtime.open_topics', '"everyone"');
INSERT INTO plinth.settings (name, value) VALUES ('storage.owner_quota', '-1');
INSERT INTO plinth.settings (name, value)
VALUES ('social.verification_base_url', to_jsonb(repeat('x', 2049)));

\set VERBOSITY sqlstate
SELECT plinth.setting('auth.no_such');
INSERT INTO plinth.settings (name, value) VALUES ('auth.no_such', '1');
INSERT INTO plinth.settings (name, value) VALUES ('auth.require_confirmation', '1');
INSERT INTO plinth.settings (name, value) VALUES (NULL, '1');
INSERT INTO plinth.settings (name, value) VALUES ('auth.failures_to_lock', NULL);

-- refused: callers
SET ROLE anon;
SELECT plinth.setting('auth.refresh_grace');
SELECT * FROM plinth.settings;
SET ROLE authenticated;
SELECT plinth.setting('auth.refresh_grace');
SELECT * FROM plinth.settings;
INSERT INTO plinth.settings (name, value) VALUES ('auth.require_confirmation', 'false');
SET ROLE plinth_owner;
BEGIN;
INSERT INTO plinth.settings (name, value) VALUES ('auth.require_confirmation', 'false');
SELECT plinth.setting('auth.require_confirmation');
ROLLBACK;
RESET ROLE;

-- dumped with the database's data
SELECT extcondition FROM (SELECT unnest(extconfig) AS config, unnest(extcondition) AS extcondition
	FROM pg_catalog.pg_extension WHERE extname = 'plinth') AS c
WHERE config = 'plinth.settings'::regclass;
