-- ---------------------------------------------------------------------
-- Room: worker, the change stream
--
--		How far the stream of changes is, and what it has delivered.
-- ---------------------------------------------------------------------
CREATE FUNCTION plinth.stream_stat(
	OUT database_oid oid, OUT slot text, OUT confirmed_lsn pg_lsn,
	OUT lag_bytes bigint, OUT lag_ms double precision, OUT retained_wal bigint,
	OUT transactions bigint, OUT changes bigint, OUT deliveries bigint,
	OUT dropped bigint, OUT gaps bigint, OUT errors bigint,
	OUT subscriptions bigint, OUT ring_used bigint,
	OUT latency_p50_ms double precision, OUT latency_p95_ms double precision,
	OUT stats_reset timestamptz)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 10
AS 'MODULE_PATHNAME', 'plinth_sql_worker_stream_stat';

COMMENT ON FUNCTION plinth.stream_stat() IS
'the change streams of all databases; read plinth.stat_stream; errors: 42501 the caller is neither service, monitor nor administrator';

CREATE VIEW plinth.stat_stream WITH (security_invoker = true) AS
SELECT d.datname AS database, s.slot, s.confirmed_lsn, s.lag_bytes, s.lag_ms,
	   s.retained_wal, s.transactions, s.changes, s.deliveries, s.dropped,
	   s.gaps, s.errors, s.subscriptions, s.ring_used, s.latency_p50_ms,
	   s.latency_p95_ms, s.stats_reset
FROM plinth.stream_stat() AS s
	JOIN pg_catalog.pg_database AS d
		ON d.oid OPERATOR(pg_catalog.=) s.database_oid;

COMMENT ON VIEW plinth.stat_stream IS
'one row for each database with a change stream; positions are NULL while its worker does not run';
COMMENT ON COLUMN plinth.stat_stream.confirmed_lsn IS
'all that was committed before it has been delivered';
COMMENT ON COLUMN plinth.stat_stream.lag_bytes IS
'WAL that has been flushed and not yet delivered, of all databases';
COMMENT ON COLUMN plinth.stat_stream.lag_ms IS
'milliseconds since the stream last had delivered all there was; 0 when it has now';
COMMENT ON COLUMN plinth.stat_stream.retained_wal IS
'bytes of WAL that the slot keeps the server from recycling';
COMMENT ON COLUMN plinth.stat_stream.transactions IS
'transactions decoded that changed tables somebody follows';
COMMENT ON COLUMN plinth.stat_stream.changes IS
'changes decoded of tables somebody follows';
COMMENT ON COLUMN plinth.stat_stream.deliveries IS
'messages handed over, each counted once for each of its readers';
COMMENT ON COLUMN plinth.stat_stream.dropped IS
'messages that did not fit or left the ring unread';
COMMENT ON COLUMN plinth.stat_stream.gaps IS
'times that a reader had to be told of missing changes';
COMMENT ON COLUMN plinth.stat_stream.errors IS
'changes that could not be decoded, and transactions that could not be delivered';
COMMENT ON COLUMN plinth.stat_stream.subscriptions IS
'subscriptions now';
COMMENT ON COLUMN plinth.stat_stream.ring_used IS
'bytes of the message ring in use, by all databases';
COMMENT ON COLUMN plinth.stat_stream.latency_p50_ms IS
'half of the messages were delivered within so many milliseconds of their commit';
COMMENT ON COLUMN plinth.stat_stream.latency_p95_ms IS
'95 of 100 messages were delivered within so many milliseconds of their commit';
