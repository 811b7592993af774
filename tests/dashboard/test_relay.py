"""The way from a notebook to a dashboard on another node: real scheduler, TLS, the secret."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import urllib.error
import urllib.request
from types import SimpleNamespace

import dask.config
import pytest
from distributed import Scheduler
from distributed.security import Security
from tornado.ioloop import IOLoop

from mpidask.dashboard import access, links, relay, routes
from mpidask.dashboard.notebook import DashboardWay
from mpidask.security import credentials

pytestmark = pytest.mark.one_mpi

HERE = socket.gethostname()
SECRET = "a-secret"


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=90) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def run(look, security):
    async def main():
        settings = {"dashboard": False, "dashboard_address": "127.0.0.1:0", "http_prefix": SECRET}
        made = Scheduler(host="127.0.0.1", protocol="tls", security=security, **settings)
        routes.add(made, SECRET)
        access.close(made, SECRET)
        async with await made:
            link = f"http://127.0.0.1:{made.http_server.port}/{SECRET}/info/main/workers.html"
            return await asyncio.wait_for(look(made, link), 60)

    return asyncio.run(main())


@pytest.fixture
def jupyter(monkeypatch):
    monkeypatch.setenv(links.JUPYTER, f"{HERE} /node/n1/8888/")


def port_of(link):
    return int(link.removeprefix("/node/n1/8888/proxy/").partition("/")[0])


def test_a_dashboard_elsewhere_is_reached_through_the_scheduler(jupyter):
    """With the keys and the secret, and with neither alone."""
    security = credentials.make().security()

    async def look(scheduler, link):
        way = DashboardWay(scheduler.address, security, IOLoop.current())
        shown = way.link(link, "another-node")
        port = port_of(shown)
        assert shown == f"/node/n1/8888/proxy/{port}/{SECRET}/info/main/workers.html"
        assert f":{port}/" not in link, "the port is the relay's"
        assert way.link(link, "another-node") == shown, "one port for all"
        near = f"http://127.0.0.1:{port}"
        answers = [
            await asyncio.to_thread(status, near + path) for path in (shown[shown.index(f"/{SECRET}") :], "/info")
        ]
        stranger = DashboardWay(scheduler.address, credentials.make().security(), IOLoop.current())
        far = f"http://127.0.0.1:{port_of(stranger.link(link, 'another-node'))}/{SECRET}/info/main/workers.html"
        answers.append(await asyncio.to_thread(status, far))
        way.close()
        stranger.close()
        await asyncio.sleep(0)  # so that they do so
        return [*answers, await asyncio.to_thread(status, near)]

    assert run(look, security) == [200, 404, None, None]


def test_an_open_page_ends_with_the_relay_in_silence(jupyter, caplog):
    security = credentials.make().security()

    async def look(scheduler, link):
        way = DashboardWay(scheduler.address, security, IOLoop.current())
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(way.link(link, "another-node")))
        writer.write(f"GET /{SECRET}/health HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        assert (await reader.readline()).endswith(b" 200 OK\r\n")
        way.close()
        await asyncio.wait_for(reader.read(), 20)
        writer.close()

    run(look, security)
    assert [each.getMessage() for each in caplog.records if each.name == "asyncio"] == []


@pytest.mark.parametrize("begun", [False, True])
def test_a_relay_whose_loop_does_not_run_listens_no_more(begun):
    loop = asyncio.new_event_loop()
    made = relay.Relay(lambda: pytest.fail("it connects"), SimpleNamespace(asyncio_loop=loop, add_callback=print))
    if begun:
        loop.run_until_complete(made._start())
    made.close()
    loop.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", made.port), 10)


def test_a_relay_that_is_closed_before_it_began_is_silent(caplog):
    gc.collect()  # what others have left may have something to say
    caplog.clear()

    async def main():
        made = relay.Relay(lambda: pytest.fail("it connects"), IOLoop.current())
        made.close()
        await asyncio.sleep(0.1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", made.port), 10)

    asyncio.run(main())
    assert caplog.text == ""


def test_a_dashboard_on_this_node_needs_no_relay(jupyter):
    way = DashboardWay("tls://10.0.0.1:1", Security(), None)
    for host in (HERE, ""):
        assert way.link("http://127.0.0.1:5/x/status", host) == "/node/n1/8888/proxy/5/x/status"
    way.close()


def test_outside_of_a_jupyter_server_the_link_stays(monkeypatch):
    monkeypatch.delenv(links.JUPYTER, raising=False)
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    way = DashboardWay("tls://10.0.0.1:1", Security(), None)
    assert way.link("http://127.0.0.1:5/x/status", "another-node") == "http://127.0.0.1:5/x/status"


def test_a_proxy_that_the_user_has_configured_comes_first(jupyter):
    way = DashboardWay("tls://10.0.0.1:1", Security(), None)
    with dask.config.set({"distributed.dashboard.link": "https://site/rnode/{host}/{port}/status"}):
        assert way.link("http://127.0.0.1:5/x/status", "n7") == "https://site/rnode/n7/5/x/status"


PARENT = os.getppid()


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({}, None),
        ({links.JUPYTER: "n1 /"}, "/"),
        ({links.JUPYTER: "n2 /"}, None),  # of a job that the server's user has submitted
        ({"JUPYTERHUB_SERVICE_PREFIX": "/user/me/"}, "/user/me/"),
        ({"JUPYTERHUB_SERVICE_PREFIX": "/user/me/", "SLURM_SUBMIT_HOST": "login"}, None),
        (
            {"JUPYTERHUB_SERVICE_PREFIX": "/user/me/", "SLURM_SUBMIT_HOST": "login", "JPY_PARENT_PID": f"{PARENT}"},
            "/user/me/",  # a kernel of a server that itself is a job
        ),
        (
            {"JUPYTERHUB_SERVICE_PREFIX": "/user/me/", "SLURM_SUBMIT_HOST": "login", "JPY_PARENT_PID": "1"},
            None,
        ),
        ({"JUPYTERHUB_SERVICE_PREFIX": "/user/me/", links.JUPYTER: "n1 /node/n1/1/"}, "/node/n1/1/"),
    ],
)
def test_which_jupyter_server_a_process_belongs_to(environ, path):
    assert links.of_jupyter(environ, "n1", PARENT) == path
