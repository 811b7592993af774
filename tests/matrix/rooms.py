"""Makes a cell's environment and runs tests in it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from cells import Cell
from places import ROOT, Debian, FailedError, Host, MissingError, run

CACHE = ROOT / ".matrix"
RESULTS = CACHE / "results"

#: What a run may take; each test has a shorter deadline of its own.
DEADLINE = 1200

_PROBE = """
import json, platform, ssl
from importlib.metadata import version
from mpi4py import rc
rc.initialize = False
from mpi4py import MPI
import re
library = MPI.Get_library_version().replace("\\0", "").split("\\n")[0].split(",")[0].strip()
library = re.sub(r"\\s+", " ", library.replace("Version:", "").replace("(R)", "").replace(" for Linux* OS", ""))
print(json.dumps({
    "python": platform.python_version(), "openssl": ssl.OPENSSL_VERSION.split()[1],
    "distributed": version("distributed"), "mpi": library.replace("Open MPI v", "Open MPI "),
}))
"""


@dataclasses.dataclass
class Outcome:
    """What became of a cell.

    versions: of what is in it
    results:  name of a test -> "passed", "failed", "skipped"
    trouble:  why there are none
    missing:  this machine cannot have the cell
    """

    cell: Cell
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    results: dict[str, str] = dataclasses.field(default_factory=dict)
    trouble: str = ""
    missing: bool = False
    seconds: float = 0

    @property
    def failures(self) -> list[str]:
        return [name for name, result in self.results.items() if result != "passed"]

    @property
    def is_good(self) -> bool:
        may_miss = "MPIDASK_NO_SKIPS" not in os.environ
        return (self.missing and may_miss) or bool(self.results and not self.failures and not self.trouble)


class Room:
    """A cell's environment on this machine."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.log = RESULTS / f"{cell.name}.log"
        tools = CACHE / "tools"
        self.place = Debian(CACHE, cell.python, cell.debian, tools) if cell.debian else Host(CACHE, cell.python)
        self.prefix = self.place.environment(cell.name)

    def words(self, name: str, *arguments: str) -> list[str]:
        """Return the command line of a program of the environment."""
        return self.place.words([f"{self.prefix}/bin/{name}", *arguments])

    def environ(self) -> dict[str, str]:
        """Return the environment of its programs: little of this one, where other MPIs may have left their words."""
        more = {name: value.format(prefix=self.prefix) for name, value in self.cell.mpi.environ}
        path = f"{self.prefix}/bin:{os.environ['PATH']}"  # as in an activated environment
        return {"PATH": path, "HOME": os.environ["HOME"], "LANG": "C.UTF-8", "MPIDASK_MATRIX_ENVIRON": json.dumps(more)}

    def make(self, wheel: Path) -> None:
        """Make the environment, if it is not there, and install the wheel."""
        self.log.write_bytes(b"")
        self.place.prepare(self.cell.mpi.debian, self.log)
        stamp = self.place.outside(self.prefix) / "stamp"
        wanted = json.dumps([self.requirements(), _hash(wheel)])
        have = stamp.read_text() if stamp.exists() else "[[], 0]"
        if json.loads(have)[0] != self.requirements():
            run(self.place.words([self.place.python(), "-m", "venv", "--clear", self.prefix]), self.log, timeout=120)
            self.place.install(self.prefix, self.requirements(), self.log)
        if have != wanted:
            self._install(wheel)
            stamp.write_text(wanted)

    def _install(self, wheel: Path) -> None:
        """Install the wheel itself; what it needs comes from PyPI with the requirements."""
        copy = self.place.outside(self.prefix) / wheel.name
        copy.write_bytes(wheel.read_bytes())
        words = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall"]
        run(self.words("python", *words, f"{self.prefix}/{wheel.name}"), self.log, timeout=120)
        run(self.words("python", "-m", "compileall", "-q", f"{self.prefix}/lib"), self.log, timeout=240)

    def requirements(self) -> list[str]:
        import tomllib

        needs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
        version = self.cell.distributed
        pins = [] if version == "newest" else [f"dask=={version}", f"distributed=={version}"]
        return [*needs, *pins, *self.cell.mpi.packages, "pytest"]

    def versions(self) -> dict[str, str]:
        """Return the versions of what matters here."""
        environ = {**self.environ(), **json.loads(self.environ()["MPIDASK_MATRIX_ENVIRON"])}
        words = self.words("python", "-c", _PROBE)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, env=environ, check=False)
        if done.returncode:
            raise FailedError(f"the environment does not work: {done.stderr[-1000:]}")
        return json.loads(done.stdout)

    def test(self, *arguments: str) -> dict[str, str]:
        """Run the quick tests; return the result of each."""
        source = self.place.source
        chosen = ["-k", " or ".join(self.cell.tests)] if self.cell.tests else []
        report = RESULTS / f"{self.cell.name}.xml"
        report.unlink(missing_ok=True)
        # pytest is all that they need: the fixtures of other tests stay out.
        words = [
            f"{source}/tests/matrix/test_quick.py",
            f"{source}/tests/compat/test_compat.py",  # private names differ between versions
            "-c",
            f"{source}/pyproject.toml",
            f"--rootdir={source}",
            f"--confcutdir={source}/tests/matrix",
        ]
        words += [
            "-p",
            "no:cacheprovider",
            "-o",
            "faulthandler_timeout=0",
            f"--junitxml={self.place.results}/{report.name}",
            *chosen,
            *arguments,
        ]
        try:
            run(self.words("pytest", *words), self.log, timeout=DEADLINE, env=self.environ())
        except FailedError:
            if not report.exists():
                raise
        return dict(_results(report))


def visit(cell: Cell, wheel: Path) -> Outcome:
    """Make a cell's environment and run the tests in it."""
    outcome, begun = Outcome(cell), time.monotonic()
    try:
        room = Room(cell)
        room.make(wheel)
        outcome.versions = room.versions()
        outcome.results = room.test()
    except MissingError as error:
        outcome.trouble, outcome.missing = str(error), True
    except (FailedError, subprocess.TimeoutExpired) as error:
        outcome.trouble = str(error)
    outcome.seconds = time.monotonic() - begun
    return outcome


def build_wheel() -> Path:
    """Build the project's wheel, with a pip that also downloads for other Pythons."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    log = RESULTS / "wheel.log"
    log.write_bytes(b"")
    python = str(CACHE / "tools/bin/python")
    if not Path(python).exists():
        import sys

        run([sys.executable, "-m", "venv", str(CACHE / "tools")], log, timeout=120)
    directory = CACHE / "wheel"
    for old in directory.glob("*.whl"):
        old.unlink()
    run([python, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(directory), str(ROOT)], log, timeout=240)
    return next(directory.glob("*.whl"))


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _results(report: Path) -> Iterator[tuple[str, str]]:
    for case in ET.parse(report).getroot().iter("testcase"):  # our own file
        kinds = {child.tag for child in case}
        result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        yield case.get("name", "").removeprefix("test_"), result
