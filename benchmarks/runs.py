"""One run of a variant, and what it took: times, CPU, memory, operations on files. Used by other benchmarks."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import filecmp
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from harness import SETTINGS  # noqa: E402

MARK = "MPIDASK_BENCHMARK"
IDLE = 2.0  # s for which workers without work are looked at
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER

#: What every script does once it has a client. It is stopped twice, so that its processes can be looked at.
BODY = """
import json, os, sys, time
from dask.distributed import Client

def reached(name):
    "Say when this was reached, wait to be let go on, and return for how long."
    now = time.time()
    with open(name + ".part", "w") as file:
        file.write(str(now))
    os.rename(name + ".part", name)
    while not os.path.exists(name + ".go"):
        time.sleep(0.01)
    return time.time() - now

def measured(client, workers):
    client.wait_for_workers(workers)
    stopped = reached("registered")
    assert client.submit(sum, [1, 2]).result() == 3
    with open("stopped", "w") as file:
        file.write(str(stopped))
    reached("result")
    with open("last", "w") as file:
        file.write(str(time.time()))
"""


class RunError(Exception):
    """A run that did not do what it should."""


@dataclasses.dataclass(frozen=True)
class Python:
    """An interpreter with Dask, MPI and mpidask."""

    path: str
    prefixes: tuple[str, ...]  # what lies on the shared file system of a cluster: environment, and what it is made from
    mpirun: str
    mpi: str
    versions: Mapping[str, str]

    @classmethod
    def at(cls, path: str) -> Python:
        """Ask an interpreter; exits if it has an mpidask that is not the one of this checkout."""
        words = (
            "import json, sys, mpidask, distributed, mpi4py;"
            "versions = {each.__name__: each.__version__ for each in (distributed, mpi4py)};"
            "versions['python'] = sys.version.split()[0];"
            "print(json.dumps([[sys.prefix, sys.base_prefix], mpidask.__path__[0], versions]))"
        )
        asked = subprocess.run([path, "-c", words], capture_output=True, text=True, check=True, cwd="/")
        prefixes, package, versions = json.loads(asked.stdout)
        if not _same(Path(package), ROOT / "mpidask"):
            sys.exit(f"{package} is not what {ROOT} has: {path} -m pip install --no-deps --force-reinstall {ROOT}")
        mpirun = str(Path(prefixes[0]) / "bin" / "mpirun")
        text = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=True).stdout
        open_mpi = "Open MPI" in text or "open-mpi" in text
        return cls(path, tuple(dict.fromkeys(prefixes)), mpirun, "Open MPI" if open_mpi else "MPICH", versions)


def _same(one: Path, other: Path) -> bool:
    """Whether two directories hold the same modules."""
    names = [{str(file.relative_to(each)) for file in each.rglob("*.py")} for each in (one, other)]
    return names[0] == names[1] and not any(filecmp.cmpfiles(one, other, names[0], shallow=False)[1:])


@dataclasses.dataclass(frozen=True)
class Run:
    """A command, in a place of its own.

    script:  text of the script.py that the command names
    workers: how many there will be
    environ: what it has in its environment besides ours
    shared:  directories on the shared file system, besides the run's own
    timeout: s for each of its steps
    """

    place: Path
    script: str
    command: Sequence[str]
    workers: int
    environ: Mapping[str, str]
    shared: Sequence[str]
    timeout: float


@dataclasses.dataclass
class Started:
    """A run under way."""

    process: subprocess.Popen[bytes]
    directory: Path
    mark: str
    begin: float
    run: Run

    def until(self, name: str) -> float:
        """Wait until the script has reached a point; return the time of that."""
        deadline = time.monotonic() + self.run.timeout
        while not (self.directory / name).exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RunError(f"{name} was not reached:\n{self.said()}")
            time.sleep(0.01)
        return float((self.directory / name).read_text())

    def go(self, name: str) -> None:
        """Let the script go on from there."""
        (self.directory / f"{name}.go").touch()

    def said(self) -> str:
        """Return the end of its output."""
        return (self.directory / "output").read_text(errors="replace")[-3000:]

    def end(self) -> float:
        """Wait for the command's end; return the time of it."""
        waiting = select.poll()
        waiting.register(os.pidfd_open(self.process.pid), select.POLLIN)
        if not waiting.poll(1000 * self.run.timeout):
            raise RunError(f"it did not end:\n{self.said()}")
        end = time.time()
        if self.process.wait() != 0:
            raise RunError(f"status {self.process.returncode}:\n{self.said()}")
        return end


def measure(run: Run) -> dict[str, float]:
    """Run it; return what it took. Raises RunError."""
    others, used = _host_cpu(), reaped_cpu()
    with started(run) as it:
        registered = it.until("registered")
        to_registered = cpu(marked(it.mark))
        it.go("registered")
        result = it.until("result")
        time.sleep(1.0)  # what is still to be done after the first result
        pids = marked(it.mark)
        before, pss, private = cpu(pids), *memory(pids)
        time.sleep(IDLE)
        idle = cpu(pids) - before
        it.go("result")
        end = it.end()
        stopped, last = (float((it.directory / name).read_text()) for name in ("stopped", "last"))
    used = reaped_cpu() - used
    return {
        "all registered, s": registered - it.begin,
        "first result, s": result - it.begin - stopped,
        "CPU to registered, s": to_registered,
        "CPU in all, s": used,
        "PSS per worker, MB": pss / run.workers / 1e6,
        "private per worker, MB": private / run.workers / 1e6,
        "idle CPU per worker, % of a core": 100 * idle / IDLE / run.workers,
        "teardown, s": end - last,
        "others' CPU, cores": max(0.0, _host_cpu() - others - used) / (time.time() - it.begin),
    }


def operations(run: Run) -> float:
    """Return how many operations on shared files a run takes per worker, to its end. Raises RunError."""
    trace = run.place / "trace"
    words = ["strace", "--follow-forks", "--seccomp-bpf", "--decode-fds=path", "--quiet=all"]
    words += ["--trace=%file,getdents64", "--output", str(trace)]
    with started(dataclasses.replace(run, command=[*words, *run.command])) as it:
        for name in ("registered", "result"):
            it.until(name)
            it.go(name)
        it.end()
        with trace.open(errors="replace") as lines:
            count = sum(1 for line in lines if _is_on(line, [*run.shared, str(it.directory)]))
    trace.unlink()
    return count / run.workers


_CALL = re.compile(r"\d+ +\w+\((?:[^\"<]*<(?P<base>[^>]*)>)?[^\"]*(?:\"(?P<path>[^\"]*)\")?")


def _is_on(line: str, shared: Sequence[str]) -> bool:
    """Whether a line of a trace is a call that names a file below one of these directories."""
    call = _CALL.match(line)  # the second half of an interrupted call does not match
    if call is None:
        return False
    path = os.path.normpath(os.path.join(call["base"] or "", call["path"] or ""))
    return any(path == each or path.startswith(f"{each}/") for each in shared)


@contextlib.contextmanager
def started(run: Run) -> Iterator[Started]:
    """Start a run in a directory of its own; at the end no process of it is left."""
    adopt()
    mark = uuid.uuid4().hex
    directory = run.place / mark
    directory.mkdir()
    (directory / "script.py").write_text(run.script)
    home = {"HOME": str(directory)}  # Dask's configuration is to be its own
    environ = {**os.environ, **SETTINGS, **home, MARK: mark, **run.environ}
    with (directory / "output").open("wb") as output:
        begin = time.time()
        process = subprocess.Popen(
            run.command, cwd=directory, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            yield Started(process, directory, mark, begin, run)
        finally:
            if process.poll() is None:
                process.terminate()
            _reap(process, mark)


def adopt() -> None:
    """Become the parent of processes that lose theirs, so that what they use is known; end in order on SIGTERM."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _reap(process: subprocess.Popen[bytes], mark: str) -> None:
    """Wait for all processes of a run; kill what is there after 20 s."""
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    with contextlib.suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.02)
            if time.monotonic() > deadline:
                for pid in marked(mark):
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)


def marked(mark: str) -> list[int]:
    """Return the processes of a run: the mark is in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
    return found


def cpu(pids: Sequence[int]) -> float:
    """Return the CPU seconds of processes, and of those that they have waited for."""
    seconds = 0.0
    for pid in pids:
        with contextlib.suppress(OSError):
            seconds += time.clock_gettime((~pid << 3) | 2)  # ps counts in ticks, which is too coarse for a fork
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            seconds += sum(int(field) for field in fields[13:15]) / os.sysconf("SC_CLK_TCK")
    return seconds


def memory(pids: Sequence[int]) -> tuple[int, int]:
    """Return proportional and private memory of processes in bytes."""
    pss = private = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            sizes = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
            pss += sizes["Pss"]
            private += sizes["Private_Clean"] + sizes["Private_Dirty"]
    return pss, private


def reaped_cpu() -> float:
    """Return the CPU seconds of all processes that we have waited for, and that they have."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _host_cpu() -> float:
    """Return the CPU seconds of all processes of the machine."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()
    return sum(int(field) for field in fields[1:4]) / os.sysconf("SC_CLK_TCK")
