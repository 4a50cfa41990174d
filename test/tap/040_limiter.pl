#
# LIMITER
# What only a server of its own can show: exact counts under concurrency, a
# full table, restarts, crashes, standbys, and a library not preloaded.
#
# S7.1, S7.2, S7.5, S7.6, S7.7
#
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $user = '00000000-0000-4000-8000-0000000000a1';
my $saved_file = 'plinth_rate_limits';

sub new_server
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(allows_streaming => 1);
	$node->append_conf('postgresql.conf', join("\n",
		"shared_preload_libraries = 'plinth'", 'wal_level = logical', @settings) . "\n");
	$node->start;
	$node->safe_psql('postgres', "SET client_min_messages = warning;
		CREATE EXTENSION plinth CASCADE;
		INSERT INTO plinth.rate_limit_tiers VALUES ('three', 3, 36000), ('two', 2, 36000), ('short', 3, 1);");
	return $node;
}

sub allowed
{
	my ($node, $identifier, $tier) = @_;
	return $node->safe_psql('postgres',
		"SELECT allowed FROM plinth.check_rate_limit('$identifier', '$tier')");
}

# Take one of a bucket that gets one back in ten hours: "t", or "f".
sub taken
{
	my ($node, $key, $burst, $cost) = @_;
	$cost //= 1;
	return $node->safe_psql('postgres',
		"SELECT allowed FROM plinth.rate_limit('$key', $burst, 1, '10 hours', $cost)");
}

sub total
{
	my ($node, $column) = @_;
	return $node->safe_psql('postgres',
		"SELECT $column FROM plinth.rate_limit_status WHERE kind = 'total'");
}

my $node = new_server('limiter');

#
# S7.2: of 8 clients' calls exactly as many pass as the limit says, those that
# are rolled back included, on an open window as on one that each might open.
#
$node->safe_psql('postgres', "CREATE TABLE passed (round int)");
my $script = $node->basedir . '/one_key.sql';
append_to_file($script, <<"SQL");
BEGIN;
INSERT INTO passed SELECT :round
	WHERE plinth.check_rate_limit('$user'::uuid, 'round ' || :round, 100, 600);
COMMIT;
BEGIN;
SELECT plinth.check_rate_limit('$user'::uuid, 'rolled back ' || :round, 100, 600);
ROLLBACK;
SQL
for my $round (1 .. 5)
{
	$node->command_ok(
		[ 'pgbench', '-n', '-c', '8', '-j', '2', '-t', '50', '-D', "round=$round",
			'-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
		"8 clients make 800 calls, round $round");
}
is($node->safe_psql('postgres', 'SELECT round, count(*) FROM passed GROUP BY round ORDER BY round'),
	join("\n", map { "$_|100" } 1 .. 5), 'exactly the limit passed');
is($node->safe_psql('postgres',
		"SELECT count(*), min(request_count), max(request_count) FROM plinth.rate_limits WHERE endpoint LIKE 'ro%'"),
	'10|101|101', 'rolled back calls were counted, and none beyond limit + 1');
is($node->safe_psql('postgres',
		"SELECT sum(allowed), sum(refused) FROM plinth.rate_limit_status WHERE endpoint LIKE 'ro%'"),
	'1000|3000', 'every call is counted as allowed or refused');

# The same without a round trip between calls, so that they truly meet: each
# client calls 50,000 times in one statement.
$node->safe_psql('postgres', 'CREATE TABLE counted (passed bigint)');
my $loop = $node->basedir . '/loop.sql';
append_to_file($loop, <<"SQL");
INSERT INTO counted SELECT count(*) FROM generate_series(1, 50000)
	WHERE plinth.check_rate_limit('$user'::uuid, 'loop', 300000, 600);
SQL
$node->command_ok(
	[ 'pgbench', '-n', '-c', '8', '-j', '2', '-t', '1', '-f', $loop,
		'-h', $node->host, '-p', $node->port, 'postgres' ],
	'8 clients make 400,000 calls');
is($node->safe_psql('postgres', 'SELECT count(*), sum(passed) FROM counted'), '8|300000', 'exactly the limit passed');

# The same of the smooth limit: 8 clients at once take exactly the burst, on a
# bucket that is there and on one that each might make.  Where half of them
# name another rate all the time, what is lacking beyond the smaller burst is
# forgotten each time, and nothing else.
$node->safe_psql('postgres', 'CREATE TABLE poured (key text, passed bigint)');
append_to_file($node->basedir . '/bucket.sql', <<'SQL');
INSERT INTO poured SELECT 'loop', count(*) FROM generate_series(1, 20000)
	WHERE (plinth.rate_limit('loop', 100000, 1, '5 minutes')).allowed;
SQL
append_to_file($node->basedir . '/bucket_first.sql', <<'SQL');
INSERT INTO poured SELECT 'first ' || n, count(*) FROM generate_series(1, 2000) AS n
	WHERE (plinth.rate_limit('first ' || n, 3, 1, '10 hours')).allowed GROUP BY n;
SQL
append_to_file($node->basedir . '/bucket_terms.sql', <<'SQL');
INSERT INTO poured SELECT 'terms', count(*) FROM generate_series(1, 5000) AS n
	WHERE (plinth.rate_limit('terms', 10000 + :client_id % 2, 1, '30 minutes')).allowed;
SQL
for my $name ('bucket', 'bucket_first', 'bucket_terms')
{
	$node->command_ok(
		[ 'pgbench', '-n', '-c', '8', '-j', '2', '-t', '1', '-f', $node->basedir . "/$name.sql",
			'-h', $node->host, '-p', $node->port, 'postgres' ],
		"8 clients take from buckets ($name)");
}
is($node->safe_psql('postgres', "SELECT sum(passed) FROM poured WHERE key = 'loop'"), '100000', 'exactly the burst passed');
is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT sum(passed) AS passed FROM poured WHERE key LIKE 'first %' GROUP BY key) AS k
		WHERE passed = 3"), '2000', 'of each new key too');
is($node->safe_psql('postgres', "SELECT sum(passed) BETWEEN 10000 AND 30001 FROM poured WHERE key = 'terms'"), 't',
	'under changing terms at least the smaller burst, and half of the rest at most');
is($node->safe_psql('postgres', "SELECT remaining <= 1 FROM plinth.rate_limit('terms', 10001, 1, '30 minutes', 0)"), 't',
	'and the bucket is empty after it');

# S7.3: backends that are cancelled, terminated or left by their client in the
# middle of a check hold nothing up, and what they have counted is whole.
for my $end ('pg_cancel_backend(pid)', 'pg_terminate_backend(pid)')
{
	my @sessions = map { $node->background_psql('postgres', on_error_stop => 0) } 1 .. 4;
	$_->query_until(qr/begun/, "\\echo begun
SET application_name = 'endless';
SELECT count(*) FROM generate_series(1, 2000000000) AS n
	WHERE plinth.check_rate_limit('$user'::uuid, 'key ' || n % 50, 1000000, 600) AND (plinth.rate_limit('key ' || n % 50, 100000, 1, '5 minutes')).allowed;
") for @sessions;
	ok($node->poll_query_until('postgres',
			"SELECT count(*) = 4 FROM pg_stat_activity WHERE application_name = 'endless' AND state = 'active'"),
		'four sessions check without end');
	$node->safe_psql('postgres', "SELECT $end FROM pg_stat_activity WHERE application_name = 'endless'");
	ok($node->poll_query_until('postgres',
			"SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'endless' AND state = 'active')"),
		"all end at once by $end");
	is($node->safe_psql('postgres', "SELECT count(*) FROM generate_series(0, 49) AS n
			WHERE plinth.check_rate_limit('$user'::uuid, 'key ' || n, 1000000, 600)
				AND (plinth.rate_limit('key ' || n, 100000, 1, '5 minutes')).allowed"),
		'50', 'and their keys go on');
	eval { $_->quit } for @sessions;
}
is($node->safe_psql('postgres', "SELECT count(*) FROM plinth.rate_limits WHERE endpoint LIKE 'key %' AND request_count > 1000001"),
	'0', 'no count is torn');

# A window that ends is followed by a new one, which has its own count.
is(allowed($node, 'brief', 'short') . allowed($node, 'brief', 'short') . allowed($node, 'brief', 'short'),
	'ttt', 'three of a short window pass');
ok($node->poll_query_until('postgres',
		"SELECT NOT EXISTS (SELECT FROM plinth.rate_limits WHERE identifier = 'brief')"),
	'the short window ends');
is($node->safe_psql('postgres', "SELECT allowed, remaining FROM plinth.check_rate_limit('brief', 'short')"),
	't|2', 'and the next begins anew');

# A tier's change acts in a session that has read the tiers before.
my $session = $node->background_psql('postgres');
is($session->query_safe("SELECT remaining FROM plinth.check_rate_limit('change', 'three')"), '2', 'as the tier was');
$node->safe_psql('postgres', "UPDATE plinth.rate_limit_tiers SET requests = 10 WHERE name = 'three'");
is($session->query_safe("SELECT remaining FROM plinth.check_rate_limit('change', 'three')"), '8', 'as the tier is');
# COPY, TRUNCATE and a session that replays changes do not slip by
$node->safe_psql('postgres', "SET session_replication_role = replica; UPDATE plinth.rate_limit_tiers SET requests = 3 WHERE name = 'three'");
is($session->query_safe("SELECT remaining FROM plinth.check_rate_limit('change', 'three')"), '0', 'as it is again');
$session->quit;

#
# A clean restart keeps what is open (and S7.5: in a file for the server's
# eyes only); a crash forgets it.
#
allowed($node, 'kept', 'three') for 1 .. 2;
allowed($node, 'spent', 'two') for 1 .. 3;
taken($node, 'bucket', 3) for 1 .. 2;
my $before = $node->safe_psql('postgres',
	"SELECT identifier, endpoint, request_count FROM plinth.rate_limits WHERE endpoint <> 'short' ORDER BY 1, 2");
my $ends = $node->safe_psql('postgres',
	"SELECT extract(epoch FROM window_end) FROM plinth.rate_limits WHERE identifier = 'kept'");
$node->stop('fast');
my $path = $node->data_dir . "/$saved_file";
ok(-s $path, 'a clean shutdown saves the windows');
is(sprintf('%04o', (stat $path)[2] & 07777), '0600', 'for the server alone');
my $copy = slurp_file($path);
$node->start;
is($node->safe_psql('postgres',
		"SELECT identifier, endpoint, request_count FROM plinth.rate_limits WHERE endpoint <> 'short' ORDER BY 1, 2"),
	$before, 'a clean restart keeps the counts');
cmp_ok($node->safe_psql('postgres',
		"SELECT extract(epoch FROM window_end) FROM plinth.rate_limits WHERE identifier = 'kept'"),
	'>=', $ends, 'and what was left of the window');
is(allowed($node, 'kept', 'three') . allowed($node, 'kept', 'three'), 'tf', 'the third passes, the fourth does not');
is(allowed($node, 'spent', 'two'), 'f', 'a spent key stays spent');
is(taken($node, 'bucket', 3) . taken($node, 'bucket', 3), 'tf', 'a bucket has what was left in it');
ok(!-e $path, 'the file is gone once it is read');

$node->stop('immediate');
ok(!-e $path, 'an immediate shutdown saves nothing');
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM plinth.rate_limits'), '0', 'a crash forgets the windows');
is(allowed($node, 'spent', 'two'), 't', 'and limits begin anew');

# the server's own restart after a backend's crash
allowed($node, 'crash', 'three');
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->reload;
my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'");
kill 'KILL', $pid;
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM plinth.rate_limits)"),
	'so does a restart after a crash');
is($node->safe_psql('postgres', "SELECT remaining FROM plinth.check_rate_limit('crash', 'three')"), '2', 'with a working limiter');

#
# A file that is not ours, or not whole, is said in the log and ignored.
#
$node->stop('fast');
my %bad = (
	'cut short' => substr($copy, 0, length($copy) - 1),
	'longer' => $copy . 'x',
	'changed' => substr($copy, 0, 100) . chr(ord(substr($copy, 100, 1)) ^ 1) . substr($copy, 101),
	'of another cluster' => substr($copy, 0, 8) . ('x' x 8) . substr($copy, 16),
	'empty' => '',
	'no such file at all' => "hello\n");
for my $kind (sort keys %bad)
{
	open my $file, '>:raw', $path or die $!;
	print $file $bad{$kind};
	close $file;
	my $offset = -s $node->logfile;
	$node->start;
	like(slurp_file($node->logfile, $offset), qr/LOG:  ignoring file "$saved_file"/, "a file $kind is reported");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM plinth.rate_limits'), '0', 'and not used');
	ok(!-e $path, 'and removed');
	$node->stop('fast');
	unlink $path;
}
$node->start;

#
# A standby counts for itself, and sees changes of tiers.
#
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('limiter_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', 'hot_standby = on');
$standby->start;
allowed($node, 'both', 'two') for 1 .. 3;
is(join('', map { allowed($standby, 'both', 'two') } 1 .. 3), 'ttf', 'a standby enforces limits of its own');
taken($node, 'both', 1);
is(taken($standby, 'both', 1) . taken($standby, 'both', 1), 'tf', 'and has buckets of its own');
is($standby->safe_psql('postgres', "SELECT plinth.check_rate_limit('$user'::uuid, 'standby', 1, 60) FROM generate_series(1, 2)"),
	"t\nf", 'in both forms');
my $reader = $standby->background_psql('postgres');
is($reader->query_safe("SELECT remaining FROM plinth.check_rate_limit('replayed', 'two')"), '1', 'a session on the standby');
$node->safe_psql('postgres', "UPDATE plinth.rate_limit_tiers SET requests = 20 WHERE name = 'two'");
$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
is($reader->query_safe("SELECT remaining FROM plinth.check_rate_limit('replayed', 'two')"), '18', 'takes a change of a tier');
$reader->quit;
$standby->stop('fast');
ok(-s $standby->data_dir . "/$saved_file", 'a standby saves its windows');
$standby->start;
is($standby->safe_psql('postgres', "SELECT request_count FROM plinth.rate_limits WHERE identifier = 'replayed'"), '2', 'and keeps them');
$standby->stop('fast');

#
# A full table (S7.1): ended windows go first, then the idlest key that has
# requests left, last the key whose window ends first.
#
my $tiny = new_server('limiter_tiny', 'plinth.rate_limit_entries = 16');
is(total($tiny, 'capacity'), '16', 'room for sixteen keys');
# two spent keys, the first in a window that ends first, and 14 with some left
$tiny->safe_psql('postgres', "INSERT INTO plinth.rate_limit_tiers VALUES ('one', 1, 3600), ('one long', 1, 7200)");
is(allowed($tiny, 'spent first', 'one') . allowed($tiny, 'spent later', 'one long'), 'tt', 'two keys without requests left');
allowed($tiny, "idle $_", 'three') for 1 .. 14;
allowed($tiny, 'idle 1', 'three');
is(total($tiny, 'keys || \' \' || evictions'), '16 0', 'full, and nothing lost');
allowed($tiny, 'new', 'three');
is(total($tiny, 'keys || \' \' || evictions'), '16 1', 'one more pushes one out');
is($tiny->safe_psql('postgres', "SELECT string_agg(i, ',') FROM (SELECT 'idle ' || n AS i FROM generate_series(1, 14) AS n
		EXCEPT SELECT identifier FROM plinth.rate_limits) AS gone"),
	'idle 2', 'the one that was idle longest');
allowed($tiny, "flood $_", 'three') for 1 .. 100;
is(allowed($tiny, 'spent first', 'one') . allowed($tiny, 'spent later', 'one long'), 'ff', 'a flood frees no spent key');
# only spent keys
allowed($tiny, "full $_", 'one long') for 1 .. 14;
is($tiny->safe_psql('postgres', "SELECT count(*) FROM plinth.rate_limits WHERE endpoint LIKE 'one%'"), '16', 'only spent keys are left');
my $evictions = total($tiny, 'evictions');
is(allowed($tiny, 'last', 'one long'), 't', 'a new key is taken in');
is(total($tiny, 'evictions') - $evictions, '1', 'for one that is given up, and counted');
is($tiny->safe_psql('postgres', "SELECT count(*) FROM plinth.rate_limits WHERE identifier = 'spent first'"), '0', 'the one whose window ends first');
# or refused
$tiny->append_conf('postgresql.conf', 'plinth.rate_limit_fail_closed = on');
$tiny->reload;
ok($tiny->poll_query_until('postgres', "SELECT current_setting('plinth.rate_limit_fail_closed')::bool"), 'fail closed');
is($tiny->safe_psql('postgres', "SELECT allowed, remaining, reset > now() FROM plinth.check_rate_limit('closed', 'one long')"),
	'f|0|t', 'a new key is refused until a window ends');
is(total($tiny, 'refused_no_space'), '1', 'and counted');
is(allowed($tiny, 'last', 'one long'), 'f', 'keys that are there go on');
is($tiny->safe_psql('postgres', "SELECT plinth.rate_limit_reset('last', 'one long')"), 't', 'one is forgotten');
is(allowed($tiny, 'closed', 'one long'), 't', 'and its place is taken');
# buckets likewise: one with some left goes, a spent one stays, none is looked at in vain
$tiny->safe_psql('postgres', "SELECT plinth.rate_limit_reset(identifier, endpoint) FROM plinth.rate_limits");
taken($tiny, 'spent bucket', 2, 2);
taken($tiny, "bucket $_", 3) for 1 .. 15;
is(total($tiny, 'keys'), '16', 'full of buckets');
is(taken($tiny, 'not there', 3, 0) . taken($tiny, 'not there', 3, -1), 'tt', 'to look and to put back needs no place');
is(total($tiny, 'keys'), '16', 'and takes none');
taken($tiny, "flood $_", 3) for 1 .. 50;
is(taken($tiny, 'spent bucket', 2), 'f', 'a flood frees no spent bucket');
$tiny->safe_psql('postgres', "SELECT plinth.rate_limit('flood ' || n, 3, 1, '10 hours', 3) FROM generate_series(36, 50) AS n;
	SELECT plinth.rate_limit_reset(identifier) FROM plinth.rate_limits WHERE request_count < 2");
taken($tiny, "spent $_", 1) for 1 .. 16;
is($tiny->safe_psql('postgres', "SELECT allowed, remaining, retry_after > '1 hour' FROM plinth.rate_limit('closed', 3, 1, '10 hours')"),
	'f|0|t', 'where all are spent a new one is refused');
$tiny->safe_psql('postgres', "SELECT plinth.rate_limit_reset(identifier) FROM plinth.rate_limits");
is(total($tiny, 'keys'), '0', 'all are forgotten');
# ended windows go before any other
$tiny->safe_psql('postgres', "SELECT plinth.rate_limit_reset(identifier, endpoint) FROM plinth.rate_limits");
allowed($tiny, "short $_", 'short') for 1 .. 15;
allowed($tiny, 'long', 'three');
ok($tiny->poll_query_until('postgres', 'SELECT count(*) = 1 FROM plinth.rate_limits'), 'fifteen windows end');
$evictions = total($tiny, 'evictions');
allowed($tiny, "after $_", 'three') for 1 .. 15;
is(total($tiny, 'keys || \' \' || evictions'), "16 $evictions", 'their places are taken, which loses nothing');
$tiny->stop('fast');

#
# S7.6: not preloaded.
#
$tiny->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$tiny->start;
for my $call ("plinth.check_rate_limit('a', 'three')", "plinth.check_rate_limit('$user'::uuid, 'a')",
	'plinth.rate_limit_caller()', "plinth.require_rate_limit('three')",
	"plinth.rate_limit_reset('a', 'three')", "plinth.rate_limit('a', 1, 1, '1 s')", "plinth.rate_limit_reset('a')")
{
	my ($rc, $out, $err) = $tiny->psql('postgres', "\\set VERBOSITY verbose\nSELECT $call");
	like($err, qr/ERROR:  55000:.*HINT:.*plinth\.preflight\(\)/s, "$call says what is missing");
}
my ($rc, $out, $err) = $tiny->psql('postgres', 'SELECT * FROM plinth.rate_limit_status');
like($err, qr/plinth\.preflight\(\)/, 'so do the views');
is($tiny->safe_psql('postgres', "SELECT plinth.rate_limit_headers(1, NULL) ->> 'X-RateLimit-Remaining'"), '1', 'the rest works');
$tiny->stop('fast');
$node->stop('fast');

done_testing();
