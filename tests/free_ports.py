"""Ports of the tests' own: none that programs get unasked, and none of another process that runs tests.

A port that is free when it is looked at may be another program's when it is taken.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket

#: Below what Linux gives away by itself, which begins at 32768: each of pytest-xdist's processes has a share.
_FIRST, _SHARE, _SHARES = 10_000, 1_300, 16

_taken = itertools.count()


def own_port(count: int = 1) -> int:
    """Return the first of so many free ports in a row, which no other test gets."""
    while True:
        offsets = [next(_taken) for _ in range(count)]
        first = _FIRST + _share() * _SHARE + offsets[0] % (_SHARE - count)
        if all(_is_free(first + each) for each in range(count)):
            return first


def _share() -> int:
    """Return the number of this process's share: the last ones are for those that pytest-xdist has not started."""
    name = os.environ.get("PYTEST_XDIST_WORKER", "")
    half = _SHARES // 2
    return int(name[2:]) % half if name else half + os.getpid() % half


def _is_free(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_server(("", port)):
        return True
    return False
