"""The extension of a Jupyter server, without a browser: a real server, real clusters with TLS and the secret."""

from __future__ import annotations

import asyncio
import copy
import importlib
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import dask.config
import pytest
from dask.system import CPU_COUNT
from distributed import Client

pytest.importorskip("dask_labextension")

import lab as labs
from free_ports import own_port
from harness import PATIENCE

import mpidask
from mpidask.dashboard import links
from mpidask.jupyter import labextension
from mpidask.security import credentials

pytestmark = pytest.mark.one_mpi


def ask(url, method="GET", body=None, token=labs.TOKEN):
    """Return status and what is answered."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, method=method, data=data)
    if token:
        request.add_header("Authorization", f"token {token}")
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            text = answer.read().decode()
            return answer.status, json.loads(text) if text[:1] in ("{", "[") else text
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.thorough
def test_what_the_sidebars_buttons_ask_for(tmp_path):
    """As dask-labextension's browser side asks it, behind Open OnDemand; the only configuration is that of the factory."""
    port = own_port()
    base = f"/node/127.0.0.1/{port}/"
    with labs.open_ondemand() as site, labs.started(tmp_path, base, port=port, dask=labs.FACTORY):
        url = site + base
        code, model = ask(f"{url}dask/clusters", "PUT")
        assert code == 200, model
        one = f"{url}dask/clusters/{model['id']}"
        link = site + model["dashboard_link"].removesuffix("status") + "individual-plots.json"
        code, plots = ask(link)
        assert (code, "Individual Task Stream" in plots) == (200, True)
        assert "Individual" not in str(ask(link, token=None)), "the server asks who it is"
        secret = model["dashboard_link"].split("/")[-2]
        assert ask(link.replace(secret, "x" * len(secret)))[0] == 404, "and the dashboard for the secret"
        assert ask(one, "PATCH", {"workers": 1, "adapt": None})[0] == 200
        deadline = time.monotonic() + 60 * PATIENCE
        while ask(one)[1]["workers"] != 1:
            assert time.monotonic() < deadline, (tmp_path / "lab.log").read_text()
            time.sleep(0.3)
        code, adapting = ask(one, "PATCH", {"workers": 1, "adapt": {"minimum": 0, "maximum": 2}})
        assert (code, adapting["adapt"]) == (200, {"minimum": 0, "maximum": 2})
        assert ask(one, "DELETE")[0] == 204
        assert ask(f"{url}dask/clusters") == (200, [])


@pytest.fixture
def configured():
    """Return what sets the user's part of dask-labextension's configuration, for as long as the test."""
    before = copy.deepcopy(dask.config.config.get("labextension"))

    def settle(**values):
        dask.config.set(
            {"labextension": {"factory": {"kwargs": {}, "args": []}, "default": {"workers": None}, **values}}
        )

    yield settle
    dask.config.config.pop("labextension", None)
    if before is not None:
        dask.config.set({"labextension": before})


def test_clusters_are_those_of_the_batch_system_unless_the_user_says_otherwise(configured, monkeypatch):
    configured(factory={"module": "dask.distributed", "class": "LocalCluster"})
    assert list(labextension.configure()) == []
    assert dask.config.get("labextension.factory.class") == "new_cluster"
    monkeypatch.setenv("DASK_LABEXTENSION__FACTORY__CLASS", "OurCluster")
    configured(factory={"module": "ours", "class": "OurCluster"})
    assert list(labextension.configure()) == []
    assert dask.config.get("labextension.factory") == {"module": "ours", "class": "OurCluster"}


def test_an_mpicluster_is_not_scaled_when_it_is_made(configured, monkeypatch):
    """It would be refused, and the job would go on without a use."""
    monkeypatch.setenv("DASK_LABEXTENSION__FACTORY__CLASS", "MPICluster")
    configured(factory={"module": "mpidask", "class": "MPICluster"}, default={"workers": 8, "adapt": None})
    (remark,) = labextension.configure()
    assert remark.startswith("labextension.default.workers is ignored: ")
    assert dask.config.get("labextension.default") == {"workers": None, "adapt": None}


@pytest.mark.parametrize(
    ("batch_system", "name"), [("slurm", "SLURMCluster"), ("torque", "PBSCluster"), ("local", "LocalJobCluster")]
)
def test_the_class_for_a_batch_system(batch_system, name):
    assert labextension._class_for(batch_system).__name__ == name


def test_without_a_batch_system_it_has_tls_and_the_secret(tmp_path, monkeypatch, caplog):
    """A login node's sinfo may not be on the server's PATH, and others have accounts there."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))

    async def use():
        cluster = await labextension.new_cluster(asynchronous=True, n_workers=1)
        async with cluster, Client(cluster.scheduler_address, asynchronous=True) as client:
            return cluster.scheduler_address, cluster.dashboard_link, await client.submit(sum, [20, 22])

    with dask.config.set({"mpidask.batch.system": "local"}), caplog.at_level("INFO", "traitlets"):
        address, link, answer = asyncio.run(asyncio.wait_for(use(), 120))
    assert (address.partition(":")[0], answer) == ("tls", 42)
    assert link.startswith("http://127.0.0.1:") and len(link.split("/")) == 5, link
    assert "NEW starts a LocalJobCluster: this server finds no batch system's commands" in caplog.text


def test_without_a_batch_system_all_of_this_machine_is_used_unless_the_user_says_otherwise():
    found = labextension._sized({"memory": "1 GiB"})
    assert found["n_workers"] * found["cores"] == CPU_COUNT
    assert found["memory"] == "1 GiB"
    assert labextension._sized({"cores": 2}) == {"cores": 2}
    with dask.config.set({"jobqueue.local.cores": 2}):
        assert labextension._sized({}) == {}


def test_a_system_without_a_class():
    with pytest.raises(mpidask.UsageError, match="no cluster class is known for the batch system ours"):
        labextension._class_for("ours")


LENDING = """
import subprocess, sys
from mpidask.security import credentials
credentials.lend()
ask = "from mpidask.security import credentials; print(credentials.known({'address': 'tls://10.0.0.1:1'}) is not None)"
look = lambda: print(subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60).stdout.strip())
look()
credentials.remember("tls://10.0.0.1:1", credentials.make())
look()
credentials.forget("tls://10.0.0.1:1")
look()
"""


def test_kernels_find_the_keys_that_the_server_has_at_that_time():
    done = subprocess.run([sys.executable, "-c", LENDING], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["False", "True", "False"]), done
    assert credentials.LOADER == "mpidask.security.credentials.known"


class Kernels:
    """What a server knows of its kernels."""

    def __init__(self, *commands):
        self.found = {str(i): {"spec": {"language": "python", "argv": each}} for i, each in enumerate(commands)}

    def get_all_specs(self):
        return self.found


class KernelsOfGateway(Kernels):
    """Those of a server that starts them elsewhere."""

    async def get_all_specs(self):
        return self.found


ENVIRON = (links.JUPYTER, credentials._OFFERED, "DASK_DISTRIBUTED__CLIENT__SECURITY_LOADER")


@pytest.mark.parametrize(
    ("kernels", "ask"),
    [
        (Kernels([sys.executable, "-m", "ipykernel"], ["python"]), True),
        (Kernels([sys.executable], ["/elsewhere/bin/python"]), False),
        (Kernels([]), False),
        (KernelsOfGateway(["python"]), False),
    ],
    ids=["ours", "another's", "no command", "gateway"],
)
def test_the_extension_loads_whatever_the_kernels_are(kernels, ask, monkeypatch):
    """Kernels ask for keys only where all of them can."""
    extension = importlib.import_module("mpidask.jupyter")
    for name in ENVIRON:
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(credentials, "_lent", [])
    monkeypatch.setattr(labextension, "configure", lambda: ["a remark"])
    log = []
    server = SimpleNamespace(
        base_url="/user/me/", kernel_spec_manager=kernels, log=SimpleNamespace(warning=lambda *words: log.append(words))
    )
    extension._load_jupyter_server_extension(server)
    assert log == [("mpidask: %s", "a remark")]
    assert os.environ[links.JUPYTER].endswith(" /user/me/")
    assert os.environ[ENVIRON[-1]] == (credentials.LOADER if ask else "")
    os.close(credentials._lent[0])
