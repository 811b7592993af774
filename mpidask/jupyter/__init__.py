"""Extension of a Jupyter server: dask-labextension's panes and buttons work on clusters of mpidask.

Runs in the server's process. May import batch, jobqueue, attach and dashboard; no other room imports it.
The file jupyter_server_config.d/mpidask.json of the wheel enables it: no line of configuration is needed.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

__all__: list[str] = []

_PROXY = "jupyter_server_proxy"
_LABEXTENSION = "dask_labextension"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Offer clusters of the batch system; say where the server is, for the links of this process and of its kernels."""
    from mpidask.dashboard import links
    from mpidask.security import credentials

    _configure(server)  # first: clusters have TLS whatever else is missing
    if importlib.util.find_spec(_PROXY) is None:
        server.log.warning(
            "mpidask: no panes: jupyter-server-proxy is missing: python -m pip install jupyter-server-proxy"
        )
        return
    os.environ[links.JUPYTER] = f"{socket.gethostname()} {server.base_url}"
    credentials.lend()
    if _are_ours(server.kernel_spec_manager.get_all_specs()):
        credentials.have_children_ask()


def _configure(server: Any) -> None:
    if importlib.util.find_spec(_LABEXTENSION) is not None:
        from mpidask.jupyter import labextension

        for remark in labextension.configure():
            server.log.warning("mpidask: %s", remark)


def _are_ours(kernels: Any) -> bool:
    """Whether all kernels of a server have mpidask; those of a gateway, which is asked later, are elsewhere."""
    if inspect.isawaitable(kernels):
        if inspect.iscoroutine(kernels):
            kernels.close()
        return False
    return all(_is_ours(each["spec"]) for each in kernels.values())


def _is_ours(spec: Mapping[str, Any]) -> bool:
    """Whether a kernel has mpidask if it is Python's: where it is missing Dask would fail to ask it for keys."""
    return spec["language"] != "python" or spec["argv"][:1] in (["python"], ["python3"], [sys.executable])
