-- ---------------------------------------------------------------------
-- Roles
--
--		Cluster-wide, made when missing and never dropped.  One that exists
--		is used only if it can do no more than we would give it (S6.6).
-- ---------------------------------------------------------------------
DO $roles$
DECLARE
	want	record;
	have	pg_catalog.pg_roles;
	wider	text;
BEGIN
	FOR want IN
		SELECT * FROM (VALUES
			('anon', false, false, true),
			('authenticated', false, false, true),
			('service_role', false, true, true),
			('authenticator', true, false, false),
			('plinth_owner', false, false, false),
			('plinth_gateway', true, false, false))
			AS r (name, login, bypassrls, inherit)
	LOOP
		SELECT * INTO have FROM pg_catalog.pg_roles
		WHERE rolname OPERATOR(pg_catalog.=) want.name;

		IF NOT FOUND THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I %s %s %s', want.name,
				CASE WHEN want.login THEN 'LOGIN' ELSE 'NOLOGIN' END,
				CASE WHEN want.bypassrls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END,
				CASE WHEN want.inherit THEN 'INHERIT' ELSE 'NOINHERIT' END);
			CONTINUE;
		END IF;

		wider := CASE
			WHEN have.rolsuper THEN 'SUPERUSER'
			WHEN have.rolcreaterole THEN 'CREATEROLE'
			WHEN have.rolcreatedb THEN 'CREATEDB'
			WHEN have.rolreplication THEN 'REPLICATION'
			WHEN have.rolbypassrls AND NOT want.bypassrls THEN 'BYPASSRLS'
			WHEN have.rolcanlogin AND NOT want.login THEN 'LOGIN'
			WHEN have.rolinherit AND NOT want.inherit THEN 'INHERIT'
		END;
		IF wider IS NOT NULL THEN
			RAISE EXCEPTION 'role "%" exists and has the attribute %', want.name, wider
				USING ERRCODE = 'object_not_in_prerequisite_state',
					  DETAIL = 'plinth uses a role that exists only if it has no wider attributes than plinth would give it.',
					  HINT = pg_catalog.format('ALTER ROLE %I NO%s, if nothing else needs it, and try again.', want.name, wider);
		END IF;
	END LOOP;
END;
$roles$;

-- The pool's login switches to the role of the request.
GRANT anon, authenticated, service_role TO authenticator;

