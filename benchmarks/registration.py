"""How long thousands of workers take to register, all at once and in waves, with one real scheduler.

    .venv-mpich/bin/python benchmarks/registration.py --workers 100 1000 10000

Real: the scheduler, in a process of its own, as a run starts it (TLS, plugins, dashboard's pages, settings); its
connections (TCP over loopback, TLS handshakes with keys on both sides); Dask's messages. Simulated: the workers. A few
processes speak for all of them: for each worker a nanny's connection with its registration, then the worker's stream
with its registration (the message of a real distributed.Worker of this environment, with name and address replaced),
then heartbeats at the pace that the scheduler asks for. No worker has a process, a port or tasks; none takes time to
start; over loopback no packet is lost. Where the limit on open files is too low for three per worker, as 20,000 is for
10,000 workers, a worker's connection for heartbeats is closed after the first, and later ones share one per process.

Variants, in turn: `Dask` all workers at once, Dask's timeouts, without the plugin Registration; `at once` the same with
that plugin and its `let_go` at the end; `waves` as mpidask does it with one worker on each rank; `waves, 128 per rank`
with so many. A nanny that cannot connect would end the run; here it tries again, and is
counted. Prints a table, writes benchmarks/results/registration.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import dask.config
import psutil
from distributed import Scheduler, Worker
from distributed.comm import connect
from distributed.core import send_recv
from distributed.versions import get_versions

from mpidask.dashboard import access
from mpidask.launch.resources import staggering
from mpidask.launch.servers import log_filters, server_start
from mpidask.launch.servers.plugins.registration import Registration, let_go
from mpidask.launch.servers.specs import RankInfo, SchedulerSpec
from mpidask.run_directory import Progress
from mpidask.security import credentials
from mpidask.security.scheduler_file import About

RESULTS = Path(__file__).resolve().parent / "results" / "registration.json"
VARIANTS = ("Dask", "at once", "waves", "waves, 128 per rank")
PER_HOST = 128  # workers on a simulated node, and in one variant on a rank
PROBE = 0.02  # s between two questions to the scheduler
AFTERWARDS = 10.0  # s that all workers have to stay
LEAVE = 60.0  # s for all workers to leave
spawn = multiprocessing.get_context("spawn")


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured: so many workers, tls or tcp, one of the variants; past `limit` seconds it is given up."""

    workers: int
    transport: str
    variant: str
    processes: int
    limit: float

    @property
    def encrypted(self) -> bool:
        """Whether connections are."""
        return self.transport == "tls"

    @property
    def waves(self) -> bool:
        """Whether workers come a few at a time."""
        return self.variant.startswith("waves")

    @property
    def per_rank(self) -> int:
        """How many workers a simulated rank hosts."""
        return PER_HOST if self.variant == VARIANTS[-1] else 1

    @property
    def ranks(self) -> int:
        """How many ranks host workers."""
        return -(-self.workers // self.per_rank)

    def configure(self) -> None:
        """Set what a process of this case needs."""
        dask.config.set({"logging": {"distributed": "warning"}})
        for name in ("distributed", "distributed.scheduler", "distributed.core"):
            logging.getLogger(name).setLevel(logging.ERROR)
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # a traceback for each connection that was given up
        server_start.raise_open_files()
        if self.waves:
            staggering.configure(staggering.Turn(0, self.ranks, self.encrypted))


# ------------------------------------------------------------------- the scheduler
def serve(case: Case, keys: credentials.Keys | None, pipe: Connection) -> None:
    """Be the scheduler's process."""
    case.configure()
    with tempfile.TemporaryDirectory(prefix="mpidask-benchmark-") as directory:
        asyncio.run(_serve(case, keys, directory, pipe))


async def _serve(case: Case, keys: credentials.Keys | None, directory: str, pipe: Connection) -> None:
    names = {str(number): number for number in range(case.workers)}
    plan = SchedulerSpec(
        host="0.0.0.0",  # noqa: S104 - loopback has one address for each process of workers: ports are scarce
        port=0,
        protocol=case.transport,
        dashboard_address="127.0.0.1:0",
        directory=directory,
        file=None,
        about=About("run", None, keys=keys),
        token=access.token(),
        ranks=[RankInfo(number, host_of(number), "worker", 0, None, (str(number),)) for number in names.values()],
        record=(directory, Progress(0, case.workers, names=names)),
    )
    scheduler: Scheduler = await server_start.start_scheduler(plan)
    if case.variant == "Dask":
        await without_registration(scheduler)
    pipe.send(scheduler.port)
    await asyncio.to_thread(pipe.recv)
    log_filters.silence()
    if case.variant != "Dask":
        let_go(scheduler)
    pipe.send("let go")
    await asyncio.Event().wait()


async def without_registration(scheduler: Scheduler) -> None:
    """Take back what the plugin has changed."""
    import distributed.versions

    from mpidask.launch.servers.plugins import registration

    if Registration.name in scheduler.plugins:
        scheduler.remove_plugin(name=Registration.name)
    distributed.versions.error_message = registration._compare


# ------------------------------------------------------------------- the workers
def host_of(number: int) -> str:
    """Return the address of a simulated node."""
    node = number // PER_HOST
    return f"10.1.{node // 250}.{node % 250 + 1}"


class Crowd:
    """The simulated workers of one process."""

    def __init__(self, case: Case, index: int, port: int, security: Any) -> None:
        self.case = case
        self.scheduler = f"{case.transport}://127.0.0.{index + 2}:{port}"
        self.arguments = security.get_connection_args("worker") if security is not None else {}
        self.numbers = [each for each in range(case.workers) if each // case.per_rank % case.processes == index]
        self.turns = {
            rank: asyncio.Semaphore(staggering.at_once(staggering.Turn(0, case.ranks, cores=125)))
            for rank in range(case.ranks)
        }
        self.counts: Counter[str] = Counter()
        self.waits: list[float] = []
        self.keep_heartbeats = staggering.open_files(case.workers) <= resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        self.kept: list[Any] = []
        self.shared = asyncio.Lock()
        self.shared_comm: Any = None
        self.message: dict[str, Any] = {}

    async def prepare(self, security: Any) -> None:
        """Have a real worker say what it would say."""
        worker = Worker(self.scheduler, nthreads=1, memory_limit=2**31, security=security, dashboard=False)
        self.message = {
            "resources": worker.state.total_resources,
            "memory_limit": worker.memory_manager.memory_limit,
            "local_directory": worker.local_directory,
            "services": {"dashboard": 40000},
            "versions": get_versions(),
            "metrics": await worker.get_metrics(),
            "extra": await worker.get_startup_information(),
        }

    async def live(self, number: int) -> None:
        """Be one worker."""
        address = f"{self.case.transport}://{host_of(number)}:{20000 + number % PER_HOST}"
        if self.case.waves:
            rank = number // self.case.per_rank
            await asyncio.sleep(staggering.delay(rank, encrypted=self.case.encrypted))
            async with self.turns[rank]:
                await self.start(number, address)
        else:
            await self.start(number, address)
        await self.heartbeats(address)

    async def start(self, number: int, address: str) -> None:
        """Start one worker, as its nanny does."""
        begun = time.monotonic()
        nanny = await self.nanny(number)
        self.kept.append(await self.registered(number, address))
        await nanny.write({"status": "ok"})
        await nanny.close()
        self.waits.append(time.monotonic() - begun)

    async def nanny(self, number: int) -> Any:
        """Return a nanny's connection, once it is registered."""
        while True:
            try:
                comm = await connect(self.scheduler, **self.arguments)
                await comm.write({"op": "register_nanny", "address": f"{self.scheduler}/{number}"})
                await comm.read()
            except OSError:
                self.counts["nannies that gave up"] += 1
            else:
                return comm

    async def registered(self, number: int, address: str) -> Any:
        """Return a worker's stream, once it is registered: what Worker._register_with_scheduler does."""
        while True:
            try:
                comm = await connect(self.scheduler, **self.arguments)
                await comm.write(
                    {
                        **self.message,
                        "op": "register-worker",
                        "reply": False,
                        "address": address,
                        "status": "init",
                        "nthreads": 1,
                        "name": number,
                        "now": time.time(),
                        "nanny": f"{address}1",
                        "pid": number,
                        "stimulus_id": f"worker-connect-{time.time()}",
                        "server_id": f"Worker-{number}",
                    },
                    serializers=["msgpack"],
                )
                response = await comm.read(deserializers=["msgpack"])
            except OSError:
                self.counts["workers that tried again"] += 1
                await asyncio.sleep(0.1)
                continue
            if response["status"] != "OK":
                sys.exit(f"worker {number}: {response}")
            return comm

    async def heartbeats(self, address: str) -> None:
        """Send heartbeats for good, the first after a second."""
        interval, comm = 1.0, None
        while True:
            await asyncio.sleep(interval)
            try:
                comm = comm or await connect(self.scheduler, **self.arguments)
                interval = await self.heartbeat(comm, address)
                if not self.keep_heartbeats:
                    await comm.close()
                    break
            except OSError:
                self.counts["heartbeats that failed"] += 1
                comm = None
        while True:
            await asyncio.sleep(interval)
            async with self.shared:
                self.shared_comm = self.shared_comm or await connect(self.scheduler, **self.arguments)
                interval = await self.heartbeat(self.shared_comm, address)

    async def heartbeat(self, comm: Any, address: str) -> float:
        """Send one; return how long to wait for the next, in s."""
        message = {"address": address, "now": time.time(), "metrics": self.message["metrics"]}
        answer = await send_recv(comm, op="heartbeat_worker", **message, executing={}, extensions={})
        self.counts["heartbeats" if answer["status"] == "OK" else "heartbeats of strangers"] += 1
        return float(answer["heartbeat-interval"])


class Retries(logging.Handler):
    """Counts the attempts that Dask repeats within one `connect`."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Look at a log line."""
        self.count += str(record.msg).startswith("Could not connect")


def crowd(case: Case, index: int, port: int, keys: credentials.Keys | None, pipe: Connection) -> None:
    """Be a process of simulated workers."""
    case.configure()
    asyncio.run(_crowd(case, index, port, keys.security() if keys is not None else None, pipe))


async def _crowd(case: Case, index: int, port: int, security: Any, pipe: Connection) -> None:
    retries = Retries()
    logger = logging.getLogger("distributed.comm.core")
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    logger.addHandler(retries)
    them = Crowd(case, index, port, security)
    await them.prepare(security)
    pipe.send("ready")
    await asyncio.to_thread(pipe.recv)
    alive = [asyncio.ensure_future(them.live(number)) for number in them.numbers]
    while not pipe.poll():
        await asyncio.sleep(0.2)
        for each in alive:
            if each.done():
                print("a simulated worker failed:", each.exception(), file=sys.stderr, flush=True)
                alive.remove(each)
                break
    pipe.recv()
    pipe.send(({**them.counts, "attempts repeated": retries.count}, them.waits))
    await asyncio.to_thread(pipe.recv)
    for each in alive:
        each.cancel()
    for comm in them.kept:
        comm.abort()
    await asyncio.to_thread(pipe.recv)
    os._exit(0)


# ------------------------------------------------------------------- the measurement
@contextlib.contextmanager
def processes(case: Case, keys: credentials.Keys | None) -> Any:
    """Start the scheduler's process and those of workers; yield address, process, its pipe and theirs."""
    ours, theirs = spawn.Pipe()
    scheduler = spawn.Process(target=serve, args=(case, keys, theirs), daemon=True)
    scheduler.start()
    started = [scheduler]
    try:
        port = ours.recv()
        pipes = []
        for index in range(case.processes):
            mine, their = spawn.Pipe()
            started.append(spawn.Process(target=crowd, args=(case, index, port, keys, their), daemon=True))
            started[-1].start()
            pipes.append(mine)
        for pipe in pipes:
            pipe.recv()
        yield f"{case.transport}://127.0.0.1:{port}", psutil.Process(scheduler.pid), ours, pipes
    finally:
        for process in started:
            process.kill()
            process.join()


async def measure(case: Case) -> dict[str, Any]:
    """Measure one case."""
    case.configure()
    keys = credentials.make() if case.encrypted else None
    with processes(case, keys) as (address, scheduler, ours, pipes):
        arguments = keys.security().get_connection_args("client") if keys is not None else {}
        comm = await connect(address, **arguments)
        memory, cpu = scheduler.memory_info().rss, sum(scheduler.cpu_times()[:2])
        seen = await watch(case, comm, pipes)
        used = sum(scheduler.cpu_times()[:2]) - cpu
        per_worker = (scheduler.memory_info().rss - memory) / max(1, seen["registered"])
        seen["stayed"] = await stayed(comm)
        counts, waits = total(pipes)
        ours.send("the end is near")
        ours.recv()
        seen |= await leave(scheduler, comm, pipes)
    waits.sort()
    return {
        **dataclasses.asdict(case),
        **seen,
        "scheduler CPU, s": used,
        "scheduler CPU per worker, ms": used / max(1, seen["registered"]) * 1e3,
        "scheduler memory per worker, KiB": per_worker / 1024,
        "longest wait of a worker, s": waits[-1] if waits else None,
        "median wait, s": waits[len(waits) // 2] if waits else None,
        **counts,
    }


async def watch(case: Case, comm: Any, pipes: list[Connection]) -> dict[str, Any]:
    """Have the workers come; ask the scheduler how many are there until all are, or the time is over."""
    begun = time.monotonic()
    for pipe in pipes:
        pipe.send("go")
    there, longest = 0, 0.0
    while there < case.workers and time.monotonic() - begun < case.limit:
        asked = time.monotonic()
        there = (await send_recv(comm, op="identity", n_workers=0))["n_workers"]
        longest = max(longest, time.monotonic() - asked)
        await asyncio.sleep(PROBE)
    took = time.monotonic() - begun
    return {
        "registered": there,
        "all registered, s": took if there == case.workers else None,
        "longest pause, s": longest,
    }


async def stayed(comm: Any) -> int:
    """Return how many workers are still there a little later."""
    await asyncio.sleep(AFTERWARDS)
    return int((await send_recv(comm, op="identity", n_workers=0))["n_workers"])


async def leave(scheduler: psutil.Process, comm: Any, pipes: list[Connection]) -> dict[str, Any]:
    """Have all workers go at once; return what that costs the scheduler until the last one is gone."""
    cpu, begun = sum(scheduler.cpu_times()[:2]), time.monotonic()
    for pipe in pipes:
        pipe.send("leave")
    there = 1
    while there and time.monotonic() - begun < LEAVE:
        await asyncio.sleep(PROBE)
        there = (await send_recv(comm, op="identity", n_workers=0))["n_workers"]
    return {
        "left behind": there,
        "leaving, s": time.monotonic() - begun,
        "leaving, CPU s": sum(scheduler.cpu_times()[:2]) - cpu,
    }


def total(pipes: list[Connection]) -> tuple[dict[str, int], list[float]]:
    """Return what the processes of workers have counted, and how long each worker waited."""
    counts: Counter[str] = Counter()
    waits: list[float] = []
    for pipe in pipes:
        pipe.send("end")
        theirs, waited = pipe.recv()
        counts.update(theirs)
        waits += waited
    return dict(counts), waits


COLUMNS = {
    "registered": "there",
    "all registered, s": "all after, s",
    "nannies that gave up": "nannies lost",
    "workers that tried again": "tried again",
    "attempts repeated": "attempts repeated",
    "longest wait of a worker, s": "longest wait, s",
    "longest pause, s": "longest pause, s",
    "scheduler CPU per worker, ms": "CPU, ms/worker",
    "scheduler memory per worker, KiB": "memory, KiB/worker",
    "leaving, CPU s": "leaving, CPU s",
}


def show(rows: list[dict[str, Any]]) -> None:
    """Print a table."""
    print("| workers | transport | variant | " + " | ".join(COLUMNS.values()) + " |")
    print("|---" * (3 + len(COLUMNS)) + "|")
    for row in rows:
        cells = [row.get(key, 0) for key in COLUMNS]
        texts = ["-" if cell is None else f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells]
        print(f"| {row['workers']} | {row['transport']} | {row['variant']} | " + " | ".join(texts) + " |")


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--transports", nargs="+", default=["tls", "tcp"], choices=["tls", "tcp"])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--processes", type=int, default=2, help="processes that speak for workers")
    parser.add_argument("--limit", type=float, default=900.0, help="s after which a case is given up")
    parser.add_argument("--save", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = []
    for workers in given.workers:
        for transport in given.transports:
            for variant in given.variants:
                case = Case(workers, transport, variant, given.processes, given.limit)
                rows.append({**asyncio.run(measure(case)), "load before": os.getloadavg()[0]})
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
                about = {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
                given.save.write_text(json.dumps({**about, "open files": _limit(), "cases": rows}, indent=2) + "\n")
    show(rows)


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


if __name__ == "__main__":
    main()
