#!/usr/bin/env bash
# The same users in Headcount, LMDB, redb, SQLite, fjall, sled, DuckDB, PostgreSQL and a vector in memory: load, exports that
# have to be the same bytes, lookups, durable commit, disk, memory. Prints Markdown tables with machine and commit.
#
#   benches/peers.sh [USERS] [ROUNDS]      1000000 users, 3 rounds
#
# HEADCOUNT_BENCH_DIR is where files go (a fresh directory below it): a disk that matters, never memory. By default that is
# beside the built program. HEADCOUNT_BENCH_PEERS=lmdb,sqlite measures only these beside Headcount. Space: about 4 KB a user.
# DuckDB's Python package is installed beside the built program when pip can; PostgreSQL's server is used where it is
# installed, and installed by root with apt-get where it is not. Without them their rows say SKIPPED.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
manifest=benches/peers/Cargo.toml
export HEADCOUNT_BENCH_USERS=${1:-1000000} HEADCOUNT_BENCH_ROUNDS=${2:-3}
wanted=${HEADCOUNT_BENCH_PEERS:-duckdb,postgres}

# Other engines have their own lockfile; a C compiler builds SQLite and LMDB from the sources in their crates.
cargo build --quiet --release --manifest-path "$manifest"
target=$(cargo metadata --format-version 1 --no-deps --manifest-path "$manifest" | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
base=${HEADCOUNT_BENCH_DIR:-$target/release}

# Python with DuckDB, in an environment that stays.
duckdb() {
    local venv=$target/duckdb
    if ! "$venv/bin/python" -c 'import duckdb' 2>/dev/null; then
        python3 -m venv "$venv" >/dev/null 2>&1 && "$venv/bin/pip" install --quiet 'duckdb>=1.2' >/dev/null 2>&1 || true
    fi
    if "$venv/bin/python" -c 'import duckdb' 2>/dev/null; then
        export HEADCOUNT_PEERS_DUCKDB=$venv/bin/python
    else
        export HEADCOUNT_PEERS_DUCKDB_SKIPPED="Python's package duckdb is not installed and cannot be"
    fi
}

server_programs() {
    local found
    for found in "$(dirname "$(command -v initdb || echo /none)")" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
        if [ -x "$found/initdb" ] && [ -x "$found/postgres" ]; then
            echo "$found"
            return 0
        fi
    done
    return 1
}

cluster=
stop_server() {
    if [ -n "$cluster" ]; then
        as_server "$programs/pg_ctl" -D "$cluster/data" -m immediate -w stop >/dev/null 2>&1 || true
        rm -rf "$cluster"
    fi
}

# The server refuses to run as root.
as_server() {
    if [ "$(id -u)" -eq 0 ]; then
        cd / && setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups env HOME="$cluster" "$@"
    else
        "$@"
    fi
}

# A server of our own: an unprivileged user, a directory that goes afterwards, a Unix socket and no port.
postgres() {
    if ! server_programs >/dev/null && [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y postgresql; } >/dev/null 2>&1 || true
    fi
    if ! programs=$(server_programs); then
        export HEADCOUNT_PEERS_POSTGRES_SKIPPED="no PostgreSQL server is installed and none can be"
        return 0
    fi
    cluster=$(mktemp -d "$base/headcount-postgres.XXXXXX")
    trap stop_server EXIT
    if [ "$(id -u)" -eq 0 ]; then chown nobody "$cluster"; fi
    # Socket paths have to be short.
    socket=$(mktemp -d "${TMPDIR:-/tmp}/hcpg.XXXXXX")
    trap 'stop_server; rm -rf "$socket"' EXIT
    if [ "$(id -u)" -eq 0 ]; then chown nobody "$socket"; fi
    if as_server "$programs/initdb" -D "$cluster/data" --locale=C --encoding=UTF8 -U bench -A trust >"$cluster/log" 2>&1 &&
        cat >>"$cluster/data/postgresql.conf" <<CONF &&
listen_addresses = ''
unix_socket_directories = '$socket'
shared_buffers = 2GB
effective_cache_size = 8GB
wal_level = minimal
max_wal_senders = 0
max_wal_size = 8GB
autovacuum = off
random_page_cost = 1.1
CONF
        as_server "$programs/pg_ctl" -D "$cluster/data" -l "$cluster/log.server" -w start >>"$cluster/log" 2>&1; then
        export HEADCOUNT_PEERS_POSTGRES="host=$socket user=bench dbname=postgres"
    else
        tail -n 5 "$cluster/log" >&2
        export HEADCOUNT_PEERS_POSTGRES_SKIPPED="its server does not start here"
    fi
}

case $wanted in *duckdb*) duckdb ;; esac
case $wanted in *postgres*) postgres ;; esac
"$target/release/headcount-peers" peers
