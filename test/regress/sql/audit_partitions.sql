--
-- AUDIT_PARTITIONS
-- Partitioned tables and inheritance trees, which are audited row by row, and
-- the partitions of the log itself.
--
-- Needs: setup
-- Leaves: records of schema regress_audit_partitions
--
SET client_min_messages = warning;
CREATE SCHEMA regress_audit_partitions;
SET search_path = regress_audit_partitions;
CREATE VIEW log AS
	SELECT tableoid::regclass AS partition, * FROM audit.audit_logs WHERE table_schema = 'regress_audit_partitions';

-- a partitioned table, one of whose partitions has its columns elsewhere
CREATE TABLE part (id int, region text, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
CREATE TABLE part_b (n int, gone text, region text NOT NULL, id int NOT NULL);
ALTER TABLE part_b DROP gone;
ALTER TABLE part ATTACH PARTITION part_b FOR VALUES IN ('b');
SELECT audit.attach('part', redact => '{}', ignore => '{}');
SELECT tgrelid::regclass AS relation, tgname, tgparentid <> 0 AS cloned
FROM pg_trigger WHERE tgname LIKE 'plinth\_audit%'
	AND tgrelid::regclass::text LIKE 'part%' ORDER BY 1, 2;

-- all are records of the table that was named, partitions to come included
CREATE TABLE part_c PARTITION OF part FOR VALUES IN ('c', 'd');
INSERT INTO part VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3);
INSERT INTO part_b (id, region, n) VALUES (4, 'b', 4);
UPDATE part SET n = n + 10 WHERE id < 3;
UPDATE part_c SET n = 33;
UPDATE part SET n = n;
DELETE FROM part WHERE id = 4;
SELECT table_name, action, record_pk, old_data, new_data, changed_columns
FROM log ORDER BY created_at, id;

-- a row that moves leaves one partition and comes into another
UPDATE part SET region = 'b' WHERE id = 1;
MERGE INTO part USING (VALUES (2)) AS v (id) ON part.id = v.id
	WHEN MATCHED THEN UPDATE SET region = 'a', n = 22;
SELECT action, record_pk, old_data, new_data
FROM log ORDER BY created_at DESC, id DESC LIMIT 4;
TRUNCATE part;
SELECT table_name, action, record_pk FROM log ORDER BY created_at DESC, id DESC LIMIT 1;

-- the records of a statement have one time
INSERT INTO part SELECT g, chr(97 + g % 4), g FROM generate_series(100, 199) AS g;
SELECT count(*), count(DISTINCT created_at) AS times, count(DISTINCT id) AS ids
FROM log WHERE action = 'INSERT' AND (record_pk ->> 'id')::int >= 100;

-- a partition is audited with its parent, not by itself
\set VERBOSITY sqlstate
SELECT audit.attach('part_a');
SELECT audit.detach('part_a');
\set VERBOSITY default
SELECT audit.detach('part');
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'plinth\_audit%'
	AND tgrelid::regclass::text LIKE 'part%';

-- but where the parent is not: row by row, because who writes through the
-- parent fires no statement trigger here
SELECT audit.attach('part_a');
INSERT INTO part VALUES (5, 'a', 5), (6, 'b', 6);
SELECT table_name, action, record_pk FROM log ORDER BY created_at DESC, id DESC LIMIT 1;
SELECT audit.detach('part_a');

-- a table that others inherit from, with its children
CREATE TABLE animal (id int PRIMARY KEY, name text);
CREATE TABLE dog (barks bool) INHERITS (animal);
CREATE TABLE puppy (age int) INHERITS (dog);
SELECT audit.attach('animal', ignore => '{}');
SELECT tgrelid::regclass AS relation, tgname FROM pg_trigger
WHERE tgrelid IN ('animal'::regclass, 'dog'::regclass, 'puppy'::regclass)
	AND tgname LIKE 'plinth%' ORDER BY 1, 2;
INSERT INTO animal VALUES (1, 'cat');
INSERT INTO dog VALUES (2, 'rex', true);
INSERT INTO puppy VALUES (3, 'bit', false, 1);
UPDATE animal SET name = upper(name);
DELETE FROM dog;
SELECT table_name, action, record_pk, old_data, new_data
FROM log WHERE table_name IN ('animal', 'dog', 'puppy') ORDER BY created_at, id;
SELECT audit.detach('animal');
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'plinth\_audit%'
	AND tgrelid IN ('animal'::regclass, 'dog'::regclass, 'puppy'::regclass);

-- a plain table that becomes a parent: attached again, it changes its form
CREATE TABLE plain (id int PRIMARY KEY);
SELECT audit.attach('plain');
SELECT count(*) AS statement_form FROM pg_trigger WHERE tgrelid = 'plain'::regclass AND tgname LIKE 'plinth%';
\set VERBOSITY terse
CREATE TABLE plain_child () INHERITS (plain);
\set VERBOSITY default
SELECT audit.attach('plain');
SELECT tgrelid::regclass AS relation, tgname FROM pg_trigger
WHERE tgrelid IN ('plain'::regclass, 'plain_child'::regclass) AND tgname LIKE 'plinth%' ORDER BY 1, 2;
DROP TABLE plain_child;
SELECT audit.attach('plain');
SELECT tgname FROM pg_trigger WHERE tgrelid = 'plain'::regclass AND tgname LIKE 'plinth%' ORDER BY 1;

--
-- The partitions of the log
--

-- this month and the next two are there, and nothing more is to be made
SELECT count(*) FROM pg_inherits
WHERE inhparent = 'audit.audit_logs'::regclass AND inhrelid <> 'audit.audit_logs_default'::regclass;
SELECT audit.ensure_partitions();
SELECT audit.ensure_partitions(4);
SELECT audit.ensure_partitions(4);

-- each partition is closed: row security, no rights, no way to change it
SELECT count(*) FILTER (WHERE NOT c.relrowsecurity) AS open,
	   count(*) FILTER (WHERE c.relacl IS NOT NULL) AS granted,
	   count(*) FILTER (WHERE c.relowner <> 'plinth_owner'::regrole) AS foreign_owner,
	   count(*) FILTER (WHERE t.always <> 2 OR t.all_triggers <> 2) AS unguarded
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE tgenabled = 'A') AS always, count(*) AS all_triggers
					FROM pg_trigger WHERE tgrelid = c.oid) AS t
WHERE i.inhparent = 'audit.audit_logs'::regclass;

-- the BRIN indexes, ours and one that somebody has added, see the first record
-- of each page, which is enough: what they find is what is there, also beyond
-- the values that were summarized
CREATE INDEX zz_table ON audit.audit_logs USING brin (table_schema, table_name, created_at);
SELECT format('audit.%I', to_char(now() AT TIME ZONE 'UTC', '"audit_logs_y"YYYY"m"MM')) AS current_partition \gset
SELECT count(brin_summarize_new_values(i.indexrelid)) AS brin_indexes
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam
WHERE i.indrelid = :'current_partition'::regclass AND a.amname = 'brin';
CREATE TABLE zz_summarized (id int PRIMARY KEY, pad text);
SELECT audit.attach('zz_summarized');
INSERT INTO zz_summarized SELECT g, repeat('x', 50) FROM generate_series(1, 3000) AS g;
UPDATE zz_summarized SET pad = 'y' WHERE id <= 1500;
SELECT min(created_at) AS first_time, max(created_at) AS last_time FROM log WHERE table_name = 'zz_summarized' \gset
SET enable_seqscan = off;
SET enable_indexscan = off;
SELECT count(*) AS by_table FROM audit.audit_logs
WHERE table_schema = 'regress_audit_partitions' AND table_name = 'zz_summarized';
SELECT count(*) AS by_time FROM audit.audit_logs
WHERE created_at IN (:'first_time', :'last_time');
RESET enable_seqscan;
RESET enable_indexscan;
DROP INDEX audit.zz_table;

-- without the month's partition a record goes to the default one, and is moved
BEGIN;
CREATE TABLE late (id int PRIMARY KEY);
SELECT audit.attach('late');
DO $$
BEGIN
	EXECUTE format('DROP TABLE audit.%I', to_char(now() AT TIME ZONE 'UTC', '"audit_logs_y"YYYY"m"MM'));
END
$$;
INSERT INTO late VALUES (1), (2);
SELECT partition, new_data FROM log WHERE table_name = 'late' ORDER BY id;
SELECT audit.ensure_partitions();
SELECT partition = format('audit.%I', to_char(now() AT TIME ZONE 'UTC', '"audit_logs_y"YYYY"m"MM'))::regclass AS moved, new_data
FROM log WHERE table_name = 'late' ORDER BY id;
SELECT count(*) FROM ONLY audit.audit_logs_default;
INSERT INTO late VALUES (3);
SELECT count(*) FROM log WHERE table_name = 'late';
SELECT relrowsecurity, relacl, relispartition FROM pg_class WHERE oid = 'audit.audit_logs_default'::regclass;
ROLLBACK;

-- no partition at all is an error that says what to do
BEGIN;
DROP TABLE audit.audit_logs_default;
DO $$
BEGIN
	EXECUTE format('DROP TABLE audit.%I', to_char(now() AT TIME ZONE 'UTC', '"audit_logs_y"YYYY"m"MM'));
END
$$;
INSERT INTO plain VALUES (1);
ROLLBACK;

-- purge drops months that ended long enough ago, and no other
BEGIN;
SET LOCAL ROLE plinth_owner;
SELECT audit.make_partition('2020-01-15 00:00+00'), audit.make_partition('2020-02-01 00:00+00'),
	   audit.make_partition('2020-02-29 23:59:59+00') AS again;
INSERT INTO audit.audit_logs (id, table_schema, table_name, action, era, created_at)
SELECT gen_random_uuid(), 'regress_audit_partitions', 'old', 'TRUNCATE', 1, t
FROM unnest('{2020-01-01 00:00+00,2020-01-31 23:59:59.999999+00,2020-02-01 00:00+00}'::timestamptz[]) AS t;
RESET ROLE;
SELECT partition, count(*) FROM log WHERE table_name = 'old' GROUP BY 1 ORDER BY 1;
INSERT INTO audit.activity_logs (action, created_at) VALUES ('regress_old', '2020-01-01'), ('regress_new', now());
SELECT audit.purge((clock_timestamp() - '2020-02-10 00:00+00'::timestamptz), interval '1 year');
SELECT to_regclass('audit.audit_logs_y2020m01') AS january, to_regclass('audit.audit_logs_y2020m02') AS february;
SELECT action FROM audit.activity_logs WHERE action LIKE 'regress\_%';
-- by the settings: two years
SELECT audit.purge();
SELECT to_regclass('audit.audit_logs_y2020m02') AS february;
ROLLBACK;
\set VERBOSITY sqlstate
SELECT audit.purge(interval '-1 day');
SELECT audit.ensure_partitions(-1);
SELECT audit.ensure_partitions(121);
SELECT audit.ensure_partitions(NULL);
\set VERBOSITY default

-- one more index, for later partitions too
BEGIN;
SELECT audit.add_index('table'), audit.add_index('user'), audit.add_index('user');
SELECT audit.make_partition('2020-01-15 00:00+00');
SELECT replace(pg_get_indexdef(indexrelid), indexrelid::regclass::text, '') FROM pg_index
WHERE indrelid = 'audit.audit_logs_y2020m01'::regclass ORDER BY 1;
ROLLBACK;
\set VERBOSITY sqlstate
SELECT audit.add_index('other');
SELECT audit.add_index(NULL);
\set VERBOSITY default

SELECT audit.detach('plain');
DROP SCHEMA regress_audit_partitions CASCADE;
