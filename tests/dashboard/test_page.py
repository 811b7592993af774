"""The pages that are added to Dask's HTTP server, without a browser."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.error
import urllib.request
from urllib.parse import urljoin

import pytest

pytest.importorskip("bokeh")

from distributed import Scheduler, SchedulerPlugin, Worker

from mpidask.dashboard import access, dask_pages, routes
from mpidask.dashboard.measured import SelfReport, hide_missing_pages, measured
from mpidask.dashboard.table import SOURCE, Row

PREFIX = "a-secret"
ROW = Row("7", "n<1>", "worker", "w", "running", pid=12, threads=2, memory=2**28, memory_limit=2**30)


class Source(SchedulerPlugin):
    """A plugin with rows of our own."""

    name = SOURCE
    heading = "job"

    def rows(self):
        return [ROW]


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


async def read(url):
    """Return status, text and, of a redirection, its target."""

    def fetch():
        try:
            with urllib.request.build_opener(_Stay).open(url, timeout=90) as answer:
                return answer.status, answer.read().decode(errors="replace"), None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), error.headers["Location"]

    return await asyncio.wait_for(asyncio.to_thread(fetch), 100)


def run(look, source=None, *, dashboard="early", prefix=PREFIX):
    """Look at a scheduler: its dashboard is there from the start, or comes on demand as in a run, or never."""

    async def main():
        settings = {"dashboard": dashboard == "early", "dashboard_address": "127.0.0.1:0", "http_prefix": prefix or "/"}
        made = Scheduler(host="127.0.0.1", plugins=[] if source is None else [source], **settings)
        routes.add(made, prefix, on_demand=dashboard == "late")
        if prefix:
            access.close(made, prefix)
        async with await made:
            if source is not None:
                routes.show_in_navigation(made)
                routes.show_in_navigation(made)  # a second time changes nothing
            return await asyncio.wait_for(look(f"http://127.0.0.1:{made.http_server.port}"), 180)

    return asyncio.run(main())


@pytest.mark.parametrize("dashboard", ["late", "early"])
def test_the_page_is_there_and_in_the_navigation_bar(dashboard):
    async def look(url):
        first = await read(f"{url}/{PREFIX}/status?a=b")
        return [first, *[await read(f"{url}/{PREFIX}/{name}") for name in ("status", "ranks")]]

    (code, _, again), (_, dask, _), (status, ranks, _) = run(look, Source(), dashboard=dashboard)
    assert (code, again) == ((302, "./status?a=b") if dashboard == "late" else (200, None))
    assert dask.count('<a href="ranks">Ranks</a>') == 1
    assert dask.index('href="status"') < dask.index('href="ranks"') < dask.index('href="workers"')
    assert status == 200
    assert '<a href="ranks" aria-current="page">Ranks</a>' in ranks
    assert '<a href="status">Status</a>' in ranks


def test_dasks_pages_come_when_the_first_is_asked_for():
    """Who is let in nowhere brings nothing; nor does who asks for a page of ours."""

    async def look(url):
        asked = ["status", f"{PREFIX}/ranks", f"{PREFIX}/individual-plots.json", f"{PREFIX}/individual-plots.json"]
        return [await read(f"{url}/{path}") for path in asked]

    refused, ours, (code, _, again), (_, plots, _) = run(look, Source(), dashboard="late")
    assert (refused[0], ours[0]) == (404, 200)
    assert '<a href="status">Status</a>' in ours[1], "the way to them"
    assert (code, again) == (302, "./individual-plots.json")
    assert "Individual Task Stream" in json.loads(plots)


def test_a_broken_bokeh_is_told_once_and_ours_are_left(monkeypatch, capsys):
    def fail(name):
        raise RuntimeError("no ABI")

    async def look(url):
        monkeypatch.setattr(dask_pages.importlib, "import_module", fail)
        return [await read(f"{url}/{PREFIX}/{path}") for path in ("status", "status", "")]

    (code, _, again), (second, _, _), (_, _, front) = run(look, Source(), dashboard="late")
    assert (code, again, second, front) == (302, "./status", 404, "ranks")
    assert capsys.readouterr().err.count("the dashboard has no pages: RuntimeError: no ABI") == 1


def test_the_numbers():
    async def look(url):
        return [await read(f"{url}/{path}") for path in (f"{PREFIX}/ranks.json", "ranks.json", "ranks")]

    (status, text, _), *others = run(look, Source())
    numbers = json.loads(text)
    assert (status, numbers["place"], numbers["rows"]) == (200, "job", [vars(ROW)])
    assert numbers["summary"] == "1 job on 1 node · 1 worker: 1 running · 256.00 MiB in use by workers"
    assert numbers["task_summary"] == "none"
    assert [code for code, *_ in others] == [404, 404], "nobody sees them without the secret"


def test_a_scheduler_without_rows_has_no_numbers_and_no_link_to_the_page():
    async def look(url):
        return [await read(f"{url}/{PREFIX}/{name}") for name in ("ranks.json", "status")]

    (status, _, _), (_, dask, _) = run(look)
    assert status == 404
    assert "Ranks" not in dask


@pytest.mark.parametrize(
    ("dashboard", "prefix", "path", "target"),
    [
        ("early", PREFIX, f"/{PREFIX}/", "status"),
        ("early", PREFIX, f"/{PREFIX}", f"{PREFIX}/status"),
        ("late", PREFIX, f"/{PREFIX}/", "status"),
        ("none", PREFIX, f"/{PREFIX}/", "ranks"),
        ("none", "", "/", "ranks"),
        ("none", "", "", "ranks"),
    ],
)
def test_the_bare_secret_leads_to_a_page(dashboard, prefix, path, target):
    async def look(url):
        return await read(url + path)

    status, _, location = run(look, Source(), dashboard=dashboard, prefix=prefix)
    assert (status, location) == (302, target)


@pytest.mark.parametrize("prefix", [PREFIX, ""])
def test_page_info_finds_its_styles_under_the_secret_and_on_no_public_network(prefix):
    async def look(url):
        page = f"{url}/{prefix}/info/main/workers.html" if prefix else f"{url}/info/main/workers.html"
        _, text, _ = await read(page)
        links = re.findall(r'<(?:link|script)[^>]*(?:href|src)="([^"]*)"', text)
        assert text.rstrip().endswith("</html>")
        assert not [link for link in links if ":" in link]
        return [await read(urljoin(page, link)) for link in links]

    found = run(look, prefix=prefix)
    assert [status for status, *_ in found] == [200] * 4
    assert [text for _, text, _ in found if ".columns {" in text], "one style is ours"


@pytest.mark.parametrize("dashboard", ["late", "early"])
def test_dasks_pages_work_behind_a_proxy_that_puts_something_before_the_path(dashboard):
    """As JupyterLab's panes are shown: their scripts are beside them."""

    async def look(url):
        await read(f"{url}/{PREFIX}/status")
        page = f"{url}/{PREFIX}/individual-workers-memory"
        _, text, _ = await read(page)
        links = re.findall(r'<script[^>]* src="([^"]*bokeh[^"]*)"', text)
        assert text.rstrip().endswith("</html>")
        return links, [(await read(urljoin(page, link)))[0] for link in links]

    links, found = run(look, Source(), dashboard=dashboard)
    assert links
    assert not [link for link in links if link.startswith("/") or ":" in link]
    assert set(found) == {200}


@pytest.mark.parametrize("has_pages", [True, False])
def test_a_worker_is_measured_and_linked_to_if_it_has_pages(has_pages):
    """By the worker's own report."""

    async def main():
        async with (
            Scheduler(host="127.0.0.1", dashboard=False, dashboard_address="127.0.0.1:0") as scheduler,
            Worker(
                scheduler.address,
                nthreads=2,
                dashboard=has_pages,
                dashboard_address="127.0.0.1:0",
                plugins=[SelfReport()],
            ),
        ):
            (state,) = scheduler.workers.values()
            assert "dashboard" in state.services
            hide_missing_pages(state, has_pages=True)
            return measured(state, 0.0), "dashboard" in state.services

    found, linked = asyncio.run(main())
    assert linked is has_pages
    assert found["state"] in ("starting", "running")
    assert (found["threads"], found["running"], found["queued"]) == (2, 0, 0)
    assert found["idle"] == 1.0
    assert found["memory"] > 0
    assert found["spill"] == 0
    assert isinstance(found["cpu"], float | int)
