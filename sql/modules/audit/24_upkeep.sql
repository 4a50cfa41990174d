-- ---------------------------------------------------------------------
-- Function: @schema@.ensure_partitions(months_ahead int) -> int
--
--		Make the log's partitions for this month and those to come.
--
--	months_ahead	0 to 120
--
-- Returns the number of partitions made.  Records that had to go to the
-- default partition are moved to where they belong.
--
-- Writers go on meanwhile.  The default partition is locked, and the whole
-- log where it has records to move, so the wait for these locks is short: who
-- comes too late comes again tomorrow.  Moving comes first, because a reader
-- locks the log before its partitions, and who locks the default partition
-- and then the log would wait for it in a circle; it may fail by itself, with
-- a warning, so that it never keeps the coming months away.
--
-- SECURITY DEFINER: partitions are made by the log's owner.
-- Errors: 42501 not the service; 22023 months_ahead out of range; 55P03 the
-- default partition is in use.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.ensure_partitions(months_ahead integer DEFAULT 2)
RETURNS integer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
DECLARE
	this_month	timestamptz := date_trunc('month', clock_timestamp());
	made		integer := 0;
	stray		timestamptz[];
	wanted		timestamptz;
BEGIN
	PERFORM @schema@.check_service();
	IF months_ahead IS NULL OR months_ahead NOT BETWEEN 0 AND 120 THEN
		RAISE EXCEPTION '"months_ahead" must be between 0 and 120'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;

	-- one at a time
	PERFORM pg_advisory_xact_lock('@schema@.audit_logs'::regclass::oid::bigint);

	SELECT array_agg(DISTINCT date_trunc('month', d.created_at)) INTO stray
	FROM ONLY @schema@.audit_logs_default AS d;

	IF stray IS NOT NULL THEN
		BEGIN
			made := made + plinth.audit_upkeep('move strays', NULL)::integer;
			stray := NULL;
		EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
			RAISE WARNING 'could not move the records of the default partition of the audit log'
				USING DETAIL = 'The log is in use; they stay where they are and can be read.',
					  HINT = 'It is tried again with each call of @schema@.ensure_partitions().';
		END;
	END IF;

	-- a month cannot get its partition while the default one has its records
	FOR n IN 0..months_ahead LOOP
		wanted := this_month + make_interval(months => n);
		IF stray IS NULL OR wanted <> ALL (stray) THEN
			made := made + plinth.audit_upkeep('make partition', wanted::text)::integer;
		END IF;
	END LOOP;

	RETURN made;
END;
$$;

COMMENT ON FUNCTION @schema@.ensure_partitions(integer) IS
'make the log''s partitions of this month and so many more, 0..120, and move what the default partition had to take; returns how many were made; for service_role; errors: 42501, 22023, 55P03 the log is in use for over 2 s';

-- ---------------------------------------------------------------------
-- Function: @schema@.move_strays() -> integer
--
--		Move the records of the default partition to partitions of their
--		months, which are made.  Nobody writes meanwhile.
--
-- Errors: 55P03 the log is in use.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.move_strays()
RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
	made	integer := 0;
	month	timestamptz;
BEGIN
	LOCK TABLE @schema@.audit_logs IN ACCESS EXCLUSIVE MODE;
	ALTER TABLE @schema@.audit_logs
		DETACH PARTITION @schema@.audit_logs_default;
	ALTER TABLE @schema@.audit_logs_default RENAME TO audit_logs_stray;

	FOR month IN
		SELECT DISTINCT date_trunc('month', s.created_at)
		FROM @schema@.audit_logs_stray AS s ORDER BY 1
	LOOP
		made := made + @schema@.make_partition(month)::integer;
	END LOOP;

	CREATE TABLE @schema@.audit_logs_default
		PARTITION OF @schema@.audit_logs DEFAULT;
	PERFORM @schema@.guard_partition('audit_logs_default');
	COMMENT ON TABLE @schema@.audit_logs_default IS
	'takes the records of a month that has no partition yet; @schema@.ensure_partitions() moves them';
	INSERT INTO @schema@.audit_logs SELECT * FROM @schema@.audit_logs_stray;
	DROP TABLE @schema@.audit_logs_stray;

	RETURN made;
END;
$$;

COMMENT ON FUNCTION @schema@.move_strays() IS
'move the records of the log''s default partition to partitions of their months; returns how many were made; part of ensure_partitions; errors: 55P03 the log is in use';

-- ---------------------------------------------------------------------
-- Function: @schema@.make_partition(month timestamptz) -> boolean
--
--		Make the partition of a month (UTC), unless it is there.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.make_partition(month timestamptz)
RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
AS $$
DECLARE
	name	text := to_char(month, '"audit_logs_y"YYYY"m"MM');
BEGIN
	IF to_regclass(format('@schema@.%I', name)) IS NOT NULL THEN
		RETURN false;
	END IF;

	-- made first and attached then: PARTITION OF would lock all writers out
	EXECUTE format(
		'CREATE TABLE @schema@.%I (LIKE @schema@.audit_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)',
		name);
	PERFORM @schema@.guard_partition(name);
	EXECUTE format(
		'ALTER TABLE @schema@.audit_logs ATTACH PARTITION @schema@.%I FOR VALUES FROM (%L) TO (%L)',
		name, date_trunc('month', month),
		date_trunc('month', month) + interval '1 month');

	RETURN true;
END;
$$;

COMMENT ON FUNCTION @schema@.make_partition(timestamptz) IS
'make the log''s partition of a month (UTC); returns false when it is there; part of ensure_partitions';

-- ---------------------------------------------------------------------
-- Function: @schema@.guard_partition(name text)
--
--		Close a partition: what the log itself has does not reach it when it
--		is named directly.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.guard_partition(name text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	EXECUTE format('ALTER TABLE @schema@.%I ENABLE ROW LEVEL SECURITY', name);
	EXECUTE format('CREATE TRIGGER audit_logs_immutable_truncate
		BEFORE TRUNCATE ON @schema@.%I
		FOR EACH STATEMENT EXECUTE FUNCTION @schema@.refuse_change()', name);
	EXECUTE format('ALTER TABLE @schema@.%I
		ENABLE ALWAYS TRIGGER audit_logs_immutable_truncate', name);
END;
$$;

COMMENT ON FUNCTION @schema@.guard_partition(text) IS
'give a partition of the log row security and the trigger that refuses TRUNCATE; part of ensure_partitions';

-- ---------------------------------------------------------------------
-- Function: @schema@.drop_partition(name text) -> bigint
--
--		Drop a partition of the log.  It leaves a mark, and its seals stay
--		and say "purged".
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.drop_partition(name text)
RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	gone	bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM @schema@.%I', name) INTO gone;
	EXECUTE format('DROP TABLE @schema@.%I', name);
	INSERT INTO @schema@.marks (kind, table_schema, table_name, command, user_id)
	VALUES ('purge', '@schema@', name, '@schema@.purge()', auth.uid());

	RETURN gone;
END;
$$;

COMMENT ON FUNCTION @schema@.drop_partition(text) IS
'drop a partition of the log and leave a mark "purge"; returns the number of its records; part of purge; errors: 42P01 no such table, 55P03 the log is in use';

-- ---------------------------------------------------------------------
-- Function: @schema@.purge(older_than interval, activity_older_than interval)
--			 -> bigint
--
--		Drop the log's partitions whose months ended so long ago, and delete
--		activities of that age.  Each month leaves a mark; its seals stay.
--
--	older_than, activity_older_than		NULL = plinth.setting(
--				'audit.retention') and ('audit.activity_retention')
--
-- Returns the number of records and activities that went.
--
-- SECURITY DEFINER: partitions are dropped by the log's owner.
-- Errors: 42501 not the service; 22023 a negative interval; 55P03 the log
-- is in use.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.purge(older_than interval DEFAULT NULL,
							   activity_older_than interval DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET lock_timeout = '2s'
AS $$
DECLARE
	log_age			interval := coalesce(older_than,
		(plinth.setting('audit.retention') #>> '{}')::interval);
	activity_age	interval := coalesce(activity_older_than,
		(plinth.setting('audit.activity_retention') #>> '{}')::interval);
	old_partition	record;
	gone			bigint;
	total			bigint := 0;
BEGIN
	PERFORM @schema@.check_service();
	IF log_age < interval '0' OR activity_age < interval '0' THEN
		RAISE EXCEPTION 'cannot purge what is yet to come'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;

	FOR old_partition IN
		SELECT c.relname
		FROM pg_inherits AS i
		JOIN pg_class AS c ON c.oid = i.inhrelid
		WHERE i.inhparent = '@schema@.audit_logs'::regclass
			  AND c.relname ~ '^audit_logs_y[0-9]{4,}m[0-9]{2}$'
			  AND to_timestamp(c.relname, '"audit_logs_y"YYYY"m"MM')
				  + interval '1 month' <= clock_timestamp() - log_age
		ORDER BY c.relname
	LOOP
		-- the log before its partitions, as readers lock them
		LOCK TABLE ONLY @schema@.audit_logs IN ACCESS EXCLUSIVE MODE;
		total := total + plinth.audit_upkeep('drop partition', old_partition.relname);
	END LOOP;

	DELETE FROM @schema@.activity_logs
	WHERE created_at < clock_timestamp() - activity_age;
	GET DIAGNOSTICS gone = ROW_COUNT;

	RETURN total + gone;
END;
$$;

COMMENT ON FUNCTION @schema@.purge(interval, interval) IS
'drop the log''s months that ended so long ago and delete activities of that age; NULL = the settings audit.retention and audit.activity_retention; returns how many records went; for service_role; errors: 42501, 22023 negative interval, 55P03 the log is in use for over 2 s';

-- ---------------------------------------------------------------------
-- Function: @schema@.add_index(kind text)
--
--		Give the log, and its later partitions, one more b-tree, for those
--		who ask its question often: a microsecond and more a record.
--
--	kind	table: (table_schema, table_name, created_at desc)
--			user: (user_id, created_at desc)
--
-- Errors: 22023 other kind; 42501 not the owner.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.add_index(kind text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF kind IS NULL OR kind NOT IN ('table', 'user') THEN
		RAISE EXCEPTION 'unknown index "%" of the audit log', kind
			USING ERRCODE = 'invalid_parameter_value',
				  HINT = 'The kinds are "table" and "user".';
	END IF;
	IF kind = 'table'
	   AND to_regclass('@schema@.idx_audit_logs_table_time') IS NULL THEN
		CREATE INDEX idx_audit_logs_table_time ON @schema@.audit_logs
			(table_schema, table_name, created_at DESC);
	ELSIF kind = 'user'
	   AND to_regclass('@schema@.idx_audit_logs_user_time') IS NULL THEN
		CREATE INDEX idx_audit_logs_user_time ON @schema@.audit_logs
			(user_id, created_at DESC);
	END IF;
END;
$$;

COMMENT ON FUNCTION @schema@.add_index(text) IS
'give the log one more b-tree: "table" (table_schema, table_name, created_at desc) or "user" (user_id, created_at desc); repeat changes nothing; for the owner; errors: 22023 other kind, 42501 not the owner';

-- ---------------------------------------------------------------------
-- Function: @schema@.refuse_change() -> trigger
--
--		What is in the log stays as it is, whoever asks.
--
-- Errors: 42501 always.
-- ---------------------------------------------------------------------
CREATE FUNCTION @schema@.refuse_change()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION 'cannot change the audit log'
		USING ERRCODE = 'insufficient_privilege',
			  DETAIL = format('%s is refused for everyone, its owner included.', TG_OP),
			  HINT = 'Old months go with @schema@.purge().';
END;
$$;

COMMENT ON FUNCTION @schema@.refuse_change() IS
'raises 42501: the audit log is never changed';

