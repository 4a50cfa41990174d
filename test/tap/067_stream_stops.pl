# What holds a subscriber up, and what ends the stream: a policy that goes on
# for ever holds up nobody else, and no kind of stop leaves a slot or a silence.

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = plinth_cluster('stops', "autovacuum = off\n");
my $db = 'app';
my %user = (ada => '00000000-0000-4000-8000-0000000000a1', bob => '00000000-0000-4000-8000-0000000000b2');

sub sql { return $node->safe_psql($db, shift); }

sub subscribe
{
	my ($table, $name, $since) = @_;
	my $more = defined $since ? ", since => '$since'" : '';
	my ($id, $key) = split /\|/, sql(
		qq{SET request.jwt.claims = '{"sub":"$user{$name}","role":"authenticated"}'; SET ROLE authenticated;
		SELECT subscription_id, session_key FROM realtime.subscribe('t', 'public', '$table'$more)});
	return { id => $id, key => $key };
}

# What a subscription has been sent, when it has come to this message.
sub told
{
	my ($sub, $last) = @_;
	my $list = q{coalesce(string_agg(concat_ws(' ', event, payload #>> '{new,id}', payload ->> 'reason'), ', ' ORDER BY seq), '')};
	my $rows = "FROM realtime.poll($sub->{id}, '$sub->{key}', 0, 1000)";

	wait_for($node, $db, "SELECT $list LIKE '%$last%' $rows");
	return sql("SELECT $list $rows");
}

sub worker { return sql(q{SELECT pid FROM plinth.stat_workers WHERE worker = 'stream' AND database = current_database()}); }

sub slots { return $node->safe_psql('postgres', 'SELECT count(*) FROM pg_replication_slots'); }

sub streaming
{
	return wait_for($node, $db,
		"SELECT count(*) = 1 FROM plinth.stat_stream WHERE database = '$db' AND slot IS NOT NULL");
}

$node->safe_psql('postgres', "CREATE DATABASE $db");
sql(qq{
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('realtime');
	CREATE TABLE public.news (id integer PRIMARY KEY);
	CREATE TABLE public.note (id integer PRIMARY KEY);
	ALTER TABLE public.note ENABLE ROW LEVEL SECURITY;
	CREATE FUNCTION public.for_ever() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN LOOP PERFORM 1; END LOOP; END';
	CREATE POLICY slow ON public.note FOR SELECT TO authenticated
		USING (CASE WHEN auth.uid() = '$user{ada}' THEN public.for_ever() ELSE id > 0 END);
	GRANT SELECT ON public.news, public.note TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE public.news, public.note;
});
ok(streaming(), 'the worker streams');
my $pid = worker();

# --- a policy that never ends, for one subscriber
my $ada = subscribe('note', 'ada');
my $bob = subscribe('note', 'bob');
my $news = subscribe('news', 'ada');
sql('INSERT INTO note VALUES (1); INSERT INTO news VALUES (2); INSERT INTO note VALUES (3)');
is(told($bob, '3'), 'INSERT 1, INSERT 3', 'another subscriber of the table goes on');
is(told($news, '2'), 'INSERT 2', 'and one of another table, of the same user');
unlike(told($ada, 'e'), qr/INSERT/, 'to whom it is that cannot be told is sent nothing');
like(told($ada, 'e'), qr/gap|end/, 'but not silence');
is(worker(), $pid, 'the worker stays');

# --- the worker crashes: who comes back is told of a gap
my $since = sql('SELECT pg_current_wal_insert_lsn()');
sql('INSERT INTO news VALUES (10)');
kill 'KILL', $pid;
ok(wait_for($node, $db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"), 'the server comes back');
ok(streaming(), 'and so does the stream');
is(slots(), 1, 'with one slot');
$news = subscribe('news', 'ada', $since);
sql('INSERT INTO news VALUES (11)');
is(told($news, '11'), 'gap, INSERT 11', 'who resumes after a crash reads afresh and goes on');

# --- the server is stopped in the middle of its work
sql('INSERT INTO news SELECT generate_series(1000, 200000)');
$node->stop('immediate');
$node->start;
ok(streaming(), 'the stream starts after an immediate stop');
is(slots(), 1, 'with one slot');
$node->restart;
ok(streaming(), 'and after an ordinary one');
is(slots(), 1, 'with one slot');

# --- the extension goes and comes again
$news = subscribe('news', 'ada');
sql('SET client_min_messages = warning; DROP SCHEMA realtime, auth, profiles CASCADE; DROP EXTENSION plinth CASCADE');
ok(wait_for($node, 'postgres', 'SELECT count(*) = 0 FROM pg_replication_slots'), 'DROP EXTENSION leaves no slot');
is(sql('INSERT INTO news VALUES (300000); SELECT count(*) FROM news WHERE id = 300000'), 1, 'and nothing that holds up writing');
sql(q{SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE; SELECT plinth.install('realtime');
	ALTER PUBLICATION plinth_realtime ADD TABLE public.news});
ok(streaming(), 'an extension that is made again streams');
$news = subscribe('news', 'ada');
sql('INSERT INTO news VALUES (300001)');
is(told($news, '300001'), 'INSERT 300001', 'to those who subscribe');

$node->stop('fast');
opendir(my $folder, $node->data_dir . '/pg_replslot') or die $!;
is_deeply([ grep { !/^\.\.?$/ } readdir $folder ], [], 'a stop leaves no slot');
done_testing();
