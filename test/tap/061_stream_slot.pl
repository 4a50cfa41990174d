# How much WAL the slot of the change stream holds (S8.6): a burst is worked
# off whatever it holds, a worker that is stuck gives its slot back.

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = plinth_cluster(
	'slot', q(
plinth.realtime_max_slot_wal = '16MB'
autovacuum = off
max_wal_size = '1GB'
));
my $db = 'app';

sub sql { return $node->safe_psql($db, shift); }

sub worker { return sql(q{SELECT pid FROM plinth.stat_workers WHERE worker = 'stream' AND database = current_database()}); }

sub caught_up
{
	my $flushed = sql('SELECT pg_current_wal_flush_lsn()');
	return wait_for($node, $db,
		"SELECT confirmed_lsn >= '$flushed' FROM plinth.stat_stream WHERE database = '$db'");
}

$node->safe_psql('postgres', "CREATE DATABASE $db");
sql(q{
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('realtime');
	CREATE TABLE public.item (id integer PRIMARY KEY, body text);
	GRANT SELECT ON public.item TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.item;
	CREATE TABLE public.noise (body text);
	ALTER TABLE public.item ALTER body SET STORAGE EXTERNAL;
	ALTER TABLE public.noise ALTER body SET STORAGE PLAIN;
});
ok( wait_for($node, $db, "SELECT count(*) = 1 FROM plinth.stat_stream WHERE database = '$db' AND slot IS NOT NULL"),
	'the worker streams');
my $me = q{SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}'; SET ROLE authenticated;};
my ($id, $key) = split /\|/, sql($me . q{SELECT subscription_id, session_key
	FROM realtime.subscribe('test', 'public', 'item', '*', 'id=eq.0')});

sub events
{
	my $after = shift;
	return sql($me . qq{SELECT string_agg(event || coalesce(' ' || (payload #>> '{new,body}'), ''), ',' ORDER BY seq)
		FROM realtime.poll($id, '$key', $after)});
}

# --- a burst of more than three times the bound, in one transaction and in many
my $pid = worker();
my $start = sql('SELECT pg_current_wal_lsn()');
sql(q{INSERT INTO item SELECT n, repeat('x', 1000) FROM generate_series(1, 10000) AS n});
sql(q{DO $$ BEGIN FOR i IN 1 .. 500 LOOP
		INSERT INTO item SELECT 10000 + i * 100 + n, repeat('x', 1000) FROM generate_series(1, 100) AS n; COMMIT;
	END LOOP; END $$});
sql(q{INSERT INTO item VALUES (0, 'behind the burst')});
cmp_ok(sql("SELECT pg_current_wal_lsn() - '$start'::pg_lsn"), '>', 3 * 16 * 1024 * 1024,
	'more than three times as much WAL was written as a stuck worker may hold');
ok(caught_up(), 'a burst is worked off');
is(events(0), 'INSERT behind the burst', 'and what comes behind it arrives, without a gap');
is(worker(), $pid, 'by the same worker');

# --- a worker that waits: for a transaction that has committed and whose
# committer waits for a standby that does not come
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
my $stuck = $node->background_psql($db);
$stuck->query_until(qr/writing/,
	"\\echo writing\nUPDATE item SET body = 'not replicated' WHERE id = 0;\n");
ok( wait_for($node, $db, qq{SELECT $pid IN (SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock')}),
	'the worker waits for somebody else');
$node->safe_psql($db, q{SET synchronous_commit = local;
	INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 40000)});
ok( wait_for($node, $db, q{SELECT count(*) = 1 FROM plinth.stat_workers
		WHERE worker = 'stream' AND database = current_database()
			AND failures > 0 AND last_error LIKE 'stuck for 10 s while its slot held % MB of WAL'}),
	'a stuck worker is ended');
ok( wait_for($node, $db, qq{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)
		AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE restart_lsn < '$start'
			OR pg_current_wal_lsn() - restart_lsn > 32 * 1024 * 1024)}),
	'with the WAL that it held');

$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
$stuck->quit;
ok( wait_for($node, $db, "SELECT count(*) = 1 FROM plinth.stat_stream WHERE database = '$db' AND slot IS NOT NULL"),
	'another takes over');
sql(q{UPDATE item SET body = 'after it' WHERE id = 0});
ok(caught_up(), 'and streams');
like(events(1), qr/^gap(,UPDATE not replicated)?,UPDATE after it$/, 'its subscribers are told of a gap');

$node->stop;
done_testing();
