"""Draw a real run and what the doctor finds as still terminals, docs/images/run.svg and doctor.svg.

::

    ./do docs --pictures
"""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = ("mpirun", "-n", "4", "python", "-m", "mpidask", "jobs/flights.py")
DOCTOR = ("mpidask", "doctor", *(word for name in ("python", "mpi", "limits") for word in ("--probe", name)))

#: Stands in for the launcher of another MPI, which is first on PATH.
_LAUNCHER = "#!/bin/sh\necho 'mpirun (Open MPI) 5.0.8'\n"

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
    printed = without_secrets(run(COMMAND, check=True))
    draw("run", [f"$ {' '.join(COMMAND)}", *printed.splitlines()], "A run of jobs/flights.py on four ranks")
    draw("doctor", [f"$ {' '.join(DOCTOR)}", *diagnosis().splitlines()], "The output of mpidask doctor")


def run(command: tuple[str, ...], *first: str, check: bool) -> str:
    """Return what a command prints; first: directories that come first on PATH."""
    path = ":".join([*first, str(Path(sys.prefix) / "bin"), os.environ["PATH"]])
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=check,
    )
    return done.stdout


def diagnosis() -> str:
    """Return what the doctor prints in a shell with 256 open files and another MPI's launcher first on PATH."""
    with tempfile.TemporaryDirectory() as place:
        launcher = Path(place) / "mpirun"
        launcher.write_text(_LAUNCHER)
        launcher.chmod(0o755)
        text = run(("sh", "-c", 'ulimit -n 256; exec "$@"', "sh", *DOCTOR), place, check=False)
    names = {place: "/opt/openmpi/bin", sys.prefix: "/home/ann/env", os.uname().nodename: "login1"}
    for here, name in names.items():
        text = text.replace(here, name)
    return text


def draw(name: str, lines: list[str], label: str) -> None:
    """Write a picture."""
    (ROOT / "docs" / "images" / f"{name}.svg").write_text(drawn(shortened(lines), label))


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
