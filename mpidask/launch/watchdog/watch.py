"""The watcher beside a rank: what it knows, what it looks for, what it does.

Imports nothing but the standard library's smallest modules: it is forked from every rank before MPI_Init.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from mpidask.files import remove_if_holding
from mpidask.launch.watchdog.launcher_environment import launcher_name, launcher_rank, local_size
from mpidask.launch.watchdog.procfs import (
    Stat,
    container_process,
    is_gone,
    is_launcher,
    kill_marked,
    launcher_of,
    launchers_above,
    name_process,
    read_stat,
)
from mpidask.launch.watchdog.shared_memory import remove, segments_of, semaphores
from mpidask.launch.watchdog.siblings import Siblings, Sight
from mpidask.launch.watchdog.waiting import Waiting

__all__ = ["Watch", "main", "run_watchdog"]

_TICK = 0.5  # s between two looks while a run starts or ends
_LONG_TICK = 1.0  # s between two looks while it goes on
_GONE_TICKS = 4  # looks in which a rank of the node is missing before MPI is up
_REPORTER_TICKS = 20  # looks more for the watchdogs that do not report it: the one that does may have begun late
_UNSEEN_TICKS = 8  # looks more where it has never been seen: the launcher may not have started it yet
_STOPPED_TICKS = 10  # looks in which the scheduler's or the script's rank is stopped
_ALONE = 6  # times longer where no other rank of the node tells a stopped rank from a suspended job
_SUSPENDED = 5.0  # s that a look may come late on a busy machine
_CUT_OFF = 8.0  # s for a launcher to end whose own starter was killed
_LAUNCHER = 2.0  # s that the launcher gets to end the run after a rank's death
_STARTUP = 300.0  # s for MPI to come up; DASK_MPIDASK__STARTUP_TIMEOUT (seconds) overrides it


class Watch:
    """What a watchdog knows."""

    def __init__(self, rank: int, parent: int, token: str) -> None:
        self.rank = rank
        self.parent = parent
        self.launched = launcher_name(os.environ) is not None
        self.container = container_process()
        self.launcher = launcher_of(parent)
        self.sight = Sight(self.launcher, launcher_rank(os.environ), rank)
        self.above = launchers_above(self.launcher) if self.launched else []
        self.token = token
        self.who = f"rank {launcher_rank(os.environ)} on {os.uname().nodename}"
        self.up = self.vital = self.needed = self.bye = self.cut_off = self.killed = self.reports = False
        self.scheduler = 0  # the process with it, where that is beside the rank
        self.paths: set[str] = set()
        self.files: set[tuple[str, str]] = set()
        self.timeline = ""
        self.present = self.gone_ticks = self.stopped_ticks = 0
        stat = read_stat(rank)
        self.born = stat.born if stat else ""
        self.deadline = time.monotonic() + _startup_timeout()
        self.waiting = Waiting()

    def receive(self, line: str) -> None:
        """Take one line from the rank."""
        word, _, value = line.partition(" ")
        if word == "up":
            self._is_up(value)
        elif word in ("needed", "bye"):
            setattr(self, word, True)
        elif word == "scheduler":
            self.scheduler = int(value)
        elif word in ("path", "file"):
            self._to_remove(word, value)
        elif word == "timeline":
            self.timeline = value
        elif word == "end":
            self.deadline = time.monotonic() + float(value)
        elif word == "dismissed":
            os._exit(0)

    def _to_remove(self, word: str, value: str) -> None:
        text, _, path = value.partition(" ")
        if word == "path":
            self.paths.add(value)
        else:
            self.files.add((text, path))

    def _is_up(self, value: str) -> None:
        self.up, self.deadline = True, float("inf")
        vital, _, self.who = value.partition(" ")
        self.vital = self.needed = vital == "1"

    @property
    def pause(self) -> float:
        """Time until the next look in s."""
        return _LONG_TICK if self.up and self.deadline == float("inf") else _TICK

    def forgive(self, seconds: float) -> None:
        """Add to the time that is left what this process was suspended, with all of the job."""
        if seconds > _SUSPENDED:
            self.deadline += seconds

    def look(self) -> bool:
        """Look once; return whether the rank is still there."""
        stat = read_stat(self.rank)
        if stat is None or stat.born != self.born or stat.state in "ZX":
            return False
        if not self.up:
            self.paths |= {semaphores(self.token), *segments_of(self.rank)}  # it cannot tell: MPI_Init does not return
        reason = None if self.killed else self._reason_to_kill(stat)
        if reason is not None:
            self.killed = True  # its end takes a moment, in which it is looked at again
            _say(reason)
            if reason and not self.up:
                time.sleep(_TICK)  # to pass it on: MPICH's launcher fails where a rank goes in the midst of MPI_Init
            self.end_step()  # first: when a node has no rank left, Slurm kills its watchdogs too
            self.kill()
        return True

    def kill(self) -> None:
        """Kill the rank, if that process still is the rank."""
        stat = read_stat(self.rank)
        if stat is not None and stat.born == self.born:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.rank, signal.SIGKILL)

    def _reason_to_kill(self, stat: Stat) -> str | None:
        """Return why the rank must go ("" without a word), None if it may stay."""
        if self.launched and (stat.parent != self.parent or is_gone(self.launcher)):
            return ""  # nobody is left to read a word
        if self.container is not None and not _is_there(self.container):
            return ""
        if not self.cut_off and not all(map(_is_there, self.above)):  # a script, as Intel MPI's mpirun, is killed alone
            self.cut_off = True
            self.deadline = min(self.deadline, time.monotonic() + _CUT_OFF)
            self._end_launcher()
        if time.monotonic() > self.deadline:
            return self._late()
        if not self.up:
            present = self.sight.look()
            if self._node_has_lost_a_rank(present):
                return self._lost_rank(present)
            _say(self.waiting.line(present, self.launcher, speaks=self.sight.speaks(present)))
        if self.up and self.vital and self._is_stopped(stat):
            who = self.who if stat.state == "T" else f"the process with the scheduler, beside {self.who},"
            return (
                f"error: {who} has been stopped (SIGSTOP) for {_LONG_TICK * _STOPPED_TICKS:.0f} s; "
                "the run cannot go on without it and ends; more: mpidask docs LostError"
            )
        return None

    def _end_launcher(self) -> None:
        """Pass on the signal that has ended what had started the launcher: from one of the node's watchdogs."""
        if self.sight.speaks(self.sight.look()):
            living = [each.pid for each in self.above if read_stat(each.pid) is not None]
            with contextlib.suppress(OSError):
                os.kill(living[-1] if living else self.launcher, signal.SIGTERM)

    def _late(self) -> str:
        if self.cut_off:
            return ""
        if self.up:
            return f"warning: {self.who} did not end in time and is killed; more: mpidask docs too-slow-to-end"
        return (
            f"error: {self.who}: MPI did not come up within {_startup_timeout():.0f} s; another rank is "
            "missing.\nremedy: see its message above, or allow more time with "
            "DASK_MPIDASK__STARTUP_TIMEOUT (seconds); more: mpidask docs missing-ranks"
        )

    def _is_stopped(self, stat: Stat) -> bool:
        """Whether this rank, or its scheduler, has been stopped for long while launcher and other ranks were not."""
        beside = read_stat(self.scheduler) if self.scheduler else None
        if stat.state != "T" and (beside is None or beside.state != "T"):
            self.stopped_ticks = 0
            return False
        launcher = read_stat(self.launcher)
        ranks = self.sight.look()
        suspended = (
            launcher is None or launcher.state == "T" or (len(ranks) > 1 and {rank.state for rank in ranks} == {"T"})
        )
        lost = self.launched and not suspended
        self.stopped_ticks = self.stopped_ticks + 1 if lost else 0
        return self.stopped_ticks >= _STOPPED_TICKS * (1 if len(ranks) > 1 else _ALONE)

    def _node_has_lost_a_rank(self, present: Siblings) -> bool:
        expected = local_size(os.environ) or 0
        known = self.sight.most > 1 or is_launcher(self.launcher)  # else one may be the launcher's only child
        lost = known and 0 < len(present) < expected
        grows, self.present = len(present) > self.present, len(present)
        self.gone_ticks = self.gone_ticks + 1 if lost and not grows else 0
        if self.gone_ticks == 1:  # whoever speaks then is killed itself, and the next one does not say it again
            self.reports = self.sight.speaks(present)
        unseen = self.sight.most < expected or not self.reports  # the one that reports may not have seen it
        more = _UNSEEN_TICKS * unseen + _REPORTER_TICKS * (not self.reports)
        return self.gone_ticks >= _GONE_TICKS + more

    def _lost_rank(self, present: Siblings) -> str:
        if not self.reports and not self.sight.speaks(present):
            return ""  # one of the node's watchdogs reports, all of them act
        left = f" ({', '.join(map(str, sorted(present.named)))})" if not present.unnamed else ""
        return (
            f"error: on {os.uname().nodename} {len(present)} of {local_size(os.environ)} ranks are left{left}: the "
            "others ended before MPI was up.\nremedy: see their messages above; check that the same Python "
            "environment and mpidask are on every node; more: mpidask docs missing-ranks"
        )

    def end_step(self) -> None:
        """Have Slurm end the step: unlike mpirun, srun lets the other ranks run on when one is killed."""
        job, step = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_STEP_ID")
        if launcher_name(os.environ) == "srun" and job and step:
            with contextlib.suppress(OSError):
                os.spawnlp(os.P_WAIT, "scancel", "scancel", "--quiet", f"{job}.{step}")  # noqa: S606 - no shell is wanted

    def end_run(self) -> None:
        """End the other ranks if the launcher does not, now that this one is gone and the run needs it."""
        deadline = time.monotonic() + _LAUNCHER
        while time.monotonic() < deadline:
            if not (self.up and self.launched and len(self.sight.look())):
                return
            time.sleep(_TICK / 5)
        if not self.needed:
            _say(f"warning: {self.who} is lost; the run goes on without it; more: mpidask docs lost-worker")
            return
        _say(f"error: {self.who} is lost; the run cannot go on without it and ends; more: mpidask docs LostError")
        self.end_step()
        others = self.sight.look()
        # This one has gone: if there are as many as this run has, some are another's.
        for other in others if len(others) < (local_size(os.environ) or 0) else others.named.values():
            with contextlib.suppress(OSError):
                os.kill(other.pid, signal.SIGKILL)

    def clean_up(self) -> None:
        """Kill what the rank left running, remove what it left lying."""
        kill_marked(self.token, trackers=True)
        remove(self.paths)
        for path in self.paths:
            _remove_tree(path)
        for text, path in self.files:
            remove_if_holding(text, path)
        session = os.environ.get("PMIX_SERVER_TMPDIR", "")
        if is_gone(self.launcher) and os.path.basename(session).startswith(("ompi.", "prte.")):
            _remove_tree(session)

    def write_timeline(self) -> None:
        """Write the timeline of --timeline, which this rank would have written at its end."""
        run, _, file = self.timeline.partition(" ")
        if file:
            from mpidask.launch.watchdog import timeline

            timeline.finish(file, run)


def _is_there(process: Stat) -> bool:
    """Whether this very process is still there."""
    now = read_stat(process.pid)
    return now is not None and now.born == process.born and now.state not in "ZX"


def _startup_timeout() -> float:
    try:
        return float(os.environ.get("DASK_MPIDASK__STARTUP_TIMEOUT", _STARTUP))
    except ValueError:
        return _STARTUP


def _remove_tree(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        import shutil

        shutil.rmtree(path, ignore_errors=True)


def _say(text: str) -> None:
    if text:
        with contextlib.suppress(OSError):
            os.write(2, "".join(f"mpidask: {line}\n" for line in text.splitlines()).encode())


def main() -> None:
    """Become the watchdog of another process: of the caller of `Watchdog.start_apart`."""
    rank, parent, token, read_end = sys.argv[1:]
    name_process()
    if os.fork() == 0:  # not the rank's child: `os.wait()` in a script must not find it
        run_watchdog(Watch(int(rank), int(parent), token), int(read_end))
    os._exit(0)


def run_watchdog(watch: Watch, read_end: int) -> None:
    """Never returns."""
    try:
        _detach(read_end)
        _listen(watch, read_end)
        if not watch.bye:
            watch.clean_up()
            watch.write_timeline()
            watch.end_run()
    except BaseException as error:  # noqa: BLE001 - last resort: never run on as a second rank
        _say(f"warning: the watchdog of {watch.who} failed: {error!r}; more: mpidask docs watchdog")
    finally:
        os._exit(0)


def _detach(read_end: int) -> None:
    """Leave the rank's session and files; keep only stderr, to report, and the pipe."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    for descriptor in map(int, os.listdir("/proc/self/fd")):  # not a range: its end may be a billion
        if descriptor > 2 and descriptor != read_end:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    os.chdir("/")
    sys.stdin = sys.stdout = None


def _listen(watch: Watch, read_end: int) -> None:
    """Return when the rank is gone."""
    poll = select.poll()
    poll.register(read_end, select.POLLIN)
    received = b""
    while True:
        begun = time.monotonic()
        heard = poll.poll(watch.pause * 1000)
        watch.forgive(time.monotonic() - begun - watch.pause)
        if heard:
            data = os.read(read_end, 65536)
            *lines, received = (received + data).split(b"\n")
            for line in lines:
                watch.receive(line.decode(errors="surrogateescape"))
            if not data:  # the rank is gone, or closed the pipe
                _wait_until_gone(watch)
                return
        elif not watch.look():
            return


def _wait_until_gone(watch: Watch) -> None:
    while watch.look():
        time.sleep(0.01)
