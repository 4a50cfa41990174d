# The change stream: what of a transaction arrives, in which order and form,
# and what becomes of the slot when the worker, the server or the database go.

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# Settings that would change the text form of values.
my $node = plinth_cluster(
	'stream', q(
restart_after_crash = on
max_prepared_transactions = 5
timezone = 'Asia/Tokyo'
datestyle = 'SQL, DMY'
intervalstyle = 'iso_8601'
bytea_output = 'escape'
autovacuum = off
));
my $db = 'app';
my $me = '00000000-0000-4000-8000-0000000000a1';

sub sql { return $node->safe_psql($db, shift); }

sub as_user
{
	return qq{SET request.jwt.claims = '{"sub":"$me","role":"authenticated"}';
		SET ROLE authenticated;};
}

# Subscribe to all changes of a table; the session ends, the subscription
# stays for minutes.
sub subscribe
{
	my $table = shift;
	my ($id, $key) = split /\|/, sql(
		as_user() . qq{SELECT subscription_id, session_key
			FROM realtime.subscribe('test', 'public', '$table')});
	return { id => $id, key => $key, seq => 0 };
}

# What is new to a subscription, one line each: an expression over its row.
sub poll
{
	my ($sub, $expression) = @_;
	my $rows = sql(
		as_user() . qq{SELECT seq, $expression
			FROM realtime.poll($sub->{id}, '$sub->{key}', $sub->{seq}, 1000)});
	my @lines;
	foreach my $row (split /\n/, $rows)
	{
		my ($seq, $line) = split /\|/, $row, 2;
		$sub->{seq} = $seq;
		push @lines, $line;
	}
	return @lines;
}

# Wait until the stream has delivered all that has been written so far.
sub caught_up
{
	my $flushed = sql('SELECT pg_current_wal_flush_lsn()');
	return wait_for($node, $db,
		"SELECT confirmed_lsn >= '$flushed' FROM plinth.stat_stream WHERE database = '$db'");
}

sub streaming
{
	return wait_for($node, $db,
		"SELECT count(*) = 1 FROM plinth.stat_stream WHERE database = '$db' AND slot IS NOT NULL");
}

my $worker_pid = sub {
	return sql(q{SELECT pid FROM plinth.stat_workers
		WHERE database = current_database() AND worker = 'stream'});
};

$node->safe_psql('postgres', "CREATE DATABASE $db");
$node->safe_psql('postgres', "ALTER DATABASE $db SET $_")
  foreach ("lock_timeout = '10ms'", "default_transaction_isolation = 'serializable'",
	"default_transaction_deferrable = on");
sql(q{
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('realtime');
	CREATE TABLE public.item (id integer PRIMARY KEY, body text, large text,
		at timestamptz, raw bytea, span interval, price numeric, ratio float8,
		doc json);
	ALTER TABLE public.item ALTER large SET STORAGE EXTERNAL;
	CREATE TABLE public.quiet (id integer PRIMARY KEY);
	GRANT SELECT ON public.item TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.item;
});
ok(streaming(), 'the worker streams');

# --- what commits arrives, in the order of the commits
my $sub = subscribe('item');
my $body = q{event || ' ' || (payload #>> '{new,id}') || ' ' || coalesce(payload #>> '{new,body}', '-')};
sql(q{
	INSERT INTO item (id, body) VALUES (1, 'first');
	INSERT INTO item (id, body) VALUES (2, 'second');
	BEGIN; INSERT INTO item (id) VALUES (90); ROLLBACK;
	BEGIN;
	INSERT INTO item (id, body) VALUES (3, 'kept');
	SAVEPOINT a; INSERT INTO item (id) VALUES (91); ROLLBACK TO a;
	SAVEPOINT b; INSERT INTO item (id, body) VALUES (4, 'released'); RELEASE b;
	COMMIT;
	UPDATE item SET body = 'again' WHERE id = 1;
	INSERT INTO quiet VALUES (1);
});
caught_up();
is_deeply(
	[ poll($sub, $body) ],
	[   'INSERT 1 first',
		'INSERT 2 second',
		'INSERT 3 kept',
		'INSERT 4 released',
		'UPDATE 1 again' ],
	'commits in order; nothing of what was rolled back or is not followed');

# the order is that of the commits, not of the writes
sql(q{
	BEGIN; INSERT INTO item (id, body) VALUES (5, 'prepared first'); PREPARE TRANSACTION 'later';
	INSERT INTO item (id, body) VALUES (6, 'committed first');
});
caught_up();
is_deeply([ poll($sub, $body) ], ['INSERT 6 committed first'],
	'a prepared transaction waits for its commit');
sql(q{COMMIT PREPARED 'later'});
caught_up();
is_deeply([ poll($sub, $body) ], ['INSERT 5 prepared first'], 'and comes with it');

my $positions = sql(as_user() . qq{
	SELECT count(*) = 7 AND bool_and(ordered) FROM (
		SELECT coalesce(lsn >= lag(lsn) OVER w AND seq = lag(seq) OVER w + 1, true) AS ordered
		FROM realtime.poll($sub->{id}, '$sub->{key}', 0) WINDOW w AS (ORDER BY seq)) AS p});
is($positions, 't', 'positions ascend, and seq counts by one');

# --- the form of values does not depend on the settings of the server
sql(q{INSERT INTO item (id, at, raw, span, price, ratio, doc) VALUES
	(7, '2026-01-01 00:00:00+00', '\x00ff', '1 day 2 hours', 'NaN', '-Infinity', '{"a": "\u0000"}'),
	(8, NULL, NULL, NULL, 1.50, 0.1, '{"a": [1]}')});
caught_up();
is_deeply(
	[ poll($sub, q{payload -> 'new' ->> 'at', payload -> 'new' ->> 'raw', payload -> 'new' ->> 'span',
		payload -> 'new' -> 'price', payload -> 'new' -> 'ratio', jsonb_typeof(payload #> '{new,doc}')}) ],
	[   '2026-01-01T00:00:00+00:00|\x00ff|1 day 02:00:00|"NaN"|"-Infinity"|string',
		'|||1.50|0.1|object' ],
	'values have one form; what jsonb cannot hold is a string');

# --- large values
sql(q{
	INSERT INTO item (id, large) VALUES (9, repeat('x', 50000));
	UPDATE item SET body = 'large left alone' WHERE id = 9;
	UPDATE item SET large = 'short now' WHERE id = 9;
	INSERT INTO item (id, large) VALUES (10, repeat('x', 2000000));
	INSERT INTO item (id, large) VALUES (11, repeat('x', 20000000));
	ALTER TABLE item REPLICA IDENTITY FULL;
	INSERT INTO item (id, large) VALUES (12, repeat('y', 50000));
	UPDATE item SET body = 'large taken from the old row' WHERE id = 12;
	ALTER TABLE item REPLICA IDENTITY DEFAULT;
});
caught_up();
is_deeply(
	[ poll($sub, q{payload #>> '{new,id}', length(payload #>> '{new,large}'),
		payload -> 'new' ? 'large', payload -> 'unchanged', payload -> 'errors'}) ],
	[   '9|50000|t|[]|null',
		'9||f|["large"]|null',
		'9|9|t|[]|null',
		'10||f|[]|["too large"]',
		'11||f|[]|["too large"]',
		'12|50000|t|[]|null',
		'12|50000|t|[]|null' ],
	'a large value is whole, marked as unchanged, or too large: never null');

# --- a table that changes between its changes; a column that is gone when its
# readers are found is not sent any more, so none is looked at
sql(q{
	INSERT INTO item (id, body) VALUES (20, 'before');
	ALTER TABLE item DROP COLUMN span;
	ALTER TABLE item ADD COLUMN extra integer DEFAULT 5;
	INSERT INTO item (id, body) VALUES (21, 'between');
	ALTER TABLE item ALTER COLUMN extra TYPE text USING 'n' || extra;
	UPDATE item SET body = 'after' WHERE id = 20;
});
caught_up();
is_deeply(
	[ poll($sub, q{payload #>> '{new,id}', payload #>> '{new,body}', payload #>> '{new,extra}'}) ],
	[ '20|before|', '21|between|5', '20|after|n5' ],
	'each change has the values that the row had then');

# --- many rows in one transaction
sql(q{CREATE TABLE public.many (id integer PRIMARY KEY);
	GRANT SELECT ON public.many TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.many;});
my $many = subscribe('many');
sql('INSERT INTO many SELECT generate_series(1, 100000)');
ok(caught_up(), 'a transaction of 100000 rows is read');
is( sql(as_user() . qq{
		CREATE FUNCTION pg_temp.read_all() RETURNS text LANGUAGE plpgsql AS \$\$
		DECLARE
			seen bigint := 0;
			wrong bigint := 0;
			last bigint := 0;
			r record;
		BEGIN
			LOOP
				FOR r IN SELECT seq, event, (payload #>> '{new,id}')::int AS id
					FROM realtime.poll($many->{id}, '$many->{key}', last, 1000)
				LOOP
					seen := seen + 1;
					IF r.event <> 'INSERT' OR r.id <> seen OR r.seq <> seen THEN
						wrong := wrong + 1;
					END IF;
					last := r.seq;
				END LOOP;
				EXIT WHEN NOT FOUND;
			END LOOP;
			RETURN seen || ' ' || wrong;
		END; \$\$;
		SELECT pg_temp.read_all()}),
	'100000 0',
	'and each row arrives once, in order');

# --- the slot moves on, whoever writes
sql(q{SELECT pg_switch_wal()});
$node->safe_psql('postgres',
	'CREATE TABLE noise (i int); INSERT INTO noise SELECT generate_series(1, 100000)');
ok(caught_up(), 'it passes what another database has written');
ok( wait_for($node, $db,
		"SELECT retained_wal < 100000 FROM plinth.stat_stream WHERE database = '$db'"),
	'and lets go of the WAL behind it');

# --- a change that cannot be judged: a row filter that fails
sql(q{
	CREATE TABLE public.moods (id integer PRIMARY KEY, mood integer);
	ALTER TABLE public.moods REPLICA IDENTITY FULL;
	GRANT SELECT ON public.moods TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.moods WHERE (10 / mood > 1);
	INSERT INTO moods VALUES (1, 5);
});
my $moods = subscribe('moods');
sql(q{
	UPDATE moods SET mood = 0;
	INSERT INTO moods VALUES (3, 5), (4, 10);
});
caught_up();
is_deeply([ poll($moods, q{event, payload #>> '{new,id}'}) ],
	[ 'gap|', 'INSERT|3' ], 'its readers get a gap, and what follows');
is(sql("SELECT errors FROM plinth.stat_stream WHERE database = '$db'"),
	'1', 'and it is counted');
ok(sql('SELECT failures FROM plinth.stat_workers WHERE worker = \'stream\' AND database = current_database()') eq '0',
	'the worker did not fail');

# --- the worker ends: a gap, and the stream goes on
my $pid = $worker_pid->();
poll($sub, 'event');
sql("SELECT pg_terminate_backend($pid)");
ok( wait_for($node, $db, qq{SELECT count(*) = 1 FROM plinth.stat_workers AS w
		JOIN plinth.stat_stream AS s USING (database)
		WHERE w.worker = 'stream' AND database = '$db' AND w.pid <> $pid AND s.slot IS NOT NULL}),
	'another worker takes over');
sql(q{INSERT INTO item (id, body) VALUES (30, 'after the gap')});
caught_up();
is_deeply([ poll($sub, q{event, payload #>> '{new,id}'}) ],
	[ 'gap|', 'INSERT|30' ], 'subscribers are told, and get what follows');
is(sql(q{SELECT count(*) FROM pg_replication_slots}), '1', 'there is one slot still');

# --- a worker starts while somebody writes
sql(q{BEGIN; INSERT INTO item (id, body) VALUES (31, 'older than the slot'); PREPARE TRANSACTION 'old'});
$pid = $worker_pid->();
sql("SELECT pg_terminate_backend($pid)");
ok( wait_for($node, $db, qq{SELECT count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'plinth stream' AND datname = '$db' AND pid <> $pid
			AND wait_event_type = 'Lock'}),
	'a new worker waits for the transactions that write');
sql(q{COMMIT PREPARED 'old'});
ok(streaming(), 'and no longer');
sql(q{INSERT INTO item (id, body) VALUES (32, 'newer')});
caught_up();
is_deeply([ poll($sub, q{event, payload #>> '{new,id}'}) ],
	[ 'gap|', 'INSERT|32' ], 'what is older than the slot is in the gap');
is(sql(q{SELECT failures FROM plinth.stat_workers
		WHERE worker = 'stream' AND database = current_database()}),
	'0', 'and that is no failure');

# --- the worker is killed: the server starts anew
$pid = $worker_pid->();
kill 'KILL', $pid;
ok( wait_for($node, $db, "SELECT pg_postmaster_start_time() IS NOT NULL AND NOT EXISTS
		(SELECT FROM pg_stat_activity WHERE pid = $pid)"),
	'the server comes back after SIGKILL');
ok(streaming(), 'and so does the stream');
is(sql(q{SELECT count(*) FROM pg_replication_slots}), '1', 'without a second slot');
my ($code, $out, $err) = $node->psql($db,
	as_user() . "SELECT * FROM realtime.poll($sub->{id}, '$sub->{key}', 0)");
isnt($code, 0, 'the subscriptions are gone, and say so');
$sub = subscribe('item');
sql(q{INSERT INTO item (id, body) VALUES (40, 'after the crash')});
caught_up();
is_deeply([ poll($sub, $body) ], ['INSERT 40 after the crash'], 'a new one works');

# --- a stop in the middle of a large transaction
$many = subscribe('many');
sql('INSERT INTO many SELECT generate_series(1000001, 1400000)');
my $begin = time;
$node->stop('fast');
pass('a fast stop is not held up');
note('after ' . (time - $begin) . ' s');
is_deeply([ grep { !/^\.\.?$/ } slurp_folder($node->data_dir . '/pg_replslot') ],
	[], 'a stop leaves no slot');

# --- without logical decoding
$node->append_conf('postgresql.conf', 'wal_level = replica');
$node->start;
ok( wait_for($node, $db, q{SELECT count(*) = 1 FROM plinth.stat_workers
		WHERE worker = 'stream' AND state = 'parked' AND last_error LIKE '%wal_level%'
			AND database = current_database()}),
	'the missing wal_level is shown');
($code, $out, $err) = $node->psql($db,
	as_user() . q{\set VERBOSITY verbose
		SELECT * FROM realtime.subscribe('test', 'public', 'item')});
like($err, qr/ERROR:  55000:.*wal_level/s, 'subscribing is refused');
like($err, qr/HINT:  .*plinth\.preflight/s, 'with a hint');
is(sql(q{INSERT INTO item (id) VALUES (50); SELECT count(*) FROM item WHERE id = 50}),
	'1', 'writing goes on');
is(sql(q{SELECT allowed FROM plinth.check_rate_limit('somebody', 'api')}),
	't', 'and so does the rest');
is(sql(q{SELECT count(*) FROM plinth.stat_stream}), '0', 'there are no statistics of a stream');

# --- no slot to be had
$node->append_conf('postgresql.conf', "wal_level = logical\nmax_replication_slots = 1");
$node->stop;
$node->start;
ok(streaming(), 'with wal_level logical it streams again');
sql('SELECT plinth.disable()');
is(sql(q{SELECT count(*) FROM pg_replication_slots}), '0',
	'where the workers are kept out there is no slot');
sql(q{SELECT pg_create_physical_replication_slot('taken')});
sql('SELECT plinth.enable()');
ok( wait_for($node, $db, q{SELECT count(*) = 1 FROM plinth.stat_workers
		WHERE worker = 'stream' AND failures > 0 AND last_error LIKE '%replication slots%'
			AND database = current_database()}),
	'that no slot is free is shown');
sql(q{SELECT pg_drop_replication_slot('taken')});
ok(streaming(), 'and when one is, it is taken');

# --- the database goes
$begin = time;
$node->safe_psql('postgres', "DROP DATABASE $db");
pass('a database with a stream is dropped at once');
note('after ' . (time - $begin) . ' s');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'),
	'0', 'and its slot with it');

$node->stop;
done_testing();

sub slurp_folder
{
	opendir(my $folder, shift) or die $!;
	return readdir($folder);
}
