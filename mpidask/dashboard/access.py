"""The dashboard opens only for those who know its link: loopback is open to all users of a node."""

from __future__ import annotations

import hmac
import secrets
import socket
from collections.abc import Callable
from typing import Any

from mpidask.compat import servers

__all__ = ["close", "leave_out_pages_of_workers", "leave_out_proxy", "link", "token"]


def token() -> str:
    """Return a new secret, which is the first part of the path of all pages."""
    return secrets.token_urlsafe(16)


def close(scheduler: Any, prefix: str) -> None:
    """Have a server's HTTP server answer 404 to all that does not know the prefix.

    scheduler: Dask's, made with ``http_prefix=prefix``
    """
    expected = prefix.strip("/").encode()

    def admits(path: str) -> bool:
        first = path.lstrip("/").partition("/")[0]
        return hmac.compare_digest(first.encode(errors="replace"), expected)

    from tornado import web  # ranks, which import this module, do without

    shut = web.Application()  # which has no pages

    def find(request: Any, original: Callable[..., Any], **keywords: Any) -> Any:
        return (original if admits(request.path) else shut.find_handler)(request, **keywords)

    servers.find_pages_by(scheduler, find)


def link(scheduler: Any, prefix: str) -> str:
    """Return where the dashboard of a scheduler is; prefix: "" for none."""
    server = scheduler.http_server  # Dask adds address and port to tornado's
    host = socket.gethostname() if server.address in ("0.0.0.0", "::") else server.address  # noqa: S104 - compared
    return f"http://{host}:{server.port}/{prefix}{'/' * bool(prefix)}status"


def leave_out_pages_of_workers() -> None:
    """Have workers' HTTP servers, which everybody on the node can reach, serve only what the user has asked for."""
    import dask.config  # ranks, which import this module, do without

    from mpidask import configuration

    key = "distributed.worker.http.routes"
    if configuration.is_standard(key):
        dask.config.set({key: []})


def leave_out_proxy() -> None:
    """Have a scheduler not pass requests on to other servers: workers have no pages here.

    Where jupyter-server-proxy is installed, each scheduler would import it for that, which takes as long as Dask.
    """
    import dask.config

    from mpidask import configuration

    key = "distributed.scheduler.http.routes"
    if configuration.is_standard(key):
        dask.config.set({key: [each for each in dask.config.get(key) if each != "distributed.http.proxy"]})
