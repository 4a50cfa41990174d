-- ---------------------------------------------------------------------
-- Rooms: router, delivery
--
--		The C behind the module realtime: subscriptions, their messages, and
--		what the views show of them.  Nothing here is transactional.
--
-- Tests:	test/regress/sql/realtime.sql, test/tap/070_realtime.pl
-- ---------------------------------------------------------------------
CREATE FUNCTION plinth.realtime_subscribe(
	topic text, schema_name text DEFAULT NULL, table_name text DEFAULT NULL,
	event text DEFAULT '*', filter text DEFAULT NULL, since pg_lsn DEFAULT NULL,
	OUT subscription_id bigint, OUT session_key text, OUT listen_channel text,
	OUT after_seq bigint)
RETURNS record
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_router_subscribe';

COMMENT ON FUNCTION plinth.realtime_subscribe(text, text, text, text, text, pg_lsn) IS
'follow the changes of a published table as the current role and user, or without a table what is sent to a topic and who is there; event INSERT, UPDATE, DELETE or *, of a topic broadcast, presence or *; filter column=operator.value, several joined by commas (eq neq lt lte gt gte in like ilike is match imatch isdistinct, not. before any); live when it returns, also if the transaction is rolled back; with since, what was committed from that position on comes first, or a gap where that is not kept; errors: 22023 wrong argument, unknown or unpublished table, 42501 no right to read it or the topic, 53400 too many subscriptions, 55000 the stream does not run here or the table has no replica identity, 0A000 a kind of table that cannot be followed or a policy that reads a system column, and what a SELECT from the table raises';

CREATE FUNCTION plinth.realtime_unsubscribe(subscription_id bigint, session_key text)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_router_unsubscribe';

COMMENT ON FUNCTION plinth.realtime_unsubscribe(bigint, text) IS
'end a subscription; errors: P0002 there is none of that id, 42501 the key is another''s, 55000 not preloaded';

CREATE FUNCTION plinth.realtime_renew(subscription_id bigint, session_key text, token text)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'plinth_sql_router_renew';

COMMENT ON FUNCTION plinth.realtime_renew(bigint, text, text) IS
'let a subscription live until a new token of the same user ends; errors: 28000 the token is not good, 42501 it is another user''s or the key another''s, P0002 there is none of that id, 55000 it has ended';

CREATE FUNCTION plinth.realtime_poll(
	subscription_id bigint, session_key text, after_seq bigint,
	limit_count integer DEFAULT 100,
	OUT seq bigint, OUT lsn pg_lsn, OUT commit_timestamp timestamptz,
	OUT event text, OUT payload jsonb)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100
AS 'MODULE_PATHNAME', 'plinth_sql_delivery_poll';

COMMENT ON FUNCTION plinth.realtime_poll(bigint, text, bigint, integer) IS
'messages of a subscription after after_seq, ascending, 1 to 1000 of them; event gap: what is between after_seq and this seq is gone; event end: no more will come; errors: 22023 an argument is out of range, P0002 there is none of that id, 42501 the key is another''s';

CREATE FUNCTION plinth.realtime_subscriptions(
	OUT id bigint, OUT user_id uuid, OUT topic text, OUT schema_name text,
	OUT table_name text, OUT event text, OUT filter text, OUT route text,
	OUT created_at timestamptz, OUT last_seen timestamptz,
	OUT expires_at timestamptz, OUT delivered bigint, OUT dropped bigint,
	OUT role text, OUT live boolean, OUT cost_us double precision,
	OUT queue_bytes bigint, OUT last_error text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'plinth_sql_delivery_subscriptions';

COMMENT ON FUNCTION plinth.realtime_subscriptions() IS
'the caller''s subscriptions (of a nobody, those of the session), all of the database to services; read realtime.subscriptions; raises no error';

CREATE FUNCTION plinth.realtime_all_subscriptions(
	OUT id bigint, OUT user_id uuid, OUT topic text, OUT schema_name text,
	OUT table_name text, OUT event text, OUT filter text, OUT route text,
	OUT created_at timestamptz, OUT last_seen timestamptz,
	OUT expires_at timestamptz, OUT delivered bigint, OUT dropped bigint,
	OUT role text, OUT live boolean, OUT cost_us double precision,
	OUT queue_bytes bigint, OUT last_error text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1000
AS 'MODULE_PATHNAME', 'plinth_sql_delivery_all_subscriptions';

COMMENT ON FUNCTION plinth.realtime_all_subscriptions() IS
'all subscriptions of the database; read plinth.stat_subscriptions; errors: 42501 the caller is neither service, monitor nor administrator';

CREATE VIEW plinth.stat_subscriptions WITH (security_invoker = true) AS
SELECT s.id, s.user_id, s.topic, s.schema_name, s.table_name, s.event,
	   s.filter, s.created_at, s.last_seen, s.expires_at, s.delivered,
	   s.dropped, s.role, s.route, s.live, s.cost_us, s.queue_bytes,
	   s.last_error,
	   pg_catalog.pg_postmaster_start_time() AS stats_reset
FROM plinth.realtime_all_subscriptions() AS s;

COMMENT ON VIEW plinth.stat_subscriptions IS
'all subscriptions of the database: whose, of what, how their policies were compiled (route), bytes of their messages in the ring (queue_bytes), and why one has ended (last_error); cost_us is what it took to run the policies for one row, on average, in microseconds, NULL where they were never run';
