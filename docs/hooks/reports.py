"""Take the pictures of reports, docs/images/report*.png, of real runs of jobs/flights.py and jobs/climate.py.

::

    ./do docs --pictures
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import terminal
from pictures import IMAGES, mpidask, opened, small

#: Picture -> script and arguments, the first section that is not shown, and whether in dark colours.
PICTURES = {
    "report": (("jobs/flights.py",), "The heaviest", False),
    "report-dark": (("jobs/flights.py",), "The heaviest", True),
    "report-climate": (("jobs/climate.py", "trend.png"), "Options", False),
}

_WIDTH, _HEIGHT = 1100, 2300

#: Where a section begins, in pixels.
_TOP = """
const heads = [...document.querySelectorAll("h2")];
return heads.find((head) => head.textContent.startsWith(arguments[0])).getBoundingClientRect().top;
"""


def main() -> None:
    """Run both jobs, and take all pictures."""
    with tempfile.TemporaryDirectory(prefix="mpidask-pictures-", ignore_cleanup_errors=True) as place:
        pages = {words: page(Path(place), words) for words, *_ in PICTURES.values()}
        with opened(Path(place)) as browser:
            for name, (words, end, dark) in PICTURES.items():
                (IMAGES / f"{name}.png").write_bytes(small(photograph(browser, pages[words], end, dark=dark)))


def page(place: Path, words: tuple[str, ...]) -> Path:
    """Return the report of a run on four ranks; an earlier one is not made again."""
    kept = Path(words[0]).stem
    if not (place / kept).exists():
        shutil.copytree(terminal.ROOT / "jobs", place / "jobs", dirs_exist_ok=True)
        command = ["mpirun", "-n", "4", "python", "-m", "mpidask", "--report", kept, *words]
        path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
        subprocess.run(command, cwd=place, env={**os.environ, "PATH": path}, check=True)
    return place / mpidask(place, "report", kept).strip()


def photograph(browser: Any, report: Path, end: str, *, dark: bool) -> bytes:
    """Return a picture of a page up to a section, as PNG."""
    driver = browser.driver
    driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    browser.show(_WIDTH, _HEIGHT, dark=dark)
    driver.get(f"file://{report}")
    height = int(driver.execute_script(_TOP, end))
    browser.show(_WIDTH, min(height, _HEIGHT), dark=dark)
    return bytes(driver.get_screenshot_as_png())


if __name__ == "__main__":
    main()
