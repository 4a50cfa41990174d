-- ---------------------------------------------------------------------
-- Broadcast
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.broadcast(topic text, event text, payload jsonb,
	transactional boolean DEFAULT true)
RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN plinth.realtime_broadcast(topic, event, payload, transactional);
COMMENT ON FUNCTION @schema@.broadcast(text, text, jsonb, boolean) IS
'send a message to those who follow a topic: event 1 to 255 bytes, payload at most 64 kB as text; transactional: if and when the transaction commits, at its place among the transaction''s changes, else at once whatever becomes of the transaction; errors: 22023 an argument is wrong, 28000 no user, 42501 the topic is not for the caller, PT429 too many, 53000 the queue stays full, 55000 the stream cannot run here';
