--
-- AUDIT_BULK
-- Statements that change many rows: what lies in the log is in its indexes,
-- whatever their kind, and images are what they are when they are short.
--
-- Needs: setup; contrib amcheck
-- Leaves: records of schema regress_audit_bulk
--
SET client_min_messages = warning;
CREATE SCHEMA regress_audit_bulk;
CREATE EXTENSION amcheck SCHEMA regress_audit_bulk;
SET search_path = regress_audit_bulk;
SET work_mem = '32MB';

CREATE TABLE many (id uuid PRIMARY KEY, n int, t text);
CREATE TABLE other (n int PRIMARY KEY);
SELECT audit.attach('many');
SELECT audit.attach('other');

-- every b-tree of the log is whole and knows every record
CREATE FUNCTION damaged() RETURNS TABLE (name text) LANGUAGE plpgsql AS $$
BEGIN
	FOR name IN
		SELECT i.indexrelid::regclass FROM pg_partition_tree('audit.audit_logs') AS p
		JOIN pg_index AS i ON i.indrelid = p.relid
		JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
		JOIN pg_am AS a ON a.oid = c.relam AND a.amname = 'btree'
		WHERE p.isleaf
	LOOP
		BEGIN
			PERFORM bt_index_parent_check(name::regclass, true);
		EXCEPTION WHEN OTHERS THEN
			RETURN NEXT;
		END;
	END LOOP;
END
$$;

-- more entries than wait for their order at once, some of them in pages that
-- the BRIN indexes have summarized already
INSERT INTO many SELECT md5(g::text)::uuid, g, repeat(md5(g::text), 20) FROM generate_series(1, 1000) AS g;
SELECT sum(brin_summarize_new_values(i.indexrelid)) >= 0 AS summarized
FROM pg_partition_tree('audit.audit_logs') AS p
JOIN pg_index AS i ON i.indrelid = p.relid
JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i'
JOIN pg_am AS a ON a.oid = c.relam AND a.amname = 'brin'
WHERE p.isleaf;
INSERT INTO many SELECT md5(g::text)::uuid, g FROM generate_series(1001, 67000) AS g;
INSERT INTO other SELECT generate_series(1, 500);
UPDATE many SET n = -n WHERE n <= 5000;
DELETE FROM many WHERE n > 66000;
SELECT * FROM damaged();

-- with the indexes that can be added
BEGIN;
SELECT audit.add_index('table'), audit.add_index('user');
SET LOCAL request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}';
UPDATE many SET n = n + 1 WHERE n < 0;
UPDATE other SET n = -n;
SELECT * FROM damaged();
SET LOCAL enable_seqscan = off;
SELECT count(*) FROM audit.audit_logs WHERE user_id = '00000000-0000-4000-8000-0000000000a1' AND table_schema = 'regress_audit_bulk';
ROLLBACK;

-- found by the row's id, by table and by time, as by looking everywhere
SET enable_indexscan = off;
SET enable_bitmapscan = off;
CREATE TABLE found AS
	SELECT count(*) AS records, count(DISTINCT record_id) AS ids, min(created_at) AS first, max(created_at) AS last
	FROM audit.audit_logs WHERE table_schema = 'regress_audit_bulk';
SELECT records, ids FROM found;
RESET enable_indexscan;
RESET enable_bitmapscan;
SET enable_seqscan = off;
SELECT count(*) FROM audit.audit_logs WHERE table_schema = 'regress_audit_bulk' AND table_name IN ('many', 'other')
	AND created_at BETWEEN (SELECT first FROM found) AND (SELECT last FROM found);
SELECT count(*) FROM generate_series(1, 67000, 67) AS g
	WHERE EXISTS (SELECT FROM audit.audit_logs AS l
				  WHERE l.record_id = md5(g::text)::uuid AND l.table_name = 'many' AND l.action = 'INSERT');
RESET enable_seqscan;

-- of every change one record, with the row as it is, short or compressed
SELECT action, table_name, count(*) FROM audit.audit_logs WHERE table_schema = 'regress_audit_bulk'
	GROUP BY action, table_name ORDER BY action, table_name;
SELECT count(*) FROM many AS m
	JOIN audit.audit_logs AS l ON l.record_id = m.id AND l.table_schema = 'regress_audit_bulk' AND l.action = 'INSERT'
	WHERE l.new_data = to_jsonb(m) || jsonb_build_object('n', abs(m.n));

DROP SCHEMA regress_audit_bulk CASCADE;
