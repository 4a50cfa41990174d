#
# ACCOUNT LOG
# With values sent as parameters and log_parameter_max_length = 0 a server that
# logs every statement and every error writes no password, token, key or code;
# neither do the tables and the WAL have one.
#
# Every function of the rooms secrets, account, claims and certificate and of
# the module auth is either driven here, to success and to an error, or named
# as one that handles no secret.
#
# S11.2, S3.6, S6.4
#
use strict;
use warnings;

use Digest::SHA qw(sha256);
use MIME::Base64 qw(decode_base64 encode_base64 encode_base64url);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('account_log');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'plinth'
wal_level = logical
");
$node->start;
my $user = '00000000-0000-4000-8000-0000000000a1';
$node->safe_psql('postgres', "SET client_min_messages = warning;
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('auth');
	SELECT plinth.install('series');
	UPDATE plinth.rate_limit_tiers SET enabled = false;
	INSERT INTO auth.redirect_urls VALUES ('https://example.com/');
	INSERT INTO auth.users (id, email, email_confirmed_at) VALUES ('$user', 'a\@example.com', now());
	INSERT INTO auth.sessions (id, user_id, not_after) VALUES ('$user', '$user', now() + interval '1 day');
	INSERT INTO auth.mfa_factors (id, user_id, secret_sealed, status)
	VALUES ('$user', '$user', plinth.seal(decode('3132333435363738393031323334353637383930', 'hex'), 'mfa_factors.secret_sealed:$user'), 'verified');
	INSERT INTO auth.mfa_challenges (id, factor_id, expires_at) VALUES ('$user', '$user', now() + interval '300 s');");
$node->append_conf('postgresql.conf', "log_statement = all
log_min_duration_statement = 0
log_error_verbosity = verbose
log_min_messages = debug1
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('log_parameter_max_length') = '0'");

# What is sent: all of it has this word, as it is or in base64url.
my $secret = 'hunter2+hunter2+and-more-of-it';
my $verifier = 'hunter2-' . 'v' x 40;
my $challenge = encode_base64url(sha256($verifier));
my $key = encode_base64url('hunter2 is the key of thirty-two');
my $jwk = qq({"kty":"oct","kid":"imported","k":"$key"});
my $start = -s $node->logfile;
my $claims = qq{SELECT set_config('request.jwt.claims', '{"role": "authenticated", "sub": "$user", "session_id": "$user"}', false);\n};
my $file = $node->basedir . '/script';

# Run statements in the extended protocol, in which :name is a parameter;
# returns what the client is told.
sub run_script
{
	my ($script) = @_;
	unlink $file;
	append_to_file($file, $script);
	my ($stdout, $stderr) = ('', '');
	IPC::Run::run(['pgbench', '-n', '-t', 1, '-M', 'extended', '-D', "secret=$secret", '-D', "verifier=$verifier", '-D', "challenge=$challenge",
			'-D', "jwk=$jwk", '-D', "jwks={\"keys\":[$jwk]}", '-D', "short_jwks={\"keys\":[{\"kty\":\"oct\",\"k\":\"aHVudGVyMg\"}]}",
			'-f', $file, '-h', $node->host, '-p', $node->port, 'postgres'],
		'<', \undef, '>', \$stdout, '2>', \$stderr, init => sub { chdir($node->basedir) or die "chdir: $!" });
	return $stdout . $stderr;
}

# A query whose answer, a secret, is kept for later steps and, its end, by the
# test; a command of pgbench must be short.
sub answer
{
	my ($name, $call, $from) = @_;
	$from = defined $from ? "FROM $from" : '';
	return "SELECT $call AS $name $from \\gset\nSELECT right(:$name, 43 * 2) AS kept \\gset\n\\shell echo :kept >> answers\n";
}

# What fails, by the function that fails.
my @failing = (
	[ 'auth.sign_up', "SELECT auth.sign_up('not an address', :secret);" ],
	[ 'auth.sign_up', "SELECT auth.sign_up('c\@example.com', :secret, '[]');" ],
	[ 'auth.sign_in_with_password', "SELECT auth.sign_in_with_password('nobody\@example.com', :secret);" ],
	[ 'auth.refresh_session', 'SELECT auth.refresh_session(:secret);' ],
	[ 'auth.verify_otp', "SELECT auth.verify_otp('recovery', :secret);" ],
	[ 'auth.exchange_code', 'SELECT auth.exchange_code(:secret, :verifier);' ],
	[ 'auth.sign_in_with_provider', "SELECT auth.sign_in_with_provider('github', 'https://example.com/', :secret);" ],
	[ 'auth.complete_provider_sign_in', "SELECT auth.complete_provider_sign_in('$user', :secret, '{}');" ],
	[ 'auth.authenticate', 'SELECT auth.authenticate(:secret);' ],
	[ 'auth.admin_create_user', "SELECT auth.admin_create_user('a\@example.com', :secret);" ],
	[ 'auth.generate_link', "SELECT auth.generate_link('recovery', 'nobody\@example.com');" ],
	[ 'auth.anon_key', "SELECT auth.anon_key('0');" ],
	[ 'auth.update_user', "${claims}SELECT auth.update_user(:secret);" ],
	[ 'auth.update_user', "${claims}SELECT auth.update_user(:secret, current_password => :secret);" ],
	[ 'auth.mfa_enroll', "${claims}SELECT auth.mfa_enroll(:secret);" ],
	[ 'auth.mfa_verify', "${claims}SELECT auth.mfa_verify('$user', '$user', :secret);" ],
	[ 'auth.mfa_recovery_codes', "${claims}SELECT auth.mfa_recovery_codes();" ],
	[ 'plinth.auth_authenticate', 'SELECT plinth.auth_authenticate(:secret);' ],
	[ 'plinth.jwt_verify', 'SELECT plinth.jwt_verify(:secret);' ],
	[ 'plinth.jwt_sign', q(SELECT plinth.jwt_sign(jsonb_build_object('role', :secret::text)) FROM (SELECT set_config('role', 'anon', false)) AS s;) ],
	[ 'plinth.jws_verify', q(SELECT plinth.jws_verify(:secret, jsonb_build_object('kty', 'oct', 'k', :secret::text));) ],
	[ 'plinth.act_as', 'SELECT plinth.act_as(NULL, :secret);' ],
	[ 'plinth.key_import', 'SELECT plinth.key_import(:short_jwks);' ],
	[ 'plinth.key_create', q(SELECT plinth.key_create('nothing');) ],
	[ 'plinth.keyring_export', 'SELECT plinth.keyring_export(left(:secret, 8));' ],
	[ 'plinth.keyring_import', 'SELECT plinth.keyring_import(convert_to(:secret::text, \'UTF8\'), :secret);' ],
	[ 'plinth.seal', q(SELECT plinth.seal(convert_to(:secret::text, 'UTF8'), '');) ],
	[ 'plinth.unseal', "SELECT plinth.unseal(:secret, 'x');" ],
	[ 'plinth.reseal', "SELECT plinth.reseal(:secret, 'x');" ],
	[ 'plinth.sealed_key_id', 'SELECT plinth.sealed_key_id(:secret);' ],
	[ 'plinth.auth_password_hash', 'SELECT plinth.auth_password_hash(repeat(:secret, 100));' ],
	[ 'plinth.auth_password_check', 'SELECT plinth.auth_password_check(left(:secret, 7));' ],
	[ 'plinth.auth_totp_code', "SELECT plinth.auth_totp_code(:secret, 'infinity');" ],
	[ 'plinth.auth_totp_step', "SELECT plinth.auth_totp_step(:secret, '000000', 'infinity', NULL);" ]);

# What succeeds, one after the other in one session; and raises no error.
my @succeeding = (
	[ [qw(auth.sign_up auth.generate_link auth.verify_otp)],
		"SELECT auth.sign_up('b\@example.com', :secret);\n"
		  . answer('otp', "auth.generate_link('confirmation', 'b\@example.com') ->> 'token'")
		  . answer('refresh', "auth.verify_otp('confirmation', :otp) ->> 'refresh_token'") ],
	[ [qw(auth.sign_in_with_password auth.refresh_session auth.authenticate plinth.auth_authenticate plinth.jwt_verify)],
		answer('first', "auth.sign_in_with_password('b\@example.com', :secret) ->> 'refresh_token'")
		  . answer('access', "auth.refresh_session(:first) ->> 'access_token'")
		  . "SELECT auth.authenticate(:access);\nSELECT plinth.auth_authenticate(:access);\nSELECT plinth.jwt_verify(:access);\n" ],
	[ [qw(auth.sign_in_with_provider auth.complete_provider_sign_in auth.exchange_code)],
		"SELECT auth.sign_in_with_provider('github', 'https://example.com/', :challenge) ->> 'flow_id' AS flow \\gset\n"
		  . answer('code', q(auth.complete_provider_sign_in(:flow, 'github-1', '{"email":"p@example.com","email_verified": true}')))
		  . answer('refresh', "auth.exchange_code(:code, :verifier) ->> 'refresh_token'") ],
	[ [qw(auth.admin_create_user auth.anon_key)],
		"SELECT auth.admin_create_user('d\@example.com', :secret);\n" . answer('anon', 'auth.anon_key()') ],
	[ [qw(auth.mfa_enroll auth.mfa_challenge auth.mfa_verify auth.mfa_recovery_codes auth.update_user)],
		"SELECT u.id AS subject, s.id AS session FROM auth.users AS u JOIN auth.sessions AS s ON s.user_id = u.id WHERE u.email = 'b\@example.com' AND s.revoked_at IS NULL ORDER BY s.created_at DESC LIMIT 1 \\gset\n"
		  . "SELECT set_config('request.jwt.claims', jsonb_build_object('role', 'authenticated', 'sub', :subject::text, 'session_id', :session::text)::text, false);\n"
		  . answer('totp', "auth.mfa_enroll('phone') ->> 'secret'")
		  . "SELECT f.id AS factor, plinth.auth_totp_code(plinth.unseal(f.secret_sealed, 'mfa_factors.secret_sealed:' || f.id), now()) AS digits FROM auth.mfa_factors AS f WHERE f.user_id = (:subject::text)::uuid \\gset\n"
		  . "SELECT auth.mfa_challenge(:factor) ->> 'challenge_id' AS asked \\gset\n"
		  . answer('access', "auth.mfa_verify(:factor, :asked, :digits) ->> 'access_token'")
		  . answer('spare', "string_agg(c, ' ')", '(SELECT c FROM auth.mfa_recovery_codes() AS c LIMIT 4) AS few')
		  . "SELECT auth.update_user(:secret || '!', current_password => :secret);\n" ],
	[ [qw(plinth.jwt_sign plinth.jws_verify plinth.act_as)],
		answer('token', q(plinth.jwt_sign('{"role":"anon"}')))
		  . "SELECT plinth.jws_verify(:token, :jwk);\nSELECT plinth.act_as('$user');\n" ],
	[ [qw(plinth.key_import plinth.key_create plinth.keyring_export plinth.keyring_import)],
		"SELECT plinth.key_import(:jwks);\nSELECT plinth.key_create('token', 'HS256');\n"
		  . "SELECT plinth.keyring_export(:secret) AS wrapped \\gset\nSELECT plinth.keyring_import(:wrapped, :secret);\n" ],
	[ [qw(plinth.seal plinth.unseal plinth.reseal plinth.sealed_key_id)],
		"SELECT plinth.seal(convert_to(:secret::text, 'UTF8'), 't.c:1') AS sealed \\gset\n"
		  . "SELECT plinth.unseal(:sealed, 't.c:1');\nSELECT plinth.reseal(:sealed, 't.c:1');\nSELECT plinth.sealed_key_id(:sealed);\n" ],
	[ [qw(plinth.auth_password_hash plinth.auth_password_verify plinth.auth_password_check)],
		"SELECT plinth.auth_password_check(:secret);\nSELECT plinth.auth_password_hash(:secret) AS hash \\gset\nSELECT plinth.auth_password_verify(:secret, :hash);\n" ],
	[ [qw(plinth.auth_new_token plinth.auth_successor_seal plinth.auth_successor_open plinth.auth_pkce_verify)],
		answer('token', 'plinth.auth_new_token()')
		  . "SELECT plinth.auth_successor_seal(:token, :secret) AS sealed \\gset\nSELECT plinth.auth_successor_open(:token, :sealed);\n"
		  . "SELECT plinth.auth_pkce_verify(:challenge, :verifier);\n" ],
	[ [qw(plinth.auth_totp_code plinth.auth_totp_step plinth.auth_totp_secret plinth.auth_base32 plinth.auth_recovery_code)],
		answer('seed', 'plinth.auth_base32(plinth.auth_totp_secret())')
		  . answer('spare', 'plinth.auth_recovery_code()')
		  . "SELECT plinth.auth_totp_code(:secret, now()) AS digits \\gset\nSELECT plinth.auth_totp_step(:secret, :digits, now(), NULL);\n" ]);

# No secret goes in or out.
my @open = qw(auth.uid auth.jwt auth.role auth.email auth.session_id auth.aal auth.deauthenticate auth.has_role
  auth.is_admin auth.empty_successors auth.sign_out auth.get_user auth.get_session auth.purge_expired auth.own_account
  auth.mfa_challenge auth.mfa_unenroll auth.rotate_mfa_keys auth.jwks auth.reset_password_for_email
  auth.admin_get_user_by_id auth.admin_set_role auth.admin_ban_user auth.admin_delete_user auth.unlink_identity
  plinth.keys plinth.key_set_state plinth.auth_jwks plinth.keyring_problem plinth.auth_uid plinth.auth_jwt
  plinth.auth_role plinth.auth_email plinth.auth_session_id plinth.auth_aal plinth.is_service
  plinth.auth_deauthenticate plinth.auth_password_outdated plinth.auth_client_address plinth.auth_user_agent
  plinth.auth_journal plinth.auth_journal_ready plinth.auth_journal_pending plinth.auth_source plinth.auth_lock_ends
  plinth.auth_mfa_guesses_left plinth.generate_certificate_number plinth.certificate_code
  plinth.certificate_code_valid plinth.series_create plinth.series_next plinth.certificate_sign
  plinth.certificate_verify plinth.certificate_keys);

# What these call never fails, whatever it is given.
my @never_failing = qw(plinth.auth_password_verify plinth.auth_new_token plinth.auth_successor_seal plinth.auth_successor_open plinth.auth_pkce_verify
  plinth.auth_totp_secret plinth.auth_base32 plinth.auth_recovery_code);

# The catalogue's functions, those left out that only the others can call.
my %named = map { $_ => 1 } @open;
my %driven = map { $_ => 1 } map { @{ $_->[0] } } @succeeding;
my %failed = map { $_ => 1 } (map { $_->[0] } @failing), @never_failing;
my @functions = split /\n/, $node->safe_psql('postgres', q(
	SELECT DISTINCT n.nspname || '.' || p.proname FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
	WHERE p.prorettype <> 'trigger'::regtype
		AND (n.nspname = 'plinth' AND p.prosrc ~ '^plinth_sql_(secrets|account|claims|certificate)_'
		OR n.nspname = 'auth' AND (has_function_privilege('anon', p.oid, 'EXECUTE') OR has_function_privilege('authenticated', p.oid, 'EXECUTE')
			OR has_function_privilege('service_role', p.oid, 'EXECUTE')))));
is(join(' ', sort grep { !$named{$_} && !$driven{$_} } @functions), '', 'every function is driven here, or known to handle no secret');
is(join(' ', sort grep { !$named{$_} && !$failed{$_} } @functions), '', 'to an error as well');
my %known = map { $_ => 1 } @functions;
is(join(' ', sort grep { !$known{$_} } keys %named, keys %driven, keys %failed), '', 'and nothing else');

my $told = '';
foreach my $case (@failing)
{
	my $heard = run_script($case->[1] . "\n");
	like($heard, qr/ERROR:/, "$case->[0] fails");
	unlike($heard, qr/hunter2/, "$case->[0] tells the client no secret");
}
foreach my $case (@succeeding)
{
	my $heard = run_script($case->[1]);
	unlike($heard, qr/ERROR:|error:/, "no failure: @{ $case->[0] }") or diag($heard);
}

# a token that is used once too often
$told = run_script(answer('token', "auth.sign_in_with_password('d\@example.com', :secret) ->> 'refresh_token'")
	  . "SELECT auth.refresh_session(:token);\n" x 4);
like($told, qr/Invalid or expired token/, 'a token used too often is refused');
unlike($told, qr/hunter2|[A-Za-z0-9_-]{43}/, 'and not shown');

# What there was to be found.
my @answers = split ' ', slurp_file($node->basedir . '/answers');
cmp_ok(scalar(@answers), '>=', 18, 'the answers had secrets');
is(scalar(grep { length($_) < 16 } @answers), 0, 'long enough to be searched for');
my @keys = map { (split / /)[6] } grep { !/^#/ } split /\n/, slurp_file($node->data_dir . '/plinth_keyring');
cmp_ok(scalar(@keys), '>=', 8, 'and so has the keyring');

# A secret as it may stand somewhere: as text, in hexadecimal digits, in base64;
# one that is base64url itself also as the bytes that it stands for.
sub forms
{
	my ($text) = @_;
	my @forms = ($text, unpack('H*', $text), substr(encode_base64($text, ''), 0, int(length($text) / 3) * 4));
	if ($text =~ /^[A-Za-z0-9_-]{43}$/)
	{
		my $bytes = decode_base64($text =~ tr{_-}{/+}r);
		push @forms, $bytes, unpack('H*', $bytes);
	}
	return @forms;
}
my @forms = map { forms($_) } $secret, $verifier, $key, @answers, @keys;

my $log = substr(slurp_file($node->logfile), $start);
foreach my $case (@failing)
{
	my $name = $case->[0] =~ s/^.*\.//r;
	like($log, qr/ERROR:.*\n(?:.*\n){0,6}?.*$name/, "the log has the failure of $case->[0]");
}
like($log, qr/execute .*auth\.authenticate\(\$1\)/, 'the log has statements and parameters');
is(join(' ', grep { index($log, $_) >= 0 } @forms), '', 'the log has no secret');
unlike($log, qr/hunter2/, 'nor a piece of one');
is(join(' ', $log =~ /[A-Za-z0-9_-]{43,}/g), '', 'nor any token');

# The tables and the WAL.
$node->safe_psql('postgres', "CREATE TABLE found (text text); INSERT INTO found VALUES ('it would be found'); CHECKPOINT");
my %seen;
foreach my $folder ('base', 'global', 'pg_wal', 'pg_logical', 'pg_stat')
{
	my @folders = ($node->data_dir . "/$folder");
	while (defined(my $path = shift @folders))
	{
		foreach my $name (slurp_dir($path))
		{
			next if $name =~ /^\.\.?$/;
			push(@folders, "$path/$name"), next if -d "$path/$name";
			my $content = slurp_file("$path/$name");
			$seen{"$folder/it would be found"} = 1 if index($content, 'it would be found') >= 0;
			$seen{"$folder/$name: $_"} = 1 foreach grep { index($content, $_) >= 0 } @forms;
		}
	}
}
is(join("\n", sort keys %seen), "base/it would be found\npg_wal/it would be found", 'tables and WAL have none');

# the setting is what keeps it out: without it the log shows parameters
$node->append_conf('postgresql.conf', "log_parameter_max_length = -1\n");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('log_parameter_max_length') = '-1'");
run_script("SELECT auth.verify_otp('recovery', :secret);\n");
like(slurp_file($node->logfile), qr/hunter2/, 'a log of parameters would have shown it');

$node->stop;
done_testing();
