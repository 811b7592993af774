"""The example jobs, on real data: the same result under plain python and on ranks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

JOBS = Path(__file__).parent.parent / "jobs"


@pytest.mark.parametrize("n", [0, 4])
def test_flights(ranks, n):
    plain = subprocess.run(
        [sys.executable, str(JOBS / "flights.py")], capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert plain.startswith("336,776 flights from New York City in 2013"), plain
    assert "ExpressJet Airlines Inc.     51356  20.0    548.0    30.5" in plain, plain
    result = ranks(n, str(JOBS / "flights.py"), timeout=120)
    assert (result.status, result.stdout, result.words) == (0, plain, []), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_climate(ranks):
    result = ranks(4, str(JOBS / "climate.py"), str(ranks.directory / "map.png"), timeout=120)
    assert result.status == 0, result
    assert "1860 to 2099: 2.08 K per century on average, 4.37 at most" in result.stdout, result
    assert (ranks.directory / "map.png").read_bytes().startswith(b"\x89PNG"), result
    assert not result.words, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result
