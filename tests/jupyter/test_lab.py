"""dask-labextension in a real JupyterLab, in a real browser: its panes and buttons on clusters with TLS and the secret."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("dask_labextension")

import lab as labs

pytestmark = [pytest.mark.one_mpi, pytest.mark.thorough]

PANES = ("Workers Memory", "Task Stream", "Progress")

#: The only lines of configuration.
FACTORY = "labextension: {factory: {module: mpidask, class: LocalJobCluster, kwargs: {cores: 1, memory: 512MiB}}}\n"

WORK = """
import time
def step(number):
    time.sleep(0.1)
    return number
print("computing")
for _ in range(3000):
    client.gather(client.map(step, range(8), pure=False))
"""


def item(lab, text):
    """Wait until the sidebar says this of its cluster."""
    return lab.one("li.dask-ClusterListingItem", text)


def test_the_sidebars_buttons_under_jupyterhub(tmp_path, browser):
    labs.notebook(tmp_path / "work.ipynb", WORK)
    base = "/user/me/"
    with labs.started(tmp_path, base, dask=FACTORY, JUPYTERHUB_SERVICE_PREFIX=base) as url:
        lab = labs.Lab(browser, url)
        lab.open("work.ipynb")
        lab.click("[data-command='dask:launch-cluster']")
        assert "tls://" in item(lab, "LocalJobCluster 1").text
        scale(lab, workers=2)
        item(lab, "Number of Workers: 2")

        lab.click(".dask-ClusterListingItem-code")  # puts `client = Client(ADDRESS)` into the notebook
        lab.run(0)
        lab.output("Client")
        lab.run(1)
        lab.output("computing")
        lab.panes(*PANES)
        time.sleep(3)  # so that the picture has something to show
        browser.photograph("jupyterlab")

        scale(lab, minimum=1, maximum=1)
        item(lab, "Maximum Workers: 1")
        lab.click(".dask-ClusterListingItem-stop")
        browser.wait(lambda: not browser.find("li.dask-ClusterListingItem"))
        assert labs.read(f"{url}dask/clusters?token={labs.TOKEN}") == []


def scale(lab, **wanted):
    """Fill in the dialog."""
    lab.click(".dask-ClusterListingItem-scale")
    if "workers" in wanted:
        lab.type(".jp-Dialog input.dask-ScalingInput", 0, str(wanted["workers"]))
    else:
        lab.click(".jp-Dialog input.dask-ScalingCheckbox")
        lab.type(".jp-Dialog input.dask-ScalingInput", 1, str(wanted["minimum"]))
        lab.type(".jp-Dialog input.dask-ScalingInput", 2, str(wanted["maximum"]))
    lab.click(".jp-Dialog button.jp-mod-accept")
    lab.browser.wait(lambda: not lab.browser.find(".jp-Dialog"))
