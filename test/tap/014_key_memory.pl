# Where keys are in the memory of a backend that uses all of them: in pages that
# are locked and left out of core dumps, and nowhere else (S11.3).

use strict;
use warnings;

use MIME::Base64 qw(decode_base64url);
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'needs /proc/<pid>/smaps' unless -r "/proc/$$/smaps";

# The mappings of a process that can be written, as hashes.
sub mappings
{
	my ($pid) = @_;
	my @found;

	open(my $smaps, '<', "/proc/$pid/smaps") or die "smaps: $!";
	while (my $line = <$smaps>)
	{
		if ($line =~ /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) /)
		{
			push @found, { from => hex($1), until => hex($2), rights => $3, guarded => 0 };
		}
		elsif ($line =~ /^VmFlags:(.*)/)
		{
			my %flags = map { $_ => 1 } split(' ', $1);
			$found[-1]->{guarded} = $flags{lo} && $flags{dd} ? 1 : 0;
		}
	}
	close($smaps);
	return grep { $_->{rights} =~ /^rw/ } @found;
}

# The bytes of a mapping, in parts that overlap by the length of a key.
sub holds
{
	my ($memory, $mapping, $key) = @_;
	my $part = 16 * 1024 * 1024;

	for (my $at = $mapping->{from}; $at < $mapping->{until}; $at += $part - 64)
	{
		my $left = $mapping->{until} - $at;
		my $bytes;
		sysseek($memory, $at, 0) or return 0;
		defined(sysread($memory, $bytes, $left < $part ? $left : $part)) or return 0;
		return 1 if index($bytes, $key) >= 0;
		last if $left <= $part;
	}
	return 0;
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'plinth'\nshared_buffers = 8MB\n");
$node->start;
$node->safe_psql('postgres', "SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE;"
	  . " SELECT plinth.install('auth'), plinth.install('audit')");

# every kind of key is used, and the whole keyring is exported
my $session = $node->background_psql('postgres', on_error_stop => 1);
my $pid = $session->query_safe('SELECT pg_backend_pid()');
my $used = $session->query_safe(<<'SQL');
CREATE TABLE used AS
SELECT plinth.seal('what is kept', 'a test') AS sealed,
	   plinth.jwt_sign('{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}') AS token,
	   plinth.certificate_sign('{"number":"EVOLV-1"}') AS certificate,
	   plinth.keyring_export('a passphrase that is long enough') AS keyring;
SELECT convert_from(plinth.unseal(sealed, 'a test'), 'UTF8') FROM used;
SELECT plinth.key_create('token', 'Ed25519') IS NOT NULL;
SELECT length(plinth.jwt_sign('{"sub":"00000000-0000-4000-8000-0000000000a1","role":"authenticated"}'));
SELECT plinth.auth_authenticate(token) ->> 'role' FROM used;
SELECT audit.head();
SQL
like($used, qr/what is kept/, 'the keys are used');

my %keys;
for my $line (split /\n/, slurp_file($node->data_dir . '/plinth_keyring'))
{
	my ($number, $kid, $purpose, $algorithm, $state, $at, $key) = split(' ', $line);
	next if $line =~ /^#/ || !defined $key;
	# of an Ed25519 key the seed is secret, the rest is public
	$keys{"$number ($purpose, $algorithm)"} = substr(decode_base64url($key), 0, 32);
}
cmp_ok(scalar keys %keys, '>=', 5, 'there are keys of every kind');

my @mappings = mappings($pid);
my @guarded = grep { $_->{guarded} } @mappings;
cmp_ok(scalar @guarded, '>=', 1, 'memory is locked and left out of core dumps');

SKIP:
{
	skip 'the memory of another process cannot be read here', 2 * keys %keys
	  unless open(my $memory, '<:raw', "/proc/$pid/mem");
	for my $name (sort keys %keys)
	{
		is(scalar(grep { holds($memory, $_, $keys{$name}) } @guarded), 1, "key $name is in guarded memory");
		is(scalar(grep { holds($memory, $_, $keys{$name}) } grep { !$_->{guarded} } @mappings),
			0, "key $name is nowhere else");
	}
	close($memory);
}

$session->quit;
$node->stop;
done_testing();
