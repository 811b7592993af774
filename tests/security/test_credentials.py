"""The parts that keep strangers out, by themselves: keys, scheduler files, the dashboard's gate, ways to it."""

from __future__ import annotations

import json
import os
import ssl
import stat
import subprocess
import sys

import dask.config
import distributed  # noqa: F401 - not within a test that changes the configuration
import pytest

from mpidask.dashboard import access, links
from mpidask.errors import StartupError
from mpidask.security import credentials, scheduler_file
from mpidask.security.credentials import Contact

pytestmark = pytest.mark.one_mpi


@pytest.fixture(scope="module")
def keys():
    return credentials.make()


def test_keys_are_loaded_from_memory(keys, monkeypatch, tmp_path):
    """Dask itself writes them to a temporary directory."""
    import tempfile

    def fails(*_, **__):
        raise AssertionError("a temporary file")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", fails)
    security = keys.security()
    before = set(os.listdir("/proc/self/fd"))
    for role in ("client", "scheduler", "worker"):
        assert isinstance(security.get_connection_args(role)["ssl_context"], ssl.SSLContext)
        assert isinstance(security.get_listen_args(role)["ssl_context"], ssl.SSLContext)
    assert not set(os.listdir("/proc/self/fd")) - before
    assert security.require_encryption
    assert "PRIVATE" not in repr(security) + repr(keys)


def test_keys_in_files_are_the_users(keys, tmp_path):
    """With files of the user's own Dask's way is left alone."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text(keys.certificate)
    key.write_text(keys.key)
    security = keys.security()
    security.tls_client_cert, security.tls_client_key = str(cert), str(key)
    assert isinstance(security.get_connection_args("client")["ssl_context"], ssl.SSLContext)


def test_clients_find_the_keys_of_schedulers_that_are_known(keys):
    key = "distributed.client.security-loader"
    with dask.config.set({key: f"{__name__}.users_own"}):
        credentials.remember("tls://10.0.0.1:1", keys)
        assert dask.config.get(key) == "mpidask.security.credentials.known"
        assert credentials.known({"address": "tls://10.0.0.1:1"}).tls_client_key == keys.key
        credentials._before[:] = ["os.path.basename"]  # stands for the user's own loader, which is asked for all others
        with pytest.raises(TypeError):
            credentials.known({"address": "tls://10.0.0.2:1"})
        credentials._before.clear()
        assert credentials.known({"address": "tls://10.0.0.2:1"}) is None
        credentials.forget("tls://10.0.0.1:1")
        assert credentials.known({"address": "tls://10.0.0.1:1"}) is None


ASK = """
import dask.config
from mpidask.security import credentials
print(dask.config.get("distributed.client.security-loader"), credentials.known({"address": "tls://10.0.0.2:1"}))
"""


def test_a_loader_of_the_users_own_is_asked_in_processes_that_this_one_starts(monkeypatch):
    """Dask takes ours from the environment, which comes before configuration files."""
    for name in ("DASK_DISTRIBUTED__CLIENT__SECURITY_LOADER", credentials._EARLIER):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr(credentials, "_before", [])
    with dask.config.set({"distributed.client.security-loader": "json.dumps"}):  # stands for the user's
        credentials.have_children_ask()
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, f'{credentials.LOADER} {{"address": "tls://10.0.0.2:1"}}\n'), done
    with dask.config.set({"distributed.client.security-loader": credentials.LOADER}):  # in such a process
        credentials.have_children_ask()
    assert os.environ[credentials._EARLIER] == "json.dumps"


def test_keys_of_the_users_own_are_known():
    assert not credentials.configured()
    with dask.config.set({"distributed.comm.tls.ca-file": "ca.pem"}):
        assert credentials.configured()
    assert credentials.security_of(Contact("tcp://127.0.0.1:1")) is None


# ---------------------------------------------------------------- scheduler files
def write(path, keys, **more):
    about = scheduler_file.About("r1", "17", keys=keys, **more)
    scheduler_file.write(str(path), {"address": "tls://10.0.0.1:1", "id": "Scheduler-x"}, about)


def test_a_scheduler_file_carries_the_keys(keys, tmp_path):
    path = tmp_path / "cluster.json"
    old = os.umask(0)
    try:
        write(path, keys, clients="tls://192.0.2.1:7", dashboard="http://127.0.0.1:1/x/status", idle_timeout="1 h")
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    entry = scheduler_file.read(str(path))
    assert (entry.address, entry.inner, entry.keys) == ("tls://192.0.2.1:7", "tls://10.0.0.1:1", keys)
    assert (entry.scheduler, entry.host, entry.idle_timeout) == ("Scheduler-x", os.uname().nodename, "1 h")
    assert entry.dashboard == "http://127.0.0.1:1/x/status"
    assert "job 17" in entry.origin


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660])
def test_keys_that_others_may_have_read_are_refused(keys, tmp_path, mode):
    path = tmp_path / "cluster.json"
    write(path, keys)
    path.chmod(mode)
    with pytest.raises(StartupError, match="holds keys, and others may read or change it"):
        scheduler_file.read(str(path))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root")
def test_keys_of_another_user_are_refused(keys, tmp_path):
    path = tmp_path / "cluster.json"
    write(path, keys)
    os.chown(path, 65534, 65534)
    with pytest.raises(StartupError, match="another user's"):
        scheduler_file.read(str(path))


def test_a_file_of_dask_itself_is_read(tmp_path):
    path = tmp_path / "cluster.json"
    path.write_text(json.dumps({"address": "tcp://10.0.0.1:1", "id": "Scheduler-x"}))
    entry = scheduler_file.read(str(path))
    assert (entry.inner, entry.keys, entry.origin) == ("tcp://10.0.0.1:1", None, "of unknown origin")


# --------------------------------------------------------------------- dashboard
def test_the_gate_hides_all_pages(tmp_path):
    """Those of Dask, and the list of them."""
    import asyncio

    from distributed import Scheduler
    from tornado.httpclient import AsyncHTTPClient

    async def main():
        token = access.token()
        made = Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0", http_prefix=token)
        access.close(made, token)
        async with made as scheduler:
            root = access.link(scheduler, token).removesuffix(f"/{token}/status")
            client, found = AsyncHTTPClient(), {}
            paths = ["", "/", "/health", "/sitemap.json", "/info/main/workers.html", "/metrics", f"//{token}/health"]
            for path in [*paths, f"/{token}x/health", f"/{token[:-1]}/health", f"/{token}/health", "/%FF/health"]:
                answer = await client.fetch(root + path, raise_error=False)
                found[path] = answer.code
                if answer.code != 200:
                    assert token not in answer.body.decode() + str(dict(answer.headers))
            return token, found

    token, found = asyncio.run(main())
    known = {path for path, code in found.items() if code == 200}
    assert f"/{token}/health" in known
    assert known <= {f"/{token}/health", f"//{token}/health"}, found
    assert all(code in (200, 404) for code in found.values()), found


LINK = "http://127.0.0.1:41234/t0ken/status"


def test_the_tunnel_goes_by_the_login_node():
    assert links.tunnel(LINK, "n17", {"USER": "ann"}) == "ssh -N -L 41234:127.0.0.1:41234 ann@n17"
    batch = {"USER": "ann", "SLURM_SUBMIT_HOST": "login2.site.org"}
    assert links.tunnel(LINK, "n17", batch) == "ssh -N -L 41234:127.0.0.1:41234 -J ann@login2.site.org ann@n17"
    assert links.tunnel(LINK, "login2", batch, 8787) == "ssh -N -L 8787:127.0.0.1:41234 ann@login2"


def test_the_proxy_is_detected_or_configured():
    hub = {"JUPYTERHUB_SERVICE_PREFIX": "/user/ann/", "JUPYTERHUB_USER": "ann"}
    assert links.proxied(LINK, "n17", {}) is None
    assert links.proxied(LINK, "n17", hub) == "/user/ann/proxy/41234/t0ken/status"
    assert links.proxied(LINK, "n17", {**hub, "SLURM_SUBMIT_HOST": "login2"}) is None
    template = "https://hub.site.org/user/{JUPYTERHUB_USER}/proxy/{host}:{port}/status"
    assert links.proxied(LINK, "n17", hub, template) == "https://hub.site.org/user/ann/proxy/n17:41234/t0ken/status"
    assert links.proxied(LINK, "n17", {}, template) is None
    ondemand = "https://ood.site.org/rnode/{host}/{port}/status"
    assert links.proxied(LINK, "n17", {}, ondemand) == "https://ood.site.org/rnode/n17/41234/t0ken/status"
    tunnelled = "http://127.0.0.1:8888/proxy/{port}/status"  # a Jupyter server at the end of a tunnel
    assert links.proxied(LINK, "n17", {}, tunnelled) == "http://127.0.0.1:8888/proxy/41234/t0ken/status"
    assert links.proxied(LINK, "n17", {}, LINK) is None
    labels = links.ways(LINK, "n17", {**hub, "USER": "ann"}, "{scheme}://{host}:{port}/status")
    assert [text.split(": ")[0] for _, text in labels] == ["from elsewhere", "by the proxy"]


def test_what_has_the_same_keys_shares_a_context():
    """Each nanny of a process asks for two; one takes 1 ms."""
    keys, others = credentials.make(), credentials.make()

    def context(found, kind, role="worker"):
        return getattr(found.security(), f"get_{kind}_args")(role)["ssl_context"]

    assert context(keys, "listen") is context(keys, "listen")
    assert len({context(keys, "listen"), context(keys, "connection"), context(others, "listen")}) == 3
    assert context(keys, "listen", "scheduler") is not context(keys, "listen")
