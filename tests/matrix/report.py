"""Says what the matrix has shown: lines, and the table of docs/environments.md."""

from __future__ import annotations

import datetime as dt
import os
import platform
from collections.abc import Iterable

from cells import Cell
from places import ROOT
from rooms import RESULTS, Outcome

_TEXT = """# Environments

`./do matrix` runs the quick tests ([tests/matrix/test_quick.py](../tests/matrix/test_quick.py)) in each of these environments. `./do matrix --write-docs` has
written this table on {day}, on {host}.

{table}

*passed*: how many of the tests passed.{missing}

{why}
"""


def line(outcome: Outcome) -> str:
    """Return how a cell ended, in one line, with the file that has more."""
    head = f"{outcome.cell.name:24} {outcome.seconds:4.0f} s  "
    if outcome.missing:
        return f"{head}not here: {outcome.trouble}"
    if outcome.trouble:
        return f"{head}FAILED: {outcome.trouble}"
    good = f"{len(outcome.results) - len(outcome.failures)} of {len(outcome.results)} passed"
    if not outcome.failures:
        return head + good
    log = (RESULTS / f"{outcome.cell.name}.log").relative_to(ROOT)
    return f"{head}{good}; FAILED: {', '.join(outcome.failures)}; see {log}"


def listing(cells: Iterable[Cell]) -> str:
    """Return the cells with what is in them."""
    rows = [
        [cell.name, cell.python, cell.debian or "host", cell.distributed, cell.mpi.name, cell.why] for cell in cells
    ]
    return markdown(["cell", "Python", "on", "distributed", "MPI", "why"], rows)


def table(outcomes: Iterable[Outcome]) -> str:
    """Return what came out of each cell, as a table."""
    return markdown(["cell", "Python", "OpenSSL", "distributed", "MPI", "passed", "failed"], map(_row, outcomes))


def _row(outcome: Outcome) -> list[str]:
    have = outcome.versions or {"python": outcome.cell.python, "distributed": outcome.cell.distributed}
    words = [outcome.cell.name, have["python"], have.get("openssl", ""), have["distributed"]]
    words.append(have.get("mpi", outcome.cell.mpi.name))
    if outcome.trouble:
        return [*words, "not here" if outcome.missing else "none", outcome.trouble.splitlines()[0]]
    good = f"{len(outcome.results) - len(outcome.failures)} of {len(outcome.results)}"
    return [*words, good, ", ".join(outcome.failures)]


def markdown(heads: list[str], rows: Iterable[list[str]]) -> str:
    every = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in every)


def write(outcomes: list[Outcome]) -> None:
    """Write docs/environments.md."""
    missing = [outcome.cell.name for outcome in outcomes if outcome.missing]
    words = {
        "day": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "host": _host(),
        "table": table(outcomes),
        "missing": " *not here*: the machine could not have that environment." if missing else "",
        "why": "\n".join(f"* {outcome.cell.name}: {outcome.cell.why}." for outcome in outcomes),
    }
    (ROOT / "docs/environments.md").write_text(_TEXT.format(**words))


def _host() -> str:
    name = platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    return f"{name}, {os.cpu_count()} cores"
