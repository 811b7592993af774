"""Draw a real run as a still terminal, docs/images/run.svg.

::

    ./do docs --pictures
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = ("mpirun", "-n", "4", "python", "-m", "mpidask", "jobs/flights.py")

_LINE = 17  # px from one line to the next
_WIDTH = 8.05  # px of a letter
_COLUMNS = 104
_LINES = 24

_STYLE = """\
    .screen { fill: #fbfcfe; stroke: #c3cad6 }
    text { font: 13.4px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2430; white-space: pre }
    .typed { font-weight: 600 }
    .said { fill: #2f6fc4 }
    @media (prefers-color-scheme: dark) {
      .screen { fill: #171b22; stroke: #3a4250 }
      text { fill: #e6e9ef }
      .said { fill: #7fb2f5 }
    }
"""


def main() -> None:
    """Run the example and write the picture."""
    bin_directory = Path(sys.prefix) / "bin"
    environ = {**os.environ, "PATH": f"{bin_directory}:{os.environ['PATH']}"}
    done = subprocess.run(
        COMMAND, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    )
    lines = [f"$ {' '.join(COMMAND)}", *without_secrets(done.stdout).splitlines()]
    (ROOT / "docs" / "images" / "run.svg").write_text(drawn(shortened(lines), "A run of jobs/flights.py on four ranks"))


def without_secrets(text: str) -> str:
    """Return what a run has printed with other names for the host, the user and the dashboard's secret."""
    text = re.sub(r"(http://127\.0\.0\.1:\d+/)[^/]+", r"\1SECRET", text)
    text = text.replace(f"({os.uname().nodename})", "(laptop)")
    return re.sub(r"(ssh -N -L \S+) .*", r"\1 ann@laptop", text)


def shortened(lines: list[str]) -> list[str]:
    """Return as many lines as the picture has, the last one of the run among them."""
    kept = lines if len(lines) <= _LINES else [*lines[: _LINES - 2], "...", lines[-1]]
    return [line if len(line) <= _COLUMNS else line[: _COLUMNS - 1] + "…" for line in kept]


def drawn(lines: list[str], label: str) -> str:
    """Return the SVG of these lines; the label is for those who do not see it."""
    width, height = round(_COLUMNS * _WIDTH) + 32, len(lines) * _LINE + 30
    texts = "\n".join(
        f'  <text x="16" y="{28 + number * _LINE}"{kind(line)}>{html.escape(line, quote=False)}</text>'
        for number, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{label}">\n  <style>\n{_STYLE}  </style>\n'
        f'  <rect class="screen" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="8"/>\n{texts}\n</svg>\n'
    )


def kind(line: str) -> str:
    """Return the class of a line: typed, printed by mpidask, or by the script."""
    if line.startswith("$"):
        return ' class="typed"'
    return ' class="said"' if line.startswith("mpidask:") else ""


if __name__ == "__main__":
    main()
