"""What a rank tells its watchdog."""

from __future__ import annotations

import contextlib
import os

from mpidask.launch.watchdog.watchdog import Watchdog


def test_a_watchdog_that_was_dismissed_gets_no_more_lines(tmp_path):
    """The program may have opened a file that has the pipe's number since."""
    reading, writing = os.pipe()
    watchdog = Watchdog(writing, "token")
    watchdog.dismiss()
    with open(tmp_path / "file", "wb") as file:
        os.dup2(file.fileno(), writing)
        watchdog.farewell()
        watchdog.end_within(3)
    assert os.read(reading, 100) == b"dismissed \n"
    os.close(reading)
    with contextlib.suppress(OSError):  # it may have been the file's own number
        os.close(writing)
    assert (tmp_path / "file").read_bytes() == b""
