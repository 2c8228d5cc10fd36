#!/usr/bin/env bash
# Writes as ratios in one run: durable commits against the disk's floor, SQLite, LMDB and redb; memory of full deltas; open
# after a kill; exports over changes; commits during a compaction. Prints tables with machine, file system and commit.
#
#   benches/writes.sh [PART...]      all of: commits memory open export compaction
#
# HEADCOUNT_BENCH_DIR is where files go (a fresh directory below it): a disk that matters, never memory. By default that is
# beside the built program. HEADCOUNT_BENCH_USERS and HEADCOUNT_BENCH_ROUNDS: see benches/README.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
manifest=benches/peers/Cargo.toml
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(commits memory open export compaction)

# Other engines have their own lockfile; a C compiler builds SQLite and LMDB from the sources in their crates.
cargo build --quiet --release --manifest-path "$manifest"
target=$(cargo metadata --format-version 1 --no-deps --manifest-path "$manifest" | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
for part in "${parts[@]}"; do
    "$target/release/headcount-peers" "$part"
    echo
done
