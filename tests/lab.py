"""A real JupyterLab with dask-labextension, and what stands before it at a site, as a user's browser sees them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from free_ports import own_port

TOKEN = "a-token"
LOGIN = {"name": "ondemand", "value": "me"}  # a cookie

#: The only lines of configuration that the button NEW takes here.
FACTORY = "labextension: {factory: {module: mpidask, class: LocalJobCluster, kwargs: {cores: 1, memory: 512MiB}}}\n"

#: The panes of dask-labextension's layout.
PANES = ("Workers Memory", "Task Stream", "Progress")

#: A cell whose tasks the panes show.
WORK = """
import time

def load(month):
    time.sleep(0.1)
    return bytes(2_000_000)

def mean(values):
    time.sleep(0.05)
    return sum(values[:1000]) / 1000

print("computing")
for year in range(3000):
    months = client.map(load, range(12), pure=False)
    client.gather(client.map(mean, months))
"""

#: JupyterLab's settings: all cells can be found, also what is scrolled out of sight.
_SETTINGS = {"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}

#: What the tables behind a plot's picture hold now, as text; "" where there is no plot yet.
_DATA = """
const found = [];
for (const document of (window.Bokeh ? Bokeh.documents : []))
    for (const model of (document.all_models || document._all_models.values()))
        if (model.type === "ColumnDataSource")
            for (const [name, column] of Object.entries(model.data))
                if (column.length) found.push(name, Array.from(column).slice(-3));
return found.length ? JSON.stringify(found) : "";
"""
#: Outputs, and elements of outputs, that can be scrolled.
_SCROLLED = """
const found = [];
for (const each of document.querySelectorAll(".jp-OutputArea-output, .jp-OutputArea-output *")) {
    const style = getComputedStyle(each);
    const scrolls = (overflow, size, room) => ["auto", "scroll"].includes(overflow) && size > room + 1;
    if (scrolls(style.overflowX, each.scrollWidth, each.clientWidth)
        || scrolls(style.overflowY, each.scrollHeight, each.clientHeight)) found.push(each.className || each.tagName);
}
return found;
"""


@contextlib.contextmanager
def started(
    directory: Path,
    base: str = "/",
    *,
    port: int = 0,
    dask: str = "",
    settings: Mapping[str, Any] | None = None,
    **environ: str,
) -> Iterator[str]:
    """Run a server; yield its address. `dask` is the user's configuration, in YAML; `settings` those of JupyterLab."""
    port = port or own_port()
    config = directory / "jupyter"
    silent = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    _write(config / "labconfig" / "page_config.json", silent)
    for plugin, values in {**_SETTINGS, **(settings or {})}.items():
        _write(config / "lab" / "user-settings" / f"{plugin.replace(':', '/')}.jupyterlab-settings", values)
    (directory / "dask").mkdir()
    (directory / "dask" / "labextension.yaml").write_text(dask)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += [
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.base_url={base}",
        f"--ServerApp.root_dir={directory}",
        "--ServerApp.port_retries=0",
    ]
    ours = {"HOME": str(directory), "JUPYTER_CONFIG_DIR": str(config), "DASK_CONFIG": str(directory / "dask")}
    ours |= {"XDG_STATE_HOME": str(directory / "state"), "DASK_MPIDASK__BATCH__SYSTEM": "local"}
    ours["PATH"] = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
    with (directory / "lab.log").open("w") as log:
        server = subprocess.Popen(command, cwd=directory, env=os.environ | ours | environ, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}{base}"
        _await(url, server, directory / "lab.log")
        yield url
    except BaseException:
        _show(directory)
        raise
    finally:
        _end(server)


def _show(directory: Path) -> None:
    """Print the logs of the server and of its jobs; the browser's own files change all the time."""
    places = [path for path in directory.iterdir() if path.name != "browser"]
    found = [each for path in places for each in (path.rglob("*") if path.is_dir() else [path])]
    for each in sorted(each for each in found if each.suffix in (".log", ".out", ".err")):
        with contextlib.suppress(OSError):
            print(f"--- {each.relative_to(directory)}\n{each.read_text(errors='replace')[-4000:]}")


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _await(url: str, server: Any, log: Path) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            return read(f"{url}api/status?token={TOKEN}")
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)


def _end(server: Any) -> None:
    """End the server in order, and what it has not ended within its time."""
    known = psutil.Process(server.pid).children(recursive=True)
    server.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(60)
    _, left = psutil.wait_procs(known, 30)
    for each in [*left, *([psutil.Process(server.pid)] if server.poll() is None else [])]:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    server.wait(20)


def read(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


class Lab:
    """JupyterLab in a browser."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser = browser
        self.driver = browser.driver
        self.url = url

    def open(self, name: str) -> None:
        """Open a notebook, and the sidebar of dask-labextension."""
        self.name = name
        self.driver.get(f"{self.url}lab/tree/{name}?token={TOKEN}")
        self.one(".jp-Notebook .jp-CodeCell")
        self.browser.wait(lambda: not self.browser.find("#jupyterlab-splash"))
        # A cell that is run before there is a kernel is not run at all.
        self.browser.wait(lambda: self.browser.find(".jp-Notebook-ExecutionIndicator[data-status='idle']"))
        self.click(".lm-TabBar-tab[data-id='dask-dashboard-launcher']")

    def one(self, selector: str, text: str = "") -> Any:
        """Return the first visible element that a selector finds, with this text in it."""

        def found() -> Any:
            for each in self.browser.find(selector):
                with contextlib.suppress(Exception):  # it may have gone meanwhile
                    if each.is_displayed() and text in each.text:
                        return each
            return None

        return self.browser.wait(found)

    def click(self, selector: str, text: str = "") -> None:
        """Click an element."""

        def clicked() -> bool:
            with contextlib.suppress(self._unready()):
                self.one(selector, text).click()
                return True
            return False

        self.browser.wait(clicked)

    @staticmethod
    def _unready() -> Any:
        from selenium.common.exceptions import WebDriverException

        return WebDriverException

    def type(self, selector: str, index: int, text: str) -> None:
        """Replace what an input holds: again where a dialog that opens has given the focus to something else."""
        from selenium.webdriver.common.keys import Keys

        def typed() -> bool:
            with contextlib.suppress(IndexError, self._unready()):
                self.browser.find(selector)[index].send_keys(Keys.CONTROL, "a", Keys.NULL, text)
                return self.browser.find(selector)[index].get_attribute("value") == text
            return False

        self.browser.wait(typed)

    def run(self, index: int) -> None:
        """Run a cell, with the keys a user presses: again where they come before JupyterLab is ready for them."""
        self.click(".lm-TabBar-tab", self.name)
        self.browser.wait(lambda: self._press(index) and self._has_begun(index))

    def _press(self, index: int) -> bool:
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        with contextlib.suppress(IndexError, self._unready()):  # its editor comes after the cell
            self.browser.find(".jp-Notebook .jp-CodeCell .cm-content")[index].click()
            ActionChains(self.driver).key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).perform()
            return True
        return False

    def _has_begun(self, index: int) -> bool:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with contextlib.suppress(IndexError, self._unready()):  # drawn anew at that moment
                prompt = self.browser.find(".jp-Notebook .jp-CodeCell .jp-InputPrompt")[index]
                if prompt.text.strip() != "[ ]:":
                    return True
            time.sleep(0.1)
        return False

    def output(self, text: str) -> Any:
        """Wait until a cell has printed this."""
        return self.one(".jp-OutputArea-output", text)

    def red(self) -> list[str]:
        """Return what stands in red boxes."""
        return [each.text for each in self.browser.find("[data-mime-type='application/vnd.jupyter.stderr']")]

    def scrolled(self) -> list[str]:
        """Return outputs, and elements of outputs, that have scroll bars."""
        return list(self.driver.execute_script(_SCROLLED))

    def cluster(self, text: str) -> Any:
        """Wait until the sidebar says this of its cluster."""
        return self.one("li.dask-ClusterListingItem", text)

    def scale(self, **wanted: int) -> None:
        """Fill in the dialog of the button SCALE: workers, or minimum and maximum."""
        self.click(".dask-ClusterListingItem-scale")
        if "workers" in wanted:
            self.type(".jp-Dialog input.dask-ScalingInput", 0, str(wanted["workers"]))
        else:
            self.click(".jp-Dialog input.dask-ScalingCheckbox")
            self.type(".jp-Dialog input.dask-ScalingInput", 1, str(wanted["minimum"]))
            self.type(".jp-Dialog input.dask-ScalingInput", 2, str(wanted["maximum"]))
        self.click(".jp-Dialog button.jp-mod-accept")
        self.browser.wait(lambda: not self.browser.find(".jp-Dialog"))

    def new_cluster_at_work(self) -> None:
        """Have the sidebar make a cluster of two workers; the notebook computes on it, and panes show it."""
        self.click("[data-command='dask:launch-cluster']")
        self.cluster("LocalJobCluster 1")
        self.one(".dask-DashboardListing-item button")  # the list moves what is below: no click may come in between
        self.scale(workers=2)
        self.cluster("Number of Workers: 2")
        cells = len(self.browser.find(".jp-Notebook .jp-CodeCell"))
        self.click(".dask-ClusterListingItem-code")  # puts `client = Client(ADDRESS)` into the notebook
        self.browser.wait(lambda: len(self.browser.find(".jp-Notebook .jp-CodeCell")) > cells)
        self.run(0)
        self.output("Client")
        self.run(1)
        self.output("computing")
        self.click(".lm-MenuBar-item", "File")
        self.click(".lm-Menu-item[data-command='dask:launch-layout']")
        self.live(*PANES)

    def shut_down_cluster(self) -> None:
        """Press SHUTDOWN; wait until it is gone."""
        self.click(".dask-ClusterListingItem-stop")
        self.browser.wait(lambda: not self.browser.find("li.dask-ClusterListingItem"))

    def find_dashboard(self, part: str) -> None:
        """Press the magnifying glass; wait until the address has this part."""
        self.click(".dask-URLInput [title^='Auto-detect'], .dask-URLInput jp-button, .dask-URLInput button")
        self.browser.wait(lambda: part in self.address())

    def address(self) -> str:
        """Return the dashboard's address, of the sidebar."""
        (field,) = self.browser.find(".dask-URLInput input")
        return str(field.get_attribute("value"))

    def panes(self, *titles: str) -> None:
        """Open panes by their buttons, one above the other; each of them has data that change."""
        for title in titles:
            self.click(f".dask-DashboardListing-item button[value='{title}']")
        self.live(*titles)

    def live(self, *titles: str) -> None:
        """Wait until each of these panes, which are all, has data that change."""
        self.browser.wait(lambda: len(self.frames()) == len(titles))
        for title in titles:
            self.changes(title)

    def changes(self, title: str) -> None:
        """Wait until a pane has data that change."""
        self.click(".lm-TabBar-tab", title)
        first = self.browser.wait(lambda: self._data(title))
        self.browser.wait(lambda: self._data(title) not in ("", first))

    def frames(self) -> list[str]:
        """Return the addresses of the panes."""
        code = "return [...document.querySelectorAll('.dask-DaskDashboard-widget iframe')].map((each) => each.src)"
        return list(self.driver.execute_script(code))

    def _data(self, title: str) -> str:
        route = f"individual-{title.lower().replace(' ', '-')}"
        frames = self.browser.find(f"iframe[src$='{route}']")
        if not frames:  # the pane has no address yet
            return ""
        (frame,) = frames
        try:
            self.driver.switch_to.frame(frame)
            return str(self.driver.execute_script(_DATA))
        except self._unready():  # it is being loaded, or moved
            return ""
        finally:
            self.driver.switch_to.default_content()


@contextlib.contextmanager
def open_ondemand() -> Iterator[str]:
    """Stand for Open OnDemand's web server: /node/HOST/PORT/... as it is, /rnode/HOST/PORT/... without that.

    What is below /rnode is for a browser that has logged in, as one has that has this cookie: `LOGIN`.
    """
    loop, port = asyncio.new_event_loop(), own_port()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runner = asyncio.run_coroutine_threadsafe(_serve(port), loop).result(30)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


async def _serve(port: int) -> Any:
    from aiohttp import web

    application = web.Application(client_max_size=2**26)
    application.router.add_route("*", "/{how:r?node}/{host}/{port}{rest:.*}", _answer)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner


async def _answer(request: Any) -> Any:
    from aiohttp import ClientConnectorError, web

    try:
        return await _forward(request)
    except ClientConnectorError:  # what is there has not begun, or has ended
        return web.Response(status=502)


async def _forward(request: Any) -> Any:
    from aiohttp import ClientSession, DummyCookieJar, web

    there = request.match_info
    if there["how"] == "rnode" and request.cookies.get(LOGIN["name"]) != LOGIN["value"]:
        return web.Response(status=401)
    path = request.raw_path if there["how"] == "node" else request.raw_path.split("/", 4)[-1]
    target = f"http://{there['host']}:{there['port']}/{path.lstrip('/')}"
    headers = {name: value for name, value in request.headers.items() if not name.startswith("Sec-WebSocket")}
    async with ClientSession(cookie_jar=DummyCookieJar(), auto_decompress=False) as session:
        if headers.get("Upgrade", "").lower() == "websocket":
            return await _both_ways(request, session, target, headers)
        headers.pop("Connection", None)
        async with session.request(
            request.method, target, headers=headers, data=await request.read(), allow_redirects=False
        ) as answer:
            kept = [
                (name, value)
                for name, value in answer.headers.items()
                if name not in ("Transfer-Encoding", "Content-Length")
            ]
            from multidict import CIMultiDict

            return web.Response(status=answer.status, headers=CIMultiDict(kept), body=await answer.read())


async def _both_ways(request: Any, session: Any, target: str, headers: dict[str, str]) -> Any:
    from aiohttp import web

    protocols = [each.strip() for each in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if each.strip()]
    kept = {name: value for name, value in headers.items() if name not in ("Upgrade", "Connection")}
    async with session.ws_connect(target, headers=kept, protocols=protocols, max_msg_size=0) as far:
        near = web.WebSocketResponse(protocols=[far.protocol] if far.protocol else (), max_msg_size=0)
        await near.prepare(request)
        ways = [asyncio.ensure_future(_pump(near, far)), asyncio.ensure_future(_pump(far, near))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await near.close()
        return near


async def _pump(source: Any, sink: Any) -> None:
    from aiohttp import WSMsgType

    async for message in source:
        if message.type == WSMsgType.TEXT:
            await sink.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await sink.send_bytes(message.data)
