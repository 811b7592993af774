"""Strangers at the doors of a run: who has not its keys gets no answer, learns nothing and does no harm."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import socket
import ssl
import stat
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from harness import PATIENCE, marked, read, segments
from selection import some

NOBODY = 65534
LOOPBACK = "127.0.0.1"
PRIVATE = re.compile("PRIVATE KEY|MIGHAgEA")  # how keys begin, in PEM form and without its first line

#: The script of the run: says where the doors are, lets in one who has the keys, computes until it is to stop.
STEADY = """
import json, os, subprocess, sys, time
from distributed import Client
from mpidask.security.credentials import known

def whole(client):
    workers = client.scheduler_info(n_workers=-1)["workers"]
    lost = client.run_on_scheduler(
        lambda dask_scheduler: [e for _, e in dask_scheduler.get_events("all") if e.get("action") == "remove-worker"]
    )
    return {"pids": sorted(client.run(os.getpid).values()), "names": sorted(workers), "lost": lost}

def friend(addresses):
    security = known({"address": client.scheduler.address})
    keys = {"certificate": security.tls_client_cert, "key": security.tls_client_key}
    orders = json.dumps({"addresses": addresses, "keys": keys, "user": None})
    told = subprocess.run([sys.executable, "probe.py"], input=orders, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(told.stdout)

client = Client()
info = client.scheduler_info(n_workers=-1)
workers = info["workers"]
dask = [client.scheduler.address, *workers, *[each["nanny"] for each in workers.values()]]
pages = [info["services"]["dashboard"], *client.run(lambda dask_worker: dask_worker.http_server.port).values()]
assert not any(each["services"] for each in workers.values()), "there is nothing to link to"
doors = {"dask": dask, "pages": pages, "link": client.dashboard_link}
print(json.dumps({**doors, "friend": friend(dask) if FRIEND else {}, "before": whole(client)}))
print("ready", flush=True)
tasks = total = 0
while not os.path.exists("stop.py"):
    total += sum(client.gather(client.map(lambda x: x + 1, range(50), pure=False)))
    tasks += 50
    time.sleep(0.02)
print(json.dumps({"right": total == tasks // 50 * 1275, "tasks": tasks, "after": whole(client)}), flush=True)
"""

#: Tries to be answered by servers, in all the ways of somebody with these keys, or with none of the run.
PROBE = """
import asyncio, json, os, ssl, sys
from distributed import Client, rpc
from distributed.security import Security
from mpidask.security.credentials import Keys, make

orders = json.load(sys.stdin)

def careless(*keys):
    "Return a context that trusts everybody."
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL")
    for each in keys:
        context.load_cert_chain(*each)
    return {"ssl_context": context, "require_encryption": True}

async def ask(address, arguments):
    try:
        async with asyncio.timeout(30), rpc(address, connection_args=arguments) as server:
            return "answered: " + str(await server.identity())[:80]
    except Exception as error:
        return type(error).__name__

async def client(address, security):
    try:
        async with Client(address, security=security, timeout=4 if orders["keys"] is None else 30, asynchronous=True) as client:
            return "answered: " + str(client.scheduler.identity)[:80]
    except Exception as error:
        return type(error).__name__

async def main(ways, clients, addresses):
    if orders["user"] is not None:
        os.setgroups([])
        os.setresgid(*[orders["user"]] * 3)
        os.setresuid(*[orders["user"]] * 3)
    tries = {f"{way} {address}": ask(scheme + address[6:], arguments)
             for address in addresses for way, (scheme, arguments) in ways.items()}
    tries |= {f"Client, {way}": client(scheme + addresses[0][6:], security) for way, scheme, security in clients}
    print(json.dumps(dict(zip(tries, await asyncio.gather(*tries.values())))))

if orders["keys"] is not None:
    security = Keys(**orders["keys"]).security()
    ways = {"keys": ("tls://", security.get_connection_args("client"))}
    clients = [("keys", "tls://", security)]
else:
    security, mine = make().security(), []
    for name in (security.tls_client_cert, security.tls_client_key):
        mine.append(os.memfd_create("own"))
        os.write(mine[-1], name.encode())
    mine = tuple(f"/proc/self/fd/{each}" for each in mine)
    ways = {
        "tcp": ("tcp://", {}),
        "own keys": ("tls://", security.get_connection_args("client")),
        "own keys, trusts everybody": ("tls://", careless(mine)),
        "no keys, trusts everybody": ("tls://", careless()),
    }
    clients = [("tcp", "tcp://", None), ("own keys", "tls://", security)]
asyncio.run(main(ways, clients, orders["addresses"]))
"""

#: Put before all programs of a run: notes every file that Python code opens to write.
NOTES = """
import os, sys
_notes = os.open(os.environ["WRITTEN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
_ours = os.getpid()
def _hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)) and arguments[2] & (os.O_WRONLY | os.O_RDWR):
        os.write(_notes, os.fsencode(arguments[0]) + b"\\n")
sys.addaudithook(_hook)
"""


class Steady:
    """A run that computes, and says where its doors are."""

    def __init__(self, ranks, n=4, *options, friend=False, **more):
        ranks.script(PROBE, "probe.py")
        self.ranks = ranks
        self.run = ranks.start(n, *options, ranks.script(STEADY.replace("FRIEND", str(friend))), **more)
        self.run.wait_for("ready")
        self.told = json.loads(self.run._read("out").splitlines()[0])

    @property
    def ports(self):
        """Every port that Dask has opened."""
        return [int(address.rpartition(":")[2]) for address in self.told["dask"]] + self.told["pages"]

    def end(self):
        """Have the script end, check that nothing has happened to it, return how it ended."""
        self.ranks.script("", "stop.py")
        result = self.run.result(60)
        told = json.loads(result.stdout.splitlines()[-1])
        assert result.status == 0, result
        assert told["right"], result
        assert told["tasks"], result
        assert told["after"] == {**self.told["before"], "lost": []}, result
        assert "Traceback" not in result.stderr, result
        assert not result.leftover, result
        assert not self.ranks.leftovers(), result
        return result


# ------------------------------------------------------------------- sockets
def listening(run):
    """Return (address, port) -> ids of the processes of the run that have it open."""
    found = {}
    for pid in marked(run.mark):
        with contextlib.suppress(psutil.Error):
            for each in psutil.Process(pid).net_connections("inet"):
                if each.status == psutil.CONN_LISTEN or each.type == socket.SOCK_DGRAM:
                    found.setdefault(tuple(each.laddr), set()).add(pid)
    return found


def is_launchers(pid):
    return "python" not in read(pid, "cmdline").partition("\0")[0]


def test_every_open_port_is_known(ranks):
    """Dask's are on loopback and need keys or the link; all others are MPI's: its library's and its launcher's."""
    steady = Steady(ranks)
    found = listening(steady.run)
    ours = {(LOOPBACK, port) for port in steady.ports}  # MPI may have the same numbers on other addresses
    assert ours <= found.keys()
    rest = {place: pids for place, pids in found.items() if place not in ours and not any(map(is_launchers, pids))}
    processes = [steady.run.rank(number) for number in range(4)]
    assert set().union(*rest.values(), set()) <= set(processes), rest
    # The script's rank has no server of Dask's: what it has open is MPI's, and the others have no more than that.
    mpi = [Counter(address for (address, _), pids in rest.items() if pid in pids) for pid in processes]
    assert all(each <= mpi[1] for each in mpi), mpi
    steady.end()


def test_sockets_and_memory_in_the_file_system_are_the_users_alone(ranks):
    steady = Steady(ranks)
    for pid in marked(steady.run.mark):
        if is_launchers(pid):
            continue
        for each in psutil.Process(pid).net_connections("unix"):
            if each.laddr and each.status == psutil.CONN_LISTEN:
                assert not each.laddr.startswith("@"), each  # it has no owner
                assert any(others(parent) == 0 for parent in Path(each.laddr).parents), each
    for name in segments() - ranks.segments_before:
        assert others(Path("/dev/shm") / name) == 0, name
    steady.end()


def others(path):
    """Return what others than the owner may do there."""
    return stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)


# -------------------------------------------------------------------- answers
USERS = [None, *([NOBODY] if os.getuid() == 0 else [])]


def test_who_has_no_keys_is_refused_and_who_has_them_is_let_in(ranks):
    steady = Steady(ranks, friend=True)
    assert len(steady.told["friend"]) == 6, steady.told
    assert all(each.startswith("answered") for each in steady.told["friend"].values()), steady.told
    for user in USERS:
        orders = json.dumps({"addresses": steady.told["dask"], "keys": None, "user": user})
        words = [sys.executable, str(ranks.work / "probe.py")]
        done = subprocess.run(
            words, input=orders, capture_output=True, text=True, timeout=60 * PATIENCE, check=True, cwd="/"
        )
        outcomes = json.loads(done.stdout)
        assert len(outcomes) == 4 * 5 + 2, outcomes
        refused = {"CommClosedError", "FatalCommClosedError"}
        assert {each for way, each in outcomes.items() if "Client" not in way} <= refused, outcomes
        assert {each for way, each in outcomes.items() if "Client" in way} <= {*refused, "OSError"}, outcomes
    result = steady.end()
    told = [line for line in result.stderr.splitlines() if "TLS handshake failed" in line]
    assert len(told) == 1, result
    assert not set(result.words) - set(told), result
    assert told[0].endswith("; further ones are not reported"), result


def test_both_sides_look_at_the_keys():
    """A stranger who listens where a worker or a scheduler was gets no client."""
    import asyncio

    from distributed.comm import connect, listen

    from mpidask.security.credentials import make

    async def meet(here, there):
        heard, has_heard = [], asyncio.Event()

        async def hear(comm):
            heard.append(await comm.read())
            await comm.close()
            has_heard.set()

        async with listen(f"tls://{LOOPBACK}:0", hear, **here.get_listen_args("scheduler")) as listener:
            try:
                # Dask gives the first attempt a fifth of it; one that is cut short leaves its socket behind.
                how = there.get_connection_args("worker")
                comm = await connect(listener.contact_address, timeout=60 * PATIENCE, **how)
                await comm.write("secret")
                await asyncio.wait_for(has_heard.wait(), 20 * PATIENCE)
                await comm.close()
            except OSError:
                pass
        return heard

    one, other = make(), make()
    assert asyncio.run(meet(one.security(), one.security())) == ["secret"]
    assert asyncio.run(meet(one.security(), other.security())) == []


def test_clocks_may_differ():
    """A node whose clock is behind must not take the keys of a run that has just begun for not valid yet."""
    import datetime as dt

    from cryptography import x509

    from mpidask.security.credentials import make

    made, now = x509.load_pem_x509_certificate(make().certificate.encode()), dt.datetime.now(dt.UTC)
    assert made.not_valid_before_utc < now - dt.timedelta(days=30)
    assert made.not_valid_after_utc > now + dt.timedelta(days=30)


# -------------------------------------------------------------------- pages
PATHS = [
    "/",
    "/status",
    "/sitemap.json",
    "/health",
    "/info/main/workers.html",
    "/info/logs.html",
    "/metrics",
    "/json/counts.json",
    "/json/identity.json",
    "/individual-plots.json",
    "/eventstream",
    "/proxy/80/127.0.0.1/status",
    "/ranks",
    "/statics/css/base.css",
    "/static/js/bokeh.min.js",
    "/workers",
    "/graph",
    "/tasks",
    "/system",
    "/profile",
    "/api/v1/retire_workers",
    "/api/v1/get_workers",
    "/favicon.ico",
    "/robots.txt",
    "/status/ws",
    "/individual-workers",
    "/hardware",
    "//status",
    "/./status",
    "/..%2fstatus",
    "/*",
    "/%00",
    "/?x=1",
    "/nosuchtoken/status",
]
WEBSOCKET = {
    "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip


def ask(port, path, method="GET", headers=None):
    """Return status, headers and body."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60 * PATIENCE)  # the first waits for bokeh
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode(errors="replace")
    finally:
        connection.close()


@pytest.mark.thorough
def test_pages_are_for_those_who_know_the_link(ranks):
    pytest.importorskip("bokeh")
    steady = Steady(ranks)
    port, *workers = steady.told["pages"]
    token = steady.told["link"].split("/")[3]
    assert len(token) >= 20
    until(lambda: ask(port, f"/{token}/status")[0] == 200)
    assert ask(port, f"/{token}/json/counts.json")[0] == 200
    near = [f"/{token[:-1]}/status", f"/{token}x/status", f"/{token.swapcase()}/status", f"/status/{token}"]
    for each, paths in [(port, PATHS + near), *[(worker, [*PATHS, f"/{token}/status"]) for worker in workers]]:
        for path in paths:
            if (each, path) in [(worker, "/sitemap.json") for worker in workers]:
                assert json.loads(ask(each, path)[2]) == {"paths": [path]}  # Dask always has it: there is nothing else
            else:
                says_nothing(ask(each, path), path, token)
        for path in ("/", "/status", "/eventstream", "/status/ws"):
            says_nothing(ask(each, path, headers=WEBSOCKET), path, token)
            says_nothing(ask(each, path, "POST"), path, token)
            says_nothing(ask(each, path, "OPTIONS", {"Origin": "https://example.com"}), path, token)
    assert not steady.end().words


def says_nothing(answer, path, token):
    status, headers, body = answer
    assert status == 404, (path, answer)
    assert headers.keys() <= {"Server", "Content-Type", "Date", "Content-Length", "Connection"}, (path, answer)
    assert body in ("", "<html><title>404: Not Found</title><body>404: Not Found</body></html>"), (path, answer)
    assert token not in str(headers), (path, answer)


def until(condition, timeout=40):
    deadline = time.monotonic() + timeout * PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


# --------------------------------------------------------------------- noise
def hello():
    """Return what a TLS client says first."""
    context = ssl.create_default_context()
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def noise():
    words = hello()
    return {
        "nothing": b"",
        "random": random.Random(1).randbytes(5000),
        "zeros": bytes(100_000),
        "http": b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n",
        "long http": b"GET /" + b"a" * 200_000,
        "giant length": struct.pack("<Q", 2**62) + struct.pack("<Q", 2**62),
        "half a hello": words[: len(words) // 2],
        "hello and no more": words,
        "hello and nonsense": words + bytes(1000),
        "ssh": b"SSH-2.0-scan\r\n",
    }


def test_a_scan_of_the_ports_does_no_harm(ranks):
    """Connections that close at once, say nonsense or stay silent: nothing is lost, and one line says it at most."""
    steady = Steady(ranks)
    silent = []
    try:
        for port in steady.ports:
            for _ in range(20):
                socket.create_connection((LOOPBACK, port), timeout=10).close()
            for words in noise().values():
                for stays in (True, False):
                    connection = socket.create_connection((LOOPBACK, port), timeout=10)
                    with contextlib.suppress(OSError):  # it may have been closed meanwhile
                        connection.sendall(words)
                    silent.append(connection)
                    if not stays:
                        connection.close()
        time.sleep(1)
        result = steady.end()
    finally:
        for connection in silent:
            connection.close()
    assert len(result.words) <= 1, result


# ---------------------------------------------------------------- where keys are
@pytest.mark.parametrize("n", some([1, 2, 4], [4]))
def test_the_keys_are_nowhere_but_in_memory(ranks, n):
    """Not in a file (nor in one that is removed at once), not on a command line, not in an environment."""
    environ = take_notes(ranks)
    steady = Steady(ranks, n, environ=environ)
    token = steady.told["link"].split("/")[3] if steady.told["link"] else "no token"
    pids = marked(steady.run.mark)
    assert any("mpidask" in read(pid, "cmdline") for pid in pids)
    for text in [read(pid, name) for pid in pids for name in ("cmdline", "environ")]:
        assert not PRIVATE.search(text), text
        assert token not in text, text
    for path in [*files(ranks.scratch), *files(ranks.work)]:
        assert not PRIVATE.search(path.read_text(errors="replace")) or path.suffix == ".py", path
    steady.end()
    known = re.compile(rf"/dev/|/proc/|{ranks.scratch}/mpidask-[^/]+/|{ranks.scratch}/(ompi|pmix|prte)")
    unknown = {line for line in Path(environ["WRITTEN"]).read_text().splitlines() if not known.match(line)}
    assert not unknown


def test_keys_in_a_file_would_be_noticed(ranks):
    """The same with Dask's own Security, which writes its keys to a file that it removes at once."""
    environ = take_notes(ranks)
    script = ranks.script(
        "from distributed.security import Security\nSecurity.temporary().get_connection_args('client')"
    )
    result = ranks(0, command=[sys.executable, script], environ=environ)
    assert result.status == 0, result
    assert f"{ranks.scratch}/tmp" in Path(environ["WRITTEN"]).read_text()
    assert not ranks.leftovers()


def take_notes(ranks):
    """Return the environment in which Python notes which files it opens to write."""
    place = ranks.directory / "notes"
    place.mkdir()
    (place / "sitecustomize.py").write_text(NOTES)
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "WRITTEN": str(place / "written"), "PYTHONDONTWRITEBYTECODE": "1"}


def files(place):
    return [path for path in place.rglob("*") if path.is_file()]
