--
-- AUDIT
-- Who may audit, read and write what; who did it and from where; and that
-- nobody changes the log.
--
-- Needs: setup
-- Leaves: records of schema regress_audit
--
SET client_min_messages = warning;
CREATE SCHEMA regress_audit;
GRANT USAGE ON SCHEMA regress_audit TO PUBLIC;
CREATE VIEW regress_audit.log AS
	SELECT * FROM audit.audit_logs WHERE table_schema = 'regress_audit';
INSERT INTO auth.users (id, email, app_role) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'ann@audit.test', 'user'),
	('00000000-0000-4000-8000-0000000000a2', 'adam@audit.test', 'admin');
CREATE TABLE regress_audit.note (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), body text);
GRANT ALL ON regress_audit.note TO anon, authenticated, service_role;
SELECT audit.attach('regress_audit.note');

--
-- Who did it
--

-- a superuser without claims, an anonymous visitor, a signed-in user
INSERT INTO regress_audit.note VALUES ('00000000-0000-4000-8000-000000000001', 'super');
SET ROLE anon;
INSERT INTO regress_audit.note VALUES ('00000000-0000-4000-8000-000000000002', 'anon');
RESET ROLE;
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated","email":"ann@audit.test","session_id":"00000000-0000-4000-8000-0000000000c1"}';
SET ROLE authenticated;
SET application_name = 'regress client';
INSERT INTO regress_audit.note VALUES ('00000000-0000-4000-8000-000000000003', 'ann');
RESET application_name;
RESET ROLE;
-- claims that are none leave no actor, and no error
SET request.jwt.claims = '';
INSERT INTO regress_audit.note VALUES ('00000000-0000-4000-8000-000000000004', 'empty');
SET request.jwt.claims = 'no json';
INSERT INTO regress_audit.note VALUES ('00000000-0000-4000-8000-000000000005', 'malformed');
SET request.jwt.claims = '{"sub":"no uuid","role":"authenticated","session_id":5}';
INSERT INTO regress_audit.note VALUES ('00000000-0000-4000-8000-000000000006', 'no uuid');
RESET request.jwt.claims;
SELECT new_data ->> 'body' AS body, user_id, user_email, session_id,
	   db_user = session_user AS db_user, application_name LIKE 'regress%' AS client_name,
	   era, txid IS NOT NULL AS txid
FROM regress_audit.log ORDER BY created_at, id;

-- from where: believed headers, but the address only when told so
TRUNCATE regress_audit.note;
SET request.headers = '{"x-forwarded-for": "192.0.2.7, 10.0.0.1", "user-agent": "Regress/1.0"}';
INSERT INTO regress_audit.note (body) VALUES ('not trusted');
SET plinth.trust_forwarded_for = on;
INSERT INTO regress_audit.note (body) VALUES ('trusted');
SET request.headers = '{"x-forwarded-for": "2001:db8::7"}';
INSERT INTO regress_audit.note (body) VALUES ('v6');
SET request.headers = '{"x-forwarded-for": "unknown", "user-agent": "x"}';
INSERT INTO regress_audit.note (body) VALUES ('no address');
SET request.headers = '{"x-forwarded-for": "999.1.1.1"}';
INSERT INTO regress_audit.note (body) VALUES ('out of range');
SET request.headers = '{"x-forwarded-for": 7, "user-agent": []}';
INSERT INTO regress_audit.note (body) VALUES ('no strings');
SET request.headers = 'nonsense';
INSERT INTO regress_audit.note (body) VALUES ('no headers');
SELECT set_config('request.headers', json_build_object('user-agent', repeat('ü', 300))::text, false) IS NOT NULL AS set;
INSERT INTO regress_audit.note (body) VALUES ('long agent');
RESET request.headers;
RESET plinth.trust_forwarded_for;
SELECT new_data ->> 'body' AS body, ip_address, left(user_agent, 12) AS user_agent,
	   octet_length(user_agent) AS bytes
FROM regress_audit.log WHERE action = 'INSERT' AND record_id NOT IN (
	SELECT ('00000000-0000-4000-8000-00000000000' || g)::uuid FROM generate_series(1, 6) AS g)
ORDER BY created_at, id;

-- the writer needs no right on the log and no search_path
SET search_path = '';
SET ROLE authenticated;
UPDATE regress_audit.note SET body = upper(body) WHERE body = 'v6';
RESET ROLE;
RESET search_path;
SELECT action, old_data, new_data FROM regress_audit.log ORDER BY created_at DESC, id DESC LIMIT 1;
-- a schema of the same name in the path gets nothing
CREATE SCHEMA regress_audit_trap;
CREATE TABLE regress_audit_trap.audit_logs (LIKE audit.audit_logs);
SET search_path = regress_audit_trap;
INSERT INTO regress_audit.note (body) VALUES ('trap');
RESET search_path;
SELECT count(*) FROM regress_audit_trap.audit_logs;
DROP SCHEMA regress_audit_trap CASCADE;

--
-- Who may read
--
INSERT INTO audit.activity_logs (user_id, action) VALUES
	('00000000-0000-4000-8000-0000000000a1', 'regress_ann'),
	('00000000-0000-4000-8000-0000000000a2', 'regress_adam');
\set VERBOSITY sqlstate
SET ROLE anon;
SELECT count(*) FROM audit.audit_logs;
SELECT count(*) FROM audit.activity_logs;
SELECT audit.history('regress_audit.note', '00000000-0000-4000-8000-000000000003');
SELECT audit.log_activity('x', NULL, NULL);
RESET ROLE;

SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated","email":"ann@audit.test"}';
SET ROLE authenticated;
SELECT count(*) FROM audit.audit_logs;
SELECT action FROM audit.activity_logs WHERE action LIKE 'regress\_%' ORDER BY action;
SELECT audit.history('regress_audit.note', '00000000-0000-4000-8000-000000000003');
SELECT audit.history('regress_audit.note', '{}'::jsonb);
SELECT count(*) FROM audit.audit_logs_default;
-- a claimed role makes nobody an administrator
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"service_role","app_metadata":{"role":"admin"},"app_role":"admin"}';
SELECT count(*) FROM audit.audit_logs;
SELECT audit.history('regress_audit.note', '00000000-0000-4000-8000-000000000003');
RESET ROLE;

SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a2","role":"authenticated"}';
SET ROLE authenticated;
SELECT count(*) > 10 AS sees_all FROM audit.audit_logs;
SELECT action FROM audit.activity_logs WHERE action LIKE 'regress\_%' ORDER BY action;
SELECT count(*) FROM audit.history('regress_audit.note', '00000000-0000-4000-8000-000000000003');
SELECT count(*) FROM audit.audit_logs_default;
RESET ROLE;
RESET request.jwt.claims;

SET ROLE service_role;
SELECT count(*) > 10 AS sees_all FROM audit.audit_logs;
SELECT count(*) FROM audit.activity_logs WHERE action LIKE 'regress\_%';
SELECT count(*) FROM audit.history('regress_audit.note', '00000000-0000-4000-8000-000000000003');
SELECT count(*) FROM audit.audit_logs_default;
RESET ROLE;

--
-- Who may write
--
SET ROLE anon;
INSERT INTO audit.audit_logs (id, table_schema, table_name, action, era) VALUES (gen_random_uuid(), 'x', 'x', 'INSERT', 1);
INSERT INTO audit.activity_logs (action) VALUES ('forged');
RESET ROLE;
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a2","role":"authenticated"}';
SET ROLE authenticated;
INSERT INTO audit.audit_logs (id, table_schema, table_name, action, era) VALUES (gen_random_uuid(), 'x', 'x', 'INSERT', 1);
INSERT INTO audit.activity_logs (action) VALUES ('forged');
UPDATE audit.audit_logs SET user_id = NULL;
DELETE FROM audit.audit_logs;
TRUNCATE audit.audit_logs;
UPDATE audit.activity_logs SET user_id = NULL;
DELETE FROM audit.activity_logs;
TRUNCATE audit.activity_logs;
SELECT audit.ensure_partitions();
SELECT audit.purge();
SELECT audit.attach('regress_audit.note');
SELECT audit.detach('regress_audit.note');
SELECT audit.add_index('user');
SELECT audit.write_activity('forged', NULL, NULL, '{}', '00000000-0000-4000-8000-0000000000a1', 'x');
SELECT audit.log_activity('forged', NULL, NULL, '{}', '00000000-0000-4000-8000-0000000000a1');
CREATE TEMP TABLE mine (a int);
CREATE TRIGGER forge AFTER TRUNCATE ON mine FOR EACH STATEMENT EXECUTE FUNCTION plinth.audit_statement();
DROP TABLE mine;
RESET ROLE;
RESET request.jwt.claims;
SET ROLE service_role;
INSERT INTO audit.audit_logs (id, table_schema, table_name, action, era) VALUES (gen_random_uuid(), 'x', 'x', 'INSERT', 1);
INSERT INTO audit.activity_logs (action) VALUES ('forged');
UPDATE audit.audit_logs SET user_id = NULL;
DELETE FROM audit.audit_logs;
TRUNCATE audit.audit_logs;
DELETE FROM audit.activity_logs;
SELECT audit.ensure_partitions();
SELECT audit.attach('regress_audit.note');
RESET ROLE;

-- immutable for the owner and for superusers, by any name, in any mode
SET ROLE plinth_owner;
UPDATE audit.audit_logs SET user_id = NULL;
UPDATE audit.audit_logs SET user_id = NULL WHERE false;
DELETE FROM audit.audit_logs;
TRUNCATE audit.audit_logs;
TRUNCATE audit.audit_logs_default;
RESET ROLE;
UPDATE audit.audit_logs SET user_id = NULL;
DELETE FROM audit.audit_logs WHERE table_schema = 'regress_audit';
TRUNCATE audit.audit_logs;
SELECT format('audit.%I', to_char(now() AT TIME ZONE 'UTC', '"audit_logs_y"YYYY"m"MM')) AS current_partition \gset
UPDATE :current_partition SET user_id = NULL;
DELETE FROM :current_partition;
TRUNCATE :current_partition;
SET session_replication_role = replica;
UPDATE audit.audit_logs SET user_id = NULL;
DELETE FROM :current_partition;
TRUNCATE :current_partition;
RESET session_replication_role;
MERGE INTO :current_partition AS l USING (VALUES (1)) AS v (x) ON true WHEN MATCHED THEN DELETE;
\set VERBOSITY default
UPDATE audit.audit_logs SET user_id = NULL;

-- rights as the matrix has them: who holds what, functions included
SELECT c.relname, a.grantee::regrole, string_agg(a.privilege_type, ',' ORDER BY a.privilege_type) AS rights
FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
WHERE c.relnamespace = 'audit'::regnamespace AND a.grantee <> c.relowner
GROUP BY 1, 2 ORDER BY 1, 2::text;
SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS arguments, p.prosecdef AS definer,
	   (SELECT string_agg(CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ',' ORDER BY a.grantee::regrole::text)
		FROM aclexplode(p.proacl) AS a WHERE a.grantee <> p.proowner) AS may_call
FROM pg_proc AS p WHERE p.pronamespace = 'audit'::regnamespace ORDER BY 1, 2;
SELECT count(*) FROM pg_class AS c
WHERE c.relnamespace = 'audit'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity;
SELECT count(*) FROM pg_proc AS p
WHERE p.pronamespace = 'audit'::regnamespace
	AND (p.proowner <> 'plinth_owner'::regrole OR obj_description(p.oid, 'pg_proc') IS NULL
		 OR NOT 'search_path=pg_catalog, pg_temp' = ANY (p.proconfig));
SELECT polrelid::regclass, polname, polroles::regrole[], polcmd FROM pg_policy
WHERE polrelid IN ('audit.audit_logs'::regclass, 'audit.activity_logs'::regclass) ORDER BY 1, 2;

--
-- attach and detach
--
\set VERBOSITY sqlstate
SELECT audit.attach('regress_audit.note', redact => '{nothing}');
SELECT audit.attach('regress_audit.note', ignore => '{body,nothing}');
SELECT audit.attach('regress_audit.note', ignore => '{ctid}');
SELECT audit.attach('regress_audit.note', ignore => '{NULL}');
SELECT audit.attach('regress_audit.note', NULL);
SELECT audit.attach(NULL);
SELECT audit.detach(NULL);
SELECT audit.attach('regress_audit.log');
SELECT audit.attach('audit.audit_logs');
SELECT audit.attach('audit.audit_logs_default');
SELECT audit.attach('pg_catalog.pg_class');
CREATE TEMP TABLE fleeting (a int);
SELECT audit.attach('fleeting');
DROP TABLE fleeting;
-- plinth_owner may attach, but only to its own tables
SET ROLE plinth_owner;
SELECT audit.attach('regress_audit.note');
SELECT audit.detach('regress_audit.note');
RESET ROLE;
\set VERBOSITY default
ALTER TABLE regress_audit.note OWNER TO plinth_owner;
SET ROLE plinth_owner;
SELECT audit.attach('regress_audit.note');
RESET ROLE;

-- repeat = replace, names that need quotes included
CREATE TABLE regress_audit."Odd 'Name'" (id int PRIMARY KEY, "a ""b""" text, "c,d" text, "{e}" text);
SELECT audit.attach('regress_audit."Odd ''Name''"', ignore => '{"c,d"}');
SELECT audit.attach('regress_audit."Odd ''Name''"', '{"a \"b\""}', '{"{e}","c,d"}');
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger
WHERE tgrelid = 'regress_audit."Odd ''Name''"'::regclass AND NOT tgisinternal ORDER BY tgname;
INSERT INTO regress_audit."Odd 'Name'" VALUES (1, 'secret', 'c', 'e');
UPDATE regress_audit."Odd 'Name'" SET "c,d" = 'd', "{e}" = 'f';
UPDATE regress_audit."Odd 'Name'" SET "a ""b""" = 'other';
SELECT table_name, action, old_data, new_data, changed_columns
FROM regress_audit.log WHERE table_name LIKE 'Odd%' ORDER BY created_at, id;
SELECT audit.detach('regress_audit."Odd ''Name''"');
SELECT audit.detach('regress_audit."Odd ''Name''"');
-- an attach that was disabled is enabled by its repetition
ALTER TABLE regress_audit.note DISABLE TRIGGER plinth_audit_insert;
SELECT audit.attach('regress_audit.note');
SELECT tgname, tgenabled FROM pg_trigger
WHERE tgrelid = 'regress_audit.note'::regclass AND NOT tgisinternal ORDER BY 1;

--
-- history
--
CREATE TABLE regress_audit.pair (a int, b text, v int, PRIMARY KEY (a, b));
SELECT audit.attach('regress_audit.pair');
INSERT INTO regress_audit.pair VALUES (1, 'x', 1), (1, 'y', 1);
UPDATE regress_audit.pair SET v = 2;
DELETE FROM regress_audit.pair WHERE b = 'x';
SELECT action, old_data, new_data FROM audit.history('regress_audit.pair', '{"b": "x", "a": 1}'::jsonb);
SELECT action, old_data, new_data FROM audit.history('regress_audit.pair', '{"a": 1, "b": "x"}'::jsonb, 1);
SELECT count(*) FROM audit.history('regress_audit.pair', '{"a": 2}'::jsonb);
INSERT INTO regress_audit.note VALUES ('00000000-0000-4000-8000-00000000000f', '0');
DO $$
BEGIN
	FOR i IN 1..1010 LOOP
		UPDATE regress_audit.note SET body = i::text WHERE id = '00000000-0000-4000-8000-00000000000f';
	END LOOP;
END
$$;
-- the key may come without a type, or under its name
SELECT count(*) FROM audit.history('regress_audit.pair', '{"b": "x", "a": 1}');
SELECT count(*) FROM audit.history('regress_audit.pair', record_pk => '{"b": "x", "a": 1}', limit_count => 2);
SELECT count(*) FROM audit.history('regress_audit.note', record_id => '00000000-0000-4000-8000-00000000000f', limit_count => 3);
\set VERBOSITY sqlstate
SELECT count(*) FROM audit.history('regress_audit.pair', 'neither');
\set VERBOSITY default
-- the newest first, between 1 and 1000 of them
SELECT count(*), min((new_data ->> 'body')::int), max((new_data ->> 'body')::int)
FROM audit.history('regress_audit.note', '00000000-0000-4000-8000-00000000000f');
SELECT n AS wanted, h.count, h.newest
FROM unnest('{5,0,-1,5000,NULL}'::int[]) AS n
CROSS JOIN LATERAL (SELECT count(*), max((new_data ->> 'body')::int) AS newest
	FROM audit.history('regress_audit.note', '00000000-0000-4000-8000-00000000000f', n)) AS h;
SELECT bool_and(body = lag - 1) AS in_order
FROM (SELECT (new_data ->> 'body')::int AS body,
			 lag((new_data ->> 'body')::int) OVER () AS lag
	  FROM audit.history('regress_audit.note', '00000000-0000-4000-8000-00000000000f')) AS h
WHERE lag IS NOT NULL;
SELECT count(*) FROM audit.history(NULL, '00000000-0000-4000-8000-00000000000f');
SELECT count(*) FROM audit.history('regress_audit.note', NULL::uuid);
-- served by the index
CREATE FUNCTION regress_audit.plan(query text) RETURNS SETOF text LANGUAGE plpgsql
AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
SET enable_seqscan = off;
SELECT bool_or(line LIKE '%record_id_table_name_idx%') AS by_index
FROM regress_audit.plan($$SELECT * FROM audit.audit_logs WHERE record_id = '00000000-0000-4000-8000-00000000000f' AND table_name = 'note'$$) AS line;
RESET enable_seqscan;

--
-- log_activity
--
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated","email":"ann@audit.test"}';
SET ROLE authenticated;
SELECT audit.log_activity('coa_generated', 'coa', '00000000-0000-4000-8000-0000000000e1') IS NOT NULL AS logged;
SELECT audit.log_activity('coa_uploaded', NULL, NULL, '{"size": 1}') IS NOT NULL AS logged;
SELECT audit.log_activity('coa_uploaded', NULL, NULL, NULL) IS NOT NULL AS logged;
SELECT user_id, user_email, action, entity_type, entity_id, metadata
FROM audit.activity_logs WHERE action LIKE 'coa\_%' ORDER BY action, metadata;
\set VERBOSITY sqlstate
SELECT audit.log_activity(NULL, NULL, NULL);
SELECT audit.log_activity('', NULL, NULL);
SELECT audit.log_activity('Upper', NULL, NULL);
SELECT audit.log_activity('9nine', NULL, NULL);
SELECT audit.log_activity(repeat('a', 64), NULL, NULL);
SELECT audit.log_activity('big', NULL, NULL, to_jsonb(repeat('x', 65536)));
RESET ROLE;
RESET request.jwt.claims;
-- signed in as nobody
SET ROLE authenticated;
SELECT audit.log_activity('nobody', NULL, NULL);
RESET ROLE;
\set VERBOSITY default
-- the service names the user
SET ROLE service_role;
SELECT audit.log_activity('regress_service', 'coa', NULL, '{}', '00000000-0000-4000-8000-0000000000a1') IS NOT NULL AS logged;
SELECT audit.log_activity('regress_service', 'coa', NULL, '{}') IS NOT NULL AS logged;
RESET ROLE;
SELECT user_id, user_email FROM audit.activity_logs WHERE action = 'regress_service' ORDER BY 1;

-- the era is that of the installation
SELECT bool_and(l.era = m.era) AS era FROM regress_audit.log AS l, plinth.installed_modules AS m
WHERE m.module = 'audit';
BEGIN;
UPDATE plinth.installed_modules SET era = 7 WHERE module = 'audit';
INSERT INTO regress_audit.note (body) VALUES ('restored');
SELECT era FROM regress_audit.log ORDER BY created_at DESC, id DESC LIMIT 1;
ROLLBACK;

DELETE FROM audit.activity_logs WHERE action ~ '^(regress|coa)_';
DELETE FROM auth.users WHERE email LIKE '%@audit.test';
DROP SCHEMA regress_audit CASCADE;
