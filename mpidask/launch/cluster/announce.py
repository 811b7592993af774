"""Says on stderr how a run begins and ends; rank 0 alone prints."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mpidask import config
from mpidask.config import Options
from mpidask.dashboard import links
from mpidask.errors import MpidaskError
from mpidask.launch.cluster import banner
from mpidask.launch.cluster.layout import Layout
from mpidask.launch.cluster.run import Run
from mpidask.launch.comm.polling import SoFar, WaitPolicy
from mpidask.launch.comm.world import World
from mpidask.security.credentials import Contact
from mpidask.status_line import PATIENCE, StatusLine
from mpidask.version import __version__

__all__ = ["StartupProgress", "meeting", "print_banner", "print_closing"]


@contextlib.contextmanager
def meeting(world: World, options: Options, hosts: Mapping[int, str]) -> Iterator[Callable[[Mapping[int, Any]], None]]:
    """Yield what says, on rank 0, which ranks are waited for, while all of them meet.

    hosts: rank -> host name, as far as they are known
    """
    line = StatusLine(enabled=not options.quiet, after=PATIENCE, calm=True)

    def show(reported: Mapping[int, Any]) -> None:
        missing = [rank for rank in range(world.size) if rank not in reported] if line.is_due else []
        if missing:  # the last one may have been late: then nobody is waited for any more
            line.show(banner.waiting(missing, hosts))

    try:
        yield show
    finally:
        line.clear()


class StartupProgress:
    """Shows who is up: one changing line on a terminal, a line now and then in a log."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._hosts = layout.hosts
        self._wanted = Counter(worker.rank for worker in layout.workers)
        self._line = StatusLine(enabled=not layout.options.quiet, after=PATIENCE, calm=True)

    @property
    def policy(self) -> WaitPolicy:
        """How long to wait for the workers, and what to say meanwhile."""
        return WaitPolicy(self._layout.startup_timeout, self._hosts, self.show, self.enough, self.missing)

    def show(self, reported: Mapping[int, Any]) -> None:
        """Print how far the start has come.

        reported: rank -> (rank -> number of its workers), of those that the first one hosts, or so far
        """
        if not self._line.is_due:
            return
        up = _sum(reported)
        late = self._lacking(up) or self.missing(reported)
        if late:
            missing = banner.missing_ranks(sorted(late), self._hosts)
            self._line.show(banner.progress(up.total(), len(self._layout.workers), missing))

    def _lacking(self, up: Counter[int]) -> set[int]:
        return {rank for rank, number in self._wanted.items() if up[rank] < number}

    def missing(self, reported: Mapping[int, Any]) -> set[int]:
        """Return the ranks that keep the others waiting; reported: as for `show`."""
        silent = set(range(len(self._layout.roles))) - _ready(reported) - set(self._layout.hosting)
        return self._lacking(_sum(reported)) | silent

    def enough(self, reported: Mapping[int, Any]) -> bool:
        """Whether the script may start before all workers are up; reported: as for `show`."""
        wanted = self._layout.options.min_workers
        if wanted is None:
            return False
        return _sum(reported).total() >= wanted and {self._layout.client} - {None} <= _ready(reported)

    def done(self) -> None:
        """Clear the changing line."""
        self._line.clear()


def _ready(reported: Mapping[int, Any]) -> set[int]:
    return {rank for rank, value in reported.items() if not isinstance(value, SoFar)}


def _sum(reported: Mapping[int, Any]) -> Counter[int]:
    """Return rank -> number of its workers, over all that hosts have reported."""
    up: Counter[int] = Counter()
    for value in reported.values():
        up.update(value.value if isinstance(value, SoFar) else value)
    return up


def print_banner(layout: Layout, scheduler: Contact, dashboard: str | None) -> None:
    """Print how the run is laid out."""
    if layout.options.quiet:
        return
    options = layout.options
    places = sorted({fact.scratch for fact in layout.facts if fact.scratch})
    encryption = banner.encryption(scheduler.address, made=scheduler.keys is not None)
    about = [
        ("network", f"{layout.link}"),
        ("scheduler", f"{scheduler.address}{', joined' if layout.joined else ''} ({encryption})"),
        *([("clients", f"{scheduler.clients} (from outside)")] if scheduler.clients else []),
        ("scratch", f"{', '.join(places[:3])} (per run, removed at its end)"),
        ("protection", "none (--no-nanny)" if config.inside(options) else "a worker that dies is started again"),
    ]
    if options.scheduler_file is not None and not layout.joined:
        about.append(("file", f"{options.scheduler_file} (for clients from elsewhere, removed at the end)"))
    if options.dashboard and not layout.joined:
        missing = f"not available: bokeh is not installed ({sys.executable} -m pip install bokeh)"
        about.append(("dashboard", dashboard or missing))
        if dashboard is not None:
            about += links.ways(dashboard, layout.hosts[layout.reporting_rank], os.environ)
    if options.idle_timeout is not None and layout.client is None and not layout.joined:
        about.append(("idle", f"the cluster ends when it has had nothing to do for {options.idle_timeout}"))
    agents = None if config.inside(options) else layout.hosting if options.nanny else ()
    _say(banner.banner(__version__, layout.roles, layout.facts, layout.workers, about, agents))


def print_closing(run: Run, status: int | None) -> None:
    """Print how the run ended, and what its record says of it."""
    script = run.layout.client is not None
    text = banner.closing(status, time.monotonic() - run.begun, script=script)
    if run.report is not None:
        text = "".join(f"mpidask: report  {line}\n" for line in _reported(run.report, status)) + text
    if not run.options.quiet:
        _say(text)


def _reported(path: str, status: int | None) -> list[str]:
    """Return what a record says of the run; the exit status is added to it."""
    from mpidask.report import closing, record

    try:
        record.append(path, [{"kind": "exit", "t": time.time(), "status": status}])
        return closing.closing_lines(record.read_brief(path))
    except (OSError, MpidaskError):  # a disk that is full; the run itself has ended well
        return []


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
