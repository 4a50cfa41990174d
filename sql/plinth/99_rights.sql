-- ---------------------------------------------------------------------
-- Rights
--
--		Owners and every GRANT of the extension, room by room.  Functions
--		lose EXECUTE from PUBLIC first and get it back one by one (S4.8).
-- ---------------------------------------------------------------------
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA plinth FROM PUBLIC;
GRANT USAGE ON SCHEMA plinth TO anon, authenticated, service_role, plinth_owner, plinth_gateway, pg_monitor;

-- plinth_owner makes the modules' schemas.
DO $rights$
BEGIN
	EXECUTE pg_catalog.format('GRANT CREATE ON DATABASE %I TO plinth_owner',
							  pg_catalog.current_database());
END;
$rights$;

-- row: trigger functions are for those who make triggers
GRANT EXECUTE ON FUNCTION plinth.touch_updated_at() TO plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.escape_like(text) TO anon, authenticated, service_role, plinth_owner;

-- settings of the modules
GRANT SELECT, INSERT, UPDATE, DELETE ON plinth.settings TO plinth_owner, service_role;
GRANT EXECUTE ON FUNCTION plinth.setting(text) TO plinth_owner, service_role;

-- Room: module
GRANT SELECT, INSERT, UPDATE, DELETE ON plinth.installed_modules TO plinth_owner;
GRANT SELECT ON plinth.installed_modules TO authenticated, service_role;
GRANT EXECUTE ON FUNCTION plinth.install(text, text), plinth.upgrade(text, text)
	TO plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.modules()
	TO authenticated, service_role, plinth_owner, pg_monitor;
-- level: pure arithmetic, for everybody
GRANT EXECUTE ON FUNCTION plinth.level_for_xp(bigint), plinth.xp_for_level(integer)
	TO anon, authenticated, service_role, plinth_owner;

-- certificate: numbers are handed out by the modules' functions
GRANT EXECUTE ON FUNCTION plinth.generate_certificate_number() TO service_role, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.certificate_code(text, integer) TO service_role, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.series_create(text, text, text, text, bigint), plinth.series_next(text)
	TO service_role, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.certificate_sign(jsonb) TO plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.certificate_code_valid(text), plinth.certificate_verify(text),
	plinth.certificate_keys()
	TO anon, authenticated, service_role, plinth_owner;

-- claims
GRANT EXECUTE ON FUNCTION plinth.auth_uid(), plinth.auth_jwt(), plinth.auth_role(),
	plinth.auth_email(), plinth.auth_session_id(), plinth.auth_aal(), plinth.is_service()
	TO anon, authenticated, service_role, plinth_owner, plinth_gateway, pg_monitor;
GRANT EXECUTE ON FUNCTION plinth.auth_authenticate(text, boolean), plinth.auth_deauthenticate()
	TO anon, authenticated, service_role, plinth_owner;
-- plinth.act_as: superusers only
GRANT EXECUTE ON FUNCTION plinth.pre_request() TO anon, authenticated, service_role;
GRANT EXECUTE ON FUNCTION plinth.jwt_verify(text) TO service_role, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.jwt_sign(jsonb) TO plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.jws_verify(text, jsonb) TO service_role;

-- account: for the functions of the module auth
GRANT EXECUTE ON FUNCTION plinth.auth_password_hash(text), plinth.auth_password_verify(text, text),
	plinth.auth_password_outdated(text), plinth.auth_password_check(text), plinth.auth_new_token(),
	plinth.auth_client_address(), plinth.auth_user_agent()
	TO plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.auth_pkce_verify(text, text), plinth.auth_totp_code(bytea, timestamptz, integer, text),
	plinth.auth_totp_step(bytea, text, timestamptz, bigint), plinth.auth_totp_secret(), plinth.auth_base32(bytea),
	plinth.auth_recovery_code(), plinth.auth_mfa_guesses_left(uuid)
	TO plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.auth_journal(text, uuid, uuid), plinth.auth_journal_ready(),
	plinth.auth_journal_pending(text, uuid), plinth.auth_source(), plinth.auth_lock_ends(uuid),
	plinth.auth_successor_seal(text, text), plinth.auth_successor_open(text, bytea)
	TO plinth_owner;

-- audit: who owns tables may make its triggers; firing them needs no right
GRANT EXECUTE ON FUNCTION plinth.audit_statement(), plinth.audit_row(), plinth.audit_mark(),
	plinth.audit_set_triggers(oid, text, text, text), plinth.audit_upkeep(text, text)
	TO plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.audit_verify(timestamptz, timestamptz, jsonb),
	plinth.audit_proof(uuid), plinth.audit_head()
	TO plinth_owner;

-- secrets; what changes the keyring is for superusers only
GRANT EXECUTE ON FUNCTION plinth.keys(), plinth.keyring_problem() TO service_role, plinth_owner, pg_monitor;
GRANT SELECT ON plinth.keys TO service_role, plinth_owner, pg_monitor;
GRANT EXECUTE ON FUNCTION plinth.auth_jwks() TO anon, authenticated, service_role, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.seal(bytea, text), plinth.unseal(bytea, text),
	plinth.reseal(bytea, text), plinth.sealed_key_id(bytea) TO plinth_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON plinth.sealed_columns, plinth.key_checks TO plinth_owner;

-- Room: worker; the function asks who reads
GRANT SELECT ON plinth.stat_workers TO authenticated, service_role, plinth_owner, pg_monitor;
GRANT EXECUTE ON FUNCTION plinth.worker_stat()
	TO authenticated, service_role, plinth_owner, pg_monitor;
GRANT EXECUTE ON FUNCTION plinth.preflight() TO service_role, pg_monitor;

-- leaderboard: the function asks who reads; a refresh needs a temporary table
GRANT SELECT ON plinth.stat_leaderboard TO authenticated, service_role, plinth_owner, pg_monitor;
GRANT EXECUTE ON FUNCTION plinth.leaderboard_stat()
	TO authenticated, service_role, plinth_owner, pg_monitor;
DO $leaderboard$ BEGIN EXECUTE pg_catalog.format('GRANT TEMPORARY ON DATABASE %I TO plinth_owner', pg_catalog.current_database()); END $leaderboard$;

-- limiter: each function checks inside whom it counts and who looks
GRANT SELECT, INSERT, UPDATE, DELETE ON plinth.rate_limit_tiers
	TO authenticated, service_role, plinth_owner;
GRANT SELECT ON plinth.rate_limit_tiers TO anon, pg_monitor;
GRANT EXECUTE ON FUNCTION plinth.check_rate_limit(text, text), plinth.rate_limit_caller(text),
	plinth.rate_limit_headers(integer, timestamptz, integer, integer)
	TO anon, authenticated, service_role, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.check_rate_limit(uuid, text, integer, integer)
	TO authenticated, service_role, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.require_rate_limit(text), plinth.rate_limit_reset(text, text),
	plinth.rate_limit(text, integer, integer, interval, integer), plinth.rate_limit_reset(text)
	TO service_role, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.is_admin() TO authenticated, service_role, plinth_owner, pg_monitor;
GRANT EXECUTE ON FUNCTION plinth.rate_limit_keys(), plinth.rate_limit_counts()
	TO authenticated, service_role, plinth_owner, pg_monitor;
GRANT SELECT ON plinth.rate_limits, plinth.rate_limit_status
	TO authenticated, service_role, plinth_owner, pg_monitor;

-- worker, the change stream: the function asks who reads
GRANT SELECT ON plinth.stat_stream TO authenticated, service_role, plinth_owner, pg_monitor;
GRANT EXECUTE ON FUNCTION plinth.stream_stat()
	TO authenticated, service_role, plinth_owner, pg_monitor;

-- router, delivery: who holds a session key may use its subscription
GRANT EXECUTE ON FUNCTION plinth.realtime_subscribe(text, text, text, text, text, pg_lsn),
	plinth.realtime_unsubscribe(bigint, text), plinth.realtime_renew(bigint, text, text),
	plinth.realtime_poll(bigint, text, bigint, integer)
	TO anon, authenticated, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.realtime_subscriptions()
	TO anon, authenticated, service_role, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.realtime_all_subscriptions()
	TO authenticated, service_role, plinth_owner, pg_monitor;
GRANT SELECT ON plinth.stat_subscriptions TO authenticated, service_role, plinth_owner, pg_monitor;

-- presence, broadcast: the functions ask for whom they are
GRANT EXECUTE ON FUNCTION plinth.realtime_track(text, uuid, jsonb),
	plinth.realtime_set_status(text, uuid, text), plinth.realtime_set_current_page(text, uuid, text),
	plinth.realtime_heartbeat(text, uuid), plinth.realtime_untrack(text, uuid)
	TO authenticated, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.realtime_presence_state(text)
	TO anon, authenticated, service_role, plinth_owner;
GRANT EXECUTE ON FUNCTION plinth.realtime_presence(),
	plinth.realtime_broadcast(text, text, jsonb, boolean)
	TO authenticated, service_role, plinth_owner;

-- worker, rotation: the function asks who reads
GRANT SELECT ON plinth.stat_rotation TO authenticated, service_role, plinth_owner, pg_monitor;
GRANT EXECUTE ON FUNCTION plinth.rotation_stat()
	TO authenticated, service_role, plinth_owner, pg_monitor;
