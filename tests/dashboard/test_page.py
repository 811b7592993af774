"""The page "Ranks" as Dask's HTTP server has it, without a browser."""

from __future__ import annotations

import asyncio
import dataclasses
import urllib.request

import pytest

pytest.importorskip("bokeh")

from bokeh.client import pull_session
from bokeh.document import Document
from bokeh.models import ColumnDataSource, Div
from distributed import Scheduler, SchedulerPlugin
from distributed.dashboard import scheduler as pages

from mpidask.dashboard import page
from mpidask.dashboard.table import SOURCE, Row

PREFIX = "a-secret"


class Source(SchedulerPlugin):
    """A plugin with rows of our own."""

    name = SOURCE
    heading = "job"

    def __init__(self):
        self.its = [Row("7", "n<1>", "worker", "w", 12, 2, 2**28, 2**30, "running")]

    def rows(self):
        return self.its


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Register the page for the time of a test."""
    monkeypatch.setattr(pages, "applications", dict(pages.applications))
    monkeypatch.setattr(pages, "template_variables", pages.template_variables)
    page.register()
    page.register()  # a second time changes nothing


async def read(url):
    def fetch():
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.read().decode()

    return await asyncio.wait_for(asyncio.to_thread(fetch), 30)


async def document(url):
    def pull():
        session = pull_session(url=url)
        try:
            return session.document
        finally:
            session.close()

    return await asyncio.wait_for(asyncio.to_thread(pull), 30)


async def scheduler(source, *, late):
    """Return a scheduler: with its dashboard from the start, or with one that comes later as in a run."""
    made = await Scheduler(
        host="127.0.0.1",
        dashboard=not late,
        dashboard_address="127.0.0.1:0",
        http_prefix=PREFIX,
        plugins=[] if source is None else [source],
    )
    if late:
        pages.connect(made.http_application, made.http_server, made, prefix=PREFIX)
    return made


def run(source, look, *, late=False):
    async def main():
        async with await scheduler(source, late=late) as made:
            return await asyncio.wait_for(look(f"http://127.0.0.1:{made.http_server.port}/{PREFIX}"), 60)

    return asyncio.run(main())


@pytest.mark.parametrize("late", [True, False])
def test_the_page_is_there_and_in_the_navigation_bar(late):
    async def look(url):
        return [await read(f"{url}/{name}") for name in ("status", "ranks")]

    status, ranks = run(Source(), look, late=late)
    for text in (status, ranks):
        assert text.count('<a href="ranks">Ranks</a>') == 1
    assert status.index('href="status"') < status.index('href="ranks"') < status.index('href="workers"')
    assert "<title>Dask" in ranks


def test_the_table_has_the_rows():
    async def look(url):
        return await document(f"{url}/ranks")

    found = run(Source(), look)
    (table,) = found.select({"type": ColumnDataSource})
    assert (table.data["place_text"], table.data["node_text"]) == (["7"], ["n<1>"])
    (above,) = found.select({"type": Div})
    assert above.text == "1 job on 1 node · 1 worker: 1 running · 256.00 MiB in use by workers"


def test_a_scheduler_of_others_has_a_page_that_says_so():
    async def look(url):
        return await document(f"{url}/ranks")

    (root,) = run(None, look).roots
    assert "no ranks or jobs" in root.text


def test_only_what_has_changed_is_sent():
    source, doc, sent = Source(), Document(), []
    doc.add_root(page._table(source, doc))
    (look,) = doc.session_callbacks
    doc.on_change(sent.append)
    look.callback()
    assert sent == []
    source.its = [dataclasses.replace(source.its[0], pid=13)]
    look.callback()
    assert len(sent) == 1
