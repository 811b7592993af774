"""`ClusterSettings`: what a cluster's own arguments come to, with what the configuration says."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from distributed.security import Security

from mpidask.jobqueue.jobs import keys
from mpidask.jobqueue.jobs.job import Job
from mpidask.jobqueue.jobs.keys import Tls
from mpidask.jobqueue.keywords.lookup import settle_one
from mpidask.ports.port_range import PortRange

__all__ = ["ClusterSettings"]


@dataclasses.dataclass(frozen=True)
class ClusterSettings:
    """What has been settled about a cluster before it is made.

    owner:       name of the cluster class
    config_name: section of the configuration; None for that of the jobs' class
    interface:   network interface of scheduler and workers
    scheduler:   arguments of Dask's scheduler, as the user gives them
    shared:      where the directory for key files is made; None: in the cluster's own
    tls:         keys and protocol
    ports:       on which the scheduler may listen, None for all
    """

    owner: str
    config_name: str | None
    interface: str | None
    scheduler: Mapping[str, Any]
    shared: str | None
    tls: Tls
    ports: PortRange | None = None

    @classmethod
    def settle(
        cls,
        owner: str,
        kind: type[Job],
        config_name: str | None,
        given: Mapping[str, Any],
        *,
        security: Security | bool | None,
        protocol: str | None,
    ) -> ClusterSettings:
        """Return them; a keyword that is None is looked for in the configuration.

        kind:  class of the jobs
        given: the keywords interface, scheduler_options, shared_temp_directory, port_range and profile
        Raises ArgumentError for a value that cannot be used.
        """
        section = config_name or kind.default_config_name()
        profile = given.get("profile")
        setting = functools.partial(settle_one, kind.native_name(), section, owner=owner, profile=profile)
        options = setting("scheduler_options", given=given["scheduler_options"])
        security = options.get("security") if security is None else security
        protocol = options.get("protocol") if protocol is None else protocol
        ports = setting("port_range", given=given["port_range"])
        return cls(
            owner=owner,
            config_name=config_name,
            interface=setting("interface", given=given["interface"]),
            scheduler=options,
            shared=setting("shared_temp_directory", given=given["shared_temp_directory"]),
            tls=keys.settle(protocol, security=security),
            ports=None if ports is None else PortRange.parse(ports),
        )

    @property
    def of_jobs(self) -> dict[str, Any]:
        """The keywords that follow for the jobs."""
        return {"config_name": self.config_name, "interface": self.interface, "protocol": self.tls.protocol}

    @property
    def gated(self) -> bool:
        """Whether the dashboard is for those alone who know its link; a prefix of the user's own is no secret."""
        return "http_prefix" not in self.scheduler
