"""What the scheduler of a cluster listens to: workers and clients, and who looks at its dashboard."""

from __future__ import annotations

import functools
import os
import re
import shutil
import socket
import tempfile
import weakref
from collections.abc import Mapping
from typing import Any

import dask.config
from distributed import SchedulerPlugin
from distributed.utils import import_term

from mpidask.addresses import interfaces
from mpidask.dashboard import access, routes
from mpidask.errors import ArgumentError
from mpidask.jobqueue.cluster.job_factory import NO_ADDRESS
from mpidask.jobqueue.cluster.settings import ClusterSettings
from mpidask.jobqueue.jobs.keys import Tls, encrypted
from mpidask.ports.port_range import PortRange

__all__ = ["arguments", "candidates", "everywhere", "link", "make", "refuse_arguments", "spec", "where"]

_DASHBOARD = 8787
_PLACES = ("host", "interface", "contact_address")  # what says where a scheduler listens


def arguments(
    given: Mapping[str, Any], tls: Tls, interface: str | None, ports: PortRange | None = None
) -> dict[str, Any]:
    """Return the scheduler's arguments: those that are given, then ours."""
    dashboard = _dashboard() if ports is None else "127.0.0.1:0"
    ours = {"protocol": tls.protocol, "dashboard_address": dashboard, "security": tls.security}
    options = encrypted({**ours, "http_prefix": access.token(), **given}, tls)
    if "host" not in options and "interface" not in options:
        options["interface"] = interface
    return options


def _dashboard() -> str:
    """Return where the dashboard listens: on loopback, on the port that users know if it is free."""
    try:
        with socket.create_server(("127.0.0.1", _DASHBOARD)):
            return f"127.0.0.1:{_DASHBOARD}"
    except OSError:
        return "127.0.0.1:0"


def spec(kind: Any, settings: ClusterSettings, page: SchedulerPlugin) -> dict[str, Any]:
    """Return Dask's specification of a scheduler of a class, in this process."""
    options = arguments(settings.scheduler, settings.tls, settings.interface, settings.ports)
    cls = functools.partial(make, kind, page, gated=settings.gated, ports=settings.ports)
    return {"cls": cls, "options": options}


def refuse_arguments(kind: type, **given: str | None) -> None:
    """Raise ArgumentError for arguments of a cluster class that are the scheduler's."""
    for key, value in given.items():
        if value is not None:
            raise ArgumentError(
                f"pass {key!r} through 'scheduler_options'",
                f"{kind.__name__}(..., scheduler_options={{{key!r}: {value!r}}})",
            )


def make(
    kind: Any, page: SchedulerPlugin | None, *, gated: bool, ports: PortRange | None = None, **options: Any
) -> Any:
    """Return a scheduler, whose dashboard is for those alone who know its link.

    kind:  class of the scheduler, or its import path
    page:  what knows the rows of the dashboard's page "Ranks"
    gated: whether nothing is shown without the prefix
    ports: those that may be taken where the options say none; raises StartupError if none of them is free
    """
    options |= _ports(options, ports)
    kind = import_term(kind) if isinstance(kind, str) else kind
    directory = None
    if options.get("local_directory") is None and not dask.config.get("temporary-directory", default=None):
        # Dask's own would be left in the temporary directory.
        options["local_directory"] = directory = tempfile.mkdtemp(prefix="mpidask-scheduler-")
    scheduler = kind(**options)
    if directory is not None:
        weakref.finalize(scheduler, _remove, directory, os.getpid())
    routes.add(scheduler, options.get("http_prefix") or "")
    if gated:
        access.close(scheduler, options["http_prefix"])
    if page is not None:
        scheduler.add_plugin(page)
        routes.show_in_navigation(scheduler)
    return scheduler


def _remove(directory: str, maker: int) -> None:
    """Remove a scheduler's directory, in the process that has made it: a forked one ends before."""
    if os.getpid() == maker:
        shutil.rmtree(directory, ignore_errors=True)


def _ports(options: Mapping[str, Any], ports: PortRange | None) -> dict[str, Any]:
    """Return the ports of scheduler and dashboard among those that may be taken."""
    if ports is None:
        return {}
    port, dashboard = options.get("port") or ports.free(), options.get("dashboard_address")
    return {"port": port, "dashboard_address": ports.with_port(str(dashboard), {port}) if dashboard else dashboard}


def where(scheduler: Any, options: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Return the address of a scheduler, as Dask has it, and those that jobs are to try.

    Parameters as of `candidates`.
    """
    return _address(scheduler) or NO_ADDRESS, candidates(scheduler, options)


def _address(scheduler: Any) -> str | None:
    return getattr(scheduler, "contact_address", None) or getattr(scheduler, "address", None)


def everywhere(shown: str, options: Mapping[str, Any]) -> list[str]:
    """Return the addresses under which a scheduler of this machine may be reached, the fastest network first.

    shown:   as Dask has it, which looks for the way to the Internet
    options: the scheduler's arguments; where they name a host or an interface, that is what counts
    """
    scheme, _, place = shown.rpartition("://")
    if scheme not in ("tcp", "tls") or any(options.get(name) for name in _PLACES):
        return [shown]
    port = place.rpartition(":")[2]
    found = [f"{scheme}://{address}:{port}" for _, address in interfaces.addresses(None)]
    return [*found, *([] if shown in found else [shown])]


def candidates(scheduler: Any, options: Mapping[str, Any]) -> list[str]:
    """Return the addresses that the next jobs are to try, first the one at which a first job has reached the scheduler.

    scheduler: in this process or in a job; one that is not up has none
    options:   its arguments
    """
    address = _address(scheduler)
    if not address:
        return []
    elsewhere: list[str] | None = getattr(scheduler, "everywhere", None)
    if elsewhere is not None:
        return elsewhere
    found = everywhere(address, options)
    used = {stream.comm.local_address for stream in getattr(scheduler, "stream_comms", {}).values() if stream.comm}
    return sorted(found, key=lambda each: each not in used)


def link(shown: str, options: Mapping[str, Any]) -> str:
    """Return the dashboard's link as it has to be: on loopback if it listens there, and with the prefix.

    shown:   as Dask has it, "" for none
    options: the scheduler's arguments
    """
    loopback = re.match(r"127\.0\.0\.1|localhost", str(options.get("dashboard_address")))
    if loopback:
        shown = re.sub(r"//[^/:]+(?=:\d+/)", f"//{loopback[0]}", shown, count=1)
    prefix = str(options.get("http_prefix") or "").strip("/")
    return re.sub(r"/status$", f"/{prefix}/status", shown) if prefix else shown
