"""The example jobs, on real data: the same result under plain python and on ranks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from harness import PATIENCE
from selection import some

JOBS = Path(__file__).parent.parent / "jobs"


@pytest.mark.parametrize("n", some([0, 4], [4]))
def test_flights(ranks, n):
    plain = subprocess.run(
        [sys.executable, str(JOBS / "flights.py")], capture_output=True, text=True, check=True, timeout=120 * PATIENCE
    ).stdout
    assert plain.startswith("336,776 flights from New York City in 2013"), plain
    assert "ExpressJet Airlines Inc.     51356  20.0    548.0    30.5" in plain, plain
    result = ranks(n, str(JOBS / "flights.py"), timeout=120)
    assert (result.status, result.stdout, result.words) == (0, plain, []), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


DOORS = {
    "initialize": (
        4,
        "computed by 2 workers\n\n             count  mean\norigin dest             \nEWR    TYS     313  41.2\n",
    ),
    "execute": (4, "leave at 5 o'clock: "),
    "session": (6, "336,776 flights left 4,152,200 minutes late, say MPI and Dask\n"),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", some(DOORS, ["initialize", "execute"]))
def test_doors(ranks, name):
    n, text = DOORS[name]
    result = ranks.python(n, str(JOBS / f"{name}.py"), timeout=120)
    assert (result.status, result.words) == (0, []), result
    assert text in result.stdout, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_from_elsewhere(ranks):
    file = ranks.directory / "cluster.json"
    run = ranks.start(
        3,
        command=[sys.executable, "-c", "from mpidask.cli import main; main()", "serve", "--scheduler-file", str(file)],
    )
    client = ranks.python(0, str(JOBS / "from_elsewhere.py"), str(file), timeout=120)
    assert (client.status, client.stdout) == (0, "350,217,607 miles were flown\n"), client
    assert client.stderr in ("", f"mpidask: waiting for the scheduler file {file}\n"), client
    result = run.result(30)
    assert (result.status, result.words) == (0, []), result
    assert not file.exists()


@pytest.mark.thorough
def test_climate(ranks):
    result = ranks(4, str(JOBS / "climate.py"), str(ranks.directory / "map.png"), timeout=120)
    assert result.status == 0, result
    assert "1860 to 2099: 2.08 K per century on average, 4.37 at most" in result.stdout, result
    assert (ranks.directory / "map.png").read_bytes().startswith(b"\x89PNG"), result
    assert not result.words, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result
