# Rotation of the seal key: with sessions open, with a crash in the middle, and
# in every database of the server.

use strict;
use warnings;

use PlinthCluster;
use PostgreSQL::Test::BackgroundPsql;
use PostgreSQL::Test::Utils;
use Test::More;

my $values = 3000;

# A table of sealed values, and a function that reseals slowly, so that there
# is time to crash.
my $vault = qq(
	CREATE TABLE vault (id int PRIMARY KEY, token bytea);
	ALTER TABLE vault OWNER TO plinth_owner;
	CREATE FUNCTION reseal(batch integer) RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS \$\$
		SELECT pg_sleep(0.01);
		WITH resealed AS (
			UPDATE public.vault AS v SET token = plinth.reseal(v.token, 'vault.token:' || v.id)
			WHERE v.id IN (SELECT o.id FROM public.vault AS o
				WHERE plinth.sealed_key_id(o.token) <> (SELECT k.key_id FROM plinth.keys AS k WHERE k.purpose = 'seal' AND k.state = 'active')
				ORDER BY o.id LIMIT least(batch, 50) FOR UPDATE)
			RETURNING v.id)
		SELECT count(*) FROM resealed
	\$\$;
	INSERT INTO vault SELECT i, plinth.seal(convert_to('token ' || i, 'UTF8'), 'vault.token:' || i) FROM generate_series(1, $values) AS i;
	INSERT INTO plinth.sealed_columns VALUES ('public.vault', 'token', 'public.reseal'));

# How many values open in their place and are what they were.
my $readable = q(SELECT count(*) FILTER (WHERE plinth.unseal(token, 'vault.token:' || id) = convert_to('token ' || id, 'UTF8')) FROM vault);
my $remaining = q(SELECT remaining FROM plinth.stat_rotation WHERE relation = 'public.vault');
my $nothing_remains = q(SELECT bool_and(remaining = 0 AND last_error IS NULL) FROM plinth.stat_rotation);

my $node = plinth_cluster('rotation');
for my $database ('one', 'two')
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, "SET client_min_messages = warning; CREATE EXTENSION plinth CASCADE; $vault");
	ok(workers_running($node, $database), "the workers of database $database run");
}
is($node->safe_psql('one', $remaining), '0', 'all values are under the active key');

# A session that has loaded the keys, and one that has sealed but not committed.
my $reader = $node->background_psql('one', on_error_stop => 0);
is($reader->query($readable), $values, 'a session reads all values');
my $late = $node->background_psql('one', on_error_stop => 0);
$late->query_safe(q(BEGIN; INSERT INTO vault SELECT 0, plinth.seal('token 0', 'vault.token:0')));

# Rotate, and crash in the middle.
my $new_kid = $node->safe_psql('one', 'SELECT plinth.rotate_keys()');
is($reader->query(q(SELECT kid FROM plinth.keys WHERE purpose = 'seal' AND state = 'active')), $new_kid, 'an open session knows the new key');
ok(wait_for($node, 'one', q(SELECT done > 0 FROM plinth.stat_rotation WHERE relation = 'public.vault')), 'the worker has begun');
is($reader->query($readable), $values, 'all values are readable meanwhile');
is($reader->query(q(SELECT plinth.sealed_key_id(plinth.seal('x', 'y')) = key_id FROM plinth.keys WHERE kid = ') . $new_kid . q(')), 't', 'the open session seals with the new key');
$node->stop('immediate');
eval { $_->quit } for ($reader, $late);
$node->start;
my $left = $node->safe_psql('one', $remaining);
ok($left > 0 && $left < $values, 'the crash came in the middle') or diag("$left remaining");
is($node->safe_psql('one', $readable), $values, 'after the crash all values are readable');

# It goes on by itself, in both databases.
ok(wait_for($node, $_, $nothing_remains), "nothing remains in database $_") for ('one', 'two');
is($node->safe_psql($_, $readable), $values, "all values of database $_ are readable") for ('one', 'two');
is($node->safe_psql('one', q(SELECT DISTINCT kid FROM vault JOIN plinth.keys ON key_id = plinth.sealed_key_id(token))), $new_kid, 'all are under the new key');

# What was sealed before a rotation and committed after it is found, too.
$late = $node->background_psql('one', on_error_stop => 0);
$late->query_safe(q(BEGIN; INSERT INTO vault SELECT 0, plinth.seal('token 0', 'vault.token:0')));
$node->safe_psql('one', 'SELECT plinth.rotate_keys()');
ok(wait_for($node, 'one', $nothing_remains), 'nothing that can be seen remains');
$late->query_safe('COMMIT');
$late->quit;
is($node->safe_psql('one', $remaining), '1', 'a late commit is told');
is($node->safe_psql('one', $readable), $values + 1, 'and readable');
my ($rc, $stdout, $stderr) = $node->psql('one', q(SELECT plinth.key_set_state(k.kid, 'revoked') FROM vault, plinth.keys AS k WHERE id = 0 AND k.key_id = plinth.sealed_key_id(token)),
	extra_params => [ '-v', 'VERBOSITY=verbose' ]);
like($stderr, qr/55000: cannot revoke key.*1 values that are sealed with it/s, 'its key cannot be revoked');
$node->restart;
ok(wait_for($node, 'one', $nothing_remains), 'the worker finds it');
is($node->safe_psql('one', $readable), $values + 1, 'all values are readable');

# A clone of the database does nothing to its values until it is enabled.
# (without a module there is no identity to differ)
$node->safe_psql('one', "SET client_min_messages = warning; SELECT plinth.install('auth')");
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE one');
ok( wait_for($node, 'clone', q(SELECT count(*) = 2 FROM plinth.stat_workers WHERE database = 'clone' AND state = 'idle')),
	'the workers of a clone wait');
$node->safe_psql('one', 'SELECT plinth.rotate_keys()');
ok(wait_for($node, 'one', $nothing_remains), 'rotated where it is enabled');
is($node->safe_psql('clone', $remaining), $values + 1, 'the clone is as it was');
is($node->safe_psql('clone', $readable), $values + 1, 'and readable');
$node->safe_psql('clone', 'SELECT plinth.enable()');
ok(wait_for($node, 'clone', $nothing_remains), 'and follows when it is enabled');

$node->stop;
done_testing();
