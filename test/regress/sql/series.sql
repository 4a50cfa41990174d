--
-- SERIES
-- Numbers without gaps: patterns, the turn of the year, who takes one.
--
-- Needs: setup
-- Leaves: nothing
--
\set SHOW_CONTEXT never
\pset null '(null)'

-- an unknown name works at once
SELECT plinth.series_next('LAB-2026') AS first, plinth.series_next('LAB-2026') AS second;
SELECT * FROM series.series;

-- patterns, and numbers that are longer than their places
SELECT plinth.series_create('A', 'no. {n}', 'none');
SELECT plinth.series_create('B', '{n:1}', 'none', first_number => 9);
SELECT plinth.series_create('C', '{name}/{n:18}/{name}', 'none', 'Europe/Berlin');
SELECT plinth.series_create('Ä ö {n}', '{name}: {n:3}é', 'none', first_number => 998);
SELECT name, plinth.series_next(name) AS first, plinth.series_next(name) AS second, plinth.series_next(name) AS third
FROM (VALUES ('A'), ('B'), ('C'), ('Ä ö {n}')) AS v (name);
-- the year, also where it does not reset the number
SELECT plinth.series_create('D');
SELECT plinth.series_create('E', '{year}{n:4}', 'none');
SELECT name, replace(plinth.series_next(name), extract(year FROM now() AT TIME ZONE 'UTC')::text, 'YYYY') AS first,
	   replace(plinth.series_next(name), extract(year FROM now() AT TIME ZONE 'UTC')::text, 'YYYY') AS second
FROM (VALUES ('D'), ('E')) AS v (name);
SELECT name, pattern, reset, time_zone, period = extract(year FROM now() AT TIME ZONE 'UTC') AS this_year, last_number
FROM series.series ORDER BY name;

-- a series is declared once, or like that once more
SELECT plinth.series_create('D', '{name}-{year}-{n:6}', 'year', 'utc', 500);
SELECT last_number FROM series.series WHERE name = 'D';
SELECT plinth.series_create('D', '{name}-{year}-{n:7}');
SELECT plinth.series_create('D', '{name}-{year}-{n:6}', 'none');
SELECT plinth.series_create('D', time_zone => 'Europe/Berlin');

-- the turn of the year: the number begins again, once
UPDATE series.series SET period = 2001, last_number = 4711 WHERE name = 'D';
SELECT replace(plinth.series_next('D'), extract(year FROM now() AT TIME ZONE 'UTC')::text, 'YYYY') AS new_year,
	   replace(plinth.series_next('D'), extract(year FROM now() AT TIME ZONE 'UTC')::text, 'YYYY') AS next;
-- undone with its transaction
BEGIN;
UPDATE series.series SET period = 2001, last_number = 4711 WHERE name = 'D';
COMMIT;
BEGIN;
SELECT plinth.series_next('D') LIKE '%-000001' AS new_year;
ROLLBACK;
SELECT period, last_number FROM series.series WHERE name = 'D';
-- a year that others have begun goes on, though it is not ours yet
UPDATE series.series SET period = 9998, last_number = 7 WHERE name = 'D';
SELECT plinth.series_next('D') AS first, plinth.series_next('D') AS second;
-- where the year begins
SELECT plinth.series_create('early', '{year}-{n}', 'year', 'Pacific/Kiritimati');
SELECT plinth.series_create('late', '{year}-{n}', 'year', 'Etc/GMT+12');
SELECT v.name, plinth.series_next(v.name) = to_char(now() AT TIME ZONE v.zone, 'YYYY') || '-1' AS its_year,
	   (SELECT s.time_zone FROM series.series AS s WHERE s.name = v.name) = v.zone AS its_zone
FROM (VALUES ('early', 'Pacific/Kiritimati'), ('late', 'Etc/GMT+12')) AS v (name, zone);
-- the caller's own zone does not matter, and its path neither
SET TimeZone = 'Pacific/Kiritimati';
SET search_path = pg_temp, public;
SELECT plinth.series_next('late') = to_char(now() AT TIME ZONE 'Etc/GMT+12', 'YYYY') || '-2' AS its_year;
RESET TimeZone;
RESET search_path;

-- a thousand in one statement, and a savepoint that takes one back
SELECT count(DISTINCT n), min(n), max(n) FROM (SELECT plinth.series_next('bulk') AS n FROM generate_series(1, 1000)) AS taken;
BEGIN;
SAVEPOINT here;
SELECT plinth.series_next('bulk');
ROLLBACK TO SAVEPOINT here;
SELECT plinth.series_next('bulk');
COMMIT;

-- the last number there is
UPDATE series.series SET last_number = 9223372036854775806 WHERE name = 'A';
SELECT plinth.series_next('A');
SELECT plinth.series_next('A');
-- a zone that is not known any more
UPDATE series.series SET time_zone = 'Atlantis' WHERE name = 'B';
SELECT plinth.series_next('B');
SELECT last_number FROM series.series WHERE name = 'B';
BEGIN READ ONLY;
SELECT plinth.series_next('C');
ROLLBACK;

-- arguments
DO $$
DECLARE
	call	text;
	state	text;
	said	text;
	more	text;
BEGIN
	FOREACH call IN ARRAY ARRAY[
		'next(NULL)', 'next('''')', 'next(E''a\tb'')', 'next(repeat(''x'', 101))', 'next(repeat(''ä'', 101))', 'next(repeat(''x'', 1000000))',
		'create(NULL)', 'create('''')', 'create(''N'', NULL)', 'create(''N'', '''')', 'create(''N'', ''no number'')', 'create(''N'', ''{n}{n}'')',
		'create(''N'', ''{n:0}'')', 'create(''N'', ''{n:19}'')', 'create(''N'', ''{n:}'')', 'create(''N'', ''{n:1x}'')', 'create(''N'', ''{n: 1}'')',
		'create(''N'', ''{n:006}'')', 'create(''N'', ''{N}'')', 'create(''N'', ''{}{n}'')', 'create(''N'', ''{n'')', 'create(''N'', ''n}{n}'')',
		'create(''N'', ''{{n}}'')', 'create(''N'', ''{month}{n}'')', 'create(''N'', E''{n}\n'')', 'create(''N'', repeat(''x'', 198) || ''{n}'')',
		'create(''N'', ''{n}'')', 'create(''N'', ''{n}'', ''month'')', 'create(''N'', ''{n}'', NULL)', 'create(''N'', ''{n}'', ''none'', NULL)',
		'create(''N'', ''{n}'', ''none'', ''Atlantis'')', 'create(''N'', ''{n}'', ''none'', repeat(''x'', 1000))', 'create(''N'', ''{n}'', ''none'', '''')',
		'create(''N'', ''{n}'', ''none'', ''UTC'', 0)', 'create(''N'', ''{n}'', ''none'', ''UTC'', NULL)'] LOOP
		BEGIN
			EXECUTE format('SELECT plinth.series_%s', call);
			RAISE WARNING 'accepted: %', call;
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, more = PG_EXCEPTION_DETAIL;
			RAISE INFO '% % %: %', call, state, left(said, 60), more;
		END;
	END LOOP;
END;
$$;
SELECT plinth.series_create('longest', repeat('x', 197) || '{n}', 'none');
SELECT plinth.series_next(repeat('ä', 100)) = repeat('ä', 100) || '-000001' AS longest_name;

-- who may: services number and read, nobody else does either
SET ROLE service_role;
SELECT plinth.series_next('svc') AS number;
SELECT plinth.series_create('svc2', '{n}', 'none');
SELECT last_number FROM series.series WHERE name = 'svc';
UPDATE series.series SET last_number = 0;
DELETE FROM series.series;
SET ROLE plinth_owner;
SELECT plinth.series_next('svc') AS number;
SET ROLE authenticated;
SELECT plinth.series_next('svc');
SELECT plinth.series_create('mine', '{n}', 'none');
SELECT * FROM series.series;
SET ROLE anon;
SELECT plinth.series_next('svc');
SELECT * FROM series.series;
RESET ROLE;

-- Without the module the error says what to do; and what somebody else made
-- under its name is none.
BEGIN;
ALTER SCHEMA series RENAME TO regress_elsewhere;
DO $$
DECLARE
	state	text;
	advice	text;
BEGIN
	PERFORM plinth.series_next('svc');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, advice = PG_EXCEPTION_HINT;
	RAISE INFO '% % %', state, SQLERRM, advice;
END;
$$;
CREATE SCHEMA series;
CREATE TABLE series.series (LIKE regress_elsewhere.series INCLUDING ALL);
SELECT plinth.series_next('svc');
ROLLBACK;
SELECT plinth.series_next('svc') AS number;

DELETE FROM series.series;
