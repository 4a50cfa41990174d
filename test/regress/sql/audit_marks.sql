--
-- AUDIT_MARKS
-- Writes that make no records leave a mark.
--
-- Needs: setup
-- Leaves: marks and records of schema regress_marks
--
SET client_min_messages = warning;
\set VERBOSITY sqlstate
CREATE SCHEMA regress_marks;
GRANT USAGE ON SCHEMA regress_marks TO authenticated;
CREATE TABLE regress_marks.note (id int PRIMARY KEY, body text);
CREATE TABLE regress_marks.part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE regress_marks.part_low PARTITION OF regress_marks.part FOR VALUES FROM (0) TO (10);
GRANT ALL ON regress_marks.note TO authenticated;
SELECT audit.attach('regress_marks.note');
SELECT audit.attach('regress_marks.part');
-- repeated, it is the same
SELECT audit.attach('regress_marks.note');
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger
WHERE tgname = 'plinth_audit_replica' AND tgrelid::regclass::text LIKE 'regress_marks%' ORDER BY 1;

-- ordinary writes leave records and no mark
INSERT INTO regress_marks.note VALUES (1, 'recorded');
INSERT INTO regress_marks.part VALUES (1);
SELECT count(*) FROM audit.marks WHERE table_schema = 'regress_marks';

-- others leave a mark and no record
SET session_replication_role = replica;
INSERT INTO regress_marks.note VALUES (2, 'marked');
SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000f1","role":"authenticated"}';
SET ROLE authenticated;
UPDATE regress_marks.note SET body = 'marked';
DELETE FROM regress_marks.note WHERE id = 2;
RESET ROLE;
RESET request.jwt.claims;
TRUNCATE regress_marks.note;
INSERT INTO regress_marks.part VALUES (2);
-- what is rolled back leaves none
BEGIN;
DELETE FROM regress_marks.part;
ROLLBACK;
RESET session_replication_role;
SELECT kind, table_name, command, user_id, db_user = session_user AS db_user FROM audit.marks
WHERE table_schema = 'regress_marks' ORDER BY id;
SELECT table_name, action FROM audit.audit_logs WHERE table_schema = 'regress_marks' ORDER BY created_at, id;

-- not where the identity is another, as in a restored database
BEGIN;
UPDATE plinth.installed_modules SET database_oid = 0 WHERE module = 'audit';
SET LOCAL session_replication_role = replica;
DELETE FROM regress_marks.part;
SELECT count(*) FROM audit.marks WHERE table_schema = 'regress_marks';
ROLLBACK;

-- detached, there is nothing left
SELECT audit.detach('regress_marks.note');
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'regress_marks.note'::regclass;
-- it is a trigger and nothing else
SELECT plinth.audit_mark();
CREATE TRIGGER wrong BEFORE INSERT ON regress_marks.note FOR EACH ROW EXECUTE FUNCTION plinth.audit_mark();
INSERT INTO regress_marks.note VALUES (3);
SET ROLE authenticated;
CREATE TEMPORARY TABLE mine (id int);
CREATE TRIGGER mine BEFORE INSERT ON mine FOR EACH STATEMENT EXECUTE FUNCTION plinth.audit_mark();
RESET ROLE;

DROP SCHEMA regress_marks CASCADE;
