#!/usr/bin/env bash
# Instructions of our hot paths, counted by callgrind, against the committed counts in benches/instructions.tsv.
#
#   benches/instructions.sh             fails when a path takes more than TOLERANCE percent more than its count
#   benches/instructions.sh --update    writes the counts anew
#
# Instructions are no time: this finds gross regressions on any machine, however busy. They depend on the compiler; with
# another version than that of the counts, the tolerance is wider and that is said. valgrind shows every program the same
# processor features up to AVX2.
#   INSTRUCTIONS_TOLERANCE   percent (2; 25 with another compiler)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if ! command -v valgrind >/dev/null; then
    echo "instructions: valgrind is needed and not there" >&2
    exit 2
fi
program=$(cargo bench --quiet -p headcount-benches --bench instructions --no-run --locked --message-format json |
    python3 -c 'import json,sys; print([m["executable"] for m in map(json.loads, sys.stdin) if m.get("executable") and m["target"]["name"] == "instructions"][-1])')

python3 - "$program" "${1:-}" <<'PY'
import os, re, subprocess, sys, tempfile

program, mode = sys.argv[1], sys.argv[2]
table = "benches/instructions.tsv"
compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
compiler += " " + os.uname().machine
paths = subprocess.run([program, "list"], capture_output=True, text=True, check=True).stdout.splitlines()

def count(path):
    with tempfile.TemporaryDirectory() as scratch:
        command = ["valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*instructions::measured*",
                   f"--callgrind-out-file={scratch}/out", program, path]
        run = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or not found or int(found[1]) < 10_000:
        sys.exit(f"instructions: {path} was not counted:\n{run.stderr}")
    return int(found[1])

counts = {path: count(path) for path in paths}
if mode == "--update":
    with open(table, "w", encoding="utf-8") as out:
        out.write(f"# benches/instructions.sh --update, {compiler}\n")
        out.writelines(f"{path}\t{n}\n" for path, n in counts.items())
    print(f"{len(counts)} counts of {compiler} are in {table}")
    sys.exit()
head, *lines = open(table, encoding="utf-8").read().splitlines()
known = {path: int(n) for path, n in (line.split("\t") for line in lines)}
same = head.endswith(", " + compiler)
tolerance = float(os.environ.get("INSTRUCTIONS_TOLERANCE", 2 if same else 25))
if not same:
    print(f"#### the counts are of {head.split(', ')[-1]}, this is {compiler}: up to {tolerance:g} % more is let pass; count anew with benches/instructions.sh --update ####")
print(f"| path | instructions | against the count |\n| --- | --: | --: |")
failed = []
for path, n in counts.items():
    more = (n / known[path] - 1) * 100 if path in known else float("inf")
    print(f"| {path} | {n:,} | {more:+.1f} % |")
    if more > tolerance:
        failed.append(f"{path}: {n:,} instructions" + (f", {known[path]:,} were counted" if path in known else ", and no count"))
missing = sorted(set(known) - set(counts))
failed += [f"{path}: counted, and not there any more" for path in missing]
if failed:
    sys.exit(f"instructions: more than {tolerance:g} % above the count:\n  " + "\n  ".join(failed) + "\nMake it faster again, or, where the cost is meant, benches/instructions.sh --update")
PY
