"""The link to a dashboard for the user of a notebook: below the address of their Jupyter server."""

from __future__ import annotations

import os
import socket
from typing import Any
from urllib.parse import urlsplit

import dask.config
from distributed.comm.core import connect
from distributed.security import Security

from mpidask.dashboard import links
from mpidask.dashboard.relay import Relay

__all__ = ["DashboardWay"]


class DashboardWay:
    """The way from a client or cluster object to the dashboard of its scheduler.

    Parameters
    ----------
    address : str
        The scheduler's.
    security : distributed.Security
        What its clients need.
    loop : tornado.ioloop.IOLoop
        The event loop of the client or cluster.
    """

    def __init__(self, address: str, security: Security, loop: Any) -> None:
        self._address = address
        self._security = security
        self._loop = loop
        self._relay: Relay | None = None

    def link(self, link: str, host: str) -> str:
        """Return the link for the user of this process.

        Parameters
        ----------
        link : str
            The link on the scheduler's node.
        host : str
            That node.

        Returns
        -------
        str
            The address of a web proxy, if one is configured or this process belongs to a Jupyter server that has one;
            otherwise the link itself.
        """
        template = str(dask.config.get("distributed.dashboard.link", links.STANDARD))
        if links.is_of_user(template):
            return links.configured(link, host, os.environ, template) or link
        here = socket.gethostname()
        base = links.of_jupyter(os.environ, here, os.getppid())
        if base is None:
            return link
        port = urlsplit(link).port if host in ("", here) else self._relayed()
        return f"{base.rstrip('/')}/proxy/{port}{urlsplit(link).path}"

    def _relayed(self) -> int:
        """Return the port of this node that leads to the dashboard."""
        if self._relay is None:
            self._relay = Relay(self._open, self._loop)
        return self._relay.port

    async def _open(self) -> Any:
        arguments = self._security.get_connection_args("client")  # type: ignore[no-untyped-call]  # Dask's
        return await connect(self._address, **arguments)  # type: ignore[no-untyped-call]  # Dask's

    def close(self) -> None:
        """Close the port, if there is one."""
        if self._relay is not None:
            self._relay.close()
