--
-- DECODER_TYPES
-- Every type in a decoded row as to_jsonb(row) shows it.
--
-- Needs: setup; the stream worker of this database
-- Leaves: nothing
--
SET client_min_messages = warning;
SELECT count(set_config(name, 'plinth', false)) <= 1 AS allowed
FROM pg_settings WHERE name = 'output_plugin_libraries';

CREATE SCHEMA regress_types;

-- values of each type; an empty list: it has no input
CREATE TABLE regress_types.sample (type text PRIMARY KEY, vals text[] NOT NULL);
INSERT INTO regress_types.sample VALUES
	('bool', '{t,f}'),
	('bytea', ARRAY['', '\x00ff22', '\x5c22']),
	('"char"', ARRAY['a', '"', '\', '']),
	('name', ARRAY['abc', 'a"b\c', '']),
	('int8', '{0,-1,9223372036854775807,-9223372036854775808}'),
	('int2', '{0,-1,32767,-32768}'),
	('int2vector', ARRAY['1 2 3', '']),
	('int4', '{0,-1,2147483647,-2147483648}'),
	('regproc', '{now,0}'),
	('text', ARRAY['', 'plain', E'quote " backslash \\ newline \n tab \t return \r', E'\x01\x1f\x7f', 'Überraschung 👍', repeat('long', 10000)]),
	('oid', '{0,4294967295}'),
	('tid', '{"(0,1)"}'),
	('xid', '{3}'),
	('cid', '{7}'),
	('oidvector', ARRAY['1 2', '']),
	('json', ARRAY['{"a" : [1, 2.50, null], "b":"x\n\u00e9"}', '[]', '"text"', 'null', '1e3', E'{\n\t"line": 1\r\n}', '0.10', '{"a":1,"a":2}']),
	('xml', '{<a/>,"<b c=\"1\">\"</b>"}'),
	('pg_node_tree', '{}'),
	('point', ARRAY['(1.5,-2)', '(NaN,Infinity)']),
	('lseg', '{"[(1,2),(3,4)]"}'),
	('path', '{"((1,2),(3,4))","[(1,2),(3,4)]"}'),
	('box', '{"(3,4),(1,2)"}'),
	('polygon', '{"((0,0),(1,1),(1,0))"}'),
	('line', '{"{1,2,3}"}'),
	('cidr', '{10.0.0.0/8,2001:db8::/32}'),
	('float4', '{0,-0,1.5,1e20,1e-20,3.4028235e38,NaN,Infinity,-Infinity,0.1}'),
	('float8', '{0,-0,1.5,1e20,1e15,1e16,1e-5,5e-324,1.7976931348623157e308,NaN,Infinity,-Infinity,0.1,123456789.123}'),
	('circle', '{"<(1,2),3>"}'),
	('macaddr8', '{08:00:2b:01:02:03:04:05}'),
	('money', '{1234.56,-0.01}'),
	('macaddr', '{08:00:2b:01:02:03}'),
	('inet', '{192.168.0.1/24,::1}'),
	('aclitem', '{=r/postgres}'),
	('bpchar', ARRAY['abc  ', '']),
	('varchar', ARRAY['abc', 'a"b']),
	('date', '{2026-01-31,0001-01-01,"4713-01-01 BC","0044-03-15 BC",5874897-12-31,infinity,-infinity,1999-12-31,12345-06-07}'),
	('time', '{00:00,23:59:59.999999,24:00}'),
	('timestamp', '{"2026-01-31 12:30:45.123456","2000-01-01 00:00:00","1999-12-31 23:59:59.9","4713-01-01 00:00:00 BC","0044-03-15 12:00:00.5 BC","294276-12-31 23:59:59.999999",infinity,-infinity,"10000-01-01 00:00:00.000001"}'),
	('timestamptz', '{"2026-01-31 12:30:45.123456+09","2000-01-01 00:00:00Z","1999-12-31 23:59:59.90Z","1850-01-01 00:00:00Z","0044-03-15 12:00:00.5Z BC",infinity,-infinity}'),
	('interval', '{"1 year 2 mons 3 days 04:05:06.789",0,"-1 day","-00:00:01.5"}'),
	('timetz', '{12:00+09,00:00:00.5-03:30}'),
	('bit', '{1}'),
	('varbit', '{1010,""}'),
	('numeric', ARRAY['0', '0.0', '0.000', '1', '-1', '10000', '9999', '10000.0001', '0.0001', '0.00001', '-0.5', '123456789012345678901234567890.123456789',
		'1e100', '1e-100', '1.50', '100', '1000000000000', '12340000', '0.12340000', '99999999.99999999', 'NaN', 'Infinity', '-Infinity',
		'1e1000', '1e-1000', '-1e-16383', '4.00000000000000000000000000000000000000000000000000000000000000000000', '1e131071', '5000', '50000.05']),
	('refcursor', '{c}'),
	('regprocedure', '{now()}'),
	('regoper', '{pg_catalog.||/}'),
	('regoperator', '{"+(integer,integer)"}'),
	('regclass', '{pg_class}'),
	('regtype', '{integer}'),
	('uuid', '{00000000-0000-4000-8000-0000000000a1,ffffffff-ffff-ffff-ffff-ffffffffffff}'),
	('txid_snapshot', '{10:20:10}'),
	('pg_lsn', '{16/B374D848}'),
	('pg_ndistinct', '{}'),
	('pg_dependencies', '{}'),
	('tsvector', ARRAY[$$'a':1A 'b"c':2$$]),
	('tsquery', ARRAY[$$'a' & !'b'$$]),
	('gtsvector', '{}'),
	('regconfig', '{simple}'),
	('regdictionary', '{simple}'),
	('jsonb', ARRAY['{"a": [1, 2.50, null], "b": "x\n\u00e9"}', '[]', '"text"', 'null', '1e3', '{}', 'true']),
	('int4range', ARRAY['[1,5)', 'empty', '(,)']),
	('numrange', '{"[1.5,2.50]"}'),
	('tsrange', '{"[2026-01-01 00:00,2026-01-02 00:00)"}'),
	('tstzrange', '{"[2026-01-01 00:00+09,2026-01-02 00:00+00)"}'),
	('daterange', '{"[2026-01-01,2026-01-02)"}'),
	('int8range', '{"[1,5)"}'),
	('jsonpath', '{$.a[*]}'),
	('regnamespace', '{pg_catalog}'),
	('regrole', '{pg_monitor}'),
	('regcollation', ARRAY['"C"']),
	('int4multirange', ARRAY['{[1,3),[5,7)}', '{}']),
	('nummultirange', ARRAY['{[1.5,2.5)}']),
	('tsmultirange', ARRAY['{["2026-01-01 00:00","2026-01-02 00:00")}']),
	('tstzmultirange', ARRAY['{["2026-01-01 00:00+09","2026-01-02 00:00+00")}']),
	('datemultirange', ARRAY['{[2026-01-01,2026-01-02)}']),
	('int8multirange', ARRAY['{[1,3)}']),
	('pg_brin_bloom_summary', '{}'),
	('pg_brin_minmax_multi_summary', '{}'),
	('pg_mcv_list', '{}'),
	('pg_snapshot', '{10:20:10}'),
	('xid8', '{42}');

-- a server may be built without XML
UPDATE regress_types.sample SET vals = '{}'
WHERE type = 'xml' AND (SELECT setting !~ 'with-libxml' FROM pg_config WHERE name = 'CONFIGURE');

-- types of the release without samples; newer releases may add some
SELECT typname FROM pg_type AS t
WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm', 'e')
	AND NOT EXISTS (SELECT FROM pg_type AS e WHERE e.typarray = t.oid)
	AND NOT EXISTS (SELECT FROM regress_types.sample AS s WHERE s.type::regtype = t.oid)
	AND current_setting('server_version_num')::int < 160000
ORDER BY 1;

-- one table a type: the value, arrays of it, a domain over it, a composite value
DO $$
DECLARE
	s	record;
BEGIN
	FOR s IN SELECT type, 'v_' || btrim(type, '"') AS name FROM regress_types.sample WHERE vals <> '{}' LOOP
		EXECUTE format('CREATE DOMAIN regress_types.%I AS %s', 'd_' || s.name, s.type);
		EXECUTE format('CREATE TYPE regress_types.%I AS (one %s, two int)', 'c_' || s.name, s.type);
		EXECUTE format('CREATE TABLE regress_types.%I (id int PRIMARY KEY, v %s, domain regress_types.%I, list %s[], matrix %s[], part regress_types.%I, parts regress_types.%I[])',
			s.name, s.type, 'd_' || s.name, s.type, s.type, 'c_' || s.name, 'c_' || s.name);
	END LOOP;
END $$;

-- types of users: enumeration, range, domains over arrays and composites, a
-- composite type in a composite type, a type with a cast to json in C and one
-- whose cast is a function that may read tables
CREATE TYPE regress_types.mood AS ENUM ('fine', 'odd "one"');
CREATE TYPE regress_types.span AS RANGE (subtype = float8);
CREATE DOMAIN regress_types.few AS int[] CHECK (array_length(VALUE, 1) < 5);
CREATE TYPE regress_types.inner_part AS (mood regress_types.mood, at timestamptz, "odd ""name""" text, gone int);
CREATE TYPE regress_types.outer_part AS (part regress_types.inner_part, parts regress_types.inner_part[]);
ALTER TYPE regress_types.inner_part DROP ATTRIBUTE gone;
CREATE DOMAIN regress_types.a_part AS regress_types.inner_part;
CREATE TYPE regress_types.nothing AS ();
CREATE TYPE regress_types.slow AS ENUM ('a');
CREATE FUNCTION regress_types.slow_json(regress_types.slow) RETURNS json LANGUAGE plpgsql STABLE
	AS $$ BEGIN RETURN (SELECT json_build_object('slow', true) FROM regress_types.sample LIMIT 1); END $$;
CREATE CAST (regress_types.slow AS json) WITH FUNCTION regress_types.slow_json(regress_types.slow);
CREATE EXTENSION hstore SCHEMA regress_types;
CREATE TABLE regress_types.own (id int PRIMARY KEY, mood regress_types.mood, moods regress_types.mood[], span regress_types.span,
	few regress_types.few, deep regress_types.outer_part, domain regress_types.a_part, nothing regress_types.nothing,
	"a ""quoted"" name" int, pairs regress_types.hstore, computed int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE regress_types.uncast (id int PRIMARY KEY, slow regress_types.slow);

SELECT count(*) FROM pg_create_logical_replication_slot('regress_plinth_types', 'plinth', true);

DO $$
DECLARE
	s	record;
BEGIN
	FOR s IN SELECT type, 'v_' || btrim(type, '"') AS name, vals FROM regress_types.sample WHERE vals <> '{}' LOOP
		EXECUTE format('INSERT INTO regress_types.%I (id, v, domain) SELECT n, v::%s, v::%s FROM unnest($1) WITH ORDINALITY AS u(v, n)',
			s.name, s.type, s.type) USING s.vals;
		EXECUTE format('INSERT INTO regress_types.%I SELECT 1001, NULL, NULL, $1::%s[], ARRAY[$1::%s[], $1::%s[]], ROW($1[1]::%s, 1)::regress_types.%I, ARRAY[ROW($1[1]::%s, NULL)::regress_types.%I, NULL]',
			s.name, s.type, s.type, s.type, s.type, 'c_' || s.name, s.type, 'c_' || s.name) USING s.vals;
		EXECUTE format('INSERT INTO regress_types.%I VALUES (1002, NULL, NULL, ''{}'', ARRAY[[NULL], [NULL]]::%s[], ROW(NULL, NULL), ''{}'')', s.name, s.type);
	END LOOP;
END $$;
INSERT INTO regress_types.own VALUES
	(1, 'odd "one"', '{fine,NULL}', '[1.5,2)', '{1,2}',
	 ROW(ROW('fine', '2026-01-01 00:00+00', 'x'), ARRAY[ROW('fine', NULL, E'\n')::regress_types.inner_part, NULL]),
	 ROW('odd "one"', NULL, NULL), ROW(), 3, 'a=>1, b=>NULL');
INSERT INTO regress_types.own VALUES (2, NULL, '[5:6]={fine,fine}');
INSERT INTO regress_types.uncast VALUES (1, 'a');

-- what is decoded does not depend on the settings of the reader
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SET intervalstyle = 'iso_8601';
SET bytea_output = 'escape';
SET extra_float_digits = -3;
CREATE TABLE regress_types.decoded AS
SELECT data::json ->> 'table' AS name, (data::json #>> '{new,id}')::int AS id, data::json -> 'new' AS new, data
FROM pg_logical_slot_get_changes('regress_plinth_types', NULL, NULL);
SHOW timezone;

-- what it is compared with does
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
SET bytea_output = 'hex';
SET extra_float_digits = 1;
SET lc_monetary = 'C';

CREATE FUNCTION regress_types.expected(name text, id int) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	row_as_jsonb	jsonb;
BEGIN
	EXECUTE format('SELECT to_jsonb(t) FROM regress_types.%I AS t WHERE id = $1', name) INTO row_as_jsonb USING id;
	RETURN row_as_jsonb;
END $$;

-- every row is there, each document is one line, and nothing differs
SELECT (SELECT count(*) FROM regress_types.decoded WHERE name LIKE 'v\_%') =
	   (SELECT sum(cardinality(vals) + 2) FROM regress_types.sample WHERE vals <> '{}') AS complete;
SELECT count(*) FROM regress_types.decoded WHERE data ~ E'[\n\r]';
SELECT name, id, left(new::text, 300) AS decoded, left(regress_types.expected(name, id)::text, 300) AS expected
FROM regress_types.decoded
WHERE name <> 'uncast' AND new::jsonb IS DISTINCT FROM regress_types.expected(name, id)
ORDER BY 1, 2;

-- the text of numbers, too: jsonb keeps the zeros behind the point
SELECT name, id, new ->> 'v' AS decoded, regress_types.expected(name, id) ->> 'v' AS expected
FROM regress_types.decoded
WHERE name LIKE 'v\_%' AND new ->> 'v' IS DISTINCT FROM regress_types.expected(name, id) ->> 'v'
	AND name NOT IN ('v_json', 'v_float4', 'v_float8', 'v_int2vector', 'v_oidvector')
ORDER BY 1, 2;
SELECT jsonb_pretty(new::jsonb) FROM regress_types.decoded WHERE name = 'own' AND id = 1;

-- a cast to json that may read tables is not called: there is no snapshot
SELECT new, regress_types.expected(name, id) FROM regress_types.decoded WHERE name = 'uncast';

-- json that jsonb cannot hold is a string with its text
CREATE TABLE regress_types.odd_json (id int PRIMARY KEY, doc json);
INSERT INTO regress_types.odd_json VALUES (1, '{"zero": "\u0000"}'), (2, '[1e200000]'), (3, '"\u0041"'), (4, '[1e3]'),
	(5, (repeat('[', 600) || repeat(']', 600))::json);
SELECT data::jsonb #> '{new,id}' AS id, jsonb_typeof(data::jsonb #> '{new,doc}') AS doc
FROM pg_logical_slot_get_changes('regress_plinth_types', NULL, NULL)
WHERE data::json ->> 'table' = 'odd_json';

--
-- The stream worker shows the same, though it keeps rows as they are and makes
-- the text of their values when a message is written
--
CREATE TABLE regress_types.wide (id int PRIMARY KEY);
DO $$
DECLARE
	s	record;
BEGIN
	FOR s IN SELECT type, 'v_' || btrim(type, '"') AS name, vals FROM regress_types.sample WHERE vals <> '{}' ORDER BY type COLLATE "C" LOOP
		EXECUTE format('ALTER TABLE regress_types.wide ADD %I %s, ADD %I %s[], ADD %I regress_types.%I', s.name, s.type, 'l_' || s.name, s.type, 'c_' || s.name, 'c_' || s.name);
	END LOOP;
END $$;
ALTER TABLE regress_types.wide ADD mood regress_types.mood, ADD pairs regress_types.hstore, ADD slow regress_types.slow;
ALTER TABLE regress_types.wide REPLICA IDENTITY FULL;
GRANT USAGE ON SCHEMA regress_types TO authenticated;
GRANT SELECT ON regress_types.wide TO authenticated;
ALTER PUBLICATION plinth_realtime ADD TABLE regress_types.wide;

SELECT set_config('request.jwt.claims', '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}', false) <> '' AS claims;
SET ROLE authenticated;
SELECT subscription_id AS sub, session_key AS key FROM realtime.subscribe('types', 'regress_types', 'wide') \gset
SELECT set_config('regress.sub', :'sub', false) <> '' AND set_config('regress.key', :'key', false) <> '' AS kept;
RESET ROLE;

-- each sample in one row or another; then all rows change, and one goes that
-- is older than a column
CREATE TABLE regress_types.wanted (event text, n int, new jsonb, old jsonb);
DO $$
DECLARE
	s	record;
BEGIN
	FOR n IN 1 .. (SELECT max(cardinality(vals)) FROM regress_types.sample) LOOP
		INSERT INTO regress_types.wide (id, mood, pairs, slow) VALUES (n, 'fine', 'a=>1', 'a');
		FOR s IN SELECT type, 'v_' || btrim(type, '"') AS name, vals FROM regress_types.sample WHERE cardinality(vals) >= n LOOP
			EXECUTE format('UPDATE regress_types.wide SET %I = $1[$2]::%s, %I = $1::%s[], %I = ROW($1[$2]::%s, $2) WHERE id = $2',
				s.name, s.type, 'l_' || s.name, s.type, 'c_' || s.name, s.type) USING s.vals, n;
		END LOOP;
	END LOOP;
END $$;
ALTER TABLE regress_types.wide ADD later text DEFAULT 'added';
INSERT INTO regress_types.wanted SELECT 'DELETE', id, '{}', to_jsonb(w) || '{"slow": "a"}' FROM regress_types.wide AS w;
DELETE FROM regress_types.wide;

CREATE TEMPORARY TABLE got (seq bigint, event text, payload jsonb);
DO $$
DECLARE
	deadline	timestamptz := clock_timestamp() + interval '30 s';
BEGIN
	WHILE clock_timestamp() < deadline AND (SELECT count(*) < (SELECT count(*) FROM regress_types.wanted) FROM got WHERE event = 'DELETE') LOOP
		PERFORM pg_sleep(0.02);
		INSERT INTO got SELECT seq, event, payload
		FROM realtime.poll(current_setting('regress.sub')::bigint, current_setting('regress.key'), coalesce((SELECT max(seq) FROM got), 0), 1000);
	END LOOP;
END $$;

-- the last UPDATE of a row and its DELETE have what the row had
SELECT w.n, e.key, left((w.old -> e.key)::text, 100) AS wanted, left(e.value::text, 100) AS got
FROM regress_types.wanted AS w
JOIN got AS g ON g.event = 'DELETE' AND (g.payload #>> '{old,id}')::int = w.n, jsonb_each(g.payload -> 'old') AS e
WHERE e.value IS DISTINCT FROM w.old -> e.key
ORDER BY 1, 2;
SELECT count(*) = (SELECT count(*) FROM regress_types.wanted) AS all_deleted, bool_and(payload -> 'unchanged' = '[]') AS complete
FROM got WHERE event = 'DELETE';
SELECT count(*) AS differences
FROM (SELECT DISTINCT ON (payload #>> '{new,id}') payload FROM got WHERE event = 'UPDATE' ORDER BY payload #>> '{new,id}', seq DESC) AS g
JOIN regress_types.wanted AS w ON (g.payload #>> '{new,id}')::int = w.n
WHERE g.payload -> 'new' <> w.old - 'later';
SELECT realtime.unsubscribe(:sub, :'key');
ALTER PUBLICATION plinth_realtime DROP TABLE regress_types.wide;
RESET request.jwt.claims;

SELECT pg_drop_replication_slot('regress_plinth_types');
DROP SCHEMA regress_types CASCADE;
