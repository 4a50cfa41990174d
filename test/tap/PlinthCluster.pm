# A server with plinth for the TAP tests, and what they wait for.
package PlinthCluster;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT = qw(plinth_cluster configure_plinth workers_running wait_for);

# Settings of every server of these tests; more may follow.
sub configure_plinth
{
	my ($node, $more) = @_;
	$node->append_conf(
		'postgresql.conf', qq(
shared_preload_libraries = 'plinth'
wal_level = logical
max_worker_processes = 32
max_wal_senders = 5
max_replication_slots = 10
restart_after_crash = on
) . ($more // ''));
	return;
}

# A new server, running.
sub plinth_cluster
{
	my ($name, $more) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 1);
	configure_plinth($node, $more);
	$node->start;
	return $node;
}

# Wait until a query of a database says "t".
sub wait_for
{
	my ($node, $database, $query) = @_;
	return $node->poll_query_until($database, $query);
}

# Wait until both workers of a database have a process and no work left.
sub workers_running
{
	my ($node, $database) = @_;
	return wait_for(
		$node, $database,
		q{SELECT count(*) = 2 FROM plinth.stat_workers
		  WHERE database = current_database() AND pid IS NOT NULL
			AND state IN ('running', 'idle')});
}

1;
