-- ---------------------------------------------------------------------
-- Tables: channels
--
--		Who may use which topic: rules by prefix, which the modules bring with
--		them, and single topics that no rule covers.  Presence and messages to
--		topics have no table.
-- ---------------------------------------------------------------------
CREATE TABLE @schema@.channels (
	name		text PRIMARY KEY,
	kind		text NOT NULL,
	created_by	uuid REFERENCES auth.users ON DELETE SET NULL,
	created_at	timestamptz NOT NULL DEFAULT now(),
	CONSTRAINT channels_name CHECK (octet_length(name) BETWEEN 1 AND 255),
	CONSTRAINT channels_kind CHECK (kind IN ('public', 'private', 'user', 'room'))
);
COMMENT ON TABLE @schema@.channels IS 'topics that no rule covers, declared by the service';
COMMENT ON COLUMN @schema@.channels.kind IS
'public: everybody may use it; private, user, room: who is in created_by';
COMMENT ON COLUMN @schema@.channels.created_by IS 'the user that a topic other than a public one belongs to; null: only the service may use it';
CREATE INDEX channels_created_by_idx ON @schema@.channels (created_by);

CREATE TABLE @schema@.channel_rules (
	prefix			text PRIMARY KEY,
	check_function	text NOT NULL,
	CONSTRAINT channel_rules_prefix CHECK (octet_length(prefix) BETWEEN 1 AND 255)
);
COMMENT ON TABLE @schema@.channel_rules IS
'who may use the topics that begin with a prefix, the longest one counts; modules add theirs';
COMMENT ON COLUMN @schema@.channel_rules.check_function IS
'schema and name of a stable function (rest of the topic text, action text) that returns boolean; it runs with the rights of plinth_owner';

-- ---------------------------------------------------------------------
-- Function: @schema@.channel_check(check_function text) -> text
--
--		The quoted name of a rule's function, or NULL when there is none that
--		can be a rule: (text, text) to boolean, and not volatile.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.channel_check(check_function text)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
SELECT format('%I.%I', n.nspname, p.proname)
FROM pg_proc AS p
	JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.oid = to_regprocedure(channel_check.check_function || '(text,text)')
	AND p.prorettype = 'boolean'::regtype AND NOT p.proretset
	AND p.prokind = 'f' AND p.provolatile IN ('s', 'i')
$$;
COMMENT ON FUNCTION @schema@.channel_check(text) IS
'the quoted name of a rule''s function; NULL when there is no such function (text, text) that returns boolean and is not volatile; raises no error';

CREATE FUNCTION @schema@.check_channel_rule()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	judge	text;
BEGIN
	BEGIN
		judge := @schema@.channel_check(NEW.check_function);
	EXCEPTION WHEN syntax_error OR invalid_name THEN
		judge := NULL;
	END;
	IF judge IS NULL THEN
		RAISE EXCEPTION 'function "%" cannot be the rule of a prefix', NEW.check_function
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'A rule is a stable function (text, text) that returns boolean, named with its schema.';
	END IF;
	RETURN NEW;
END;
$$;
COMMENT ON FUNCTION @schema@.check_channel_rule() IS
'trigger of @schema@.channel_rules; errors: 22023 the function is missing, or cannot be a rule';

CREATE TRIGGER check_channel_rule BEFORE INSERT OR UPDATE ON @schema@.channel_rules
	FOR EACH ROW EXECUTE FUNCTION @schema@.check_channel_rule();

-- user:<id> is that user's
CREATE FUNCTION @schema@.may_use_user_topic(rest text, action text)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
RETURN coalesce(rest = auth.uid()::text, false);
COMMENT ON FUNCTION @schema@.may_use_user_topic(text, text) IS
'rule of the prefix user: that user''s id, spelled as PostgreSQL spells it; raises no error';

INSERT INTO @schema@.channel_rules (prefix, check_function)
VALUES ('user:', '@schema@.may_use_user_topic');

-- ---------------------------------------------------------------------
-- Function: @schema@.may_use(topic text, action text) -> boolean
--
--		May the caller read from or write to a topic?  The one judge of it.
--
--	topic	1 to 255 bytes
--	action	read or write
--
-- The definer reads rules, channels and settings, which a client may not.
-- The name of a rule's function comes from a table that only the owner writes,
-- and is looked up and quoted.  A rule whose function has gone is a no.
--
-- Errors: 22023 no topic, or no such action; those of a rule's function.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.may_use(topic text, action text)
RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	rule		@schema@.channel_rules;
	channel		@schema@.channels;
	judge		text;
	allowed		boolean;
BEGIN
	IF may_use.topic IS NULL OR octet_length(may_use.topic) NOT BETWEEN 1 AND 255 THEN
		RAISE EXCEPTION 'invalid topic'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'A topic has 1 to 255 bytes.';
	END IF;
	IF may_use.action IS NULL OR may_use.action NOT IN ('read', 'write') THEN
		RAISE EXCEPTION 'invalid action'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'The actions are read and write.';
	END IF;

	IF plinth.is_service() THEN
		RETURN true;
	END IF;

	SELECT r.* INTO rule FROM @schema@.channel_rules AS r
	WHERE starts_with(may_use.topic, r.prefix)
	ORDER BY octet_length(r.prefix) DESC LIMIT 1;
	IF FOUND THEN
		judge := @schema@.channel_check(rule.check_function);
		IF judge IS NULL THEN
			RETURN false;
		END IF;
		EXECUTE format('SELECT %s($1, $2)', judge) INTO allowed
		USING substr(may_use.topic, char_length(rule.prefix) + 1), may_use.action;
		RETURN coalesce(allowed, false);
	END IF;

	SELECT c.* INTO channel FROM @schema@.channels AS c WHERE c.name = may_use.topic;
	IF FOUND THEN
		RETURN channel.kind = 'public' OR coalesce(channel.created_by = auth.uid(), false);
	END IF;

	RETURN CASE plinth.setting('realtime.open_topics') #>> '{}'
		WHEN 'anon' THEN true
		WHEN 'authenticated' THEN auth.uid() IS NOT NULL
		ELSE false
	END;
END;
$$;
COMMENT ON FUNCTION @schema@.may_use(text, text) IS
'may the caller read from or write to a topic: by the rule with the longest prefix (user:<id> is that user''s; modules add theirs), else by @schema@.channels, else open to whom the setting realtime.open_topics names (none, authenticated, anon); all to the service; errors: 22023 no topic of 1 to 255 bytes, action neither read nor write';
