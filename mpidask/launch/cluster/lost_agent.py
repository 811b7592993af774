"""What a rank does when the process with its workers is lost: it starts another, a few times.

What it gives up the scheduler knows: two nodes that give up would each go on for the sake of the other's workers.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence

from mpidask.errors import LostError, MpidaskError, caught, warn
from mpidask.launch.cluster import teardown
from mpidask.launch.cluster.rank_spec import rank_spec, start_agent
from mpidask.launch.cluster.run import Run
from mpidask.launch.comm.polling import Steps, WaitPolicy
from mpidask.launch.servers.agent import Agent
from mpidask.launch.servers.specs import RankSpec
from mpidask.security.credentials import Contact

__all__ = ["Replacement", "all_lost", "pass_on_losses", "watch_over"]

_AGAIN, _SOON = 5, 60.0  # losses in a row, each so soon (s) after it was up: it cannot run
_LOOK = 0.1  # s between two looks whether another one is up


class Replacement:
    """Starts the agent of a rank without scheduler again. Its workers' tasks are run again, as Dask does.

    agent:    the one that runs, or has run last as long as the next one starts
    given_up: whether there will be none any more
    """

    def __init__(self, run: Run, agent: Agent, contact: Contact, *, diverts: bool) -> None:
        """Begin to watch.

        contact: the scheduler
        diverts: as for `rank_spec`
        """
        self.agent, self.given_up = agent, False
        self._coming: Agent | None = None  # started, but not up yet
        self._run, self._contact, self._diverts = run, contact, diverts
        self._closing = self._is_told = False
        self._lock = threading.Lock()  # of starting and closing
        self._count, self._up = 0, time.monotonic()  # losses in a row; when the last one was up
        agent.watch(self._replace)

    def close(self, timeout: float) -> None:
        """End the one that runs, and start none any more; kill it past the timeout (s)."""
        with self._lock:
            self._closing = True
        (self._coming or self.agent).close(timeout)

    async def after(self, lost: Agent) -> Agent | None:
        """Return the one in the place of a lost one once it is up; None if none comes."""
        while self.agent is lost and not self.given_up:  # noqa: ASYNC110 - a thread starts it
            await asyncio.sleep(_LOOK)
        return None if self.agent is lost else self.agent

    def _replace(self, status: int) -> None:
        """Start another, in the thread that has seen the last one end."""
        if self._run.is_aborting:  # which has killed it
            return
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
        run.rank.tidy_agent()
        _empty(run.scratch().path)
        spec = _again(rank_spec(run, diverts=self._diverts))
        with self._lock:
            if self._closing:
                return
            self._coming = agent = start_agent(run, spec)
        agent.tell(self._contact)
        while not agent.done():
            time.sleep(_LOOK)
        answer = agent.result()
        if isinstance(answer, MpidaskError) and not self._closing:
            agent.close(0)
            raise answer
        self.agent, self._coming, self._up = agent, None, time.monotonic()
        agent.watch(self._replace)

    def _give_up(self, why: str) -> None:
        if self._closing:
            return
        if len(self._run.layout.mine) < len(self._run.layout.workers):
            warn(f"{why}; the run goes on without them", key="lost-worker")
            self.given_up = True
            return
        lost = LostError(f"{why}; no worker is left, and the run ends")
        sys.stderr.write(lost.text())
        self._run.abort(lost.status)

    def take_loss(self) -> list[str]:
        """Return the names of its workers if they have been given up, once."""
        if not self.given_up or self._is_told:
            return []
        self._is_told = True
        return [str(worker.name) for worker in self._run.layout.mine]

    def _whose(self) -> str:
        ranks = self._run.layout.stands_for
        return f"rank {ranks[0]}" if len(ranks) == 1 else f"{len(ranks)} ranks"


def watch_over(run: Run, agent: Agent, contact: Contact, *, diverts: bool) -> Replacement | None:
    """See to the loss of an agent: another takes its place, unless the cluster ends with it; return what starts it.

    diverts: as for `rank_spec`
    """
    if run.hosts_scheduler:
        agent.watch(lambda status: teardown.lose_agent(run, status))
        return None
    return Replacement(run, agent, contact, diverts=diverts)


def pass_on_losses(run: Run, own: Replacement | None, tell: Callable[[Sequence[str]], None]) -> None:
    """Tell the scheduler's rank of workers that this one has given up; there, tell the scheduler of all such.

    own:  what this rank starts again
    tell: called with names where the scheduler is here
    """
    scheduler = run.layout.scheduler
    if own is not None and scheduler is not None and (names := own.take_loss()):
        run.world.report_loss(names, scheduler)
    if run.hosts_scheduler:
        for names in run.world.losses():
            tell(names)


def all_lost(run: Run, own: Replacement | None) -> Steps[int]:
    """At the end of a run whose scheduler is elsewhere: return this rank's exit status if all workers were given up.

    As where the walltime ends a run, that of the rank which reports it alone is not 0.

    own: what this rank starts again
    """
    ends = yield from run.world.agree(None if own is None else own.given_up, WaitPolicy(float("inf")))
    if not run.is_reporting or {each for each in ends.values() if each is not None} != {True}:
        return 0
    lost = LostError("all workers have been given up; the run ends")
    sys.stderr.write(lost.text())
    return lost.status


def _again(spec: RankSpec) -> RankSpec:
    """Return it for workers in the place of lost ones."""
    assert spec.workers is not None
    return dataclasses.replace(spec, workers=dataclasses.replace(spec.workers, again=True))


def _empty(directory: str) -> None:
    """Remove what is in a directory: what workers that are gone have spilled."""
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
