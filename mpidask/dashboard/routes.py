"""What is added to a scheduler's HTTP server: page "Ranks", numbers, a style, Dask's pages on demand.

Only Dask's pages need bokeh. All of them are under the secret.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from distributed import Scheduler
from distributed.http.utils import RequestHandler
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform

from mpidask.compat import dask as compat
from mpidask.dashboard import dask_pages, relay
from mpidask.dashboard.links import NUMBERS
from mpidask.dashboard.table import SOURCE, Source, add_up, numbers

__all__ = ["add", "show_in_navigation"]

_NAME = "ranks"  # the page's address, and in the navigation bar its title
_FIRST = "status"  # of Dask's pages
_STYLE = "info.css"  # of the pages "Info"


def add(scheduler: Scheduler, prefix: str, *, on_demand: bool = False) -> None:
    """Add the pages to a scheduler that has a `Source` among its plugins, or gets one.

    prefix:    the scheduler's ``http_prefix``: the secret, "" for none
    on_demand: also Dask's pages, when somebody asks for one
    """
    compat.find_statics_of_info_pages()
    relay.offer(scheduler)
    path = prefix.strip("/")
    under = f"/{re.escape(path)}" if path else ""
    pages = [_FIRST, _NAME] if on_demand else [_NAME]
    server = {"dask_server": scheduler, "extra": {"path": path, "pages": pages}}
    routes = [(f"{under}/{_NAME}", _Ranks, server), (f"{under}/{re.escape(NUMBERS)}", _Numbers, server)]
    routes.append((f"{under}/{re.escape(_STYLE)}", _Style, server))
    scheduler.http_application.add_handlers(r".*", [*routes, (f"{under}/?", _Front, server)])
    scheduler.http_application.add_transform(_OwnStyle)
    _mend_links(scheduler)
    if on_demand:

        def note(added: bool) -> None:  # noqa: FBT001 - Dask's are there, or will not be
            if added:
                _mend_links(scheduler)
                show_in_navigation(scheduler)
            else:
                pages.remove(_FIRST)

        dask_pages.add_on_demand(scheduler, prefix, note)


def _mend_links(scheduler: Any) -> None:
    """Have Dask's pages, if they are there, work behind web proxies that put something before the path."""
    for pages in scheduler.http_application.applications:
        pages.add_transform(_RelativeStatics)


def show_in_navigation(scheduler: Scheduler) -> None:
    """Add the page to the navigation bar of a dashboard, once its pages are there."""
    pages = _navigation(scheduler)
    if pages and _NAME not in pages:
        pages.insert(1, _NAME)  # after Status


def _navigation(scheduler: Any) -> list[str]:
    """Return the pages of Dask's navigation bar, none if there are none: for want of bokeh, or not yet."""
    module: Any = sys.modules.get(dask_pages.MODULE)
    if module is None or not scheduler.http_application.applications:
        return []
    pages: list[str] = module.template_variables(scheduler)["pages"]  # remembered: one list for each scheduler
    return pages


class _Ranks(RequestHandler):
    """The page."""

    def get_template_path(self) -> str:
        """Return where the page's file is."""
        return os.path.dirname(__file__)

    def get(self) -> None:
        """Answer with the page, which asks for the numbers."""
        pages = _navigation(self.server) or self.extra["pages"]
        self.render("ranks.html", pages=pages, numbers=NUMBERS, current=_NAME)


class _Numbers(RequestHandler):
    """The numbers."""

    def get(self) -> None:
        """Answer with the numbers, 404 if nobody knows them."""
        source: Source | None = self.server.plugins.get(SOURCE)
        if source is None:
            self.send_error(404)
            return
        tasks = add_up(prefix.states for prefix in self.server.task_prefixes.values())
        self.set_header("Cache-Control", "no-store")
        self.write(numbers(source.rows(), source.heading, tasks))


class _Style(RequestHandler):
    """The style of the pages "Info"."""

    def get(self) -> None:
        """Answer with the style."""
        self.set_header("Content-Type", "text/css")
        self.write(Path(__file__).with_name(_STYLE).read_bytes())


class _Replacing(OutputTransform):
    """Replaces links of pages.

    below: what the path of such a page has in it
    found, instead: a regular expression, and what is put in its place
    """

    below = "/"
    found = instead = b""

    def __init__(self, request: HTTPServerRequest) -> None:
        """Look whether it is such a page."""
        self._is_meant = self.below in request.path

    def transform_first_chunk(
        self,
        status_code: int,
        headers: HTTPHeaders,
        chunk: bytes,
        finishing: bool,  # noqa: FBT001 - Tornado's
    ) -> tuple[int, HTTPHeaders, bytes]:
        """Replace the links."""
        if self._is_meant and headers.get("Content-Type", "").startswith("text/html"):
            chunk = re.sub(self.found, self.instead, chunk)
            if "Content-Length" in headers:
                headers["Content-Length"] = str(len(chunk))
        return status_code, headers, chunk


class _RelativeStatics(_Replacing):
    """Has Dask's pages, one level below the prefix, take Bokeh's scripts from beside them.

    Below a prefix Bokeh writes absolute paths, which lead nowhere behind a proxy that puts something before them.
    """

    found = rb'(src|href)="/(?:[^"/]+/)+static/'
    instead = rb'\1="static/'


class _OwnStyle(_Replacing):
    """Has the pages "Info", two levels below ours, take the style from here, and not from a public network.

    https://github.com/dask/distributed/blob/main/distributed/http/templates/main.html
    """

    below = "/info/"
    found = rb'href="https?://[^"]*bulma[^"]*"'
    instead = b'href="../../' + _STYLE.encode() + b'"'


class _Front(RequestHandler):
    """The bare secret, or nothing at all."""

    def get(self) -> None:
        """Lead to Dask's first page if there is one, else to ours; by a relative link, for proxies."""
        page = _FIRST if _navigation(self.server) else self.extra["pages"][0]
        path = self.extra["path"]
        self.redirect(page if self.request.path.endswith("/") or not path else f"{path}/{page}")
