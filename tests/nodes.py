"""Two nodes on one machine: network and UTS namespaces joined by a bridge; needs root and iproute2."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000

#: What mpirun calls instead of ssh: `agent [options] HOST command...`, HOST an address below.
_AGENT = """#!/bin/sh
while [ "${{1#-}}" != "$1" ]; do shift; done
host=$1; shift
exec nsenter --net=/run/netns/{prefix}${{host##*.}} unshare --uts sh -c 'hostname "$0"; exec sh -c "$1"' "n${{host##*.}}" "$*"
"""


def possible() -> bool:
    """Whether nodes can be made here."""
    return os.getuid() == 0 and all(shutil.which(name) for name in ("ip", "nsenter", "unshare"))


class Nodes:
    """The nodes' addresses and what starts programs on them."""

    def __init__(self, directory: Path, number: int = 2) -> None:
        self.net = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}"
        self.prefix = f"mpidask{os.getpid() % 10000}n"
        self.bridge = f"br{os.getpid() % 10000}"
        self.numbers = range(1, number + 1)
        self.head = f"{self.net}.254"
        self.outside = (
            f"10.{150 + os.getpid() % 50}.{os.getpid() // 50 % 250}.1"  # the first node's, for those who are not nodes
        )
        self.addresses = [f"{self.net}.{index}" for index in self.numbers]
        self.agent = directory / "agent"
        self.agent.write_text(_AGENT.format(prefix=self.prefix))
        self.agent.chmod(0o755)

    def up(self) -> None:
        _run(f"ip link add {self.bridge} type bridge")
        _run(f"ip addr add {self.head}/24 dev {self.bridge}")
        _run(f"ip link set {self.bridge} up")
        for index, address in zip(self.numbers, self.addresses, strict=True):
            name = f"{self.prefix}{index}"
            _run(f"ip netns add {name}")
            _run(f"ip link add v{name} type veth peer name eth0 netns {name}")
            _run(f"ip link set v{name} master {self.bridge} up")
            _run(f"ip -n {name} link set lo up")
            _run(f"ip -n {name} addr add {address}/24 dev eth0")
            _run(f"ip -n {name} link set eth0 up")
            # A second interface whose name is the faster kind's and which leads nowhere.
            _run(f"ip -n {name} link add ib0 type bridge")
            _run(f"ip -n {name} addr add 10.255.{index}.1/24 dev ib0")
            _run(f"ip -n {name} link set ib0 up")
        # What leads from the first node to the outside.
        _run(f"ip link add o{self.prefix} type veth peer name out0 netns {self.prefix}1")
        _run(f"ip addr add {self.outside.rpartition('.')[0]}.254/24 dev o{self.prefix}")
        _run(f"ip link set o{self.prefix} up")
        _run(f"ip -n {self.prefix}1 addr add {self.outside}/24 dev out0")
        _run(f"ip -n {self.prefix}1 link set out0 up")

    def mpirun_words(self, *, mpich: bool, each: int, more: int = 0) -> list[str]:
        """Return what mpirun needs to start so many ranks on each node, and some more on the first."""
        places = [f"{address}:{each + more * (address == self.addresses[0])}" for address in self.addresses]
        if mpich:
            words = ["-launcher", "ssh", "-launcher-exec", str(self.agent), "-localhost", self.head]
            return [*words, "-hosts", ",".join(places)]
        words = ["--host", ",".join(places)]
        words += ["--prtemca", "plm_ssh_agent", str(self.agent), "--map-by", "slot:oversubscribe"]
        return [
            *words,
            "--prtemca",
            "oob_tcp_if_include",
            f"{self.net}.0/24",
            "--mca",
            "btl_tcp_if_include",
            f"{self.net}.0/24",
        ]

    def down(self) -> None:
        # A namespace is removed later than its name, and its links with it.
        _run(f"ip link del o{self.prefix}", check=False)
        for index in self.numbers:
            _run(f"ip link del v{self.prefix}{index}", check=False)
            _run(f"ip netns del {self.prefix}{index}", check=False)
        _run(f"ip link del {self.bridge}", check=False)


@contextmanager
def nodes(directory: Path, number: int = 2) -> Iterator[Nodes]:
    """Make the nodes, and remove them at the end."""
    made = Nodes(directory, number)
    with _own_network():
        try:
            made.up()
            yield made
        finally:
            made.down()


@contextmanager
def _own_network() -> Iterator[None]:
    """Have this thread, and what it starts, see the nodes' links alone.

    Other tests' ranks would take them for the machine's: MPI libraries fail where one goes while they look.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "no network namespace of one's own")
        _run("ip link set lo up")
        yield
    finally:
        libc.setns(before, _CLONE_NEWNET)
        os.close(before)


def _run(command: str, *, check: bool = True) -> None:
    subprocess.run(command.split(), check=check, capture_output=not check, timeout=30)
