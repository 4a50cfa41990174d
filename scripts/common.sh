# Functions shared by the scripts of this folder.  Source it; do not run it.
#
# A private tree is a copy of an installed PostgreSQL that plinth is built
# for and installed into: programs are copied, everything else is linked.
# PostgreSQL finds its files relative to its programs, so nothing of the
# machine's own installation is written to, and no rights on it are needed.

set -u
plinth_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# The account that runs PostgreSQL: the caller, or postgres for root.
if [ "$(id -u)" -eq 0 ]; then pg_account=postgres; else pg_account=$(id -un); fi

# Run a command as that account, from a folder that it can read.
as_pg() {
	if [ "$(id -u)" -eq 0 ]; then
		(cd / && exec runuser -u "$pg_account" -- env HOME="${PLINTH_HOME:-/tmp}" "$@")
	else
		"$@"
	fi
}

# The pg_config of the newest installed server with development files,
# or the one named by PG_CONFIG.
find_pg_config() {
	local found
	if [ -n "${PG_CONFIG:-}" ]; then echo "$PG_CONFIG"; return; fi
	for found in $(ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -t/ -k5 -Vr) "$(command -v pg_config)"; do
		[ -x "$found" ] && [ -e "$("$found" --pgxs)" ] && [ -x "$("$found" --bindir)/postgres" ] &&
			{ echo "$found"; return; }
	done
	return 1
}

# private_tree PG_CONFIG DEST: lay the private tree out below DEST and print
# the path of its pg_config.
private_tree() {
	local config=$1 dest=$2 what dir
	for what in bindir; do
		dir=$("$config" --$what)
		mkdir -p "$dest$dir"
		cp -f "$dir"/* "$dest$dir/"
	done
	for what in pkglibdir sharedir includedir-server; do
		dir=$("$config" --$what)
		mkdir -p "$dest$dir"
		cp -rsf "$dir/." "$dest$dir/"
	done
	for dir in "$("$config" --pkgincludedir)" "$("$config" --includedir)"; do
		[ -d "$dest$dir" ] && [ "$dir" = "$("$config" --includedir)" ] && continue
		mkdir -p "$dest$dir"
		cp -rsf "$dir/." "$dest$dir/" 2>/dev/null
	done
	echo "$dest$("$config" --bindir)/pg_config"
}

# free_port: a TCP port of the loopback address that nobody listens on.
free_port() {
	perl -MIO::Socket::INET -e '
		my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 0,
			Proto => "tcp", Listen => 1) or die $!;
		print $s->sockport, "\n";'
}
