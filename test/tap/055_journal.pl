#
# JOURNAL
# What stands in the security journal over rollback, termination, restart and
# crash, with and without a worker, and what happens when it is full.
#
# S3.5, S3.7, S7.6, S7.7, S8.9
#
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;

use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = plinth_cluster('journal', qq(
plinth.journal_entries = 16
plinth.password_hash_slots = 16
max_connections = 30
));
my $user = '00000000-0000-4000-8000-0000000000a1';
my $session = '00000000-0000-4000-8000-0000000000c1';

$node->safe_psql('postgres', "SET client_min_messages = warning;
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('auth');
	UPDATE plinth.rate_limit_tiers SET enabled = false;
	ALTER DATABASE postgres SET plinth.password_memory = '19MB';");
$node->safe_psql('postgres', "
	INSERT INTO auth.users (id, email, email_confirmed_at, encrypted_password)
	SELECT ('00000000-0000-4000-8000-0000000000a' || n)::uuid, 'user' || n || '\@example.com', now(), plinth.auth_password_hash('correct horse')
	FROM generate_series(1, 3) AS n;");
ok(workers_running($node, 'postgres'), 'the workers are there');

# Sign in, and the SQLSTATE or 'in'.
sub attempt
{
	my ($n, $password) = @_;
	my ($code, $stdout, $stderr) = $node->psql('postgres',
		"\\set VERBOSITY sqlstate\nSELECT auth.sign_in_with_password('user$n\@example.com', '$password') IS NOT NULL");
	return $code == 0 ? 'in' : $stderr =~ /ERROR:  (\w{5})/ ? $1 : $stderr;
}
sub pending
{
	return $node->safe_psql('postgres', 'SELECT plinth.auth_journal_pending()');
}
sub settled
{
	return wait_for($node, 'postgres', 'SELECT plinth.auth_journal_pending() = 0');
}
sub failures
{
	my ($n) = @_;
	return $node->safe_psql('postgres',
		"SELECT coalesce(sum(failures), 0) FROM auth.lockouts WHERE user_id = '00000000-0000-4000-8000-0000000000a$n'");
}
# Put an entry and leave before it is committed.
sub put_and_leave
{
	my ($kind, $user_id, $subject) = @_;
	my ($code, $stdout, $stderr) = $node->psql('postgres',
		"\\set VERBOSITY sqlstate\nSET statement_timeout = '300ms'; SELECT plinth.auth_journal('$kind', $user_id, $subject)");
	return $stderr;
}
sub open_session
{
	$node->safe_psql('postgres', "DELETE FROM auth.sessions;
		INSERT INTO auth.sessions (id, user_id, not_after) VALUES ('$session', '$user', now() + interval '1 day')");
	return;
}
sub authenticate
{
	my ($code, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY sqlstate
		SELECT auth.authenticate(plinth.jwt_sign(jsonb_build_object('sub', '$user', 'session_id', '$session',
			'role', 'authenticated'))) IS NOT NULL");
	return $code == 0 ? 'in' : $stderr =~ /ERROR:  (\w{5})/ ? $1 : $stderr;
}

#
# with a worker: what is refused is committed, and stands after a crash
#
$node->psql('postgres', "BEGIN; SELECT auth.sign_in_with_password('user1\@example.com', 'wrong horse'); ROLLBACK;");
open_session();
is(authenticate(), 'in', 'a session');
$node->safe_psql('postgres', "INSERT INTO auth.refresh_tokens (session_id, token_hash, expires_at, used_at)
	VALUES ('$session', sha256('spent'), now() + interval '1 day', now() - interval '1 hour')");
$node->psql('postgres', "BEGIN; SELECT auth.refresh_session('spent'); ROLLBACK;");
ok(settled(), 'the worker commits');
$node->stop('immediate');
$node->start;
is(failures(1), '1', 'a failed attempt stands after rollback and crash');
is($node->safe_psql('postgres', "SELECT count(*) FROM auth.events WHERE event = 'SIGN_IN_FAILED' AND user_id = '$user'"), '1', 'and its event');
is(authenticate(), '28000', 'so does the end of a session');
ok(workers_running($node, 'postgres'), 'the workers are back');

# at once, many count as many
$node->safe_psql('postgres', "INSERT INTO plinth.settings (name, value) VALUES ('auth.failures_to_lock', '1000')");
my $script = $node->basedir . '/wrong.sql';
append_to_file($script, q{DO $$ BEGIN PERFORM auth.sign_in_with_password('user3@example.com', 'wrong horse');
	RAISE 'let in'; EXCEPTION WHEN invalid_authorization_specification THEN NULL; END $$;
});
$node->command_ok([ 'pgbench', '-n', '-c', '8', '-j', '2', '-t', '5', '-f', $script, $node->connstr('postgres') ], 'eight at a time fail');
ok(settled(), 'all is committed');
is(failures(3), '40', 'each counts');
is($node->safe_psql('postgres', "SELECT failed_attempts FROM auth.users WHERE email = 'user3\@example.com'"), '40', 'for the account too');
$node->safe_psql('postgres', "DELETE FROM plinth.settings; DELETE FROM auth.lockouts; DELETE FROM auth.events");

#
# without a worker: entries act, others sign in
#
$node->safe_psql('postgres', 'SELECT plinth.disable()');
open_session();
is(attempt(1, 'wrong horse'), '28000', 'refused without a worker') for 1 .. 4;
is(attempt(2, 'correct horse'), 'in', 'sign-in goes on');
is(pending(), '4', 'four wait');

# a backend that is ended in its wait leaves its entry
my $waiting = $node->background_psql('postgres', on_error_stop => 0);
my $pid = $waiting->query_safe('SELECT pg_backend_pid()');
$waiting->query_until(qr/^begun$/m, "\\echo begun\nSELECT auth.sign_in_with_password('user1\@example.com', 'wrong horse');\n");
ok(wait_for($node, 'postgres', 'SELECT plinth.auth_journal_pending() = 5'), 'the fifth is in the journal');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$waiting->{run}->kill_kill;
like(put_and_leave('revocation', "'$user'", "'$session'"), qr/57014/, 'a wait can be cancelled');
is(pending(), '6', 'and so is an end of a session');
is(failures(1), '0', 'no table shows it');
is(attempt(1, 'correct horse'), '28000', 'five failures lock all the same');
is(authenticate(), '28000', 'and the session has ended');

# over a clean restart, in a file of the server's own
$node->stop;
my $file = $node->data_dir . '/plinth_journal';
ok(-f $file, 'what waits is saved');
is(sprintf('%o', (stat $file)[2] & 07777), '600', 'for the server alone');
$node->start;
ok(!-f $file, 'and taken up');
is(pending(), '7', 'all of it');
is(attempt(1, 'correct horse'), '28000', 'the lock holds');
is(authenticate(), '28000', 'so does the end of the session');
is(attempt(2, 'correct horse'), 'in', 'others sign in');

# a worker commits it when there is one again
$node->safe_psql('postgres', 'SELECT plinth.enable()');
ok(settled(), 'the worker is back and commits');
is(failures(1), '5', 'the failures are counted');
is($node->safe_psql('postgres', "SELECT count(*) FROM auth.lockouts WHERE user_id = '$user' AND locked_until > now()
	AND locked_until <= last_failure_at + interval '1 min'"), '1', 'the lock is that of the fifth');
is($node->safe_psql('postgres', "SELECT revoked_at IS NOT NULL FROM auth.sessions WHERE id = '$session'"), 't', 'the session is revoked');
$node->stop;
ok(!-f $file, 'nothing to save');

# a damaged file is reported, and that is all
append_to_file($file, 'not a journal');
my $log = -s $node->logfile;
$node->start;
like(slurp_file($node->logfile, $log), qr/ignoring file "plinth_journal".*Failed attempts that were not committed/s, 'a damaged file is reported');
ok(!-f $file, 'and removed');
is(failures(1), '5', 'what was committed is there');

#
# full: refused before the password is looked at
#
$node->safe_psql('postgres', 'SELECT plinth.disable()');
$node->safe_psql('postgres', 'DELETE FROM auth.lockouts');
put_and_leave('failure', 'NULL', 'NULL') for 1 .. 12;
is(pending(), '12', 'all but a quarter of the places are taken');
is(attempt(2, 'wrong horse'), '28000', 'the last attempt that fits');
is(attempt(2, 'wrong horse'), '53000', 'full: refused');
is(attempt(2, 'correct horse'), '53000', 'with the right password too');
is(attempt(9, 'wrong horse'), '53000', 'and without an account');
is(pending(), '13', 'nothing was added');
put_and_leave('failure', 'NULL', 'NULL') for 1 .. 3;
like(put_and_leave('failure', 'NULL', 'NULL'), qr/53000/, 'the last place is the last');
my ($code, $stdout, $stderr) = $node->psql('postgres', "SELECT plinth.auth_journal('failure', NULL)");
like($stderr, qr/security journal is full.*All 16 entries wait.*plinth\.stat_workers/s, 'the refusal says why and what to do');

# what a database leaves behind goes with it
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('postgres', 'SELECT plinth.enable()');
ok(settled(), 'the worker makes room');
is(attempt(2, 'correct horse'), 'in', 'and all is well');
$node->safe_psql('other', 'ALTER DATABASE other SET plinth.enabled = off');
$node->safe_psql('other', "SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE; SELECT plinth.install('auth')");
$node->psql('other', "SELECT plinth.auth_journal('failure', NULL)") for 1 .. 2;
is($node->safe_psql('other', 'SELECT plinth.auth_journal_pending()'), '2', 'entries of another database');
is(pending(), '0', 'which are not ours');
$node->safe_psql('postgres', 'DROP DATABASE other');
$node->stop;
ok(!-f $file, 'are gone with it');

#
# S7.7: a crash loses what nobody has committed, and nothing else
#
$node->start;
ok(workers_running($node, 'postgres'), 'the workers are there');
$node->safe_psql('postgres', 'DELETE FROM auth.lockouts');
is(attempt(1, 'wrong horse'), '28000', 'a failure');
ok(settled(), 'is committed');
$node->safe_psql('postgres', 'SELECT plinth.disable()');
is(attempt(1, 'wrong horse'), '28000', 'another is not');
$node->stop('immediate');
$node->start;
is(pending(), '0', 'the crash has emptied the journal');
is(failures(1), '1', 'what was committed stands');

#
# S7.6: without preloading
#
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
for my $call ("plinth.auth_journal('failure', NULL)", 'plinth.auth_journal_ready()', 'plinth.auth_lock_ends(NULL)')
{
	($code, $stdout, $stderr) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT $call");
	like($stderr, qr/55000: there is no security journal without preloading plinth.*plinth\.preflight\(\)/s, "not preloaded: $call");
}
is(pending(), '0', 'there is nothing in it');

$node->stop;
done_testing();
