"""The cluster around this process, whoever made it: for those that ask whether there is one."""

from __future__ import annotations

import os
from typing import Protocol

from mpidask.dashboard import links
from mpidask.security import credentials
from mpidask.security.credentials import Contact

__all__ = ["CurrentCluster", "current", "enter", "introduce", "leave"]


class CurrentCluster(Protocol):
    """A cluster, as its client's process has it.

    contact:   where the scheduler is, and the keys
    dashboard: its link, None if there is none
    closed:    whether it has been closed
    """

    contact: Contact
    dashboard: str | None
    closed: bool

    @property
    def address(self) -> str:
        """The scheduler's address."""


#: The clusters around this process, the innermost last.
_entered: list[CurrentCluster] = []


def current() -> CurrentCluster | None:
    """Return the cluster around this process, None if it is not the client of one."""
    return _entered[-1] if _entered else None


def enter(cluster: CurrentCluster) -> None:
    """Make this cluster the current one."""
    _entered.append(cluster)


def leave(cluster: CurrentCluster) -> None:
    """Make it the current one no more."""
    _entered.remove(cluster)


def introduce(contact: Contact, dashboard: str | None, host: str) -> None:
    """Have clients of this process find the scheduler's keys and its dashboard, which is on this host."""
    import dask.config

    credentials.remember(contact.address, contact.keys)
    if dashboard is None:
        return
    template = dask.config.get("distributed.dashboard.link")
    if template != links.STANDARD:  # the user's, for a web proxy
        dashboard = links.configured(dashboard, host, os.environ, template) or dashboard
    dask.config.set({"distributed.dashboard.link": dashboard})
