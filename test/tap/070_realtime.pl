# Subscribers of the change stream over sessions of their own: who is told,
# what a listener receives, and when there is a gap.
#
# S8.1, S8.2, S8.3, S8.4, S8.9, S8.10, S8.11

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = plinth_cluster(
	'realtime', q(
plinth.realtime_ring_size = 64kB
plinth.realtime_max_subscriptions = 16
plinth.realtime_max_event = 4kB
));
my $db = 'app';
my %user = (
	ada => '00000000-0000-4000-8000-0000000000a1',
	bob => '00000000-0000-4000-8000-0000000000b2');

sub sql { return $node->safe_psql($db, shift); }

# A session of a login role that proves who it is with a token.
sub session
{
	my $name = shift;
	my $session = $node->background_psql($db, extra_params => [ '-U', "regress_plinth_$name" ]);

	if (exists $user{$name})
	{
		my $token = sql(qq{SELECT plinth.jwt_sign('{"sub":"$user{$name}","role":"authenticated"}')});
		$session->query_safe("SELECT auth.authenticate('$token', false)");
	}
	return $session;
}

sub subscribe
{
	my ($session, $table, $more) = @_;
	my ($id, $key, $channel) = split /\|/, $session->query_safe(
		"SELECT subscription_id, session_key, listen_channel
		 FROM realtime.subscribe('test', 'public', '$table'" . ($more // '') . ")");
	return { session => $session, id => $id, key => $key, channel => $channel };
}

# The messages of a subscription, when there are as many: seq, event, id.
sub messages
{
	my ($sub, $wanted) = @_;

	wait_for($node, $db, "SELECT count(*) >= $wanted FROM realtime.poll($sub->{id}, '$sub->{key}', 0)");
	return sql("SELECT string_agg(concat_ws(' ', seq, event,
			coalesce(payload -> 'new' ->> 'id', payload -> 'old' ->> 'id')), ', ' ORDER BY seq)
		FROM realtime.poll($sub->{id}, '$sub->{key}', 0)");
}

# What a listening session has been sent, when there are as many.
sub notifications
{
	my ($sub, $wanted) = @_;
	my @payloads;

	foreach (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		my $output = $sub->{session}->query_safe('SELECT 1');

		push @payloads, $output =~ /notification "$sub->{channel}" with payload "(.*)" received/g;
		last if @payloads >= $wanted;
		select undef, undef, undef, 0.1;
	}
	return @payloads;
}

$node->safe_psql('postgres', "CREATE DATABASE $db");
sql(q{
	SET client_min_messages = warning;
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('realtime');
	CREATE ROLE regress_plinth_ada LOGIN IN ROLE authenticated;
	CREATE ROLE regress_plinth_bob LOGIN IN ROLE authenticated;
	CREATE ROLE regress_plinth_guest LOGIN IN ROLE anon;

	CREATE TABLE public.letter (id int PRIMARY KEY, sender uuid, recipient uuid, body text);
	ALTER TABLE public.letter REPLICA IDENTITY FULL, ENABLE ROW LEVEL SECURITY;
	CREATE POLICY sent ON public.letter FOR SELECT TO authenticated USING (sender = (SELECT auth.uid()));
	CREATE POLICY received ON public.letter FOR SELECT TO authenticated USING (recipient = auth.uid());
	GRANT SELECT ON public.letter TO anon, authenticated;

	CREATE TABLE public.news (id int PRIMARY KEY, body text);
	GRANT SELECT ON public.news TO anon, authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.letter, public.news;
});

#
# Two users and a guest
#
my $ada = session('ada');
my $bob = session('bob');
my $guest = session('guest');
my $ada_letters = subscribe($ada, 'letter');
my $bob_letters = subscribe($bob, 'letter');
my $guest_letters = subscribe($guest, 'letter');
my $guest_news = subscribe($guest, 'news');
my $bob_news = subscribe($bob, 'news', ", 'INSERT'");

$_->{session}->query_safe("LISTEN $_->{channel}") foreach ($ada_letters, $bob_letters, $guest_news);

is($ada->query_safe('SELECT route FROM realtime.subscriptions'), 'hash', 'a user sees her own subscription');
is($guest->query_safe("SELECT string_agg(table_name || ' ' || route, ', ' ORDER BY table_name) FROM realtime.subscriptions"),
	'letter none, news all', 'a guest sees those of the session, and that no policy is for guests');

sql(qq{
	INSERT INTO public.letter VALUES (1, '$user{ada}', '$user{bob}', 'from ada to bob');
	INSERT INTO public.letter VALUES (2, '$user{ada}', NULL, 'draft');
	INSERT INTO public.letter VALUES (3, '$user{ada}', '$user{ada}', 'to herself');
	UPDATE public.letter SET recipient = '$user{bob}' WHERE id = 2;
	UPDATE public.letter SET sender = NULL WHERE id = 1;
	UPDATE public.letter SET body = 'changed' WHERE id = 1;
	DELETE FROM public.letter WHERE id = 2;
	INSERT INTO public.letter VALUES (9, '$user{ada}', '$user{bob}', 'the last');
	INSERT INTO public.news VALUES (9, 'the last');
});
is(messages($guest_news, 1), '1 INSERT 9', 'news reach the guest');
is(messages($ada_letters, 7), '1 INSERT 1, 2 INSERT 2, 3 INSERT 3, 4 UPDATE 2, 5 DELETE 1, 6 DELETE 2, 7 INSERT 9',
	'the sender: a row that leaves her view is removed from it, once');
is(messages($bob_letters, 6), '1 INSERT 1, 2 INSERT 2, 3 UPDATE 1, 4 UPDATE 1, 5 DELETE 2, 6 INSERT 9',
	'the recipient: a row that enters his view is inserted into it');
is(messages($guest_letters, 0), '', 'the guest, whom no policy names, is told nothing');
is(sql("SELECT payload ->> 'new' || ' ' || (payload ->> 'old')
		FROM realtime.poll($ada_letters->{id}, '$ada_letters->{key}', 4, 1)"),
	'{} {"id": 1}', 'a removal carries the key and nothing of the new row');
is(sql("SELECT payload ->> 'old' FROM realtime.poll($bob_letters->{id}, '$bob_letters->{key}', 1, 1)"),
	'{}', 'and what the row was before stays unknown to him');

my @ada_heard = notifications($ada_letters, 7);
is(scalar @ada_heard, 7, 'a listener gets each message once');
is(join(' ', map { /"seq":(\d+)/ ? $1 : '?' } @ada_heard), '1 2 3 4 5 6 7', 'in the order of their numbers');
is(sql("SELECT count(*) FROM realtime.poll($ada_letters->{id}, '$ada_letters->{key}', 0) AS p
		JOIN unnest(ARRAY[" . join(', ', map { "\$j\$$_\$j\$" } @ada_heard) . "]::jsonb[]) AS heard ON heard = p.payload"),
	7, 'what is heard is what is polled');
is(sql("SELECT bool_and(lsn > before) FROM (SELECT lsn, lag(lsn) OVER (ORDER BY seq) AS before
		FROM realtime.poll($ada_letters->{id}, '$ada_letters->{key}', 0)) AS p"),
	't', 'positions ascend');
is(scalar(notifications($bob_letters, 6)), 6, 'the other hears his own');

#
# Large messages
#
sql(q{INSERT INTO public.news VALUES (10, repeat('"', 3000)), (11, repeat('x', 5000)), (12, 'short')});
is(messages($guest_news, 4), '1 INSERT 9, 2 INSERT 10, 3 INSERT 11, 4 INSERT 12', 'large messages arrive');
is(sql("SELECT string_agg(concat_ws(' ', seq, length(payload -> 'new' ->> 'body'), payload ->> 'errors'), ', ' ORDER BY seq)
		FROM realtime.poll($guest_news->{id}, '$guest_news->{key}', 1)"),
	'2 ["too large"], 3 ["too large"], 4 5', 'over the limit they carry the key only');
$node->append_conf('postgresql.conf', 'plinth.realtime_max_event = 12kB');
$node->reload;
wait_for($node, $db, "SELECT current_setting('plinth.realtime_max_event') = '12kB'");
sql(q{SELECT pg_sleep(0); INSERT INTO public.news VALUES (13, repeat('x', 9000))});
messages($guest_news, 5);
my @guest_heard = notifications($guest_news, 5);
like($guest_heard[-1], qr/^\{"seq":5,"lsn":"[0-9A-F\/]+","truncated":true\}$/, 'a notification that would be too long says so')
  or diag(join "\n", map { substr $_, 0, 100 } @guest_heard);
is(sql("SELECT length(payload -> 'new' ->> 'body') FROM realtime.poll($guest_news->{id}, '$guest_news->{key}', 4)"),
	9000, 'and poll has it whole');

#
# The ring comes round
#
is(messages($bob_news, 5), '1 INSERT 9, 2 INSERT 10, 3 INSERT 11, 4 INSERT 12, 5 INSERT 13', 'before the ring comes round');
sql(q{INSERT INTO public.news SELECT 100 + n, repeat('y', 500) FROM generate_series(1, 300) AS n});
wait_for($node, $db, "SELECT max(payload -> 'new' ->> 'id') = '400' FROM realtime.poll($bob_news->{id}, '$bob_news->{key}', 0, 1000)");
my ($first, $gap, $rows, $unbroken, $last) = split /\|/, sql(
	"SELECT (array_agg(event ORDER BY seq))[1], min(seq), count(*), max(seq) - min(seq) + 1 = count(*), max(seq)
	 FROM realtime.poll($bob_news->{id}, '$bob_news->{key}', 5, 1000)");
is("$first $unbroken $last", 'gap t 305', 'what the ring has lost is told as one gap, and nothing else is missing');
is($rows - 1, 305 - $gap, 'the gap ends where the ring begins');
is(sql("SELECT dropped = $gap - 5 FROM plinth.stat_subscriptions WHERE id = $bob_news->{id}"), 't', 'and is counted');
is(sql("SELECT (ring_used <= 65536)::text || ' ' || (dropped > 0)::text FROM plinth.stat_stream WHERE database = '$db'"),
	'true true', 'the ring keeps to its size');

# a poll in steps finds the same
my ($at, $seen) = ($gap, 0);
while (my $step = sql("SELECT max(seq), count(*) FROM realtime.poll($bob_news->{id}, '$bob_news->{key}', $at, 7) HAVING count(*) > 0"))
{
	my $count;
	($at, $count) = split /\|/, $step;
	$seen += $count;
}
is($seen, $rows - 1, 'polling in steps gives the same messages');

#
# The worker goes and comes again
#
my $worker = "FROM plinth.stat_workers WHERE database = '$db' AND worker = 'stream'";
my $old_pid = sql("SELECT pid $worker");
notifications($ada_letters, 0);
sql("SELECT pg_terminate_backend($old_pid)");
wait_for($node, $db, "SELECT count(*) = 1 $worker AND pid <> $old_pid");
wait_for($node, $db, "SELECT payload ->> 'seq' = '8' AND event = 'gap' FROM realtime.poll($ada_letters->{id}, '$ada_letters->{key}', 7)");
pass('a new worker is a gap for whom the old one served');
like((notifications($ada_letters, 1))[0], qr/^\{"seq":8,"eventType":"gap"\}$/, 'of which a listener hears');
sql("INSERT INTO public.letter VALUES (20, '$user{ada}', NULL, 'after')");
is(messages($ada_letters, 2), '8 gap, 9 INSERT 20', 'and the stream goes on behind it');

#
# Policies and rights that change
#
sql("ALTER POLICY sent ON public.letter USING (false)");
sql("INSERT INTO public.letter VALUES (21, '$user{ada}', '$user{bob}', 'no longer seen by its sender')");
like(messages($bob_letters, 2), qr/ INSERT 21$/, 'a changed policy acts at once on whom it still lets see');
sql("INSERT INTO public.letter VALUES (22, NULL, '$user{ada}', 'received')");
is(messages($ada_letters, 3), '8 gap, 9 INSERT 20, 10 INSERT 22', 'and on whom it does not');
sql("REVOKE authenticated FROM regress_plinth_bob");
sql("INSERT INTO public.letter VALUES (23, NULL, '$user{bob}', 'not a member')");
wait_for($node, $db, "SELECT NOT live FROM plinth.stat_subscriptions WHERE id = $bob_letters->{id}");
is(sql("SELECT event || ' ' || (payload ->> 'reason') FROM realtime.poll($bob_letters->{id}, '$bob_letters->{key}', 0, 1000) WHERE event <> 'INSERT' AND event <> 'gap'"),
	'end permission denied for table letter', 'who is no member of the role any more is told so');
sql("GRANT authenticated TO regress_plinth_bob");

#
# The end of a session
#
like($guest->query_safe("SELECT count(*) || ' of the guest' FROM realtime.subscriptions"), qr/^2 of the guest$/m,
	'before it ends');
$guest->quit;
sql("INSERT INTO public.news VALUES (30, 'to whom it may concern')");
like(messages($guest_news, 2), qr/ INSERT 30$/, 'a subscription outlives its session for a while');

#
# A full table
#
my ($many, $error);
foreach my $n (1 .. 17)
{
	my (undef, undef, $stderr) = $node->psql($db,
		"SET request.jwt.claims = '{\"sub\":\"00000000-0000-4000-8000-0000000000" . sprintf('%02d', $n) . "\"}'; SET ROLE anon;
		 SELECT realtime.subscribe('many', 'public', 'news')", on_error_stop => 1, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	if ($stderr) { ($many, $error) = ($n, $stderr); last; }
}
like($error, qr/53400: too many subscriptions.*All 16 are in use/s, 'when the table is full the next is refused');
cmp_ok(sql('SELECT count(*) FROM plinth.stat_subscriptions WHERE live'), '<=', 16, 'and not one more is live');

$_->quit foreach ($ada, $bob);
$node->stop;

#
# Without what the stream needs
#
foreach my $case (
	[ 'wal_level = replica', qr/55000: the change stream is not available.*"wal_level" is not "logical"/s ],
	[ "shared_preload_libraries = ''", qr/55000: the change stream is not available.*not in "shared_preload_libraries"/s ])
{
	my ($setting, $expected) = @$case;

	$node->append_conf('postgresql.conf', $setting);
	$node->start;
	my (undef, undef, $stderr) = $node->psql($db, "SET ROLE anon; SELECT realtime.subscribe('t', 'public', 'news')",
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	like($stderr, $expected, "subscribe with $setting");
	(undef, undef, $stderr) = $node->psql($db, "SELECT plinth.preflight() LIMIT 1");
	is(sql('INSERT INTO public.news SELECT max(id) + 1 FROM public.news; SELECT count(*) FROM realtime.subscriptions'), '0',
		'and everything else works');
	$node->stop;
}

done_testing();
