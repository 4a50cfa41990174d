#
# ACCOUNT LOG
# With values sent as parameters and log_parameter_max_length = 0 a server that
# logs every statement and every error writes no password, token or code.
#
# S11.2
#
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('account_log');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'plinth'
wal_level = logical
");
$node->start;
$node->safe_psql('postgres', "SET client_min_messages = warning;
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('auth');
	UPDATE plinth.rate_limit_tiers SET enabled = false;
	INSERT INTO auth.redirect_urls VALUES ('https://example.com/');
	INSERT INTO auth.users (id, email, email_confirmed_at) VALUES
		('00000000-0000-4000-8000-0000000000a1', 'a\@example.com', now());
	INSERT INTO auth.sessions (id, user_id, not_after) SELECT id, id, now() + interval '1 day' FROM auth.users;
	INSERT INTO auth.mfa_factors (id, user_id, secret_sealed, status)
	SELECT id, id, plinth.seal('12345678901234567890', 'mfa_factors.secret_sealed:' || id), 'verified' FROM auth.users;
	INSERT INTO auth.mfa_challenges (id, factor_id, expires_at) SELECT id, id, now() + interval '300 s' FROM auth.users;");
$node->append_conf('postgresql.conf', "log_statement = all
log_min_duration_statement = 0
log_error_verbosity = verbose
log_min_messages = debug1
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('log_parameter_max_length') = '0'");

my $secret = 'hunter2+hunter2+and-more-of-it';
my $start = -s $node->logfile;
my $claims = q{SELECT set_config('request.jwt.claims', '{"role": "authenticated", "sub": "00000000-0000-4000-8000-0000000000a1", "session_id": "00000000-0000-4000-8000-0000000000a1"}', false);};
my $file = $node->basedir . '/script';

# Run statements in the extended protocol, in which :secret is a parameter;
# returns what the client is told.
sub run_script
{
	my ($script) = @_;
	unlink $file;
	append_to_file($file, $script);
	my ($stdout, $stderr) = ('', '');
	IPC::Run::run(['pgbench', '-n', '-t', 1, '-M', 'extended', '-D', "secret=$secret",
			'-f', $file, '-h', $node->host, '-p', $node->port, 'postgres'],
		'<', \undef, '>', \$stdout, '2>', \$stderr);
	return $stdout . $stderr;
}

# each of these fails
my @failing = (
	[ 'sign_up', "SELECT auth.sign_up('not an address', :secret);" ],
	[ 'sign_in_with_password', "SELECT auth.sign_in_with_password('nobody\@example.com', :secret);" ],
	[ 'refresh_session', 'SELECT auth.refresh_session(:secret);' ],
	[ 'verify_otp', "SELECT auth.verify_otp('recovery', :secret);" ],
	[ 'exchange_code', 'SELECT auth.exchange_code(:secret, :secret);' ],
	[ 'sign_in_with_provider', "SELECT auth.sign_in_with_provider('github', 'https://example.com/', :secret);" ],
	[ 'authenticate', 'SELECT auth.authenticate(:secret);' ],
	[ 'admin_create_user', "SELECT auth.admin_create_user('a\@example.com', :secret);" ],
	[ 'update_user', "$claims\nSELECT auth.update_user(:secret);" ],
	[ 'current_password', "$claims\nSELECT auth.update_user(:secret, current_password => :secret);" ],
	[ 'mfa_verify', "$claims\nSELECT auth.mfa_verify('00000000-0000-4000-8000-0000000000a1', '00000000-0000-4000-8000-0000000000a1', :secret);" ],
	[ 'auth_totp_code', "SELECT plinth.auth_totp_code(:secret, 'infinity');" ],
	[ 'auth_password_hash', 'SELECT plinth.auth_password_hash(repeat(:secret, 100));' ],
	[ 'unseal', "SELECT plinth.unseal(:secret, 'x');" ]);
foreach my $case (@failing)
{
	my $told = run_script($case->[1] . "\n");
	like($told, qr/ERROR:/, "$case->[0] fails");
	unlike($told, qr/hunter2/, "$case->[0] tells the client no secret");
}

# and these answer tokens, which are used, and one of them once too often
my $told = run_script(qq{SELECT auth.sign_up('b\@example.com', :secret);
SELECT auth.generate_link('confirmation', 'b\@example.com') ->> 'token' AS token \\gset
SELECT auth.verify_otp('confirmation', :token);
SELECT auth.sign_in_with_password('b\@example.com', :secret) ->> 'refresh_token' AS token \\gset
SELECT auth.refresh_session(:token) ->> 'access_token' AS access \\gset
SELECT auth.authenticate(:access);
SELECT auth.refresh_session(:token);
SELECT auth.refresh_session(:token);
SELECT auth.refresh_session(:token);
});
like($told, qr/Invalid or expired token/, 'a token used too often is refused');
unlike($told, qr/hunter2|[A-Za-z0-9_-]{43}/, 'and not shown');

my $log = substr(slurp_file($node->logfile), $start);
foreach my $case (@failing)
{
	like($log, qr/ERROR:.*\n(?:.*\n){0,6}?.*$case->[0]/, "the log has the failure of $case->[0]");
}
like($log, qr/execute .*auth\.authenticate\(\$1\)/, 'the log has statements and parameters');
unlike($log, qr/hunter2/, 'the log has no password');
unlike($log, qr/[A-Za-z0-9_-]{43}/, 'nor any token');

# the setting is what keeps it out: without it the log shows parameters
$node->append_conf('postgresql.conf', "log_parameter_max_length = -1\n");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('log_parameter_max_length') = '-1'");
run_script("SELECT auth.verify_otp('recovery', :secret);\n");
like(slurp_file($node->logfile), qr/hunter2/, 'a log of parameters would have shown it');

$node->stop;
done_testing();
