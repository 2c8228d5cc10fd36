#!/usr/bin/env python3
"""Export, import, check, compact and serve under a hard limit on memory, each over much more data than the limit is.

    benches/limits.py [--users N] [--dir D]        2,000,000 users: 311 MB of input, half a minute

The limit is RLIMIT_DATA: the private memory that a process may be given, stacks of threads included, touched or not. Files that
are mapped do not count, so it is near to what a container's limit counts beside the page cache. Each row is run under its bound,
and has to end as it would without: it fails when the bound is passed. "Given" is the greatest that was seen, every 2 ms. The last
rows show that the limit holds: with too little, an end that says so, and nothing half. Exits with 1 when a row failed.
"""

import argparse
import concurrent.futures
import hashlib
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import serving

MIB = 1 << 20
CLIENTS, AT_ONCE = 64, 8


def limited(bound):
    return ("prlimit", f"--data={int(bound * MIB)}", "--")


def given(pid):
    """MiB of private memory, as the limit counts it; 0 once the process is gone."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"VmData:\s+(\d+)", status)
    return int(found.group(1)) / 1024 if found else 0


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Rows:
    def __init__(self, headcount, work):
        self.headcount, self.work, self.failures = headcount, work, []
        print("| what | bound | given | |\n| --- | --: | --: | --- |", flush=True)

    def row(self, what, bound, seen, wrong):
        print(f"| {what} | {bound} MiB | {seen:.0f} MiB | {wrong or 'ok'} |", flush=True)
        if wrong:
            self.failures.append(f"{what}: {wrong}")

    def run(self, bound, *arguments):
        """Exit code, standard output and error, greatest memory."""
        command = [*limited(bound), self.headcount, "-q", *map(str, arguments)]
        with open(self.work / "out", "w+b") as out, open(self.work / "err", "w+b") as err:
            process, peak = subprocess.Popen(command, stdout=out, stderr=err), 0
            while process.poll() is None:
                # Before it is our program it is prlimit, which needs less.
                peak = max(peak, given(process.pid))
                time.sleep(0.002)
            out.seek(0)
            err.seek(0)
            return process.returncode, out.read().decode(), err.read().decode(errors="replace").strip(), peak

    def done(self, what, bound, *arguments, right=lambda said: None):
        """It has to do all it was told; `right` says what is wrong with what it said or wrote."""
        code, said, error, peak = self.run(bound, *arguments)
        wrong = f"exit code {code}: {error.splitlines()[0] if error else ''}" if code else right(said)
        self.row(what, bound, peak, wrong)

    def refused(self, what, bound, expected, *arguments, left=lambda: None):
        """It has to end with a message; `left` says what is there that should not be."""
        code, _, error, peak = self.run(bound, *arguments)
        wrong = left() if code and re.search(expected, error) else f"exit code {code}: {error[:200]}"
        self.row(what, bound, peak, wrong)


def files(rows, work, users, source, size):
    headcount, store = rows.headcount, work / "store.hc"

    def loaded(said):
        summary = json.loads(said)
        return None if summary["users"] == users else f"{summary['users']} users of {users}"

    for memory, bound in (("8MiB", 64), ("32MiB", 96), ("128MiB", 192), ("1GiB", 192)):
        shutil.rmtree(store, ignore_errors=True)
        what = f"import of {size:,.0f} MB, `--memory {memory}`" + (", more than there is" if memory == "1GiB" else "")
        rows.done(what, bound, "import", store, source, "--memory", memory, "--json", right=loaded)
    free = work / "free"
    # What an export says without any limit.
    truth = {}
    for kind in ("json", "csv"):
        subprocess.run([headcount, "-q", "export", store, "-o", f"{free}.{kind}"], check=True)
        truth[kind] = digest(f"{free}.{kind}")

    def same(path, kind):
        return lambda _: None if digest(path) == truth[kind] else "other bytes than without a limit"

    out = work / "out.file"
    for threads in (1, 2, 8):
        bound = 16 + 4 * threads
        arguments = ("export", store, "-o", out, "--format", "json", "--threads", threads)
        rows.done(f"export to a file, `--threads {threads}`", bound, *arguments, right=same(out, "json"))
    rows.done("export as CSV to a file, `--threads 2`", 24, "export", store, "-o", out, "--format", "csv", "--threads", 2, right=same(out, "csv"))
    packed = work / "out.json.zst"
    rows.done("export, `--compress zstd --threads 2`", 32, "export", store, "-o", packed, "--threads", 2)
    rows.done("`check` of it", 32, "check", packed)
    rows.done("`check` of a file as long as the export", 16, "check", f"{free}.json")
    rows.done("`verify`", 16, "verify", store)
    # The same users once more, a fifth of them other ones: something to merge.
    changed = work / "changed.ndjson"
    with open(source, "rb") as lines, open(changed, "wb") as few:
        few.writelines(line.replace(b'"providerUID":"', b'"providerUID":"new-') for i, line in enumerate(lines) if i % 5 == 0)
    rows.done("import over users that are there, `--memory 32MiB`", 96, "import", store, changed, "--memory", "32MiB", "--json")
    rows.done("`compact --full` of both", 160, "compact", store, "--full")
    rows.done("`verify` afterwards", 16, "verify", store)
    return store


def serve(rows, work, store, bound):
    server = serving.Server(rows.headcount, store, work / "serve.log", before=limited(bound))
    url = server.url + server.path(limit=200_000)

    def answer():
        """A digest of the users of one export, without what tells this call from others."""
        with urllib.request.urlopen(url, timeout=300) as response:
            body = response.read()
        end = body.rfind(b'"usersCount"')
        if end < 0:
            return f"broken off: {body[-200:]}"
        return hashlib.sha256(body[:end]).hexdigest()

    expected = answer()
    peak, wrong = 0, []
    # Clients that ask for all and do not read keep their buffers full.
    idle = []
    for _ in range(CLIENTS):
        client = socket.create_connection((server.host, server.port))
        client.sendall(f"GET {server.path()} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        idle.append(client)
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(answer) for _ in range(24)]
        while not all(future.done() for future in waiting):
            peak = max(peak, given(server.process.pid))
            time.sleep(0.002)
    for future in waiting:
        if future.result() != expected:
            wrong.append(f"an export was {future.result()} instead of {expected}")
    for client in idle:
        client.close()
    code = server.stop()
    wrong += [f"the server ended with {code}"] if code else []
    rows.row(f"`serve`: {CLIENTS} clients that do not read, 24 exports beside them, {AT_ONCE} at once", bound, peak, "; ".join(wrong[:2]))


def too_little(rows, work, store, source):
    out = work / "refused.json"
    left = lambda: f"{out.name} was left" if out.exists() else None
    rows.refused("too little: export, `--threads 8`", 2, "(?i)memory|resource", "export", store, "-o", out, "--threads", 8, left=left)
    fresh = work / "refused.hc"
    users = lambda: subprocess.run([rows.headcount, "-q", "stats", fresh, "--json"], capture_output=True, text=True).stdout
    half = lambda: "users were left" if re.search(r'"users":\s*[1-9]', users()) else None
    rows.refused("too little: import", 12, "(?i)memory|resource", "import", fresh, source, left=half)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=2_000_000)
    parser.add_argument("--dir", type=pathlib.Path, help="below which to work")
    args = parser.parse_args()
    headcount = serving.binary()
    with tempfile.TemporaryDirectory(prefix="headcount-limits-", dir=args.dir) as directory:
        work = pathlib.Path(directory)
        source = work / "users.ndjson"
        with open(source, "wb") as out:
            subprocess.run([headcount, "-q", "generate", "--users", str(args.users)], stdout=out, check=True)
        print(f"{args.users:,} users; {serving.machine()}\n")
        rows = Rows(headcount, work)
        store = files(rows, work, args.users, source, source.stat().st_size / 1e6)
        # Of each transfer: the stack of a thread, which counts in full, and buffers.
        serve(rows, work, store, 32 + 5 * (CLIENTS + AT_ONCE))
        too_little(rows, work, store, source)
    for failure in rows.failures:
        print("FAILED:", failure)
    sys.exit(1 if rows.failures else 0)


if __name__ == "__main__":
    main()
