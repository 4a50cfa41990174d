# The decoder where it hurts: what is too large to keep, many subtransactions,
# prepared transactions, readers that go away; in the stream worker and in slots
# that others read with the plugin.  Memory stays bounded (S8.4).

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Utils;
use Test::More;

# MB that a decoding process may have of its own: the server's bound for the
# changes it keeps (64), ours for a transaction (64), and what else it is.
my $bound = 256;

my $node = plinth_cluster(
	'decoder', q(
max_prepared_transactions = 5
autovacuum = off
max_wal_size = '4GB'
));
my $db = 'app';

sub sql { return $node->safe_psql($db, shift); }

# MB of memory that a process has for itself, now.
sub own_memory
{
	my $pid = shift;
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
	return $kb / 1024;
}

# The most memory that a process has until a query of the database is true.
sub peak_until
{
	my ($pid, $query) = @_;
	my $peak = 0;
	foreach my $try (1 .. 6000)
	{
		my $now = own_memory($pid);
		$peak = $now if $now > $peak;
		return $peak if $try % 10 == 0 && sql($query) eq 't';
		select undef, undef, undef, 0.02;
	}
	return 1_000_000;
}

my $worker = sub {
	return sql(q{SELECT pid FROM plinth.stat_workers
		WHERE database = current_database() AND worker = 'stream'});
};

# Wait until the stream has delivered what is written; the most memory it had.
sub stream_catches_up
{
	my $flushed = sql('SELECT pg_current_wal_flush_lsn()');
	return peak_until($worker->(),
		"SELECT count(*) = 1 FROM plinth.stat_stream WHERE database = '$db' AND confirmed_lsn >= '$flushed'");
}

sub as_user
{
	return q{SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}';
		SET ROLE authenticated;};
}

sub subscribe
{
	my $table = shift;
	my ($id, $key) = split /\|/, sql(
		as_user() . qq{SELECT subscription_id, session_key FROM realtime.subscribe('test', 'public', '$table')});
	return { id => $id, key => $key, seq => 0 };
}

sub poll
{
	my ($sub, $expression) = @_;
	my @lines;
	foreach my $row (split /\n/, sql(
		as_user() . qq{SELECT seq, $expression FROM realtime.poll($sub->{id}, '$sub->{key}', $sub->{seq}, 1000)}))
	{
		my ($seq, $line) = split /\|/, $row, 2;
		$sub->{seq} = $seq;
		push @lines, $line;
	}
	return @lines;
}

$node->safe_psql('postgres', "CREATE DATABASE $db");
if (sql(q{SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'}) eq '1')
{
	my ($status, $out, $err) = $node->psql($db, q{SELECT pg_create_logical_replication_slot('unlisted', 'plinth')});
	like($err, qr/output_plugin_libraries/, 'a plugin that is not listed is refused, with the name of the setting');
	$node->append_conf('postgresql.conf', q{output_plugin_libraries = 'plinth'});
	$node->reload;
}
sql(q{
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('realtime');
	CREATE TABLE public.item (id integer PRIMARY KEY, body text, large text);
	ALTER TABLE public.item ALTER large SET STORAGE EXTERNAL;
	CREATE TABLE public.root (id integer, region text, body text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
	CREATE TABLE public.north PARTITION OF public.root FOR VALUES IN ('n');
	CREATE TABLE public.south (body text, region text NOT NULL, id integer NOT NULL, PRIMARY KEY (id, region));
	ALTER TABLE public.root ATTACH PARTITION public.south FOR VALUES IN ('s');
	GRANT SELECT ON public.item, public.root, public.north, public.south TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.item, public.root;
});
ok( wait_for($node, $db,
		"SELECT count(*) = 1 FROM plinth.stat_stream WHERE database = '$db' AND slot IS NOT NULL"),
	'the worker streams');
sql(q{SELECT pg_create_logical_replication_slot('mine', 'plinth')});

# The documents of a slot, read through the replication protocol.
sub documents
{
	my ($slot, %options) = @_;
	my $end = sql('SELECT pg_current_wal_flush_lsn()');
	return split /\n/, $node->pg_recvlogical_upto($db, $slot, $end, 180, %options);
}

# --- partitions, as themselves
my $north = subscribe('north');
my $body = q{event || ' ' || (payload ->> 'table') || ' ' || (payload -> 'new')::text};
sql(q{INSERT INTO root VALUES (1, 'n', 'one'), (1, 's', 'two')});
stream_catches_up();
is_deeply([ poll($north, $body) ], ['INSERT north {"id": 1, "body": "one", "region": "n"}'],
	'a partition is followed by its own name');
my ($status, $out, $err) = $node->psql($db, as_user() . q{SELECT realtime.subscribe('test', 'public', 'root')});
like($err, qr/cannot follow the changes of "public.root".*publish_via_partition_root/s,
	'its root only where the publication says so');

# --- and as their root, whatever the order of their columns
sql(q{ALTER PUBLICATION plinth_realtime SET (publish_via_partition_root = true)});
my $root = subscribe('root');
sql(q{INSERT INTO root VALUES (2, 'n', 'three'), (2, 's', 'four'); UPDATE root SET body = 'five' WHERE region = 's' AND id = 2;
	DELETE FROM root WHERE id = 2 AND region = 's'; TRUNCATE north; TRUNCATE root});
stream_catches_up();
is_deeply(
	[ poll($root, $body . q{ || ' ' || (payload -> 'old')::text}) ],
	[   'INSERT root {"id": 2, "body": "three", "region": "n"} {}',
		'INSERT root {"id": 2, "body": "four", "region": "s"} {}',
		'UPDATE root {"id": 2, "body": "five", "region": "s"} {"id": 2, "region": "s"}',
		'DELETE root {} {"id": 2, "region": "s"}',
		'TRUNCATE root {} {}' ],
	'the changes of all partitions are those of the root');
($status, $out, $err) = $node->psql($db, as_user() . q{SELECT realtime.subscribe('test', 'public', 'north')});
like($err, qr/cannot follow the changes of "public.north".*Follow that table/s, 'and not those of a partition');
sql(q{ALTER PUBLICATION plinth_realtime SET (publish_via_partition_root = false)});

# --- a row filter: rows come into sight and leave it
sql(q{
	CREATE TABLE public.ticket (id integer PRIMARY KEY, state text, note text);
	ALTER TABLE public.ticket REPLICA IDENTITY FULL;
	GRANT SELECT ON public.ticket TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.ticket WHERE (state = 'open');
});
my $ticket = subscribe('ticket');
sql(q{INSERT INTO ticket VALUES (1, 'open'), (2, 'closed'); UPDATE ticket SET state = 'open' WHERE id = 2;
	UPDATE ticket SET note = 'x' WHERE id = 1; UPDATE ticket SET state = 'closed' WHERE id = 1; DELETE FROM ticket});
stream_catches_up();
is_deeply(
	[ poll($ticket, q{event || ' ' || coalesce(payload #>> '{new,id}', payload #>> '{old,id}')}) ],
	[ 'INSERT 1', 'INSERT 2', 'UPDATE 1', 'DELETE 1', 'DELETE 2' ],
	'a row that enters the filter is an INSERT, one that leaves it a DELETE');

# --- a value that is too large to be sent, and what follows it
my $item = subscribe('item');
documents('mine');
sql(q{INSERT INTO item (id, large) VALUES (1, repeat('x', 100 * 1024 * 1024)), (2, 'small')});
stream_catches_up();
is_deeply(
	[ poll($item, q{payload #>> '{new,id}', payload -> 'errors', payload #>> '{new,large}'}) ],
	[ '1|["too large"]|', '2|null|small' ],
	'a row of 100 MB: its key');
is_deeply(
	[ map { s/^.*"index"/"index"/r } documents('mine', 'include-lsn' => 'off') ],
	[   '"index":0,"new":{"id":1},"old":{},"unchanged":[],"errors":["too large"]}',
		'"index":1,"new":{"id":2,"body":null,"large":"small"},"old":{},"unchanged":[],"errors":null}' ],
	'the same in a slot of one\'s own');
sql(q{DELETE FROM item});
stream_catches_up();
poll($item, 'event');

# --- a transaction of a million rows and 1 GB
my $before = own_memory($worker->());
sql(q{INSERT INTO item (id, body) SELECT i, repeat(md5(i::text), 30) FROM generate_series(1, 1000000) AS i});
my $peak = stream_catches_up();
cmp_ok($peak, '<', $bound, sprintf('the worker has %.0f MB at most in a transaction of 1 GB (%.0f before)', $peak, $before));
is_deeply([ poll($item, 'event') ], ['gap'], 'its readers are told that changes are missing');
sql(q{UPDATE item SET body = 'after' WHERE id = 5});
stream_catches_up();
is_deeply([ poll($item, q{event || ' ' || (payload #>> '{new,body}')}) ], ['UPDATE after'], 'and get what follows');

# the same through the plugin: every row
my $end = sql('SELECT pg_current_wal_flush_lsn()');
my $file = $node->basedir . '/documents';
my $reader = IPC::Run::start(
	[   'pg_recvlogical', '-d', $node->connstr($db), '-S', 'mine', '--endpos', $end, '--no-loop', '--start', '-f', $file ],
	'2>', \my $reader_error);
ok( wait_for($node, $db, q{SELECT count(*) = 1 FROM pg_replication_slots WHERE slot_name = 'mine' AND active}),
	'somebody reads it');
my $walsender = sql(q{SELECT active_pid FROM pg_replication_slots WHERE slot_name = 'mine'});
$peak = 0;
while ($reader->pumpable && -e "/proc/$walsender/status")
{
	my $now = eval { own_memory($walsender) } // 0;
	$peak = $now if $now > $peak;
	$reader->pump_nb;
	select undef, undef, undef, 0.05;
}
$reader->finish;
cmp_ok($peak, '<', $bound, sprintf('a walsender has %.0f MB at most', $peak));
my ($count, $wrong, $next) = (0, 0, 1);
open my $handle, '<', $file or die $!;
while (my $line = <$handle>)
{
	next unless $line =~ /^\{"eventType":"INSERT".*"index":(\d+),"new":\{"id":(\d+),/;
	$wrong++ if $2 != $next || $1 != $next - 1;
	$next++;
	$count++;
}
close $handle;
unlink $file;
is("$count $wrong", '1000000 0', 'each row arrives once, in order');

# --- 100,000 subtransactions, a third of them rolled back
sql(q{TRUNCATE item});
stream_catches_up();
poll($item, 'event');
documents('mine');
sql(q{DO $$
	BEGIN
		FOR i IN 1 .. 100000 LOOP
			BEGIN
				INSERT INTO item (id) VALUES (i);
				IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP;
	END $$});
$peak = stream_catches_up();
cmp_ok($peak, '<', $bound, sprintf('the worker has %.0f MB at most in 100,000 subtransactions', $peak));
my %seen;
while (my @events = poll($item, q{event || ' ' || coalesce((payload #>> '{new,id}')::int % 3, -1)}))
{
	$seen{$_}++ foreach @events;
}
is_deeply(\%seen, { 'INSERT 1' => 33334, 'INSERT 2' => 33333 }, 'and what was kept arrives');
is(scalar(documents('mine')), 66667, 'in a slot of one\'s own, too');

# --- prepared transactions: with their commit, or with PREPARE in a slot
# that was made so
sql(q{SELECT pg_create_logical_replication_slot('two', 'plinth', false, true)});
my $short = sub {
	return [ map { s/,"(?:commit_timestamp|lsn)":"[^"]*"|,"xid":\d+|,"unchanged":\[\],"errors":null//gr } documents(@_) ];
};
sql(q{BEGIN; INSERT INTO item (id) VALUES (200001); PREPARE TRANSACTION 'a "b"';
	BEGIN; INSERT INTO item (id) VALUES (200002); PREPARE TRANSACTION 'undone'});
is_deeply($short->('mine'), [], 'a prepared transaction waits for its commit');
my $row = sub { return qq({"eventType":"INSERT","schema":"public","table":"item",) . ($_[1] // '') . qq("index":0,"new":{"id":$_[0],"body":null,"large":null},"old":{}}) };
is_deeply(
	$short->('two'),
	[   $row->(200001), '{"eventType":"PREPARE","gid":"a \"b\""}',
		$row->(200002), '{"eventType":"PREPARE","gid":"undone"}' ],
	'in a slot with two_phase it comes when it is prepared');
sql(q{COMMIT PREPARED 'a "b"'; ROLLBACK PREPARED 'undone'});
is_deeply(
	$short->('two', 'include-transaction' => 'on'),
	[ '{"eventType":"COMMIT PREPARED","gid":"a \"b\""}', '{"eventType":"ROLLBACK PREPARED","gid":"undone"}' ],
	'and its end when it ends');
is_deeply($short->('mine', 'include-transaction' => 'on'),
	[ '{"eventType":"BEGIN"}', $row->(200001), '{"eventType":"COMMIT"}' ], 'in another slot it comes with its commit');

# --- a transaction that is streamed while it is prepared
sql(q{SET logical_decoding_work_mem = '64kB'});
$node->append_conf('postgresql.conf', q{logical_decoding_work_mem = '64kB'});
$node->reload;
sql(q{BEGIN; INSERT INTO item (id) SELECT generate_series(300001, 302000); PREPARE TRANSACTION 'long'; COMMIT PREPARED 'long'});
my %events;
foreach (documents('two', streaming => 'on'))
{
	/"eventType":"([^"]+)"/;
	$events{$1}++;
}
is_deeply(\%events, { INSERT => 2000, 'STREAM PREPARE' => 1, 'COMMIT PREPARED' => 1 },
	'a long transaction comes in parts, is prepared and committed');
documents('mine');

# --- a reader that goes away: what it has not confirmed comes again, and after
# a crash what it had confirmed may, because the server saves slots now and then
sql(q{INSERT INTO item (id) VALUES (400001)});
is(scalar(my @first = split /\n/, sql(q{SELECT data FROM pg_logical_slot_peek_changes('mine', NULL, NULL)})), 1, 'looked at');
$node->stop('immediate');
$node->start;
like((documents('mine'))[-1], qr/"new":\{"id":400001,/, 'and there after a crash');
is(scalar(documents('mine')), 0, 'and gone when it has been read');

done_testing();
