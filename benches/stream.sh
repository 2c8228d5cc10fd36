#!/usr/bin/env bash
# What a consumer of an export sees, in one run: throughput of a pipe, time to the first byte, private memory. Prints a table.
#
#   benches/stream.sh [USERS] [LARGE] [ROUNDS]      5000000 users, 50000000 for memory and first byte, 9 interleaved rounds
#
# HEADCOUNT_BENCH_DIR is where stores and a file go (a fresh directory below it; the temporary directory by default). Space:
# about 100 bytes a user of LARGE for the store and as much again while it is made, 300 bytes a user of USERS.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
users=${1:-5000000}
large=${2:-50000000}
rounds=${3:-9}

cargo build --quiet --release -p headcount-cli
bin=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/headcount
dir=$(mktemp -d "${HEADCOUNT_BENCH_DIR:-${TMPDIR:-/tmp}}/headcount-stream.XXXXXX")
trap 'rm -rf "$dir"' EXIT
for n in "$users" "$large" 1000000; do
    [ -e "$dir/$n" ] || "$bin" generate --users "$n" -q | "$bin" import "$dir/$n" - --format ndjson -q
done

python3 - "$bin" "$dir" "$users" "$large" "$rounds" <<'PY'
import fcntl, os, platform, statistics, subprocess, sys, time

binary, work = sys.argv[1:3]
users, large, rounds = map(int, sys.argv[3:])
store = lambda n: os.path.join(work, str(n))
reference = os.path.join(work, "reference")
export = lambda n, *more: [binary, "export", store(n), "-q", *more]
subprocess.run(export(users, "-o", reference), check=True)
size = os.path.getsize(reference)

def piped(command):
    """Seconds of `command | cat > /dev/null`, through a pipe of 1 MiB."""
    read, write = os.pipe()
    fcntl.fcntl(write, 1031, 1 << 20)
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=write) as writer, subprocess.Popen(["cat"], stdin=read, stdout=subprocess.DEVNULL) as reader:
        os.close(read)
        os.close(write)
    if writer.returncode or reader.returncode:
        sys.exit(f"{' '.join(command)} | cat failed")
    return time.perf_counter() - began

def first_byte(n):
    """Milliseconds from before the process is started until its first byte is read."""
    began = time.perf_counter()
    with subprocess.Popen(export(n), stdout=subprocess.PIPE, bufsize=0) as child:
        child.stdout.read(1)
        took = time.perf_counter() - began
        child.kill()
    return took * 1e3

def private(command):
    """Greatest private memory seen, in MiB, sampled every 2 ms."""
    peak = 0
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while child.poll() is None:
        try:
            for line in open(f"/proc/{child.pid}/status", encoding="ascii"):
                if line.startswith("RssAnon:"):
                    peak = max(peak, int(line.split()[1]) / 1024)
        except OSError:
            pass
        time.sleep(0.002)
    return peak if child.returncode == 0 else sys.exit(f"{' '.join(command)} failed")

def spread(values, unit, digits=2):
    return f"{statistics.median(values):.{digits}f}{unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"

rates, first, small = [], [], []
for round_ in range(rounds + 1):
    ours, theirs = piped(export(users)), piped(["cat", reference])
    began = first_byte(large), first_byte(1_000_000)
    # The first round warms the page cache.
    if round_:
        rates.append(theirs / ours)
        first.append(began[0])
        small.append(began[1])
rows = [(f"export {users:,} users ({size / 1e6:.0f} MB of JSON) to a pipe, throughput against cat of the file", spread(rates, " ×")),
        (f"first byte, {large:,} users", spread(first, " ms")), ("first byte, 1,000,000 users", spread(small, " ms"))]
for n in (1_000_000, large):
    for threads in (1, 2, 8):
        # A file, so that it is written in full; it is overwritten and never kept.
        target = ["-o", os.path.join(work, "out")] if n == 1_000_000 else []
        seen = [private(export(n, "--threads", str(threads), *target)) for _ in range(3)]
        where = "a file" if target else "/dev/null"
        rows.append((f"private memory, {n:,} users to {where}, {threads} threads (goal {16 + 4 * threads} MiB)", f"{max(seen):.1f} MiB"))
model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo", encoding="utf-8") if l.startswith("model name")), platform.machine())
commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
print(f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, commit {commit}; medians of {rounds} rounds (least to greatest)\n")
print("| what | measured |\n| --- | --- |")
for what, measured in rows:
    print(f"| {what} | {measured} |")
PY
