-- ---------------------------------------------------------------------
-- Function: @schema@.attach(relation regclass, redact text[], ignore text[])
--
--		Audit a table from now on.
--
--	relation	a plain or a partitioned table; the children of a table that
--				others inherit from are audited with it
--	redact		columns whose values are kept as "[redacted]"
--	ignore		columns whose change alone makes no record
--
-- Plain tables get one trigger for each event, with transition tables.
-- Partitioned tables and tables in an inheritance tree get a row trigger,
-- because there the server's transition tables are wrong or incomplete.
-- One more trigger leaves a mark of writes under the replica role.
-- Repeating the call replaces what there was.
--
-- Errors: 22023 unknown column or NULL argument; 42809 not such a table;
-- 42501 not the owner; 55000 a partition that is audited with its parent.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.attach(relation regclass, redact text[] DEFAULT '{}',
								ignore text[] DEFAULT '{}')
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	target	record;
	unknown	text;
BEGIN
	IF relation IS NULL OR redact IS NULL OR ignore IS NULL THEN
		RAISE EXCEPTION 'cannot audit a table with an argument that is null'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;

	SELECT wanted INTO unknown
	FROM unnest(redact || ignore) AS wanted
	WHERE NOT EXISTS (
		SELECT FROM pg_attribute AS a
		WHERE a.attrelid = relation AND a.attname = wanted
			  AND a.attnum > 0 AND NOT a.attisdropped)
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'column "%" of table "%" does not exist', unknown, relation
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'Every column to redact or to ignore must be there.';
	END IF;

	FOR target IN
		WITH RECURSIVE tree AS (
			SELECT attach.relation::oid AS id
			UNION
			SELECT i.inhrelid
			FROM tree
			JOIN pg_inherits AS i ON i.inhparent = tree.id
			JOIN pg_class AS p ON p.oid = tree.id AND p.relkind = 'r')
		SELECT c.oid, c.relkind, c.relpersistence, c.relispartition,
			   n.nspname, c.relname,
			   c.relkind = 'p'
			   OR EXISTS (SELECT FROM pg_inherits AS i
						  WHERE c.oid IN (i.inhparent, i.inhrelid)) AS by_row
		FROM tree
		JOIN pg_class AS c ON c.oid = tree.id
		JOIN pg_namespace AS n ON n.oid = c.relnamespace
		ORDER BY c.oid = relation DESC, n.nspname, c.relname
	LOOP
		IF target.relkind NOT IN ('r', 'p') OR target.relpersistence = 't'
		   OR target.oid = '@schema@.audit_logs'::regclass
		   OR EXISTS (SELECT FROM pg_inherits AS i
					  WHERE i.inhrelid = target.oid
							AND i.inhparent = '@schema@.audit_logs'::regclass) THEN
			RAISE EXCEPTION 'cannot audit "%.%"', target.nspname, target.relname
				USING ERRCODE = 'wrong_object_type',
					  DETAIL = 'Only permanent tables outside of the audit log can be audited.';
		END IF;
		IF EXISTS (SELECT FROM pg_trigger AS t
				   WHERE t.tgrelid = target.oid AND t.tgparentid <> 0
						 AND t.tgname LIKE E'plinth\\_audit%') THEN
			RAISE EXCEPTION 'cannot audit partition "%.%" by itself',
							target.nspname, target.relname
				USING ERRCODE = 'object_not_in_prerequisite_state',
					  DETAIL = 'It is audited with the table that it is a partition of.';
		END IF;

		PERFORM plinth.audit_set_triggers(target.oid,
			CASE WHEN target.by_row THEN 'row' ELSE 'statement' END,
			redact::text, ignore::text);
	END LOOP;
END;
$$;

COMMENT ON FUNCTION @schema@.attach(regclass, text[], text[]) IS
'audit a table from now on; arguments: table, columns whose values are kept as "[redacted]", columns whose change alone makes no record; repeat = replace; for the table''s owner; errors: 22023 unknown column, 42809 not a permanent table, 42501 not the owner, 55000 partition that is audited with its parent';

-- ---------------------------------------------------------------------
-- Function: @schema@.detach(relation regclass)
--
--		Audit a table, and those that inherit from it, no longer.
--
-- Errors: 22023 NULL; 42501 not the owner; 55000 a partition that is
-- audited with its parent.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.detach(relation regclass)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	target	oid;
BEGIN
	IF relation IS NULL THEN
		RAISE EXCEPTION 'cannot detach a table that is null'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF EXISTS (SELECT FROM pg_trigger AS t
			   WHERE t.tgrelid = relation AND t.tgparentid <> 0
					 AND t.tgname LIKE E'plinth\\_audit%') THEN
		RAISE EXCEPTION 'cannot detach partition "%" by itself', relation
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = 'It is audited with the table that it is a partition of.';
	END IF;

	FOR target IN
		WITH RECURSIVE tree AS (
			SELECT detach.relation::oid AS id
			UNION
			SELECT i.inhrelid
			FROM tree
			JOIN pg_inherits AS i ON i.inhparent = tree.id
			JOIN pg_class AS p ON p.oid = tree.id AND p.relkind = 'r')
		SELECT id FROM tree
	LOOP
		PERFORM plinth.audit_set_triggers(target, NULL, NULL, NULL);
	END LOOP;
END;
$$;

COMMENT ON FUNCTION @schema@.detach(regclass) IS
'audit a table no longer; its records stay; for the table''s owner; errors: 22023 NULL, 42501 not the owner, 55000 partition that is audited with its parent';

-- ---------------------------------------------------------------------
-- Function: @schema@.check_reader()
--
--		Refuse a caller who may not read the log.
--
-- Errors: 42501 neither administrator nor service.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.check_reader()
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT (plinth.is_service() OR auth.is_admin()) THEN
		RAISE EXCEPTION 'permission denied for the audit log'
			USING ERRCODE = 'insufficient_privilege',
				  DETAIL = 'Only administrators and service_role read it.';
	END IF;
END;
$$;

COMMENT ON FUNCTION @schema@.check_reader() IS
'raises 42501 unless the caller is an administrator or service_role; part of history';

-- ---------------------------------------------------------------------
-- Function: @schema@.check_service()
--
--		Refuse a caller who is not the service.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.check_service()
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT plinth.is_service() THEN
		RAISE EXCEPTION 'permission denied for the upkeep of the audit log'
			USING ERRCODE = 'insufficient_privilege',
				  DETAIL = 'Only service_role, plinth_owner and superusers may do this.';
	END IF;
END;
$$;

COMMENT ON FUNCTION @schema@.check_service() IS
'raises 42501 unless the caller is service_role, plinth_owner or a superuser; part of ensure_partitions and purge';

-- ---------------------------------------------------------------------
-- Function: @schema@.history(relation regclass, record_id uuid, limit_count int)
--
--		What happened to a row, the newest first.
--
--	record_id	the row's primary key, one uuid column
--	limit_count	records wanted, 1 to 1000, clamped
--
-- SECURITY DEFINER so that a refusal is an error and not an empty result.
-- Errors: 42501 neither administrator nor service.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.history(relation regclass, record_id uuid,
								 limit_count integer DEFAULT 100)
RETURNS SETOF @schema@.audit_logs
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM @schema@.check_reader();

	RETURN QUERY
		SELECT l.*
		FROM pg_class AS c
		JOIN pg_namespace AS n ON n.oid = c.relnamespace
		JOIN @schema@.audit_logs AS l
			ON l.table_schema = n.nspname::text AND l.table_name = c.relname::text
		WHERE c.oid = history.relation AND l.record_id = history.record_id
		ORDER BY l.created_at DESC, l.id DESC
		LIMIT least(greatest(coalesce(history.limit_count, 100), 1), 1000);
END;
$$;

COMMENT ON FUNCTION @schema@.history(regclass, uuid, integer) IS
'audit records of the row with this uuid key, the newest first; limit_count 1..1000, clamped, NULL = 100; for administrators and service_role; errors: 42501';

-- ---------------------------------------------------------------------
-- Function: @schema@.history(relation regclass, record_pk jsonb, limit_count int)
--
--		The same for a row with any other key.
--
--	record_pk	an object of the key's columns, as the log keeps it
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.history(relation regclass, record_pk jsonb,
								 limit_count integer DEFAULT 100)
RETURNS SETOF @schema@.audit_logs
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM @schema@.check_reader();

	RETURN QUERY
		SELECT l.*
		FROM pg_class AS c
		JOIN pg_namespace AS n ON n.oid = c.relnamespace
		JOIN @schema@.audit_logs AS l
			ON l.table_schema = n.nspname::text AND l.table_name = c.relname::text
		WHERE c.oid = history.relation AND l.record_id IS NULL
			  AND l.record_pk = history.record_pk
		ORDER BY l.created_at DESC, l.id DESC
		LIMIT least(greatest(coalesce(history.limit_count, 100), 1), 1000);
END;
$$;

COMMENT ON FUNCTION @schema@.history(regclass, jsonb, integer) IS
'audit records of the row with this key, an object of its columns, the newest first; limit_count 1..1000, clamped, NULL = 100; for administrators and service_role; errors: 42501';

-- ---------------------------------------------------------------------
-- Function: @schema@.history(relation regclass, record_key text, limit_count int)
--
--		The same for a key whose type the caller does not say: without this
--		overload a call with an untyped literal or parameter is ambiguous.
--
--	record_key	a uuid, or a JSON object of the key's columns
--
-- Errors: 22P02 neither.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.history(relation regclass, record_key text,
								 limit_count integer DEFAULT 100)
RETURNS SETOF @schema@.audit_logs
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF record_key ~ '^[[:space:]]*[{][[:space:]]*"' THEN
		RETURN QUERY SELECT * FROM @schema@.history(relation, record_key::jsonb, limit_count);
	ELSE
		RETURN QUERY SELECT * FROM @schema@.history(relation, record_key::uuid, limit_count);
	END IF;
END;
$$;

COMMENT ON FUNCTION @schema@.history(regclass, text, integer) IS
'audit records of a row, the newest first, for a key whose type is not said: a uuid or an object of the key''s columns; limit_count 1..1000, clamped, NULL = 100; for administrators and service_role; errors: 42501, 22P02 neither uuid nor object';

-- ---------------------------------------------------------------------
-- Function: @schema@.write_activity(...)
--
--		Check an activity and store it; the actor is the caller's business.
--
-- Errors: 22023 action or metadata are not as they must be.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.write_activity(action text, entity_type text,
	entity_id uuid, metadata jsonb, user_id uuid, user_email text)
RETURNS uuid
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	new_id	uuid;
BEGIN
	IF action IS NULL OR action !~ '^[a-z][a-z0-9_]*$'
	   OR octet_length(action) > 63 THEN
		RAISE EXCEPTION 'invalid action of an activity'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'An action is a lower-case letter followed by lower-case letters, digits and underscores, 63 bytes at most.';
	END IF;
	IF octet_length(metadata::text) > 65536 THEN
		RAISE EXCEPTION 'metadata of an activity is too large'
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'The limit is 64 kB.';
	END IF;

	INSERT INTO @schema@.activity_logs AS l
		(user_id, user_email, action, entity_type, entity_id, metadata, ip_address)
	VALUES
		(write_activity.user_id, write_activity.user_email,
		 write_activity.action, write_activity.entity_type,
		 write_activity.entity_id, coalesce(write_activity.metadata, '{}'),
		 plinth.auth_client_address())
	RETURNING l.id INTO new_id;

	RETURN new_id;
END;
$$;

COMMENT ON FUNCTION @schema@.write_activity(text, text, uuid, jsonb, uuid, text) IS
'check and store an activity; part of log_activity; errors: 22023 bad action, metadata over 64 kB';

-- ---------------------------------------------------------------------
-- Function: @schema@.log_activity(action, entity_type, entity_id, metadata) -> uuid
--
--		Remember what the signed-in user did.
--
--	action		^[a-z][a-z0-9_]*$, 63 bytes at most
--	metadata	64 kB at most
--
-- SECURITY DEFINER: users have no right to insert, so nobody can name
-- another actor.  The service may call it too, for nobody in particular.
-- Errors: 28000 not signed in; 22023 bad action or metadata.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.log_activity(action text, entity_type text,
	entity_id uuid, metadata jsonb DEFAULT '{}')
RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF auth.uid() IS NULL AND NOT plinth.is_service() THEN
		RAISE EXCEPTION 'cannot log an activity without a user'
			USING ERRCODE = 'invalid_authorization_specification';
	END IF;

	RETURN @schema@.write_activity(log_activity.action,
		log_activity.entity_type, log_activity.entity_id,
		log_activity.metadata, auth.uid(), auth.email());
END;
$$;

COMMENT ON FUNCTION @schema@.log_activity(text, text, uuid, jsonb) IS
'remember what the signed-in user did; arguments: action ^[a-z][a-z0-9_]*$ up to 63 bytes, type and id of what it was done to, metadata up to 64 kB; returns the id; errors: 28000 not signed in, 22023 bad action or metadata';

-- ---------------------------------------------------------------------
-- Function: @schema@.log_activity(action, entity_type, entity_id, metadata,
--									user_id) -> uuid
--
--		Remember what a user did, as the service says.
--
-- user_id comes last, so that a call without types is not ambiguous.
-- Errors: 42501 not the service; 22023 bad action or metadata.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.log_activity(action text, entity_type text,
	entity_id uuid, metadata jsonb, user_id uuid)
RETURNS uuid
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT plinth.is_service() THEN
		RAISE EXCEPTION 'permission denied to name the user of an activity'
			USING ERRCODE = 'insufficient_privilege';
	END IF;

	RETURN @schema@.write_activity(log_activity.action,
		log_activity.entity_type, log_activity.entity_id,
		log_activity.metadata, log_activity.user_id,
		(SELECT u.email::text FROM auth.users AS u
		 WHERE u.id = log_activity.user_id));
END;
$$;

COMMENT ON FUNCTION @schema@.log_activity(text, text, uuid, jsonb, uuid) IS
'remember what a user did, for service_role; returns the id; errors: 42501 not the service, 22023 bad action or metadata';

