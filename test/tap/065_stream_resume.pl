# A new subscription that wants what was committed since a position: it gets
# all of it, in order and judged as of now, or is told of a gap; never silence.

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Utils;
use Test::More;

# So a worker may keep 16 MB, some five thousand small transactions.
my $node = plinth_cluster(
	'resume', q(
plinth.realtime_ring_size = '32MB'
autovacuum = off
));
my $db = 'app';
my %user = (ada => '00000000-0000-4000-8000-0000000000a1', bob => '00000000-0000-4000-8000-0000000000b2');

sub sql { return $node->safe_psql($db, shift); }

sub as_user
{
	my $name = shift // 'ada';
	return qq{SET request.jwt.claims = '{"sub":"$user{$name}","role":"authenticated"}';
		SET ROLE authenticated;};
}

# Options: since, filter, user, topic.
sub subscribe
{
	my ($table, %option) = @_;
	my $what = exists $option{topic} ? '' : ", 'public', '$table'";
	$what .= ", filter => '$option{filter}'" if exists $option{filter};
	$what .= ", since => '$option{since}'" if exists $option{since};
	my ($id, $key) = split /\|/, sql(as_user($option{user})
		. "SELECT subscription_id, session_key FROM realtime.subscribe('resume'$what)");
	return { id => $id, key => $key };
}

sub end_it
{
	my $sub = shift;
	sql("SELECT realtime.unsubscribe($sub->{id}, '$sub->{key}')");
	return;
}

# What a subscription has been sent, when it has come to this message.
sub told
{
	my ($sub, $last) = @_;
	my $list = q{coalesce(string_agg(concat_ws(' ', event, payload #>> '{new,id}'), ', ' ORDER BY seq), '')};
	my $rows = "FROM realtime.poll($sub->{id}, '$sub->{key}', 0, 1000)";

	wait_for($node, $db, "SELECT $list LIKE '%$last' $rows");
	return sql("SELECT $list $rows");
}

sub position { return sql('SELECT pg_current_wal_insert_lsn()'); }

sub streaming
{
	return wait_for($node, $db,
		"SELECT count(*) = 1 FROM plinth.stat_stream WHERE database = '$db' AND slot IS NOT NULL");
}

sub caught_up
{
	my $flushed = sql('SELECT pg_current_wal_flush_lsn()');
	return wait_for($node, $db,
		"SELECT confirmed_lsn >= '$flushed' FROM plinth.stat_stream WHERE database = '$db'");
}

$node->safe_psql('postgres', "CREATE DATABASE $db");
sql(q{
	SET client_min_messages = warning;
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('realtime');
	CREATE TABLE public.news (id integer PRIMARY KEY, body text);
	ALTER TABLE public.news ALTER body SET STORAGE EXTERNAL;
	CREATE TABLE public.note (id integer PRIMARY KEY, owner uuid, editor uuid);
	ALTER TABLE public.note ENABLE ROW LEVEL SECURITY, REPLICA IDENTITY FULL;
	CREATE POLICY own ON public.note FOR SELECT TO authenticated USING (owner = auth.uid());
	CREATE TABLE public.room (id integer PRIMARY KEY, open boolean);
	CREATE TABLE public.post (id integer PRIMARY KEY, room integer);
	ALTER TABLE public.post ENABLE ROW LEVEL SECURITY;
	CREATE POLICY open ON public.post FOR SELECT TO authenticated
		USING (room IN (SELECT r.id FROM public.room AS r WHERE r.open));
	CREATE TABLE public.lonely (id integer PRIMARY KEY);
	GRANT SELECT ON public.news, public.note, public.room, public.post, public.lonely TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.news, public.note, public.post, public.lonely;
	INSERT INTO public.room VALUES (1, true), (2, true);
});
ok(streaming(), 'the worker streams');

# --- somebody who is cut off again and again while others write
my $before = position();
my $first = subscribe('news');
my $writer = $node->background_psql($db);
$writer->query_until(qr/writing/, q{\echo writing
DO $$ BEGIN FOR i IN 1 .. 2000 LOOP
	INSERT INTO public.news VALUES (i);
	COMMIT;
	IF i % 20 = 0 THEN PERFORM pg_sleep(0.01); END IF;
END LOOP; END $$;
});
my (@ids, @repeated);
my ($current, $since, $gaps, $cuts) = ($first, undef, 0, 0);
until (@ids && $ids[-1] == 2000)
{
	# a few messages, then the connection is lost; the old subscription stays
	my $rows = sql(qq{SELECT lsn, event, payload #>> '{new,id}'
		FROM realtime.poll($current->{id}, '$current->{key}', 0, 40)});
	my $from = $since;
	foreach my $row (split /\n/, $rows)
	{
		my ($lsn, $event, $id) = split /\|/, $row;
		if ($event ne 'INSERT') { $gaps++; next; }
		if (@ids && $id <= $ids[-1]) { push @repeated, [ $id, $lsn, $from ]; next; }
		push @ids, $id;
		$since = $lsn;
	}
	next if $rows eq '';
	end_it($current) if $cuts++ > 0;
	$current = subscribe('news', since => $since);
}
$writer->quit;
is($gaps, 0, 'reconnecting in time is no gap');
is("@ids", join(' ', 1 .. 2000), "nothing is lost, in order, over $cuts reconnects");
is(scalar(grep { $_->[1] ne $_->[2] } @repeated), 0, 'and nothing comes twice but the message of the position itself');
cmp_ok($cuts, '>', 10, 'that was tried often');
end_it($current);

# --- many come back at the same time
my @crowd = map { subscribe('news', since => $since) } 1 .. 30;
sql('INSERT INTO news VALUES (2001)');
is(join('|', map { told($_, '2001') } @crowd), join('|', ('INSERT 2000, INSERT 2001') x 30), 'many resume at once');
end_it($_) foreach @crowd;

# --- a filter, and a table that has changed
$since = position();
sql(q{INSERT INTO news VALUES (2101, 'a'); ALTER TABLE news ADD COLUMN more text; INSERT INTO news VALUES (2102, 'b', 'c')});
is(told(subscribe('news', since => $since), '2102'), 'INSERT 2101, INSERT 2102', 'changes before and after an ALTER TABLE');
is(told(subscribe('news', since => $since, filter => 'body=eq.b'), '2102'), 'INSERT 2102', 'a filter holds for them');

# --- what decides is what may be seen now
my $notes = subscribe('note');
my $posts = subscribe('post');
caught_up();
$since = position();
sql(qq{
	INSERT INTO note VALUES (1, '$user{ada}', NULL), (2, '$user{bob}', NULL), (3, '$user{ada}', '$user{ada}');
	UPDATE note SET owner = '$user{bob}' WHERE id = 1;
	INSERT INTO post VALUES (1, 1), (2, 2);
	UPDATE room SET open = false WHERE id = 2;
});
is(told(subscribe('note', since => $since), 'DELETE'), 'INSERT 1, INSERT 3, DELETE', 'the owner');
is(told(subscribe('note', since => $since, user => 'bob'), 'INSERT 1'), 'INSERT 2, INSERT 1', 'another user');
sql('INSERT INTO post VALUES (3, 1)');
is(told(subscribe('post', since => $since), '3'), 'INSERT 1, INSERT 3', 'a room that has been closed since is not seen into');
sql(qq{ALTER POLICY own ON note USING (editor = auth.uid()); INSERT INTO note VALUES (4, NULL, '$user{ada}')});
is(told(subscribe('note', since => $since), '4'), 'INSERT 3, INSERT 4', 'nor rows that another policy hides');


# --- where something is missing
$since = position();
sql('INSERT INTO lonely VALUES (1)');
caught_up();
my $later = position();
my $lonely = subscribe('lonely', since => $since);
sql('INSERT INTO lonely VALUES (2)');
is(told($lonely, '2'), 'gap, INSERT 2', 'nobody followed the table meanwhile');
is(told(subscribe('lonely', since => $later), '2'), 'INSERT 2', 'but since then somebody has');

# rows are kept as text where nobody asks more of them, which a comparison does
$since = position();
sql('INSERT INTO lonely VALUES (3)');
told($lonely, '3');
is(told(subscribe('lonely', since => $since, filter => 'id=gt.0'), 'gap'), 'gap', 'what was not kept for it is a gap');
$since = position();
sql('INSERT INTO lonely VALUES (4)');
told($lonely, '4');
is(told(subscribe('lonely', since => $since, filter => 'id=gt.0'), '4'), 'INSERT 4', 'and from then on it is kept');

# of another server, or of nobody
is(told(subscribe('news', since => 'FFFF/0'), 'gap'), 'gap', 'a position that is yet to come');
is(told(subscribe('news', since => '0/0'), 'gap'), 'gap', 'no position');
is(told(subscribe('', topic => 1, since => $since), 'gap'), 'gap', 'of topics nothing is kept');

# more than is kept
$since = position();
sql(q{DO $$ BEGIN FOR i IN 3001 .. 4600 LOOP INSERT INTO news VALUES (i, repeat('x', 12000)); COMMIT; END LOOP; END $$});
caught_up();
$later = position();
sql('INSERT INTO news VALUES (5000)');
is(told(subscribe('news', since => $since), 'gap'), 'gap', 'too long ago');
is(told(subscribe('news', since => $later), '5000'), 'INSERT 5000', 'not too long ago');

# a transaction that is not kept
$since = position();
sql(q{INSERT INTO news SELECT 10000 + n, repeat('x', 5000) FROM generate_series(1, 20000) AS n; INSERT INTO news VALUES (5100)});
caught_up();
is(told(subscribe('news', since => $since), 'gap'), 'gap', 'a transaction that is too large to keep');

# another worker
$since = position();
sql('INSERT INTO news VALUES (5101)');
caught_up();
my $pid = sql(q{SELECT pid FROM plinth.stat_workers WHERE worker = 'stream' AND database = current_database()});
sql("SELECT pg_terminate_backend($pid)");
wait_for($node, $db, "SELECT count(*) = 1 FROM plinth.stat_workers WHERE worker = 'stream'
	AND database = current_database() AND pid <> $pid");
streaming();
is(told(subscribe('news', since => $since), 'gap'), 'gap', 'the worker has been another one since');
$since = position();
my $again = subscribe('news');
sql('INSERT INTO news VALUES (5102)');
is(told(subscribe('news', since => $since), '5102'), 'INSERT 5102', 'which keeps what comes');

# another run of the server
$since = position();
sql('INSERT INTO news VALUES (5103)');
$node->restart;
streaming();
is(told(subscribe('news', since => $since), 'gap'), 'gap', 'the server has been restarted since');

$node->stop;
done_testing();
