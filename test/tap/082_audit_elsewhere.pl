# The audit log of one cluster says the same in another one that has the dump
# and the keys, whatever its time zone and locale (S5.3).

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $passphrase = 'correct horse battery';
my $here = plinth_cluster('here', qq(
plinth.audit_seal_interval = '100ms'
timezone = 'America/St_Johns'
));
$here->safe_psql('postgres', 'CREATE DATABASE app');
$here->safe_psql('app', q{
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('audit');
	CREATE TABLE public.notes (id int PRIMARY KEY, body text, at timestamptz, amount numeric, share float8, raw bytea, span interval);
	SELECT audit.attach('public.notes')});
my $all_sealed = q{SELECT NOT EXISTS (SELECT FROM audit.audit_logs AS l
	WHERE NOT EXISTS (SELECT FROM audit.seals AS s WHERE s.era = l.era AND pg_visible_in_snapshot(l.txid, s.snapshot)))};
for my $n (1, 2, 7)
{
	$here->safe_psql('app', qq{INSERT INTO public.notes SELECT $n * 10 + i, '\x{c3}\x{84}pfel Z z', now(), i / 3.0, i / 3.0, '\\x00ff', '1 day 2 h'
		FROM generate_series(1, $n) AS i});
	ok(wait_for($here, 'app', $all_sealed), "$n records are sealed");
}
$here->safe_psql('app', 'UPDATE public.notes SET amount = -amount, at = at + interval \'1 month\'');
$here->safe_psql('app', 'ALTER TABLE public.notes DISABLE TRIGGER plinth_audit_delete');
ok(wait_for($here, 'app', $all_sealed), 'changes are sealed');
my $head = $here->safe_psql('app', 'SELECT audit.head()');

my $dir = $here->backup_dir;
mkdir $dir;
$here->command_ok([ 'pg_dumpall', '--roles-only', '-f', "$dir/roles.sql", '-d', $here->connstr('postgres') ], 'roles are dumped');
$here->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/app.dump", '-d', $here->connstr('app') ], 'and the database');

# Another cluster, with another locale and in another place.
my $there = PostgreSQL::Test::Cluster->new('there');
$there->init(extra => [ '--locale=C', '--encoding=UTF8' ]);
configure_plinth($there, qq(
plinth.audit_seal_interval = '100ms'
timezone = 'Asia/Kathmandu'
datestyle = 'German, DMY'
intervalstyle = 'iso_8601'
extra_float_digits = -3
bytea_output = 'escape'
));
$there->start;
$there->psql('postgres', '', on_error_stop => 0, extra_params => [ '-f', "$dir/roles.sql" ]);
$there->safe_psql('postgres', 'CREATE DATABASE app TEMPLATE template0');
$there->command_ok([ 'pg_restore', '--exit-on-error', '-d', $there->connstr('app'), "$dir/app.dump" ], 'restored');
is($there->safe_psql('app', 'SELECT count(*) FROM audit.marks'), $here->safe_psql('app', 'SELECT count(*) FROM audit.marks'),
	'without a mark');

# Its own key has the same number, and does not fit.
is($there->safe_psql('app', 'SELECT DISTINCT status FROM audit.verify(NULL, NULL)'), 'changed', 'without the keys nothing is believed');
my $export = $here->safe_psql('app', "SELECT plinth.keyring_export('$passphrase')");
$there->safe_psql('app', "SELECT plinth.keyring_import('$export', '$passphrase')");

# What verification says in both, of the log as it is or after a change.
sub both_say
{
	my ($name, $wanted, $change) = @_;
	my @said = map { $_->safe_psql('app', qq{BEGIN;
		ALTER TABLE audit.audit_logs DISABLE TRIGGER USER; ALTER TABLE audit.seals DISABLE TRIGGER USER;
		$change;
		SELECT * FROM audit.verify(NULL, NULL, '$head') ORDER BY seal_id, status;
		ROLLBACK}) } ($here, $there);
	like($said[0], $wanted, "$name: found");
	is($said[1], $said[0], "$name: the same in both");
	return;
}
both_say('as it is', qr/^(\d+\|ok\|\n?)+$/, 'SELECT FROM audit.seals');
both_say('a changed record', qr/\|changed\|changed: record/, q{UPDATE audit.audit_logs SET new_data = '{}' WHERE new_data ->> 'id' = '21'});
both_say('a removed record', qr/\|removed\|removed: record/, q{DELETE FROM audit.audit_logs WHERE new_data ->> 'id' = '21'});
both_say('a time that was moved', qr/\|(removed|added)\|/, q{UPDATE audit.audit_logs SET created_at = created_at + interval '1 h' WHERE new_data ->> 'id' = '21'});
both_say('a removed seal', qr/\|removed\|removed: at least one seal/, 'DELETE FROM audit.seals WHERE id = 2');
both_say('a cut tail', qr/\|removed\|removed: the head's seal/, 'DELETE FROM audit.seals WHERE id = (SELECT max(id) FROM audit.seals)');

my $proofs = q{SELECT md5(string_agg(p::text, ' ' ORDER BY l.id)) FROM audit.audit_logs AS l, audit.proof(l.id) AS p};
is($there->safe_psql('app', $proofs), $here->safe_psql('app', $proofs), 'the proofs are equal, byte for byte');

# It goes on with a key of its own.
$there->safe_psql('app', 'SELECT plinth.enable()');
$there->safe_psql('app', q{INSERT INTO public.notes (id) VALUES (1000)});
ok(wait_for($there, 'app', $all_sealed), 'new records are sealed');
is($there->safe_psql('app', "SELECT DISTINCT status FROM audit.verify(NULL, NULL, '$head')"), 'ok', 'and the chain goes on');
is($there->safe_psql('app', 'SELECT count(DISTINCT key_id) = 2 AND count(DISTINCT era) = 2 FROM audit.seals'), 't',
	'in a new era, with another key');
$there->safe_psql('app', 'ALTER TABLE public.notes ENABLE TRIGGER plinth_audit_delete');
is($there->safe_psql('app', 'SELECT command FROM audit.marks ORDER BY id DESC LIMIT 1'), 'ALTER TABLE ENABLE TRIGGER plinth_audit_delete',
	'and marks are left again');

$here->stop;
$there->stop;
done_testing();
