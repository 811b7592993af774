"""dask-labextension in a real JupyterLab, in a real browser: its panes and buttons on clusters with TLS and the secret."""

from __future__ import annotations

import time

import pytest

pytest.importorskip("dask_labextension")

import lab as labs
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
