# A policy that cannot be stopped costs its table's followers their
# subscriptions and everybody else one gap, once; a lock that cannot be had is
# a gap for those who would have to be judged; a change of table, rights or
# role between a commit and its delivery shows nobody what they may not see.
#
# S8.1, S8.8, S8.10

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = plinth_cluster('policy_limits', 'plinth.realtime_policy_timeout = 30ms');
my $db = 'app';
sub sql { return $node->safe_psql($db, shift); }

# Subscriptions outlive their sessions for five minutes.
sub subscribe
{
	my ($table, $user, $filter) = @_;
	my $out = sql(qq{
		SET request.jwt.claims = '{"sub":"00000000-0000-4000-8000-0000000000a$user","role":"authenticated"}';
		SET ROLE authenticated;
		SELECT subscription_id, session_key FROM realtime.subscribe('t', 'public', '$table', '*', } . (defined $filter ? "'$filter'" : 'NULL') . ')');
	my ($id, $key) = split /\|/, (split /\n/, $out)[-1];
	return { id => $id, key => $key };
}

sub messages
{
	my $sub = shift;
	return sql("SELECT string_agg(concat_ws(' ', event, coalesce(payload -> 'new' ->> 'id', payload -> 'old' ->> 'id', payload ->> 'reason')), ', ' ORDER BY seq)
		FROM realtime.poll($sub->{id}, '$sub->{key}', 0)");
}

sub drain
{
	my $lsn = sql('SELECT pg_current_wal_insert_lsn()');
	return wait_for($node, $db, "SELECT confirmed_lsn >= '$lsn' FROM plinth.stat_stream WHERE database = current_database()");
}

sub worker { return sql("SELECT pid FROM plinth.stat_workers WHERE database = current_database() AND worker = 'stream' AND pid IS NOT NULL"); }

$node->safe_psql('postgres', "CREATE DATABASE $db");
sql(q{
	SET client_min_messages = warning;
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('realtime');
	GRANT USAGE ON SCHEMA public TO authenticated;
	CREATE FUNCTION stubborn(id int) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		WHILE id = 13 LOOP
			BEGIN
				PERFORM pg_sleep(10);
			EXCEPTION WHEN query_canceled THEN
				NULL;
			END;
		END LOOP;
		RETURN true;
	END $$;
	CREATE TABLE swallows (id int PRIMARY KEY);
	CREATE TABLE asked (id int PRIMARY KEY, n int, spare int);
	CREATE TABLE looked_up (id int PRIMARY KEY, n int);
	CREATE TABLE other (n int PRIMARY KEY);
	ALTER TABLE swallows ENABLE ROW LEVEL SECURITY;
	ALTER TABLE asked ENABLE ROW LEVEL SECURITY;
	CREATE POLICY p ON swallows FOR SELECT TO authenticated USING (stubborn(id));
	CREATE POLICY p ON asked FOR SELECT TO authenticated USING (n IN (SELECT o.n FROM other AS o) AND auth.uid() IS NOT NULL);
	INSERT INTO other VALUES (1);
	GRANT SELECT ON swallows, asked, looked_up, other TO authenticated;
	ALTER PUBLICATION plinth_realtime ADD TABLE swallows, asked, looked_up;
});
ok(workers_running($node, $db), 'workers run');

#
# Locks
#
my $one = subscribe('asked', 1);
my $two = subscribe('asked', 2);
my $plain = subscribe('looked_up', 1);
sql('INSERT INTO asked VALUES (1, 1), (2, 2)');
drain();
is(messages($one), 'INSERT 1', 'a policy with a sub-query judges');

my $holder = $node->background_psql($db);
$holder->query_safe('BEGIN; LOCK TABLE other IN ACCESS EXCLUSIVE MODE');
sql('INSERT INTO asked VALUES (3, 1); INSERT INTO looked_up VALUES (3, 1)');
drain();
is(messages($one), 'gap', 'who cannot be judged for a lock has a gap');
is(messages($two), 'gap', 'each of them');
is(messages($plain), 'INSERT 3', 'and nobody else');
$holder->query_safe('COMMIT');
sql('INSERT INTO asked VALUES (4, 1)');
drain();
is(messages($one), 'gap, INSERT 4', 'it goes on behind the gap');

#
# What commits with a row has happened before the row is judged
#
my $late = subscribe('asked', 3);
sql('BEGIN; INSERT INTO asked VALUES (5, 1); ALTER TABLE asked ADD more text; COMMIT');
drain();
like(messages($late), qr/^(INSERT 5|gap)$/, 'a column that is added between is no harm');
sql('INSERT INTO asked VALUES (6, 1)');
drain();
like(messages($late), qr/, INSERT 6$|^INSERT 6$/, 'and the next row arrives');

foreach my $change (
	[ 'a policy', "ALTER POLICY p ON asked USING (n = (SELECT 99))", 'ALTER POLICY p ON asked USING (n IN (SELECT o.n FROM other AS o) AND auth.uid() IS NOT NULL)' ],
	[ 'what the policy reads', 'DELETE FROM other', 'INSERT INTO other VALUES (1)' ],
	[ 'the layout of rows', 'ALTER TABLE asked DROP spare', 'ALTER TABLE asked ADD spare int' ])
{
	my ($what, $do, $undo) = @$change;
	my $sub = subscribe('asked', 4);

	sql("BEGIN; INSERT INTO asked SELECT max(id) + 1, 1 FROM asked; $do; COMMIT");
	drain();
	unlike(messages($sub), qr/INSERT/, "$what that changes with the row counts for the row");
	sql($undo);
	my $id = sql('INSERT INTO asked SELECT max(id) + 1, 1 FROM asked RETURNING id');
	drain();
	like(messages($sub), qr/INSERT $id$/, "$what: it goes on");
}

my $ended = subscribe('asked', 4);
sql('BEGIN; INSERT INTO asked VALUES (100, 1); REVOKE SELECT ON other FROM authenticated; COMMIT');
drain();
is(messages($ended), 'end a policy failed: permission denied for table other', 'a right that is gone ends it, with the reason');
sql('GRANT SELECT ON other TO authenticated');

#
# A policy that catches the cancel
#
my $swallowed = subscribe('swallows', 1);
$plain = subscribe('looked_up', 1);
sql('INSERT INTO swallows VALUES (1)');
drain();
is(messages($swallowed), 'INSERT 1', 'the policy judges');

my $pid = worker();
my $log = -s $node->logfile;
sql('INSERT INTO swallows VALUES (13)');
wait_for($node, $db, "SELECT count(*) = 1 FROM plinth.stat_workers
	WHERE database = current_database() AND worker = 'stream' AND pid <> $pid AND state IN ('running', 'idle')");
pass('the worker ended and another one came');
my $next = worker();
wait_for($node, $db, "SELECT NOT live FROM plinth.stat_subscriptions WHERE id = $swallowed->{id}");
like(messages($swallowed), qr/^gap, end the changes of "public.swallows" cannot be followed for now/, 'its followers are ended');
my ($code, $out, $err) = $node->psql($db, q{SET ROLE authenticated; SELECT realtime.subscribe('t', 'public', 'swallows')}, on_error_stop => 1);
like($err, qr/cannot be followed for now.*\n.*DETAIL.*could not be stopped/, 'nobody can follow it');
sql('INSERT INTO swallows VALUES (14); INSERT INTO looked_up VALUES (14, 1)');
drain();
is(messages($plain), 'gap, INSERT 14', 'everybody else has one gap, and goes on');
is(worker(), $next, 'the worker stays');
unlike(slurp_file($node->logfile, $log), qr/PANIC|terminated by signal/, 'nothing crashed');

$holder->quit;
$node->stop;
done_testing();
