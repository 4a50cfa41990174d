# Functions shared by the benchmarks of the change stream.  Source it from
# bench/stream/<topic>.
#
#	stream_start TOPIC MAX [SETTING ...]   private server; tables and helpers
#	subscribe_users TABLE FROM TO          as users FROM to TO, in sessions that
#	                                       end: the subscriptions stay 5 minutes
#	reader ...                             bench/stream/reader.py on that server

. "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

/usr/bin/python3 -c 'import psycopg2' 2>/dev/null || die "psycopg2 is missing; run scripts/deps"

stream_start() {
	local topic=$1 max=$2
	shift 2
	bench_start "stream-$topic" "plinth.realtime_max_subscriptions = $max" "$@"
	sql <<-'SQL' >/dev/null
		SET client_min_messages = warning;
		CREATE FUNCTION user_of(n int) RETURNS uuid LANGUAGE sql IMMUTABLE
			RETURN ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid;
		CREATE FUNCTION claims_of(n int) RETURNS text LANGUAGE sql IMMUTABLE
			RETURN json_build_object('sub', user_of(n), 'role', 'authenticated');
		CREATE PROCEDURE subscribe_users(name text, first int, last int) LANGUAGE plpgsql AS $$
		BEGIN
			FOR n IN first .. last LOOP
				PERFORM set_config('request.jwt.claims', claims_of(n), false);
				PERFORM realtime.subscribe('bench', 'public', name);
			END LOOP;
		END $$;
		-- waits until what is committed has been delivered; milliseconds since then
		CREATE FUNCTION worked_off(since timestamptz) RETURNS double precision LANGUAGE plpgsql AS $$
		DECLARE
			target	pg_lsn := pg_current_wal_insert_lsn();
		BEGIN
			WHILE NOT EXISTS (SELECT FROM plinth.stat_stream
				WHERE database = current_database() AND confirmed_lsn >= target) LOOP
				PERFORM pg_sleep(0.0005);
			END LOOP;
			RETURN extract(epoch FROM clock_timestamp() - since) * 1000;
		END $$;
		GRANT USAGE ON SCHEMA public TO authenticated;
	SQL
}

# One table whose rows belong to users, in the publication.
owned_table() {
	sql <<-SQL >/dev/null
		CREATE TABLE $1 (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner uuid NOT NULL, body text NOT NULL);
		ALTER TABLE $1 ENABLE ROW LEVEL SECURITY;
		CREATE POLICY own ON $1 FOR SELECT TO authenticated USING (owner = auth.uid());
		GRANT SELECT ON $1 TO authenticated;
		ALTER PUBLICATION plinth_realtime ADD TABLE $1;
	SQL
}

subscribe_users() {
	sql -q -c "SET ROLE authenticated" -c "CALL subscribe_users('$1', $2, $3)" >/dev/null || die "could not subscribe"
}

reader() {
	as_pg env PGHOST="$PGHOST" PGPORT="$PGPORT" PGUSER=postgres PGDATABASE=postgres \
		/usr/bin/python3 -B "$plinth_root/bench/stream/reader.py" "$@"
}
