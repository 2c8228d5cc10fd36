"""What the scripts about the server share: a store, a server over it, and looks at its process."""

import os
import pathlib
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent


def binary():
    """The release build of `headcount`, made anew where something has changed."""
    subprocess.run(["cargo", "build", "--release", "--locked", "-q", "-p", "headcount-cli"], cwd=ROOT, check=True)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "release" / "headcount"


def store(headcount, directory, users):
    """A store of so many synthetic users; one that is there stays."""
    path = directory / f"{users}.hc"
    if not path.exists():
        generate = subprocess.Popen([headcount, "generate", "--users", str(users)], stdout=subprocess.PIPE)
        subprocess.run([headcount, "-q", "import", path, "-", "--format", "ndjson"], stdin=generate.stdout, check=True)
        if generate.wait() != 0:
            sys.exit("the users could not be generated")
    return path


class Server:
    """`headcount serve`, until it is stopped; `before` is a command that starts it, such as prlimit."""

    def __init__(self, headcount, path, log, options=(), before=()):
        command = [*before, headcount, "serve", path, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]
        command += ["--insecure-loopback", "--log-level", "warn", "--audit-log", log.with_suffix(".audit"), *options]
        self.log = open(log, "w+", encoding="utf-8")
        self.process = subprocess.Popen(command, stderr=self.log)
        self.url = self.said(r"serving (http://\S+)")
        self.metrics_url = self.said(r"metrics at (http://\S+)")
        keys = pathlib.Path(f"{path}.keys.toml").read_text(encoding="utf-8")
        self.api_key = re.search(r'api_key = "([^"]+)"', keys).group(1)
        self.secret = pathlib.Path(f"{path}.secret").read_text(encoding="utf-8").strip()
        self.host, port = self.url.removeprefix("http://").rsplit(":", 1)
        self.port = int(port)

    def said(self, pattern):
        for _ in range(600):
            found = re.search(pattern, pathlib.Path(self.log.name).read_text(encoding="utf-8"))
            if found:
                return found.group(1)
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        sys.exit("the server did not start:\n" + pathlib.Path(self.log.name).read_text(encoding="utf-8"))

    def path(self, method="exportUsers", **params):
        """Path and query of a request with the site's secret."""
        params = {"apiKey": self.api_key, "secret": self.secret, **params}
        return f"/socialize.{method}?{urllib.parse.urlencode(params)}"

    def form(self, **params):
        return urllib.parse.urlencode({"apiKey": self.api_key, "secret": self.secret, **params})

    def metric(self, name):
        with urllib.request.urlopen(self.metrics_url, timeout=30) as answer:
            text = answer.read().decode()
        values = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name)]
        return sum(values)

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=120)


class Look:
    """Looks at a process twice a second: private memory, open files, threads."""

    def __init__(self, pid):
        self.pid, self.seen, self.ended = pid, [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def now(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        field = lambda name: int(re.search(rf"{name}:\s+(\d+)", status).group(1))
        return field("RssAnon") / 1024, len(os.listdir(f"/proc/{self.pid}/fd")), field("Threads")

    def run(self):
        while not self.ended.wait(0.5):
            self.seen.append(self.now())

    def take(self):
        """The greatest since the last call: MiB, files, threads."""
        seen, self.seen = self.seen or [self.now()], []
        return tuple(max(column) for column in zip(*seen))


def machine():
    model = next(line for line in open("/proc/cpuinfo", encoding="utf-8") if line.startswith("model name"))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return f"{model.split(':', 1)[1].strip()}, {os.cpu_count()} cores, Linux {os.uname().release}, commit {commit.stdout.strip()}"
