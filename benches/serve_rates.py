#!/usr/bin/env python3
"""Exports over loopback HTTP against nginx that serves the same bytes as a file: whole exports by 1, 2 and 4 clients, time
to first byte, short exports a second, gzip.

    benches/serve_rates.py [--users N] [--rounds N] [--dir D]

Needs nginx (Debian's), curl and wrk. Both servers run all the time and are asked in turns; medians of the rounds.
"""

import argparse
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import serving

NGINX = """
worker_processes 2;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/nginx.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi; uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
    types {{ application/json json; text/csv csv; }}
    server {{
        listen 127.0.0.1:{port};
        root {dir}/www;
        location /packed/ {{ alias {dir}/www/; gzip on; gzip_static off; gzip_comp_level 1; gzip_types *; gzip_min_length 0; }}
    }}
}}
"""


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def download(url, clients, *options):
    """Seconds until so many clients have all of it, and the bytes of each."""
    command = ["curl", "-sS", "--noproxy", "*", "-o", "/dev/null", "-w", "%{size_download} %{time_starttransfer}", *options, url]
    began = time.monotonic()
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
    said = [client.communicate()[0].split() for client in running]
    seconds = time.monotonic() - began
    if any(client.returncode for client in running):
        sys.exit(f"curl failed: {url.split('?')[0]}")
    return seconds, [int(size) for size, _ in said], min(float(first) for _, first in said)


def wrk(url, seconds):
    said = subprocess.run(["wrk", "-t1", "-c16", f"-d{seconds}s", url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        sys.exit(said)
    return float(re.search(r"Requests/sec:\s+([\d.]+)", said).group(1))


def row(name, ours, theirs, unit, better):
    """One comparison: medians, and the median of the rounds' ratios with the least and the greatest."""
    ratios = [(o / t if better == "more" else t / o) for o, t in zip(ours, theirs)]
    print(
        f"{name:<44}{statistics.median(ours):>10.3f}{statistics.median(theirs):>10.3f} {unit:<8}"
        f"{statistics.median(ratios):>6.2f} x ({min(ratios):.2f} to {max(ratios):.2f})",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--dir", type=pathlib.Path, help="where to work; what is there is used again")
    args = parser.parse_args()
    for tool in ("nginx", "curl", "wrk"):
        if shutil.which(tool, path="/usr/sbin:/usr/bin:/usr/local/bin:/bin") is None:
            sys.exit(f"{tool} is not installed")
    work = args.dir or pathlib.Path(tempfile.mkdtemp(prefix="headcount-serve-"))
    www = work / "www"
    www.mkdir(parents=True, exist_ok=True)
    headcount = serving.binary()
    store = serving.store(headcount, work, args.users)
    server = serving.Server(headcount, store, work / "serve.log")
    port = free_port()
    (work / "nginx.conf").write_text(NGINX.format(dir=work, port=port), encoding="utf-8")
    nginx = subprocess.Popen(["nginx", "-c", work / "nginx.conf", "-p", work])
    try:
        time.sleep(0.5)
        compare(server, f"http://127.0.0.1:{port}", www, args)
    finally:
        nginx.terminate()
        nginx.wait()
        server.stop()


def compare(server, nginx, www, args):
    ours = lambda **params: server.url + server.path(**params)
    for name, params in (("all.json", {}), ("all.csv", {"format": "csv"}), ("one.json", {"limit": 1})):
        subprocess.run(["curl", "-sS", "--noproxy", "*", "-o", www / name, ours(**params)], check=True)
    sizes = {name: (www / name).stat().st_size for name in ("all.json", "all.csv", "one.json")}
    print(f"{args.users} users: {sizes}; {serving.machine()}")
    print(f"{'':<44}{'ours':>10}{'nginx':>10}")
    firsts = ([], [])
    for clients in (1, 2, 4):
        for what, params, name in (
            ("JSON, length promised", {}, "all.json"),
            ("JSON in chunks (since=0)", {"since": 0}, "all.json"),
            ("CSV", {"format": "csv"}, "all.csv"),
        ):
            a, b = [], []
            for _ in range(args.rounds):
                for url, into, first in ((ours(**params), a, firsts[0]), (f"{nginx}/{name}", b, firsts[1])):
                    seconds, got, start = download(url, clients)
                    into.append(sum(got) / seconds / 1e9)
                    if clients == 1 and params == {}:
                        first.append(start * 1000)
            row(f"{what}, {clients} client{'s' * (clients > 1)}", a, b, "GB/s", "more")
    row("first byte of a whole export", *firsts, "ms", "less")
    a, b = [], []
    for _ in range(args.rounds):
        a.append(wrk(ours(limit=1), 2))
        b.append(wrk(f"{nginx}/one.json", 2))
    row("exports of one user, 16 connections", a, b, "1/s", "more")
    a, b = [], []
    for _ in range(min(args.rounds, 5)):
        for url, into in ((ours(), a), (f"{nginx}/packed/all.json", b)):
            seconds, _, _ = download(url, 1, "-H", "Accept-Encoding: gzip")
            into.append(sizes["all.json"] / seconds / 1e9)
    row("JSON as gzip, level 1, of what is packed", a, b, "GB/s", "more")


if __name__ == "__main__":
    main()
