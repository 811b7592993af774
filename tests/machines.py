"""The batch systems under which the tests submit jobs: real ones, installed and started by tests/machines/*.sh.

Jobs are submitted by an ordinary user of each system, on four simulated nodes that are shared by all systems. Several
processes may test at the same time, also those of other checkouts: a system is lent to one test at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness import PATIENCE, SETTINGS, without_race
from namespaces import outside

HERE = Path(__file__).parent / "machines"
STATE = Path("/run/mpidask-lab")
NODES = ("mn1", "mn2", "mn3", "mn4")

Result = subprocess.CompletedProcess[str]


@dataclasses.dataclass
class Machine:
    """Where jobs are submitted: commands run there as the user, in a directory of the test.

    name:         of the batch system
    nodes:        how many there are
    python:       the interpreter, which jobs can run
    submits_with: the batch system's command for it
    shapes:       options that give (nodes, ranks per node) where it takes more than the usual ones
    hold:         options with which a job waits
    never:        options with which a job never starts, and what is said of that
    cancel_all:   command that cancels all jobs of the user
    commands:     how many have been run
    """

    name: str
    directory: Path
    python: str
    path: str
    nodes: int = 4
    user: str | None = None
    submits_with: str = ""
    shapes: Callable[[int, int], Sequence[str]] = lambda nodes, ranks: ()
    hold: Sequence[str] = ()
    never: tuple[Sequence[str], str] | None = None
    cancel_all: Sequence[str] = ()
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    started: list[subprocess.Popen[Any]] = dataclasses.field(default_factory=list)
    commands: int = 0

    def run(self, *words: str, timeout: float = 60) -> Result:
        """Run a command to its end."""
        process = self._popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            stdout, stderr = process.communicate(timeout=timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            raise AssertionError(f"no end within {timeout} s: {words}\n{stdout}\n{stderr}") from None
        return Result(words, process.returncode, without_race(stdout), without_race(stderr))

    def mpidask(self, *words: str, timeout: float = 60) -> Result:
        """Run the command `mpidask` to its end."""
        return self.run(self.python, "-m", "mpidask.cli", *words, timeout=timeout)

    def start(self, *words: str, terminal: int) -> subprocess.Popen[Any]:
        """Start the command `mpidask` on a terminal."""
        command = (self.python, "-m", "mpidask.cli", *words)
        process = self._popen(command, stdin=terminal, stdout=terminal, stderr=terminal)
        self.started.append(process)
        return process

    def spawn(self, *words: str) -> subprocess.Popen[str]:
        """Start a command; what it prints and reads goes through pipes."""
        pipe = subprocess.PIPE
        process = self._popen(words, stdin=pipe, stdout=pipe, stderr=pipe)
        self.started.append(process)
        return process

    def run_on(self, node: str, *words: str, timeout: float = 60) -> Result:
        """Run a command as the user on a node, to its end."""
        command = [str(HERE / "nodes.sh"), "exec", node, "runuser", "-u", str(self.user), "--", *words]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout * PATIENCE,
            check=False,
            cwd=self.directory,
            env=self._environment(),
        )

    def _popen(self, words: Sequence[str], **streams: Any) -> subprocess.Popen[Any]:
        account = None if self.user is None else pwd.getpwnam(self.user)
        self.commands += 1
        return subprocess.Popen(
            words,
            **streams,
            text=True,
            cwd=self.directory,
            env=self._environment(),
            start_new_session=True,
            user=account and account.pw_uid,
            group=account and account.pw_gid,
            extra_groups=None if account is None else [],
        )

    def _environment(self) -> dict[str, str]:
        home = str(self.directory) if self.user is None else pwd.getpwnam(self.user).pw_dir
        return {
            "PATH": self.path,
            "HOME": home,
            "USER": self.user or "root",
            "LOGNAME": self.user or "root",
            "LANG": "C.UTF-8",
            "PWD": str(self.directory),
            "XDG_STATE_HOME": str(self.directory / "state"),
            "XDG_CONFIG_HOME": str(self.directory / "config"),
            "DASK_CONFIG": str(self.directory / "config" / "dask"),
            "DASK_MPIDASK__BATCH__SYSTEM": self.name,
            "DASK_MPIDASK__BATCH__POLL_INTERVAL": "1 s",
            **self.environment,
        }

    def file(self, name: str, text: str) -> str:
        """Write a file that the user and the jobs can read; return its name."""
        (self.directory / name).write_text(text)
        return name

    def replace(self, command: str, text: str) -> None:
        """Put a script in the place of a batch system's command, where jobs are submitted."""
        place = self.directory / "instead"
        place.mkdir(exist_ok=True)
        (place / command).write_text(text)
        (place / command).chmod(0o755)
        if not self.path.startswith(f"{place}:"):
            self.path = f"{place}:{self.path}"

    def shape(self, nodes: int, ranks: int) -> list[str]:
        """Return the options for that many nodes, if there are so many, and ranks on each."""
        count = min(nodes, self.nodes)
        ranks = ranks * nodes // count
        return ["-N", str(count), "--ranks-per-node", str(ranks), *self.shapes(count, ranks)]

    def several(self) -> tuple[list[str], int]:
        """Return options for nodes with one rank each, two where there are so many, and how many workers it suggests.

        All simulated nodes have the cores of this machine. Of 4 GiB 5 % are kept for the scheduler or the script, so
        that there is 1 GiB for each of 3 workers.
        """
        cores = len(os.sched_getaffinity(0))
        divisors = [each for each in range(1, cores + 1) if cores % each == 0 and (cores <= 4 or each**2 >= cores)]
        suggested = cores if cores <= 4 else divisors[0]
        if self.nodes == 1:
            return [], suggested
        return ["-N", "2", "--cores-per-rank", "4", "--mem", "4GiB"], min(3, suggested)

    def submit(self, *words: str) -> str:
        """Submit a job; return its id."""
        done = self.mpidask("submit", *words)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def status(self, *jobs: str) -> list[dict[str, Any]]:
        """Return what `mpidask status` says of jobs, of all without any."""
        done = self.mpidask("status", "--json", *jobs)
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def log(self, job: str) -> str:
        """Return what a job has printed so far."""
        return self.mpidask("logs", job).stdout

    def until(self, job: str, wanted: Callable[[dict[str, Any]], Any], timeout: float = 90) -> dict[str, Any]:
        """Wait until what is said of a job is as wanted; return it."""
        deadline = time.monotonic() + timeout * PATIENCE
        while True:
            (each,) = self.status(job)
            if wanted(each):
                return each
            assert time.monotonic() < deadline, (each, self.log(job))
            time.sleep(1)  # each look is a process, which takes 0.3 s of a core

    def on_node(self, node: str, *words: str) -> Result:
        """Run a command as root on a node."""
        return subprocess.run(
            [HERE / "nodes.sh", "exec", node, *words], capture_output=True, text=True, timeout=60, check=False
        )

    def processes(self) -> dict[int, str]:
        """Return process id -> command line of what runs for jobs of this test."""
        found = {}
        mark = f"XDG_STATE_HOME={self.directory}/state".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                ours = (
                    entry.stat().st_uid == pwd.getpwnam(self.user).pw_uid
                    if self.user
                    else mark in (entry / "environ").read_bytes()
                )
                state = re.search(r"^State:\s+(\w)", (entry / "status").read_text(), re.MULTILINE)[1]
                if ours and state != "Z":
                    found[int(entry.name)] = (
                        (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    )
        return found

    def left_over(self, within: float = 30) -> list[str]:
        """Return what still runs for jobs after that many s."""
        deadline = time.monotonic() + within * PATIENCE
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.3)
        return list(left.values())

    def clean_up(self) -> None:
        """Cancel the jobs and end what still runs, by its id."""
        if self.cancel_all:
            self.run("sh", "-c", shlex.join(self.cancel_all), timeout=60)
        deadline = time.monotonic() + 20 * PATIENCE
        while self.processes() and time.monotonic() < deadline:
            for process in self.processes():
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.2)
        for process in self.started:
            process.wait(timeout=10 * PATIENCE)


def script(name: str, *words: str) -> str:
    """Run one of the scripts, one process at a time; skip the test where a system cannot be had."""
    command = outside(HERE / name, *words)
    with _locked("setup"):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode != 0:
        pytest.skip(f"{name} {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout.strip()


def install(*packages: str) -> None:
    """Install packages of Debian; skip the test where that cannot be done."""
    script("install.sh", *packages)


@contextlib.contextmanager
def _locked(name: str, how: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a lock of this machine; raise BlockingIOError where somebody else has it and how says not to wait."""
    with _lock_file(name).open("w") as file:
        fcntl.flock(file, how)
        yield


def _lock_file(name: str) -> Path:
    STATE.mkdir(exist_ok=True)
    return STATE / f"{name}.lock"


@functools.cache
def _ready() -> str:
    """Prepare the environment; return the directory of its copy. Skips where that cannot be had."""
    if os.geteuid() != 0 or not Path("/etc/debian_version").exists() or not shutil.which("apt-get"):
        pytest.skip("real batch systems are installed and started by root on Debian")
    prefix = Path(sys.prefix)
    checkout = hashlib.sha256(bytes(prefix.parent)).hexdigest()[:6]
    target = f"/opt/mpidask-tests/{prefix.name.removeprefix('.venv-')}-{checkout}"
    script("stage.sh", sys.prefix, target)
    return target


@functools.cache
def _up(system: str) -> tuple[str, str]:
    """Start a batch system, once, and make its user; return what the script printed and the user's name.

    It is stopped when the last process that tests with such systems has ended its tests.
    """
    if not _users:
        file = _lock_file("users").open("w")
        fcntl.flock(file, fcntl.LOCK_SH)
        _users.append(file)
    user = f"mpidask-{_SHARED.get(system, system)}"
    script("user.sh", user)
    (STATE / f"up.{_SHARED.get(system, system)}").touch()
    return script(f"{system}.sh", "up"), user


def second_cluster() -> None:
    """Start a second cluster of the Slurm that is up: `mpidask-far`, of one node."""
    script("slurm.sh", "far")


#: Held open while this process uses batch systems.
_users: list[Any] = []

#: Torque's commands are Slurm's.
_SHARED = {"torque": "slurm"}


def group(name: str) -> str:
    """Return the name that systems share whose tests cannot run at the same time."""
    return _SHARED.get(name, name)


def shut_down() -> None:
    """Stop all batch systems that tests have started unless another process still uses some."""
    _up.cache_clear()
    while _users:
        _users.pop().close()
    if os.geteuid() != 0 or not list(STATE.glob("up.*")):
        return
    with contextlib.suppress(BlockingIOError), _locked("users", fcntl.LOCK_EX | fcntl.LOCK_NB):
        for started in STATE.glob("up.*"):
            _down(started.suffix[1:])
            started.unlink()
        _down("nodes")


def _down(name: str) -> None:
    subprocess.run(outside(HERE / f"{name}.sh", "down"), capture_output=True, timeout=120, check=False)


_OPENMPI = {name: value for name, value in SETTINGS.items() if name.startswith("PRTE_")}


def machine(name: str, directory: Path) -> Machine:
    """Return a machine with that batch system; skips the test where it cannot be had."""
    if name == "local":
        path = f"{sys.prefix}/bin:/usr/bin:/bin"
        return Machine("local", directory, sys.executable, path, nodes=1, submits_with="bash", environment=SETTINGS)
    target = _ready()
    prefix, user = _up(name)
    account = pwd.getpwnam(user)
    directory.chmod(0o755)
    os.chown(directory, account.pw_uid, account.pw_gid)
    path = ":".join(filter(None, [prefix, f"{target}/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]))
    facts = _SYSTEMS[name]
    return Machine(name, directory, f"{target}/bin/python", path, user=user, environment=_OPENMPI, **facts)


def _environments(nodes: int, ranks: int) -> Sequence[str]:
    """Return Grid Engine's parallel environment for so many ranks on each node."""
    return ["--pe", {1: "one", 2: "two"}[ranks]] if nodes > 1 else (["--pe", "one_node"] if ranks > 1 else [])


_SYSTEMS: Mapping[str, Mapping[str, Any]] = {
    "slurm": {
        "submits_with": "sbatch --parsable",
        "hold": ["--directive=--hold"],
        "never": (["-N", "9"], "more nodes than the partition has"),
        "cancel_all": ["scancel", "-u", "mpidask-slurm"],
    },
    "sge": {
        "submits_with": "qsub -terse",
        "shapes": _environments,
        "hold": ["--directive=-h"],
        "never": (["-N", "9", "--pe", "one"], "not enough free slots|only offers"),
        "cancel_all": ["qdel", "-u", "mpidask-sge"],
    },
    "oar": {
        "submits_with": "oarsub -S",
        "hold": ["--directive=--hold"],
        "never": (["-N", "9"], "no nodes have what"),
        "cancel_all": ["oardel", "--sql", "job_user = 'mpidask-oar' and state <> 'Error' and state <> 'Terminated'"],
    },
    "torque": {
        "submits_with": "qsub",
        "hold": ["--directive=-h"],
        "cancel_all": ["scancel", "-u", "mpidask-slurm"],
    },
}


@contextlib.contextmanager
def borrowed(name: str) -> Iterator[Machine]:
    """Lend a machine to one test, with a directory that the machine's user can enter."""
    if name != "local":
        _ready()
    with (
        contextlib.nullcontext() if name == "local" else _locked(group(name)),
        # A letter before what is random: Dask reads DASK_CONFIG as Python, which warns of `1if` and `2or` in it.
        tempfile.TemporaryDirectory(prefix="mpidask-test-d", ignore_cleanup_errors=True) as directory,
    ):
        lent = machine(name, Path(directory))
        try:
            yield lent
        finally:
            lent.clean_up()


#: The commands of batch systems that cannot be had here, for which tests/batch/standin.py stands in.
STOOD_IN = {
    "lsf": ("bsub", "bjobs", "bkill", "bacct"),
    "moab": ("msub", "showq", "mjobctl"),
    "htcondor": ("condor_submit", "condor_q", "condor_history", "condor_rm"),
    "flux": ("flux",),
    "pbs": ("qsub", "qstat", "qdel"),
}


@contextlib.contextmanager
def stood_in(name: str) -> Iterator[Machine]:
    """Lend this machine to one test, with stand-ins for the commands of a batch system; jobs really run."""
    with tempfile.TemporaryDirectory(prefix="mpidask-test-d") as place:
        directory = Path(place)
        for each in ("bin", "standin"):
            (directory / each).mkdir()
        for command in STOOD_IN[name]:
            text = f"#!{sys.executable}\n{(HERE.parent / 'batch' / 'standin.py').read_text()}"
            (directory / "bin" / command).write_text(text)
            (directory / "bin" / command).chmod(0o755)
        lent = Machine(name, directory, sys.executable, f"{directory}/bin:/usr/bin:/bin", user=None)
        lent.environment = {"STANDIN": f"{directory}/standin", "PBS_O_WORKDIR": place}
        try:
            yield lent
        finally:
            lent.clean_up()
