-- ---------------------------------------------------------------------
-- What must hold for every table, policy and function there is (S4, S6)
--
-- Read from the catalogue, so that it covers what is added later.  The view
-- faults has a row for each object that does not keep to a rule; a schema
-- that breaks every rule shows that it would be seen.
--
-- Needs:	setup
-- Leaves:	nothing
-- ---------------------------------------------------------------------
SET client_min_messages = warning;

-- the schemas in question
CREATE TEMPORARY VIEW our_schemas AS
	SELECT n.oid, n.nspname, n.nspowner FROM pg_namespace AS n
	WHERE n.nspname = 'plinth' OR n.nspname IN (SELECT schema FROM plinth.installed_modules);
CREATE TEMPORARY VIEW our_tables AS
	SELECT c.*, n.nspname FROM pg_class AS c JOIN our_schemas AS n ON n.oid = c.relnamespace;
CREATE TEMPORARY VIEW our_columns AS
	SELECT c.relkind, a.attrelid, a.attnum, a.attname, a.atttypid, a.attnotnull FROM our_tables AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
	WHERE c.relkind IN ('r', 'p', 'm') AND a.attnum > 0 AND NOT a.attisdropped;
CREATE TEMPORARY VIEW our_policies AS
	SELECT p.*, format('%I.%I: %s', c.nspname, c.relname, p.polname) AS name,
		concat(pg_get_expr(p.polqual, p.polrelid), ' ', pg_get_expr(p.polwithcheck, p.polrelid)) AS expression
	FROM pg_policy AS p JOIN our_tables AS c ON c.oid = p.polrelid;
CREATE TEMPORARY VIEW our_functions AS
	SELECT p.*, n.nspname FROM pg_proc AS p JOIN our_schemas AS n ON n.oid = p.pronamespace;
CREATE TEMPORARY VIEW end_users AS
	SELECT oid, rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated');

CREATE TEMPORARY VIEW faults AS
	SELECT 'a module or a part of it is not plinth_owner''s' AS fault, nspname::text AS what
	FROM our_schemas WHERE nspname <> 'plinth' AND pg_get_userbyid(nspowner) <> 'plinth_owner'
UNION ALL
	SELECT 'a module or a part of it is not plinth_owner''s', oid::regclass::text
	FROM our_tables WHERE nspname <> 'plinth' AND pg_get_userbyid(relowner) <> 'plinth_owner'
UNION ALL
	SELECT 'a module or a part of it is not plinth_owner''s', oid::regprocedure::text
	FROM our_functions WHERE nspname <> 'plinth' AND pg_get_userbyid(proowner) <> 'plinth_owner'
UNION ALL
	SELECT 'C1, S4.1: a table without row security', oid::regclass::text
	FROM our_tables WHERE relkind IN ('r', 'p') AND NOT relrowsecurity
UNION ALL
	SELECT 'C2: a policy for PUBLIC', name
	FROM our_policies WHERE 0 = ANY (polroles)
UNION ALL
	SELECT 'C3, S4.4: an UPDATE or ALL policy without WITH CHECK', name
	FROM our_policies WHERE polcmd IN ('w', '*') AND polwithcheck IS NULL
UNION ALL
	SELECT 'C8: a policy that asks for the caller anew for each row', name
	FROM our_policies WHERE expression ~ '(?<!SELECT )(auth\.uid|auth\.is_admin|auth\.jwt|plinth\.is_admin)\('
UNION ALL
	SELECT 'S2.1: a policy that believes a role of the token', name
	FROM our_policies WHERE expression ~ 'service_role|auth\.role\(|auth\.jwt\('
UNION ALL
	SELECT 'S4.6: a view with its owner''s rights in reach of end users', c.oid::regclass::text
	FROM our_tables AS c WHERE c.relkind = 'v' AND NOT coalesce('security_invoker=true' = ANY (c.reloptions), false)
		AND EXISTS (SELECT FROM end_users AS u WHERE has_any_column_privilege(u.oid, c.oid, 'SELECT'))
UNION ALL
	SELECT 'S4.6: a materialized view in reach of end users', c.oid::regclass::text
	FROM our_tables AS c WHERE c.relkind = 'm'
		AND EXISTS (SELECT FROM end_users AS u WHERE has_any_column_privilege(u.oid, c.oid, 'SELECT'))
UNION ALL
	SELECT 'S4.2: more than reading and writing for end users', format('%s: %s', c.oid::regclass, a.privilege_type)
	FROM our_tables AS c, aclexplode(c.relacl) AS a JOIN end_users AS u ON u.oid = a.grantee
	WHERE c.relkind = 'S' OR a.is_grantable OR a.privilege_type NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
UNION ALL
	SELECT 'S4.2: a right for PUBLIC', format('%s: %s', c.oid::regclass, a.privilege_type)
	FROM our_tables AS c, aclexplode(c.relacl) AS a WHERE a.grantee = 0
UNION ALL
	SELECT 'S4.2: a schema in which others create', n.nspname
	FROM our_schemas AS n WHERE EXISTS (SELECT FROM pg_roles AS r
		WHERE r.rolname IN ('anon', 'authenticated', 'service_role') AND has_schema_privilege(r.oid, n.oid, 'CREATE'))
UNION ALL
	SELECT 'C4, S4.3: a column that end users must not write', format('%s.%s', a.attrelid::regclass, a.attname)
	FROM our_columns AS a WHERE a.relkind <> 'm'
		AND (a.attname IN ('role', 'app_role', 'user_type', 'is_guest', 'verified', 'points', 'created_at',
				'updated_at', 'certificate_number', 'encrypted_password') OR a.attname LIKE '%\_count')
		AND EXISTS (SELECT FROM end_users AS u WHERE has_column_privilege(u.oid, a.attrelid, a.attnum, 'INSERT')
			OR has_column_privilege(u.oid, a.attrelid, a.attnum, 'UPDATE'))
UNION ALL
	SELECT 'S4.5: a secret that end users can read', format('%s.%s', a.attrelid::regclass, a.attname)
	FROM our_columns AS a WHERE a.attname ~ '(_hash|_sealed|password|secret)$'
		AND EXISTS (SELECT FROM end_users AS u WHERE has_column_privilege(u.oid, a.attrelid, a.attnum, 'SELECT'))
UNION ALL
	SELECT 'C11: a flag, counter or time of change that may be NULL', format('%s.%s', a.attrelid::regclass, a.attname)
	FROM our_columns AS a WHERE a.relkind <> 'm' AND NOT a.attnotnull
		AND (a.attname IN ('created_at', 'updated_at') OR a.atttypid = 'boolean'::regtype OR a.attname LIKE '%\_count')
UNION ALL
	SELECT 'C12: a foreign key without an index', format('%s: %s', k.conrelid::regclass, k.conname)
	FROM pg_constraint AS k JOIN our_tables AS c ON c.oid = k.conrelid
	WHERE k.contype = 'f' AND NOT EXISTS (SELECT FROM pg_index AS i
		WHERE i.indrelid = k.conrelid AND i.indpred IS NULL AND i.indisvalid
			AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
			AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] <@ k.conkey)
UNION ALL
	SELECT 'S4.8: a function that everybody may execute', p.oid::regprocedure::text
	FROM our_functions AS p WHERE EXISTS (
		SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a WHERE a.grantee = 0)
UNION ALL
	SELECT 'S4.8: C with server-internal arguments that can be called', p.oid::regprocedure::text
	FROM our_functions AS p WHERE 'internal'::regtype = ANY (p.proargtypes)
UNION ALL
	SELECT 'C6, S4.7: an owner''s function without a fixed search_path', p.oid::regprocedure::text
	FROM our_functions AS p WHERE p.prosecdef
		AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)
UNION ALL
	SELECT 'S4.7: an owner''s function that is not plinth_owner''s', p.oid::regprocedure::text
	FROM our_functions AS p WHERE p.prosecdef AND pg_get_userbyid(p.proowner) <> 'plinth_owner'
UNION ALL
	SELECT 'C6: an owner''s function that goes by current_user', p.oid::regprocedure::text
	FROM our_functions AS p WHERE p.prosecdef AND p.prosrc ~* '\mcurrent_user\M'
UNION ALL
	-- a backslash outside of E'' depends on the caller's standard_conforming_strings
	SELECT 'S4.7: a function that reads differently in another session', p.oid::regprocedure::text
	FROM our_functions AS p JOIN pg_language AS l ON l.oid = p.prolang
	WHERE l.lanname IN ('sql', 'plpgsql') AND p.prosqlbody IS NULL
		AND regexp_replace(p.prosrc, '\mE''([^'']|'''')*''', '', 'g') LIKE '%\\%'
UNION ALL
	SELECT 'S6.5: a type that pg_upgrade refuses', format('%s.%s', a.attrelid::regclass, a.attname)
	FROM our_columns AS a WHERE a.atttypid IN ('regproc'::regtype, 'regprocedure'::regtype, 'regoper'::regtype,
		'regoperator'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype, 'regcollation'::regtype,
		'regnamespace'::regtype, 'regclass'::regtype, 'regtype'::regtype, 'regrole'::regtype)
UNION ALL
	SELECT 'nothing says what it is for', oid::regclass::text
	FROM our_tables WHERE relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition AND obj_description(oid, 'pg_class') IS NULL
UNION ALL
	SELECT 'nothing says what it is for', oid::regprocedure::text
	FROM our_functions WHERE obj_description(oid, 'pg_proc') IS NULL;

-- there is much to look at, and no fault in it
SELECT (SELECT count(*) > 2 FROM our_schemas) AS schemas, (SELECT count(*) > 10 FROM our_tables) AS tables,
	(SELECT count(*) > 10 FROM our_policies) AS policies, (SELECT count(*) > 50 FROM our_functions) AS functions;
SELECT * FROM faults ORDER BY fault COLLATE "C", what COLLATE "C";

-- every rule sees what it is there for
BEGIN;
CREATE SCHEMA regress_faulty;
GRANT USAGE, CREATE ON SCHEMA regress_faulty TO anon;
INSERT INTO plinth.installed_modules (module, schema, version, system_identifier, database_oid)
VALUES ('faulty', 'regress_faulty', '0', 0, 0);
CREATE TABLE regress_faulty.open (id bigserial PRIMARY KEY, parent bigint REFERENCES regress_faulty.open,
	role text, done boolean, token_hash bytea, kind regclass);
CREATE TABLE regress_faulty.closed (id int, owner_id uuid, like_count int NOT NULL);
ALTER TABLE regress_faulty.closed ENABLE ROW LEVEL SECURITY;
CREATE POLICY public_one ON regress_faulty.closed FOR SELECT USING (true);
CREATE POLICY no_check ON regress_faulty.closed FOR UPDATE TO authenticated USING (owner_id = (SELECT auth.uid()));
CREATE POLICY each_row ON regress_faulty.closed FOR DELETE TO authenticated USING (owner_id = auth.uid());
CREATE POLICY believer ON regress_faulty.closed FOR INSERT TO authenticated WITH CHECK ((SELECT auth.jwt()) ->> 'role' = 'service_role');
CREATE VIEW regress_faulty.window AS SELECT * FROM regress_faulty.closed;
CREATE MATERIALIZED VIEW regress_faulty.mirror AS SELECT * FROM regress_faulty.closed;
GRANT SELECT, INSERT, UPDATE, TRUNCATE ON ALL TABLES IN SCHEMA regress_faulty TO authenticated;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA regress_faulty TO anon;
GRANT SELECT ON regress_faulty.closed TO PUBLIC;
CREATE FUNCTION regress_faulty.me() RETURNS name LANGUAGE sql SECURITY DEFINER AS $$ SELECT current_user WHERE 'x' ~ '\w' $$;
CREATE FUNCTION regress_faulty.inside(internal) RETURNS void LANGUAGE internal AS 'pg_backend_pid';
SELECT * FROM faults ORDER BY fault COLLATE "C", what COLLATE "C";
-- no rule was left out
SELECT count(DISTINCT fault) = (SELECT count(DISTINCT m[1]) FROM regexp_matches(pg_get_viewdef('faults'::regclass),
	'SELECT ''((?:[^'']|'''')*)''::text', 'g') AS m) AS every_rule FROM faults;
ROLLBACK;

-- tables with row security and no policy: reached by functions only
SELECT c.oid::regclass AS functions_only FROM our_tables AS c
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
	AND NOT EXISTS (SELECT FROM pg_policy AS p WHERE p.polrelid = c.oid)
ORDER BY c.oid::regclass::text COLLATE "C";

-- S4.7: what an anonymous caller can do with the owner's rights
SELECT p.oid::regprocedure AS reached_by_anon FROM our_functions AS p
WHERE p.prosecdef AND has_function_privilege('anon', p.oid, 'EXECUTE')
	AND has_schema_privilege('anon', p.pronamespace, 'USAGE')
ORDER BY p.oid::regprocedure::text COLLATE "C";

DROP VIEW our_schemas, our_tables, our_columns, our_policies, our_functions, end_users, faults;
