#!/usr/bin/env python3
"""Imports of every format that is read: users and bytes a second with one and two threads, and the memory that it takes.

    benches/import_rates.py [--users N] [--rounds N] [--dir D] [--formats LIST] [--parse PROGRAM]

Each file is made in the shape that its system writes (half of the users have two identities, the others one; a file of a
system that writes more of a user is longer), is read once before, and is loaded into a new store, durably, with both
indexes and the check that no identity belongs to two users. Medians of the rounds; `private` is the greatest anonymous
memory of the process, looked at every 10 ms, `resident` counts the mapped pages of files too. --parse names the program
of benches/peers, whose `parse` reads the same NDJSON with sonic-rs on one thread and keeps nothing: the ratio is ours to
that. Needs the space of the greatest file, about 900 bytes a user, and of a store.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import threading
import time

import serving

# For each format: the name of its file, what stands before the users, between them, and after them, and a user with one and
# with two identities. %(n)d is the number of the user, %(total)d how many there are.


def one_and_two(user, link, join=",", none=""):
    """The text of a user around that of its identities."""
    first, second = link("google", "%(n)d"), link("github", "9%(n)d")
    return user.replace("@", first), user.replace("@", first + join + second)


def shapes():
    yield "ndjson", "users.ndjson", "", "\n", "\n", *one_and_two(
        '{"UID":"u-%(n)010d","identities":[@]}', lambda p, i: '{"provider":"%s","providerUID":"%s"}' % (p, i))
    yield "gigya-json", "users.json", '{"users":[', ",", '],"usersCount":%(total)d,"statusCode":200,"errorCode":0}', *one_and_two(
        '{"UID":"u-%(n)010d","identities":[@]}', lambda p, i: '{"provider":"%s","providerUID":"%s"}' % (p, i))
    yield "csv", "users.csv", "uid,provider,providerUID\n", "\n", "\n", *one_and_two(
        "@", lambda p, i: "u-%%(n)010d,%s,%s" % (p, i), "\n")
    yield "gigya-import", "accounts.json", '{"settings":{"importFormat":"gigya-users-import","totalRecords":%(total)d},"accounts":[', ",\n", "]}", *one_and_two(
        '{"UID":"u-%(n)010d","email":"user%(n)d@example.test","profile":{"firstName":"Ana"},"identities":[@]}'.replace("user%(n)d@", "user%(n)d\\u0040"),
        lambda p, i: '{"provider":"%s","providerUID":"%s"}' % (p, i))
    yield "auth0", "auth0.ndjson", "", "\n", "\n", *one_and_two(
        '{"user_id":"auth0|%(n)024d","email":"user%(n)d\\u0040example.test","name":"User %(n)d","identities":[@],"created_at":"2024-01-02T03:04:05.678Z"}',
        lambda p, i: '{"provider":"%s","user_id":"%s","connection":"%s","isSocial":true}' % (p, i, p))
    yield "firebase", "firebase.json", '{"users": [\n', ",\n", "\n]}", *one_and_two(
        '{\n  "localId": "u%(n)027d",\n  "email": "user%(n)d\\u0040example.test",\n  "emailVerified": true,\n  "displayName": "User %(n)d",\n  "lastSignedInAt": "1700000000000",\n  "createdAt": "1690000000000",\n  "disabled": false,\n  "providerUserInfo": [@]\n}',
        lambda p, i: '\n    {\n      "providerId": "%s.com",\n      "rawId": "%s",\n      "displayName": "User"\n    }' % (p, i))
    yield "keycloak", "realm.json", '{"id":"demo","realm":"demo","roles":{"realm":[{"name":"users"}]},"users":[', ",\n", '],"keycloakVersion":"26.0"}', *one_and_two(
        '{"id":"0f6c5e1a-0000-4000-8000-%(n)012d","username":"user%(n)d","email":"user%(n)d\\u0040example.test","emailVerified":true,"enabled":true,"totp":false,"createdTimestamp":1690000000000,"attributes":{"team":["a","b"]},"credentials":[{"type":"password","secretData":"{\\"value\\":\\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\\",\\"salt\\":\\"yyyyyyyyyyyyyyyyyyyyyyyy\\"}","credentialData":"{\\"hashIterations\\":210000}"}],"federatedIdentities":[@],"disableableCredentialTypes":[],"requiredActions":[],"realmRoles":["default-roles-demo"],"notBefore":0,"groups":[]}',
        lambda p, i: '{"identityProvider":"%s","userId":"%s","userName":"user%%(n)d"}' % (p, i))
    yield "cognito", "pool.json", '{"Users":[', ",\n", "]}", *one_and_two(
        '{"Username":"user%(n)d","Attributes":[{"Name":"sub","Value":"6d0c5e1a-0000-4000-8000-%(n)012d"},{"Name":"identities","Value":"[@]"},{"Name":"email","Value":"user%(n)d\\u0040example.test"}],"UserCreateDate":1690000000.123,"UserLastModifiedDate":1690000000.123,"Enabled":true,"UserStatus":"EXTERNAL_PROVIDER"}',
        lambda p, i: '{\\"userId\\": \\"%s\\", \\"providerName\\": \\"%s\\", \\"providerType\\": \\"OIDC\\", \\"issuer\\": null, \\"primary\\": true, \\"dateCreated\\": 1690000000000}' % (i, p))
    yield "kratos", "kratos.json", "[", ",\n", "]", *one_and_two(
        '{"id":"7a695e1a-0000-4000-8000-%(n)012d","schema_id":"default","state":"active","traits":{"email":"user%(n)d\\u0040example.test"},"metadata_public":null,"credentials":{"oidc":{"type":"oidc","version":0,"config":{"providers":[@]}}},"created_at":"2023-07-25T20:46:29Z"}',
        lambda p, i: '{"provider":"%s","subject":"%s","initial_id_token":""}' % (p, i))
    yield "supabase", "supabase.json", '{"users":[', ",\n", "]}", *one_and_two(
        '{"id":"5f0e5e1a-0000-4000-8000-%(n)012d","aud":"authenticated","email":"user%(n)d\\u0040example.test","phone":"","app_metadata":{"provider":"google","providers":["google"]},"user_metadata":{},"identities":[@],"created_at":"2024-01-02T03:04:05Z"}',
        lambda p, i: '{"identity_id":"9c11-%s","id":"%s","user_id":"5f0e","identity_data":{"sub":"%s"},"provider":"%s","created_at":"2024-01-02T03:04:05Z"}' % (i, i, i, p))
    yield "graph", "graph.json", '{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#users(id,identities)","value":[', ",\n", "]}", *one_and_two(
        '{"id":"aa005e1a-0000-4000-8000-%(n)012d","userPrincipalName":"user%(n)d\\u0040t.onmicrosoft.com","identities":[@]}',
        lambda p, i: '{"signInType":"federated","issuer":"%s.com","issuerAssignedId":"%s"}' % (p, i))
    yield "logto", "logto.json", "[", ",\n", "]", *one_and_two(
        '{"id":"u%(n)011d","username":null,"primaryEmail":"user%(n)d\\u0040example.test","identities":{@},"ssoIdentities":[],"createdAt":1690000000000}',
        lambda p, i: '"%s":{"userId":"%s","details":{"id":"%s"}}' % (p, i, i))
    yield "casdoor", "casdoor.json", "[", ",\n", "]", *one_and_two(
        '{"owner":"built-in","name":"user%(n)d","id":"0f6c5e1a-0000-4000-8000-%(n)012d","createdTime":"2024-01-02T03:04:05Z","isForbidden":false,"isDeleted":false,@,"wechat":"","facebook":"","gitlab":""}',
        lambda p, i: '"%s":"%s"' % (p, i))
    yield "clerk", "clerk.json", "[", ",\n", "]", *one_and_two(
        '{"id":"user_%(n)027d","object":"user","external_accounts":[@],"banned":false,"created_at":1690000000000}',
        lambda p, i: '{"id":"eac_%s","provider":"oauth_%s","provider_user_id":"%s"}' % (i, p, i))
    yield "workos", "workos.json", '{"object":"list","data":[', ",\n", '],"list_metadata":{"before":null,"after":null}}', *one_and_two(
        '{"object":"user","id":"user_%(n)026d","email":"user%(n)d\\u0040example.test","email_verified":true,"profile_picture_url":null,"identities":[@]}',
        lambda p, i: '{"idp_id":"%s","type":"OAuth","provider":"%sOAuth"}' % (i, p))
    yield "okta", "okta.json", "[", ",\n", "]", *[
        '{"id":"00u%(n)017d","status":"ACTIVE","created":"2024-01-02T03:04:05.000Z","activated":"2024-01-02T03:04:05.000Z","profile":{"login":"user%(n)d\\u0040example.test","email":"user%(n)d\\u0040example.test"},"credentials":{"provider":{"type":"SOCIAL","name":"GOOGLE"}}}'] * 2
    yield "authentik", "authentik.json", '{"pagination":{"next":0,"previous":0,"count":%(total)d,"current":1,"total_pages":1},"results":[', ",\n", "]}", *[
        '{"pk":%(n)d,"username":"user%(n)d","name":"User","is_active":true,"email":"user%(n)d\\u0040example.test","uuid":"5a005e1a-0000-4000-8000-%(n)012d","type":"internal","groups_obj":[]}'] * 2
    yield "fusionauth", "fusionauth.json", '{"users":[', ",\n", '],"total":%(total)d}', *[
        '{"id":"f0005e1a-0000-4000-8000-%(n)012d","tenantId":"30663132-6464-6665-3032-326466613934","active":true,"email":"user%(n)d\\u0040example.test","insertInstant":1690000000000}'] * 2
    yield "nextauth", "nextauth.csv", "id,userId,type,provider,providerAccountId,refresh_token\n", "\n", "\n", *one_and_two(
        "@", lambda p, i: "%s,n%%(n)d,oauth,%s,%s," % (i, p, i), "\n")
    yield "omniauth", "omniauth.csv", "id,provider,uid,last_login,date_joined,extra_data,user_id\n", "\n", "\n", *one_and_two(
        "@", lambda p, i: '%s,%s,%s,,,"{""a"": 1}",%%(n)d' % (i, p, i), "\n")
    yield "aspnet", "aspnet.csv", "LoginProvider,ProviderKey,ProviderDisplayName,UserId\n", "\n", "\n", *one_and_two(
        "@", lambda p, i: "%s,%s,%s,u-%%(n)d" % (p, i, p), "\n")
    yield "better-auth", "better-auth.csv", "id,account_id,provider_id,user_id,access_token\n", "\n", "\n", *one_and_two(
        "@", lambda p, i: "%s,%s,%s,b%%(n)d," % (i, i, p), "\n")
    yield "scim", "scim.json", '{"schemas":["urn:ietf:params:scim:api:messages:2.0:ListResponse"],"totalResults":%(total)d,"itemsPerPage":%(total)d,"startIndex":1,"Resources":[', ",\n", "]}", *[
        '{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"s%(n)012d","externalId":"e%(n)d","userName":"user%(n)d","active":true}'] * 2
    yield "ldif", "people.ldif", "version: 1\n\n", "\n\n", "\n", *[
        "dn: uid=user%(n)d,ou=people,dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: user%(n)d\ncn: User %(n)d\nmail: user%(n)d\\u0040example.test\nentryUUID: 5a005e1a-0000-4000-8000-%(n)012d"] * 2


def make(path, users, before, between, after, one, two):
    """Writes the file in pieces."""
    one, two = (text.replace("\\u0040", "@") for text in (one, two))
    pair = (one % {"n": 0, "total": users}) and one + between + two
    keys = ("%(n)d", "%(n)0")
    assert any(key in pair for key in keys), pair
    with open(path, "w", encoding="utf-8") as out:
        out.write(before % {"total": users} if "%(" in before else before)
        step = 10_000
        for first in range(0, users, step):
            numbers = range(first, min(first + step, users))
            # The numbers do not come in the order of the store.
            texts = ((two if n % 2 else one) % {"n": n} for n in ((n * 7_368_787) % users for n in numbers))
            out.write((between if first else "") + between.join(texts))
        out.write(after % {"total": users} if "%(" in after else after)


class Private(threading.Thread):
    """Greatest anonymous memory of a process, in bytes."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.most, self.over = pid, 0, False
        self.start()

    def run(self):
        while not self.over:
            try:
                with open(f"/proc/{self.pid}/status", encoding="ascii") as status:
                    for line in status:
                        if line.startswith("RssAnon:"):
                            self.most = max(self.most, int(line.split()[1]) * 1024)
            except OSError:
                return
            time.sleep(0.01)


def load(binary, store, path, name, threads, memory):
    shutil.rmtree(store, ignore_errors=True)
    command = [binary, "import", store, path, "--format", name, "--threads", str(threads), "--memory", memory, "--json"]
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    private = Private(child.pid)
    said = child.stdout.read()
    errors = child.stderr.read().decode()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - began
    private.over = True
    if status:
        raise SystemExit(f"{name}: {errors}")
    return seconds, json.loads(said), private.most / 2**20, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", default="1GiB")
    parser.add_argument("--dir")
    parser.add_argument("--formats", help="comma list; all by default")
    parser.add_argument("--parse", help="the program of benches/peers")
    options = parser.parse_args()
    binary = str(serving.binary())
    wanted = options.formats.split(",") if options.formats else None
    work = pathlib.Path(tempfile.mkdtemp(prefix="headcount-import.", dir=options.dir))
    print(f"{options.users} users, medians of {options.rounds} rounds, --memory {options.memory}; {serving.machine()}\n")
    print("| format | bytes a user | users/s, one thread | MB/s | users/s, two threads | MB/s | private MiB, one / two | resident MiB |")
    print("| --- | --: | --: | --: | --: | --: | --: | --: |")
    try:
        for name, file, before, between, after, one, two in shapes():
            if wanted and name not in wanted:
                continue
            path = work / file
            make(path, options.users, before, between, after, one, two)
            size = path.stat().st_size
            subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)
            seconds, private, resident, parses = {1: [], 2: []}, {1: 0, 2: 0}, 0, []
            for _ in range(options.rounds):
                for threads in (1, 2):
                    took, report, most, most_resident = load(binary, work / "store", path, name, threads, options.memory)
                    assert report["users"] == options.users, report
                    seconds[threads].append(took)
                    private[threads] = max(private[threads], most)
                    resident = max(resident, most_resident)
                if options.parse and name == "ndjson":
                    said = subprocess.run([options.parse, "parse", path], capture_output=True, check=True, text=True).stdout
                    parses.append(float(said.split()[0]))
            single, double = (statistics.median(seconds[threads]) for threads in (1, 2))
            rate = lambda s: f"{options.users / s / 1e6:.2f} M | {size / s / 1e6:.0f}"
            print(
                f"| `{name}` | {size / options.users:.0f} | {rate(single)} | {rate(double)} "
                f"| {private[1]:.0f} / {private[2]:.0f} | {resident:.0f} |", flush=True)
            if parses:
                parse = statistics.median(parses)
                ratio = sorted(p / s for p, s in zip(parses, seconds[2]))
                print(f"|   sonic-rs, parsing alone | | {rate(parse)} | | | | |")
                print(f"|   ours with two threads to that | | | | {statistics.median(ratio):.2f} x ({ratio[0]:.2f} to {ratio[-1]:.2f}) | | | |", flush=True)
            path.unlink()
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
