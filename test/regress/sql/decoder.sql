--
-- DECODER
-- The output plugin for slots that anybody makes: what a change looks like,
-- what publications make of it, and the options.
--
-- Needs: setup; wal_level = logical
-- Leaves: nothing
--
SET client_min_messages = warning;

-- newer servers have a list of the plugins that may be used
SELECT count(set_config(name, 'plinth', false)) <= 1 AS allowed
FROM pg_settings WHERE name = 'output_plugin_libraries';

CREATE SCHEMA regress_decoder;
SELECT count(*) FROM pg_create_logical_replication_slot('regress_plinth_slot', 'plinth');

-- what has come since, without its times and positions; the rest are options
CREATE FUNCTION regress_decoder.changes(VARIADIC options text[] DEFAULT '{}')
RETURNS SETOF text LANGUAGE sql AS $$
	SELECT regexp_replace(regexp_replace(regexp_replace(data, '"(lsn|commit_timestamp)":"[^"]*"', '"\1":"…"', 'g'),
		'"(xid|subxid)":\d+', '"\1":…', 'g'), ',"unchanged":\[\],"errors":null', '', 'g')
	FROM pg_logical_slot_get_changes('regress_plinth_slot', NULL, NULL, VARIADIC options)
	WHERE data !~ '"schema":"(?!regress_decoder)';
$$;

--
-- One document a change
--
CREATE TABLE regress_decoder.item (id int PRIMARY KEY, body text, large text);
ALTER TABLE regress_decoder.item ALTER large SET STORAGE EXTERNAL;
INSERT INTO regress_decoder.item VALUES (1, 'one', 'l'), (2, NULL, 'l');
UPDATE regress_decoder.item SET body = 'two' WHERE id = 2;
UPDATE regress_decoder.item SET id = 3 WHERE id = 2;
DELETE FROM regress_decoder.item WHERE id = 3;
SELECT * FROM regress_decoder.changes();

-- of what is rolled back nothing, of subtransactions what is kept
BEGIN;
INSERT INTO regress_decoder.item VALUES (10);
ROLLBACK;
BEGIN;
INSERT INTO regress_decoder.item VALUES (11);
SAVEPOINT a;
INSERT INTO regress_decoder.item VALUES (12);
ROLLBACK TO a;
SAVEPOINT b;
INSERT INTO regress_decoder.item VALUES (13);
RELEASE b;
COMMIT;
SELECT * FROM regress_decoder.changes('include-lsn', 'off', 'include-timestamp', 'off');

-- position, index and time are those of the commit
BEGIN;
INSERT INTO regress_decoder.item VALUES (14), (15);
COMMIT;
SELECT data::jsonb ->> 'index' AS index, count(*) OVER (PARTITION BY data::jsonb ->> 'lsn') AS of_one_commit,
	lsn >= (data::jsonb ->> 'lsn')::pg_lsn AS behind_commit,
	now() - (data::jsonb ->> 'commit_timestamp')::timestamptz < interval '1 hour' AS recent
FROM pg_logical_slot_get_changes('regress_plinth_slot', NULL, NULL) WHERE data ~ '"regress_decoder"' ORDER BY 1;

-- replica identities
CREATE TABLE regress_decoder.identity (id int PRIMARY KEY, code text NOT NULL UNIQUE, body text);
ALTER TABLE regress_decoder.identity REPLICA IDENTITY FULL;
INSERT INTO regress_decoder.identity VALUES (1, 'a', 'x');
UPDATE regress_decoder.identity SET body = 'y';
ALTER TABLE regress_decoder.identity REPLICA IDENTITY USING INDEX identity_code_key;
UPDATE regress_decoder.identity SET code = 'b';
UPDATE regress_decoder.identity SET body = 'z';
DELETE FROM regress_decoder.identity;
ALTER TABLE regress_decoder.identity REPLICA IDENTITY NOTHING;
INSERT INTO regress_decoder.identity VALUES (2, 'c', 'x');
UPDATE regress_decoder.identity SET body = 'y';
DELETE FROM regress_decoder.identity;
SELECT * FROM regress_decoder.changes('include-lsn', 'off', 'include-timestamp', 'off');

-- a large value that an UPDATE leaves alone is not in the WAL: named, not
-- NULL; with a full identity it is taken from the old row
UPDATE regress_decoder.item SET large = repeat('x', 10000) WHERE id = 1;
SELECT count(*) FROM regress_decoder.changes();
UPDATE regress_decoder.item SET body = 'again' WHERE id = 1;
ALTER TABLE regress_decoder.item REPLICA IDENTITY FULL;
UPDATE regress_decoder.item SET body = 'and again' WHERE id = 1;
SELECT data::jsonb #>> '{new,body}' AS body, length(data::jsonb #>> '{new,large}') AS large,
	length(data::jsonb #>> '{old,large}') AS old_large, data::jsonb -> 'unchanged' AS unchanged
FROM pg_logical_slot_get_changes('regress_plinth_slot', NULL, NULL) WHERE data ~ '"regress_decoder"';

-- columns that come and go, in the middle of a transaction
BEGIN;
INSERT INTO regress_decoder.item VALUES (20, 'before');
ALTER TABLE regress_decoder.item DROP large, ADD added int DEFAULT 7, ADD twice int GENERATED ALWAYS AS (id * 2) STORED;
INSERT INTO regress_decoder.item VALUES (21, 'after');
ALTER TABLE regress_decoder.item RENAME body TO "bo""dy";
ALTER TABLE regress_decoder.item RENAME TO thing;
UPDATE regress_decoder.thing SET "bo""dy" = 'renamed' WHERE id = 20;
COMMIT;
ALTER TABLE regress_decoder.thing ADD later text DEFAULT 'old rows have it, too';
DELETE FROM regress_decoder.thing WHERE id = 20;
SELECT * FROM regress_decoder.changes('include-lsn', 'off', 'include-timestamp', 'off');

-- a column's type that changes with the type of its values
CREATE TYPE regress_decoder.part AS (a int);
CREATE TYPE regress_decoder.mood AS ENUM ('fine');
CREATE TABLE regress_decoder.parts (id int PRIMARY KEY, part regress_decoder.part, mood regress_decoder.mood);
INSERT INTO regress_decoder.parts VALUES (1, ROW(1), 'fine');
ALTER TYPE regress_decoder.part RENAME ATTRIBUTE a TO b;
ALTER TYPE regress_decoder.mood RENAME VALUE 'fine' TO 'well';
INSERT INTO regress_decoder.parts VALUES (2, ROW(2), 'well');
SELECT * FROM regress_decoder.changes('include-lsn', 'off', 'include-timestamp', 'off');

-- TRUNCATE: each table, those that it cascades to included
CREATE TABLE regress_decoder.parent (id int PRIMARY KEY);
CREATE TABLE regress_decoder.child (id int PRIMARY KEY REFERENCES regress_decoder.parent);
TRUNCATE regress_decoder.parent, regress_decoder.parts RESTART IDENTITY CASCADE;
SELECT * FROM regress_decoder.changes('include-lsn', 'off', 'include-timestamp', 'off') ORDER BY 1;

--
-- Publications
--
CREATE TABLE regress_decoder.filtered (id int PRIMARY KEY, state text, body text, secret text);
ALTER TABLE regress_decoder.filtered REPLICA IDENTITY FULL;
CREATE PUBLICATION regress_plinth_open FOR TABLE regress_decoder.filtered WHERE (state = 'open');
CREATE PUBLICATION regress_plinth_mine FOR TABLE regress_decoder.filtered WHERE (body = 'mine') WITH (publish = 'insert');
CREATE PUBLICATION regress_plinth_all FOR ALL TABLES WITH (publish = 'truncate');
CREATE PUBLICATION regress_plinth_schema FOR TABLES IN SCHEMA regress_decoder WITH (publish = 'delete');

-- a row filter judges both images: an UPDATE may be an INSERT or a DELETE
INSERT INTO regress_decoder.filtered VALUES (1, 'open'), (2, 'closed'), (3, NULL);
UPDATE regress_decoder.filtered SET body = 'x';
UPDATE regress_decoder.filtered SET state = 'open' WHERE id = 2;
UPDATE regress_decoder.filtered SET state = 'closed' WHERE id = 1;
DELETE FROM regress_decoder.filtered;
CREATE TEMPORARY TABLE seen AS SELECT regexp_replace(data, ',"commit.*"index":\d+', '') AS data FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'publication', 'regress_plinth_open');
SELECT * FROM seen;
DROP TABLE seen;

-- several publications add up; one that publishes inserts only counts for these
SELECT * FROM regress_decoder.changes('publication', 'regress_plinth_open, regress_plinth_schema', 'include-lsn', 'off', 'include-timestamp', 'off');
INSERT INTO regress_decoder.filtered VALUES (4, 'open', NULL), (5, 'closed', 'mine'), (6, 'closed', NULL);
UPDATE regress_decoder.filtered SET secret = 's';
TRUNCATE regress_decoder.filtered;
SELECT * FROM regress_decoder.changes('publication', 'regress_plinth_open,regress_plinth_mine,regress_plinth_all', 'include-lsn', 'off', 'include-timestamp', 'off');

-- a filter that fails makes a document with the error, and what follows comes
CREATE TABLE regress_decoder.risky (id int PRIMARY KEY, n int);
CREATE PUBLICATION regress_plinth_risky FOR TABLE regress_decoder.risky WHERE (10 / n > 1) WITH (publish = 'insert');
INSERT INTO regress_decoder.risky VALUES (1, 1), (2, 0), (3, 10), (4, 2), (5, NULL);
SELECT * FROM regress_decoder.changes('publication', 'regress_plinth_risky', 'include-lsn', 'off', 'include-timestamp', 'off');
-- in a document that is written with others, too
INSERT INTO regress_decoder.risky VALUES (6, 1), (7, 0);
SELECT * FROM regress_decoder.changes('publication', 'regress_plinth_risky', 'include-lsn', 'off', 'include-timestamp', 'off', 'batch', '64');

-- column lists
ALTER PUBLICATION regress_plinth_mine SET TABLE regress_decoder.filtered (id, state);
ALTER PUBLICATION regress_plinth_open SET TABLE regress_decoder.filtered (id, body);
INSERT INTO regress_decoder.filtered VALUES (7, 'open', 'b', 's');
CREATE TEMPORARY TABLE seen AS SELECT data::jsonb -> 'new' AS new FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'publication', 'regress_plinth_mine');
SELECT * FROM seen;
DROP TABLE seen;
-- of two lists the columns that are in both
SELECT * FROM regress_decoder.changes('publication', 'regress_plinth_mine,regress_plinth_open', 'include-lsn', 'off', 'include-timestamp', 'off');

-- a publication has what it has at that moment
INSERT INTO regress_decoder.filtered VALUES (8);
ALTER PUBLICATION regress_plinth_mine SET TABLE regress_decoder.risky;
INSERT INTO regress_decoder.filtered VALUES (9);
INSERT INTO regress_decoder.risky VALUES (8);
SELECT * FROM regress_decoder.changes('publication', 'regress_plinth_mine', 'include-lsn', 'off', 'include-timestamp', 'off');
DROP PUBLICATION regress_plinth_open, regress_plinth_mine, regress_plinth_all, regress_plinth_schema, regress_plinth_risky;

--
-- Partitions, as themselves or as their root
--
CREATE TABLE regress_decoder.root (id int, region text, body text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE regress_decoder.north (gone int, body text, region text NOT NULL, id int NOT NULL, PRIMARY KEY (id, region));
ALTER TABLE regress_decoder.north DROP gone;
ALTER TABLE regress_decoder.root ATTACH PARTITION regress_decoder.north FOR VALUES IN ('n');
CREATE TABLE regress_decoder.south PARTITION OF regress_decoder.root FOR VALUES IN ('s') PARTITION BY LIST (id);
CREATE TABLE regress_decoder.south_1 PARTITION OF regress_decoder.south FOR VALUES IN (1);
ALTER TABLE regress_decoder.north REPLICA IDENTITY FULL;
ALTER TABLE regress_decoder.south_1 REPLICA IDENTITY FULL;
CREATE PUBLICATION regress_plinth_root FOR TABLE regress_decoder.root WHERE (body <> 'hidden') WITH (publish_via_partition_root = true);
CREATE PUBLICATION regress_plinth_leaf FOR TABLE regress_decoder.root;
SELECT count(*) FROM regress_decoder.changes();

INSERT INTO regress_decoder.root VALUES (1, 'n', 'a'), (1, 's', 'b'), (2, 'n', 'hidden');
UPDATE regress_decoder.root SET body = 'c' WHERE id = 1;
UPDATE regress_decoder.root SET id = 3 WHERE id = 2;
DELETE FROM regress_decoder.root WHERE region = 's';
UPDATE regress_decoder.root SET region = 's', body = 'moved' WHERE id = 1 AND region = 'n';
INSERT INTO regress_decoder.root VALUES (9, 'n', 'gone');
TRUNCATE regress_decoder.north;
TRUNCATE regress_decoder.root;
CREATE TEMPORARY TABLE seen AS SELECT n, regexp_replace(data, '"(lsn|commit_timestamp)":"[^"]*",', '', 'g') AS data FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'publication', 'regress_plinth_leaf') WITH ORDINALITY AS c(lsn, xid, data, n);
SELECT data FROM seen ORDER BY n;
SELECT * FROM regress_decoder.changes('publication', 'regress_plinth_root', 'include-lsn', 'off', 'include-timestamp', 'off');
-- both: as the root
INSERT INTO regress_decoder.root VALUES (5, 'n', 'both');
SELECT * FROM regress_decoder.changes('publication', 'regress_plinth_leaf,regress_plinth_root', 'include-lsn', 'off', 'include-timestamp', 'off');
DROP PUBLICATION regress_plinth_root, regress_plinth_leaf;

--
-- Options
--
SELECT count(*) FROM regress_decoder.changes();
BEGIN;
INSERT INTO regress_decoder.child SELECT 1 WHERE false;
INSERT INTO regress_decoder.parent VALUES (1), (2);
COMMIT;
INSERT INTO regress_decoder.parent VALUES (5);
CREATE TEMPORARY TABLE seen2 AS
SELECT n, data FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'include-transaction', 'on', 'include-types', 'on', 'include-xids', 'on', 'include-lsn', 'off', 'include-timestamp', 'off') WITH ORDINALITY AS c(lsn, xid, data, n);
SELECT regexp_replace(data, '"xid":\d+', '"xid":…') FROM seen2 ORDER BY n;
-- documents in one message, a line each; a transaction begins a new one
SELECT message, lines, documents FROM (SELECT row_number() OVER () AS message, cardinality(string_to_array(data, E'\n')) AS lines,
	(SELECT count(*) FROM string_to_table(data, E'\n') AS l WHERE l::json IS NOT NULL) AS documents
FROM pg_logical_slot_get_changes('regress_plinth_slot', NULL, NULL, 'batch', '64') WHERE data ~ '"regress_decoder"') AS d;

-- a batch is written when it is full
INSERT INTO regress_decoder.parent SELECT generate_series(1000, 1999);
SELECT count(*) BETWEEN 50 AND 250 AS messages, max(length(data)) < 2 * 1024 AS bounded,
	sum(cardinality(string_to_array(data, E'\n'))) AS documents
FROM pg_logical_slot_get_changes('regress_plinth_slot', NULL, NULL, 'batch', '1') WHERE data ~ '"regress_decoder"';

-- logical messages
SELECT count(pg_logical_emit_message(true, 'regress "x"', 'with the transaction'));
SELECT count(pg_logical_emit_message(false, 'regress', E'line\nend'));
BEGIN;
SELECT count(pg_logical_emit_message(true, 'regress', 'rolled back'));
SELECT count(pg_logical_emit_message(false, 'regress', 'not rolled back'));
ROLLBACK;
SELECT count(pg_logical_emit_message(true, 'regress', '\x00ff'::bytea));
SELECT * FROM regress_decoder.changes('messages', 'on');

-- who wrote it
SELECT count(pg_replication_origin_create('regress_plinth "origin"'));
SELECT count(pg_replication_origin_session_setup('regress_plinth "origin"'));
INSERT INTO regress_decoder.parent VALUES (3);
SELECT count(pg_replication_origin_session_reset());
INSERT INTO regress_decoder.parent VALUES (4);
CREATE TEMPORARY TABLE seen3 AS SELECT data::jsonb AS data FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'only-local', 'on');
SELECT data #>> '{new,id}' AS id FROM seen3 WHERE data ->> 'table' = 'parent';
SELECT * FROM regress_decoder.changes('include-origin', 'on', 'include-lsn', 'off', 'include-timestamp', 'off') AS c WHERE c ~ '"parent"';
SELECT count(pg_replication_origin_drop('regress_plinth "origin"'));

-- a transaction that is too large to be kept in memory comes while it runs;
-- what of it is undone is said
SET logical_decoding_work_mem = '64kB';
BEGIN;
INSERT INTO regress_decoder.parent SELECT generate_series(10000, 12000);
SAVEPOINT s;
INSERT INTO regress_decoder.parent SELECT generate_series(20000, 22000);
ROLLBACK TO s;
INSERT INTO regress_decoder.parent VALUES (30000);
COMMIT;
CREATE TEMPORARY TABLE seen4 AS
SELECT n, data::jsonb AS data FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'streaming', 'on') WITH ORDINALITY AS c(lsn, xid, data, n);
SELECT data ->> 'eventType' AS event, count(DISTINCT data -> 'xid') AS transactions, count(*) FILTER (WHERE data ? 'lsn') AS with_lsn,
	CASE data ->> 'eventType' WHEN 'STREAM ABORT' THEN '-' ELSE count(*)::text END AS documents
FROM seen4 WHERE data -> 'schema' IS NULL OR data ->> 'table' = 'parent' AND (data #>> '{new,id}')::int NOT BETWEEN 20000 AND 22000
GROUP BY 1 ORDER BY 1;
SELECT count(*), count(DISTINCT (data ->> 'index')::int) AS places
FROM seen4 WHERE data ->> 'table' = 'parent' AND (data #>> '{new,id}')::int NOT BETWEEN 20000 AND 22000;
-- and not before it commits without the option
SELECT count(*), min(c::jsonb ->> 'eventType') FROM regress_decoder.changes('include-lsn', 'off') AS c WHERE c ~ '"parent"';
RESET logical_decoding_work_mem;

-- what is refused; each in a transaction of its own, because the server keeps
-- the slot until the end of one that fails
\set SHOW_CONTEXT never
SELECT FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'include-everything', 'on');
SELECT FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'Batch', '1');
SELECT FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'messages', 'perhaps');
SELECT FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'batch', '1025');
SELECT FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'batch', '-1');
SELECT FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'batch', 'many');
SELECT FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'publication', '');
SELECT FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'publication', 'a,,b');
SELECT FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'publication', 'regress_plinth_none');
\set VERBOSITY sqlstate
SELECT FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'batch', '2000', 'batch', '2');
SELECT FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'publication', 'regress_plinth_none');
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_plinth_slot', NULL, NULL, 'batch', '1024', 'publication', 'plinth_realtime', 'streaming', 'on');
\set VERBOSITY default

SELECT pg_drop_replication_slot('regress_plinth_slot');
DROP SCHEMA regress_decoder CASCADE;
