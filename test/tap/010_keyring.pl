# The keyring file: made on first start, kept to its owner, taken up when it
# changes, copied to a standby; and what there is without it.

use strict;
use warnings;

use Digest::SHA qw(hmac_sha256);
use MIME::Base64 qw(decode_base64url encode_base64url);
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $user = '00000000-0000-4000-8000-0000000000a1';
my $session_id = '00000000-0000-4000-8000-0000000000f1';
my $signed_in = "authenticated|$user|f";

# A query that signs in by a token and says who that is, as a role of the API.
sub sign_in
{
	my ($token) = @_;
	return "BEGIN; SET LOCAL ROLE authenticated;"
	  . " SELECT plinth.auth_authenticate('$token') ->> 'role', plinth.auth_uid(), plinth.is_service(); COMMIT";
}

# What a query that must fail is told, with its SQLSTATE.
sub error_of
{
	my ($node, $query) = @_;
	my ($rc, $stdout, $stderr) = $node->psql('postgres', $query, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $rc == 0 ? "no error, but $stdout" : $stderr;
}

# Replace the keyring as an administrator would: a new file under its name.
sub replace_keyring
{
	my ($file, $text, $mode) = @_;
	append_to_file("$file.new", $text);
	chmod($mode, "$file.new") or die "$file.new: $!";
	rename("$file.new", $file) or die "$file: $!";
}

# Ask again and again in one session, until the answer is the one wanted.
sub answers_in_time
{
	my ($session, $query, $wanted) = @_;
	for (1 .. 4 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return 1 if $session->query($query) eq $wanted;
		select(undef, undef, undef, 0.25);
	}
	return 0;
}

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C' ]);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'plinth'\n");
$primary->start;
$primary->safe_psql('postgres', "SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE; SELECT plinth.install('auth')");

# Made on first start, for its owner alone.
my $file = $primary->data_dir . '/plinth_keyring';
is(sprintf('%04o', (stat($file))[2] & 07777), '0600', 'the keyring is made with mode 0600');
is( $primary->safe_psql('postgres', 'SELECT purpose, algorithm, state FROM plinth.keys ORDER BY key_id'),
	join("\n",
		'token|HS256|active', 'token|Ed25519|active', 'seal|XChaCha20-Poly1305|active',
		'audit|Ed25519|active', 'certificate|Ed25519|active', 'url|HMAC-SHA-256|active'),
	'it has an active key for each purpose');

# Nothing that can be read shows a key.
my $content = slurp_file($file);
my @secrets = map { (split / /)[6] } grep { !/^#/ } split /\n/, $content;
is(scalar(@secrets), 6, 'the file has six keys');
my $visible = $primary->safe_psql('postgres', 'SELECT * FROM plinth.keys; SELECT s.* FROM pg_settings AS s')
  . slurp_file($primary->logfile);
is((grep { index($visible, $_) >= 0 } @secrets), 0, 'no key is in the view, a setting or the log');

# Tokens outlive a restart.
my $claims = qq("sub":"$user","role":"authenticated","exp":4102444800);
my $token = $primary->safe_psql('postgres', "SELECT plinth.jwt_sign('{$claims}')");
is($primary->safe_psql('postgres', sign_in($token)), $signed_in, 'a token of ours is good');

# Without kid the one active key of the algorithm is meant (S1.2); a key's field
# is what a JSON Web Key calls k.
my ($hs256) = $content =~ /^\S+ \S+ token HS256 active \S+ (\S+)/m;
sub sign_hs256
{
	my ($header, $key) = @_;
	my $signed = encode_base64url($header) . '.' . encode_base64url("{$claims}");
	return "$signed." . encode_base64url(hmac_sha256($signed, $key));
}
my $no_kid = sign_hs256('{"alg":"HS256"}', decode_base64url($hs256));
is($primary->safe_psql('postgres', sign_in($no_kid)), $signed_in, 'a token without kid is good');
# the public key that everybody has is no secret of HS256 (S1.1)
my ($public) = $primary->safe_psql('postgres', 'SELECT auth.jwks()') =~ /"x": "([^"]+)"/;
like(error_of($primary, sprintf(q(SELECT plinth.jwt_verify('%s')), sign_hs256($_, decode_base64url($public)))),
	qr/28000: Invalid or expired token/, "not one that the public key has signed: $_")
  foreach '{"alg":"HS256"}', '{"alg":"HS256","kid":"' . ($content =~ /^\S+ (\S+) token Ed25519/m)[0] . '"}';

$primary->restart;
is($primary->safe_psql('postgres', sign_in($token)), $signed_in, 'it is good after a restart');
is(slurp_file($file), $content, 'the keyring is the same after a restart');

# In a database of another encoding claims beyond ASCII are none, and what we
# sign is UTF-8 all the same.
$primary->safe_psql('postgres', "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
is( $primary->safe_psql('latin', qq(SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE;
		SET request.jwt.claims = '{"sub":"$user","email":"ann"}'; SELECT plinth.auth_uid(), plinth.auth_jwt() ->> 'email';
		SET request.jwt.claims = '{"sub":"$user","email":"\\u00e9"}'; SELECT plinth.auth_uid() IS NULL, plinth.auth_jwt() IS NULL;
		SET request.jwt.claims = '{"sub":"$user","email":"\\u20ac"}'; SELECT plinth.auth_uid() IS NULL, plinth.auth_jwt() IS NULL)),
	"$user|ann\nt|t\nt|t", 'claims in LATIN1');
my $latin = $primary->safe_psql('latin', qq(SELECT plinth.jwt_sign(jsonb_build_object('name', chr(233)) || '{$claims}')));
is($primary->safe_psql('postgres', "SELECT plinth.jwt_verify('$latin') ->> 'name' = chr(233)"), 't', 'a token signed in LATIN1 is UTF-8');
like($primary->safe_psql('latin', "SELECT plinth.jwt_verify('$token') ->> 'role'"), qr/authenticated/, 'an ASCII token is good in LATIN1');
$primary->safe_psql('postgres', 'DROP DATABASE latin WITH (FORCE)');

# A session that has its keys loaded takes changes up.
my $session = $primary->background_psql('postgres', on_error_stop => 0);
my $good = "DO \$\$ BEGIN PERFORM plinth.jwt_verify('$token'); PERFORM set_config('test.answer', 'good', false);"
  . " EXCEPTION WHEN OTHERS THEN PERFORM set_config('test.answer', SQLSTATE, false); END \$\$;"
  . " SELECT current_setting('test.answer')";
is($session->query($good), 'good', 'a session has loaded the keys');

is( $primary->safe_psql('postgres',
		q(SELECT plinth.key_import('{"keys":[{"kty":"oct","kid":"test","k":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}]}'))),
	'1', 'a key is imported');
is($session->query(q(SELECT state FROM plinth.keys WHERE kid = 'test')), 'verify', 'the other session knows it at once');
is(sprintf('%04o', (stat($file))[2] & 07777), '0600', 'the new keyring has mode 0600');
ok(!-e "$file.tmp", 'nothing is left beside it');

my $imported = slurp_file($file);
(my $revoked = $imported) =~ s/(token Ed25519) active/$1 revoked/;
replace_keyring($file, $revoked, 0600);
ok(answers_in_time($session, $good, '28000'), 'tokens of a key that is marked revoked stop');
like(error_of($primary, "SELECT plinth.jwt_verify('$token')"), qr/28000: Invalid or expired token/, 'in new sessions too');
like(decode_base64url((split /\./, $primary->safe_psql('postgres', "SELECT plinth.jwt_sign('{$claims}')"))[0]),
	qr/"alg":"HS256"/, 'the other active key signs');
is($primary->safe_psql('postgres', sign_in($no_kid)), $signed_in, 'a token without kid is good as before');
(my $two = $imported) =~ s/^\S+ test (token HS256) verify/99 test $1 active/m;
replace_keyring($file, $two, 0600);
ok(answers_in_time($session, q(SELECT count(*) FROM plinth.keys WHERE key_id = 99), '1'), 'two keys of the algorithm are active');
like(error_of($primary, "SELECT plinth.jwt_verify('$no_kid')"), qr/28000: Invalid or expired token/, 'a token without kid is none of them');
replace_keyring($file, $imported, 0600);
ok(answers_in_time($session, $good, 'good'), 'and are good again with the old file');

# A file that others could read, or that is none, is refused and not mended.
chmod(0640, $file);
ok(answers_in_time($session, $good, '55000'), 'a keyring that its group may read is refused');
$session->quit;
like(error_of($primary, "SELECT * FROM plinth.keys"), qr/55000: could not use the keyring.*has the mode 0640/s, 'the error says why');
$primary->restart;
like(slurp_file($primary->logfile), qr/keyring "plinth_keyring" will not be used/, 'the log says so at start');
like(error_of($primary, sign_in($token)), qr/55000:.*plinth\.preflight/s, 'nobody signs in');
is($primary->safe_psql('postgres', qq(SET request.jwt.claims = '{"sub":"$user"}'; SELECT plinth.auth_uid())), $user,
	'claims of a gateway need no keyring');
chmod(0600, $file);
is($primary->safe_psql('postgres', sign_in($token)), $signed_in, 'with mode 0600 it is used, without a restart');

replace_keyring($file, $imported . "9 odd\n", 0600);
like(error_of($primary, "SELECT * FROM plinth.keys"), qr/55000:.*Line 10 of file/s, 'a damaged keyring is refused, by its line');
unlink($file);
like(error_of($primary, "SELECT * FROM plinth.keys"), qr/55000:.*could not be opened/s, 'so is a missing one');
replace_keyring($file, $imported, 0600);

# A standby: the base backup brings the keyring along.
$primary->safe_psql('postgres', qq(
	INSERT INTO auth.users (id, email) VALUES ('$user', 'ann\@example.com');
	INSERT INTO auth.sessions (id, user_id, not_after) VALUES ('$session_id', '$user', now() + interval '1 day')));
my $session_token = $primary->safe_psql('postgres', qq(SELECT plinth.jwt_sign('{$claims,"session_id":"$session_id"}')));
$primary->backup('copy');
is(sprintf('%04o', (stat($primary->backup_dir . '/copy/plinth_keyring'))[2] & 07777), '0600', 'the keyring is in the base backup, with its mode');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
my $copy = $standby->data_dir . '/plinth_keyring';
is(slurp_file($copy), $imported, 'whole');
# only the test's own copying loses it
chmod(0600, $copy);
$standby->start;
is($standby->safe_psql('postgres', sign_in($token)), $signed_in, 'a standby verifies a token');
is($standby->safe_psql('postgres', sign_in($session_token)), $signed_in, 'and looks its session up');
is( $standby->safe_psql('postgres', qq(SET request.jwt.claims = '{"sub":"$user","role":"authenticated","email":"a"}';
		SELECT plinth.auth_uid(), plinth.auth_role(), plinth.auth_email(), plinth.auth_jwt() ->> 'role', plinth.is_service())),
	"$user|authenticated|a|authenticated|t", 'the claims functions work on a standby');
$primary->safe_psql('postgres', 'UPDATE auth.sessions SET revoked_at = now()');
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
like(error_of($standby, sign_in($session_token)), qr/28000: Invalid or expired token/, 'a session that has ended has ended there too');

# A standby does not make a keyring of its own, which would open nothing.
$standby->stop;
unlink($copy);
$standby->start;
ok(!-e $copy, 'a standby makes no keyring');
like(slurp_file($standby->logfile), qr/keyring "plinth_keyring" is missing/, 'but asks for it in the log');
like(error_of($standby, sign_in($token)), qr/55000/, 'nobody signs in there');
replace_keyring($copy, $imported, 0600);
is($standby->safe_psql('postgres', sign_in($token)), $signed_in, 'until it is copied');
$standby->stop;
$primary->stop;

# The keyring may be elsewhere.
my $other = PostgreSQL::Test::Utils::tempdir() . '/keys';
$primary->append_conf('postgresql.conf', "plinth.keyring = '$other'\n");
$primary->start;
ok(-e $other, 'plinth.keyring says where the file is');
like(error_of($primary, sign_in($token)), qr/28000/, 'a token of another keyring is refused');
$primary->stop;

# Without preloading there is no keyring, but claims work.
$primary->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$primary->start;
like(error_of($primary, sign_in($token)), qr/55000:.*plinth\.preflight/s, 'signing in without the library preloaded is refused with a hint');
like(error_of($primary, 'SELECT * FROM plinth.keys'), qr/55000:/, 'so is the view of keys');
like(error_of($primary, qq(SELECT plinth.key_import('{"keys":[{"kty":"oct","k":"QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI"}]}'))),
	qr/55000:/, 'so is an import');
is( $primary->safe_psql('postgres', qq(SET request.jwt.claims = '{"sub":"$user"}'; SELECT plinth.auth_uid();
		SET request.jwt.claims = '{"sub":'; SELECT plinth.auth_uid() IS NULL)),
	"$user\nt", 'claims of a gateway count all the same');
$primary->stop;

done_testing();
