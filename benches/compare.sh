#!/usr/bin/env bash
# The program against cp, in one run: import, export, lookups, disk, memory. Prints a table with machine and commit.
#
#   benches/compare.sh [USERS] [PAIRS]      5000000 users, 9 interleaved pairs
#
# HEADCOUNT_BENCH_DIR is where files go (a fresh directory below it; the temporary directory by default). Space: about 800
# bytes a user. Ratios are export time / cp time of the pair: below 1 the export is faster than copying its output.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
users=${1:-5000000}
pairs=${2:-9}

cargo build --quiet --release -p headcount-cli
bin=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/headcount
dir=$(mktemp -d "${HEADCOUNT_BENCH_DIR:-${TMPDIR:-/tmp}}/headcount-compare.XXXXXX")
trap 'rm -rf "$dir"' EXIT

python3 - "$bin" "$dir" "$users" "$pairs" <<'PY'
import os, platform, shutil, statistics, subprocess, sys, time

binary, work, users, pairs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
path = lambda name: os.path.join(work, name)

def run(*command):
    """Seconds and peak resident bytes of a command, started and waited for here."""
    began = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = [0, 0]
    # Private memory apart from mapped files, sampled; the kernel's own maximum counts both.
    status = f"/proc/{child.pid}/status"
    while True:
        pid, code, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            break
        try:
            for line in open(status, encoding="ascii"):
                if line.startswith("RssAnon:"):
                    peak[1] = max(peak[1], int(line.split()[1]) * 1024)
        except OSError:
            pass
        time.sleep(0.002)
    seconds = time.perf_counter() - began
    error = child.stderr.read().decode()
    if code:
        sys.exit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(code)}: {error}")
    peak[0] = usage.ru_maxrss * 1024
    return seconds, peak

def disk(store):
    return sum(os.lstat(os.path.join(d, f)).st_size for d, _, files in os.walk(store) for f in files)

def spread(values, unit="", digits=2):
    return f"{statistics.median(values):.{digits}f}{unit} ({min(values):.{digits}f} to {max(values):.{digits}f})"

def removed(name):
    if os.path.isdir(path(name)):
        shutil.rmtree(path(name))
    elif os.path.exists(path(name)):
        os.remove(path(name))

def machine():
    model = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo", encoding="utf-8") if l.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    return f"{model}, {os.cpu_count()} cores, {memory} GiB, Linux {platform.release()}, commit {commit}"

rows = []
run(binary, "generate", "--users", str(users), "-q", "-o", path("users.ndjson"))
source = os.path.getsize(path("users.ndjson"))
rates, peaks = [], []
for round_ in range(4 if users <= 10_000_000 else 1):
    removed("store")
    seconds, peak = run(binary, "import", path("store"), path("users.ndjson"), "-q")
    # The first round warms the page cache and is not counted, unless it is the only one.
    if round_ or users > 10_000_000:
        rates.append(users / seconds / 1e6)
        peaks.append(peak)
rows.append((f"import NDJSON ({source / 1e6:.0f} MB)", spread(rates, " M users/s")))
rows.append(("import, peak resident / private", f"{max(p[0] for p in peaks) >> 20} / {max(p[1] for p in peaks) >> 20} MiB"))
rows.append(("on disk, both indexes", f"{disk(path('store')) / users:.1f} bytes a user"))

reference = path("reference")
run(binary, "export", path("store"), "-q", "-o", reference, "--format", "json")
size = os.path.getsize(reference)
export = lambda *more: (binary, "export", path("store"), "-q", "-o", path("out.json"), *more)
cases = {
    "export JSON / cp --reflink=never --sparse=never": (export(), ("cp", "--reflink=never", "--sparse=never")),
    "export JSON / cp": (export(), ("cp",)),
    "export JSON, 1 thread / cp --reflink=never --sparse=never": (export("--threads", "1"), ("cp", "--reflink=never", "--sparse=never")),
}
peaks = []
for name, (ours, theirs) in cases.items():
    ratios, times = [], []
    for pair in range(pairs + 1):
        removed("out.json")
        ours_seconds, peak = run(*ours)
        removed("copy.json")
        cp_seconds, _ = run(*theirs, reference, path("copy.json"))
        if pair:
            ratios.append(ours_seconds / cp_seconds)
            times.append((ours_seconds, cp_seconds))
            peaks.append(peak)
    ours_ms, cp_ms = (statistics.median(t[i] for t in times) * 1e3 for i in (0, 1))
    rows.append((name, f"{spread(ratios)}; {ours_ms:.0f} ms against {cp_ms:.0f} ms"))
rows.append((f"export JSON ({size / 1e6:.0f} MB), peak resident / private", f"{max(p[0] for p in peaks) >> 20} / {max(p[1] for p in peaks) >> 20} MiB"))
for name in ("out.json", "copy.json", "reference", "store", "users.ndjson"):
    removed(name)

if users <= 10_000_000:
    # In-process rates come from the criterion benchmark at the same size.
    bench = subprocess.run(["cargo", "bench", "--quiet", "-p", "headcount-benches", "--bench", "engine", "--", "lookup"],
        env={**os.environ, "HEADCOUNT_BENCH_USERS": str(users), "HEADCOUNT_BENCH_DIR": work}, capture_output=True, text=True)
    if bench.returncode:
        sys.exit(bench.stderr)
    name = None
    for line in bench.stdout.splitlines():
        if line.startswith("lookup/"):
            name = line.split()[0]
        if "thrpt:" in line and "%" not in line and name:
            low, low_unit, middle, unit, *_ = line.split("[")[1].rstrip("]").split()
            scale = {"elem/s": 1e-6, "Kelem/s": 1e-3, "Melem/s": 1.0}[unit]
            rows.append((f"{name.removeprefix('lookup/')}, one thread, random", f"{float(middle) * scale:.2f} M/s"))
            name = None

print(f"{users:,} users · {machine()}\n")
print("| what | measured: median (least to greatest) |\n| --- | --- |")
for what, measured in rows:
    print(f"| {what} | {measured} |")
PY
