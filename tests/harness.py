"""Runs mpirun and sees to it that a test leaves no process, file or segment behind.

Processes are known by a mark in their environment and ended by their ids.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

MARK = "MPIDASK_TEST_MARK"

#: Deadlines are there for what hangs. With several tests at a time on few cores all else takes this much longer, too.
PATIENCE = 3
SEGMENTS = Path("/dev/shm")
RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMI_RANK")

#: Settings for running more ranks than cores as root, as CI does.
SETTINGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "PYTHONFAULTHANDLER": "",
}


class Mpi:
    """The MPI of this environment."""

    def __init__(self) -> None:
        beside = Path(sys.prefix) / "bin" / "mpirun"
        self.mpirun = str(beside) if beside.exists() else shutil.which("mpirun") or "mpirun"
        text = subprocess.run([self.mpirun, "--version"], capture_output=True, text=True, timeout=60).stdout
        self.name = "Open MPI" if "Open MPI" in text or "open-mpi" in text else "MPICH"

    @property
    def is_mpich(self) -> bool:
        return self.name == "MPICH"


MPI = Mpi()


@dataclasses.dataclass
class Result:
    """How a run ended.

    seconds:  from the start to mpirun's end
    leftover: command lines of processes that were still there some seconds later
    """

    status: int
    stdout: str
    stderr: str
    seconds: float
    leftover: list[str]

    def __str__(self) -> str:
        return (
            f"status {self.status} after {self.seconds:.1f} s, leftover {self.leftover}\n"
            f"--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"
        )

    @property
    def words(self) -> list[str]:
        """What stderr says that is neither banner nor closing line."""
        return [line for line in self.stderr.splitlines() if line.strip() and not _EXPECTED.match(line)]


_EXPECTED = re.compile(
    r"mpidask: (version|roles|workers|cores|memory|gpus|network|scheduler|clients|scratch|protection|file|dashboard|idle|report)  +"
    r"|mpidask: {14}(from elsewhere|by the proxy): "
    r"|mpidask: \d+/\d+ workers|mpidask: the (script|cluster) ended( with status| after)"
)


#: What Open MPI's launcher prints where the child it has forked calls exec first: both call setpgid, to be sure. It says
#: so itself: https://github.com/openpmix/prrte/blob/master/src/mca/plm/ssh/plm_ssh_module.c ("Ignore this error")
#: What a rank says where another one is late, and a command where the batch system is: on a busy machine any may be.
#: What Dask's sender prints where its pause of 10 ms ends as its loop does.
#: What Dask says of a disk that is slow for a moment.
#: And what UCX prints where another test removes the network of its nodes while it looks at all there are.
_RACE = re.compile(
    r"^(mpidask: waiting for (rank|MPI|\S+ \.\.\.$|job \S+ to end|(srun|flux) in job|ssh to)|mpidask: (job \S+ running, its scheduler|the scheduler that \S+ tells of) does not answer yet|.*plm:ssh: Warning: setpgid\(|.*UCX +ERROR +failed to get interface index for (ompidask|ib0)).*\n?"
    r"|^.*UserWarning: Creating scratch directories is taking a surprisingly long time.*\n.*\n"
    r"|^Future exception was never retrieved\nfuture: <Future finished exception=TimeoutError\('Timeout'\)>\n"
    r"(tornado\.util\.)?TimeoutError: Timeout\n",
    re.MULTILINE,
)


def without_race(text: str) -> str:
    """Return what a run printed without harmless warnings of Open MPI's launcher, and without what is waited for."""
    return _RACE.sub("", text)


class Running:
    """A run under way."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str, directory: Path) -> None:
        self.process, self.mark, self.directory = process, mark, directory
        self.begun = time.monotonic()

    def wait_for(self, text: str, timeout: float = 40, file: str = "out") -> None:
        """Wait until the run has written that to stdout, or to the other file ("err")."""
        timeout *= PATIENCE
        deadline = time.monotonic() + timeout
        while True:
            has_ended = self.process.poll() is not None  # before the look: what it wrote last counts
            if text in (self.directory / file).read_text(errors="replace"):
                return
            assert time.monotonic() < deadline, (
                f"no {text!r} within {timeout} s\n{self._read('out')}{self._read('err')}"
            )
            assert not has_ended, f"ended before {text!r}\n{self._read('out')}{self._read('err')}"
            time.sleep(0.02)

    def rank(self, number: int) -> int:
        """Return the process id of a rank."""
        for pid in marked(self.mark):
            environ = read_environ(pid)
            name = next((name for name in RANK_VARIABLES if name in environ), None)
            command = read(pid, "cmdline")
            is_rank = re.search(r"mpidask|\.py\0", command) and "multiprocessing" not in command
            # A rank's watchdog comes before it where the numbers of processes have begun anew.
            is_rank = is_rank and "watchdog.watch" not in command and "mpidask-watch" not in read(pid, "comm")
            if name is not None and environ[name] == str(number) and is_rank and "python" in command.split("\0")[0]:
                return pid
        raise AssertionError(f"no rank {number}")

    def signal(self, number: int) -> None:
        """Send a signal to mpirun."""
        self.process.send_signal(number)

    def signal_group(self, number: int) -> None:
        """Send a signal to all of mpirun's process group, as a terminal does."""
        os.killpg(self.process.pid, number)

    def _read(self, name: str) -> str:
        return without_race((self.directory / name).read_text(errors="replace"))

    def result(self, timeout: float = 60) -> Result:
        """Wait for mpirun's end and for that of what it started."""
        timeout *= PATIENCE
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            stacks = "\n".join(f"{pid} {read(pid, 'cmdline')} {read(pid, 'wchan')}" for pid in marked(self.mark))
            self.kill()
            raise AssertionError(
                f"mpirun did not end within {timeout} s\n{self._read('out')}\n{self._read('err')}\n{stacks}"
            ) from None
        seconds = time.monotonic() - self.begun
        deadline = time.monotonic() + 5 * PATIENCE
        while marked(self.mark) and time.monotonic() < deadline:
            time.sleep(0.02)
        leftover = [read(pid, "cmdline").replace("\0", " ") for pid in marked(self.mark)]
        self.kill()
        return Result(status, self._read("out"), self._read("err"), seconds, leftover)

    def kill(self) -> None:
        """Kill whatever is left, by process id."""
        for _ in range(50):
            pids = marked(self.mark)
            if not pids:
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)


class Launcher:
    """Starts runs in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / "work"
        self.scratch = Path(tempfile.mkdtemp(prefix="t-"))  # short, as sites have it
        self.work.mkdir()
        self.runs: list[Running] = []
        self.segments_before = segments()

    def script(self, text: str, name: str = "script.py") -> str:
        """Write a script into the working directory and return its name."""
        import textwrap

        (self.work / name).write_text(textwrap.dedent(text))
        return name

    def start(
        self,
        n: int,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        command: list[str] | None = None,
        stdin: int | None = None,
        hosts: list[str] | None = None,
    ) -> Running:
        """Start `mpirun -n N python -m mpidask ARGUMENTS`, or that command under mpirun; n = 0: without mpirun.

        hosts: further words for mpirun
        """
        mark = uuid.uuid4().hex
        directory = self.directory / mark
        directory.mkdir()
        program = command if command is not None else [sys.executable, "-m", "mpidask", *arguments]
        words = [MPI.mpirun, *(hosts or []), "-n", str(n), *program] if n else program
        with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
            process = subprocess.Popen(
                words,
                cwd=self.work,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=out,
                stderr=err,
                env={**clean_environ(), **SETTINGS, "TMPDIR": str(self.scratch), MARK: mark, **(environ or {})},
                start_new_session=True,
                preexec_fn=default_signals,  # nohup and background jobs of a shell ignore some
            )
        run = Running(process, mark, directory)
        self.runs.append(run)
        return run

    def python(self, n: int, script: str, *arguments: str, timeout: float = 60, **more: object) -> Result:
        """Run `mpirun -n N python SCRIPT ARGUMENTS` to the end: a script that calls mpidask itself."""
        return self(n, command=[sys.executable, script, *arguments], timeout=timeout, **more)

    def __call__(self, n: int, *arguments: str, timeout: float = 60, **more: object) -> Result:
        """Run to the end."""
        return self.start(n, *arguments, **more).result(timeout)  # type: ignore[arg-type]

    def leftovers(self) -> list[str]:
        """Return files that the runs left in scratch space, working directory and shared memory."""
        # Open MPI without its mpirun keeps a directory per user and never removes it.
        files = [str(path) for path in self.scratch.iterdir() if not _empty_session(path)]
        files += [str(path) for path in self.work.iterdir() if path.suffix != ".py"]
        return files + sorted(segments() - self.segments_before)

    def clean_up(self) -> None:
        for run in self.runs:
            run.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)


def default_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)


def _empty_session(path: Path) -> bool:
    return path.name.startswith("ompi.") and not [each for each in path.rglob("*") if not each.is_dir()]


def clean_environ() -> dict[str, str]:
    """Return this process's environment without what a launcher around the tests may have put there."""
    return {k: v for k, v in os.environ.items() if not re.match(r"(OMPI|PMI|PMIX|PRTE|DASK)_|PYTHONUNBUFFERED", k)}


def segments() -> set[str]:
    """Return the names of this user's shared memory segments."""
    found = set()
    for path in SEGMENTS.iterdir():
        with contextlib.suppress(FileNotFoundError):  # it goes meanwhile
            if path.lstat().st_uid == os.getuid():
                found.add(path.name)
    return found


def marked(mark: str) -> list[int]:
    """Return the ids of processes with that mark, zombies left out."""
    return [pid for pid in pids() if read_environ(pid).get(MARK) == mark and state(pid) not in "ZX"]


def kill_at_once(processes: Iterable[int]) -> None:
    """Kill processes so that none of them acts on the end of another."""
    stopped = list(processes)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def read_environ(pid: int) -> dict[str, str]:
    return dict(entry.partition("=")[::2] for entry in read(pid, "environ").split("\0"))


def state(pid: int) -> str:
    return (read(pid, "stat").rpartition(")")[2].split() or ["X"])[0]
