"""What a rank does when the process with its workers is lost: it starts another, a few times."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time

from mpidask.errors import LostError, MpidaskError, caught, warn
from mpidask.launch.cluster.rank_spec import rank_spec, start_agent
from mpidask.launch.cluster.run import Run
from mpidask.launch.servers.agent import Agent
from mpidask.security.credentials import Contact

__all__ = ["Replacement"]

_AGAIN, _SOON = 5, 60.0  # losses in a row, each so soon (s) after it was up: it cannot run
_LOOK = 0.1  # s between two looks whether another one is up


class Replacement:
    """Starts the agent of a rank without scheduler and script again. Its workers' tasks are run again, as Dask does.

    agent: the one that runs
    """

    def __init__(self, run: Run, agent: Agent, contact: Contact, *, diverts: bool) -> None:
        """Begin to watch.

        contact: the scheduler
        diverts: as for `rank_spec`
        """
        self.agent = agent
        self._run, self._contact, self._diverts = run, contact, diverts
        self._closing = False
        self._lock = threading.Lock()  # of starting and closing
        self._count, self._up = 0, time.monotonic()  # losses in a row; when the last one was up
        agent.watch(self._replace)

    def close(self, timeout: float) -> None:
        """End the one that runs, and start none any more; kill it past the timeout (s)."""
        with self._lock:
            self._closing = True
        self.agent.close(timeout)

    def _replace(self, status: int) -> None:
        """Start another, in the thread that has seen the last one end."""
        what = f"ended ({status})"
        if time.monotonic() - self._up > _SOON:
            self._count = 0
        while not self._closing:
            self._count += 1
            where = f"the process with the workers of {self._whose()}, on {self._run.world.host},"
            if self._count >= _AGAIN:
                self._give_up(f"{where} {what}, again and again")
                return
            warn(f"{where} {what}; it is started again", key="lost-worker")
            error = caught(self._start)
            if error is None:
                return
            what = f"cannot be started: {error.what}"

    def _start(self) -> None:
        """Start another one, where nothing is left of the last; raises an MpidaskError."""
        run = self._run
        run.rank.tidy()
        _empty(run.scratch().path)
        spec = rank_spec(run, diverts=self._diverts)
        with self._lock:
            if self._closing:
                return
            self.agent = agent = start_agent(run, spec)
        agent.tell(self._contact)
        while not agent.done():
            time.sleep(_LOOK)
        answer = agent.result()
        if isinstance(answer, MpidaskError) and not self._closing:
            agent.close(0)
            raise answer
        self._up = time.monotonic()
        agent.watch(self._replace)

    def _give_up(self, why: str) -> None:
        if self._closing:
            return
        if len(self._run.layout.mine) < len(self._run.layout.workers):
            warn(f"{why}; the run goes on without them", key="lost-worker")
            return
        lost = LostError(f"{why}; no worker is left, and the run ends")
        sys.stderr.write(lost.text())
        self._run.abort(lost.status)

    def _whose(self) -> str:
        ranks = self._run.layout.stands_for
        return f"rank {ranks[0]}" if len(ranks) == 1 else f"{len(ranks)} ranks"


def _empty(directory: str) -> None:
    """Remove what is in a directory: what workers that are gone have spilled."""
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
