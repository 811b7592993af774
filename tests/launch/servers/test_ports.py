"""A range of ports that a firewall lets through: all that listens takes its port from it, or says that it is used up."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import socket

import pytest
from free_ports import own_port

from mpidask.errors import StartupError, UsageError
from mpidask.launch.servers import server_start
from mpidask.options import loading
from mpidask.ports.port_range import PortRange

FIRST = own_port(10)


@pytest.mark.one_mpi
@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("40000", "FIRST:LAST is needed, such as 40000:40100"),
        ("40000-40100", "did you mean 40000:40100"),
        ("40100:40000", "the smaller one first"),
        ("0:10", "two ports from 1 to 65535"),
        ("40000:70000", "two ports from 1 to 65535"),
        ("a:b", "FIRST:LAST"),
    ],
)
def test_what_is_no_range_is_refused(text, remedy):
    with pytest.raises(UsageError, match=f"--port-range is '{text}'") as raised:
        loading.load({"port_range": text}, configured={})
    assert remedy in raised.value.remedy


@pytest.mark.one_mpi
def test_a_free_port_is_taken_or_the_range_is_named():
    ports = PortRange(FIRST, FIRST + 2)
    with contextlib.ExitStack() as held:
        for port in (FIRST, FIRST + 2):
            held.enter_context(socket.create_server(("127.0.0.1", port)))
        assert ports.free() == FIRST + 1
        assert ports.with_port("127.0.0.1:0") == f"127.0.0.1:{FIRST + 1}"
        assert ports.with_port(":8787") == ":8787", "a port of the user's own stays"
        assert ports.shortage(1) is None
        assert f"the port range {ports} is used up on " in ports.shortage(2).what
        assert "1 of its 3 ports are free, and 2 are needed" in ports.shortage(2).what
        with pytest.raises(StartupError, match=f"{ports} is used up"):
            ports.free(but=[FIRST + 1])


@pytest.mark.one_mpi
def test_what_the_user_names_counts_before_the_range():
    from mpidask.launch.servers import port_choice

    @dataclasses.dataclass(frozen=True)
    class Spec:
        port: int
        dashboard_address: str
        clients: tuple[str, int] | None
        ports: PortRange | None = dataclasses.field(default_factory=lambda: PortRange(FIRST, FIRST + 9))
        dashboard: bool = True

    named = Spec(8786, "127.0.0.1:8787", ("10.0.0.1", 8788))
    assert port_choice.settled(named) == named
    chosen = port_choice.settled(Spec(0, "127.0.0.1:0", ("10.0.0.1", 0)))
    numbers = {chosen.port, chosen.clients[1], int(chosen.dashboard_address.removeprefix("127.0.0.1:"))}
    assert len(numbers) == 3
    assert numbers <= set(range(FIRST, FIRST + 10))


WHERE = """
import json
from distributed import Client
client = Client()
info = client.scheduler_info(n_workers=-1)
addresses = [info["address"], *info["workers"], *(each["nanny"] for each in info["workers"].values() if each["nanny"])]
print(json.dumps([int(each.rpartition(":")[2]) for each in addresses] + [client.dashboard_link]))
"""


@pytest.mark.parametrize(("options", "listeners"), [((), 5), (("--no-nanny",), 3)], ids=["nannies", "no-nannies"])
def test_all_that_listens_takes_a_port_of_the_range(ranks, options, listeners):
    result = ranks(4, "--port-range", f"{FIRST}:{FIRST + 9}", *options, ranks.script(WHERE))
    assert (result.status, result.words) == (0, []), result
    *ports, dashboard = json.loads(result.stdout)
    ports.append(int(dashboard.partition("//")[2].partition(":")[2].partition("/")[0]))
    assert len(set(ports)) == listeners + 1, ports
    assert set(ports) <= set(range(FIRST, FIRST + 10)), ports


def test_a_range_that_is_used_up_is_named(ranks):
    result = ranks(4, "--port-range", f"{FIRST}:{FIRST + 3}", ranks.script("print('never')"))
    assert result.status == StartupError.status, result
    assert result.stderr.count(f"the port range {FIRST}:{FIRST + 3} is used up on ") == 1, result
    assert "Traceback" not in result.stderr, result
    assert "never" not in result.stdout, result


@pytest.mark.one_mpi
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EADDRINUSE, "port 443 on 198.51.100.7 is taken"),
        (errno.EACCES, "port 443 on 198.51.100.7 is not for ordinary users"),
        (errno.EADDRNOTAVAIL, "has the address 198.51.100.7"),
        (errno.ENOMEM, None),
    ],
)
def test_why_a_scheduler_does_not_listen(number, said):
    found = server_start._taken([("198.51.100.7", 443)], OSError(number, "as the system has it"))
    assert (found is None) if said is None else (said in str(found))
