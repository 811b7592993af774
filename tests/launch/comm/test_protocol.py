"""The tests that themselves run under mpirun, with pytest-mpi."""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "under_mpi"


def test_under_mpirun(ranks):
    words = [
        sys.executable,
        "-m",
        "pytest",
        "--with-mpi",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",  # all ranks run the same test at the same time
        "--rootdir",
        str(FOLDER),
        "--noconftest",
    ]
    result = ranks(4, command=[*words, "-c", "/dev/null", "--import-mode=importlib", str(FOLDER)], timeout=100)
    assert result.status == 0, result
    assert result.stdout.count("21 passed") == 4, result
    assert not result.leftover, result
