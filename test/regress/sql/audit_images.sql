--
-- AUDIT_IMAGES
-- What a record keeps of a row: values of every type, keys, redacted and
-- ignored columns, columns that came and went.
--
-- Needs: setup
-- Leaves: records of schema regress_audit_images
--
SET client_min_messages = warning;
CREATE SCHEMA regress_audit_images;
SET search_path = regress_audit_images;
SET timezone = 'UTC';
CREATE VIEW log AS
	SELECT * FROM audit.audit_logs WHERE table_schema = 'regress_audit_images';

-- a wide table: the images are those of to_jsonb()
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE TYPE pair AS (x int, y text);
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE DOMAIN doc AS jsonb;
CREATE DOMAIN tag AS text;
CREATE TABLE wide (
	id bigint PRIMARY KEY,
	c_bool bool, c_int2 int2, c_int4 int4, c_int8 int8,
	c_float4 float4, c_float8 float8, c_numeric numeric, c_numeric2 numeric(10,2),
	c_text text, c_varchar varchar(20), c_char char(5), c_name name, c_char1 "char",
	c_bytea bytea, c_date date, c_time time, c_timetz timetz,
	c_timestamp timestamp, c_timestamptz timestamptz, c_interval interval,
	c_uuid uuid, c_inet inet, c_cidr cidr, c_macaddr macaddr,
	c_json json, c_jsonb jsonb, c_xid8 xid8, c_oid oid, c_regclass regclass,
	c_point point, c_box box, c_range int4range, c_multirange int4multirange,
	c_bit bit(3), c_varbit varbit, c_tsvector tsvector, c_money money, c_lsn pg_lsn,
	c_enum colour, c_composite pair, c_posint posint, c_doc doc, c_tag tag,
	c_ints int[], c_texts text[], c_nested int[][], c_pairs pair[], c_enums colour[],
	c_jsons jsonb[], c_tags tag[], c_generated int8 GENERATED ALWAYS AS (c_int4::int8 * 2) STORED,
	"odd ""name""" text, "Ünïcode" text);
SELECT audit.attach('wide');
INSERT INTO wide VALUES
	(1, true, -32768, 2147483647, -9223372036854775808,
	 1.5, 1e-300, 12345678901234567890.123456789, 1.10,
	 E'quote " backslash \\ newline \n tab \t', 'varchar', 'ab', 'name', 'c',
	 '\x00ff80', '2024-02-29', '23:59:59.999999', '01:02:03+04',
	 '2024-02-29 12:00:00.5', '2024-02-29 12:00:00+02', '1 year 2 mons 3 days 04:05:06',
	 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '192.0.2.1/24', '2001:db8::/32', '08:00:2b:01:02:03',
	 '{"b": 1, "a": [1, {"z": null}], "a": 2}', '{"k": [true, "s", 1.50, {"deep": {}}]}',
	 '1234', 42, 'pg_class',
	 '(1,2)', '(1,1),(0,0)', '[1,5)', '{[1,2),[5,9)}',
	 '101', '11', 'a fat cat', 12.34, '0/16B3748',
	 'green', '(1,"a,b")', 7, '[1,2]', 'tag',
	 '{1,NULL,3}', '{"a","b c",NULL}', '{{1,2},{3,4}}', '{"(1,x)","(2,)"}', '{red,green}',
	 ARRAY['{"a":1}', '2', 'null']::jsonb[], '{t1,t2}', DEFAULT, 'odd', 'ü'),
	(2, false, 0, 0, 0, '-0', '-0', 0, 0, '', '', '', '', '', '', 'infinity', '00:00', '00:00+00',
	 'infinity', '-infinity', '0', '00000000-0000-0000-0000-000000000000', '::1', '0.0.0.0/0', '00:00:00:00:00:00',
	 'null', 'null', '0', 0, '-', '(0,0)', '(0,0),(0,0)', 'empty', '{}', '000', '', '', 0, '0/0',
	 'red', '(,)', 1, '"scalar"', '', '{}', '{}', '{}', '{}', '{}', '{}', '{}', DEFAULT, '', '');
INSERT INTO wide (id) VALUES (3);
INSERT INTO wide (id, c_float4, c_float8, c_numeric, c_json, c_jsonb) VALUES
	(4, 'NaN', 'Infinity', 'NaN', '"s"', '3'), (5, '-Infinity', '-Infinity', '-Infinity', '1.50', '[]'),
	(6, 3.4028235e38, 0.1::float8 + 0.2::float8, 'Infinity', '{}', '{}');
SELECT w.id, l.new_data = to_jsonb(w) AS same
FROM wide AS w JOIN log AS l ON l.table_name = 'wide' AND l.record_pk = jsonb_build_object('id', w.id)
ORDER BY w.id;
-- also byte by byte: the keys lie in the order in which jsonb looks for them
SELECT w.id, l.new_data::text = to_jsonb(w)::text AS same_text, k.n AS columns_found
FROM wide AS w JOIN log AS l ON l.table_name = 'wide' AND l.record_pk = jsonb_build_object('id', w.id)
CROSS JOIN LATERAL (SELECT count(*) AS n FROM jsonb_object_keys(l.new_data) AS key WHERE l.new_data ? key) AS k
ORDER BY w.id;
-- and the old image of a deleted row is that of the new one
DELETE FROM wide;
SELECT i.record_pk, i.new_data = d.old_data AS same
FROM log AS i JOIN log AS d USING (table_name, record_pk)
WHERE i.table_name = 'wide' AND i.action = 'INSERT' AND d.action = 'DELETE' ORDER BY 1;

-- where to_jsonb() follows the session's settings, a record does not
CREATE TABLE exact (id int PRIMARY KEY, f float8, b bytea);
SELECT audit.attach('exact');
SET extra_float_digits = -15;
SET bytea_output = escape;
INSERT INTO exact VALUES (1, 0.1::float8 + 0.2::float8, '\x00ff');
RESET extra_float_digits;
RESET bytea_output;
SELECT new_data FROM log WHERE table_name = 'exact';

-- json that jsonb cannot hold is kept as the string that it is
CREATE TABLE strange (id int PRIMARY KEY, j json);
SELECT audit.attach('strange');
INSERT INTO strange VALUES (1, '{"a": "\u0000"}'), (2, '{"a": "\u00e4"}'),
	(3, '1e999999999'), (4, '1.5e3'), (5, '"\ud800"');
UPDATE strange SET j = '"plain"' WHERE id = 1;
SELECT action, old_data, new_data FROM log WHERE table_name = 'strange' ORDER BY created_at, id;

-- a value that was moved out of the row: old and new, and unchanged
CREATE TABLE toasted (id int PRIMARY KEY, big text, n int);
ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL;
SELECT audit.attach('toasted');
INSERT INTO toasted VALUES (1, repeat('0123456789', 5000), 1);
UPDATE toasted SET n = 2;
UPDATE toasted SET big = big || 'x';
UPDATE toasted SET big = big || '';
UPDATE toasted SET big = left(big, 4);
SELECT action, changed_columns, length(old_data ->> 'big') AS old_length,
	   length(new_data ->> 'big') AS new_length,
	   right(new_data ->> 'big', 4) AS ends
FROM log WHERE table_name = 'toasted' ORDER BY created_at, id;

-- a value that no image can take is named by its size
CREATE TABLE huge (id int PRIMARY KEY, a text, b text);
SELECT audit.attach('huge');
INSERT INTO huge VALUES (1, repeat('x', 20000000), repeat('y', 20000000)), (2, 'small', NULL);
SELECT record_pk, length(new_data ->> 'a') AS a, new_data ->> 'b' AS b
FROM log WHERE table_name = 'huge' ORDER BY id;
CREATE TABLE huge_trees (id int PRIMARY KEY, a bool[], j json, b bytea, n int);
SELECT audit.attach('huge_trees');
INSERT INTO huge_trees VALUES (1, array_fill(true, ARRAY[5000000]),
	('[' || repeat('1,', 2500000) || '1]')::json, decode(repeat('00', 17000000), 'hex'), 5);
SELECT new_data FROM log WHERE table_name = 'huge_trees';

-- columns that went, came with a default, or were renamed
CREATE TABLE altered (id int PRIMARY KEY, gone text, kept text);
INSERT INTO altered VALUES (1, 'gone', 'kept');
SELECT audit.attach('altered');
ALTER TABLE altered DROP gone;
ALTER TABLE altered ADD came int DEFAULT 42;
ALTER TABLE altered RENAME kept TO renamed;
UPDATE altered SET renamed = 'new';
UPDATE altered SET came = 43;
INSERT INTO altered (id) VALUES (2);
DELETE FROM altered;
SELECT action, old_data, new_data FROM log WHERE table_name = 'altered' ORDER BY created_at, id;

-- redacted: neither the image nor the key shows it, but that it changed
CREATE TABLE secret (id uuid PRIMARY KEY, password text, note text);
SELECT audit.attach('secret', redact => '{password}');
INSERT INTO secret VALUES ('00000000-0000-4000-8000-000000000001', 'hunter2', 'n'),
	('00000000-0000-4000-8000-000000000002', NULL, 'n');
UPDATE secret SET password = 'hunter3';
UPDATE secret SET note = 'm' WHERE password IS NOT NULL AND id::text LIKE '%1';
SET plinth.audit_full_rows = on;
UPDATE secret SET note = 'o' WHERE id::text LIKE '%1';
RESET plinth.audit_full_rows;
DELETE FROM secret WHERE id::text LIKE '%2';
SELECT action, right(record_id::text, 1) AS row, old_data, new_data, changed_columns
FROM log WHERE table_name = 'secret' ORDER BY created_at, id;
SELECT count(*) FROM log WHERE table_name = 'secret' AND log::text ~ 'hunter';
CREATE TABLE secret_key (token uuid PRIMARY KEY, n int);
SELECT audit.attach('secret_key', redact => '{token}');
INSERT INTO secret_key VALUES ('00000000-0000-4000-8000-00000000beef', 1);
SELECT record_id, record_pk, new_data FROM log WHERE table_name = 'secret_key';

-- ignored: a change of nothing else makes no record and is in none
CREATE TABLE counted (id int PRIMARY KEY, title text, views int, updated_at timestamptz);
SELECT audit.attach('counted', ignore => '{views,updated_at}');
INSERT INTO counted VALUES (1, 'a', 0, '2024-01-01');
UPDATE counted SET views = 1, updated_at = '2024-01-02';
UPDATE counted SET views = 2, title = 'b';
SET plinth.audit_full_rows = on;
UPDATE counted SET views = 3;
UPDATE counted SET views = 4, title = 'c';
RESET plinth.audit_full_rows;
SELECT action, old_data, new_data, changed_columns
FROM log WHERE table_name = 'counted' ORDER BY created_at, id;

-- keys: none, one uuid, several columns, deferrable, a domain over uuid
CREATE DOMAIN key AS uuid;
CREATE TABLE key_none (a int);
CREATE TABLE key_uuid (u uuid PRIMARY KEY);
CREATE TABLE key_domain (u key PRIMARY KEY);
CREATE TABLE key_two (b text, a int, c int, PRIMARY KEY (a, b));
CREATE TABLE key_late (a int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE key_include (u uuid, n int, PRIMARY KEY (u) INCLUDE (n));
SELECT audit.attach(t::regclass) FROM unnest('{key_none,key_uuid,key_domain,key_two,key_late,key_include}'::text[]) AS t;
INSERT INTO key_none VALUES (1);
INSERT INTO key_uuid VALUES ('00000000-0000-4000-8000-000000000001');
INSERT INTO key_domain VALUES ('00000000-0000-4000-8000-000000000001');
INSERT INTO key_two VALUES ('b', 1, 2);
INSERT INTO key_late VALUES (1);
INSERT INTO key_include VALUES ('00000000-0000-4000-8000-000000000001', 1);
SELECT table_name, record_id, record_pk FROM log WHERE table_name LIKE 'key\_%' ORDER BY table_name;

-- a table without columns, and one whose columns are all gone
CREATE TABLE empty ();
SELECT audit.attach('empty');
INSERT INTO empty DEFAULT VALUES;
SELECT action, new_data FROM log WHERE table_name = 'empty';

-- a type with a cast to json of its own is shown by it, as to_jsonb() does
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE FUNCTION mood_to_json(mood) RETURNS json LANGUAGE sql IMMUTABLE
	AS $$ SELECT json_build_object('mood', $1::text) $$;
CREATE CAST (mood AS json) WITH FUNCTION mood_to_json(mood);
CREATE TABLE moods (id int PRIMARY KEY, m mood);
SELECT audit.attach('moods');
INSERT INTO moods VALUES (1, 'happy');
SELECT l.new_data, to_jsonb(x) = l.new_data AS same FROM log AS l, moods AS x WHERE l.table_name = 'moods';

-- many columns of many types: every member is found by its name, and the
-- image is to the byte what the server makes of the row
DO $$
DECLARE
	columns	text := '';
	kinds	text[] := '{int,text,"numeric(12,3)",jsonb,bool,uuid,timestamptz,text[],float8,bytea,date}';
BEGIN
	FOR i IN 1..100 LOOP
		columns := columns || format(', %I %s', left('c' || i || repeat('x', i * 7 % 23), 63), kinds[1 + i % 11]);
	END LOOP;
	EXECUTE 'CREATE TABLE mixed (id int PRIMARY KEY' || columns || ')';
END
$$;
SELECT audit.attach('mixed');
CREATE FUNCTION wide_value(type text, n int) RETURNS text LANGUAGE sql RETURN
	CASE WHEN n % 7 = 0 THEN 'NULL' ELSE format('%L::%s', CASE type
		WHEN 'integer' THEN n::text WHEN 'text' THEN repeat('text ', n % 40)
		WHEN 'numeric' THEN (n * 1.125)::text WHEN 'boolean' THEN (n % 2 = 0)::text
		WHEN 'jsonb' THEN CASE n % 5 WHEN 0 THEN 'null' WHEN 1 THEN '"s"' WHEN 2 THEN '[]' WHEN 3 THEN '17.5'
			ELSE jsonb_build_object('a', n, 'list', ARRAY[n, n + 1], 'deep', '{"x": {"y": [1.5, true, null, "z"]}}'::jsonb)::text END
		WHEN 'uuid' THEN md5(n::text) WHEN 'timestamp with time zone' THEN '2026-11-21 06:07:08.9+00'
		WHEN 'ARRAY' THEN CASE n % 3 WHEN 0 THEN '{}' ELSE '{a,"b c",NULL}' END WHEN 'double precision' THEN (n / 3.0)::text
		WHEN 'bytea' THEN '\x' || repeat('0a', n % 9) WHEN 'date' THEN '2026-02-28' END,
		CASE type WHEN 'ARRAY' THEN 'text[]' ELSE type END) END;
DO $$
BEGIN
	FOR i IN 1..20 LOOP
		EXECUTE (SELECT format('INSERT INTO mixed VALUES (%s%s)', i, string_agg(', ' || wide_value(data_type::text, i * 13 + ordinal_position), '' ORDER BY ordinal_position))
			FROM information_schema.columns WHERE table_schema = current_schema AND table_name = 'mixed' AND ordinal_position > 1);
	END LOOP;
END
$$;
SELECT count(*) AS images, bool_and(l.new_data = to_jsonb(w)) AS equal,
	bool_and(l.new_data::text = to_jsonb(w)::text) AS as_text,
	bool_and(md5(jsonb_send(l.new_data)) = md5(jsonb_send(to_jsonb(w)))) AS sent,
	bool_and(pg_column_size(l.new_data || '{}') = pg_column_size(to_jsonb(w))) AS as_long,
	bool_and((SELECT bool_and(l.new_data -> key IS NOT DISTINCT FROM value) FROM jsonb_each(to_jsonb(w)))) AS found
FROM mixed AS w JOIN audit.audit_logs AS l
	ON l.table_schema = current_schema AND l.table_name = 'mixed' AND l.record_pk = jsonb_build_object('id', w.id);

DROP SCHEMA regress_audit_images CASCADE;
