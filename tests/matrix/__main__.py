"""Run the quick tests in several environments: `./do matrix`, and `./do matrix --help`."""

from __future__ import annotations

import argparse
import concurrent.futures
import sys
import time

import report
import rooms
import soak_tls
from cells import CELLS, Cell


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./do matrix", description=__doc__)
    parser.add_argument("cells", nargs="*", metavar="CELL", help="run these only")
    parser.add_argument("--list", action="store_true", help="list the cells")
    parser.add_argument("--write-docs", action="store_true", help="write docs/environments.md")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="run so many cells at a time (default: 2)")
    parser.add_argument(
        "--soak-tls", type=int, metavar="N", help="start 8 workers N times, and count them after a while"
    )
    return parser.parse_args()


def chosen(names: list[str]) -> list[Cell]:
    known = {cell.name: cell for cell in CELLS}
    for name in names:
        if name not in known:
            sys.exit(f"no such cell: {name}; there are {', '.join(known)}")
    return [known[name] for name in names] or list(CELLS)


def matrix(cells: list[Cell], jobs: int) -> list[rooms.Outcome]:
    """Run the cells, some at a time; say how each ended."""
    wheel = rooms.build_wheel()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(rooms.visit, cell, wheel) for cell in cells]
        for run in concurrent.futures.as_completed(runs):
            print(report.line(run.result()), flush=True)
    return [run.result() for run in runs]


def main() -> int:
    options = arguments()
    cells = chosen(options.cells)
    if options.list:
        print(report.listing(cells))
        return 0
    if options.soak_tls:
        return soak_tls.soak(cells if options.cells else soak_tls.CELLS, options.soak_tls)
    begun = time.monotonic()
    outcomes = matrix(cells, options.jobs)
    print(f"\n{report.table(outcomes)}\n\n{time.monotonic() - begun:.0f} s in all")
    if options.write_docs:
        report.write(outcomes)
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
