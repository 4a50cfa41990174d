--
-- AUDIT_DDL
-- Commands on audited tables and on the log itself leave marks (S5.4); a
-- table that gets relatives stays audited, in the form it needs then (S5.1).
--
-- Needs: setup
-- Leaves: marks and records of schema regress_ddl
--
SET client_min_messages = warning;
\set VERBOSITY sqlstate
CREATE SCHEMA regress_ddl;
CREATE TABLE regress_ddl.note (id int PRIMARY KEY, body text);
CREATE TABLE regress_ddl.plain (id int PRIMARY KEY, body text);

-- marks since the last look
CREATE TEMPORARY TABLE seen AS SELECT coalesce(max(id), 0) AS id FROM audit.marks;
CREATE FUNCTION pg_temp.marks(OUT kind text, OUT table_schema text, OUT table_name text, OUT command text)
RETURNS SETOF record LANGUAGE sql AS $$
	WITH new AS (SELECT * FROM audit.marks WHERE id > (SELECT id FROM seen)),
		moved AS (UPDATE seen SET id = coalesce((SELECT max(id) FROM audit.marks), 0))
	SELECT kind, table_schema, table_name, command FROM new ORDER BY id
$$;

-- what is our own leaves none
SELECT audit.attach('regress_ddl.note');
SELECT audit.attach('regress_ddl.note', '{body}');
SELECT audit.detach('regress_ddl.note');
SELECT audit.attach('regress_ddl.note');
SELECT * FROM pg_temp.marks();
BEGIN;
-- the second call in a transaction has the default partition locked already,
-- and would wait in a circle with who reads the log
LOCK TABLE ONLY audit.audit_logs IN ACCESS EXCLUSIVE MODE;
SELECT audit.ensure_partitions(100) > 0 AS made;
SET LOCAL ROLE service_role;
SELECT audit.ensure_partitions(101) > 0 AS made;
RESET ROLE;
INSERT INTO audit.audit_logs (id, table_schema, table_name, action, era, created_at)
	VALUES ('01900000-0000-7000-8000-000000000001', 'regress_ddl', 'note', 'TRUNCATE', 1, '2001-01-15');
SELECT audit.ensure_partitions() > 0 AS moved;
SELECT * FROM pg_temp.marks();
SELECT audit.purge('20 years', '1000 years') AS purged;
SELECT * FROM pg_temp.marks();
ROLLBACK;

-- nor what concerns tables that nobody audits
ALTER TABLE regress_ddl.plain ADD COLUMN more text;
ALTER TABLE regress_ddl.plain DISABLE TRIGGER ALL;
ALTER TABLE regress_ddl.plain RENAME TO plainer;
GRANT SELECT ON regress_ddl.plainer TO authenticated;
CREATE POLICY all_rows ON regress_ddl.plainer USING (true);
DROP POLICY all_rows ON regress_ddl.plainer;
CREATE RULE nothing AS ON DELETE TO regress_ddl.plainer DO INSTEAD NOTHING;
DROP RULE nothing ON regress_ddl.plainer;
CREATE FUNCTION regress_ddl.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE VIEW regress_ddl.shown AS SELECT * FROM regress_ddl.note;
DROP VIEW regress_ddl.shown;
DROP TABLE regress_ddl.plainer;
-- nor what changes nothing of a table's rows, triggers or rights
CREATE INDEX ON regress_ddl.note (body);
COMMENT ON TABLE regress_ddl.note IS 'a note';
CREATE TABLE regress_ddl.about (id int REFERENCES regress_ddl.note);
SELECT * FROM pg_temp.marks();

-- changes of an audited table
ALTER TABLE regress_ddl.note ADD COLUMN more text DEFAULT 'secret', ADD CONSTRAINT short CHECK (length(body) < 1000);
ALTER TABLE regress_ddl.note ALTER COLUMN more TYPE varchar(10), ALTER COLUMN more SET NOT NULL, SET (fillfactor = 90);
ALTER TABLE regress_ddl.note RENAME COLUMN more TO "More";
ALTER TABLE regress_ddl.note DROP COLUMN "More";
ALTER TABLE regress_ddl.note SET (fillfactor = 100);
ALTER TABLE regress_ddl.note RENAME TO memo;
ALTER TABLE regress_ddl.memo RENAME TO note;
CREATE SCHEMA regress_ddl_other;
ALTER TABLE regress_ddl.note SET SCHEMA regress_ddl_other;
ALTER TABLE regress_ddl_other.note SET SCHEMA regress_ddl;
DROP SCHEMA regress_ddl_other;
ALTER SCHEMA regress_ddl RENAME TO regress_ddl_other;
ALTER SCHEMA regress_ddl_other RENAME TO regress_ddl;
CREATE RULE swallow AS ON INSERT TO regress_ddl.note DO INSTEAD NOTHING;
ALTER RULE swallow ON regress_ddl.note RENAME TO gulp;
ALTER TABLE regress_ddl.note DISABLE RULE gulp;
DROP RULE gulp ON regress_ddl.note;
CREATE TRIGGER skip BEFORE INSERT ON regress_ddl.note FOR EACH ROW EXECUTE FUNCTION regress_ddl.nothing();
DROP TRIGGER skip ON regress_ddl.note;
SELECT * FROM pg_temp.marks();

-- rights
GRANT SELECT, INSERT ON regress_ddl.note TO authenticated, anon;
GRANT UPDATE (body) ON regress_ddl.note TO PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA regress_ddl FROM authenticated, anon, PUBLIC;
ALTER TABLE regress_ddl.note OWNER TO plinth_owner;
ALTER TABLE regress_ddl.note OWNER TO CURRENT_USER;
ALTER TABLE regress_ddl.note ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, ADD COLUMN late int;
CREATE POLICY all_rows ON regress_ddl.note USING (true);
ALTER POLICY all_rows ON regress_ddl.note USING (false);
ALTER POLICY all_rows ON regress_ddl.note RENAME TO none;
DROP POLICY none ON regress_ddl.note;
ALTER TABLE regress_ddl.note DISABLE ROW LEVEL SECURITY;
SELECT kind, command = 'ALTER TABLE OWNER TO ' || quote_ident(current_user) AS to_me,
	CASE WHEN command LIKE '%OWNER TO%' THEN '' ELSE command END AS command, table_name
FROM pg_temp.marks();

-- triggers
ALTER TABLE regress_ddl.note DISABLE TRIGGER plinth_audit_insert;
ALTER TABLE regress_ddl.note ENABLE TRIGGER plinth_audit_insert;
ALTER TABLE regress_ddl.note DISABLE TRIGGER ALL;
ALTER TABLE regress_ddl.note ENABLE TRIGGER ALL;
-- ENABLE is less than ENABLE ALWAYS
ALTER TABLE regress_ddl.note ENABLE ALWAYS TRIGGER plinth_audit_replica;
ALTER TABLE regress_ddl.note DISABLE TRIGGER USER;
ALTER TABLE regress_ddl.note ENABLE TRIGGER USER, ENABLE ALWAYS TRIGGER plinth_audit_replica;
ALTER TABLE regress_ddl.note ENABLE REPLICA TRIGGER plinth_audit_delete;
ALTER TRIGGER plinth_audit_delete ON regress_ddl.note RENAME TO other;
DROP TRIGGER plinth_audit_update ON regress_ddl.note;
CREATE TRIGGER plinth_audit_update AFTER UPDATE ON regress_ddl.note
	FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION plinth.audit_mark();
SELECT * FROM pg_temp.marks();
DROP TRIGGER other ON regress_ddl.note;
SELECT audit.attach('regress_ddl.note');
SELECT * FROM pg_temp.marks();

-- what is rolled back leaves none, and a mark that cannot be written is an
-- error of the command, here of the one that makes it so
BEGIN;
ALTER TABLE regress_ddl.note ADD COLUMN lost int;
ROLLBACK;
BEGIN;
CREATE FUNCTION regress_ddl.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no mark''; END';
CREATE TRIGGER refuse BEFORE INSERT ON audit.marks FOR EACH ROW EXECUTE FUNCTION regress_ddl.refuse();
ROLLBACK;
SELECT * FROM pg_temp.marks();

-- the log's own tables and functions
BEGIN;
ALTER TABLE audit.audit_logs DISABLE TRIGGER USER;
ALTER TABLE audit.audit_logs_default DISABLE TRIGGER audit_logs_immutable_truncate;
ALTER TABLE audit.seals DISABLE TRIGGER seals_immutable;
ALTER TABLE audit.marks ENABLE TRIGGER marks_immutable;
DROP TRIGGER marks_immutable ON audit.marks;
GRANT INSERT ON audit.marks TO service_role;
ALTER TABLE audit.audit_logs DETACH PARTITION audit.audit_logs_default;
DROP TABLE audit.audit_logs_default;
CREATE OR REPLACE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
ALTER FUNCTION plinth.audit_mark() COST 2;
DROP FUNCTION audit.head();
SELECT * FROM pg_temp.marks();
SET LOCAL ROLE plinth_owner;
SELECT audit.make_partition('2001-01-15');
RESET ROLE;
SELECT kind, table_name, command FROM pg_temp.marks();
ROLLBACK;

-- whoever does it
GRANT CREATE, USAGE ON SCHEMA regress_ddl TO authenticated;
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000f1","role":"authenticated"}';
ALTER TABLE regress_ddl.note OWNER TO authenticated;
SET ROLE authenticated;
ALTER TABLE regress_ddl.note DISABLE TRIGGER plinth_audit_insert;
SELECT plinth.audit_upkeep('drop partition', 'audit_logs_default');
SELECT plinth.audit_set_triggers('regress_ddl.note'::regclass, NULL, NULL, NULL);
RESET ROLE;
RESET request.jwt.claims;
SELECT kind, command, user_id, db_user = session_user AS db_user, txid IS NOT NULL AS txid FROM audit.marks
WHERE id > (SELECT id FROM seen) AND kind = 'trigger_disabled';
ALTER TABLE regress_ddl.note OWNER TO CURRENT_USER;
REVOKE ALL ON SCHEMA regress_ddl FROM authenticated;
SELECT audit.attach('regress_ddl.note');
SELECT count(*) FROM pg_temp.marks();

-- not where the identity is another, as in a restored database
BEGIN;
UPDATE plinth.installed_modules SET database_oid = 0 WHERE module = 'audit';
ALTER TABLE regress_ddl.note DISABLE TRIGGER ALL;
DROP TABLE regress_ddl.note CASCADE;
SELECT * FROM pg_temp.marks();
ROLLBACK;

-- the functions by themselves
SELECT plinth.audit_ddl();
SELECT plinth.audit_upkeep('drop everything', NULL);
SELECT plinth.audit_upkeep(NULL, NULL);
SELECT plinth.audit_upkeep('make partition', 'soon');
SELECT plinth.audit_set_triggers(NULL, NULL, NULL, NULL);
SELECT plinth.audit_set_triggers(0, 'row', NULL, NULL);
SELECT plinth.audit_set_triggers('regress_ddl.note'::regclass, 'rows', NULL, NULL);
SELECT evtname, evtevent, evtenabled, deptype FROM pg_event_trigger AS e
JOIN pg_depend AS d ON d.objid = e.oid AND d.classid = 'pg_event_trigger'::regclass AND d.deptype = 'e' ORDER BY 1;

-- tables that go
CREATE TABLE regress_ddl.gone (id int PRIMARY KEY);
SELECT audit.attach('regress_ddl.gone');
DROP TABLE regress_ddl.gone;
SELECT * FROM pg_temp.marks();
DROP SCHEMA regress_ddl CASCADE;
SELECT * FROM pg_temp.marks();

-- the log goes with its schema
BEGIN;
DROP SCHEMA audit CASCADE;
ROLLBACK;
BEGIN;
DROP EXTENSION plinth CASCADE;
ROLLBACK;
SELECT * FROM pg_temp.marks();
