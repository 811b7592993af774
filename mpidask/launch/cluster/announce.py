"""Says on stderr how a run begins and ends; rank 0 alone prints."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping

from mpidask import config
from mpidask.dashboard import links
from mpidask.launch.cluster import banner
from mpidask.launch.cluster.layout import Layout
from mpidask.launch.cluster.run import Run
from mpidask.launch.comm.polling import WaitPolicy
from mpidask.launch.resources.roles import Role
from mpidask.security.credentials import Contact
from mpidask.version import __version__

__all__ = ["StartupProgress", "print_banner", "print_closing"]

_FIRST, _ON_TERMINAL, _IN_LOG = 2.0, 0.5, 10.0  # s until the first look, then between two


class StartupProgress:
    """Shows who is up: one changing line on a terminal, a line now and then in a log."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._hosts = layout.hosts
        self._hosting = [rank for rank, role in enumerate(layout.roles) if Role.WORKER in role]
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + _FIRST
        self._shown = False

    @property
    def policy(self) -> WaitPolicy:
        """How long to wait for the workers, and what to say meanwhile."""
        return WaitPolicy(self._layout.startup_timeout, self._hosts, self.show, self.enough)

    def show(self, up: Mapping[int, int]) -> None:
        """Print how far the start has come; up: rank -> number of its workers."""
        if self._layout.options.quiet or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + (_ON_TERMINAL if self._terminal else _IN_LOG)
        missing = banner.missing_workers(self._hosting, up.keys(), self._hosts)
        text = banner.progress(sum(up.values()), len(self._layout.workers), missing)
        _say(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
        self._shown = True

    def enough(self, up: Mapping[int, int]) -> bool:
        """Whether the script may start before all workers are up."""
        wanted = self._layout.options.min_workers
        needed = {self._layout.client, self._layout.scheduler} - {None}
        return wanted is not None and sum(up.values()) >= wanted and needed <= up.keys()

    def done(self) -> None:
        """Clear the changing line."""
        if self._shown and self._terminal:
            _say("\r\x1b[K")


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
    inside = config.inside(options)
    _say(banner.banner(__version__, layout.roles, layout.facts, layout.workers, about, inside=inside))


def print_closing(run: Run, status: int | None) -> None:
    """Print how the run ended."""
    if not run.options.quiet:
        script = run.layout.client is not None
        _say(banner.closing(status, time.monotonic() - run.begun, script=script))


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
