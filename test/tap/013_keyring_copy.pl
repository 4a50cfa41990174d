# The keyring under a passphrase: taken from one server, brought to another
# that holds the restored data.

use strict;
use warnings;

use PlinthCluster;
use PostgreSQL::Test::Utils;
use Test::More;

# What a query that must fail is told, with its SQLSTATE.
sub error_of
{
	my ($node, $query) = @_;
	my ($rc, $stdout, $stderr) = $node->psql('postgres', $query, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $rc == 0 ? "no error, but $stdout" : $stderr;
}

my $passphrase = 'correct horse battery';
my $kids = q(SELECT string_agg(kid, ' ' ORDER BY kid COLLATE "C") FROM plinth.keys);
my $numbered = q(SELECT string_agg(key_id || ' ' || kid, ', ' ORDER BY key_id) FROM plinth.keys WHERE purpose IN ('seal', 'audit'));

my $old = plinth_cluster('old');
$old->safe_psql('postgres', "SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE; CREATE TABLE kept (sealed bytea)");
$old->safe_psql('postgres', "INSERT INTO kept SELECT plinth.seal('plain', 'kept.sealed:1')");
my $token = $old->safe_psql('postgres', q(SELECT plinth.jwt_sign('{"role":"anon","exp":4102444800}')));
my $old_kids = $old->safe_psql('postgres', $kids);
my $old_numbers = $old->safe_psql('postgres', $numbered);
my $sealed = $old->safe_psql('postgres', 'SELECT sealed FROM kept');
my $checks = $old->safe_psql('postgres', q(SELECT format('INSERT INTO plinth.key_checks VALUES (%L, %L)', key_id, check_value) FROM plinth.key_checks));

# Exported: another each time, and nothing of it can be read.
my $export = $old->safe_psql('postgres', "SELECT plinth.keyring_export('$passphrase')");
my $second = $old->safe_psql('postgres', "SELECT plinth.keyring_export('$passphrase')");
isnt($export, $second, 'each export is another');
my $bytes = pack('H*', substr($export, 2));
is((grep { index($bytes, $_) >= 0 } split / /, $old_kids), 0, 'nothing of it can be read');
is($old->safe_psql('postgres', "SELECT plinth.keyring_import('$export', '$passphrase')"), '0', 'a server has its own keys already');
like(error_of($old, "SELECT plinth.keyring_export('too short')"), qr/22023: invalid passphrase/, 'a short passphrase is refused');
like(error_of($old, "SELECT plinth.keyring_export(repeat('x', 1025))"), qr/22023/, 'so is a long one');
like(error_of($old, "SET ROLE plinth_owner; SELECT plinth.keyring_export('$passphrase')"), qr/42501/, 'only superusers export');
like(error_of($old, "SET ROLE service_role; SELECT plinth.keyring_import('$export', '$passphrase')"), qr/42501/, 'or import');
like(error_of($old, "SELECT plinth.keyring_import('$export', 'wrong horse battery')"), qr/22023: keyring cannot be imported.*passphrase is another/s, 'a wrong passphrase opens nothing');
my $length = length($bytes);
like(error_of($old, "SELECT plinth.keyring_import(set_byte('$export', $_, get_byte('$export', $_) # 1), '$passphrase')"), qr/22023/, "nor do bytes that were changed ($_)")
  for (0, 9, 30, 60, $length - 1);
like(error_of($old, "SELECT plinth.keyring_import(set_byte('$export', 5, 255), '$passphrase')"), qr/22023:.*out of range/s, 'a cost that nobody would ask for is refused');
like(error_of($old, "SELECT plinth.keyring_import(substr('$export'::bytea, 1, 60), '$passphrase')"), qr/22023/, 'so is what is cut');
like(error_of($old, "SELECT plinth.keyring_import('', '$passphrase')"), qr/22023/, 'and nothing at all');

# A new server with the data of the old one.
my $new = plinth_cluster('new');
$new->safe_psql('postgres', "SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE; CREATE TABLE kept (sealed bytea); INSERT INTO kept VALUES ('$sealed'); $checks");
like(error_of($new, "SELECT plinth.unseal(sealed, 'kept.sealed:1') FROM kept"), qr/55000: key 3/, 'the new server has other keys');
my $new_kids = $new->safe_psql('postgres', $kids);
is($new->safe_psql('postgres', "SELECT plinth.keyring_import('$export', '$passphrase')"), '6', 'all keys come');
is($new->safe_psql('postgres', $kids), join(' ', sort(split(/ /, "$old_kids $new_kids"))), 'beside those that were there');
is($new->safe_psql('postgres', "SELECT convert_from(plinth.unseal(sealed, 'kept.sealed:1'), 'UTF8') FROM kept"), 'plain', 'the data opens');
is($new->safe_psql('postgres', 'SELECT plinth.keyring_problem() IS NULL'), 't', 'the keyring belongs to it');
is($new->safe_psql('postgres', "SELECT plinth.jwt_verify('$token') ->> 'role'"), 'anon', 'tokens of the old server are good for a day');
like($new->safe_psql('postgres', $numbered), qr/^\Q$old_numbers\E, /, 'keys that data names by number keep it');
is($new->safe_psql('postgres', "SELECT string_agg(DISTINCT state, ' ') FROM plinth.keys WHERE kid = ANY (string_to_array('$old_kids', ' '))"), 'retired', 'they are retired');
is($new->safe_psql('postgres', "SELECT count(*) FROM plinth.keys WHERE state = 'active' AND kid = ANY (string_to_array('$new_kids', ' '))"), '6', 'and those that were there active');
is($new->safe_psql('postgres', "SELECT plinth.unseal(plinth.seal('x', 'y'), 'y') = 'x'"), 't', 'which goes on with its own key');
is($new->safe_psql('postgres', "SELECT plinth.keyring_import('$export', '$passphrase')"), '0', 'a second time there is nothing to do');
is(sprintf('%04o', (stat($new->data_dir . '/plinth_keyring'))[2] & 07777), '0600', 'the keyring has mode 0600');

# A server that has used its own key under that number keeps it.
my $other = plinth_cluster('other');
$other->safe_psql('postgres', "SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE; SELECT plinth.seal('x', 'y')");
my $before = slurp_file($other->data_dir . '/plinth_keyring');
like(error_of($other, "SELECT plinth.keyring_import('$export', '$passphrase')"), qr/42710: key 3 .* cannot be added/, 'a number that is in use is not given away');
is(slurp_file($other->data_dir . '/plinth_keyring'), $before, 'and nothing has changed');

$_->stop for ($old, $new, $other);
done_testing();
