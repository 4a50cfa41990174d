# The change stream with many subscribers, with tables and databases that go,
# and on the server that takes over.

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $crowd = 10000;
my $node = plinth_cluster(
	'crowd', qq(
plinth.realtime_max_subscriptions = @{[ $crowd + 1000 ]}
autovacuum = off
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
	CREATE FUNCTION user_of(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE
		RETURN ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid;
	CREATE TABLE public.letter (id integer PRIMARY KEY, owner uuid);
	ALTER TABLE public.letter ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON public.letter FOR SELECT TO authenticated USING (owner = auth.uid());
	CREATE TABLE public.doomed (id integer PRIMARY KEY);
	GRANT SELECT ON public.letter, public.doomed TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.letter, public.doomed;
	CREATE PROCEDURE subscribe_all(name text, first integer, last integer) LANGUAGE plpgsql AS $$
	BEGIN
		FOR n IN first .. last LOOP
			PERFORM set_config('request.jwt.claims', json_build_object('sub', user_of(n), 'role', 'authenticated')::text, false);
			PERFORM realtime.subscribe('crowd', 'public', name);
		END LOOP;
	END $$;
});
ok( wait_for($node, $db, "SELECT count(*) = 1 FROM plinth.stat_stream WHERE database = '$db' AND slot IS NOT NULL"),
	'the worker streams');
my $pid = worker();

# --- ten thousand, and each is told of its own
my $begin = time;
sql("SET ROLE authenticated; CALL subscribe_all('letter', 1, $crowd)");
note(sprintf('subscribed in %.1f s', time - $begin));
$begin = time;
sql("INSERT INTO letter SELECT n, user_of(n) FROM generate_series(1, $crowd) AS n;
	 INSERT INTO letter SELECT $crowd + n, NULL FROM generate_series(1, 1000) AS n");
ok(caught_up(), 'a change for each of ten thousand is delivered');
note(sprintf('delivered in %.1f s', time - $begin));
is(sql('SELECT count(*), min(delivered), max(delivered), sum(dropped) FROM plinth.stat_subscriptions WHERE live'),
	"$crowd|1|1|0", 'one to each, and none to anybody else');

# --- a table goes while it is followed
sql("SET ROLE authenticated; CALL subscribe_all('doomed', 1, 3)");
sql('INSERT INTO doomed VALUES (1); DROP TABLE doomed; INSERT INTO letter VALUES (-1, user_of(1))');
ok(caught_up(), 'a followed table is dropped');
ok( wait_for($node, $db, q{SELECT count(*) = 3 FROM plinth.stat_subscriptions
		WHERE NOT live AND last_error IS NOT NULL}),
	'those who followed it are told why it ended');
is(sql(q{SELECT delivered FROM plinth.stat_subscriptions WHERE live AND user_id = user_of(1)}), '2',
	'those who follow another are not disturbed');
is(worker(), $pid, 'nor is the worker');

# --- a database goes while it is followed
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{CREATE EXTENSION plinth CASCADE; SELECT plinth.install('realtime');
	CREATE TABLE public.thing (id integer PRIMARY KEY); GRANT SELECT ON public.thing TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.thing});
ok( wait_for($node, 'other', q{SELECT count(*) = 1 FROM plinth.stat_stream WHERE database = 'other' AND slot IS NOT NULL}),
	'a second database streams');
$node->safe_psql('other', q{SET ROLE authenticated; SELECT realtime.subscribe('t', 'public', 'thing')});
my $listener = $node->background_psql('other');
$listener->query_safe(q{SET ROLE authenticated; SELECT realtime.subscribe('t', 'public', 'thing')});
$begin = time;
$node->safe_psql('postgres', 'DROP DATABASE other WITH (FORCE)');
note(sprintf('dropped in %.1f s', time - $begin));
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'), '1', 'its slot is gone with it');
$listener->{run}->pump_nb;
$listener->{run}->kill_kill;

# --- failover: subscriptions are of the server that is gone, nothing hangs
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
chmod 0600, $standby->data_dir . '/plinth_keyring';
$standby->start;
$node->wait_for_catchup($standby);
my $me = q{SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-000000000001","role":"authenticated"}'; SET ROLE authenticated;};
my ($id, $key) = split /\|/, sql($me . q{SELECT subscription_id, session_key FROM realtime.subscribe('t', 'public', 'letter')});
my ($code, $out, $err) = $standby->psql($db, $me . "\\set VERBOSITY sqlstate\nSELECT realtime.subscribe('t', 'public', 'letter')");
isnt($code, 0, 'a standby has no stream');
like($err, qr/55000|25006/, 'and says so');
$node->stop('immediate');
$standby->promote;
ok( wait_for($standby, $db, "SELECT count(*) = 1 FROM plinth.stat_stream WHERE database = '$db' AND slot IS NOT NULL"),
	'the server that takes over streams');
($code, $out, $err) = $standby->psql($db, $me . "\\set VERBOSITY sqlstate\nSELECT * FROM realtime.poll($id, '$key', 0)");
like($err, qr/P0002/, 'it does not know the subscriptions of the other');
($id, $key) = split /\|/, $standby->safe_psql($db, $me . q{SELECT subscription_id, session_key FROM realtime.subscribe('t', 'public', 'letter')});
$standby->safe_psql($db, 'INSERT INTO letter VALUES (-2, user_of(1))');
ok( wait_for($standby, $db, "SELECT string_agg(event || ' ' || (payload #>> '{new,id}'), ',') = 'INSERT -2' FROM realtime.poll($id, '$key', 0)"),
	'a new one works');

$standby->stop;
done_testing();
