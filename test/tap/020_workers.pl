# Workers find their databases, leave when a command wants one for itself,
# come back after failures, and end with the extension.

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = plinth_cluster('workers');
my $count_workers =
  q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('plinth stream', 'plinth upkeep')};
my $workers_of = sub {
	my $database = shift;
	return $node->safe_psql('postgres', "$count_workers AND datname = '$database'");
};
my $pids_of = sub {
	my $database = shift;
	return $node->safe_psql('postgres',
		qq{SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_activity
		   WHERE backend_type IN ('plinth stream', 'plinth upkeep') AND datname = '$database'});
};

is($node->safe_psql('postgres', $count_workers), '0',
	'no worker where the extension is not');

# --- found without configuration
$node->safe_psql('postgres', 'CREATE DATABASE one');
my $begin = time;
$node->safe_psql('one', 'CREATE EXTENSION plinth CASCADE');
ok(workers_running($node, 'one'), 'the workers find a new database');
note('after ' . (time - $begin) . ' s');
is($node->safe_psql('one', 'SELECT count(*) FROM plinth.stat_workers WHERE failures > 0'),
	'0', 'without a failure');

# --- a transaction that is rolled back
$node->safe_psql('postgres', 'BEGIN; CREATE EXTENSION plinth CASCADE; ROLLBACK');
is($workers_of->('postgres'), '0', 'no worker after a rollback');

# --- as a template
$begin = time;
$node->safe_psql('postgres', 'CREATE DATABASE two TEMPLATE one');
pass('a database with workers is a template at once');
note('after ' . (time - $begin) . ' s');
ok(workers_running($node, 'two'), 'the copy has workers');
ok(workers_running($node, 'one'), 'and so has the template again');

# --- renamed
$begin = time;
$node->safe_psql('postgres', 'ALTER DATABASE two RENAME TO three');
pass('a database with workers is renamed at once');
note('after ' . (time - $begin) . ' s');
ok(workers_running($node, 'three'), 'its workers come back');

# --- a command that fails gives the database back
my ($code, $out, $err) = $node->psql('postgres', 'ALTER DATABASE three RENAME TO one');
like($err, qr/already exists/, 'a rename to a name that is taken fails');
ok(workers_running($node, 'three'), 'the workers come back after it');

# --- by somebody who may not
$node->safe_psql('postgres', 'CREATE ROLE stranger LOGIN CREATEDB');
my $before = $pids_of->('three');
for my $command (
	'DROP DATABASE three',
	'DROP DATABASE three WITH (FORCE)',
	'ALTER DATABASE three RENAME TO four',
	'ALTER DATABASE three SET TABLESPACE pg_default',
	'CREATE DATABASE five TEMPLATE three')
{
	($code, $out, $err) =
	  $node->psql('postgres', $command, extra_params => [ '-U', 'stranger' ]);
	like($err, qr/must be owner|permission denied/, "refused to a stranger: $command");
}
is($pids_of->('three'), $before, 'and the workers were not disturbed');
ok($before =~ /^\d+ \d+$/, 'both of them');

# --- by somebody who may, and is no superuser
$node->safe_psql('postgres', 'ALTER DATABASE three IS_TEMPLATE true');
$node->safe_psql('postgres', 'CREATE DATABASE five TEMPLATE three', extra_params => [ '-U', 'stranger' ]);
ok(workers_running($node, 'five'), "a stranger's copy of a template has workers");
$node->safe_psql('postgres', 'DROP DATABASE five', extra_params => [ '-U', 'stranger' ]);
ok(workers_running($node, 'three'), 'and so has the template');
$node->safe_psql('postgres', 'ALTER DATABASE three IS_TEMPLATE false');

# --- the launcher itself
my $launcher = q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'plinth launcher'};
my $launcher_pid = $node->safe_psql('postgres', $launcher);
$before = $pids_of->('three');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($launcher_pid)");
ok(wait_for($node, 'postgres', "SELECT ($launcher AND pid <> $launcher_pid) IS NOT NULL"),
	'a launcher that was terminated comes back');
$node->safe_psql('postgres', 'CREATE DATABASE five TEMPLATE one');
ok(workers_running($node, 'five'), 'it finds a new database');
is($pids_of->('three'), $before, 'and leaves running workers alone');
$node->safe_psql('postgres', 'DROP DATABASE five');

# --- dropped
$begin = time;
$node->safe_psql('postgres', 'DROP DATABASE three');
pass('a database with workers is dropped at once');
note('after ' . (time - $begin) . ' s');
$node->safe_psql('postgres', 'CREATE DATABASE six TEMPLATE one');
ok(workers_running($node, 'six'), 'another copy has workers');
$begin = time;
$node->safe_psql('postgres', 'DROP DATABASE six WITH (FORCE)');
pass('and is dropped with FORCE');
note('after ' . (time - $begin) . ' s');
is($node->safe_psql('one',
		q{SELECT count(*) FROM plinth.stat_workers WHERE database <> 'one'}),
	'0', 'nothing of them is left');

# --- disable and enable
$node->safe_psql('one', 'SELECT plinth.disable()');
is($workers_of->('one'), '0', 'disable() returns when the workers have left');
is($node->safe_psql('one', q{SELECT ok, remedy FROM plinth.preflight() WHERE requirement = 'workers'}),
	'f|SELECT plinth.enable();', 'preflight says so');
$node->restart;
is($workers_of->('one'), '0', 'a restart does not bring them back');
$node->safe_psql('one', 'SELECT plinth.enable()');
ok(workers_running($node, 'one'), 'enable() does');
$node->safe_psql('one', 'BEGIN; SELECT plinth.disable(); ROLLBACK');
ok(workers_running($node, 'one'), 'a disable() that is rolled back does not last');
($code, $out, $err) = $node->psql('one', 'SET ROLE authenticated; SELECT plinth.disable()');
like($err, qr/permission denied/, 'disable() is not for everybody');

# --- told to end by an administrator
my $upkeep = q{SELECT pid FROM plinth.stat_workers WHERE database = 'one' AND worker = 'upkeep'};
my $pid = $node->safe_psql('one', $upkeep);
$node->safe_psql('one', "SELECT pg_terminate_backend($pid)");
ok(wait_for($node, 'one',
		"SELECT pid <> $pid AND restarts > 0 FROM plinth.stat_workers WHERE database = 'one' AND worker = 'upkeep'"),
	'a worker that was terminated comes back');

# --- SIGKILL: the server starts anew and everything works
ok(workers_running($node, 'one'), 'workers before the crash');
$pid = $node->safe_psql('one', $upkeep);
kill 'KILL', $pid;
ok($node->poll_query_until('postgres', 'SELECT true'), 'the server comes back');
$begin = time;
ok(wait_for($node, 'one',
		"SELECT count(*) = 2 FROM plinth.stat_workers WHERE database = 'one' AND pid IS NOT NULL AND pid <> $pid"),
	'and the workers with it');
note('after ' . (time - $begin) . ' s');
is($node->safe_psql('one', q{SELECT plinth.install('auth')}), '0.1.0',
	'installing works after it');

# --- no process to be had: a status, not a loop
$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
$node->restart;
ok(wait_for($node, 'one',
		q{SELECT count(*) = 1 FROM plinth.stat_workers WHERE database = 'one' AND state = 'parked'
		  AND last_error LIKE '%max_worker_processes%'}),
	'a worker without a process is parked and says why');
like($node->safe_psql('one', q{SELECT remedy FROM plinth.preflight() WHERE requirement = 'workers'}),
	qr/^ALTER SYSTEM SET max_worker_processes = 11/, 'preflight has the remedy');
$node->append_conf('postgresql.conf', 'max_worker_processes = 32');
$node->restart;
ok(workers_running($node, 'one'), 'with processes both run');

# --- wal_level below logical: the rest works
$node->append_conf('postgresql.conf', 'wal_level = replica');
$node->restart;
ok(wait_for($node, 'one',
		q{SELECT count(*) FILTER (WHERE worker = 'upkeep' AND pid IS NOT NULL) = 1
			AND count(*) FILTER (WHERE worker = 'stream' AND state = 'parked' AND last_error LIKE '%wal_level%') = 1
		  FROM plinth.stat_workers WHERE database = 'one'}),
	'without logical WAL the stream worker is parked and the other works');
$node->append_conf('postgresql.conf', 'wal_level = logical');
$node->restart;
ok(workers_running($node, 'one'), 'with logical WAL both run');

# --- no slot to be had: a failure that is shown, and mended without a restart
$node->append_conf('postgresql.conf', 'max_replication_slots = 1');
$node->safe_psql('one', 'SELECT plinth.disable()');
$node->restart;
$node->safe_psql('one', q{SELECT pg_create_physical_replication_slot('taken', true)});
$node->safe_psql('one', 'SELECT plinth.enable()');
ok(wait_for($node, 'one',
		q{SELECT count(*) = 1 FROM plinth.stat_workers WHERE database = 'one' AND worker = 'stream'
		  AND state = 'starting' AND pid IS NULL AND failures > 0 AND last_error LIKE '%slot%'}),
	'without a slot the stream worker fails and says why');
like($node->safe_psql('one', q{SELECT remedy FROM plinth.preflight() WHERE requirement = 'max_replication_slots'}),
	qr/^ALTER SYSTEM SET max_replication_slots = 11/, 'preflight has the remedy');
$node->safe_psql('one', q{SELECT pg_drop_replication_slot('taken')});
ok(workers_running($node, 'one'), 'it comes back by itself when there is one');
$node->append_conf('postgresql.conf', 'max_replication_slots = 10');
$node->restart;
ok(workers_running($node, 'one'), 'workers before a shutdown');

# --- fast shutdown
$begin = time;
$node->stop('fast');
pass('a fast shutdown is fast');
note('after ' . (time - $begin) . ' s');
$node->start;

# --- the extension goes, in three ways
for my $drop ('DROP EXTENSION plinth', 'DROP EXTENSION pgcrypto CASCADE',
	'DROP SCHEMA plinth CASCADE')
{
	$node->safe_psql('postgres', 'CREATE DATABASE goes');
	$node->safe_psql('goes', 'CREATE EXTENSION plinth CASCADE');
	ok(workers_running($node, 'goes'), "workers before $drop");
	$node->safe_psql('goes',
		'CREATE PUBLICATION plinth_realtime; ALTER PUBLICATION plinth_realtime OWNER TO plinth_owner');
	$node->safe_psql('goes', $drop);
	is($node->safe_psql('goes', 'SELECT count(*) FROM pg_publication'), '0',
		'the publication goes with the extension');
	$begin = time;
	ok(wait_for($node, 'postgres', "SELECT ($count_workers AND datname = 'goes') = 0"),
		"the workers end with $drop");
	ok(wait_for($node, 'postgres',
			q{SELECT count(*) = 0 FROM pg_replication_slots WHERE database = 'goes'}),
		'and no slot is left');
	note('after ' . (time - $begin) . ' s');
	$node->safe_psql('postgres', 'DROP DATABASE goes');
}

# --- DROP EXTENSION that is refused or rolled back
$node->safe_psql('one', 'BEGIN; DROP EXTENSION plinth CASCADE; ROLLBACK');
ok(workers_running($node, 'one'), 'the workers are back after a rollback');

# --- a publication of that name that is somebody else's
$node->safe_psql('postgres', 'CREATE DATABASE kept');
$node->safe_psql('kept', 'CREATE EXTENSION plinth CASCADE; CREATE PUBLICATION plinth_realtime; DROP EXTENSION plinth');
is($node->safe_psql('kept', 'SELECT count(*) FROM pg_publication'), '1',
	"somebody else's publication stays");

# --- a schema that somebody else has prepared
$node->safe_psql('postgres', 'CREATE DATABASE prepared');
for my $schema ('CREATE SCHEMA plinth AUTHORIZATION stranger',
	'CREATE SCHEMA plinth; GRANT CREATE ON SCHEMA plinth TO stranger',
	'CREATE SCHEMA plinth; CREATE TABLE plinth.bait ()',
	'CREATE SCHEMA plinth; CREATE FUNCTION plinth.bait() RETURNS int RETURN 1')
{
	($code, $out, $err) = $node->psql('prepared',
		"$schema; SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE");
	like($err, qr/schema "plinth" exists and cannot be used/, "refused: $schema");
	$node->safe_psql('prepared', 'DROP SCHEMA plinth CASCADE');
}
$node->safe_psql('prepared', 'CREATE SCHEMA plinth; CREATE EXTENSION plinth CASCADE; DROP EXTENSION plinth; CREATE EXTENSION plinth');
ok(workers_running($node, 'prepared'), 'an empty schema of a superuser is used');

my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC|server process .* was terminated by signal (?!9)/, 'nothing else went wrong');

$node->stop;
done_testing();
