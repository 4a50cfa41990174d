# Keys that change while the server runs, and a keyring that is not the one
# that the data was sealed with.

use strict;
use warnings;

use MIME::Base64 ();
use PlinthCluster;
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Utils;
use Test::More;

# What a query that must fail is told, with its SQLSTATE.
sub error_of
{
	my ($node, $query) = @_;
	my ($rc, $stdout, $stderr) = $node->psql('app', $query, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $rc == 0 ? "no error, but $stdout" : $stderr;
}

# Replace the keyring as an administrator would: a new file under its name.
sub replace_keyring
{
	my ($file, $text) = @_;
	unlink("$file.new");
	append_to_file("$file.new", $text);
	chmod(0600, "$file.new") or die "$file.new: $!";
	rename("$file.new", $file) or die "$file: $!";
}

my $node = plinth_cluster('keys', "log_statement = all\nlog_min_duration_statement = 0\nlog_parameter_max_length = 0\n");
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', "SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE; SELECT plinth.install('auth')");
my $file = $node->data_dir . '/plinth_keyring';
my $claims = '"role":"anon","exp":4102444800';

# A token key is rotated while sessions are open.
my $old = $node->safe_psql('app', "SELECT plinth.jwt_sign('{$claims}')");
my $session = $node->background_psql('app', on_error_stop => 0);
my $verify = "SELECT CASE WHEN plinth.jwt_verify('$old') IS NOT NULL THEN 'good' END";
is($session->query($verify), 'good', 'a session has verified a token');
my ($old_kid) = $node->safe_psql('app', q(SELECT kid FROM plinth.keys WHERE purpose = 'token' AND algorithm = 'Ed25519'));
my $new_kid = $node->safe_psql('app', "SELECT plinth.key_create('token')");
is($session->query($verify), 'good', 'the retired key still verifies');
my $new = $session->query("SELECT plinth.jwt_sign('{$claims}')");
is( $node->safe_psql('app', "SELECT convert_from(decode(translate(rpad(split_part('$new', '.', 1), 72, '='), '-_', '+/'), 'base64'), 'UTF8')::jsonb ->> 'kid'"),
	$new_kid, 'the open session signs with the new key');
is($node->safe_psql('app', q(SELECT jsonb_array_length(auth.jwks() -> 'keys'))), 2, 'both are published');

# After the longest life of a token the retired key verifies no more.
my $now = slurp_file($file);
like($now, qr/^\d+ \Q$old_kid\E token Ed25519 retired \S+ \S+ \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/m, 'the keyring says since when it is retired');
(my $lapsed = $now) =~ s/^(\d+ \Q$old_kid\E .*) \S+$/$1 2026-01-01T00:00:00Z/m;
replace_keyring($file, $lapsed);
like(error_of($node, $verify), qr/28000: Invalid or expired token/, 'a key that has been retired for long enough verifies no more');
is($node->safe_psql('app', q(SELECT jsonb_array_length(auth.jwks() -> 'keys'))), 1, 'and is not published');
(my $ancient = $now) =~ s/^(\d+ \Q$old_kid\E token Ed25519 retired) \S+ (\S+) \S+$/$1 2026-01-01T00:00:00Z $2/m;
replace_keyring($file, $ancient);
like(error_of($node, $verify), qr/28000/, 'without a time of its own it counts from when it was made');
replace_keyring($file, $now);
is($node->safe_psql('app', $verify), 'good', 'the file as it was');

# Revoked: at once, in a session that has the keys loaded.
$node->safe_psql('app', "SELECT plinth.key_set_state('$old_kid', 'revoked')");
is($session->query("DO \$\$ BEGIN PERFORM plinth.jwt_verify('$old'); PERFORM set_config('test.answer', 'good', false);"
		. " EXCEPTION WHEN OTHERS THEN PERFORM set_config('test.answer', SQLSTATE, false); END \$\$; SELECT current_setting('test.answer')"),
	'28000', 'a revoked key is refused in an open session');
is($session->query("SELECT CASE WHEN plinth.jwt_verify('$new') IS NOT NULL THEN 'good' END"), 'good', 'the other one is not');
$session->quit;

# The keyring is swapped for that of another server.
$node->safe_psql('app', q(CREATE TABLE kept (id int, sealed bytea); INSERT INTO kept SELECT 1, plinth.seal('plain', 'kept.sealed:1')));
$node->stop;
my $ours = slurp_file($file);
unlink($file);
my $log_start = -s $node->logfile;
$node->start;
like(slurp_file($node->logfile, $log_start), qr/made keyring/, 'a server without a keyring makes one');
ok($node->wait_for_log(qr/WARNING:\s+(?:55000: )?the keyring does not belong to database "app"/, $log_start), 'the log says at start that it is not that of the data');
like(slurp_file($node->logfile, $log_start), qr/Key 3 of the keyring is not the one that this database has used/, 'and names the key');
is($node->safe_psql('app', q(SELECT ok, found FROM plinth.preflight() WHERE requirement = 'key file')),
	'f|Key 3 of the keyring is not the one that this database has used.', 'so does preflight');
like(error_of($node, "SELECT plinth.jwt_verify('$new')"), qr/28000/, 'tokens are refused');
like(error_of($node, "SELECT plinth.unseal(sealed, 'kept.sealed:1') FROM kept"), qr/55000: key 3 of the keyring is not the one/, 'sealed values are refused, with the number of the key');
like(error_of($node, "SELECT plinth.seal('x', 'y')"), qr/55000: key 3/, 'nothing is sealed with the wrong key');

# A keyring that lacks the key, and the one that belongs to the data.
(my $without = $ours) =~ s/^3 .*\n//m;
replace_keyring($file, $without);
like(error_of($node, "SELECT plinth.unseal(sealed, 'kept.sealed:1') FROM kept"), qr/55000: key 3, which the value is sealed with, is not in the keyring/, 'a missing key is named');
like(error_of($node, "SELECT plinth.seal('x', 'y')"), qr/55000: no key seals values/, 'without a key nothing is sealed');
is($node->safe_psql('app', 'SELECT plinth.keyring_problem()'), 'Key 3, which this database has used, is not in the keyring.', 'preflight knows');
replace_keyring($file, $ours);
is($node->safe_psql('app', "SELECT convert_from(plinth.unseal(sealed, 'kept.sealed:1'), 'UTF8') FROM kept"), 'plain', 'with its keyring the data is as it was');
is($node->safe_psql('app', 'SELECT plinth.keyring_problem() IS NULL'), 't', 'and nothing is wrong');

# What is sent as a parameter is in no log, also when the statement fails; and
# neither the log nor a dump has a key or a plaintext (S6.4, S11.2).
my $secret = 'b4d0f00d-plaintext';
my $script = PostgreSQL::Test::Utils::tempdir() . '/seal.sql';
append_to_file($script, "INSERT INTO kept SELECT 2, plinth.seal(convert_to(:secret::text, 'UTF8'), 'kept.sealed:2');\n"
	  . "SELECT plinth.unseal(plinth.reseal(sealed, 'kept.sealed:2'), 'kept.sealed:2') FROM kept WHERE id = 2;\n"
	  . "SELECT plinth.unseal(plinth.seal(convert_to(:secret::text, 'UTF8'), 'kept.sealed:3'), 'kept.sealed:4');\n");
$log_start = -s $node->logfile;
command_checks_all(
	[ 'pgbench', '-n', '-t', '1', '-M', 'extended', '-D', "secret=$secret", '-h', $node->host, '-p', $node->port, '-f', $script, 'app' ],
	2, [qr/processed/], [qr/sealed value cannot be opened here/], 'seal, open and fail with a parameter');
is($node->safe_psql('app', "SELECT convert_from(plinth.unseal(sealed, 'kept.sealed:2'), 'UTF8') FROM kept WHERE id = 2"), $secret, 'what was sent is sealed');
like(slurp_file($node->logfile, $log_start), qr/INSERT INTO kept.*ERROR.*sealed value cannot be opened here/s, 'the statements and the error are in the log');
$node->safe_psql('app', "SELECT plinth.rotate_keys(); SELECT plinth.key_create('token', 'HS256'); SELECT auth.jwks()");
my @secrets = map { (split / /)[6] } grep { !/^#/ } split /\n/, slurp_file($file);
cmp_ok(scalar(@secrets), '>=', 9, 'the keyring has all the keys');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dumpall', '-h', $node->host, '-p', $node->port, '-f', $dump ], 'a dump of all databases');
my $dumped = slurp_file($dump);
like($dumped, qr/COPY plinth\.key_checks .*\n3\t/, 'the dump has the check values');
my $logged = slurp_file($node->logfile);
# as text and as the bytes of a bytea
my @forms = ($secret, unpack('H*', $secret), @secrets,
	map { my $b = $_; $b =~ tr{-_}{+/}; my $bytes = MIME::Base64::decode_base64($b); substr(unpack('H*', $bytes), 0, 64) } @secrets);
is(join(' ', grep { index($logged, $_) >= 0 } @forms), '', 'the log has neither a key nor the plaintext');
is(join(' ', grep { index($dumped, $_) >= 0 } @forms), '', 'nor has the dump');

$node->stop;
done_testing();
