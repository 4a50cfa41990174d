# Functions shared by scripts/, bench/ and the tests.  Source it; do not run it.
#
# A *private tree* is a copy of an installed PostgreSQL that plinth is built
# for and installed into: programs are copied, everything else is linked.
# PostgreSQL finds its files relative to its programs, so nothing of the
# machine's own installation is written to, and no rights on it are needed.
#
# PostgreSQL refuses to run as root: for root everything that builds or runs a
# server runs as user postgres, in a folder that this user owns.

plinth_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

if [ "$(id -u)" -eq 0 ]; then pg_account=postgres; else pg_account=$(id -un); fi

# as_pg COMMAND ...: run it as the account that runs PostgreSQL.
as_pg() {
	if [ "$(id -u)" -eq 0 ]; then
		(cd "${work:-/}" && exec runuser -u "$pg_account" -- \
			env -u PGDATA -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE HOME="${work:-/tmp}" \
			PATH="${bindir:+$bindir:}$PATH" LANG=C.UTF-8 LC_ALL=C.UTF-8 "$@")
	else
		(cd "${work:-/}" && PATH="${bindir:+$bindir:}$PATH" LANG=C.UTF-8 LC_ALL=C.UTF-8 exec "$@")
	fi
}

# find_pg_config: PG_CONFIG, or that of the newest server that is installed
# together with its development files.
find_pg_config() {
	local found
	if [ -n "${PG_CONFIG:-}" ]; then echo "$PG_CONFIG"; return; fi
	for found in $(ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -t/ -k5,5nr) \
			$(command -v pg_config); do
		if [ -x "$found" ] && [ -e "$("$found" --pgxs)" ] &&
			[ -x "$("$found" --bindir)/postgres" ]; then
			echo "$found"
			return
		fi
	done
	return 1
}

# work_folder NAME: set $work to the folder .NAME of this checkout.  Where
# root starts the script and user postgres cannot reach the checkout, or its
# path is too long for a socket, it is a folder below /var/tmp.
work_folder() {
	work=$plinth_root/.$1
	if [ ${#work} -gt 70 ] || { [ "$(id -u)" -eq 0 ] &&
		! (cd / && runuser -u "$pg_account" -- test -x "$plinth_root"); }; then
		work=/var/tmp/plinth-$(id -u)-$1-$(printf '%s' "$plinth_root" | cksum | cut -d' ' -f1)
	fi
	mkdir -p "$work"
	chmod 700 "$work"
	[ "$(id -u)" -ne 0 ] || chown "$pg_account" "$work"
}

# copy_source: this checkout's files into $work/src, without what is built.
copy_source() {
	mkdir -p "$work/src"
	(cd "$plinth_root" && tar -cf - --exclude=.git --exclude='./.check*' --exclude='./.demo*' \
		--exclude=./.bench-* --exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude=./build \
		--exclude=node_modules --exclude='./sql/plinth--*.sql' --exclude=tmp_check \
		--exclude=results --exclude=output_iso .) | tar -xf - -C "$work/src"
	[ "$(id -u)" -ne 0 ] || chown -R "$pg_account" "$work/src"
}

# private_tree: lay the tree out below $work/tree; sets $bindir, $pg_config
# and $pgxs_dir (where pg_regress and the Perl test modules are).
private_tree() {
	local from=$1 dest=${2:-$work/tree} dir
	dir=$("$from" --bindir)
	mkdir -p "$dest$dir"
	cp -f "$dir"/* "$dest$dir/"
	for dir in "$("$from" --pkglibdir)" "$("$from" --sharedir)" \
			"$("$from" --includedir)" "$("$from" --includedir-server)"; do
		mkdir -p "$dest$dir"
		cp -rsf "$dir/." "$dest$dir/"
	done
	bindir=$dest$("$from" --bindir)
	pg_config=$bindir/pg_config
	pgxs_dir=$dest$(dirname "$(dirname "$(dirname "$("$from" --pgxs)")")")
	[ "$(id -u)" -ne 0 ] || chown -R "$pg_account" "$dest"
}

# build_plinth [MAKE ARGUMENTS]: build $work/src and install it into the tree.
build_plinth() {
	as_pg make -s -j2 -C "$work/src" PG_CONFIG="$pg_config" with_llvm=no "$@" all &&
		as_pg make -s -C "$work/src" PG_CONFIG="$pg_config" with_llvm=no "$@" install >/dev/null
}

# free_port: a TCP port of the loopback address that nobody listens on.
free_port() {
	perl -MIO::Socket::INET -e '
		my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 0,
			Proto => "tcp", Listen => 1) or die $!;
		print $s->sockport, "\n";'
}

# server_start DATA PORT [SETTING ...]: make a cluster if there is none, and
# start it with plinth preloaded.  Socket and TCP on the loopback address.
# Sets and exports PGHOST (socket folder), PGPORT, PGUSER, PGDATABASE.
server_start() {
	local data=$1 port=$2 setting
	shift 2
	mkdir -p "$work/socket"
	[ "$(id -u)" -ne 0 ] || chown "$pg_account" "$work/socket"
	if [ ! -e "$data/PG_VERSION" ]; then
		as_pg initdb -D "$data" -U postgres -A trust --locale=C.UTF-8 -E UTF8 >"$work/initdb.log" 2>&1 ||
			{ cat "$work/initdb.log" >&2; return 1; }
		as_pg tee -a "$data/postgresql.conf" >/dev/null <<-CONF
			shared_preload_libraries = 'plinth'
			wal_level = logical
			listen_addresses = '127.0.0.1'
			unix_socket_directories = '$work/socket'
			max_worker_processes = 32
			max_prepared_transactions = 10
			log_line_prefix = '%m [%p] %b %d '
			include_if_exists = 'plinth-run.conf'
		CONF
	fi
	{ echo "port = $port"; for setting in "$@"; do echo "$setting"; done; } |
		as_pg tee "$data/plinth-run.conf" >/dev/null
	as_pg pg_ctl -w -D "$data" -l "$work/server.log" start >/dev/null ||
		{ tail -n 20 "$work/server.log" >&2; return 1; }
	export PGHOST=$work/socket PGPORT=$port PGUSER=postgres PGDATABASE=postgres
}

# server_stop DATA: fast shutdown, quiet when it is not running.
server_stop() {
	if [ -e "$1/postmaster.pid" ]; then
		as_pg pg_ctl -w -D "$1" -m fast stop >/dev/null 2>&1
	fi
	return 0
}

# sql [PSQL ARGUMENTS]: psql as superuser on the server started last.
sql() {
	as_pg env PGHOST="$PGHOST" PGPORT="$PGPORT" PGUSER=postgres PGDATABASE="$PGDATABASE" \
		psql -X -q -v ON_ERROR_STOP=1 "$@"
}
