# What has no seal yet is sealed in batches of whole transactions, also when
# the worker is ended between two of them.

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = plinth_cluster('batches', qq(
plinth.audit_seal_interval = '100ms'
max_prepared_transactions = 5
));
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION plinth CASCADE');
$node->safe_psql('app', q{SELECT plinth.install('audit')});

# Records as the trigger writes them, in a transaction of their own, which is
# left prepared if it has a name.
sub add_records
{
	my ($records, $name) = @_;
	my $end = defined $name ? "PREPARE TRANSACTION '$name'" : 'COMMIT';
	$node->safe_psql('app', qq{BEGIN; INSERT INTO audit.audit_logs (id, table_schema, table_name, action, era, created_at)
		SELECT (lpad(to_hex(floor(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(n), 19, '0'))::uuid,
			'public', 'notes', 'DELETE', 1, at FROM clock_timestamp() AS at, generate_series(1, $records) AS n; $end});
	return;
}

# Nobody makes a seal between these two.
sub hold_seals { $node->safe_psql('app', q{BEGIN; LOCK TABLE audit.seals IN SHARE MODE; PREPARE TRANSACTION 'hold'}); return }
sub release_seals { $node->safe_psql('app', q{COMMIT PREPARED 'hold'}); return }

my $unsealed = q{SELECT count(*) FROM audit.audit_logs AS l
	WHERE NOT EXISTS (SELECT FROM audit.seals AS s WHERE s.era = l.era AND pg_visible_in_snapshot(l.txid, s.snapshot))};
my $all_sealed = "SELECT ($unsealed) = 0";
# the oldest transaction of an uncut snapshot is one that runs
my $is_cut = q{pg_snapshot_xmin(snapshot) <> coalesce((SELECT min(x) FROM pg_snapshot_xip(snapshot) AS x), pg_snapshot_xmax(snapshot))};

# One runs at a seal, and ends before the next.
add_records(1, 'late');
add_records(1);
ok(wait_for($node, 'app', 'SELECT count(*) = 1 FROM audit.seals'), 'a record is sealed while a transaction runs');

hold_seals();
add_records(300_000);
add_records(100_000);
add_records(1, 'later');
add_records(100_000);
add_records(100_000);
$node->safe_psql('app', q{COMMIT PREPARED 'late'});
release_seals();
ok(wait_for($node, 'app', $all_sealed), 'many records are sealed');
is($node->safe_psql('app', "SELECT string_agg(rows::text, ' ' ORDER BY id) FROM audit.seals"),
	'1 1 300000 200000 100000', 'in batches of whole transactions');
is($node->safe_psql('app', "SELECT string_agg(($is_cut)::text, ' ' ORDER BY id) FROM audit.seals"),
	'false true true true false', 'the last of which is not cut');
is($node->safe_psql('app', 'SELECT DISTINCT status FROM audit.verify(NULL, NULL)'), 'ok', 'and verified');
is($node->safe_psql('app', q{SELECT string_agg(p ->> 'tree_size', ' ' ORDER BY txid) FROM (
		(SELECT id, txid FROM audit.audit_logs ORDER BY txid LIMIT 1) UNION ALL
		(SELECT id, txid FROM audit.audit_logs ORDER BY txid DESC LIMIT 1)) AS l, audit.proof(l.id) AS p}),
	'1 100000', 'and proven');

# The worker is ended again and again; whatever it was doing, nothing is left
# out and nothing sealed twice.
hold_seals();
$node->safe_psql('app', q{COMMIT PREPARED 'later'});
add_records(150_000) for 1 .. 5;
my $seals = $node->safe_psql('app', 'SELECT count(*) FROM audit.seals');
release_seals();
my $ended = 0;
while ($node->safe_psql('app', $unsealed) > 0 && $ended < 2)
{
	$seals++;
	ok(wait_for($node, 'app', "SELECT count(*) >= $seals OR ($unsealed) = 0 FROM audit.seals"), "there are $seals seals");
	$node->safe_psql('app', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'plinth upkeep' AND datname = 'app'});
	$ended++;
}
cmp_ok($ended, '>', 0, 'the worker was ended before it was done');
ok(wait_for($node, 'app', $all_sealed), 'the next one goes on');
is($node->safe_psql('app', 'SELECT DISTINCT status FROM audit.verify(NULL, NULL)'), 'ok', 'and verified');
is($node->safe_psql('app', 'SELECT sum(rows) = (SELECT count(*) FROM audit.audit_logs) FROM audit.seals'), 't', 'each record once');

# Over one large transaction, which is one seal, it ends at once (S9.3).
hold_seals();
add_records(500_000);
my $worker = q{pg_stat_activity WHERE backend_type = 'plinth upkeep' AND datname = 'app'};
ok(wait_for($node, 'app', "SELECT count(*) = 1 FROM $worker AND wait_event_type = 'Lock'"), 'the worker waits');
my $pid = $node->safe_psql('app', "SELECT pid FROM $worker");
release_seals();
ok(wait_for($node, 'app', "SELECT count(*) = 1 FROM $worker AND wait_event_type IS DISTINCT FROM 'Lock'"), 'the worker seals');
is($node->safe_psql('app', "SELECT pg_terminate_backend($pid, 1000)"), 't', 'and ends within a second');
ok(wait_for($node, 'app', $all_sealed), 'the next one goes on');
is($node->safe_psql('app', "SELECT string_agg(rows::text, ' ') FROM audit.seals WHERE rows > 400000"), '500000', 'with one seal');
is($node->safe_psql('app', 'SELECT DISTINCT status FROM audit.verify(NULL, NULL)'), 'ok', 'and verified');

$node->stop;
done_testing();
