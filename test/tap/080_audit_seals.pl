# The audit log is sealed, and audit.verify() finds whatever was done to it
# behind its back (S5.2, S5.3).  The bytes, the tree and the proof are
# recomputed here in SQL, from their description in docs/audit.md alone.

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = plinth_cluster('seals', qq(
plinth.audit_seal_interval = '100ms'
max_prepared_transactions = 5
));
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', q{
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('audit');
	CREATE TABLE public.notes (id int PRIMARY KEY, body text, doc jsonb);
	SELECT audit.attach('public.notes');
	CREATE SCHEMA own});

# What docs/audit.md says, in SQL.
my $reference = q{
CREATE FUNCTION own.value(t text) RETURNS bytea LANGUAGE sql AS $$
	SELECT CASE WHEN t IS NULL THEN 'N'::bytea
		ELSE 's'::bytea || int4send(octet_length(convert_to(t, 'UTF8'))) || convert_to(t, 'UTF8') END $$;
CREATE FUNCTION own.document(j jsonb) RETURNS bytea LANGUAGE plpgsql AS $$
BEGIN
	CASE jsonb_typeof(j)
	WHEN 'object' THEN RETURN (SELECT 'o'::bytea || int4send(count(*)::int) || coalesce(string_agg(
			int4send(octet_length(convert_to(key, 'UTF8'))) || convert_to(key, 'UTF8') || own.document(value), ''::bytea
			ORDER BY convert_to(key, 'UTF8')), '') FROM jsonb_each(j));
	WHEN 'array' THEN RETURN (SELECT 'a'::bytea || int4send(count(*)::int)
			|| coalesce(string_agg(own.document(value), ''::bytea ORDER BY n), '')
			FROM jsonb_array_elements(j) WITH ORDINALITY AS e (value, n));
	WHEN 'string' THEN RETURN own.value(j #>> '{}');
	WHEN 'number' THEN RETURN 'd'::bytea || int4send(length(j #>> '{}')) || convert_to(j #>> '{}', 'UTF8');
	WHEN 'boolean' THEN RETURN CASE WHEN j::boolean THEN 't'::bytea ELSE 'f'::bytea END;
	WHEN 'null' THEN RETURN 'n'::bytea;
	ELSE RETURN 'N'::bytea;
	END CASE;
END $$;
CREATE FUNCTION own.micros(t timestamptz) RETURNS bytea LANGUAGE sql AS $$
	SELECT own.value((extract(epoch FROM t) * 1000000)::bigint::text) $$;
CREATE FUNCTION own.record(l audit.audit_logs) RETURNS bytea LANGUAGE sql AS $$
	SELECT 'plinth-audit-record-1'::bytea || own.value(l.id::text) || own.value(l.table_schema) || own.value(l.table_name)
		|| own.value(l.record_id::text) || own.document(l.record_pk) || own.value(l.action)
		|| own.document(l.old_data) || own.document(l.new_data)
		|| CASE WHEN l.changed_columns IS NULL THEN 'N'::bytea ELSE (SELECT 'a'::bytea || int4send(count(*)::int)
			|| coalesce(string_agg(own.value(c), ''::bytea ORDER BY n), '') FROM unnest(l.changed_columns) WITH ORDINALITY AS u (c, n)) END
		|| own.value(l.user_id::text) || own.value(l.user_email) || own.value(l.db_user) || own.value(host(l.ip_address))
		|| own.value(l.user_agent) || own.value(l.session_id::text) || own.value(l.application_name)
		|| own.value(l.era::text) || own.value(l.txid::text) || own.micros(l.created_at) $$;
-- RFC 9162 section 2.1.1
CREATE FUNCTION own.tree(d bytea[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	n int := cardinality(d);
	k int := 1;
BEGIN
	IF n = 0 THEN RETURN sha256(''); END IF;
	IF n = 1 THEN RETURN sha256('\x00'::bytea || d[1]); END IF;
	WHILE k * 2 < n LOOP k := k * 2; END LOOP;
	RETURN sha256('\x01'::bytea || own.tree(d[1:k]) || own.tree(d[k + 1:n]));
END $$;
-- RFC 9162 section 2.1.3.2
CREATE FUNCTION own.proven(p jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	fn bigint := p ->> 'leaf_index';
	sn bigint := (p ->> 'tree_size')::bigint - 1;
	r bytea := sha256('\x00'::bytea || decode(p ->> 'record', 'hex'));
	step text;
BEGIN
	FOR step IN SELECT jsonb_array_elements_text(p -> 'path') LOOP
		IF sn = 0 THEN RETURN false; END IF;
		IF fn % 2 = 1 OR fn = sn THEN
			r := sha256('\x01'::bytea || decode(step, 'hex') || r);
			WHILE fn % 2 = 0 AND fn <> 0 LOOP fn := fn / 2; sn := sn / 2; END LOOP;
		ELSE
			r := sha256('\x01'::bytea || r || decode(step, 'hex'));
		END IF;
		fn := fn / 2; sn := sn / 2;
	END LOOP;
	RETURN sn = 0 AND encode(r, 'hex') = p ->> 'root';
END $$;
CREATE FUNCTION own.seal(s audit.seals) RETURNS bytea LANGUAGE sql AS $$
	SELECT 'plinth-audit-seal-1'::bytea || own.value(s.id::text) || own.value(s.era::text) || own.value(s.snapshot::text)
		|| own.micros(s.first_at) || own.micros(s.last_at) || own.value(s.rows::text)
		|| 's'::bytea || int4send(32) || s.root
		|| CASE WHEN s.previous IS NULL THEN 'N'::bytea ELSE 's'::bytea || int4send(32) || s.previous END
		|| 's'::bytea || int4send(32) || sha256(s.leaves)
		|| own.value(s.key_id::text) || own.micros(s.sealed_at) $$;
CREATE FUNCTION own.seal_hash(s audit.seals) RETURNS bytea LANGUAGE sql AS $$
	SELECT sha256(own.seal(s) || 's'::bytea || int4send(64) || s.signature) $$;
CREATE VIEW own.records AS
	SELECT l AS record, (SELECT s.id FROM audit.seals AS s WHERE s.era = l.era AND pg_visible_in_snapshot(l.txid, s.snapshot)
		ORDER BY s.id LIMIT 1) AS seal_id FROM audit.audit_logs AS l};
$node->safe_psql('app', $reference);

my $all_sealed = 'SELECT count(*) = 0 FROM own.records WHERE seal_id IS NULL';

sub sealed
{
	my ($database) = @_;
	return wait_for($node, $database // 'app', $all_sealed);
}

# What verification says of a database, without what is in order.
sub faults
{
	my ($database, $before, $arguments) = @_;
	$arguments //= 'NULL, NULL';
	return $node->safe_psql($database, qq{BEGIN;
		ALTER TABLE audit.audit_logs DISABLE TRIGGER USER; ALTER TABLE audit.seals DISABLE TRIGGER USER;
		$before;
		SELECT seal_id, status, detail FROM audit.verify($arguments) WHERE status <> 'ok' ORDER BY seal_id;
		ROLLBACK});
}

# --- the tree, against the vectors of the certificate transparency logs

my @leaves = ('', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f');
my @roots = qw(
	e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
	6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d
	fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125
	aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77
	d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7
	4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4
	76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef
	ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c
	5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328);
for my $n (0 .. 8)
{
	my $array = join ', ', map { "'\\x$_'::bytea" } @leaves[0 .. $n - 1];
	is($node->safe_psql('app', "SELECT encode(own.tree(ARRAY[$array]::bytea[]), 'hex')"), $roots[$n],
		"the reference gives the known root of $n leaves");
}

# --- records of months to be purged, in the first seal

my @old = ([ '2001-01-20', 979948800 ], [ '2001-02-20', 982627200 ]);
for my $n (0, 1)
{
	my ($day, $seconds) = @{ $old[$n] };
	my $digits = sprintf '%012x', $seconds * 1000;
	$old[$n] = sprintf q{('%s-%s-7000-8000-000000000000', 'public', 'notes', 'DELETE', 1, '%s 00:00+00')},
	  substr($digits, 0, 8), substr($digits, 8), $day;
}
$node->safe_psql('app', "SET ROLE plinth_owner; SELECT plinth.audit_upkeep('make partition', month) FROM (VALUES ('2001-01-15'), ('2001-02-15')) AS m (month)");
$node->safe_psql('app', 'INSERT INTO audit.audit_logs (id, table_schema, table_name, action, era, created_at) VALUES ' . join ', ', @old);
ok(sealed(), 'old records are sealed');

# --- seals of all sizes, with values of every kind

for my $n (1 .. 9, 33)
{
	$node->safe_psql('app', qq{
		SET request.headers = '{"user-agent": "Agent \x{c3}\x{a9}"}';
		SET request.jwt.claims = '{"sub": "00000000-0000-4000-8000-0000000000a1", "role": "authenticated", "email": "ann\@example.com"}';
		INSERT INTO public.notes SELECT $n * 100 + i, 'caf\x{c3}\x{a9} ' || i,
			'{"z": [1, 2.50, -0.001, 1e20, null, true, false, {}, []], "long key": {"b": "\\u00e9", "aa": ""}}'
			FROM generate_series(1, $n) AS i});
	ok(sealed(), "$n records are sealed");
}
$node->safe_psql('app', q{
	UPDATE public.notes SET body = NULL, doc = '"scalar"' WHERE id < 300;
	DELETE FROM public.notes WHERE id < 200;
	TRUNCATE public.notes});
ok(sealed(), 'changes, deletions and a truncation are sealed');

is($node->safe_psql('app', q{
		SELECT count(*) FROM audit.seals AS s
		WHERE root IS DISTINCT FROM (SELECT own.tree(array_agg(own.record(record)
				ORDER BY (record).txid, (record).created_at, (record).id)) FROM own.records WHERE seal_id = s.id)
			OR rows <> (SELECT count(*) FROM own.records WHERE seal_id = s.id)}),
	'0', 'every root is what SQL makes of the records');
is($node->safe_psql('app', q{
		SELECT count(*) FROM (SELECT previous, lag(own.seal_hash(s)) OVER (ORDER BY id) AS hash FROM audit.seals AS s) AS c
		WHERE previous IS DISTINCT FROM hash}),
	'0', 'every seal holds the hash of the one before');
is($node->safe_psql('app', q{SELECT count(*) FROM own.records AS r, audit.proof((r.record).id) AS p
		WHERE NOT own.proven(p) OR decode(p ->> 'record', 'hex') <> own.record(r.record)
			OR (p ->> 'seal_id')::bigint <> r.seal_id
			OR decode(p ->> 'seal', 'hex') <> (SELECT own.seal(s) FROM audit.seals AS s WHERE s.id = r.seal_id)}),
	'0', 'every record is proven');
like($node->safe_psql('app', q{SELECT bool_and(own.proven(jsonb_set(p, '{leaf_index}', '0')))
		FROM own.records AS r, audit.proof((r.record).id) AS p WHERE (p ->> 'leaf_index')::int = 1}),
	qr/^f$/, 'and not in another place');

SKIP:
{
	my $folder = PostgreSQL::Test::Utils::tempdir();
	my ($message, $signature, $key) = split /\|/, $node->safe_psql('app',
		q{SELECT p ->> 'seal', p ->> 'signature', p ->> 'public_key' FROM audit.audit_logs AS l, audit.proof(l.id) AS p LIMIT 1});
	my %files = (message => $message, signature => $signature, key => '302a300506032b6570032100' . $key);
	for my $name (keys %files)
	{
		open my $file, '>:raw', "$folder/$name" or die $!;
		print $file pack 'H*', $files{$name};
		close $file;
	}
	skip 'no openssl that checks Ed25519', 1
	  unless `openssl version 2>/dev/null` =~ /^OpenSSL 3/;
	like(scalar `openssl pkeyutl -verify -pubin -keyform DER -inkey $folder/key -rawin -in $folder/message -sigfile $folder/signature 2>&1`,
		qr/Verified Successfully/, 'another library checks the signature');
}

is($node->safe_psql('app', q{SELECT DISTINCT status FROM audit.verify(NULL, NULL)}), 'ok', 'everything is in order');
is($node->safe_psql('app', q{SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'German'; SET extra_float_digits = -3;
		SELECT DISTINCT status FROM audit.verify(NULL, NULL)}), 'ok', 'in another time zone too');
is($node->safe_psql('app', q{SELECT count(*) = (SELECT count(*) FROM audit.seals) FROM audit.verify(NULL, NULL)}), 't',
	'a row for each seal');
is($node->safe_psql('app', q{SELECT seal_id FROM audit.seals AS s, audit.verify(s.first_at, s.last_at) WHERE s.rows = 7}),
	$node->safe_psql('app', 'SELECT id FROM audit.seals WHERE rows = 7'), 'a range has the seals that it touches');

# --- nothing new, no seal

my $count = $node->safe_psql('app', 'SELECT count(*) FROM audit.seals');
my $looks = q{SELECT query_start FROM pg_stat_activity WHERE backend_type = 'plinth upkeep' AND datname = 'app'};
my $last_look = $node->safe_psql('app', $looks);
ok(wait_for($node, 'app', "SELECT query_start > '$last_look'::timestamptz + interval '300 ms' FROM ($looks) AS l"), 'the worker looks');
is($node->safe_psql('app', 'SELECT count(*) FROM audit.seals'), $count, 'and seals nothing where nothing is new');

# --- a transaction that commits late

$node->safe_psql('app', q{BEGIN; INSERT INTO public.notes VALUES (5000, 'late'); PREPARE TRANSACTION 'late'});
$node->safe_psql('app', q{INSERT INTO public.notes VALUES (5001, 'early')});
ok(sealed(), 'others are sealed meanwhile');
my $seal = $node->safe_psql('app', 'SELECT max(id) FROM audit.seals');
$node->safe_psql('app', q{INSERT INTO public.notes VALUES (5002, 'early')});
ok(wait_for($node, 'app', "SELECT max(id) > $seal FROM audit.seals"), 'and others again');
$node->safe_psql('app', q{COMMIT PREPARED 'late'});
ok(sealed(), 'the late one is sealed later');
is($node->safe_psql('app', q{SELECT seal_id = (SELECT max(id) FROM audit.seals) FROM own.records WHERE (record).new_data ->> 'body' = 'late'}),
	't', 'in a seal after theirs');
is($node->safe_psql('app', q{SELECT DISTINCT status FROM audit.verify(NULL, NULL)}), 'ok', 'and verified');

# --- who tampers is found

$node->safe_psql('app', q{BEGIN; INSERT INTO public.notes VALUES (5003, 'one after'); INSERT INTO public.notes VALUES (5004, 'the other'); COMMIT});
ok(sealed(), 'two statements of a transaction are sealed');

my ($victim, $its_seal) = split /\|/, $node->safe_psql('app',
	q{SELECT (record).id, seal_id FROM own.records WHERE (record).new_data ->> 'id' = '703'});
my ($other) = $node->safe_psql('app', q{SELECT (record).id FROM own.records WHERE (record).new_data ->> 'id' = '704'});
my $head = $node->safe_psql('app', 'SELECT audit.head()');
my $checked = "NULL, NULL, '$head'";
is($node->safe_psql('app', qq{SELECT DISTINCT status FROM audit.verify($checked)}), 'ok', 'the head is in the chain');

is(faults('app', qq{UPDATE audit.audit_logs SET user_email = 'eve\@example.com' WHERE id = '$victim'}),
	"$its_seal|changed|changed: record $victim", 'a changed record');
is(faults('app', qq{DELETE FROM audit.audit_logs WHERE id = '$victim'}),
	"$its_seal|removed|removed: record $victim", 'a deleted record');
is(faults('app', qq{
		INSERT INTO audit.audit_logs SELECT '01900000-0000-7000-8000-000000000001', table_schema, table_name, record_id, record_pk, action,
			old_data, new_data, changed_columns, user_id, user_email, db_user, ip_address, user_agent, session_id, application_name,
			era, txid, created_at FROM audit.audit_logs WHERE id = '$victim'}),
	"$its_seal|added|added: record 01900000-0000-7000-8000-000000000001", 'an inserted record');
is(faults('app', qq{
		INSERT INTO audit.audit_logs SELECT '01900000-0000-7000-8000-000000000001', table_schema, table_name, record_id, record_pk, action,
			old_data, new_data, changed_columns, user_id, user_email, db_user, ip_address, user_agent, session_id, application_name,
			era, txid, created_at - interval '1 h' FROM audit.audit_logs WHERE id = '$victim'}),
	"$its_seal|added|added: record 01900000-0000-7000-8000-000000000001", 'one with another time');
is(faults('app', qq{UPDATE audit.audit_logs SET created_at = created_at - interval '1 h' WHERE id = '$victim'}),
	"$its_seal|removed|added: record $victim; removed: record $victim", 'a record moved in time');
is(faults('app', qq{
		UPDATE audit.audit_logs AS l SET id = o.id FROM audit.audit_logs AS o
		WHERE (l.id, o.id) IN (('$victim', '$other'), ('$other', '$victim'))}),
	"$its_seal|changed|changed: record $victim; changed: record $other", 'two records that changed places');
my ($early, $late, $their_seal) = split /\|/, $node->safe_psql('app',
	q{SELECT (a.record).id, (b.record).id, a.seal_id FROM own.records AS a JOIN own.records AS b USING (seal_id)
		WHERE (a.record).new_data ->> 'body' = 'one after' AND (b.record).new_data ->> 'body' = 'the other'});
is(faults('app', qq{
		UPDATE audit.audit_logs AS l SET created_at = o.created_at FROM audit.audit_logs AS o
		WHERE (l.id, o.id) IN (('$early', '$late'), ('$late', '$early'))}),
	"$their_seal|reordered|changed: record $late; reordered: record $early", 'two that exchanged their times');
my $next = $its_seal + 1;
my $before = $its_seal - 1;
is(faults('app', qq{UPDATE audit.seals SET rows = rows + 1 WHERE id = $its_seal}),
	"$its_seal|changed|changed: the seal: its signature does not hold", 'a changed seal');
for my $change (q{root = sha256('x')}, q{first_at = first_at - interval '1 s'}, q{sealed_at = now()}, q{leaves = leaves || '\x00'},
	q{signature = '\x00'}, q{previous = NULL}, q{era = 2}, q{leaves = NULL})
{
	like(faults('app', qq{UPDATE audit.seals SET $change WHERE id = $its_seal}),
		qr/^$its_seal\|(changed\|changed: the seal: its signature|added\|changed: the seal: its signature)/m, "a seal with $change");
}
is(faults('app', qq{DELETE FROM audit.seals WHERE id = $its_seal}),
	"$next|removed|removed: at least one seal between $before and $next is missing", 'a missing seal');
is(faults('app', qq{DELETE FROM audit.seals WHERE id = (SELECT min(id) FROM audit.seals)}),
	"2|removed|removed: at least one seal before 2 is missing", 'the first seal missing');
my $last = $node->safe_psql('app', 'SELECT max(id) FROM audit.seals');
is(faults('app', qq{DELETE FROM audit.seals WHERE id = $last}), '', 'a cut tail looks like one that is not sealed yet');
like(faults('app', qq{DELETE FROM audit.seals WHERE id = $last}, $checked), qr/^$last\|removed\|removed: the head's seal/,
	'but the head tells');
like(faults('app', qq{UPDATE audit.seals SET signature = '\\x00' WHERE id = $last}, $checked), qr/^$last\|changed\|changed: the seal is not the one of the head/m,
	'also of a last seal that was changed');
my $partition = $node->safe_psql('app', q{SELECT tableoid::regclass FROM audit.audit_logs ORDER BY created_at DESC LIMIT 1});
is($node->safe_psql('app', qq{BEGIN; DROP TABLE $partition;
		SELECT count(DISTINCT status) = 1 AND min(status) = 'removed' FROM audit.verify(NULL, NULL) WHERE seal_id > 1; ROLLBACK}), 't', 'a dropped partition');

# --- errors

for my $bad (q{'{}'}, q{'[]'}, q{'{"seal_id": "x", "hash": "", "signature": ""}'}, q{'null'})
{
	my ($code, $out, $err) = $node->psql('app', "\\set VERBOSITY sqlstate\nSELECT * FROM audit.verify(NULL, NULL, $bad)");
	like($err, qr/22023/, "a head that is none: $bad");
}
my ($code, $out, $err) = $node->psql('app', "\\set VERBOSITY sqlstate\nSELECT audit.proof('01900000-0000-7000-8000-000000000001')");
like($err, qr/P0002/, 'no proof of what is not there');
($code, $out, $err) = $node->psql('app', qq{\\set VERBOSITY sqlstate
	BEGIN; ALTER TABLE audit.audit_logs DISABLE TRIGGER USER; DELETE FROM audit.audit_logs WHERE id = '$other'; SELECT audit.proof('$victim')});
like($err, qr/55000/, 'nor of what is in a seal that does not hold');
($code, $out, $err) = $node->psql('app', q{\set VERBOSITY sqlstate
	BEGIN; INSERT INTO public.notes VALUES (6000); SELECT audit.proof(id) FROM audit.audit_logs WHERE new_data ->> 'id' = '6000'});
like($err, qr/55000/, 'nor of what is not sealed');
is($node->safe_psql('app', 'SELECT audit.proof(NULL) IS NULL'), 't', 'nor of nothing');

# --- a dump restored elsewhere says the same

my $said = $node->safe_psql('app', "SELECT * FROM audit.verify($checked)");
my $dump = PostgreSQL::Test::Utils::tempdir() . '/app.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('app') ], 'dumped');
$node->safe_psql('postgres', q{CREATE DATABASE copy TEMPLATE template0});
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('copy'), $dump ], 'restored');
is($node->safe_psql('copy', "SELECT * FROM audit.verify($checked)"), $said, 'the copy verifies as the original does');
$node->safe_psql('copy', q{INSERT INTO public.notes VALUES (7000, 'before enable()')});
is($node->safe_psql('copy', "SELECT * FROM audit.verify($checked)"), $said, 'also when it is written to while it waits');
$node->safe_psql('copy', 'SELECT plinth.enable()');
$node->safe_psql('copy', q{INSERT INTO public.notes VALUES (7001, 'after enable()')});
ok(sealed('copy'), 'its own records are sealed');
is($node->safe_psql('copy', "SELECT DISTINCT status FROM audit.verify($checked)"), 'ok', 'and the chain goes on');
is($node->safe_psql('copy', q{SELECT string_agg(DISTINCT era::text, ' ') FROM audit.seals}), '1 2', 'in a new era');

# --- a standby verifies too

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
# the test framework's copies are readable
chmod 0600, $standby->data_dir . '/plinth_keyring';
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('app', "SELECT * FROM audit.verify($checked)"), $said, 'a standby says the same');
$standby->stop;

# --- months that are purged keep their seals

is($node->safe_psql('app', q{SET ROLE service_role; SELECT audit.purge(now() - '2001-02-15 00:00+00', '100 years')}), '1', 'January is purged');
is(faults('app', 'LOCK TABLE audit.marks'), '1|purged|purged: 1 of 2 records', 'half of the seal is');
is($node->safe_psql('app', q{SELECT kind, table_schema, table_name, user_id IS NULL, db_user = session_user FROM audit.marks}),
	'purge|audit|audit_logs_y2001m01|t|t', 'its mark');
is($node->safe_psql('app', q{SET ROLE service_role; SELECT audit.purge('20 years', '100 years')}), '1', 'February is');
is(faults('app', 'LOCK TABLE audit.marks'), '1|purged|purged: all 2 records', 'all of the seal is');
is(faults('app', q{ALTER TABLE audit.marks DISABLE TRIGGER USER; DELETE FROM audit.marks}), '1|removed|removed: record '
	. join('; removed: record ', map { /'([^']+)'/ } @old), 'without a mark they were removed');

$node->stop;
done_testing();
