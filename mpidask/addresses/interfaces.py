"""The addresses of this machine by which others may reach it, the fastest network first."""

from __future__ import annotations

import re
import socket

__all__ = ["addresses", "interfaces"]

#: Interfaces by name, the fastest kind first (Slingshot, InfiniBand, ethernet); what leads nowhere is left out.
_INTERFACES = (r"hsn", r"ib", r"(bond|team)", r"(eth|en|em|p\d)", r"")
_NOWHERE = re.compile(r"(lo|docker|virbr|veth|br-|cni|flannel|tun|tap|usb|idrac|vnet|podman)")


def addresses(interface: str | None) -> list[tuple[str, str]]:
    """Return (interface, IPv4 address) of every interface that may lead to other nodes, the fastest kind first."""
    import psutil  # Dask needs it too

    stats = psutil.net_if_stats()
    found = []
    for name, addresses in psutil.net_if_addrs().items():
        # An alias, such as eth0:1, has its device's; an interface that came or went between the two calls has none.
        state = stats.get(name.partition(":")[0])
        up = state is not None and state.isup
        wanted = name == interface if interface else up and not _NOWHERE.match(name)
        if wanted:
            ipv4 = (address.address for address in addresses if address.family == socket.AF_INET)
            found += [(_kind(name), -state.speed if state else 0, name, address) for address in ipv4]
    return [(name, address) for _, _, name, address in sorted(found)]


def interfaces() -> list[str]:
    """Return the names of the interfaces that have an IPv4 address."""
    import psutil

    known = psutil.net_if_addrs().items()
    return sorted(name for name, its in known if any(address.family == socket.AF_INET for address in its))


def _kind(name: str) -> int:
    return next(index for index, pattern in enumerate(_INTERFACES) if re.match(pattern, name))
