--
-- CERTIFICATE
-- Certificate numbers: their form, that they do not repeat, and who gets one.
--
-- Needs: setup
-- Leaves: nothing
--
\set SHOW_CONTEXT never

-- the form, and no repetition in ten thousand (one run in a million would)
CREATE TEMPORARY TABLE drawn AS
SELECT plinth.generate_certificate_number() AS number FROM generate_series(1, 10000);
SELECT count(*), count(DISTINCT number) AS different,
	   bool_and(number ~ '^EVOLV-[0-9A-F]{12}$') AS well_formed
FROM drawn;

-- every call draws, also where the planner could think once is enough
SELECT provolatile, pronargs FROM pg_proc WHERE oid = 'plinth.generate_certificate_number()'::regprocedure;
SELECT count(DISTINCT n) FROM (SELECT plinth.generate_certificate_number() AS n FROM drawn LIMIT 3) AS three;

-- Each of the 16 characters at each of the 12 places: expected 625 times in
-- 10000, standard deviation 24.  Ten deviations never happen by chance.
SELECT count(*) AS cells, bool_and(n BETWEEN 385 AND 865) AS even
FROM (SELECT place, substr(number, 6 + place, 1) AS digit, count(*) AS n
	  FROM drawn, generate_series(1, 12) AS place
	  GROUP BY 1, 2) AS cell;

-- a column default takes one for each row
CREATE TEMPORARY TABLE issued (id integer, number text UNIQUE DEFAULT plinth.generate_certificate_number());
INSERT INTO issued (id) SELECT generate_series(1, 1000);
SELECT count(DISTINCT number) FROM issued;

-- only those who issue certificates
SET ROLE service_role;
SELECT plinth.generate_certificate_number() ~ '^EVOLV-[0-9A-F]{12}$' AS drawn;
SET ROLE plinth_owner;
SELECT plinth.generate_certificate_number() ~ '^EVOLV-[0-9A-F]{12}$' AS drawn;
SET ROLE authenticated;
SELECT plinth.generate_certificate_number();
SET ROLE anon;
SELECT plinth.generate_certificate_number();
RESET ROLE;

DROP TABLE drawn, issued;
