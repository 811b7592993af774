"""dask-labextension in a real JupyterLab, in a real browser: its panes and buttons on clusters with TLS and the secret."""

from __future__ import annotations

import re
import time

import pytest

pytest.importorskip("dask_labextension")

import lab as labs
from free_ports import own_port
from notebooks import KERNEL, written

pytestmark = [pytest.mark.one_mpi, pytest.mark.thorough]


def test_the_sidebars_buttons_under_jupyterhub(tmp_path, browser):
    written(tmp_path / "work.ipynb", labs.WORK, kernelspec=KERNEL)
    base = "/user/me/"
    with labs.started(tmp_path, base, dask=labs.FACTORY, JUPYTERHUB_SERVICE_PREFIX=base) as url:
        lab = labs.Lab(browser, url)
        lab.open("work.ipynb")
        lab.new_cluster_at_work()
        assert "tls://" in lab.cluster("LocalJobCluster 1").text
        time.sleep(3)  # so that the picture has something to show
        browser.photograph("jupyterlab")

        lab.scale(minimum=1, maximum=1)
        lab.cluster("Maximum Workers: 1")
        lab.shut_down_cluster()
        assert labs.read(f"{url}dask/clusters?token={labs.TOKEN}") == []


#: The dashboard can be reached from other nodes, as docs/howto/jupyterhub.md has it for /rnode.
START = """
import mpidask
from IPython.display import HTML, display
cluster = mpidask.MPICluster(ranks_per_node=3, walltime="1h", name="mine", dashboard_address=":0")
client = cluster.get_client()
client.wait_for_workers(2)
display(HTML(cluster._repr_html_()))  # as where there is no ipywidgets
cluster
"""

WORK = """
import contextlib, threading, time
def step(number):
    time.sleep(0.1)
    return number
def work():
    with contextlib.suppress(BaseException):  # the cluster will be closed
        while True:
            client.gather(client.map(step, range(8), pure=False))
threading.Thread(target=work, daemon=True).start()
print("computing")
"""

#: As from another node, whose loopback cannot be reached from here: so says the scheduler file.
CONNECT = """
import json, os, pathlib
content = json.loads(pathlib.Path(cluster.entry.path).read_text())
content["mpidask"]["host"] = "another-node"
private = lambda path, flags: os.open(path, flags, 0o600)
with open("cluster.json", "w", opener=private) as file:
    json.dump(content, file)
attached = mpidask.connect("cluster.json")
print("by its connection:", attached.dashboard_link)
"""

TEMPLATE = """
import dask
attached.close()
dask.config.set({"distributed.dashboard.link": "SITE/rnode/{host}/{port}/status"})
print(client.dashboard_link)
"""

CLOSE = """
cluster.close()
print(cluster)
"""


def test_a_notebooks_cluster_behind_open_ondemand(tmp_path, browser):
    """The server is below /node/HOST/PORT: panes through its own proxy, by a client's connection, and below /rnode."""
    port = own_port()
    base = f"/node/127.0.0.1/{port}/"
    checks = {"dask-labextension:plugin": {"browserDashboardCheck": True}}
    with labs.open_ondemand() as site, labs.started(tmp_path, base, port=port, settings=checks):
        cells = (START, WORK, CONNECT, TEMPLATE.replace("SITE", site), CLOSE)
        written(tmp_path / "work.ipynb", *cells, kernelspec=KERNEL)
        lab = labs.Lab(browser, site + base)
        lab.open("work.ipynb")
        browser.driver.add_cookie(labs.LOGIN)
        lab.run(0)
        near = is_well_shown(lab, f"{base}proxy/")
        lab.run(1)
        lab.output("computing")
        lab.find_dashboard(near)
        lab.one(".dask-DashboardListing-item button")  # its answer must not come after that of the next address
        lab.run(2)
        far = re.search(r"proxy/\d+/", lab.output("by its connection: ").text)[0]
        lab.find_dashboard(far)
        assert far != near
        lab.panes(*labs.PANES)
        browser.wait(lambda: all(f"{base}{far}" in each for each in lab.frames()))

        lab.run(3)
        # A look at what has just been closed, which is answered late, would take the place of the next address.
        browser.wait(lambda: not browser.find(".dask-DashboardListing-item"))
        lab.find_dashboard("/rnode/")
        browser.wait(lambda: all(each.startswith(f"{site}/rnode/") for each in lab.frames()))
        lab.changes(labs.PANES[-1])
        assert lab.red() == []

        lab.run(4)
        assert "MPICluster(mine, job " in lab.output("state done, ").text


def is_well_shown(lab, address):
    """Look at a cluster's widget, whose size is fixed; return the part of its link that says which port it is."""
    lab.one(".widget-tab-contents", "MPICluster")
    shown = lab.output("MPICluster").text
    assert address in shown
    assert lab.red() == []
    lab.browser.wait(lambda: lab.scrolled() == [])  # a frame after it is there
    assert [each.text for each in lab.browser.find(".jp-OutputArea-output .lm-TabBar-tab")] == ["Status"]
    return re.search(r"proxy/\d+/", shown)[0]
