# The wall clock of the server's machine is set: limits do not notice (S7.4).
# libfaketime sets it for the server alone and leaves the monotonic clocks.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($library) = glob('/usr/lib/*/faketime/libfaketime.so.1');
plan skip_all => 'needs libfaketime (package faketime)' unless defined $library;

my $node = PostgreSQL::Test::Cluster->new('main');
my $clock = $node->basedir . '/clock';

# Set the wall clock: seconds from what it is in truth.
sub set_clock
{
	my ($seconds) = @_;
	unlink("$clock.new");
	append_to_file("$clock.new", sprintf("%+ds\n", $seconds));
	rename("$clock.new", $clock) or die "$clock: $!";
}

# How far the server's clock is from ours, in seconds.
sub clock_is_off
{
	return $node->safe_psql('postgres', 'SELECT extract(epoch FROM clock_timestamp())') - time();
}

# Take one from a window and one from a bucket of the name: "t" or "f" each.
sub taken
{
	my ($name, $seconds) = @_;
	return $node->safe_psql('postgres',
		"SELECT (SELECT allowed FROM plinth.check_rate_limit('$name', 'w$seconds')),"
		  . " (SELECT allowed FROM plinth.rate_limit('$name', 2, 2, '$seconds s'))");
}

set_clock(0);
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'plinth'\n");
{
	local %ENV = (
		%ENV,
		LD_PRELOAD => $library,
		FAKETIME_TIMESTAMP_FILE => $clock,
		FAKETIME_NO_CACHE => 1,
		FAKETIME_DONT_FAKE_MONOTONIC => 1,
		DONT_FAKE_MONOTONIC => 1);
	$node->start;
}
$node->safe_psql('postgres', "SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE;
	INSERT INTO plinth.rate_limit_tiers VALUES ('w1800', 2, 1800), ('w1', 2, 1)");

for my $step (3600, -3600)
{
	my $way = $step > 0 ? 'forward' : 'back';

	set_clock(0);
	is(join(' ', map { taken("long $way", 1800) } 1 .. 3), 't|t t|t f|f', 'two in half an hour, and no third');
	taken("short $way", 1) for 1 .. 3;

	set_clock($step);
	cmp_ok(abs(clock_is_off() - $step), '<', 60, "the clock is stepped an hour $way");
	is(taken("long $way", 1800), 'f|f', 'that frees no key');
	ok($node->poll_query_until('postgres',
			"SELECT (SELECT allowed FROM plinth.check_rate_limit('short $way', 'w1'))"),
		'nor freezes one with a window of a second');
	ok($node->poll_query_until('postgres',
			"SELECT allowed FROM plinth.rate_limit('short $way', 2, 2, '1 s')"),
		'nor one with a bucket');
	is($node->safe_psql('postgres',
			"SELECT bool_and(window_end BETWEEN clock_timestamp() AND clock_timestamp() + interval '30 minutes')
			 FROM plinth.rate_limits WHERE identifier = 'long $way'"),
		't', 'the time at which it is free is told by the clock as it is now');
}

$node->stop;
done_testing();
