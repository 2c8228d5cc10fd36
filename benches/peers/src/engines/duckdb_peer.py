"""DuckDB: load, export and look up, with the arguments and answers of `headcount-peers peer`.

Users lie in UID order with their identities in a list, which is what an export reads; a table of identities has the
unique index. Times are taken in here, so that Python's start is not among them.
"""

import json
import os
import sys
import threading
import time

import duckdb

SCHEMA = "columns = {UID: 'VARCHAR', status: 'VARCHAR', identities: 'STRUCT(provider VARCHAR, \"providerUID\" VARCHAR)[]'}"
LOAD = f"""
CREATE TABLE users AS
    SELECT UID AS uid, status = 'pending' AS pending, identities
    FROM read_json(?, format = 'newline_delimited', {SCHEMA}) ORDER BY uid;
"""
IDENTITIES = """
CREATE TABLE identities AS
    SELECT link.provider AS provider, link."providerUID" AS provider_uid, uid
    FROM (SELECT uid, unnest(identities) AS link FROM users);
"""
EXPORTS = {
    "ndjson": """COPY (SELECT uid AS "UID", identities FROM users WHERE NOT pending ORDER BY uid)
        TO '{path}' (FORMAT json)""",
    "csv": """COPY (SELECT uid, link.provider AS provider, link."providerUID" AS "providerUID"
        FROM (SELECT uid, unnest(identities) AS link, generate_subscripts(identities, 1) AS place
              FROM users WHERE NOT pending AND len(identities) > 0
              UNION ALL SELECT uid, NULL, 0 FROM users WHERE NOT pending AND len(identities) = 0)
        ORDER BY uid, place) TO '{path}' (FORMAT csv, HEADER, NEW_LINE '\\r\\n')""",
}


def connect(path, read_only):
    connection = duckdb.connect(path, read_only=read_only)
    connection.execute("SET enable_progress_bar = false")
    return connection


def status(key):
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def measured(work):
    """Prints the seconds of `work` and the memory it took."""
    peak, done = [0], threading.Event()

    def sample():
        while not done.is_set():
            peak[0] = max(peak[0], status("RssAnon:"))
            time.sleep(0.005)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        began = time.perf_counter()
        work()
        took = time.perf_counter() - began
    finally:
        done.set()
        sampler.join()
    print("seconds", took)
    print("private", max(peak[0], status("RssAnon:")))
    print("resident", status("VmHWM:"))


def load(database, source):
    connection = connect(database, False)
    # Tables first and indexes last, as its guide to performance says.
    connection.execute(LOAD, [source])
    connection.execute(IDENTITIES)
    connection.execute("CREATE UNIQUE INDEX users_by_uid ON users (uid)")
    connection.execute("CREATE UNIQUE INDEX identities_by_name ON identities (provider, provider_uid)")
    connection.execute("CHECKPOINT")
    connection.close()
    descriptor = os.open(database, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


class Seen:
    """What lookups found, added up as everywhere else."""

    def __init__(self):
        self.sums = [0, 0, 0, 0]

    def user(self, pending, identities):
        self.sums[0] += 1
        self.sums[1] += bool(pending)
        for identity in identities:
            uid = identity["providerUID"].encode()
            self.sums[2] += 1
            self.sums[3] += identity["provider"].encode()[0] + 257 * uid[-1] + 65537 * len(uid)


def lookups(connection, path):
    with open(path, encoding="utf-8") as file:
        uids, links, by_uid, by_link = json.load(file)

    def get(seen):
        for uid in uids:
            row = connection.execute("SELECT pending, identities FROM users WHERE uid = ?", [uid]).fetchone()
            seen.user(*row)

    def get_many(seen):
        for at in range(0, len(uids), 1000):
            query = "SELECT pending, identities FROM (SELECT unnest(?) AS uid) JOIN users USING (uid)"
            for row in connection.execute(query, [uids[at : at + 1000]]).fetchall():
                seen.user(*row)

    def find(seen):
        for link in links:
            # As one statement it would be a join, which reads the whole table of users.
            query = "SELECT uid FROM identities WHERE provider = ? AND provider_uid = ?"
            uid = connection.execute(query, link).fetchone()
            row = connection.execute("SELECT pending, identities FROM users WHERE uid = ?", uid).fetchone()
            seen.user(*row)

    for name, work, expected, count in [
        ("get", get, by_uid, len(uids)),
        ("get_many", get_many, by_uid, len(uids)),
        ("find", find, by_link, len(links)),
    ]:
        for _ in range(2):
            seen = Seen()
            began = time.perf_counter()
            work(seen)
            took = time.perf_counter() - began
            if seen.sums != expected:
                sys.exit(f"DuckDB, {name}: saw {seen.sums} where {expected} is there")
        print(name, took / max(count, 1))


def main():
    phase, _, directory, source, *more = sys.argv[1:]
    database = os.path.join(directory, "users.duckdb")
    if phase == "load":
        measured(lambda: load(database, source))
        print("disk", sum(os.stat(os.path.join(directory, name)).st_blocks * 512 for name in os.listdir(directory)))
    elif phase == "export":
        text, path = more
        connection = connect(database, True)
        query = EXPORTS[text].format(path=path.replace("'", "''"))
        connection.execute(query)
        os.remove(path)
        measured(lambda: connection.execute(query))
    else:
        lookups(connect(database, True), more[0])


main()
