--
-- AUDIT_KNOWN
-- What a backend keeps between statements goes when it is no longer true: a
-- table's shape, the partition of the log, the row that has the era.
--
-- Needs: setup
-- Leaves: records of schemas and tables whose names begin with regress_audit_known
--
SET client_min_messages = warning;
CREATE SCHEMA regress_audit_known;
SET search_path = regress_audit_known;

-- the last record of all that this file makes
CREATE FUNCTION last(OUT record_of text, OUT action text, OUT id uuid, OUT pk jsonb, OUT image jsonb)
LANGUAGE sql AS $$
	SELECT table_schema || '.' || table_name, action, record_id, record_pk, coalesce(new_data, old_data)
	FROM audit.audit_logs
	WHERE table_schema LIKE 'regress\_audit\_known%' OR table_name LIKE 'regress\_audit\_known%'
	ORDER BY created_at DESC, audit_logs.id DESC LIMIT 1
$$;

CREATE TABLE thing (id int PRIMARY KEY, a int, b text);
SELECT audit.attach('thing');
INSERT INTO thing VALUES (1, 1, 'one');
SELECT * FROM regress_audit_known.last();

-- columns come, change and go
ALTER TABLE thing ADD c numeric DEFAULT 0.5;
INSERT INTO thing VALUES (2, 2, 'two');
SELECT * FROM regress_audit_known.last();
ALTER TABLE thing ALTER a TYPE text USING 'a' || a;
INSERT INTO thing VALUES (3, 'a3', 'three');
SELECT * FROM regress_audit_known.last();
ALTER TABLE thing RENAME b TO zz;
INSERT INTO thing VALUES (4, 'a4', 'four');
SELECT * FROM regress_audit_known.last();
ALTER TABLE thing DROP a;
INSERT INTO thing VALUES (5, 'five');
SELECT * FROM regress_audit_known.last();

-- and are as they were after a rollback
BEGIN;
ALTER TABLE thing DROP zz;
INSERT INTO thing VALUES (6);
SELECT * FROM regress_audit_known.last();
SAVEPOINT one;
ALTER TABLE thing ADD back bool DEFAULT true;
INSERT INTO thing VALUES (7);
SELECT * FROM regress_audit_known.last();
ROLLBACK TO one;
INSERT INTO thing VALUES (8);
SELECT * FROM regress_audit_known.last();
ROLLBACK;
INSERT INTO thing VALUES (9, 'nine');
SELECT * FROM regress_audit_known.last();

-- the key
ALTER TABLE thing DROP CONSTRAINT thing_pkey;
INSERT INTO thing VALUES (10, 'ten');
SELECT * FROM regress_audit_known.last();
TRUNCATE thing;
ALTER TABLE thing ADD u uuid PRIMARY KEY;
INSERT INTO thing VALUES (11, 'eleven', 1, '00000000-0000-4000-8000-0000000000b2');
SELECT * FROM regress_audit_known.last();

-- the names of the table and of its schema
ALTER TABLE thing RENAME TO regress_audit_known_other;
DELETE FROM regress_audit_known_other;
SELECT * FROM regress_audit_known.last();
ALTER SCHEMA regress_audit_known RENAME TO regress_audit_known_2;
INSERT INTO regress_audit_known_2.regress_audit_known_other VALUES (1, 'one', 1, '00000000-0000-4000-8000-0000000000b1');
SELECT * FROM regress_audit_known_2.last();
ALTER SCHEMA regress_audit_known_2 RENAME TO regress_audit_known;
ALTER TABLE regress_audit_known_other SET SCHEMA public;
DELETE FROM public.regress_audit_known_other;
SELECT * FROM last();
DROP TABLE public.regress_audit_known_other;

-- the arguments of the trigger
CREATE TABLE thing (id int PRIMARY KEY, a text, b text);
SELECT audit.attach('thing');
INSERT INTO thing VALUES (1, 'a', 'b');
SELECT * FROM last();
SELECT audit.attach('thing', redact => '{a}');
INSERT INTO thing VALUES (2, 'a', 'b');
SELECT * FROM last();
SELECT audit.attach('thing', redact => '{b}', ignore => '{a}');
UPDATE thing SET a = 'x';
SELECT * FROM last();
UPDATE thing SET b = 'x';
SELECT * FROM last();

-- the parent's name, of which the partition hears nothing
CREATE TABLE part (id int PRIMARY KEY, a int) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (10);
SELECT audit.attach('part');
INSERT INTO part VALUES (1, 1);
SELECT * FROM last();
ALTER TABLE part RENAME TO parted;
INSERT INTO part_1 VALUES (2, 2);
SELECT * FROM last();
ALTER TABLE parted DETACH PARTITION part_1;
SELECT audit.attach('part_1');
INSERT INTO part_1 VALUES (3, 3);
SELECT * FROM last();

-- the way from a type to json
CREATE TYPE mood AS ENUM ('fine', 'sad');
CREATE TABLE person (id int PRIMARY KEY, feels mood);
SELECT audit.attach('person');
INSERT INTO person VALUES (1, 'fine');
SELECT * FROM last();
CREATE FUNCTION as_json(mood) RETURNS json LANGUAGE sql IMMUTABLE
	RETURN json_build_object('mood', pg_catalog.enum_out($1)::text);
CREATE CAST (mood AS json) WITH FUNCTION as_json(mood);
INSERT INTO person VALUES (2, 'fine');
SELECT * FROM last();
DROP CAST (mood AS json);
INSERT INTO person VALUES (3, 'fine');
SELECT * FROM last();
ALTER TYPE mood RENAME VALUE 'fine' TO 'well';
INSERT INTO person VALUES (4, 'well');
SELECT * FROM last();

-- a shape that goes while it is in use: for each row its cast changes a
-- schema, after which no shape holds, and another is made
CREATE FUNCTION as_json_busy(mood) RETURNS json LANGUAGE plpgsql AS $$
BEGIN
	CREATE SCHEMA regress_audit_known_3;
	INSERT INTO regress_audit_known.thing SELECT count(*) + 50, 'busy', 'b' FROM regress_audit_known.thing;
	DROP SCHEMA regress_audit_known_3;
	RETURN '"busy"';
END
$$;
CREATE CAST (mood AS json) WITH FUNCTION as_json_busy(mood);
DELETE FROM thing;
INSERT INTO person SELECT g, 'well' FROM generate_series(5, 30) AS g;
SELECT * FROM last();
SELECT action, count(*), count(DISTINCT new_data) FROM audit.audit_logs
WHERE table_schema = 'regress_audit_known' AND new_data::text LIKE '%busy%' GROUP BY action, table_name;
SELECT count(*) FROM thing;
DROP CAST (mood AS json);

-- the partition that takes the records: without one of its own the month's go
-- to the default one
CREATE FUNCTION partition_of_last() RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN tableoid = 'audit.audit_logs_default'::regclass THEN 'default' ELSE 'month' END
	FROM audit.audit_logs WHERE table_schema = 'regress_audit_known'
	ORDER BY created_at DESC, id DESC LIMIT 1
$$;
CREATE FUNCTION detach_this_month() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('ALTER TABLE audit.audit_logs DETACH PARTITION audit.%I',
				   to_char(now() AT TIME ZONE 'UTC', '"audit_logs_y"YYYY"m"MM'));
END
$$;
INSERT INTO thing VALUES (1, 'a', 'b');
SELECT partition_of_last();
BEGIN;
INSERT INTO thing VALUES (2, 'a', 'b');
SAVEPOINT one;
SELECT detach_this_month();
INSERT INTO thing VALUES (3, 'a', 'b');
SELECT partition_of_last();
ROLLBACK TO one;
INSERT INTO thing VALUES (4, 'a', 'b');
SELECT partition_of_last();
ROLLBACK;
INSERT INTO thing VALUES (5, 'a', 'b');
SELECT partition_of_last();

-- the log itself: elsewhere, gone, and made anew
BEGIN;
ALTER SCHEMA audit RENAME TO regress_audit_elsewhere;
\set VERBOSITY sqlstate
SAVEPOINT one;
INSERT INTO thing VALUES (6, 'a', 'b');
ROLLBACK TO one;
\set VERBOSITY default
ROLLBACK;
BEGIN;
DROP SCHEMA audit CASCADE;
DELETE FROM plinth.installed_modules WHERE module = 'audit';
\set VERBOSITY sqlstate
SAVEPOINT one;
INSERT INTO thing VALUES (6, 'a', 'b');
ROLLBACK TO one;
\set VERBOSITY default
SELECT plinth.install('audit') IS NOT NULL AS installed;
INSERT INTO thing VALUES (7, 'a', 'b');
SELECT record_pk FROM audit.audit_logs;
ROLLBACK;
INSERT INTO thing VALUES (8, 'a', 'b');
SELECT record_pk FROM audit.audit_logs WHERE table_schema = 'regress_audit_known'
	ORDER BY created_at DESC, id DESC LIMIT 1;

-- the era, which is raised and lowered again
CREATE FUNCTION era_of_last() RETURNS int LANGUAGE sql AS $$
	SELECT l.era - m.era FROM audit.audit_logs AS l, plinth.installed_modules AS m
	WHERE m.module = 'audit' AND l.table_schema = 'regress_audit_known'
	ORDER BY l.created_at DESC, l.id DESC LIMIT 1
$$;
UPDATE thing SET b = 'c' WHERE id = 1;
SELECT era_of_last();
UPDATE plinth.installed_modules SET era = era + 1 WHERE module = 'audit';
SELECT era_of_last() AS before;
UPDATE thing SET b = 'd' WHERE id = 1;
SELECT era_of_last() AS after;
BEGIN;
UPDATE plinth.installed_modules SET era = era - 1 WHERE module = 'audit';
UPDATE thing SET b = 'e' WHERE id = 1;
SELECT era_of_last() AS within;
ROLLBACK;
UPDATE thing SET b = 'f' WHERE id = 1;
SELECT era_of_last() AS rolled_back;
UPDATE plinth.installed_modules SET era = era - 1 WHERE module = 'audit';
VACUUM FULL plinth.installed_modules;
UPDATE thing SET b = 'g' WHERE id = 1;
SELECT era_of_last() AS moved;

DROP SCHEMA regress_audit_known CASCADE;
