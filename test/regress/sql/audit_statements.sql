--
-- AUDIT_STATEMENTS
-- For every change of an audited table one record, whatever statement makes
-- it; for work that is rolled back none (S5.1).
--
-- Needs: setup
-- Leaves: records of schema regress_audit_statements
--
SET client_min_messages = warning;
CREATE SCHEMA regress_audit_statements;
SET search_path = regress_audit_statements;

CREATE TABLE thing (id int PRIMARY KEY, a int, b text);
SELECT audit.attach('thing');

-- the records of a table since the last look, in the order of their writing
CREATE TABLE seen (id uuid);
CREATE FUNCTION look(name text DEFAULT 'thing')
RETURNS TABLE (action text, pk jsonb, old_data jsonb, new_data jsonb, changed text)
LANGUAGE sql
AS $$
	WITH new AS (
		SELECT * FROM audit.audit_logs AS l
		WHERE l.table_schema = 'regress_audit_statements' AND l.table_name = name
			  AND NOT EXISTS (SELECT FROM seen AS s WHERE s.id = l.id)),
	remember AS (INSERT INTO seen SELECT new.id FROM new)
	SELECT new.action, coalesce(new.record_pk, to_jsonb(new.record_id)),
		   new.old_data, new.new_data, new.changed_columns::text
	FROM new ORDER BY new.created_at, new.id
$$;

-- one of each
INSERT INTO thing VALUES (1, 10, 'one'), (2, 20, 'two'), (3, 30, 'three');
UPDATE thing SET a = a + 1 WHERE id < 3;
DELETE FROM thing WHERE id = 2;
SELECT * FROM look();

-- nothing is changed by setting what is there, nor by finding no row
UPDATE thing SET a = a;
UPDATE thing SET a = 0 WHERE id = 99;
DELETE FROM thing WHERE id = 99;
INSERT INTO thing SELECT 9, 9, 'nine' WHERE false;
SELECT count(*) FROM look();

-- only those rows that differ
UPDATE thing SET a = 30;
SELECT * FROM look();

-- a null comes, and goes
UPDATE thing SET b = NULL WHERE id = 1;
UPDATE thing SET b = 'again' WHERE id = 1;
SELECT * FROM look();

-- the key changes: found under the new one
UPDATE thing SET id = 4 WHERE id = 3;
SELECT * FROM look();

TRUNCATE thing;
SELECT * FROM look();

COPY thing FROM stdin;
1	1	copied
2	2	\N
\.
SELECT * FROM look();

-- upsert: each half has its records
INSERT INTO thing VALUES (2, 22, 'upsert'), (5, 50, 'upsert')
	ON CONFLICT (id) DO UPDATE SET a = excluded.a, b = excluded.b;
INSERT INTO thing VALUES (5, 51, 'ignored') ON CONFLICT DO NOTHING;
SELECT * FROM look();

MERGE INTO thing USING (VALUES (1), (2), (6)) AS v (id) ON thing.id = v.id
	WHEN MATCHED AND thing.id = 1 THEN DELETE
	WHEN MATCHED THEN UPDATE SET a = 0
	WHEN NOT MATCHED THEN INSERT VALUES (v.id, 60, 'merged');
SELECT * FROM look() ORDER BY action, pk;

-- a statement within a statement
WITH gone AS (DELETE FROM thing WHERE id = 6 RETURNING *),
	 raised AS (UPDATE thing SET a = a + 1 WHERE id = 5 RETURNING *)
INSERT INTO thing SELECT id + 10, a, 'from ' || id FROM gone;
SELECT * FROM look() ORDER BY action, pk;

-- savepoints: what was rolled back leaves nothing
BEGIN;
INSERT INTO thing VALUES (20, 1, 'kept');
SAVEPOINT s;
INSERT INTO thing VALUES (21, 1, 'lost');
UPDATE thing SET a = 2 WHERE id = 20;
ROLLBACK TO s;
UPDATE thing SET a = 3 WHERE id = 20;
COMMIT;
SELECT * FROM look();
BEGIN;
DELETE FROM thing;
ROLLBACK;
SELECT count(*) FROM look();

-- an exception that is caught is a savepoint too
DO $$
BEGIN
	INSERT INTO regress_audit_statements.thing VALUES (22, 1, 'lost');
	RAISE division_by_zero;
EXCEPTION WHEN division_by_zero THEN
	INSERT INTO regress_audit_statements.thing VALUES (23, 1, 'kept');
END;
$$;
SELECT * FROM look();

-- prepared transactions: the records come with the commit
BEGIN;
UPDATE thing SET a = 100 WHERE id = 23;
PREPARE TRANSACTION 'regress_audit';
SELECT count(*) FROM look();
COMMIT PREPARED 'regress_audit';
SELECT * FROM look();
BEGIN;
DELETE FROM thing WHERE id = 23;
PREPARE TRANSACTION 'regress_audit';
ROLLBACK PREPARED 'regress_audit';
SELECT count(*) FROM look();

-- cascades of a foreign key, each in one firing for the whole statement
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY,
					owner int REFERENCES parent ON UPDATE CASCADE ON DELETE CASCADE,
					friend int REFERENCES parent ON DELETE SET NULL);
SELECT audit.attach('child');
INSERT INTO parent VALUES (1), (2), (3);
INSERT INTO child VALUES (1, 1, 2), (2, 1, 3), (3, 2, 3);
UPDATE parent SET id = 10 WHERE id = 1;
DELETE FROM parent WHERE id IN (3, 10);
SELECT * FROM look('child');

-- triggers that get in between: what was really stored counts
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql
AS $$
BEGIN
	IF new.id % 2 = 0 THEN
		RETURN NULL;
	END IF;
	new.b := 'meddled';
	RETURN new;
END
$$;
CREATE TABLE meddled (id int PRIMARY KEY, b text);
CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON meddled
	FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT audit.attach('meddled');
INSERT INTO meddled SELECT g, 'x' FROM generate_series(1, 3) AS g;
UPDATE meddled SET id = id + 1;
UPDATE meddled SET id = id + 4;
SELECT * FROM look('meddled');

-- more records than a batch takes, and all of them right
CREATE TABLE many (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), n int, pad text);
SELECT audit.attach('many');
INSERT INTO many (n, pad) SELECT g, repeat('x', 200) FROM generate_series(1, 10500) AS g;
UPDATE many SET n = n + 1 WHERE n % 2 = 0;
SET work_mem = '64kB';
UPDATE many SET pad = pad || n;
RESET work_mem;
DELETE FROM many WHERE n > 10000;
SELECT action, count(*), count(DISTINCT id) AS ids, count(DISTINCT record_id) AS rows,
	   count(DISTINCT created_at) AS times, count(DISTINCT txid) AS transactions
FROM audit.audit_logs
WHERE table_schema = 'regress_audit_statements' AND table_name = 'many'
GROUP BY action, changed_columns ORDER BY action, changed_columns;
-- each image holds its own row's values
SELECT count(*)
FROM audit.audit_logs AS i
JOIN audit.audit_logs AS u USING (record_id)
WHERE i.table_schema = 'regress_audit_statements' AND i.table_name = 'many'
	  AND u.table_schema = 'regress_audit_statements' AND u.table_name = 'many'
	  AND i.action = 'INSERT' AND u.changed_columns = '{pad}'
	  AND u.old_data ->> 'pad' = i.new_data ->> 'pad'
	  AND u.new_data ->> 'pad'
		  = i.new_data ->> 'pad' || ((i.new_data ->> 'n')::int + 1 - (i.new_data ->> 'n')::int % 2);
-- ids are of version 7, carry the time, and rise within a statement
SELECT bool_and(substr(id::text, 15, 1) = '7' AND substr(id::text, 20, 1) IN ('8', '9', 'a', 'b')) AS version,
	   bool_and(abs(('x' || left(translate(id::text, '-', ''), 12))::bit(48)::bigint
					- floor(extract(epoch FROM created_at) * 1000)) <= 1) AS time
FROM audit.audit_logs
WHERE table_schema = 'regress_audit_statements' AND table_name = 'many';
SELECT bool_and(n > before) AS rise
FROM (SELECT (new_data ->> 'n')::int AS n,
			 lag((new_data ->> 'n')::int, 1, 0) OVER (ORDER BY id) AS before
	  FROM audit.audit_logs
	  WHERE table_schema = 'regress_audit_statements' AND table_name = 'many'
			AND action = 'INSERT') AS x;

-- statements of one transaction share its id, and not their time
BEGIN;
INSERT INTO thing VALUES (31, 1, 'x');
INSERT INTO thing VALUES (32, 1, 'x');
COMMIT;
SELECT count(DISTINCT txid) AS transactions, count(DISTINCT created_at) AS times
FROM audit.audit_logs
WHERE table_schema = 'regress_audit_statements' AND table_name = 'thing'
	  AND record_pk <@ ANY ('{"{\"id\": 31}", "{\"id\": 32}"}'::jsonb[]);

-- replication applies what was recorded where it happened
SET session_replication_role = replica;
INSERT INTO thing VALUES (40, 1, 'applied');
RESET session_replication_role;
SELECT count(*) FROM look();

-- detached: no more records
SELECT audit.detach('thing');
UPDATE thing SET a = 7;
SELECT count(*) FROM look();
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'thing'::regclass;

-- the functions serve nothing but the triggers that attach makes
CREATE TRIGGER bad AFTER INSERT ON thing
	FOR EACH STATEMENT EXECUTE FUNCTION plinth.audit_statement();
\set VERBOSITY sqlstate
INSERT INTO thing VALUES (50, 1, 'x');
DROP TRIGGER bad ON thing;
CREATE TRIGGER bad AFTER INSERT ON thing
	FOR EACH ROW EXECUTE FUNCTION plinth.audit_statement();
INSERT INTO thing VALUES (50, 1, 'x');
DROP TRIGGER bad ON thing;
CREATE TRIGGER bad BEFORE INSERT ON thing
	FOR EACH ROW EXECUTE FUNCTION plinth.audit_row();
INSERT INTO thing VALUES (50, 1, 'x');
DROP TRIGGER bad ON thing;
CREATE TRIGGER bad AFTER INSERT ON thing
	FOR EACH STATEMENT EXECUTE FUNCTION plinth.audit_row();
INSERT INTO thing VALUES (50, 1, 'x');
SELECT plinth.audit_statement();
SELECT plinth.audit_row();
\set VERBOSITY default

DROP SCHEMA regress_audit_statements CASCADE;
