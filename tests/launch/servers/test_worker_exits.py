"""How it is said why a worker died."""

from __future__ import annotations

import signal

import pytest

from mpidask.launch.servers.plugins.worker_exits import describe_exit


@pytest.mark.parametrize(
    ("exitcode", "more", "text"),
    [
        (-signal.SIGSEGV, {}, "signal 11 (SIGSEGV)"),
        (-77, {}, "signal 77"),
        (4, {}, "exit status 4"),
        (-signal.SIGKILL, {"oom": True}, "killed by the kernel: out of memory"),
        (-signal.SIGTERM, {"memory": 2**30, "limit": 2**30}, "it used 1.00 GiB of 1.00 GiB of memory"),
    ],
)
def test_causes_of_death(exitcode, more, text):
    assert describe_exit(exitcode, **more) == text
