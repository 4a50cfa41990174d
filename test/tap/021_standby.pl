# A standby answers what needs no writing, has no workers, and gets them when
# it is promoted (S9.6).

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $user = '00000000-0000-4000-8000-0000000000a1';
my $primary = plinth_cluster('primary');
$primary->safe_psql('postgres', 'CREATE DATABASE app');
$primary->safe_psql('app', 'CREATE EXTENSION plinth CASCADE');
$primary->safe_psql('app', 'SELECT plinth.install(module) FROM plinth.modules()');
ok(workers_running($primary, 'app'), 'the primary has its workers');

$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
# the copying of the test's library widens modes, pg_basebackup's does not
chmod 0600, $standby->data_dir . '/plinth_keyring';
$standby->start;
$primary->wait_for_catchup($standby);

is($standby->safe_psql('app', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'plinth%'}),
	'0', 'a standby has no worker');
is($standby->safe_psql('app', q{SELECT count(*) FROM plinth.stat_workers}), '0', 'and shows none');
is($standby->safe_psql('app', q{SELECT count(*) > 0 FROM plinth.modules() WHERE installed IS NOT NULL}),
	't', 'it knows the modules');
is($standby->safe_psql('app',
		qq{SET request.jwt.claims = '{"sub": "$user", "role": "authenticated"}'; SET ROLE authenticated; SELECT auth.uid()}),
	$user, 'claims work');
is($standby->safe_psql('app', q{SELECT ok FROM plinth.preflight() WHERE requirement = 'identity'}),
	't', 'it is the same database');
is($standby->safe_psql('app', q{SELECT string_agg(requirement, ', ') FROM plinth.preflight() WHERE NOT ok}), '',
	'and nothing is missing there');
for my $call (q{plinth.install('social', 'lab')}, q{plinth.upgrade('auth')}, 'plinth.enable()', 'plinth.disable()')
{
	my ($code, $out, $err) = $standby->psql('app', "\\set VERBOSITY sqlstate\nSELECT $call");
	like($err, qr/25006/, "refused on a standby: $call");
}

my $begin = time;
$standby->promote;
ok(workers_running($standby, 'app'), 'after the promotion the workers come');
note('after ' . (time - $begin) . ' s');
is($standby->safe_psql('app', q{SELECT string_agg(requirement, ', ') FROM plinth.preflight() WHERE NOT ok}), '',
	'and nothing is missing');
is($standby->safe_psql('app', q{SELECT plinth.install('social', 'lab') IS NOT NULL}), 't', 'modules can be installed');

$standby->stop;
$primary->stop;
done_testing();
