-- ---------------------------------------------------------------------
-- Room: limiter
--
--		How often may somebody ask?  Fixed windows and smooth limits, counted
--		in shared memory: a count outlives a rollback, works on a standby, and
--		waits for nobody.
--
-- Offers:	plinth.rate_limit_tiers, plinth.check_rate_limit(),
--			plinth.rate_limit_caller(), plinth.require_rate_limit(),
--			plinth.rate_limit_headers(), plinth.rate_limit_reset(),
--			plinth.rate_limit(), plinth.rate_limits,
--			plinth.rate_limit_status
-- Rights:	each function checks its caller; see docs/rate-limits.md
-- Tests:	test/regress/sql/limiter.sql, test/tap/040_limiter.pl
-- ---------------------------------------------------------------------

-- Rows are seeded by the module auth and are the application's to change.
CREATE TABLE plinth.rate_limit_tiers (
	name			text		COLLATE "C" CONSTRAINT rate_limit_tiers_pkey PRIMARY KEY,
	requests		integer		NOT NULL,
	window_seconds	integer		NOT NULL,
	enabled			boolean		NOT NULL DEFAULT true,
	CONSTRAINT rate_limit_tiers_name CHECK (name OPERATOR(pg_catalog.<>) ''),
	CONSTRAINT rate_limit_tiers_requests CHECK (requests OPERATOR(pg_catalog.>) 0),
	CONSTRAINT rate_limit_tiers_window CHECK (window_seconds OPERATOR(pg_catalog.>) 0)
);

COMMENT ON TABLE plinth.rate_limit_tiers IS
'how many requests each kind of caller has in a window; a change acts at once, also on windows that are open';
COMMENT ON COLUMN plinth.rate_limit_tiers.requests IS 'requests in a window';
COMMENT ON COLUMN plinth.rate_limit_tiers.window_seconds IS 'length of the window in seconds';
COMMENT ON COLUMN plinth.rate_limit_tiers.enabled IS 'false: this tier is not limited';

SELECT pg_catalog.pg_extension_config_dump('plinth.rate_limit_tiers', '');

CREATE TRIGGER rate_limit_tiers_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON plinth.rate_limit_tiers
	FOR EACH STATEMENT EXECUTE FUNCTION plinth.table_changed();
-- in a session that replays changes too
ALTER TABLE plinth.rate_limit_tiers ENABLE ALWAYS TRIGGER rate_limit_tiers_changed;

-- Policies of the extension's tables cannot name a module's function.
CREATE FUNCTION plinth.is_admin()
RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'plinth_sql_base_is_admin';

COMMENT ON FUNCTION plinth.is_admin() IS
'auth.is_admin() of the installed module auth; false where it is not installed';

-- The table of the room module was made before this function.
CREATE POLICY installed_modules_read ON plinth.installed_modules
	FOR SELECT TO authenticated USING ((SELECT plinth.is_admin()));

ALTER TABLE plinth.rate_limit_tiers ENABLE ROW LEVEL SECURITY;
CREATE POLICY rate_limit_tiers_owner ON plinth.rate_limit_tiers
	TO plinth_owner USING (true) WITH CHECK (true);
CREATE POLICY rate_limit_tiers_read ON plinth.rate_limit_tiers
	FOR SELECT TO anon, authenticated USING (true);
CREATE POLICY rate_limit_tiers_insert ON plinth.rate_limit_tiers
	FOR INSERT TO authenticated WITH CHECK ((SELECT plinth.is_admin()));
CREATE POLICY rate_limit_tiers_update ON plinth.rate_limit_tiers
	FOR UPDATE TO authenticated
	USING ((SELECT plinth.is_admin())) WITH CHECK ((SELECT plinth.is_admin()));
CREATE POLICY rate_limit_tiers_delete ON plinth.rate_limit_tiers
	FOR DELETE TO authenticated USING ((SELECT plinth.is_admin()));

-- Restricted, because only the leader of a parallel query knows the client.
CREATE FUNCTION plinth.check_rate_limit(
	identifier text, tier text,
	OUT allowed boolean, OUT remaining integer, OUT reset timestamptz)
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'plinth_sql_limiter_check';

COMMENT ON FUNCTION plinth.check_rate_limit(text, text) IS
'count one request of an identifier against a tier; remaining: requests left in the window; reset: its end; both NULL when the tier is disabled. A service names any identifier, others their own: user id, or address without one. An IPv6 address counts as its /64. Errors: 22023 NULL, empty, or no such tier; 28000, 42501 not the caller''s own; 55000 not preloaded. Fixed window counter.';

CREATE FUNCTION plinth.check_rate_limit(
	user_uuid uuid, endpoint_name text,
	max_requests integer DEFAULT 100, window_minutes integer DEFAULT 60)
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'plinth_sql_limiter_check_endpoint';

COMMENT ON FUNCTION plinth.check_rate_limit(uuid, text, integer, integer) IS
'count one request of a user to an endpoint: at most max_requests in each window of window_minutes; true when allowed. Other parameters are another count. Errors: 22023 NULL, empty or not positive; 28000, 42501 the user is not the caller; 55000 not preloaded. Fixed window counter.';

CREATE FUNCTION plinth.rate_limit_caller(
	endpoint text DEFAULT NULL,
	OUT allowed boolean, OUT remaining integer, OUT reset timestamptz)
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'plinth_sql_limiter_caller';

COMMENT ON FUNCTION plinth.rate_limit_caller(text) IS
'count one request of the caller, by user id or else by address, against the tier of its claims: anonymous, authenticated, or premium (app_metadata.tier). An endpoint has a count of its own under that tier. Errors: 22023 empty endpoint, or the tier has no row; 55000 not preloaded';

CREATE FUNCTION plinth.require_rate_limit(tier text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'plinth_sql_limiter_require';

COMMENT ON FUNCTION plinth.require_rate_limit(text) IS
'count one request of the caller, as plinth.rate_limit_caller() does, against a tier; NULL: the tier of the claims. Errors: PT429 the limit is exceeded; 22023 no such tier; 55000 not preloaded';

CREATE FUNCTION plinth.rate_limit_reset(identifier text, tier text)
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'plinth_sql_limiter_reset';

COMMENT ON FUNCTION plinth.rate_limit_reset(text, text) IS
'forget what an identifier has used of a tier or endpoint, whatever its parameters; false when there was no open window. Errors: 22023 NULL; 42501 the caller is no service; 55000 not preloaded';

CREATE FUNCTION plinth.rate_limit(
	key text, burst integer, rate integer, period interval, cost integer DEFAULT 1,
	OUT allowed boolean, OUT "limit" integer, OUT remaining integer,
	OUT retry_after interval, OUT reset_after interval)
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'plinth_sql_limiter_rate';

COMMENT ON FUNCTION plinth.rate_limit(text, integer, integer, interval, integer) IS
'take cost requests of a key, which has burst at once and gets rate back evenly in each period; limit: burst; remaining: that would pass now; retry_after: until this one would pass, NULL when it has; reset_after: until the whole burst is there. Cost 0 looks: would one pass? Cost below 0 puts back, never above burst. Errors: 22023 NULL, empty or out of range, a cost above burst; 42501 the caller is no service; 55000 not preloaded. Generic cell rate algorithm, ITU-T I.371.';

CREATE FUNCTION plinth.rate_limit_reset(key text)
RETURNS boolean
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'plinth_sql_limiter_rate_reset';

COMMENT ON FUNCTION plinth.rate_limit_reset(text) IS
'give a key of plinth.rate_limit() its whole burst back; false when it had it. Errors: 22023 NULL or empty; 42501 the caller is no service; 55000 not preloaded';

CREATE FUNCTION plinth.rate_limit_headers(
	remaining integer, reset timestamptz,
	max_requests integer DEFAULT NULL, window_seconds integer DEFAULT NULL)
RETURNS jsonb
LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (
	SELECT CASE WHEN rate_limit_headers.remaining IS NULL THEN '{}'::pg_catalog.jsonb
		ELSE pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
			'X-RateLimit-Remaining', left_over.requests::pg_catalog.text,
			'X-RateLimit-Reset', CASE WHEN pg_catalog.isfinite(rate_limit_headers.reset) THEN pg_catalog.trunc(
				EXTRACT(epoch FROM rate_limit_headers.reset) OPERATOR(pg_catalog.*) 1000)::pg_catalog.text END,
			'RateLimit-Policy', '"default";q=' OPERATOR(pg_catalog.||) rate_limit_headers.max_requests::pg_catalog.text
				OPERATOR(pg_catalog.||) COALESCE(
					';w=' OPERATOR(pg_catalog.||) rate_limit_headers.window_seconds::pg_catalog.text, ''),
			'RateLimit', '"default";r=' OPERATOR(pg_catalog.||) left_over.requests::pg_catalog.text
				OPERATOR(pg_catalog.||) COALESCE(
					';t=' OPERATOR(pg_catalog.||) left_over.seconds::pg_catalog.text, ''),
			'Retry-After', CASE WHEN left_over.requests OPERATOR(pg_catalog.=) 0
				THEN GREATEST(left_over.seconds, 1)::pg_catalog.text END))
		END
	FROM (SELECT
		GREATEST(rate_limit_headers.remaining, 0) AS requests,
		CASE WHEN pg_catalog.isfinite(rate_limit_headers.reset) THEN
			GREATEST(pg_catalog.ceil(EXTRACT(epoch FROM rate_limit_headers.reset
				OPERATOR(pg_catalog.-) pg_catalog.clock_timestamp())), 0)::pg_catalog.int8 END AS seconds) AS left_over
);

COMMENT ON FUNCTION plinth.rate_limit_headers(integer, timestamptz, integer, integer) IS
'HTTP headers that say what is left, from what a check returned: X-RateLimit-Remaining, X-RateLimit-Reset (milliseconds since 1970), RateLimit and, with max_requests, RateLimit-Policy; Retry-After in seconds when nothing is left; none when remaining is NULL. Follows draft-ietf-httpapi-ratelimit-headers-10 and RFC 9110 section 10.2.3; raises no error';

CREATE FUNCTION plinth.rate_limit_keys(
	OUT identifier text, OUT user_id uuid, OUT endpoint text,
	OUT request_count bigint, OUT window_start timestamptz, OUT window_end timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1000
AS 'MODULE_PATHNAME', 'plinth_sql_limiter_keys';

COMMENT ON FUNCTION plinth.rate_limit_keys() IS
'rows of plinth.rate_limits; errors: 42501 the caller is neither service nor administrator; 55000 not preloaded';

CREATE FUNCTION plinth.rate_limit_counts(
	OUT kind text, OUT endpoint text, OUT keys bigint, OUT allowed bigint,
	OUT refused bigint, OUT capacity bigint, OUT evictions bigint,
	OUT refused_no_space bigint, OUT stats_reset timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'plinth_sql_limiter_counts';

COMMENT ON FUNCTION plinth.rate_limit_counts() IS
'rows of plinth.rate_limit_status; errors: 42501 the caller is neither service nor administrator; 55000 not preloaded';

CREATE VIEW plinth.rate_limits WITH (security_invoker = true) AS
	SELECT identifier, user_id, endpoint, request_count, window_start, window_end
	FROM plinth.rate_limit_keys();

COMMENT ON VIEW plinth.rate_limits IS
'open windows of this database, one row a key; endpoint: tier or endpoint; request_count: at most one more than the limit; of keys of plinth.rate_limit() (endpoint rate_limit) what they lack, until when (window_end), and no window_start; identifier: hashed for all but services';

CREATE VIEW plinth.rate_limit_status WITH (security_invoker = true) AS
	SELECT kind, endpoint, keys, allowed, refused, capacity, evictions,
		refused_no_space, stats_reset
	FROM plinth.rate_limit_counts();

COMMENT ON VIEW plinth.rate_limit_status IS
'requests by tier and endpoint of this database, and of all keys of plinth.rate_limit() (kind key), since the server''s start, and one row (kind total) of the whole server: keys that fit and that are there, windows dropped before their end, requests refused because no window could be';
