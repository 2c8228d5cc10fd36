#!/usr/bin/env python3
"""A server under bad clients, on loopback: slow headers, clients that do not read, many exports at once, many short
requests; healthy exports and commits go on. Memory, files and threads are looked at all the time.

    benches/serve_stress.py [--users N] [--seconds N] [--dir D]

"again" counts exports that were told to come again (403048), "dropped" connections that the server ended. Exits with 1 when a
healthy client was not served, or when memory (64 MiB), files, threads or exports are left afterwards. Needs wrk.
"""

import argparse
import asyncio
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

import serving


class Load:
    def __init__(self, server, look, seconds):
        self.server, self.look, self.seconds = server, look, seconds
        self.ends, self.failures, self.again = 0.0, [], 0

    def over(self):
        return time.monotonic() >= self.ends

    async def connect(self):
        return await asyncio.open_connection(self.server.host, self.server.port, limit=1 << 16)

    def request(self, **params):
        return f"GET {self.server.path(**params)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()

    async def healthy(self, took, **params):
        """Whole exports, one after the other, until the time is over."""
        while not self.over():
            began = time.monotonic()
            reader, writer = await self.connect()
            writer.write(self.request(**params))
            got, tail = 0, b""
            while piece := await reader.read(1 << 20):
                got += len(piece)
                tail = (tail + piece)[-300:]
            writer.close()
            if b'"errorCode":403048' in tail:
                # As the clients do that are told to come again.
                self.again += 1
                await asyncio.sleep(2)
                continue
            if b'"statusCode":200,"errorCode":0' not in tail:
                self.failures.append(tail[-200:])
            took.append(time.monotonic() - began)

    async def writes(self, took):
        """A user every 20 ms."""
        number = int(time.time() * 1000)
        while not self.over():
            number += 1
            identities = f'[{{"provider":"site","providerUID":"s{number}"}}]'
            form = self.server.form(UID=f"stress-{number}", allowNewUser="true", identities=identities).encode()
            began = time.monotonic()
            reader, writer = await self.connect()
            head = "POST /socialize.importIdentities HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n"
            writer.write(head.encode() + form)
            answer = await reader.read()
            writer.close()
            if b'"errorCode":0' not in answer:
                self.failures.append(answer[-200:])
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.02)

    async def slow_headers(self, dropped):
        """One byte a second of a request that never ends; anew when it is dropped."""
        text = b"GET /socialize.exportUsers HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"x" * 1000
        while not self.over():
            try:
                reader, writer = await self.connect()
                for byte in text:
                    if self.over():
                        break
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
                    if reader.at_eof():
                        raise ConnectionResetError
                writer.close()
            except OSError:
                dropped.append(1)

    async def slow_reader(self, dropped):
        """Asks for everything and reads one byte a second; anew when it is dropped."""
        while not self.over():
            reader, writer = await asyncio.open_connection(self.server.host, self.server.port, limit=1)
            try:
                writer.write(self.request())
                while not self.over():
                    if not await asyncio.wait_for(reader.read(1), self.seconds + 60):
                        raise ConnectionResetError
                    await asyncio.sleep(1)
            except (OSError, asyncio.TimeoutError):
                dropped.append(1)
            finally:
                writer.transport.abort()

    async def wrk(self, said):
        url = self.server.url + self.server.path(limit=1)
        process = await asyncio.create_subprocess_exec(
            "wrk", "-t1", "-c32", f"-d{self.seconds}s", url, stdout=asyncio.subprocess.PIPE
        )
        text = (await process.communicate())[0].decode()
        if "Non-2xx" in text or "Socket errors" in text:
            self.failures.append(text.encode())
        said.append(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))

    async def phase(self, name, bad):
        self.ends = time.monotonic() + self.seconds
        exports, commits, short, notes = [], [], [], []
        self.look.take()
        tasks = [self.healthy(exports), self.healthy(short, limit=100), self.writes(commits), *bad(notes)]
        await asyncio.gather(*tasks)
        memory, files, threads = self.look.take()
        middle = lambda times: f"{len(times):>5} ({sorted(times)[len(times) // 2] * 1000:.0f} ms)" if times else "    0"
        again, self.again = self.again, 0
        note = notes[0] if notes and isinstance(notes[0], str) else str(len(notes))
        print(
            f"{name:<34}{middle(exports):>18}{middle(short):>18}{middle(commits):>18}{memory:>8.0f} MiB"
            f"{files:>7}{threads:>6}{again:>7}   {note}",
            flush=True,
        )
        if not (exports and short and commits):
            self.failures.append(f"{name}: somebody was never served".encode())


async def run(server, look, seconds):
    load = Load(server, look, seconds)
    head = ("exports", "short exports", "commits", "private", "files", "thr.", "again", "dropped")
    print(f"{'':<34}{head[0]:>18}{head[1]:>18}{head[2]:>18}{head[3]:>12}{head[4]:>7}{head[5]:>6}{head[6]:>7}   {head[7]}")
    await load.phase("nobody else", lambda notes: [])
    await load.phase("1,000 clients, a header byte a second", lambda notes: [load.slow_headers(notes) for _ in range(1000)])
    await load.phase("200 clients, a byte read a second", lambda notes: [load.slow_reader(notes) for _ in range(200)])
    await load.phase("64 exports at once", lambda notes: [load.healthy([]) for _ in range(64)])
    await load.phase("wrk, 32 connections, one user (1/s)", lambda notes: [load.wrk(notes)])
    await load.phase("nobody else", lambda notes: [])
    return load.failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=5_000_000)
    parser.add_argument("--seconds", type=int, default=40, help="of each phase")
    parser.add_argument("--dir", type=pathlib.Path, help="where to work; what is there is used again")
    args = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    work = args.dir or pathlib.Path(tempfile.mkdtemp(prefix="headcount-stress-"))
    work.mkdir(parents=True, exist_ok=True)
    headcount = serving.binary()
    # The commits go to a copy: the store is there for other measurements too.
    store = work / "stress.hc"
    subprocess.run(["rm", "-rf", store], check=True)
    subprocess.run(["cp", "-r", "--reflink=auto", serving.store(headcount, work, args.users), store], check=True)
    server = serving.Server(headcount, store, work / "stress.log")
    print(f"{args.users} users, {args.seconds} s a phase; {serving.machine()}")
    look = serving.Look(server.process.pid)
    before = look.now()
    failures = asyncio.run(run(server, look, args.seconds))
    # What is left once every client is gone, and the pinned snapshots have had their time or are the current one.
    for _ in range(100):
        after = look.now()
        left = server.metric("headcount_exports_in_flight"), server.metric("headcount_exports_waiting")
        small = all(now <= was + more for now, was, more in zip(after, before, (64, 8, 64)))
        if left == (0, 0) and small:
            break
        time.sleep(1)
    else:
        failures.append(f"left: {after} against {before}, in flight and waiting {left}".encode())
    print(f"before: {before[0]:.0f} MiB, {before[1]} files, {before[2]} threads")
    print(f"after:  {after[0]:.0f} MiB, {after[1]} files, {after[2]} threads; in flight {left[0]:.0f}, waiting {left[1]:.0f},")
    print(f"        bytes of files that only snapshots hold: {server.metric('headcount_store_pinned_bytes'):.0f}")
    look.ended.set()
    code = server.stop()
    subprocess.run(["rm", "-rf", store], check=True)
    print(f"the server ended with {code}")
    for failure in failures[:5]:
        print("FAILED:", failure.decode(errors="replace"))
    sys.exit(1 if failures or code else 0)


if __name__ == "__main__":
    main()
