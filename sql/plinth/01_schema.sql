-- ---------------------------------------------------------------------
-- Schema
--
--		CREATE EXTENSION makes the schema, or takes one that is there: the
--		one that an earlier DROP EXTENSION or a restore has left, and no
--		other.  Whoever owned it, or could create in it, could put functions
--		beside ours (S6.6).
-- ---------------------------------------------------------------------
DO $schema$
DECLARE
	problem	text;
BEGIN
	SELECT CASE
		WHEN NOT r.rolsuper THEN
			pg_catalog.format('It belongs to "%s", who is not a superuser.', r.rolname)
		WHEN EXISTS (
			SELECT FROM pg_catalog.aclexplode(n.nspacl) AS a
			WHERE a.privilege_type OPERATOR(pg_catalog.=) 'CREATE'
				AND a.grantee OPERATOR(pg_catalog.<>) n.nspowner) THEN
			'Others than its owner may create objects in it.'
		WHEN EXISTS (
			SELECT FROM pg_catalog.pg_depend AS d
			WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
				AND d.refobjid OPERATOR(pg_catalog.=) n.oid
				AND d.deptype OPERATOR(pg_catalog.=) 'n'
				AND d.classid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_extension'::pg_catalog.regclass) THEN
			'There are objects in it.'
		END INTO problem
	FROM pg_catalog.pg_namespace AS n
		JOIN pg_catalog.pg_roles AS r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
	WHERE n.nspname OPERATOR(pg_catalog.=) 'plinth';

	IF problem IS NOT NULL THEN
		RAISE EXCEPTION 'schema "plinth" exists and cannot be used'
			USING ERRCODE = 'duplicate_schema',
				  DETAIL = problem,
				  HINT = 'Drop or rename it, and try again.';
	END IF;
END;
$schema$;

