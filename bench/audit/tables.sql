-- Tables of bench/audit/run.
--
-- bench.coa has the columns and checks of coa.coa_metadata, the primary key
-- and two more b-tree indexes: without triggers, 100,000 rows are 70 to 90 MB
-- of WAL.  bench.coa_whole has all indexes and foreign keys: 220 MB.

CREATE SCHEMA bench;

CREATE TABLE bench.clients (id uuid PRIMARY KEY);
CREATE TABLE bench.vendors (id uuid PRIMARY KEY);
CREATE TABLE bench.people (id uuid PRIMARY KEY);
INSERT INTO bench.clients SELECT md5('client ' || g)::uuid FROM generate_series(0, 199) AS g;
INSERT INTO bench.vendors SELECT md5('vendor ' || g)::uuid FROM generate_series(0, 49) AS g;
INSERT INTO bench.people SELECT md5('person ' || g)::uuid FROM generate_series(0, 19) AS g;

CREATE TABLE bench.coa (
	id						uuid			PRIMARY KEY DEFAULT gen_random_uuid(),
	sample_id				text			NOT NULL CHECK (length(sample_id) BETWEEN 1 AND 100),
	client_id				uuid,
	vendor_id				uuid,
	strain					text,
	product_type			text,
	date_received			timestamptz,
	date_tested				timestamptz,
	pdf_url					text,
	total_thc				numeric(7,4)	CHECK (total_thc BETWEEN 0 AND 100),
	total_cbd				numeric(7,4)	CHECK (total_cbd BETWEEN 0 AND 100),
	total_cannabinoids		numeric(7,4)	CHECK (total_cannabinoids BETWEEN 0 AND 100),
	cannabinoid_breakdown	jsonb			NOT NULL DEFAULT '{}'
		CHECK (jsonb_typeof(cannabinoid_breakdown) IN ('object', 'array')),
	status					text			NOT NULL DEFAULT 'active'
		CHECK (status IN ('active', 'archived', 'deleted')),
	version					integer			NOT NULL DEFAULT 1 CHECK (version >= 1),
	parent_coa_id			uuid			CHECK (parent_coa_id <> id),
	generated_by			uuid,
	uploaded_by				uuid,
	tags					text[]			NOT NULL DEFAULT '{}',
	is_public				boolean			NOT NULL DEFAULT false,
	view_count				bigint			NOT NULL DEFAULT 0 CHECK (view_count >= 0),
	last_viewed_at			timestamptz,
	report_number			text,
	verification_code		text,
	signed_body				text,
	archived_at				timestamptz,
	deleted_at				timestamptz,
	search_vector			tsvector,
	created_at				timestamptz		NOT NULL DEFAULT now(),
	updated_at				timestamptz		NOT NULL DEFAULT now(),
	CHECK (date_tested >= date_received),
	CHECK ((status = 'archived') = (archived_at IS NOT NULL)),
	CHECK ((status = 'deleted') = (deleted_at IS NOT NULL))
);
CREATE INDEX ON bench.coa (status);
CREATE INDEX ON bench.coa (client_id, created_at DESC);

CREATE TABLE bench.coa_whole (LIKE bench.coa INCLUDING ALL);
ALTER TABLE bench.coa_whole ADD UNIQUE (parent_coa_id), ADD UNIQUE (report_number), ADD UNIQUE (verification_code);
CREATE INDEX ON bench.coa_whole USING gin (tags);
CREATE INDEX ON bench.coa_whole (generated_by);
CREATE INDEX ON bench.coa_whole USING gin (search_vector);
CREATE INDEX ON bench.coa_whole (strain, status) WHERE status = 'active';
CREATE INDEX ON bench.coa_whole (total_thc) WHERE total_thc > 0;
CREATE INDEX ON bench.coa_whole (uploaded_by);
CREATE INDEX ON bench.coa_whole (vendor_id);
CREATE INDEX ON bench.coa_whole (created_at) WHERE status = 'active';
CREATE UNIQUE INDEX ON bench.coa_whole (client_id, sample_id, version)
	NULLS NOT DISTINCT WHERE status <> 'deleted';

-- the rows that are written
CREATE TABLE bench.source (LIKE bench.coa);
INSERT INTO bench.source
SELECT md5('coa ' || g)::uuid, 'S-2026-' || lpad(g::text, 6, '0'),
	   md5('client ' || g % 200)::uuid, md5('vendor ' || g % 50)::uuid,
	   (ARRAY['Blue Dream', 'Northern Lights', 'Sour Diesel', 'Granddaddy Purple', 'Jack Herer'])[g % 5 + 1],
	   (ARRAY['flower', 'concentrate', 'edible', 'tincture'])[g % 4 + 1],
	   timestamptz '2026-01-05 09:00+00' + g * interval '1 minute',
	   timestamptz '2026-01-07 15:30+00' + g * interval '1 minute',
	   md5('client ' || g % 200)::uuid || '/' || 1767603600000 + g || '_S-2026-' || lpad(g::text, 6, '0') || '.pdf',
	   g % 300000 / 10000.0, g % 20000 / 10000.0, (g % 300000 + g % 20000) / 10000.0,
	   jsonb_build_object('thca', (g % 280000 / 10000.0)::numeric(7,4), 'd9-thc', (g % 15000 / 10000.0)::numeric(7,4),
						  'cbda', (g % 12000 / 10000.0)::numeric(7,4), 'cbd', (g % 8000 / 10000.0)::numeric(7,4),
						  'cbg', (g % 9000 / 10000.0)::numeric(7,4), 'cbn', (g % 3000 / 10000.0)::numeric(7,4)),
	   'active', 1, NULL, md5('person ' || g % 20)::uuid, md5('person ' || g % 20)::uuid,
	   ARRAY[(ARRAY['indica', 'sativa', 'hybrid'])[g % 3 + 1],
			 (ARRAY['organic', 'indoor', 'outdoor', 'greenhouse'])[g % 4 + 1]],
	   false, 0, NULL, NULL, NULL, NULL, NULL, NULL,
	   to_tsvector('english', (ARRAY['Blue Dream', 'Northern Lights', 'Sour Diesel', 'Granddaddy Purple', 'Jack Herer'])[g % 5 + 1]
				   || ' S-2026-' || lpad(g::text, 6, '0') || ' Green Valley Laboratories')
	   || to_tsvector('simple', 'S-2026-' || lpad(g::text, 6, '0')),
	   now(), now()
FROM generate_series(1, 100000) AS g;
VACUUM (FREEZE, ANALYZE) bench.source;

-- one table for each candidate
CREATE TABLE bench.none (LIKE bench.coa INCLUDING ALL);
CREATE TABLE bench.plinth (LIKE bench.coa INCLUDING ALL);
CREATE TABLE bench.by_row (LIKE bench.coa INCLUDING ALL);
CREATE TABLE bench.by_statement (LIKE bench.coa INCLUDING ALL);
CREATE TABLE bench.json (LIKE bench.coa INCLUDING ALL);
CREATE TABLE bench.whole_none (LIKE bench.coa_whole INCLUDING ALL);
CREATE TABLE bench.whole_plinth (LIKE bench.coa_whole INCLUDING ALL);
DO $$
DECLARE
	name	text;
BEGIN
	FOREACH name IN ARRAY ARRAY['whole_none', 'whole_plinth'] LOOP
		EXECUTE format('ALTER TABLE bench.%1$I
			ADD FOREIGN KEY (client_id) REFERENCES bench.clients,
			ADD FOREIGN KEY (vendor_id) REFERENCES bench.vendors,
			ADD FOREIGN KEY (parent_coa_id) REFERENCES bench.%1$I,
			ADD FOREIGN KEY (generated_by) REFERENCES bench.people,
			ADD FOREIGN KEY (uploaded_by) REFERENCES bench.people', name);
	END LOOP;
END
$$;
SELECT audit.attach('bench.plinth'), audit.attach('bench.whole_plinth');

-- plpgsql, for each row and for each statement: a log of the same columns and
-- indexes as audit.audit_logs, whole rows
CREATE TABLE bench.log (LIKE audit.audit_logs INCLUDING DEFAULTS);
CREATE INDEX ON bench.log (record_id, table_name);
CREATE INDEX ON bench.log USING brin (created_at);
CREATE FUNCTION bench.claim(name text) RETURNS text LANGUAGE sql STABLE
	RETURN nullif(current_setting('request.jwt.claims', true), '')::json ->> name;
CREATE FUNCTION bench.log_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	INSERT INTO bench.log (id, table_schema, table_name, record_id, action, old_data, new_data, user_id, user_email, ip_address, era)
	VALUES (gen_random_uuid(), tg_table_schema, tg_table_name, CASE WHEN tg_op = 'DELETE' THEN old.id ELSE new.id END, tg_op,
			CASE WHEN tg_op <> 'INSERT' THEN to_jsonb(old) END, CASE WHEN tg_op <> 'DELETE' THEN to_jsonb(new) END,
			bench.claim('sub')::uuid, bench.claim('email'), inet_client_addr(), 1);
	RETURN NULL;
END
$$;
CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON bench.by_row
	FOR EACH ROW EXECUTE FUNCTION bench.log_row();

CREATE FUNCTION bench.log_statement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
	who		uuid := bench.claim('sub');
	email	text := bench.claim('email');
BEGIN
	IF tg_op = 'INSERT' THEN
		INSERT INTO bench.log (id, table_schema, table_name, record_id, action, new_data, user_id, user_email, ip_address, era)
		SELECT gen_random_uuid(), tg_table_schema, tg_table_name, n.id, tg_op, to_jsonb(n), who, email, inet_client_addr(), 1
		FROM new_rows AS n;
	ELSIF tg_op = 'UPDATE' THEN
		INSERT INTO bench.log (id, table_schema, table_name, record_id, action, old_data, new_data, user_id, user_email, ip_address, era)
		SELECT gen_random_uuid(), tg_table_schema, tg_table_name, n.id, tg_op, to_jsonb(o), to_jsonb(n), who, email, inet_client_addr(), 1
		FROM new_rows AS n JOIN old_rows AS o USING (id);
	ELSE
		INSERT INTO bench.log (id, table_schema, table_name, record_id, action, old_data, user_id, user_email, ip_address, era)
		SELECT gen_random_uuid(), tg_table_schema, tg_table_name, o.id, tg_op, to_jsonb(o), who, email, inet_client_addr(), 1
		FROM old_rows AS o;
	END IF;
	RETURN NULL;
END
$$;
CREATE TRIGGER log_insert AFTER INSERT ON bench.by_statement REFERENCING NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION bench.log_statement();
CREATE TRIGGER log_update AFTER UPDATE ON bench.by_statement REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
	FOR EACH STATEMENT EXECUTE FUNCTION bench.log_statement();
CREATE TRIGGER log_delete AFTER DELETE ON bench.by_statement REFERENCING OLD TABLE AS old_rows
	FOR EACH STATEMENT EXECUTE FUNCTION bench.log_statement();

-- both whole rows as JSON with an identity of their own for each version of a
-- row, and an index for each question
CREATE TABLE bench.json_log (
	id			bigint		GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	record_id	uuid		NOT NULL,
	old_id		uuid,
	op			text		NOT NULL,
	at			timestamptz	NOT NULL DEFAULT clock_timestamp(),
	relation	oid			NOT NULL,
	schema_name	name		NOT NULL,
	table_name	name		NOT NULL,
	record		jsonb,
	old_record	jsonb,
	user_id		uuid,
	query		text
);
CREATE INDEX ON bench.json_log (record_id);
CREATE INDEX ON bench.json_log (old_id);
CREATE INDEX ON bench.json_log (at);
CREATE INDEX ON bench.json_log (relation);
CREATE INDEX ON bench.json_log (user_id);
CREATE FUNCTION bench.version_of(relation oid, row_data jsonb) RETURNS uuid LANGUAGE plpgsql STABLE AS $$
DECLARE
	keys	text[] := (SELECT array_agg(a.attname::text ORDER BY a.attnum)
					   FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
					   WHERE i.indrelid = relation AND i.indisprimary);
BEGIN
	RETURN md5(relation || (SELECT string_agg(row_data ->> k, ',') FROM unnest(keys) AS k))::uuid;
END
$$;
CREATE FUNCTION bench.log_json() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
	new_row	jsonb := to_jsonb(new);
	old_row	jsonb := to_jsonb(old);
BEGIN
	INSERT INTO bench.json_log (record_id, old_id, op, relation, schema_name, table_name, record, old_record, user_id, query)
	VALUES (bench.version_of(tg_relid, coalesce(new_row, old_row)),
			CASE WHEN tg_op <> 'INSERT' THEN bench.version_of(tg_relid, old_row) END, tg_op, tg_relid,
			tg_table_schema, tg_table_name, new_row, old_row, bench.claim('sub')::uuid, current_query());
	RETURN NULL;
END
$$;
CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON bench.json
	FOR EACH ROW EXECUTE FUNCTION bench.log_json();

-- all logs empty again
CREATE PROCEDURE bench.empty_logs() LANGUAGE plpgsql AS $$
DECLARE
	month	text := to_char(now() AT TIME ZONE 'UTC', '"audit_logs_y"YYYY"m"MM');
BEGIN
	IF to_regclass('audit.' || month) IS NOT NULL THEN
		EXECUTE format('DROP TABLE audit.%I', month);
	END IF;
	PERFORM audit.ensure_partitions(0);
	TRUNCATE bench.log, bench.json_log;
END
$$;

-- milliseconds that a statement takes, those that the backend was on a
-- processor, and bytes of WAL
CREATE FUNCTION bench.cpu() RETURNS numeric LANGUAGE sql
	RETURN split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::numeric / 1e6;
CREATE FUNCTION bench.cost(statement text, OUT elapsed numeric, OUT cpu numeric, OUT wal numeric) LANGUAGE plpgsql AS $$
DECLARE
	start		timestamptz := clock_timestamp();
	start_cpu	numeric := bench.cpu();
	start_wal	pg_lsn := pg_current_wal_insert_lsn();
BEGIN
	EXECUTE statement;
	elapsed := round(extract(epoch FROM clock_timestamp() - start) * 1000, 1);
	cpu := round(bench.cpu() - start_cpu, 1);
	wal := pg_current_wal_insert_lsn() - start_wal;
END
$$;
