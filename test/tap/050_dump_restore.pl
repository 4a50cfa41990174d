# A dump restored into another cluster is equal to what was dumped, does
# nothing of its own accord until plinth.enable(), and works after it (S6).
#
# What is dumped is every module that there is, and what the table below does
# with those it knows.

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $ann = '00000000-0000-4000-8000-0000000000a1';
my $ben = '00000000-0000-4000-8000-0000000000a2';
my $claims = qq{SET request.jwt.claims = '{"sub": "$ann", "role": "authenticated"}'; SET ROLE authenticated};

# Module, what puts rows into it, and what must still work after a restore
# (one row, "t").
my @modules = (
	{
		name => 'auth',
		fill => qq{
			INSERT INTO auth.users (id, email) VALUES ('$ann', 'ann\@example.com'), ('$ben', 'ben\@example.com');
			SELECT auth.sign_up('cleo\@example.com', 'correct horse battery staple');
			$claims; SELECT auth.uid(); RESET ROLE},
		works => qq{$claims; SELECT auth.uid() = '$ann'},
	},
	{
		name => 'profiles',
		fill => qq{$claims; SELECT profiles.get_or_create_profile(); UPDATE profiles.profiles SET full_name = 'Ann "the first"' WHERE id = '$ann'},
		works => qq{$claims; SELECT full_name = 'Ann "the first"' FROM profiles.profiles WHERE id = '$ann'},
	},
	{
		name => 'audit',
		fill => qq{
			CREATE TABLE public.notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner_id uuid NOT NULL, body text,
				level integer GENERATED ALWAYS AS (plinth.level_for_xp(length(body)::bigint)) STORED);
			SELECT audit.attach('public.notes');
			INSERT INTO public.notes (owner_id, body) SELECT '$ann', repeat('note ', n) FROM generate_series(1, 100) AS n;
			UPDATE public.notes SET body = upper(body) WHERE id <= 50;
			DELETE FROM public.notes WHERE id <= 10},
		works => qq{
			INSERT INTO public.notes (owner_id, body) VALUES ('$ben', 'after');
			SELECT count(*) = 1 FROM audit.audit_logs WHERE new_data ->> 'body' = 'after'},
	},
	{
		name => 'social',
		fill => qq{
			SELECT plinth.install('social', 'lab 42');
			SET ROLE service_role;
			SELECT social.add_xp('$ann', 100, 'daily_login') FROM generate_series(1, 30);
			SELECT social.add_xp('$ben', 1000, 'course_completion');
			SELECT "lab 42".add_xp('$ben', 77, 'daily_login');
			SELECT social.refresh_leaderboard()},
		works => qq{
			SET ROLE service_role;
			CREATE TEMPORARY TABLE added AS SELECT social.add_xp('$ben', 1, 'daily_login');
			SELECT total_xp >= 1001 AND total_xp = (SELECT sum(amount) FROM social.xp_transactions WHERE user_id = '$ben')
			FROM social.user_levels WHERE user_id = '$ben'},
	},
	{
		name => 'series',
		fill => q{SET ROLE service_role; SELECT plinth.series_next('LAB') FROM generate_series(1, 41)},
		works => q{SET ROLE service_role; SELECT plinth.series_next('LAB') = 'LAB-000042'},
	},
	{
		name => 'realtime',
		fill => q{ALTER PUBLICATION plinth_realtime ADD TABLE public.notes},
		works => q{SELECT count(*) = 1 FROM pg_publication_tables WHERE pubname = 'plinth_realtime' AND tablename = 'notes'},
	},
	# the extension's own configuration, and a user's policy, grant and column
	{
		name => undef,
		fill => q{
			INSERT INTO plinth.settings (name, value) VALUES ('audit.retention', '"3 years"');
			INSERT INTO plinth.rate_limit_tiers (name, requests, window_seconds) VALUES ('gold', 1000, 60);
			ALTER TABLE profiles.profiles ADD COLUMN favourite text DEFAULT 'none';
			ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY;
			CREATE POLICY notes_owner ON public.notes TO authenticated USING (owner_id = auth.uid());
			GRANT SELECT ON public.notes TO authenticated},
		works => qq{$claims; SELECT count(*) = 90 FROM public.notes},
	},
);

my $source = plinth_cluster('source');
$source->safe_psql('postgres', 'CREATE DATABASE app');
$source->safe_psql('app', 'CREATE EXTENSION plinth CASCADE');
$source->safe_psql('app', 'SELECT plinth.install(module) FROM plinth.modules()');
my %installed = map { $_ => 1 } split /\n/,
  $source->safe_psql('app', 'SELECT DISTINCT module FROM plinth.modules() WHERE installed IS NOT NULL');
@modules = grep { !defined $_->{name} || $installed{ $_->{name} } } @modules;
$source->safe_psql('app', $_->{fill}) for @modules;

# The workers have done what they have to do before the dump is taken.
ok(workers_running($source, 'app'), 'the source has its workers');
$source->safe_psql('app', 'SELECT plinth.disable()');

# Every row of every table, and the state of every sequence.
sub contents
{
	my ($node, $database) = @_;
	my $queries = $node->safe_psql($database, q{
		SELECT string_agg(format(CASE c.relkind
			WHEN 'S' THEN 'SELECT %L, 1, last_value || '' '' || is_called FROM %s'
			ELSE 'SELECT %L, count(*), md5(coalesce(string_agg(t::text, '''' ORDER BY t::text COLLATE "C"), '''')) FROM %s AS t' END,
			c.oid::regclass, c.oid::regclass), ' UNION ALL ' ORDER BY n.nspname, c.relname)
		FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm', 'S')
			AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'});
	return $node->safe_psql($database, "SET TimeZone = 'UTC'; SELECT * FROM ($queries) AS all_tables ORDER BY 1");
}

# Policies, grants, triggers, functions: all that is not rows.
sub definitions
{
	my ($node, $database) = @_;
	my ($stdout, $stderr);
	run_command_ok($node, [ 'pg_dump', '--schema-only', '-d', $node->connstr($database) ], \$stdout);
	return join "\n", grep { !/^(--|\\(un)?restrict)|^$/ } split /\n/, $stdout;
}

sub run_command_ok
{
	my ($node, $command, $stdout) = @_;
	my $stderr;
	my $out = '';
	IPC::Run::run($command, '>', \$out, '2>', \$stderr)
	  or die "@$command failed: $stderr";
	$$stdout = $out;
	return;
}

my $rows = contents($source, 'app');
my $definitions = definitions($source, 'app');
like($rows, qr/^auth\.users\|3\|/m, 'there are rows to be dumped');

my $dir = $source->backup_dir;
mkdir $dir;
$source->command_ok([ 'pg_dumpall', '--roles-only', '-f', "$dir/roles.sql", '-d', $source->connstr('postgres') ], 'roles are dumped');
my $dump = sub { $source->command_ok([ 'pg_dump', '-d', $source->connstr('app'), @_ ], "pg_dump @_[0 .. $#_ - 2]") };
$dump->('--format=plain', '-f', "$dir/plain.sql");
$dump->('--format=custom', '-f', "$dir/custom.dump");
$dump->('--format=directory', '-j2', '-f', "$dir/directory.dump");
$dump->('--format=plain', '--schema-only', '-f', "$dir/schema.sql");
$dump->('--format=plain', '--data-only', '--disable-triggers', '-f', "$dir/data.sql");

# S6.4: what is in the dump opens nothing
my $key = slurp_file($source->data_dir . '/plinth_keyring');
my $plain = slurp_file("$dir/plain.sql");
my @secrets = grep { length >= 40 } split /\s+/, $key;
ok(@secrets > 0, 'the key file has keys');
is(scalar(grep { index($plain, $_) >= 0 } @secrets), 0, 'and none of them is in the dump');

my $target = plinth_cluster('target');
isnt($target->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()'),
	$source->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()'),
	'the target is another cluster');
# the superuser is there already, and what follows it in the file counts
$target->psql('postgres', '', on_error_stop => 0, extra_params => [ '-f', "$dir/roles.sql" ]);

my %restore = (
	plain => sub { [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dir/plain.sql", '-d', shift ] },
	custom => sub { [ 'pg_restore', '--exit-on-error', '-d', shift, "$dir/custom.dump" ] },
	parallel => sub { [ 'pg_restore', '--exit-on-error', '-j2', '-d', shift, "$dir/custom.dump" ] },
	directory => sub { [ 'pg_restore', '--exit-on-error', '-j2', '-d', shift, "$dir/directory.dump" ] },
	single => sub { [ 'pg_restore', '--single-transaction', '-d', shift, "$dir/custom.dump" ] },
	parts => sub { [ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-f', "$dir/schema.sql", '-f', "$dir/data.sql", '-d', shift ] },
);

for my $way (sort keys %restore)
{
	$target->safe_psql('postgres', "CREATE DATABASE $way");
	$target->command_ok($restore{$way}->($target->connstr($way)), "$way: restored without an error");
	# of a materialized view, a dump without definitions says nothing
	$target->safe_psql($way, q{SELECT format('REFRESH MATERIALIZED VIEW %s', oid::regclass)
		FROM pg_class WHERE relkind = 'm' AND NOT relispopulated \gexec});
	is(difference(contents($target, $way), $rows), '', "$way: the rows are equal");
	# pg_dump's --disable-triggers makes ENABLE of ENABLE ALWAYS
	my ($got, $wanted) = (definitions($target, $way), $definitions);
	s/^ALTER TABLE .* ENABLE (ALWAYS )?TRIGGER .*;\n//mg for $way eq 'parts' ? ($got, $wanted) : ();
	is(difference($got, $wanted), '', "$way: the definitions are equal");
}

# The first lines of two texts that differ, '' when none does.
sub difference
{
	my ($got, $wanted) = @_;
	my @got = split /\n/, $got;
	my @wanted = split /\n/, $wanted;
	for my $i (0 .. ($#got > $#wanted ? $#got : $#wanted))
	{
		my ($is, $should) = ($got[$i] // '(end)', $wanted[$i] // '(end)');
		return "line $i: $is\ninstead of: $should" if $is ne $should;
	}
	return '';
}

# Waits until the upkeep worker of a database has looked for work once more.
sub let_upkeep_look
{
	my ($node, $database) = @_;
	my $last = "SELECT query_start FROM pg_stat_activity WHERE backend_type = 'plinth upkeep' AND datname = '$database'";
	my $before = $node->safe_psql($database, $last);
	# whatever comes of enable(), the workers are woken
	$node->safe_psql($database, 'BEGIN; SELECT plinth.enable(); ROLLBACK');
	return wait_for($node, $database, "SELECT query_start > '$before' FROM pg_stat_activity WHERE backend_type = 'plinth upkeep' AND datname = '$database'");
}

# A restored or cloned database waits, and works once it is enabled.
sub judge_copy
{
	my ($node, $database, $era) = @_;

	ok(workers_running($node, $database), "$database: workers have come");
	is($node->safe_psql($database, "SELECT remedy FROM plinth.preflight() WHERE requirement = 'identity'"),
		'SELECT plinth.enable();', "$database: preflight says what to do");
	my ($code, $out, $err) = $node->psql($database, q{SELECT plinth.install('social', 'other')});
	like($err, qr/plinth\.enable\(\)/, "$database: plinth.install() waits for it");

	if ($installed{social})
	{
		$node->safe_psql('postgres', "ALTER SYSTEM SET plinth.leaderboard_refresh_interval = '1s'");
		$node->reload;
		$node->safe_psql($database, "SET ROLE service_role; SELECT social.add_xp('$ben', 1, 'daily_login')");
	}
	my $before = contents($node, $database);
	ok(let_upkeep_look($node, $database), "$database: the upkeep worker has looked");
	is(difference(contents($node, $database), $before), '', "$database: and done nothing");
	is($node->safe_psql($database, 'SELECT count(*) FROM pg_replication_slots WHERE database = current_database()'),
		'0', "$database: no slot");
	is($node->safe_psql($database, "SELECT DISTINCT state FROM plinth.stat_workers WHERE database = '$database'"),
		'idle', "$database: the workers are idle");

	$node->safe_psql($database, 'SELECT plinth.enable()');
	is($node->safe_psql($database, 'SELECT DISTINCT era FROM plinth.installed_modules'), $era, "$database: a new era");
	ok(wait_for($node, $database, 'SELECT count(*) = 1 FROM pg_replication_slots WHERE database = current_database()'),
		"$database: the stream worker works");
	ok(wait_for($node, $database, "SELECT bool_and(xp.total_xp = board.total_xp) FROM social.user_levels AS xp JOIN social.leaderboard_all_time AS board USING (user_id)"),
		"$database: the upkeep worker works") if $installed{social};
	for my $module (@modules)
	{
		my $result = $node->safe_psql($database, $module->{works});
		is((split /\n/, $result)[-1], 't', "$database: works: " . ($module->{name} // 'configuration'));
	}
	is($node->safe_psql($database, q{SELECT plinth.install('social', 'other') IS NOT NULL}), 't',
		"$database: modules can be installed") if $installed{social};
	is($node->safe_psql($database, q{SELECT string_agg(requirement, ', ') FROM plinth.preflight() WHERE NOT ok}), '',
		"$database: preflight finds nothing missing");
	return;
}

judge_copy($target, 'parallel', 2);

# A clone in the same cluster has another database OID.
$source->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE app');
judge_copy($source, 'clone', 2);

# The original is what it was.
$source->safe_psql('app', 'SELECT plinth.enable()');
is($source->safe_psql('app', 'SELECT DISTINCT era FROM plinth.installed_modules'), '1',
	'the original keeps its era');
ok(workers_running($source, 'app'), 'and its workers');

# DROP EXTENSION takes nobody's rows along (the column that a plinth function
# generates is dropped first: it would go).
$target->safe_psql('custom', 'ALTER TABLE public.notes DROP COLUMN level');
my ($code, $out, $err) = $target->psql('custom', 'DROP EXTENSION plinth');
like($err, qr/other objects depend on it/, 'DROP EXTENSION is refused while modules use it');
my $without_ours = sub { join "\n", grep { !/^plinth\./ } split /\n/, contents($target, 'custom') };
my $before = $without_ours->();
$target->safe_psql('custom', 'DROP EXTENSION plinth CASCADE');
is(difference($without_ours->(), $before), '', 'after DROP EXTENSION CASCADE every row is still there');
is($target->safe_psql('custom', 'SET ROLE authenticated; SELECT count(*) FROM public.notes'), '0',
	'and none is shown to those whose policies are gone');
ok(wait_for($target, 'postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'custom' AND backend_type LIKE 'plinth%'}),
	'the workers have ended');

# Without the library preloaded a restore works too; workers come with it.
$target->safe_psql('postgres', 'CREATE DATABASE bare');
$target->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$target->restart;
$target->command_ok($restore{parallel}->($target->connstr('bare')), 'restored where nothing is preloaded');
is(difference(contents($target, 'bare'), $rows), '', 'with equal rows');
($code, $out, $err) = $target->psql('bare', "SELECT ok FROM plinth.preflight() WHERE requirement = 'shared_preload_libraries'");
is($out, 'f', 'preflight says that it is not preloaded');

$source->stop;
$target->stop;
done_testing();
