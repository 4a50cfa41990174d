# Is each subscriber sent what its own SELECT lets it see, and nothing else?
#
# Tables, policies, filters and rows are drawn at random.  Each statement
# changes one row; before and after it every subscriber's SELECT, with the
# filter as its WHERE, says which rows are there for it.  From the two follows
# what the change is to it, and that must be what arrives.
#
# PLINTH_SEED chooses the draw (1 unless set), PLINTH_TABLES how many tables
# (12 unless set).  A failure prints the seed, the table and its policies.
#
# S8.1, S8.2, S8.3

use strict;
use warnings;
use PlinthCluster;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{PLINTH_SEED} // 1;
my $tables = $ENV{PLINTH_TABLES} // 12;
my $steps = 60;
my @users = map { "00000000-0000-4000-8000-0000000000a$_" } 1 .. 4;

srand($seed);
note "seed $seed, $tables tables";

# One of the arguments.
sub pick { return $_[ int(rand(@_)) ]; }
sub chance { return rand() < $_[0]; }
sub number { return int(rand(5)); }
sub user { return pick(@users); }

# A condition of a policy on a table.
sub condition
{
	my ($table, $depth) = @_;

	if ($depth > 0 && chance(0.6))
	{
		my $left = condition($table, $depth - 1);
		my $right = condition($table, $depth - 1);

		return pick("($left AND $right)", "($left OR $right)", "($left OR $right)", chance(0.3) ? "NOT ($left)" : "($left AND $right)");
	}
	my ($k, $l) = (number(), number());
	my @users = ('auth.uid() = a', 'a = auth.uid()', '(SELECT auth.uid()) = b', 'b = (SELECT auth.uid())', 'auth.uid() IN (a, b)', 'auth.uid()::text = t');
	my @row = (
		'true', 'false', "n < $k", 'n = m', 'n >= m', 'n IS NULL', 'f', 'f IS NOT TRUE', "n + m > $k", "coalesce(n, $k) > $l", "n BETWEEN $k AND $l",
		"n IN ($k, $l)", "m = ANY (ARRAY[$k, NULL, $l])", "n NOT IN ($k, $l)", "CASE WHEN f THEN n > $k ELSE m > $l END",
		"t LIKE 'x%'", "t ~ 'y\$'", "upper(t) = 'X'", "t IN ('x', 'yx')", "t IS DISTINCT FROM 'x'", "length(t) > $k", "t < 'y'",
		"d > '2026-01-03'", "amount = $k", "amount < $k.5", 'a = b', "$k = ANY (numbers)", "kind = 'red'", "kind > 'red'", "10 / (n + 1) > $k");
	my @asked = (
		'auth.uid() <> a', 'auth.uid() IS NULL', 'auth.uid() IS NOT NULL', 'auth.uid() = ANY (list)',
		"auth.role() = 'authenticated'", "(auth.jwt() ->> 'team')::int = n", "current_user = 'anon'",
		'EXISTS (SELECT FROM prop.members AS g WHERE g.room = n AND g.member = auth.uid())',
		"EXISTS (SELECT FROM prop.members AS g WHERE g.room = $table.n AND g.member = (SELECT auth.uid()))",
		'n IN (SELECT g.room FROM prop.members AS g)', 'm NOT IN (SELECT g.room FROM prop.members AS g)',
		'(SELECT count(*) FROM prop.members AS g WHERE g.room = m) > 1', "(n, m) IN (SELECT g.room, $k FROM prop.members AS g)",
		'n > (SELECT max(g.room) FROM prop.members AS g WHERE g.member = (SELECT auth.uid())) - 2',
		'prop.is_friend(a)', 'prop.in_team(n)', 'prop.in_team_slowly(n)', 'prop.in_team_forever(n)',
		"to_jsonb($table) ->> 'n' = m::text", "prop.of_row($table)", 'plinth.is_service()');
	return pick(@{ pick(\@users, \@users, \@row, \@row, \@asked) });
}

# A condition of a filter: its text, and what it is in SQL.
sub filter_condition
{
	my ($k, $l, $user) = (number(), number(), user());

	return @{ pick(
		[ "n=eq.$k", "n = $k" ], [ "n=eq.0$k", "n = $k" ], [ "n=neq.$k", "n <> $k" ], [ "n=lt.$k", "n < $k" ], [ "n=lte.$k", "n <= $k" ],
		[ "m=gt.$k", "m > $k" ], [ "m=gte.$k", "m >= $k" ], [ "n=in.($k,$l)", "n IN ($k, $l)" ], [ "n=in.($k,$k)", "n = $k" ],
		[ "n=not.in.($k,$l)", "n NOT IN ($k, $l)" ], [ "n=not.eq.$k", "NOT n = $k" ], [ 'n=is.null', 'n IS NULL' ], [ 'm=not.is.null', 'm IS NOT NULL' ],
		[ "n=isdistinct.$k", "n IS DISTINCT FROM $k" ], [ "n=not.isdistinct.$k", "n IS NOT DISTINCT FROM $k" ],
		[ 'f=is.true', 'f IS TRUE' ], [ 'f=is.false', 'f IS FALSE' ], [ 'f=not.is.true', 'f IS NOT TRUE' ], [ 'f=is.unknown', 'f IS UNKNOWN' ], [ 'f=eq.t', 'f' ],
		[ 't=eq.x', "t = 'x'" ], [ 't=in.("x",y)', "t IN ('x', 'y')" ], [ 't=like.x%', "t LIKE 'x%'" ], [ 't=not.ilike.X%', "t NOT ILIKE 'X%'" ],
		[ 't=match.^[xy]$', "t ~ '^[xy]\$'" ], [ 't=imatch.Y', "t ~* 'Y'" ], [ 't=gt.x', "t > 'x'" ], [ "a=eq.$user", "a = '$user'" ],
		[ "b=in.($user)", "b = '$user'" ], [ "amount=eq.$k.00", "amount = $k" ], [ "amount=lt.$k", "amount < $k" ], [ "amount=in.($k.0,$l)", "amount IN ($k, $l)" ],
		[ "d=eq.2026-01-0" . ($k + 1), "d = '2026-01-0" . ($k + 1) . q(') ], [ 'd=gte.2026-01-03', "d >= '2026-01-03'" ],
		[ 'kind=eq.red', "kind = 'red'" ], [ 'kind=lt.green', "kind < 'green'" ], [ "list=eq.{$user}", "list = ARRAY['$user']::uuid[]" ],
		[ "numbers=eq.{$k}", "numbers = ARRAY[$k]" ]) };
}

sub filter
{
	return (undef, 'true') if chance(0.45);
	my @parts = map { [ filter_condition() ] } 1 .. pick(1, 1, 2, 3);
	return (join(',', map { $_->[0] } @parts), join(' AND ', map { "($_->[1])" } @parts));
}

# A value of a column, NULL now and then.
sub value
{
	my $column = shift;

	return 'NULL' if chance(0.15);
	return number() if $column eq 'n' || $column eq 'm';
	return q(') . user() . q(') if $column eq 'a' || $column eq 'b';
	return pick('true', 'false') if $column eq 'f';
	return q(') . pick('x', 'xy', 'y', 'yx', 'X', user()) . q(') if $column eq 't';
	return pick(number(), number() . '.0', number() . '.50') if $column eq 'amount';
	return q('2026-01-0) . (1 + number()) . q(') if $column eq 'd';
	return q(') . pick('red', 'green', 'blue') . q(') if $column eq 'kind';
	return q('{) . join(',', map { user() } 1 .. pick(0, 1, 1, 2)) . q(}') if $column eq 'list';
	return q('{) . join(',', map { number() } 1 .. pick(0, 1, 2)) . q(}');
}
my @columns = qw(a b n m t f amount d kind list numbers);

my $node = plinth_cluster('routes_property');
my $db = 'app';
sub sql { return $node->safe_psql($db, shift); }

$node->safe_psql('postgres', "CREATE DATABASE $db");
sql(qq{
	SET client_min_messages = warning;
	CREATE EXTENSION plinth CASCADE;
	SELECT plinth.install('realtime');
	CREATE ROLE regress_plinth_member NOLOGIN;
	GRANT authenticated TO regress_plinth_member;
	CREATE SCHEMA prop;
	GRANT USAGE ON SCHEMA prop TO anon, authenticated;

	CREATE TABLE prop.members (room int, member uuid, hidden boolean NOT NULL);
	INSERT INTO prop.members
	SELECT room, ('00000000-0000-4000-8000-0000000000a' || u)::uuid, (room + u) % 4 = 0
	FROM generate_series(0, 4) AS room, generate_series(1, 4) AS u WHERE (room * 7 + u * 3) % 5 < 3;
	ALTER TABLE prop.members ENABLE ROW LEVEL SECURITY;
	CREATE POLICY own ON prop.members FOR SELECT TO authenticated USING (NOT hidden AND (member = auth.uid() OR room = 2));
	CREATE POLICY open ON prop.members FOR SELECT TO anon USING (room = 1);
	GRANT SELECT ON prop.members TO anon, authenticated;

	CREATE FUNCTION prop.is_friend(who uuid) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	RETURN EXISTS (SELECT FROM prop.members AS x, prop.members AS y WHERE x.member = auth.uid() AND y.member = who AND x.room = y.room AND x.hidden);
	CREATE FUNCTION prop.in_team(k int) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT (auth.jwt() ->> ''team'')::int = k';
	CREATE FUNCTION prop.in_team_slowly(k int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN k IS NULL OR (auth.jwt() ->> ''team'')::int <> k; END';
	-- declared as what it is not
	CREATE FUNCTION prop.team_forever() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (auth.jwt() ->> ''team'')::int; END';
	CREATE FUNCTION prop.in_team_forever(k int) RETURNS boolean LANGUAGE sql STABLE RETURN prop.team_forever() = k;
	CREATE TYPE prop.colour AS ENUM ('red', 'green', 'blue');

	CREATE TABLE prop.subs (sub int PRIMARY KEY, tab text, role text, claims text, condition text, id bigint, key text);
	CREATE TABLE prop.steps (tab text, step int, row_id int, PRIMARY KEY (tab, step));
	CREATE TABLE prop.seen (tab text, step int, sub int, row_id int);
	GRANT INSERT ON prop.seen TO anon, authenticated;

	-- note who sees the row that a step is about, before it or after
	CREATE PROCEDURE prop.look(look_tab text, look_step int, look_row int) LANGUAGE plpgsql AS \$\$
	DECLARE
		s	record;
	BEGIN
		FOR s IN SELECT * FROM prop.subs AS x WHERE x.tab = look_tab LOOP
			PERFORM set_config('request.jwt.claims', s.claims, true);
			EXECUTE format('SET LOCAL ROLE %I', s.role);
			EXECUTE format('INSERT INTO prop.seen SELECT %L, %s, %s, id FROM prop.%s WHERE id = %s AND (%s)',
				look_tab, look_step, s.sub, look_tab, look_row, s.condition);
			RESET ROLE;
		END LOOP;
	END \$\$;
});
# the row as an argument; the type of each table is another
sql(q{CREATE FUNCTION prop.of_row(r anyelement) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT (to_jsonb(r) ->> 'm')::int > 1 $$});
ok(workers_running($node, $db), 'workers run');

my $sub = 0;
my $judged = 0;
my %routes;

foreach my $number (1 .. $tables)
{
	my $tab = "t$number";
	my $full = chance(0.7) ? 1 : 0;
	my @script;
	my @subs;

	push @script, "CREATE TABLE prop.$tab (gone_1 text, id int PRIMARY KEY, step int, a uuid, b uuid, n int, gone_2 int, m int, t text, f boolean, amount numeric)";
	push @script, "ALTER TABLE prop.$tab DROP gone_2" if chance(0.5);
	push @script, "ALTER TABLE prop.$tab ADD d date DEFAULT '2026-01-02', ADD kind prop.colour, ADD list uuid[], ADD numbers int[]";
	push @script, "ALTER TABLE prop.$tab DROP gone_1" if chance(0.5);
	push @script, "ALTER TABLE prop.$tab REPLICA IDENTITY FULL" if $full;
	push @script, "ALTER TABLE prop.$tab ENABLE ROW LEVEL SECURITY";
	push @script, "GRANT SELECT ON prop.$tab TO anon, authenticated";
	my @policies = map {
		sprintf('CREATE POLICY p%d ON prop.%s AS %s FOR %s TO %s USING (%s)',
			$_, $tab, ($_ > 1 && chance(0.3)) ? 'RESTRICTIVE' : 'PERMISSIVE', pick('SELECT', 'SELECT', 'ALL'),
			pick('PUBLIC', 'authenticated', 'authenticated', 'anon, authenticated', 'regress_plinth_member'),
			condition($tab, pick(1, 2)))
	} 1 .. pick(1, 1, 2, 3, 4);
	push @script, @policies;
	push @script, "ALTER PUBLICATION plinth_realtime ADD TABLE prop.$tab";
	sql(join(";\n", @script));

	foreach my $who (0 .. $#users, 'anon', 'member', 'again')
	{
		my $role = $who eq 'anon' ? 'anon' : $who eq 'member' ? 'regress_plinth_member' : 'authenticated';
		my $user = $who eq 'member' || $who eq 'again' ? user() : $who eq 'anon' ? '' : $users[$who];
		my $claims = $who eq 'anon' ? '' : qq({"sub":"$user","role":"authenticated","team":) . substr($user, -1) . '}';
		my ($text, $where) = filter();

		$sub++;
		my ($code, $out, $err) = $node->psql($db, qq{
			SET request.jwt.claims = '$claims';
			SET ROLE $role;
			SELECT subscription_id, session_key FROM realtime.subscribe('p', 'prop', '$tab', '*', }
			  . (defined $text ? "\$f\$$text\$f\$" : 'NULL') . ')');
		if ($code != 0)
		{
			fail("seed $seed, $tab: subscribe as $role" . (defined $text ? " with $text" : ''));
			diag(join("\n", @policies, $err));
			next;
		}
		my ($id, $key) = split /\|/, (split /\n/, $out)[-1];
		sql("INSERT INTO prop.subs VALUES ($sub, '$tab', '$role', '$claims', \$f\$$where\$f\$, $id, '$key')");
		push @subs, [ $sub, $role, $user, $text ];
	}
	$routes{$_}++ foreach split /\n/, sql("SELECT route FROM plinth.stat_subscriptions WHERE table_name = '$tab'");

	# one statement a transaction, or several
	my %there;
	my @statements;
	foreach my $step (1 .. $steps)
	{
		my $id = 1 + int(rand(8));
		my $statement;

		if (!$there{$id})
		{
			$statement = "INSERT INTO prop.$tab (id, step, " . join(', ', @columns) . ") VALUES ($id, $step, " . join(', ', map { value($_) } @columns) . ')';
			$there{$id} = 1;
		}
		elsif (chance(0.2))
		{
			$statement = "DELETE FROM prop.$tab WHERE id = $id";
			$there{$id} = 0;
		}
		else
		{
			my @changed = grep { chance(0.3) } @columns;
			$statement = "UPDATE prop.$tab SET " . join(', ', "step = $step", map { "$_ = " . value($_) } @changed) . " WHERE id = $id";
		}
		push @statements, "INSERT INTO prop.steps VALUES ('$tab', $step, $id)",
		  "CALL prop.look('$tab', @{[ 2 * $step ]}, $id)", $statement, "CALL prop.look('$tab', @{[ 2 * $step + 1 ]}, $id)";
		push @statements, 'COMMIT', 'BEGIN' if chance(0.4);
	}
	sql(join(";\n", 'BEGIN', @statements, 'COMMIT'));

	# wait until all of it has been delivered
	my $lsn = sql('SELECT pg_current_wal_insert_lsn()');
	wait_for($node, $db, "SELECT confirmed_lsn >= '$lsn' FROM plinth.stat_stream WHERE database = current_database()")
	  or die 'the stream does not move';

	my $wrong = sql(qq{
		WITH wanted AS (
			SELECT s.sub, t.row_id, t.step,
				CASE WHEN before AND after THEN 'UPDATE' WHEN after THEN 'INSERT' WHEN before THEN 'DELETE' END AS event
			FROM prop.subs AS s JOIN prop.steps AS t USING (tab),
				LATERAL (SELECT EXISTS (SELECT FROM prop.seen AS x WHERE x.tab = s.tab AND x.sub = s.sub AND x.step = 2 * t.step) AS before,
								EXISTS (SELECT FROM prop.seen AS x WHERE x.tab = s.tab AND x.sub = s.sub AND x.step = 2 * t.step + 1) AS after) AS x
			WHERE s.tab = '$tab' AND (before OR after)),
		got AS (
			SELECT s.sub, p.seq, p.event, coalesce(p.payload -> 'new' ->> 'id', p.payload -> 'old' ->> 'id')::int AS row_id,
				(p.payload -> 'new' ->> 'step')::int AS step, p.payload ->> 'reason' AS reason
			FROM prop.subs AS s, realtime.poll(s.id, s.key, 0, 1000) AS p
			WHERE s.tab = '$tab'),
		-- in the order of each row's messages
		numbered_wanted AS (SELECT sub, row_id, event, step, row_number() OVER (PARTITION BY sub, row_id ORDER BY step) AS k FROM wanted),
		numbered_got AS (SELECT sub, row_id, event, step, row_number() OVER (PARTITION BY sub, row_id ORDER BY seq) AS k FROM got WHERE event IN ('INSERT', 'UPDATE', 'DELETE')),
		-- with whole old rows: the same messages
		exact AS (
			SELECT coalesce(w.sub, g.sub) AS sub, format('row %s: wanted %s of step %s, got %s of step %s',
				coalesce(w.row_id, g.row_id), w.event, w.step, g.event, g.step) AS what
			FROM numbered_wanted AS w FULL JOIN numbered_got AS g USING (sub, row_id, k)
			WHERE $full = 1 AND (w.event IS DISTINCT FROM g.event OR g.event <> 'DELETE' AND w.step IS DISTINCT FROM g.step)),
		-- with keys: the same new rows, and removals of none that was not there
		loose AS (
			SELECT coalesce(w.sub, g.sub) AS sub, format('row %s: wanted %s of step %s, got %s of step %s',
				coalesce(w.row_id, g.row_id), w.event, w.step, g.event, g.step) AS what
			FROM (SELECT * FROM wanted WHERE event <> 'DELETE') AS w
				FULL JOIN (SELECT * FROM got WHERE event IN ('INSERT', 'UPDATE')) AS g USING (sub, row_id, step)
			WHERE $full <> 1 AND (w.sub IS NULL OR g.sub IS NULL OR (w.event = 'UPDATE' AND g.event <> 'UPDATE'))
			UNION ALL
			SELECT g.sub, format('row %s: removed too often', g.row_id)
			FROM got AS g WHERE $full <> 1 AND event = 'DELETE'
			GROUP BY g.sub, g.row_id
			HAVING count(*) > (SELECT count(*) FROM wanted AS w WHERE w.sub = g.sub AND w.row_id = g.row_id AND w.event = 'DELETE')),
		others AS (SELECT sub, event || coalesce(': ' || reason, '') FROM got WHERE event NOT IN ('INSERT', 'UPDATE', 'DELETE'))
		SELECT sub || ' ' || what FROM (SELECT * FROM exact UNION ALL SELECT * FROM loose UNION ALL SELECT * FROM others) AS u (sub, what) LIMIT 20
	});
	is($wrong, '', "seed $seed, $tab: what arrives is what SELECT shows")
	  or diag(join("\n", $full ? 'REPLICA IDENTITY FULL' : 'key', @policies,
		  map { join(' ', map { $_ // 'no filter' } @$_) } @subs));
	$judged += sql("SELECT count(*) FROM prop.subs AS s, realtime.poll(s.id, s.key, 0, 1000) WHERE s.tab = '$tab'");
	sql("SELECT realtime.unsubscribe(id, key) FROM prop.subs WHERE tab = '$tab'");
}

note join(', ', map { "$_: $routes{$_}" } sort keys %routes);
cmp_ok($judged, '>', 20 * $tables, "messages were compared ($judged)");
$node->stop;
done_testing();
