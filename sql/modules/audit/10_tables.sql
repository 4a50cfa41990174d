-- ---------------------------------------------------------------------
-- Module: audit
--
--		What changed, by whom, and from where: a log of row changes that is
--		written by C triggers and cannot be changed, and a log of activities.
--
-- Schema:	audit
-- Needs:	auth
-- Offers:	@schema@.attach(), @schema@.detach(), @schema@.history(),
--			@schema@.log_activity(), @schema@.ensure_partitions(),
--			@schema@.purge(), @schema@.add_index(), @schema@.verify(),
--			@schema@.head(), @schema@.proof(), @schema@.restore_row()
-- Rights:	administrators and service_role read; users read their own
--			activities; nobody writes but triggers and functions
-- Tests:	test/regress/sql/audit*.sql
-- ---------------------------------------------------------------------
CREATE SCHEMA @schema@;

COMMENT ON SCHEMA @schema@ IS
'plinth: what changed, by whom, and from where';

-- ---------------------------------------------------------------------
-- Table: @schema@.audit_logs
--
--		One row for each change of a row of an audited table.  id is a
--		time-ordered uuid, unique by construction, and has no index: each
--		b-tree costs a microsecond and more a record.
-- ---------------------------------------------------------------------
CREATE TABLE @schema@.audit_logs (
	id					uuid		NOT NULL,
	table_schema		text		NOT NULL,
	table_name			text		NOT NULL,
	record_id			uuid,
	record_pk			jsonb,
	action				text		NOT NULL,
	old_data			jsonb,
	new_data			jsonb,
	changed_columns		text[],
	user_id				uuid,
	user_email			text,
	db_user				text		NOT NULL DEFAULT session_user,
	ip_address			inet,
	user_agent			text,
	session_id			uuid,
	application_name	text,
	era					smallint	NOT NULL,
	txid				xid8		NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
	created_at			timestamptz	NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT audit_logs_action_check
		CHECK (action IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE'))
) PARTITION BY RANGE (created_at);

COMMENT ON TABLE @schema@.audit_logs IS
'changes of audited tables, one row each; partitioned by month (UTC) of created_at, and never changed';
COMMENT ON COLUMN @schema@.audit_logs.id IS
'RFC 9562 version 7; rises within a statement';
COMMENT ON COLUMN @schema@.audit_logs.record_id IS
'primary key of the row when that is one uuid column';
COMMENT ON COLUMN @schema@.audit_logs.record_pk IS
'any other primary key, as an object of its columns';
COMMENT ON COLUMN @schema@.audit_logs.old_data IS
'the row before; of an UPDATE only the columns that changed, unless plinth.audit_full_rows is on';
COMMENT ON COLUMN @schema@.audit_logs.new_data IS
'the row after; of an UPDATE only the columns that changed, unless plinth.audit_full_rows is on';
COMMENT ON COLUMN @schema@.audit_logs.changed_columns IS
'columns that an UPDATE changed, the ignored ones left out, in table order';
COMMENT ON COLUMN @schema@.audit_logs.user_id IS
'auth.uid() at the time; no foreign key, because the log outlives the user';
COMMENT ON COLUMN @schema@.audit_logs.era IS
'plinth.installed_modules.era at the time: which cluster counted txid';
COMMENT ON COLUMN @schema@.audit_logs.created_at IS
'one clock_timestamp() for all records of a statement';

CREATE TABLE @schema@.audit_logs_default
	PARTITION OF @schema@.audit_logs DEFAULT;

COMMENT ON TABLE @schema@.audit_logs_default IS
'takes the records of a month that has no partition yet; @schema@.ensure_partitions() moves them';

CREATE INDEX idx_audit_logs_record
	ON @schema@.audit_logs (record_id, table_name);
CREATE INDEX idx_audit_logs_created
	ON @schema@.audit_logs USING brin (created_at);

-- ---------------------------------------------------------------------
-- Table: @schema@.seals
--
--		Signed roots of Merkle trees over the log, each holding the hash of
--		the one before.  leaves keeps 24 bytes of each record (its id and the
--		first 8 of its hash), so that verification can name what is wrong.
-- ---------------------------------------------------------------------
CREATE TABLE @schema@.seals (
	id			bigint		GENERATED ALWAYS AS IDENTITY,
	era			smallint	NOT NULL,
	snapshot	pg_snapshot	NOT NULL,
	first_at	timestamptz	NOT NULL,
	last_at		timestamptz	NOT NULL,
	rows		bigint		NOT NULL,
	root		bytea		NOT NULL,
	previous	bytea,
	leaves		bytea,
	signature	bytea		NOT NULL,
	key_id		smallint	NOT NULL,
	sealed_at	timestamptz	NOT NULL,
	CONSTRAINT seals_pkey PRIMARY KEY (id)
);

-- hashes do not compress
ALTER TABLE @schema@.seals ALTER COLUMN leaves SET STORAGE EXTERNAL;

COMMENT ON TABLE @schema@.seals IS
'signed roots over the records of the log, made by the upkeep worker every plinth.audit_seal_interval, checked by @schema@.verify(), and never changed';
COMMENT ON COLUMN @schema@.seals.snapshot IS
'a record belongs to the first seal of its era whose snapshot sees its transaction as finished';
COMMENT ON COLUMN @schema@.seals.first_at IS
'the least created_at of the records';
COMMENT ON COLUMN @schema@.seals.last_at IS
'the greatest created_at of the records';
COMMENT ON COLUMN @schema@.seals.rows IS
'number of records';
COMMENT ON COLUMN @schema@.seals.root IS
'RFC 9162 section 2.1 tree hash of the records in the order of (txid, created_at, id)';
COMMENT ON COLUMN @schema@.seals.previous IS
'SHA-256 of the seal before; null in the first';
COMMENT ON COLUMN @schema@.seals.leaves IS
'for each record, in the order of the tree, its id and the first 8 bytes of its leaf hash; null when there are more than 4 million';
COMMENT ON COLUMN @schema@.seals.signature IS
'Ed25519 over all other columns, as docs/audit.md describes';
COMMENT ON COLUMN @schema@.seals.key_id IS
'the key of plinth.keys that signed';

-- ---------------------------------------------------------------------
-- Table: @schema@.marks
--
--		What was done to the trail rather than to the tables that it follows.
-- ---------------------------------------------------------------------
CREATE TABLE @schema@.marks (
	id				bigint		GENERATED ALWAYS AS IDENTITY,
	kind			text		NOT NULL,
	table_schema	text,
	table_name		text,
	command			text,
	user_id			uuid,
	db_user			text		NOT NULL DEFAULT session_user,
	txid			xid8		NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
	created_at		timestamptz	NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT marks_pkey PRIMARY KEY (id),
	CONSTRAINT marks_kind_check
		CHECK (kind IN ('trigger_disabled', 'replica_role', 'ddl', 'privilege', 'purge'))
);

COMMENT ON TABLE @schema@.marks IS
'what was done to the trail: a purged month, a write under the replica role; never changed';
COMMENT ON COLUMN @schema@.marks.kind IS
'trigger_disabled, replica_role, ddl, privilege or purge';
COMMENT ON COLUMN @schema@.marks.command IS
'the command that did it';

-- ---------------------------------------------------------------------
-- Table: @schema@.activity_logs
--
--		What users did, in an application's own words.
-- ---------------------------------------------------------------------
CREATE TABLE @schema@.activity_logs (
	id			uuid		NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	user_id		uuid,
	user_email	text,
	action		text		NOT NULL,
	entity_type	text,
	entity_id	uuid,
	metadata	jsonb		NOT NULL DEFAULT '{}',
	ip_address	inet,
	created_at	timestamptz	NOT NULL DEFAULT pg_catalog.now(),
	CONSTRAINT activity_logs_pkey PRIMARY KEY (id),
	CONSTRAINT activity_logs_action_check
		CHECK (action ~ '^[a-z][a-z0-9_]*$'
			   AND pg_catalog.octet_length(action) <= 63)
);

COMMENT ON TABLE @schema@.activity_logs IS
'what users did; written by @schema@.log_activity()';

CREATE INDEX idx_activity_logs_user ON @schema@.activity_logs (user_id);
CREATE INDEX idx_activity_logs_action ON @schema@.activity_logs (action);
CREATE INDEX idx_activity_logs_created
	ON @schema@.activity_logs (created_at DESC);
CREATE INDEX idx_activity_logs_entity
	ON @schema@.activity_logs (entity_type, entity_id, created_at DESC);

