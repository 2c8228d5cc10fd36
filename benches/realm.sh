#!/usr/bin/env bash
# An import of one large Keycloak realm file, with the users deep inside: time, rate, and the greatest resident memory.
#
#   benches/realm.sh [BYTES] [MEMORY]      2000000000 bytes, 64MiB for sorting
#
# A fifth of the file, roles and clients, stands before the users; each user is some 900 bytes of which 100 count.
# HEADCOUNT_BENCH_DIR is where file and store go (a fresh directory below it; the temporary directory by default). Space:
# the file, and about 250 bytes a user.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bytes=${1:-2000000000}
memory=${2:-64MiB}

cargo build --quiet --release -p headcount-cli
bin=$(cargo metadata --format-version 1 --no-deps | python3 -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/headcount
dir=$(mktemp -d "${HEADCOUNT_BENCH_DIR:-${TMPDIR:-/tmp}}/headcount-realm.XXXXXX")
trap 'rm -rf "$dir"' EXIT

python3 - "$bin" "$dir" "$bytes" "$memory" <<'PY'
import json, os, subprocess, sys, time

binary, work, size, memory = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
realm, store = os.path.join(work, "realm.json"), os.path.join(work, "store")

def user(n):
    links = [{"identityProvider": p, "userId": f"{n}", "userName": f"user{n}@example.test"} for p in ("google", "github")[: n % 3]]
    return {
        "id": f"0f6c5e1a-0000-4000-8000-{n:012d}", "username": f"user{n}", "email": f"user{n}@example.test",
        "emailVerified": True, "enabled": n % 50 != 0, "totp": False, "createdTimestamp": 1690000000000 + n,
        "attributes": {"team": ["a", "b"], "users": ["not a user"], "note": ["}],\"users\":[{" * 4]},
        "credentials": [{"type": "password", "secretData": json.dumps({"value": "x" * 88, "salt": "y" * 24}),
                         "credentialData": json.dumps({"hashIterations": 210000, "algorithm": "pbkdf2-sha512"})}],
        "federatedIdentities": links, "disableableCredentialTypes": [], "requiredActions": [],
        "realmRoles": ["default-roles-demo"], "notBefore": 0, "groups": [],
    }

def role(n):
    return {"id": f"r{n}", "name": f"role {n}", "composite": False, "attributes": {"users": [{"id": "not a user"}]}}

with open(realm, "w") as out:
    def array(until, element):
        """Elements up to a size of the file: how many."""
        n = 0
        while out.tell() < until:
            out.write(("," if n else "") + ",".join(json.dumps(element(n + i), indent=1) for i in range(1000)))
            n += 1000
        return n
    out.write('{"id":"demo","realm":"demo","sslRequired":"external","roles":{"realm":[')
    array(size // 5, role)
    out.write(']},"users":[')
    users = array(size, user)
    out.write('],"keycloakVersion":"26.0"}\n')

began = time.perf_counter()
child = subprocess.Popen([binary, "import", store, realm, "--memory", memory, "--json"], stdout=subprocess.PIPE)
report = json.loads(child.stdout.read())
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - began
assert status == 0 and report["users"] == users, (status, report["users"], users)
length = os.path.getsize(realm)
print("| file | users | --memory | seconds | MB/s | users/s | greatest resident |")
print("| --- | --- | --- | --- | --- | --- | --- |")
print(f"| {length / 1e9:.2f} GB | {users:,} | {memory} | {seconds:.1f} | {length / seconds / 1e6:.0f} "
      f"| {users / seconds:,.0f} | {usage.ru_maxrss / 1024:.0f} MiB |")
PY
