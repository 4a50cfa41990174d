--
-- AUDIT_RESTORE
-- Putting back what the log kept: deleted rows, changed columns, and what
-- cannot be put back.
--
-- Needs: setup
-- Leaves: records of schema regress_restore
--
SET client_min_messages = warning;
\set VERBOSITY sqlstate
CREATE SCHEMA regress_restore;
CREATE TABLE regress_restore.item (
	id uuid PRIMARY KEY, "Odd name" text, amount numeric(12,4), raw bytea, at timestamptz,
	doc jsonb, plain json, tags text[], f float8, secret text, visits int NOT NULL DEFAULT 0,
	twice numeric GENERATED ALWAYS AS (amount * 2) STORED, n bigint GENERATED ALWAYS AS IDENTITY);
SELECT audit.attach('regress_restore.item', redact => '{secret}', ignore => '{visits}');
-- the last record of a table of an action
CREATE FUNCTION regress_restore.last(name text, wanted text) RETURNS uuid LANGUAGE sql AS $$
	SELECT id FROM audit.audit_logs WHERE table_schema = 'regress_restore' AND table_name = name AND action = wanted
	ORDER BY created_at DESC, id DESC LIMIT 1 $$;
INSERT INTO regress_restore.item VALUES ('00000000-0000-4000-8000-000000000001', 'one', 1.5000, '\x00ff', '2026-01-31 12:00:00.123456+00',
	'{"a": [1, 2.50, null]}', '{"b": 1}', '{x,NULL,"y z"}', 0.1, NULL);
CREATE TABLE regress_restore.before AS SELECT * FROM regress_restore.item;

-- a deleted row comes back as it was
DELETE FROM regress_restore.item;
SELECT audit.restore_row(regress_restore.last('item', 'DELETE')) ->> 'Odd name' AS restored;
SELECT i::text = b::text AS same FROM regress_restore.item AS i, regress_restore.before AS b;
-- which is in the log
SELECT action, new_data ->> 'amount' AS amount FROM audit.history('regress_restore.item', '00000000-0000-4000-8000-000000000001'::uuid, 1);
-- it is there already
SELECT audit.restore_row(regress_restore.last('item', 'DELETE'));

-- an update is undone in what it changed, and in nothing else
UPDATE regress_restore.item SET amount = 7, tags = NULL, doc = '5';
UPDATE regress_restore.item SET "Odd name" = 'two', visits = 9;
SELECT r ->> 'amount' AS amount, r ->> 'tags' AS tags, r -> 'doc' AS doc, r ->> 'twice' AS twice,
	r ->> 'Odd name' AS name, r ->> 'visits' AS visits
FROM audit.audit_logs AS l, audit.restore_row(l.id) AS r
WHERE l.table_schema = 'regress_restore' AND l.action = 'UPDATE' AND 'amount' = ANY (l.changed_columns);
SELECT changed_columns, new_data ->> 'amount' AS amount FROM audit.history('regress_restore.item', '00000000-0000-4000-8000-000000000001'::uuid, 1);
-- with whole rows in the log too
SET plinth.audit_full_rows = on;
UPDATE regress_restore.item SET f = 2;
RESET plinth.audit_full_rows;
UPDATE regress_restore.item SET amount = 8;
SELECT r ->> 'f' AS f, r ->> 'amount' AS amount FROM audit.restore_row(regress_restore.last('item', 'UPDATE')) AS r;

-- a value that was not kept
UPDATE regress_restore.item SET secret = 'hidden';
UPDATE regress_restore.item SET secret = 'other';
SELECT audit.restore_row(regress_restore.last('item', 'UPDATE'));
DELETE FROM regress_restore.item;
SELECT audit.restore_row(regress_restore.last('item', 'DELETE'));
-- a row that is gone
SELECT audit.restore_row(l.id) FROM audit.audit_logs AS l
WHERE l.table_schema = 'regress_restore' AND 'tags' = ANY (l.changed_columns) ORDER BY created_at LIMIT 1;
-- records without an old image
SELECT audit.restore_row(regress_restore.last('item', 'INSERT'));
TRUNCATE regress_restore.item;
SELECT audit.restore_row(regress_restore.last('item', 'TRUNCATE'));
-- no record
SELECT audit.restore_row('00000000-0000-7000-8000-000000000001');
SELECT audit.restore_row(NULL);

-- a key of two columns, and one that the update changed
CREATE TABLE regress_restore.pair (a int, b text, v text, PRIMARY KEY (b, a));
SELECT audit.attach('regress_restore.pair');
INSERT INTO regress_restore.pair VALUES (1, 'x', 'first'), (2, 'x', 'second');
UPDATE regress_restore.pair SET v = 'third' WHERE a = 1;
SELECT audit.restore_row(regress_restore.last('pair', 'UPDATE'));
UPDATE regress_restore.pair SET a = 5 WHERE a = 2;
SELECT audit.restore_row(regress_restore.last('pair', 'UPDATE'));
SELECT * FROM regress_restore.pair ORDER BY a;
-- the key has changed since
UPDATE regress_restore.pair SET v = 'fourth' WHERE a = 1;
UPDATE regress_restore.pair SET a = 6 WHERE a = 1;
SELECT audit.restore_row(l.id) FROM audit.audit_logs AS l WHERE l.table_schema = 'regress_restore' AND new_data ->> 'v' = 'fourth';

-- without a key a deleted row comes back, an updated one cannot be found
CREATE TABLE regress_restore.bag (v text);
SELECT audit.attach('regress_restore.bag');
INSERT INTO regress_restore.bag VALUES ('v');
UPDATE regress_restore.bag SET v = 'w';
SELECT audit.restore_row(regress_restore.last('bag', 'UPDATE'));
DELETE FROM regress_restore.bag;
SELECT audit.restore_row(regress_restore.last('bag', 'DELETE'));

-- a partitioned table
CREATE TABLE regress_restore.part (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE regress_restore.part_low PARTITION OF regress_restore.part FOR VALUES FROM (0) TO (10);
SELECT audit.attach('regress_restore.part');
INSERT INTO regress_restore.part VALUES (1, 'in parts');
DELETE FROM regress_restore.part;
SELECT audit.restore_row(regress_restore.last('part', 'DELETE'));

-- a trigger that says no; a column, a table that is gone
CREATE FUNCTION regress_restore.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
DELETE FROM regress_restore.part;
CREATE TRIGGER no BEFORE INSERT ON regress_restore.part FOR EACH ROW EXECUTE FUNCTION regress_restore.no();
SELECT audit.restore_row(regress_restore.last('part', 'DELETE'));
DROP TRIGGER no ON regress_restore.part;
ALTER TABLE regress_restore.part DROP COLUMN v;
SELECT audit.restore_row(regress_restore.last('part', 'DELETE'));
DROP TABLE regress_restore.part;
SELECT audit.restore_row(regress_restore.last('part', 'DELETE'));

-- who may: the owner of the table who may read the log
SELECT regress_restore.last('bag', 'DELETE') AS record \gset
SET ROLE plinth_owner;
SELECT audit.restore_row(:'record');
SET ROLE service_role;
SELECT audit.restore_row(:'record');
SET ROLE authenticated;
SELECT audit.restore_row(:'record');
SET ROLE anon;
SELECT audit.restore_row(:'record');
RESET ROLE;

DROP SCHEMA regress_restore CASCADE;
