# Functions shared by the benchmarks.  Source it from bench/<topic>/run.
#
#	bench_start TOPIC [SETTING ...]   private server with plinth and every
#	                                  module in database postgres
#	sql ...                           psql on it (see scripts/common.sh)
#	median N ...                      the middle one of the numbers
#	ratio A B                         A / B with two decimals
#
# Each topic runs its candidates in turn, at least three rounds (BENCH_ROUNDS),
# and quotes medians: machines are noisy, ratios of one run hold.

. "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

rounds=${BENCH_ROUNDS:-3}

bench_start() {
	local topic=$1 from
	shift
	from=$(find_pg_config) || die "no PostgreSQL with development files found; run scripts/deps"
	work_folder "bench-$topic"
	server_stop "$work/data"
	find "$work" -mindepth 1 -delete
	copy_source
	private_tree "$from"
	build_plinth || die "plinth does not build"
	trap 'server_stop "$work/data"' EXIT
	trap 'exit 130' INT TERM
	server_start "$work/data" "$(free_port)" "shared_buffers = 1GB" "max_wal_size = 8GB" \
		"checkpoint_timeout = 30min" "autovacuum = off" "$@" || die "the server does not start"
	sql <<-'SQL' >/dev/null
		SET client_min_messages = warning;
		CREATE EXTENSION plinth CASCADE;
		SELECT plinth.install(module) FROM plinth.modules() WHERE available IS NOT NULL;
	SQL
	say "$("$pg_config" --version), $(nproc) cores, $rounds rounds, medians"
}

median() {
	printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 }
		END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f\n", a / b }'; }
