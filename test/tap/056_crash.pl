#
# CRASH
# What was answered before a process is killed with signal 9 stands after it:
# sessions, refused attempts, ended sessions; and no sealed value is unreadable
# wherever the worker that reseals is killed.
#
# S3.5, S3.7, S9.7, S10.4
#
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;

use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $values = 2000;
my $node = plinth_cluster('crash', "plinth.password_hash_slots = 16\nfsync = on\n");
$node->safe_psql('postgres', qq(SET client_min_messages = warning;
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('auth');
	UPDATE plinth.rate_limit_tiers SET enabled = false;
	INSERT INTO plinth.settings (name, value) VALUES ('auth.failures_to_lock', '1000'), ('auth.refresh_grace', '"0"');
	ALTER DATABASE postgres SET plinth.password_memory = '19MB';
	CREATE TABLE vault (id int PRIMARY KEY, token bytea);
	ALTER TABLE vault OWNER TO plinth_owner;
	CREATE FUNCTION reseal(batch integer) RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS \$\$
		SELECT pg_sleep(0.02);
		WITH resealed AS (
			UPDATE public.vault AS v SET token = plinth.reseal(v.token, 'vault.token:' || v.id)
			WHERE v.id IN (SELECT o.id FROM public.vault AS o
				WHERE plinth.sealed_key_id(o.token) <> (SELECT k.key_id FROM plinth.keys AS k WHERE k.purpose = 'seal' AND k.state = 'active')
				ORDER BY o.id LIMIT least(batch, 20) FOR UPDATE)
			RETURNING v.id)
		SELECT count(*) FROM resealed
	\$\$;
	INSERT INTO vault SELECT i, plinth.seal(convert_to('token ' || i, 'UTF8'), 'vault.token:' || i) FROM generate_series(1, $values) AS i;
	INSERT INTO plinth.sealed_columns VALUES ('public.vault', 'token', 'public.reseal');));
$node->safe_psql('postgres', "
	INSERT INTO auth.users (id, email, email_confirmed_at, encrypted_password)
	SELECT ('00000000-0000-4000-8000-0000000000a' || n)::uuid, 'user' || n || '\@example.com', now(), plinth.auth_password_hash('correct horse')
	FROM generate_series(1, 3) AS n;");
ok(workers_running($node, 'postgres'), 'the workers are there');

# Run a script of pgbench by four clients until one of their backends, in the
# middle of a call, is killed; returns the lines that it has written down.
sub killed
{
	my ($name, $script, $call) = @_;
	my $folder = $node->basedir;
	my ($stdout, $stderr) = ('', '');
	append_to_file("$folder/$name.sql", $script);
	my $pgbench = IPC::Run::start(['pgbench', '-n', '-c', 4, '-j', 4, '-T', 600, '-f', "$folder/$name.sql", $node->connstr('postgres')],
		'<', \undef, '>', \$stdout, '2>', \$stderr, init => sub { chdir($folder) or die "chdir: $!" });
	# some are done, and one is at it
	my $lines = sub { -e "$folder/$name" ? split(/\n/, slurp_file("$folder/$name")) : () };
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		last if $lines->() >= 10;
		select(undef, undef, undef, 0.1);
	}
	my $pid = '';
	for (1 .. 1000)
	{
		$pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%$call%' AND pid <> pg_backend_pid() LIMIT 1");
		last if $pid ne '';
	}
	my $restarts = -s $node->logfile;
	ok($pid ne '' && kill(9, $pid), "$name: a backend is killed at work");
	$pgbench->finish;
	like($stderr, qr/aborted|terminated|closed|connection/, "$name: its clients see it");
	$node->wait_for_log(qr/database system is ready to accept connections/, $restarts);
	$node->poll_query_until('postgres', 'SELECT true');
	my @lines = $lines->();
	cmp_ok(scalar(@lines), '>=', 10, "$name: answers before that");
	return @lines;
}

#
# sign in: who was given a session has it, and no session is half there
#
my @tokens = killed('signed_in', "SELECT auth.sign_in_with_password('user1\@example.com', 'correct horse') ->> 'refresh_token' AS token \\gset
\\shell echo :token >> signed_in
", 'sign_in_with_password');
my $list = join(', ', map { "'$_'" } @tokens);
is($node->safe_psql('postgres', "SELECT count(*) FROM auth.refresh_tokens WHERE token_hash IN (SELECT sha256(t::bytea) FROM unnest(ARRAY[$list]) AS t)"),
	scalar(@tokens), 'all that were answered are there');
is($node->safe_psql('postgres', 'SELECT count(*) FROM auth.sessions AS s
		WHERE (SELECT count(*) FROM auth.refresh_tokens AS t WHERE t.session_id = s.id) <> 1'), '0', 'each session has its token');
is($node->safe_psql('postgres', "SELECT (SELECT count(*) FROM auth.events WHERE event = 'SIGNED_IN') = (SELECT count(*) FROM auth.sessions)"), 't', 'and its event');
is($node->safe_psql('postgres', "SELECT auth.refresh_session('$tokens[-1]') ->> 'token_type'"), 'bearer', 'it is good for another');

#
# refused: what the worker has committed before the answer is counted
#
ok(workers_running($node, 'postgres'), 'the workers are back');
my @refused = killed('refused', "DO \$\$ BEGIN PERFORM auth.sign_in_with_password('user2\@example.com', 'wrong horse');
	RAISE 'let in'; EXCEPTION WHEN invalid_authorization_specification THEN NULL; END \$\$;
SELECT plinth.auth_journal_pending() AS pending \\gset
\\if :pending = 0
\\shell echo refused >> refused
\\endif
", 'sign_in_with_password');
cmp_ok($node->safe_psql('postgres', "SELECT failures FROM auth.lockouts WHERE user_id = '00000000-0000-4000-8000-0000000000a2'"), '>=',
	scalar(@refused), 'each that was answered counts');

#
# a token used twice: the end of its session stands
#
ok(workers_running($node, 'postgres'), 'the workers are back once more');
my $token = $node->safe_psql('postgres', "SELECT auth.sign_in_with_password('user3\@example.com', 'correct horse') ->> 'refresh_token'");
$node->safe_psql('postgres', "SELECT auth.refresh_session('$token') IS NOT NULL");
my $thief = $node->background_psql('postgres', on_error_stop => 0);
my $thief_pid = $thief->query('SELECT pg_backend_pid()');
$thief->query('BEGIN');
$thief->query("SELECT auth.refresh_session('$token')");
ok(wait_for($node, 'postgres', 'SELECT plinth.auth_journal_pending() = 0'), 'the worker commits what the thief has done');
my $before = -s $node->logfile;
kill(9, $thief_pid);
$node->wait_for_log(qr/database system is ready to accept connections/, $before);
$thief->{run}->kill_kill;
is($node->safe_psql('postgres', "SELECT count(*) FROM auth.sessions WHERE user_id = '00000000-0000-4000-8000-0000000000a3' AND revoked_at IS NULL"), '0',
	'the session has ended, although the transaction was killed');

#
# rotation: wherever the worker is killed, every value opens
#
my $readable = q(SELECT count(*) FILTER (WHERE plinth.unseal(token, 'vault.token:' || id) = convert_to('token ' || id, 'UTF8')) FROM vault);
my $remaining = q(SELECT remaining FROM plinth.stat_rotation WHERE relation = 'public.vault');
ok(workers_running($node, 'postgres'), 'the workers are there for the rotation');
$node->safe_psql('postgres', 'SELECT plinth.rotate_keys()');
my $former = $values;
my $midway = 0;
for my $turn (1 .. 3)
{
	my $less = $former - 100;
	ok(wait_for($node, 'postgres', "SELECT remaining < $less OR remaining = 0 FROM plinth.stat_rotation WHERE relation = 'public.vault'"), "turn $turn: the worker reseals");
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM plinth.stat_workers WHERE database = current_database() AND worker LIKE '%upkeep%'");
	$before = -s $node->logfile;
	ok($pid =~ /^\d+$/ && kill(9, $pid), "turn $turn: it is killed");
	$node->wait_for_log(qr/database system is ready to accept connections/, $before);
	$node->poll_query_until('postgres', 'SELECT true');
	$former = $node->safe_psql('postgres', $remaining);
	$midway++ if $former > 0;
	is($node->safe_psql('postgres', $readable), $values, "turn $turn: every value opens");
}
cmp_ok($midway, '>=', 1, 'it was killed with values left');
ok(wait_for($node, 'postgres', "SELECT remaining = 0 FROM plinth.stat_rotation WHERE relation = 'public.vault'"), 'it goes on by itself to the end');
is($node->safe_psql('postgres', $readable), $values, 'and every value opens');

$node->stop;
done_testing();
