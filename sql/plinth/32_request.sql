-- ---------------------------------------------------------------------
-- Claims: a request, and work in a user's name
--
-- Rights:	pre_request: anon, authenticated, service_role; act_as: superusers
-- Tests:	test/regress/sql/request.sql
-- ---------------------------------------------------------------------

CREATE FUNCTION plinth.act_as(user_id uuid, role text DEFAULT 'authenticated')
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_claims_act_as';
COMMENT ON FUNCTION plinth.act_as(uuid, text) IS
'make {sub, role} the verified claims until the transaction ends, to do work in a user''s name; the database role stays; superuser only; 22023 an argument is NULL, or plinth.jwt_roles does not list the role';

CREATE FUNCTION plinth.pre_request()
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_limiter_pre_request';
COMMENT ON FUNCTION plinth.pre_request() IS
'for the db-pre-request of PostgREST: counts a request of the caller as plinth.rate_limit_caller() does, a service excepted; 28000 the session of the claims has ended; PT429 over the limit; 55000 not preloaded';
