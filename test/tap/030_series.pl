# Series across a crash, and certificates across encodings: what no session
# alone can show.

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = plinth_cluster('primary', "autovacuum = off\n");
$node->safe_psql('postgres', "CREATE EXTENSION plinth CASCADE; SELECT plinth.install('series')");
$node->safe_psql('postgres', 'CREATE TABLE issued (number text PRIMARY KEY)');

# A crash takes back what was not committed, and nothing else.
my $take = "INSERT INTO issued VALUES (plinth.series_next('COA')) RETURNING number";
$node->safe_psql('postgres', $take) for 1 .. 3;
my $open = $node->background_psql('postgres');
my $taken = $open->query_safe("BEGIN; $take");
like($taken, qr/^COA-000004$/m, 'a number is taken');
$node->stop('immediate');
$node->start;
eval { $open->quit };
is($node->safe_psql('postgres', $take), 'COA-000004', 'a crash leaves no hole');
is($node->safe_psql('postgres', q{SELECT string_agg(number, ' ' ORDER BY number) FROM issued}),
	'COA-000001 COA-000002 COA-000003 COA-000004', 'what was committed stands');

# Many at once, a third of whom give up: no gap, no number twice.
my $script = $node->basedir . '/take.sql';
append_to_file($script, <<'SQL');
\set gives_up random(1, 3)
BEGIN;
INSERT INTO issued VALUES (plinth.series_next('many'));
\if :gives_up = 1
ROLLBACK;
\else
COMMIT;
\endif
SQL
$node->command_ok([ 'pgbench', '-n', '-c', '8', '-t', '100', '-f', $script, '-d', 'postgres' ], '8 clients take 100 numbers each');
is( $node->safe_psql('postgres', q{
		SELECT count(*) = max(right(number, 6)::int) AND min(right(number, 6)::int) = 1 AND count(*) BETWEEN 400 AND 700
		FROM issued WHERE number LIKE 'many-%'}),
	't', 'no gap among what was committed');
is( $node->safe_psql('postgres', q{
		SELECT last_number = (SELECT count(*) FROM issued WHERE number LIKE 'many-%') FROM series.series WHERE name = 'many'}),
	't', 'the counter says so too');
is($node->safe_psql('postgres', q{
		SELECT pg_stat_force_next_flush();
		SELECT n_tup_hot_upd >= n_tup_upd * 0.9 FROM pg_stat_user_tables WHERE relname = 'series'}),
	"\nt", 'counting touches no index');

# DROP EXTENSION does not lose the counters.
$node->safe_psql('postgres', 'DROP EXTENSION plinth CASCADE');
is($node->safe_psql('postgres', q{SELECT last_number FROM series.series WHERE name = 'COA'}), '4', 'the counters outlive the extension');

# A certificate is UTF-8 whatever the database's encoding, and what an
# encoding does not have is no certificate there.
$node->safe_psql('postgres', "CREATE DATABASE $_->[0] ENCODING '$_->[1]' LOCALE 'C' TEMPLATE template0; ")
	for [ 'utf8', 'UTF8' ], [ 'latin1', 'LATIN1' ], [ 'ascii', 'SQL_ASCII' ];
$node->safe_psql($_, 'CREATE EXTENSION plinth CASCADE') for qw(utf8 latin1 ascii);
my $sign = 'SELECT plinth.certificate_sign(jsonb_build_object(%s))';
my $in_utf8 = $node->safe_psql('utf8', sprintf($sign, "'name', chr(233)"));
my $in_latin1 = $node->safe_psql('latin1', sprintf($sign, "'name', chr(233)"));
is($in_utf8, $in_latin1, 'the same certificate in UTF8 and LATIN1');
is($node->safe_psql($_, "SELECT plinth.certificate_verify('$in_utf8') ->> 'name' = chr(233)"), 't', "read back in $_") for qw(utf8 latin1);
is($node->safe_psql('ascii', "SELECT encode(convert_to(plinth.certificate_verify('$in_utf8') ->> 'name', 'SQL_ASCII'), 'hex')"),
	'c3a9', 'read back as it stands in SQL_ASCII');
my $snowman = $node->safe_psql('utf8', sprintf($sign, "'name', chr(9731)"));
is($node->safe_psql('latin1', "SELECT plinth.certificate_verify('$snowman') IS NULL"), 't', 'a character that LATIN1 lacks: no certificate');
is($node->safe_psql('latin1', "SELECT plinth.certificate_verify('$in_latin1' || chr(233)) IS NULL"), 't', 'nor is other text');
my ($code, undef, $stderr) = $node->psql('ascii', sprintf($sign, "'name', chr(233)"));
isnt($code, 0, 'what is no UTF-8 cannot be signed');

# Without the library loaded at start there is no key, and the error says so.
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;
for my $call ("certificate_sign('{}')", "certificate_verify('x')", 'certificate_keys()')
{
	($code, undef, $stderr) = $node->psql('utf8', "\\set VERBOSITY verbose\nSELECT plinth.$call");
	like($stderr, qr/ERROR:  55000: .*plinth\.preflight\(\)/s, "$call without a keyring");
}
$node->safe_psql('utf8', "SELECT plinth.install('series')");
is($node->safe_psql('utf8', "SELECT plinth.series_next('A'), plinth.certificate_code_valid(plinth.certificate_code('A'))"), 'A-000001|t',
	'numbers and codes need no preload');

done_testing();
