#!/usr/bin/env bash
# Compressed exports against the standard tools on the finished file, in one run. Prints a table with machine and commit.
#
#   benches/compress.sh [USERS] [ROUNDS]      5000000 users, 9 interleaved rounds
#
# HEADCOUNT_BENCH_DIR is where the store and the file go (a fresh directory below it; the temporary directory by default).
# Space: about 400 bytes a user. Everything is written to /dev/null: what is measured is compression, and the export before
# it. Rates are in bytes before compression.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
users=${1:-5000000}
rounds=${2:-9}

cargo build --quiet --release -p headcount-cli
bin=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/headcount
dir=$(mktemp -d "${HEADCOUNT_BENCH_DIR:-${TMPDIR:-/tmp}}/headcount-compress.XXXXXX")
trap 'rm -rf "$dir"' EXIT
"$bin" generate --users "$users" -q | "$bin" import "$dir/store" - --format ndjson -q
"$bin" export "$dir/store" -q -o "$dir/reference"

python3 - "$bin" "$dir" "$users" "$rounds" <<'PY'
import os, platform, shutil, statistics, subprocess, sys, time

binary, work, users, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
reference = os.path.join(work, "reference")
size = os.path.getsize(reference)

def length(command):
    """Bytes that it writes."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        total = 0
        while piece := child.stdout.read(1 << 20):
            total += len(piece)
    return total if child.returncode == 0 else sys.exit(f"{' '.join(command)} failed")

def seconds(command):
    began = time.perf_counter()
    if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - began

ours = lambda how: [binary, "export", os.path.join(work, "store"), "-q", "--compress", how]
cases = {"gzip -1, the file, one thread": ["gzip", "-1", "-c", reference]}
if shutil.which("zstd"):
    cases["zstd -1 -T0, the file"] = ["zstd", "-1", "-T0", "-q", "-c", reference]
else:
    print("SKIPPED: the zstd tool is not there\n")
for how in ("gzip:1", "gzip:6", "zstd:-3", "zstd:1", "zstd:3"):
    cases[f"export --compress {how}"] = ours(how)
times = {name: [] for name in cases}
for round_ in range(rounds + 1):
    for name, command in cases.items():
        took = seconds(command)
        # The first round warms the page cache.
        if round_:
            times[name].append(took)

def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"

model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo", encoding="utf-8") if l.startswith("model name")), platform.machine())
commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
print(f"{users:,} users, {size / 1e6:.0f} MB of JSON · {model}, {os.cpu_count()} cores, Linux {platform.release()}, commit {commit}")
print(f"medians of {rounds} interleaved rounds (least to greatest)\n")
print("| what | MB/s | × gzip -1 | smaller by |\n| --- | --- | --- | --- |")
base = times["gzip -1, the file, one thread"]
for name, took in times.items():
    rates, ratios = [size / t / 1e6 for t in took], [b / t for b, t in zip(base, took)]
    print(f"| {name} | {spread(rates, 0)} | {spread(ratios)} | {size / length(cases[name]):.2f} × |")
PY
