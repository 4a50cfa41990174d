-- ---------------------------------------------------------------------
-- Function: @schema@.find_record(audit_id uuid) -> audit_logs
--
--		The record of this id, by the time inside it; no row when there is
--		none.
--
-- Source: RFC 9562 section 5.7: 48 bits of milliseconds since 1970.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.find_record(audit_id uuid)
RETURNS SETOF @schema@.audit_logs
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT l.*
	FROM @schema@.audit_logs AS l,
		 (SELECT to_timestamp(0) + make_interval(secs =>
			('x' || left(replace(find_record.audit_id::text, '-', ''), 12))::bit(48)::bigint / 1000.0) AS time) AS made
	WHERE l.id = find_record.audit_id
		  AND l.created_at >= made.time
		  AND l.created_at < made.time + interval '1 millisecond'
	LIMIT 1;
END;

COMMENT ON FUNCTION @schema@.find_record(uuid) IS
'the audit record of this id, found by the time inside it (RFC 9562 section 5.7), or no row; part of restore_row';

-- ---------------------------------------------------------------------
-- Function: @schema@.restore_row(audit_id uuid) -> jsonb
--
--		Put the old image of a record back: the row that was deleted, or the
--		values of the columns that an update changed.
--
--	audit_id	id of a record of a DELETE or an UPDATE
--
-- Returns the row as it is then.  Triggers fire and constraints hold as for
-- any statement, and so the change is audited itself.  Columns that are
-- computed are left to be computed again.
--
-- SECURITY INVOKER: with no rights but the caller's, who owns the table.
-- Errors: 42501 not the owner; P0002 no such record; 22023 a record without
-- an old image, or with a value that was not kept; 55000 the table, a
-- column or the row is gone, or the row is there already.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.restore_row(audit_id uuid)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	old			record;
	relation	oid;
	owner		oid;
	key			jsonb;	-- as the row has it now
	key_test	text;	-- whether row t has the key $2
	wanted		text[];	-- columns to put back
	lost		text;
	found_it	boolean;
	result		jsonb;
BEGIN
	SELECT * INTO old FROM @schema@.find_record(restore_row.audit_id);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no audit record %', restore_row.audit_id
			USING ERRCODE = 'no_data_found';
	END IF;

	SELECT c.oid, c.relowner INTO relation, owner
	FROM pg_class AS c
	JOIN pg_namespace AS n ON n.oid = c.relnamespace
	WHERE n.nspname = old.table_schema AND c.relname = old.table_name
		  AND c.relkind IN ('r', 'p');
	IF NOT FOUND THEN
		RAISE EXCEPTION 'table "%.%" is gone', old.table_schema, old.table_name
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	IF NOT pg_has_role(owner, 'USAGE') THEN
		RAISE EXCEPTION 'must be owner of table "%.%"', old.table_schema, old.table_name
			USING ERRCODE = 'insufficient_privilege';
	END IF;

	IF old.action NOT IN ('UPDATE', 'DELETE') THEN
		RAISE EXCEPTION 'audit record % has no old image', old.id
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = format('It is of an %s.', old.action);
	END IF;
	SELECT array_agg(name) INTO wanted
	FROM jsonb_object_keys(old.old_data) AS name
	WHERE old.action = 'DELETE' OR name = ANY (old.changed_columns);

	SELECT name INTO lost FROM unnest(wanted) AS name
	WHERE old.old_data ->> name = '[redacted]'
		  OR old.old_data ->> name ~ '^[[][0-9]+ bytes[]]$'
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'the old value of column "%" was not kept', lost
			USING ERRCODE = 'invalid_parameter_value',
				  DETAIL = 'It was redacted, or too large.';
	END IF;
	SELECT name INTO lost FROM unnest(wanted) AS name
	WHERE NOT EXISTS (
		SELECT FROM pg_attribute AS a
		WHERE a.attrelid = relation AND a.attname = name
			  AND a.attnum > 0 AND NOT a.attisdropped)
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'column "%" of table "%.%" is gone', lost, old.table_schema, old.table_name
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	SELECT array_agg(a.attname::text ORDER BY a.attnum) INTO wanted
	FROM pg_attribute AS a
	WHERE a.attrelid = relation AND a.attname = ANY (wanted)
		  AND a.attgenerated = '';

	-- the primary key as it is now, and what the record has for it
	SELECT string_agg(format('t.%I = (jsonb_populate_record(NULL::%I.%I, $2)).%I',
							 a.attname, old.table_schema, old.table_name, a.attname), ' AND '),
		   CASE WHEN old.record_id IS NULL THEN old.record_pk
				WHEN count(*) = 1 THEN jsonb_build_object(min(a.attname::text), old.record_id) END
	INTO key_test, key
	FROM pg_index AS i
	JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
	WHERE i.indrelid = relation AND i.indisprimary
	HAVING bool_and(old.record_id IS NOT NULL OR old.record_pk ? a.attname::text);

	IF key IS NOT NULL THEN
		EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I AS t WHERE %s)',
					   old.table_schema, old.table_name, key_test)
			INTO found_it USING old.old_data, key;
	END IF;
	IF old.action = 'DELETE' AND found_it THEN
		RAISE EXCEPTION 'the row of audit record % is there already', old.id
			USING ERRCODE = 'object_not_in_prerequisite_state';
	ELSIF old.action = 'UPDATE' AND found_it IS NOT TRUE THEN
		RAISE EXCEPTION 'the row of audit record % is gone', old.id
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = CASE WHEN key IS NULL
								 THEN 'It cannot be found without the primary key that it had.'
								 ELSE 'No row has its primary key.' END;
	END IF;

	IF old.action = 'DELETE' THEN
		EXECUTE format(
			'INSERT INTO %1$I.%2$I AS t (%3$s) OVERRIDING SYSTEM VALUE SELECT %3$s FROM jsonb_populate_record(NULL::%1$I.%2$I, $1) RETURNING to_jsonb(t)',
			old.table_schema, old.table_name,
			(SELECT string_agg(quote_ident(name), ', ' ORDER BY n)
			 FROM unnest(wanted) WITH ORDINALITY AS w (name, n)))
			INTO result USING old.old_data;
	ELSIF wanted IS NOT NULL THEN
		EXECUTE format(
			'UPDATE %1$I.%2$I AS t SET %3$s FROM jsonb_populate_record(NULL::%1$I.%2$I, $1) AS o WHERE %4$s RETURNING to_jsonb(t)',
			old.table_schema, old.table_name,
			(SELECT string_agg(format('%1$I = o.%1$I', name), ', ' ORDER BY n)
			 FROM unnest(wanted) WITH ORDINALITY AS w (name, n)),
			key_test)
			INTO result USING old.old_data, key;
	END IF;
	IF result IS NULL THEN
		RAISE EXCEPTION 'nothing of audit record % could be put back', old.id
			USING ERRCODE = 'object_not_in_prerequisite_state',
				  DETAIL = 'A trigger or a rule has prevented it, or only computed columns had changed.';
	END IF;

	RETURN result;
END;
$$;

COMMENT ON FUNCTION @schema@.restore_row(uuid) IS
'put the old image of an audit record back: the row that was deleted, or the columns that an update changed; returns the row; for the table''s owner who may read the log (plinth_owner, superusers); errors: 42501 not the owner, P0002 no such record, 22023 no old image or a value that was not kept, 55000 table, column or row gone, or the row there already';
