# A subscriber that is sent much and does not read it loses its own messages,
# and nobody else's.

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Utils;
use Test::More;

# Two halves of 512 kB; who has more than 64 kB in the ring is sent much.
my $node = plinth_cluster(
	'slow', q(
plinth.realtime_ring_size = '1MB'
autovacuum = off
));
my $db = 'app';

sub sql { return $node->safe_psql($db, shift); }

sub subscribe
{
	my ($table, $user) = @_;
	my ($id, $key) = split /\|/, sql(
		qq{SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-00000000000$user","role":"authenticated"}';
		SET ROLE authenticated;
		SELECT subscription_id, session_key FROM realtime.subscribe('slow', 'public', '$table')});
	return { id => $id, key => $key };
}

sub caught_up
{
	my $flushed = sql('SELECT pg_current_wal_flush_lsn()');
	return wait_for($node, $db,
		"SELECT confirmed_lsn >= '$flushed' FROM plinth.stat_stream WHERE database = '$db'");
}

# Its messages from a number on: first event, how many, whether none is
# missing among them, the last id.
sub state_of
{
	my ($sub, $after) = @_;
	return sql("SELECT (array_agg(event ORDER BY seq))[1], count(*), max(seq) - min(seq) + 1 = count(*),
			(array_agg(payload #>> '{new,id}' ORDER BY seq DESC))[1]
		FROM realtime.poll($sub->{id}, '$sub->{key}', $after, 1000)");
}

sub dropped { my $sub = shift; return sql("SELECT dropped FROM plinth.stat_subscriptions WHERE id = $sub->{id}"); }

$node->safe_psql('postgres', "CREATE DATABASE $db");
sql(q{
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('realtime');
	CREATE TABLE public.news (id integer PRIMARY KEY, body text);
	CREATE TABLE public.letter (id integer PRIMARY KEY, owner uuid, body text);
	ALTER TABLE public.letter ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON public.letter FOR SELECT TO authenticated USING (owner = auth.uid());
	GRANT SELECT ON public.news, public.letter TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.news, public.letter;
});
ok( wait_for($node, $db, "SELECT count(*) = 1 FROM plinth.stat_stream WHERE database = '$db' AND slot IS NOT NULL"),
	'the worker streams');

my @quiet = map { subscribe('letter', $_) } 1 .. 9;
my $slow = subscribe('news', 1);
my $quick = subscribe('news', 2);
my $seen = 0;
my @rounds;
foreach my $round (1 .. 12)
{
	# a few letters, and news for half a megabyte
	sql(qq{INSERT INTO letter SELECT $round * 10 + n, ('00000000-0000-4000-8000-00000000000' || n)::uuid, repeat('y', 100)
			FROM generate_series(1, 9) AS n;
		INSERT INTO news SELECT $round * 1000 + n, repeat('x', 1000) FROM generate_series(1, 300) AS n});
	caught_up();
	my ($event, $count, $unbroken, $last) = split /\|/, state_of($quick, $seen);
	push @rounds, "$event $count $unbroken $last";
	$seen += $count;
}
is(join(', ', @rounds), join(', ', map { "INSERT 300 t ${_}300" =~ s/(\d+)300$/$1 * 1000 + 300/er } 1 .. 12),
	'who reads in time misses nothing, however much it is');

my ($event, $count, $unbroken, $last) = split /\|/, state_of($slow, 0);
is("$event $unbroken $last", 'gap t 12300', 'who does not is told of a gap, and finds the latest');
cmp_ok($count, '>', 100, 'as many of them as there is room for');
is(dropped($slow), 12 * 300 - ($count - 1), 'and what it missed is counted');

is(join(', ', map { state_of($quiet[ $_ - 1 ], 0) } 1 .. 9), join(', ', map { 'INSERT|12|t|12' . $_ } 1 .. 9),
	'those who are sent little have it all, although twelve times as much has gone by');
is(join(' ', map { dropped($_) } @quiet), join(' ', (0) x 9), 'and missed nothing');
is(sql("SELECT ring_used <= 1024 * 1024 FROM plinth.stat_stream WHERE database = '$db'"), 't', 'the ring keeps to its size');

# one that was sent much is sent little again when that has been overwritten
# or a gap has come; all the same nothing is missing in the middle
sql(q{INSERT INTO news SELECT 20000 + n, 'short' FROM generate_series(1, 50) AS n});
caught_up();
($event, $count, $unbroken, $last) = split /\|/, state_of($slow, 12 * 300);
is("$event $count $unbroken $last", 'INSERT 50 t 20050', 'it goes on');

$node->stop;
done_testing();
