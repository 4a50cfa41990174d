# Who is present over sessions that end in every way, and messages to topics
# that others than realtime.broadcast() have written.
#
# S8.3, S8.11, S2.2, S7.3; faults 11 and 12 of the presence that plinth replaces

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = plinth_cluster(
	'presence', q(
plinth.presence_entries = 256
max_prepared_transactions = 5
plinth.trusted_roles = 'regress_plinth_pool'
));
my $db = 'app';
my %user = (
	ada => '00000000-0000-4000-8000-0000000000a1',
	bob => '00000000-0000-4000-8000-0000000000b2');

sub sql { return $node->safe_psql($db, shift); }

sub token
{
	my ($name, $more) = @_;
	return sql(qq{SELECT plinth.jwt_sign('{"sub":"$user{$name}","role":"authenticated"}'::jsonb || '} . ($more // '{}') . q{')});
}

# A session of a user that proves for good who it is.
sub session
{
	my ($name, $more) = @_;
	my $session = $node->background_psql($db, extra_params => [ '-U', "regress_plinth_$name" ]);
	my $token = token($name, $more);

	$session->set_query_timer_restart;
	$session->query_safe("SELECT auth.authenticate('$token', false)");
	return $session;
}

sub connection { return sprintf '00000000-0000-4000-8000-%012d', shift; }

sub track
{
	my ($session, $topic, $number) = @_;
	$session->query_safe("SELECT realtime.track('$topic', '" . connection($number) . q{', '{}')});
	return;
}

sub subscribe
{
	my ($session, $topic) = @_;
	my ($id, $key, $channel) = split /\|/,
		$session->query_safe("SELECT subscription_id, session_key, listen_channel FROM realtime.subscribe('$topic')");
	return { id => $id, key => $key, channel => $channel };
}

# Wait for a message like that, and say whether it came.
sub told
{
	my ($sub, $wanted) = @_;
	return wait_for($node, $db,
		"SELECT count(*) > 0 FROM realtime.poll($sub->{id}, '$sub->{key}', 0, 1000) WHERE payload \@> '$wanted'");
}

sub joined { return sprintf '{"event":"join","connection_id":"%s"}', connection(shift); }
sub left { return sprintf '{"event":"leave","status":"offline","connection_id":"%s"}', connection(shift); }

# The connections that are there, by their numbers.
sub present
{
	return sql("SELECT string_agg(right(connection_id::text, 4)::int::text, ' ' ORDER BY connection_id)
		FROM realtime.presence WHERE topic = '" . shift() . "'");
}

sub stream_pid
{
	return sql("SELECT pid FROM plinth.stat_workers WHERE database = current_database() AND worker = 'stream'");
}

$node->safe_psql('postgres', "CREATE DATABASE $db");
sql(q{
	SET client_min_messages = warning;
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('realtime');
	CREATE ROLE regress_plinth_ada LOGIN IN ROLE authenticated;
	CREATE ROLE regress_plinth_bob LOGIN IN ROLE authenticated;
	CREATE ROLE regress_plinth_pool LOGIN NOINHERIT IN ROLE authenticated;
});

#
# Four that are silent from now on; what became of them is asked at the end
#
my $watcher = session('bob');
my $hall = subscribe($watcher, 'hall');
my $tied = session('ada');
my $discarded = session('ada');
my $pool = $node->background_psql($db, extra_params => [ '-U', 'regress_plinth_pool' ]);
my $claims = qq{set_config('request.jwt.claims', '{"sub":"$user{ada}","role":"authenticated"}', true)};

# one loses the right to a topic while it follows it, another one does not
sql(qq{
	INSERT INTO auth.users (id, email) VALUES ('$user{ada}', 'ada\@example.org');
	INSERT INTO realtime.channels (name, kind, created_by) VALUES
		('taken', 'private', '$user{ada}'), ('kept', 'private', '$user{ada}')});
my $taken = subscribe($tied, 'taken');
my $kept = subscribe($tied, 'kept');
sql(q{UPDATE realtime.channels SET created_by = NULL WHERE name = 'taken'});

track($tied, 'hall', 1);
track($discarded, 'hall', 2);
$discarded->query_safe('DISCARD ALL');
foreach my $number (3, 4)
{
	$pool->query_safe("BEGIN; SET LOCAL ROLE authenticated; SELECT $claims;
		SELECT realtime.track('hall', '" . connection($number) . q{', '{}'); COMMIT;});
}
$pool->quit;
is(present('hall'), '1 2 3 4', 'who has made way for another identity is still there, as is the end of a pooled session');
my $silent_since = time;

#
# A session ends in any way: it leaves at once
#
my $lobby = subscribe($watcher, 'lobby');
my $session = session('ada');
track($session, 'lobby', 11);
ok(told($lobby, joined(11)), 'one comes');
$session->quit;
ok(told($lobby, left(11)), 'a session that ends is told of at once');

$session = session('ada');
track($session, 'lobby', 12);
track($session, 'lobby', 13);
ok(told($lobby, joined(13)), 'two come');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
sql("SELECT pg_terminate_backend($pid)");
ok(told($lobby, left(12)) && told($lobby, left(13)), 'and one that is ended, with all its connections');

# a client that is killed says no goodbye
$session = session('ada');
track($session, 'lobby', 14);
ok(told($lobby, joined(14)), 'one comes');
kill 'KILL', $session->{run}->{KIDS}[0]{PID};
ok(told($lobby, left(14)), 'and one whose client is killed');
cmp_ok(time - $silent_since, '<', 50, 'none of it took a minute');

# in the middle of a transaction, and without a word of its own
$session = session('ada');
$session->query_safe('BEGIN');
track($session, 'lobby', 15);
ok(told($lobby, joined(15)), 'presence does not wait for the commit');
$pid = $session->query_safe('SELECT pg_backend_pid()');
sql("SELECT pg_terminate_backend($pid)");
ok(told($lobby, left(15)), 'and one in a transaction');
is(present('lobby'), '', 'nobody is left behind');

# several connections of one user in sessions of their own
my $first = session('ada');
my $second = session('ada');
track($first, 'lobby', 16);
track($second, 'lobby', 17);
ok(told($lobby, joined(17)), 'and one more');
is(sql(q{SELECT s.value ->> 'connections' FROM jsonb_each(realtime.presence_state('lobby')) AS s WHERE s.key LIKE '%a1'}),
	'2', 'a user has two');
$first->quit;
ok(told($lobby, left(16)), 'one of them leaves');
is(present('lobby'), '17', 'the other one stays');

# a token that ends takes its connection with it, unless a new one is shown
my $short = session('ada', '{"exp":' . (time + 2) . '}');
track($short, 'lobby', 18);
ok(told($lobby, joined(18)), 'one with a short token');
my $renewed = session('ada', '{"exp":' . (time + 3) . '}');
track($renewed, 'lobby', 19);
my $token = token('ada');
$renewed->query_safe("SELECT auth.authenticate('$token', false)");
$renewed->query_safe("SELECT realtime.heartbeat('lobby', '" . connection(19) . "')");
ok(told($lobby, left(18)), 'a token ends');
is(present('lobby'), '17 19', 'not so the one that was renewed');

# whoever comes and goes faster than once a second is told of as often
my $before = sql("SELECT count(*) FROM realtime.poll($lobby->{id}, '$lobby->{key}', 0, 1000)");
$second->query_safe(q{DO $$ BEGIN FOR i IN 1 .. 2000 LOOP
		PERFORM realtime.track('lobby', '} . connection(20) . q{', '{}');
		PERFORM realtime.untrack('lobby', '} . connection(20) . q{');
	END LOOP; END $$});
$second->query_safe("SELECT realtime.track('lobby', '" . connection(20) . q{', '{"meta": {"last": true}}')});
ok(told($lobby, '{"meta": {"last": true}}'), 'the last of it is told');
cmp_ok(sql("SELECT count(*) FROM realtime.poll($lobby->{id}, '$lobby->{key}', 0, 1000)") - $before,
	'<', 40, 'of four thousand changes few are');

#
# The memory for texts is used up before the places are: that is an error, and
# what was taken is given back
#
sql(q{
	CREATE FUNCTION public.fill() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		n	int := 0;
		why	text;
	BEGIN
		LOOP
			PERFORM realtime.track('full', gen_random_uuid(),
				jsonb_build_object('meta', jsonb_build_object('a', repeat('m', 4000))));
			n := n + 1;
		END LOOP;
	EXCEPTION WHEN configuration_limit_exceeded THEN
		GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
		RETURN n || ' ' || why;
	END $$;
	GRANT EXECUTE ON FUNCTION public.fill() TO authenticated});
my $watched = subscribe($watcher, 'full');
my @filled;
foreach my $time (1 .. 3)
{
	$session = session('ada');
	push @filled, $session->query_safe('SELECT public.fill()');
	is(sql(q{SELECT count(*) FROM realtime.presence WHERE topic = 'full'}), $filled[-1] =~ s/ .*//r, 'all that were let in are there');
	$session->quit;
	wait_for($node, $db, q{SELECT count(*) = 0 FROM realtime.presence WHERE topic = 'full'});
	wait_for($node, $db, "SELECT count(*) FILTER (WHERE payload ->> 'event' = 'join') = count(*) FILTER (WHERE payload ->> 'event' = 'leave')
		FROM realtime.poll($watched->{id}, '$watched->{key}', 0, 1000)");
}
like($filled[0], qr/^[1-9][0-9] The memory for 256 is used up\.$/, 'no more than there is memory for');
is($filled[1], $filled[0], 'the same again');
is($filled[2], $filled[0], 'and again');

#
# A crowd is told of with one message
#
my $crowd = subscribe($watcher, 'crowd');
$pid = stream_pid();
kill 'STOP', $pid;
foreach my $each ($second, $watcher)
{
	$each->query_safe(q{SELECT count(realtime.track('crowd', gen_random_uuid(), '{}')) FROM generate_series(1, 80)});
}
kill 'CONT', $pid;
ok(told($crowd, '{"event":"sync"}'), 'too many to tell one by one');
is(sql("SELECT count(*) FILTER (WHERE payload ->> 'event' = 'join') || ' ' || count(*) FILTER (WHERE payload ->> 'event' = 'sync')
	FROM realtime.poll($crowd->{id}, '$crowd->{key}', 0, 1000) WHERE event = 'presence' AND payload ->> 'event' <> 'leave'"),
	'100 1', 'a hundred are told, the rest is to be looked up');

#
# A listener hears of all of it
#
my $radio = subscribe($watcher, 'radio');
$watcher->query_safe("LISTEN $radio->{channel}");
sql(q{SELECT realtime.broadcast('radio', 'short', '{"n": 1}')});
sql(q{SELECT realtime.broadcast('radio', 'long', to_jsonb(repeat('x', 60000)), false)});
ok(told($radio, '{"event":"long"}'), 'two messages');
track($second, 'radio', 51);
my @heard;
foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
{
	push @heard, $watcher->query_safe('SELECT 1') =~ /notification "$radio->{channel}" with payload "(.*)" received/g;
	last if @heard >= 3;
	select undef, undef, undef, 0.1;
}
like($heard[0], qr/^\{"seq":1,"eventType":"broadcast","topic":"radio","event":"short","from":null,.*"payload":\{"n": 1\}\}$/,
	'a message is sent whole');
like($heard[1], qr/^\{"seq":2,"lsn":"[0-9A-F]+\/[0-9A-F]+","truncated":true\}$/, 'a long one is announced');
like($heard[2], qr/^\{"seq":3,"eventType":"presence","topic":"radio","event":"join","user_id":"$user{ada}",/, 'and who comes');

#
# Messages that are none
#
my $talk = subscribe($watcher, 'talk');
sql(q{SELECT pg_create_logical_replication_slot('peek', 'pgoutput')});
sql(q{SELECT realtime.broadcast('talk', 'real', '{"n": 1}')});
my $copied = sql(q{
	SELECT count(pg_logical_emit_message(true, 'plinth.broadcast', m.content))
	FROM (SELECT substr(c.data, 1 + position(convert_to('plinth.broadcast', 'UTF8') || '\x00' IN c.data) - 1 + 17 + 4) AS content
		  FROM pg_logical_slot_peek_binary_changes('peek', NULL, NULL,
			'proto_version', '1', 'publication_names', 'plinth_realtime', 'messages', 'true') AS c
		  WHERE get_byte(c.data, 0) = ascii('M')) AS m
	WHERE position(convert_to('real', 'UTF8') IN m.content) > 0});
is($copied, '1', 'the message is found in the WAL and written again');
sql(q{SELECT realtime.broadcast('talk', 'after', '{"n": 2}')});
ok(told($talk, '{"event":"after"}'), 'the next one is heard');
is(sql("SELECT string_agg(payload ->> 'event', ' ' ORDER BY seq) FROM realtime.poll($talk->{id}, '$talk->{key}', 0)"),
	'real after', 'the copy is not');
sql(q{SELECT pg_drop_replication_slot('peek')});

# a prepared transaction sends when it is committed
sql(q{BEGIN; SELECT realtime.broadcast('talk', 'prepared', '1'); PREPARE TRANSACTION 'p'});
sql(q{BEGIN; SELECT realtime.broadcast('talk', 'given up', '1'); PREPARE TRANSACTION 'q'});
sql(q{SELECT realtime.broadcast('talk', 'meanwhile', '1')});
ok(told($talk, '{"event":"meanwhile"}'), 'others do not wait for it');
sql(q{ROLLBACK PREPARED 'q'});
sql(q{COMMIT PREPARED 'p'});
ok(told($talk, '{"event":"prepared"}'), 'a prepared transaction');
is(sql("SELECT string_agg(payload ->> 'event', ' ' ORDER BY seq) FROM realtime.poll($talk->{id}, '$talk->{key}', 0)"),
	'real after meanwhile prepared', 'in the order of commits');

#
# The worker goes: who is there stays, readers get a gap and look
#
$pid = stream_pid();
sql("SELECT pg_terminate_backend($pid)");
$session = session('ada');
track($session, 'lobby', 21);
ok(wait_for($node, $db, "SELECT count(*) > 0 FROM realtime.poll($lobby->{id}, '$lobby->{key}', 0, 1000) WHERE event = 'gap'"),
	'a gap');
is(present('lobby'), '17 19 20 21', 'who is there is there');
ok(workers_running($node, $db), 'the next worker runs');
$session->quit;
ok(told($lobby, left(21)), 'and is told of by the next worker');

#
# After a minute: who was silent has left; a heartbeat, or a session that
# holds, keeps
#
while (time - $silent_since < 120 && present('hall') ne '1 4')
{
	sql(qq{BEGIN; SELECT $claims; SELECT realtime.heartbeat('hall', '} . connection(4) . q{'); COMMIT});
	select undef, undef, undef, 0.5;
}
cmp_ok(time - $silent_since, '>=', 59, 'nobody leaves before a minute is over');
ok(told($hall, left(2)) && told($hall, left(3)), 'two have left then');
is(present('hall'), '1 4', 'who is held by a session, and who was heard of, stays');

ok(told($taken, '{"eventType":"end","reason":"the topic is not for the subscriber any more"}'), 'a topic that was taken away ends');
sql(q{SELECT realtime.broadcast('kept', 'still', '1')});
ok(told($kept, '{"event":"still"}'), 'another one goes on');

#
# The server
#
$pid = $tied->query_safe('SELECT pg_backend_pid()');
kill 'KILL', $pid;
ok(wait_for($node, $db, 'SELECT true'), 'the server has restarted after a crash');
ok(workers_running($node, $db), 'its workers too');
is(sql("SELECT realtime.presence_state('hall')"), '{"total": 0, "online": 0}', 'a crash empties it');

$session = session('ada');
track($session, 'hall', 31);
is(present('hall'), '31', 'it works as before');
$node->restart;
is(present('hall'), '', 'a restart empties it');

#
# Without the stream presence works, and nothing can be sent
#
$node->append_conf('postgresql.conf', 'wal_level = replica');
$node->restart;
my ($code, $out, $err) = $node->psql($db, q{\set VERBOSITY sqlstate
	SELECT realtime.broadcast('talk', 'e', '1')});
like($err, qr/55000/, 'no broadcast without logical WAL');
($code, $out, $err) = $node->psql($db, q{\set VERBOSITY sqlstate
	SELECT realtime.broadcast('talk', 'e', '1', false)});
like($err, qr/55000/, 'at once neither');
$session = session('ada');
track($session, 'hall', 41);
is(present('hall'), '41', 'who is there can be seen');
$session->quit;
ok(wait_for($node, $db, q{SELECT count(*) = 0 FROM realtime.presence}), 'until the session ends');

$node->stop;
done_testing();
