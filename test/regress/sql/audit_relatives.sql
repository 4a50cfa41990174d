--
-- AUDIT_RELATIVES
-- A table that gets children, a parent or partitions has one record for each
-- change of a row all the same (S5.1), whichever table is named.
--
-- Needs: setup
-- Leaves: marks and records of schema regress_kin
--
SET client_min_messages = warning;
\set VERBOSITY sqlstate
CREATE SCHEMA regress_kin;

-- records since the last look, and which form of trigger a table has
CREATE TEMPORARY TABLE seen AS SELECT clock_timestamp() AS at;
CREATE FUNCTION pg_temp.records(OUT table_name text, OUT action text, OUT old_data jsonb, OUT new_data jsonb)
RETURNS SETOF record LANGUAGE sql AS $$
	WITH new AS (SELECT * FROM audit.audit_logs WHERE table_schema = 'regress_kin' AND created_at > (SELECT at FROM seen)),
		moved AS (UPDATE seen SET at = clock_timestamp())
	SELECT table_name, action, old_data, new_data FROM new ORDER BY created_at, id
$$;
CREATE FUNCTION pg_temp.forms(OUT table_name text, OUT form text, OUT cloned boolean, OUT arguments text)
RETURNS SETOF record LANGUAGE sql AS $$
	SELECT c.relname, CASE t.tgname WHEN 'plinth_audit_row' THEN 'row' ELSE 'statement' END, t.tgparentid <> 0,
		replace(encode(t.tgargs, 'escape'), '\000', ' ')
	FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
	WHERE c.relnamespace = 'regress_kin'::regnamespace AND t.tgname IN ('plinth_audit_row', 'plinth_audit_update')
	ORDER BY c.relname, t.tgname
$$;

-- a first child, made and added
CREATE TABLE regress_kin.animal (id int, name text, secret text);
SELECT audit.attach('regress_kin.animal', '{secret}');
CREATE TABLE regress_kin.dog (bark text) INHERITS (regress_kin.animal);
SELECT * FROM pg_temp.forms();
INSERT INTO regress_kin.dog VALUES (1, 'Rex', 'x', 'wuff');
UPDATE regress_kin.animal SET name = upper(name);
DELETE FROM regress_kin.animal;
SELECT * FROM pg_temp.records();
CREATE TABLE regress_kin.cat (id int, name text, secret text, lives int);
INSERT INTO regress_kin.cat VALUES (2, 'Tom', 'y', 9);
ALTER TABLE regress_kin.cat INHERIT regress_kin.animal;
-- a child's child
CREATE TABLE regress_kin.kitten () INHERITS (regress_kin.cat);
SELECT * FROM pg_temp.forms();
INSERT INTO regress_kin.kitten VALUES (3, 'Tim', 'z', 9);
UPDATE regress_kin.animal SET name = lower(name);
SELECT * FROM pg_temp.records();
-- who leaves stays audited
ALTER TABLE regress_kin.cat NO INHERIT regress_kin.animal;
UPDATE regress_kin.cat SET name = upper(name);
SELECT * FROM pg_temp.records();

-- an audited table gets a parent that is not
CREATE TABLE regress_kin.thing (id int, name text);
CREATE TABLE regress_kin.car (id int, name text);
SELECT audit.attach('regress_kin.car', '{}', '{id}');
ALTER TABLE regress_kin.car INHERIT regress_kin.thing;
INSERT INTO regress_kin.car VALUES (1, 'beetle');
UPDATE regress_kin.thing SET name = 'bug';
SELECT * FROM pg_temp.records();
-- one that is audited gets both
CREATE TABLE regress_kin.van (id int, name text);
SELECT audit.attach('regress_kin.van', '{name}');
ALTER TABLE regress_kin.van INHERIT regress_kin.thing;
SELECT audit.attach('regress_kin.thing');
SELECT * FROM pg_temp.forms() WHERE table_name IN ('thing', 'car', 'van');

-- partitions: of a table that is audited
CREATE TABLE regress_kin.sale (id int, note text) PARTITION BY RANGE (id);
SELECT audit.attach('regress_kin.sale', '{note}');
CREATE TABLE regress_kin.sale_1 PARTITION OF regress_kin.sale FOR VALUES FROM (0) TO (10);
CREATE TABLE regress_kin.sale_2 (id int, note text);
ALTER TABLE regress_kin.sale ATTACH PARTITION regress_kin.sale_2 FOR VALUES FROM (10) TO (20);
-- one that was audited by itself, with the same lists and with others
CREATE TABLE regress_kin.sale_3 (id int, note text);
SELECT audit.attach('regress_kin.sale_3', '{note}');
ALTER TABLE regress_kin.sale ATTACH PARTITION regress_kin.sale_3 FOR VALUES FROM (20) TO (30);
CREATE TABLE regress_kin.sale_4 (id int, note text);
SELECT audit.attach('regress_kin.sale_4', '{note,id}');

ALTER TABLE regress_kin.sale ATTACH PARTITION regress_kin.sale_4 FOR VALUES FROM (30) TO (40);
SELECT audit.detach('regress_kin.sale_4');
ALTER TABLE regress_kin.sale ATTACH PARTITION regress_kin.sale_4 FOR VALUES FROM (30) TO (40);
SELECT * FROM pg_temp.forms() WHERE table_name LIKE 'sale%';
INSERT INTO regress_kin.sale SELECT n, 'secret' FROM generate_series(5, 35, 10) AS n;
INSERT INTO regress_kin.sale_3 VALUES (26, 'secret');
UPDATE regress_kin.sale SET id = id + 10 WHERE id = 15;
UPDATE regress_kin.sale_3 SET id = 27 WHERE id = 26;
SELECT * FROM pg_temp.records();
-- a partition that leaves stays audited
ALTER TABLE regress_kin.sale DETACH PARTITION regress_kin.sale_3;
ALTER TABLE regress_kin.sale DETACH PARTITION regress_kin.sale_2 CONCURRENTLY;
SELECT * FROM pg_temp.forms() WHERE table_name LIKE 'sale%';
UPDATE regress_kin.sale_3 SET id = 28 WHERE id = 27;
INSERT INTO regress_kin.sale_2 VALUES (11, 'secret');
SELECT * FROM pg_temp.records();
-- and can come back
ALTER TABLE regress_kin.sale ATTACH PARTITION regress_kin.sale_3 FOR VALUES FROM (20) TO (30);
SELECT * FROM pg_temp.forms() WHERE table_name = 'sale_3';
-- of a table that is not audited
CREATE TABLE regress_kin.visit (id int, note text) PARTITION BY RANGE (id);
CREATE TABLE regress_kin.visit_1 (id int, note text);
SELECT audit.attach('regress_kin.visit_1', '{note}');
ALTER TABLE regress_kin.visit ATTACH PARTITION regress_kin.visit_1 FOR VALUES FROM (0) TO (10);
SELECT * FROM pg_temp.forms() WHERE table_name LIKE 'visit%';
INSERT INTO regress_kin.visit VALUES (1, 'secret');
UPDATE regress_kin.visit SET id = 2;
SELECT * FROM pg_temp.records();
ALTER TABLE regress_kin.visit DETACH PARTITION regress_kin.visit_1;
UPDATE regress_kin.visit_1 SET id = 3;
SELECT * FROM pg_temp.records();
-- audited in two ways at once it would have two records
ALTER TABLE regress_kin.visit ATTACH PARTITION regress_kin.visit_1 FOR VALUES FROM (0) TO (10);
SELECT audit.attach('regress_kin.visit');
SELECT audit.detach('regress_kin.visit_1');
SELECT audit.attach('regress_kin.visit');
UPDATE regress_kin.visit SET id = 4;
SELECT * FROM pg_temp.records();

-- children that cannot be audited
CREATE FOREIGN DATA WRAPPER regress_kin_wrapper;
CREATE SERVER regress_kin_server FOREIGN DATA WRAPPER regress_kin_wrapper;
CREATE FOREIGN TABLE regress_kin.far () INHERITS (regress_kin.animal) SERVER regress_kin_server;
CREATE TEMPORARY TABLE brief () INHERITS (regress_kin.animal);
DROP FOREIGN DATA WRAPPER regress_kin_wrapper CASCADE;

-- whoever may make a child need not have the right to audit a table
GRANT CREATE, USAGE ON SCHEMA regress_kin TO authenticated;
CREATE TABLE regress_kin.theirs (id int);
SELECT audit.attach('regress_kin.theirs');
ALTER TABLE regress_kin.theirs OWNER TO authenticated;
SET ROLE authenticated;
CREATE TABLE regress_kin.theirs_too () INHERITS (regress_kin.theirs);
INSERT INTO regress_kin.theirs_too VALUES (1);
UPDATE regress_kin.theirs SET id = 2;
SELECT current_user;
RESET ROLE;
SELECT * FROM pg_temp.records();

-- TRUNCATE reaches children, and by CASCADE those who refer to a table
CREATE TABLE regress_kin.owner (id int PRIMARY KEY);
CREATE TABLE regress_kin.owned (id int REFERENCES regress_kin.owner);
SELECT audit.attach('regress_kin.owner');
SELECT audit.attach('regress_kin.owned');
TRUNCATE regress_kin.owner CASCADE;
SELECT table_name, action FROM pg_temp.records() ORDER BY table_name COLLATE "C";
TRUNCATE regress_kin.animal;
SELECT table_name, action FROM pg_temp.records() ORDER BY table_name COLLATE "C";

-- nothing of this is a mark, but for what the commands themselves are
SELECT kind, table_name, command FROM audit.marks
WHERE table_schema = 'regress_kin' AND command !~ '(OWNER TO|GRANT)' ORDER BY id;

DROP SCHEMA regress_kin CASCADE;
