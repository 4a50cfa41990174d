-- ---------------------------------------------------------------------
-- Functions: the stream
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.subscribe(
	topic text, schema_name text DEFAULT NULL, table_name text DEFAULT NULL,
	event text DEFAULT '*', filter text DEFAULT NULL, since pg_lsn DEFAULT NULL,
	OUT subscription_id bigint, OUT session_key text, OUT listen_channel text,
	OUT after_seq bigint)
RETURNS record
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT s.subscription_id, s.session_key, s.listen_channel, s.after_seq
	FROM plinth.realtime_subscribe(topic, schema_name, table_name, event,
								   filter, since) AS s;
END;
COMMENT ON FUNCTION @schema@.subscribe(text, text, text, text, text, pg_lsn) IS
'follow the changes of a published table as the current role and user, or without a table what is sent to a topic and who is there; event INSERT, UPDATE, DELETE or *, of a topic broadcast, presence or *; filter column=operator.value, several joined by commas (eq neq lt lte gt gte in like ilike is match imatch isdistinct, not. before any); LISTEN on listen_channel or poll from after_seq; live when it returns, also if the transaction is rolled back; with since, what was committed from that position on comes first, or a gap where that is not kept; errors: 22023 wrong argument, unknown or unpublished table, 42501 no right to read it or the topic, 53400 too many subscriptions, 55000 the stream does not run here or the table has no replica identity, 0A000 a kind of table that cannot be followed or a policy that reads a system column, and what a SELECT from the table raises';

CREATE FUNCTION @schema@.unsubscribe(subscription_id bigint, session_key text)
RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN plinth.realtime_unsubscribe(subscription_id, session_key);
COMMENT ON FUNCTION @schema@.unsubscribe(bigint, text) IS
'end a subscription; errors: P0002 there is none of that id, 42501 the key is another''s';

CREATE FUNCTION @schema@.renew(subscription_id bigint, session_key text, token text)
RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN plinth.realtime_renew(subscription_id, session_key, token);
COMMENT ON FUNCTION @schema@.renew(bigint, text, text) IS
'let a subscription live until a new token of the same user ends; errors: 28000 the token is not good, 42501 it is another user''s or the key another''s, P0002 there is none of that id, 55000 it has ended';

CREATE FUNCTION @schema@.poll(
	subscription_id bigint, session_key text, after_seq bigint,
	limit_count integer DEFAULT 100,
	OUT seq bigint, OUT lsn pg_lsn, OUT commit_timestamp timestamptz,
	OUT event text, OUT payload jsonb)
RETURNS SETOF record
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 100
BEGIN ATOMIC
	SELECT p.seq, p.lsn, p.commit_timestamp, p.event, p.payload
	FROM plinth.realtime_poll(subscription_id, session_key, after_seq,
							  limit_count) AS p;
END;
COMMENT ON FUNCTION @schema@.poll(bigint, text, bigint, integer) IS
'messages of a subscription after after_seq, ascending, 1 to 1000 of them; event gap: what is between after_seq and this seq is gone, read afresh; event end: no more will come; errors: 22023 an argument is out of range, P0002 there is none of that id, 42501 the key is another''s';
