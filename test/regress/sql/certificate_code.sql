--
-- CERTIFICATE_CODE
-- Codes with a check character: their form, what the check detects, and who
-- gets one.
--
-- Needs: setup
-- Leaves: nothing
--
\set SHOW_CONTEXT never

-- ISO 7064 MOD 37,36 once more, in SQL: the check character of a text
CREATE FUNCTION pg_temp.check_character(code text)
RETURNS text
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
	characters	CONSTANT text := '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ';
	product		integer := 36;
	sum			integer;
BEGIN
	FOR i IN 1 .. length(code) LOOP
		sum := (product + strpos(characters, substr(code, i, 1)) - 1) % 36;
		IF sum = 0 THEN
			sum := 36;
		END IF;
		product := sum * 2 % 37;
	END LOOP;
	RETURN substr(characters, (37 - product) % 36 + 1, 1);
END;
$$;

-- published identifiers that use this check: a GRid of the recording
-- industry, and two ISAN roots (ISO 15706)
SELECT v.plain, v.published, pg_temp.check_character(v.plain) AS computed,
	   plinth.certificate_code_valid(v.plain || v.published) AS valid
FROM (VALUES ('A12425GABC1234002', 'M'), ('000000003A8D0000', 'Z'), ('006A15FA002BC95F', 'W')) AS v (plain, published);
SELECT plinth.certificate_code_valid('A1-2425G-ABC1234002-M') AS written,
	   plinth.certificate_code_valid(' a1 2425g abc1234002 m ') AS as_typed,
	   plinth.certificate_code_valid('A1-2425G-ABC1234002-N') AS other_check;

-- the form: prefix, groups of four, the check character by itself
CREATE TEMPORARY TABLE drawn AS
SELECT plinth.certificate_code('COA') AS code FROM generate_series(1, 10000);
SELECT count(*), count(DISTINCT code) AS different,
	   bool_and(code ~ '^COA(-[0-9A-HJKMNP-TV-Z]{4}){3}-[0-9A-HJKMNP-TV-Z]$') AS well_formed,
	   bool_and(plinth.certificate_code_valid(code)) AS valid,
	   bool_and(right(code, 1) = pg_temp.check_character(left(replace(code, '-', ''), -1))) AS by_the_standard
FROM drawn;
SELECT n AS length, prefix, regexp_replace(plinth.certificate_code(prefix, n), '[^-]', 'x', 'g') AS shape
FROM (VALUES (8, 'A'), (9, '0'), (12, 'ABCDEFGHIJKL'), (32, 'LOUISIANA123')) AS v (n, prefix);
-- all 32 characters at all 12 places: expected about 312 times each
SELECT count(*) AS cells, bool_and(n BETWEEN 150 AND 480) AS even
FROM (SELECT place, substr(replace(code, '-', ''), 3 + place, 1) AS digit, count(*) AS n
	  FROM drawn, generate_series(1, 12) AS place
	  GROUP BY 1, 2) AS cell;
-- every check character but I, L, O and U comes up
SELECT string_agg(DISTINCT right(code, 1), '' ORDER BY right(code, 1)) AS check_characters FROM drawn;
SELECT provolatile FROM pg_proc WHERE oid = 'plinth.certificate_code(text, integer)'::regprocedure;

-- one wrong character at any place is detected
WITH sample AS (SELECT replace(code, '-', '') AS code FROM drawn LIMIT 200)
SELECT count(*) AS mistakes, count(*) FILTER (WHERE plinth.certificate_code_valid(overlay(code PLACING wrong FROM place FOR 1))) AS unnoticed
FROM sample, generate_series(1, 16) AS place, regexp_split_to_table('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ', '') AS wrong
WHERE substr(code, place, 1) <> wrong;
-- two neighbours that changed places are, from the prefix's last character on
WITH sample AS (SELECT replace(code, '-', '') AS code FROM drawn)
SELECT count(*) > 100000 AS many, count(*) FILTER (WHERE plinth.certificate_code_valid(
		   overlay(code PLACING substr(code, place + 1, 1) || substr(code, place, 1) FROM place FOR 2))) AS unnoticed
FROM sample, generate_series(3, 15) AS place
WHERE substr(code, place, 1) <> substr(code, place + 1, 1);
-- which the standard alone does not promise: these two are both valid
SELECT plinth.certificate_code_valid('JI' || pg_temp.check_character('JI')) AS one,
	   plinth.certificate_code_valid('IJ' || pg_temp.check_character('JI')) AS other;
-- a character too few passes as often as any other text does, one in 36; of
-- those that are one too many at the end, one does
WITH sample AS (SELECT replace(code, '-', '') AS code FROM drawn)
SELECT count(*) FILTER (WHERE plinth.certificate_code_valid(left(code, -1))) BETWEEN 100 AND 500 AS few_cut,
	   sum((SELECT count(*) FROM regexp_split_to_table('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ', '') AS added
			WHERE plinth.certificate_code_valid(code || added))) AS longer
FROM sample;

-- what is no code
SELECT code, plinth.certificate_code_valid(code) AS valid
FROM (VALUES (''), ('-'), (' '), ('1'), ('0 - '), ('C'), ('CD'), ('c-d'), ('CD!'), (E'C\tD'), ('ÇD'), ('C–D'), (NULL)) AS v (code);
SELECT plinth.certificate_code_valid(repeat('0', 1000000)) AS long,
	   plinth.certificate_code_valid(repeat('-', 1000000) || 'CD') AS padded;

-- arguments
DO $$
DECLARE
	call	text;
	state	text;
	said	text;
	more	text;
BEGIN
	FOREACH call IN ARRAY ARRAY['NULL', '''COA'', NULL', '''''', '''coa''', '''C-A''', '''ÄB''', '''ABCDEFGHIJKLM''', '''C A''',
								'''COA'', 7', '''COA'', 33', '''COA'', -1', '''COA'', 2147483647'] LOOP
		BEGIN
			EXECUTE format('SELECT plinth.certificate_code(%s)', call);
			RAISE WARNING 'accepted: %', call;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL;
			RAISE INFO '(%) % %: %', call, state, said, more;
		END;
	END LOOP;
END;
$$;

-- only those who issue certificates; anybody may check
SET ROLE service_role;
SELECT plinth.certificate_code_valid(plinth.certificate_code('COA')) AS drawn;
SET ROLE plinth_owner;
SELECT plinth.certificate_code_valid(plinth.certificate_code('COA', 8)) AS drawn;
SET ROLE authenticated;
SELECT plinth.certificate_code_valid('CD');
SELECT plinth.certificate_code('COA');
SET ROLE anon;
SELECT plinth.certificate_code_valid('CD');
SELECT plinth.certificate_code('COA');
RESET ROLE;

DROP FUNCTION pg_temp.check_character(text);
DROP TABLE drawn;
