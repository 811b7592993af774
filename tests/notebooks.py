"""Notebooks that tests write, and what their cells have put out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: What JupyterLab would ask for.
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}

#: A cell that finds the cluster; what it prints follows from the variable `scale`.
FINDS = """
from distributed import Client
client = Client()
client.wait_for_workers(2, timeout=90)
print("scale", scale * client.submit(sum, [1, 2]).result(timeout=90), flush=True)
client.scheduler.address.partition(":")[0]
"""


def written(path: Path, *cells: str, parameters: str = "", **metadata: Any) -> str:
    """Write a notebook of code cells, before which one with parameters' values may stand; return its path."""
    sources = [*([parameters] if parameters else []), *cells]
    content = [
        {"cell_type": "code", "id": f"c{i}", "source": each, "metadata": {}, "outputs": [], "execution_count": None}
        for i, each in enumerate(sources)
    ]
    if parameters:
        content[0]["metadata"] = {"tags": ["parameters"]}
    path.write_text(json.dumps({"cells": content, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    return str(path)


def outputs(path: Path) -> list[str]:
    """Return what the cells of a notebook have printed or returned, one text each."""
    cells = json.loads(path.read_text())["cells"]
    texts = [
        ["".join(out.get("text") or out.get("data", {}).get("text/plain", "")) for out in c["outputs"]] for c in cells
    ]
    return ["|".join(each) for each in texts]
