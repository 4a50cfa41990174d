#
# LEADERBOARD
# The upkeep worker refreshes what is dirty and nothing else, as plinth_owner,
# and one leaderboard's failure is not another's.
#
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $ann = '00000000-0000-4000-8000-0000000000a1';

my $node = PostgreSQL::Test::Cluster->new('leaderboard');
$node->init;
$node->append_conf('postgresql.conf', "
shared_preload_libraries = 'plinth'
wal_level = logical
max_worker_processes = 32
plinth.leaderboard_refresh_interval = 1s
");
$node->start;
# a right that some take away from everybody
$node->safe_psql('postgres', "SET client_min_messages = warning;
	REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC;
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('social');
	SELECT plinth.install('social', 'second club');
	INSERT INTO auth.users (id, email) VALUES ('$ann', 'ann\@example.com');
	INSERT INTO profiles.profiles (id, full_name) VALUES ('$ann', 'Ann');");

sub stat_of
{
	my ($schema, $what) = @_;
	return $node->safe_psql('postgres', "SELECT $what FROM plinth.stat_leaderboard WHERE schema = '$schema'");
}

sub comes_true
{
	my ($schema, $what, $name) = @_;
	return ok($node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM plinth.stat_leaderboard WHERE schema = '$schema' AND $what"), $name);
}

sub leader
{
	my ($schema) = @_;
	return $node->safe_psql('postgres', qq{SELECT full_name, total_xp FROM "$schema".get_leaderboard(1)});
}

sub leads_with
{
	my ($schema, $xp, $name) = @_;
	return ok($node->poll_query_until('postgres',
		qq{SELECT total_xp = $xp FROM "$schema".get_leaderboard(1)}), $name);
}

# --- what is not known is dirty; then it is clean
for my $schema ('social', 'second club')
{
	comes_true($schema, 'NOT dirty AND refreshes > 0 AND rows = 1', "$schema is refreshed at the start");
	is(leader($schema), 'Ann|0', "$schema shows who there is");
}
is(stat_of('social', 'matview, last_refresh <= now(), duration_ms > 0, failures, last_error IS NULL, stats_reset < now()'),
	'leaderboard_all_time|t|t|0|t|t', 'and says so');

# --- each for itself: while one changes, the other is left alone
my $before = stat_of('social', 'refreshes');
for my $round (1 .. 3)
{
	$node->safe_psql('postgres', qq{SELECT "second club".add_xp('$ann', 100, 'daily_login')});
	leads_with('second club', 100 * $round, "a change is shown, round $round");
}
is(stat_of('social', 'refreshes, dirty'), "$before|f", 'what has not changed is not refreshed');

# --- a change without a counter of its own
$node->safe_psql('postgres', 'TRUNCATE "second club".user_levels');
leads_with('second club', 0, 'TRUNCATE is noticed');

# --- one that fails is counted and tried again, and the other goes on
my $second = stat_of('second club', 'refreshes');
$node->safe_psql('postgres', qq{
	DROP INDEX "second club".idx_leaderboard_user_id;
	SELECT "second club".add_xp('$ann', 7, 'daily_login');
	SELECT social.add_xp('$ann', 50, 'daily_login')});
comes_true('second club', 'failures > 0', 'a failure is counted');
like(stat_of('second club', 'last_error'), qr/cannot refresh materialized view .* concurrently/, 'its message is kept');
is(stat_of('second club', 'dirty, refreshes'), "t|$second", 'it is still dirty');
leads_with('social', 50, 'the other leaderboard goes on');
comes_true('second club', 'failures > 1', 'it is tried again');
$node->safe_psql('postgres',
	'CREATE UNIQUE INDEX idx_leaderboard_user_id ON "second club".leaderboard_all_time (user_id)');
leads_with('second club', 7, 'and comes back');
is($node->safe_psql('postgres', "SELECT failures FROM plinth.stat_workers WHERE worker = 'upkeep' AND database = 'postgres'"),
	'0', 'the worker did not fail with it');

# --- an empty one is filled
$node->safe_psql('postgres', 'REFRESH MATERIALIZED VIEW social.leaderboard_all_time WITH NO DATA');
$node->safe_psql('postgres', "SELECT social.add_xp('$ann', 1, 'daily_login')");
ok($node->poll_query_until('postgres', "SELECT relispopulated FROM pg_class WHERE oid = 'social.leaderboard_all_time'::regclass"),
	'one without data is refreshed');

# --- nothing that others wrote runs as superuser, or can become one
my $superuser = $node->safe_psql('postgres', 'SELECT quote_ident(current_user)');
$node->safe_psql('postgres', qq{
	SET ROLE plinth_owner;
	CREATE TABLE "second club".seen (who text, super text, role_set text, session_set text);
	CREATE OR REPLACE FUNCTION "second club".refresh_leaderboard() RETURNS boolean LANGUAGE plpgsql SECURITY INVOKER AS \$\$
	DECLARE
		role_set	text := 'done';
		session_set	text := 'done';
	BEGIN
		BEGIN EXECUTE 'SET ROLE $superuser'; EXCEPTION WHEN insufficient_privilege THEN role_set := 'refused'; END;
		BEGIN EXECUTE 'SET SESSION AUTHORIZATION $superuser'; EXCEPTION WHEN insufficient_privilege THEN session_set := 'refused'; END;
		INSERT INTO "second club".seen VALUES (current_user,
			(SELECT rolsuper FROM pg_roles WHERE rolname = current_user), role_set, session_set);
		RETURN true;
	END \$\$;
	RESET ROLE;
	SELECT "second club".add_xp('$ann', 1, 'daily_login')});
ok($node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM "second club".seen'), 'the function is called');
is($node->safe_psql('postgres', 'SELECT DISTINCT * FROM "second club".seen'),
	'plinth_owner|false|refused|refused', 'as plinth_owner, for good');

# --- an instance that is gone
$node->safe_psql('postgres', qq{SET client_min_messages = warning;
	DROP SCHEMA "second club" CASCADE;
	DELETE FROM plinth.installed_modules WHERE schema = 'second club'});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM plinth.stat_leaderboard WHERE schema = 'second club'}),
	'it is forgotten');

# --- off: a change is left alone until the setting says otherwise
$node->append_conf('postgresql.conf', 'plinth.leaderboard_refresh_interval = 0');
$node->reload;
ok($node->poll_query_until('postgres',
	"SELECT current_setting('plinth.leaderboard_refresh_interval') = '0'"), 'the setting is taken in');
$node->append_conf('postgresql.conf', 'plinth.leaderboard_refresh_interval = 1s');
$node->reload;
$node->safe_psql('postgres', "SELECT social.add_xp('$ann', 1, 'daily_login')");
leads_with('social', 52, 'and on again without a restart');

# --- without counters everything is dirty
$node->append_conf('postgresql.conf', 'track_counts = off');
$node->reload;
$before = stat_of('social', 'refreshes');
comes_true('social', "refreshes > $before + 1", 'without track_counts it is refreshed at every interval');

# --- a restart forgets, and so refreshes
$node->append_conf('postgresql.conf', "track_counts = on\nplinth.leaderboard_refresh_interval = 1h");
$node->restart;
comes_true('social', 'refreshes = 1 AND NOT dirty', 'after a restart it is refreshed once');

# --- S7.6: the library not preloaded
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\nSELECT * FROM plinth.stat_leaderboard");
like($err, qr/55000.*leaderboard statistics are not available.*HINT:.*plinth\.preflight\(\)/s,
	'without preload the view refuses with a hint');
is($node->safe_psql('postgres', "SELECT social.refresh_leaderboard(), plinth.level_for_xp(200),
	plinth.generate_certificate_number() ~ '^EVOLV-', social.add_xp('$ann', 1, 'daily_login') -> 'success'"),
	't|2|t|true', 'and the rest works');

$node->stop;
done_testing();
