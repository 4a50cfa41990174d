-- ---------------------------------------------------------------------
-- What must hold for every table, policy and function there is (S4, S6)
--
-- Read from the catalogue, so that it covers what is added later.  Every
-- query but the last two has no row.
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------

-- the schemas in question
CREATE TEMPORARY VIEW our_schemas AS
	SELECT n.oid, n.nspname, n.nspowner FROM pg_namespace AS n
	WHERE n.nspname = 'plinth' OR n.nspname IN (SELECT schema FROM plinth.installed_modules);
SELECT count(*) > 2 AS there_are_some FROM our_schemas;

-- modules belong to plinth_owner, with all that is in them
SELECT nspname FROM our_schemas WHERE nspname <> 'plinth' AND nspowner <> 'plinth_owner'::regrole;
SELECT c.oid::regclass FROM pg_class AS c JOIN our_schemas AS n ON n.oid = c.relnamespace
WHERE n.nspname <> 'plinth' AND c.relowner <> 'plinth_owner'::regrole;
SELECT p.oid::regprocedure FROM pg_proc AS p JOIN our_schemas AS n ON n.oid = p.pronamespace
WHERE n.nspname <> 'plinth' AND p.proowner <> 'plinth_owner'::regrole;

-- S4.1, C1: a table without row security, partitions included
SELECT c.oid::regclass FROM pg_class AS c JOIN our_schemas AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relrowsecurity;

-- C2: a policy for PUBLIC
SELECT p.polrelid::regclass, p.polname FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
	JOIN our_schemas AS n ON n.oid = c.relnamespace
WHERE 0 = ANY (p.polroles);

-- C3, S4.4: an UPDATE or ALL policy without WITH CHECK
SELECT p.polrelid::regclass, p.polname FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
	JOIN our_schemas AS n ON n.oid = c.relnamespace
WHERE p.polcmd IN ('w', '*') AND p.polwithcheck IS NULL;

-- C8: a policy that asks for the caller anew for each row
SELECT p.polrelid::regclass, p.polname FROM pg_policy AS p JOIN pg_class AS c ON c.oid = p.polrelid
	JOIN our_schemas AS n ON n.oid = c.relnamespace
WHERE concat(pg_get_expr(p.polqual, p.polrelid), ' ', pg_get_expr(p.polwithcheck, p.polrelid))
	~ '(?<!SELECT )(auth\.uid|auth\.is_admin)\(';

-- S4.6: a view that runs with its owner's rights and that end users reach
SELECT c.oid::regclass FROM pg_class AS c JOIN our_schemas AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'v' AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false)
	AND (has_table_privilege('anon', c.oid, 'SELECT') OR has_table_privilege('authenticated', c.oid, 'SELECT'));

-- S4.6: a materialized view that end users reach
SELECT c.oid::regclass FROM pg_class AS c JOIN our_schemas AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'm'
	AND (has_table_privilege('anon', c.oid, 'SELECT') OR has_table_privilege('authenticated', c.oid, 'SELECT'));

-- S4.2: more on a table than reading and writing, for end users or for all
SELECT c.oid::regclass, a.grantee::regrole, a.privilege_type
FROM pg_class AS c JOIN our_schemas AS n ON n.oid = c.relnamespace, aclexplode(c.relacl) AS a
WHERE a.grantee IN (0, 'anon'::regrole, 'authenticated'::regrole)
	AND (c.relkind = 'S' OR a.grantee = 0
		OR a.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'));

-- S4.2: schemas in which end users, or all, may create
SELECT n.nspname FROM our_schemas AS n
WHERE has_schema_privilege('anon', n.oid, 'CREATE') OR has_schema_privilege('authenticated', n.oid, 'CREATE')
	OR has_schema_privilege('service_role', n.oid, 'CREATE');

-- S4.3: columns that end users never write
SELECT c.oid::regclass, a.attname, r.rolname
FROM pg_class AS c JOIN our_schemas AS n ON n.oid = c.relnamespace
	JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
	(VALUES ('anon'), ('authenticated')) AS r (rolname)
WHERE c.relkind IN ('r', 'p')
	AND (a.attname IN ('role', 'app_role', 'user_type', 'is_guest', 'verified', 'points', 'created_at', 'updated_at',
			'certificate_number', 'encrypted_password')
		OR a.attname LIKE '%\_count')
	AND (has_column_privilege(r.rolname, c.oid, a.attnum, 'INSERT')
		OR has_column_privilege(r.rolname, c.oid, a.attnum, 'UPDATE'));

-- C12: a foreign key whose columns no index begins with
SELECT k.conrelid::regclass, k.conname
FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid JOIN our_schemas AS n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND NOT EXISTS (
	SELECT FROM pg_index AS i
	WHERE i.indrelid = k.conrelid AND i.indpred IS NULL AND i.indisvalid
		AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
		AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] <@ k.conkey);

-- C11: a time of creation or change, a flag or a counter that may be NULL
SELECT c.oid::regclass, a.attname
FROM pg_class AS c JOIN our_schemas AS n ON n.oid = c.relnamespace
	JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p') AND NOT a.attnotnull
	AND (a.attname IN ('created_at', 'updated_at') OR a.atttypid = 'boolean'::regtype OR a.attname LIKE '%\_count');

-- S4.8: a function that everybody may execute
SELECT p.oid::regprocedure FROM pg_proc AS p JOIN our_schemas AS n ON n.oid = p.pronamespace
WHERE EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE a.grantee = 0);

-- S4.7, C6: a function with the owner's rights whose names could be led astray
SELECT p.oid::regprocedure, p.proconfig FROM pg_proc AS p JOIN our_schemas AS n ON n.oid = p.pronamespace
WHERE p.prosecdef AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false);

-- S4.7: one that is owned by somebody else
SELECT p.oid::regprocedure, p.proowner::regrole FROM pg_proc AS p JOIN our_schemas AS n ON n.oid = p.pronamespace
WHERE p.prosecdef AND p.proowner <> 'plinth_owner'::regrole;

-- S4.7: one that goes by current_user, which is the owner there
SELECT p.oid::regprocedure FROM pg_proc AS p JOIN our_schemas AS n ON n.oid = p.pronamespace
WHERE p.prosecdef AND p.prosrc ~* '\mcurrent_user\M';

-- S4.8: C that takes server-internal arguments and can be called
SELECT p.oid::regprocedure FROM pg_proc AS p JOIN our_schemas AS n ON n.oid = p.pronamespace
WHERE 'internal'::regtype = ANY (p.proargtypes);

-- every table, view and function says what it is for
SELECT c.oid::regclass FROM pg_class AS c JOIN our_schemas AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition AND obj_description(c.oid, 'pg_class') IS NULL;
SELECT p.oid::regprocedure FROM pg_proc AS p JOIN our_schemas AS n ON n.oid = p.pronamespace
WHERE obj_description(p.oid, 'pg_proc') IS NULL;

-- S6.5: a column of a type that pg_upgrade refuses
SELECT c.oid::regclass, a.attname
FROM pg_class AS c JOIN our_schemas AS n ON n.oid = c.relnamespace
	JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'm') AND a.atttypid IN ('regproc'::regtype, 'regprocedure'::regtype,
	'regoper'::regtype, 'regoperator'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype,
	'regcollation'::regtype, 'regnamespace'::regtype, 'regclass'::regtype, 'regtype'::regtype, 'regrole'::regtype);

-- tables with row security and no policy: reached by functions only
SELECT c.oid::regclass AS functions_only FROM pg_class AS c JOIN our_schemas AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
	AND NOT EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid)
ORDER BY c.oid::regclass::text COLLATE "C";

-- S4.7: what an anonymous caller can do with the owner's rights
SELECT p.oid::regprocedure AS reached_by_anon FROM pg_proc AS p JOIN our_schemas AS n ON n.oid = p.pronamespace
WHERE p.prosecdef AND has_function_privilege('anon', p.oid, 'EXECUTE')
	AND has_schema_privilege('anon', n.oid, 'USAGE')
ORDER BY p.oid::regprocedure::text COLLATE "C";

DROP VIEW our_schemas;
