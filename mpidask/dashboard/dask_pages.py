"""Dask's own pages of the dashboard, added to a scheduler when somebody asks for the first of them.

They stand on bokeh, which takes as long to import as Dask: a run that nobody looks at does without.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from typing import Any

from distributed import Scheduler
from tornado import web

from mpidask.compat import servers
from mpidask.errors import warn

__all__ = ["MODULE", "add_on_demand"]

MODULE = "distributed.dashboard.scheduler"  # imports bokeh

_LIST = "/individual-plots.json"  # of the pages that there are: answered without them, too


def add_on_demand(scheduler: Scheduler, prefix: str, on_end: Callable[[bool], None]) -> None:
    """Have Dask's pages added to a scheduler's HTTP server when the first of them is asked for.

    prefix:   the scheduler's ``http_prefix``: the secret, "" for none
    on_end:   called with whether they are there, when that is known
    """
    coming = _Coming(scheduler, prefix, on_end)
    servers.find_pages_by(scheduler, coming.find)


class _Coming:
    """The pages, until they are there."""

    def __init__(self, scheduler: Scheduler, prefix: str, on_end: Callable[[bool], None]) -> None:
        self._scheduler, self._prefix, self._on_end = scheduler, prefix, on_end
        self._added: asyncio.Future[None] | None = None
        self._waits = web.Application([(r".*", _Wait, {"added": self.added})])

    def find(self, request: Any, find: Callable[..., Any], **keywords: Any) -> Any:
        """Return who answers a request: what waits for the pages, if it may be for one of them."""
        found = find(request, **keywords)
        over = self._added is not None and self._added.done()
        asks = issubclass(found.handler_class, web.ErrorHandler) or request.path.endswith(_LIST)
        return self._waits.find_handler(request, **keywords) if asks and not over else found

    async def added(self) -> None:
        """Return when they have been added, or cannot be, which is told."""
        if self._added is None:
            self._added = asyncio.ensure_future(self._add())
        await asyncio.shield(self._added)

    async def _add(self) -> None:
        scheduler = self._scheduler
        try:
            module = await asyncio.to_thread(importlib.import_module, MODULE)
            module.connect(scheduler.http_application, scheduler.http_server, scheduler, prefix=self._prefix)
        except Exception as error:  # noqa: BLE001 - whatever bokeh, and what it stands on, has to say
            missing = error.name if isinstance(error, ImportError) else None
            warn(
                f"the dashboard has no pages: {type(error).__name__}: {error}",
                f"{sys.executable} -m pip install --upgrade {missing or 'bokeh'}",
                key="no-dashboard",
            )
            self._on_end(False)
        else:
            self._on_end(True)


class _Wait(web.RequestHandler):
    """Asks the browser to come again when the pages are there."""

    def initialize(self, added: Callable[[], Any]) -> None:
        """Take over what waits for them."""
        self._added = added

    async def get(self, *_: str) -> None:
        """Answer with the same address, relative to itself, for proxies."""
        await self._added()
        query = f"?{self.request.query}" if self.request.query else ""
        self.redirect(f"./{self.request.path.rpartition('/')[2]}{query}")
