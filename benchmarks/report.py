"""Medians, ratios, targets and pictures of what startup.py has measured."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ENVIRONMENTS = (".venv-mpich", ".venv-openmpi")
AGENT, NANNY, WORKER, LOCAL = "mpidask, agent", "dask-mpi, Nanny", "dask-mpi, Worker", "LocalCluster"
PEERS = (NANNY, WORKER, LOCAL)
OTHERS = "others' CPU, cores"
AT = "32"  # workers for which there are targets

#: MPI -> mode -> number of workers -> variant -> what was measured -> figure.
Medians = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]]

#: What is to be at most which part of what a peer takes.
TARGETS = (
    (NANNY, "file operations per worker", 1 / 20),
    (NANNY, "CPU to registered, s", 1 / 4),
    (NANNY, "PSS per worker, MB", 0.6),
    (NANNY, "all registered, s", 1 / 2),
    (NANNY, "teardown, s", 1 / 3),
    (WORKER, "first result, s", 0.7),
    (WORKER, "CPU to registered, s", 0.5),
    *(
        (LOCAL, name, 1.0)
        for name in (
            "file operations per worker",
            "CPU to registered, s",
            "PSS per worker, MB",
            "all registered, s",
            "first result, s",
            "teardown, s",
        )
    ),
)


def medians(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the medians over the rows of each variant; a variant without rows is left out."""
    if isinstance(results, list):
        keys = {key: None for row in results for key in row}
        return {key: statistics.median(row[key] for row in results if key in row) for key in keys}
    return {name: medians(each) for name, each in results.items() if each}


def show(figures: Medians) -> None:
    """Print a table of medians for each number of workers, and one of ratios to each peer."""
    for title, each in _each(figures):
        print(f"\n{title}")
        _table(each, each)
        for peer in PEERS:
            if peer in each:
                print(f"as parts of {peer}")
                _table(each, {name: _ratios(row, each[peer]) for name, row in each.items()})


def _each(figures: Medians) -> Iterator[tuple[str, Mapping[str, Mapping[str, float]]]]:
    for mpi, modes in figures.items():
        for mode, sizes in modes.items():
            for workers, each in sizes.items():
                yield f"{mpi}, {mode}, {workers} workers", each


def _ratios(row: Mapping[str, float], peer: Mapping[str, float]) -> dict[str, float]:
    return {key: value / peer[key] for key, value in row.items() if peer.get(key) and key != OTHERS}


def _table(shape: Mapping[str, Any], rows: Mapping[str, Mapping[str, float]]) -> None:
    """Print rows as columns, in the order of `shape`."""
    heads = [name.replace("mpidask, agent, import cache", "agent, cache").removeprefix("mpidask, ") for name in shape]
    print(f"{'':32}" + "".join(f"{head:>18}" for head in heads))
    for key in {key: None for row in rows.values() for key in row}:
        print(f"{key:32}" + "".join(f"{rows[name].get(key, float('nan')):18.3g}" for name in shape))


def targets(figures: Medians) -> str:
    """Return, in Markdown, which targets each of our variants meets."""
    lines = []
    for title, each in _each(figures):
        if not title.endswith(f", {AT} workers") or not any(peer in each for peer in PEERS):
            continue
        ours = [name for name in each if name not in PEERS]
        lines += [f"\n{title}: part of the peer's figure\n"]
        lines += ["| " + " | ".join(["measured", "peer", "target", *ours]) + " |", "|---" * (3 + len(ours)) + "|"]
        for peer, key, most in TARGETS:
            parts = [_ratios(each[name], each.get(peer, {})).get(key) for name in ours]
            lines.append("| " + " | ".join([key, peer, f"{most:.3g}", *(_cell(part, most) for part in parts)]) + " |")
    return "\n".join(lines) + "\n"


def _cell(part: float | None, most: float) -> str:
    if part is None:
        return "-"
    return f"**{part:.3g}** met" if part <= most else f"{part:.3g} not met"


def plot(figures: Medians, target: Path) -> None:
    """Draw what was measured over the number of workers, a row of pictures for each MPI and mode."""
    try:
        import matplotlib as mpl
    except ImportError:
        sys.stderr.write(f"no {target.name}: matplotlib is not installed (pip install matplotlib)\n")
        return
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    lines = [(mpi, mode, sizes) for mpi, modes in figures.items() for mode, sizes in modes.items()]
    if not lines:
        return
    keys = list({key: None for _, each in _each(figures) for row in each.values() for key in row if key != OTHERS})
    figure, axes = plt.subplots(len(lines), len(keys), figsize=(3.6 * len(keys), 3.4 * len(lines)), squeeze=False)
    for line, (mpi, mode, sizes) in zip(axes, lines, strict=True):
        for axis, key in zip(line, keys, strict=True):
            _draw(axis, sizes, key)
            axis.set(title=f"{key}\n{mpi}, {mode}", xlabel="workers", ylim=(0, None))
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels))
    figure.tight_layout(rect=(0, 0.25 / len(lines) / 3.4, 1, 1))
    figure.savefig(target, dpi=80)


def _draw(axis: Any, sizes: Mapping[str, Mapping[str, Mapping[str, float]]], key: str) -> None:
    for name in {name: None for each in sizes.values() for name in each}:
        points = sorted((int(size), each[name][key]) for size, each in sizes.items() if key in each.get(name, {}))
        style = "s--" if name in PEERS else "o-"
        axis.plot([x for x, _ in points], [y for _, y in points], style, label=name)
