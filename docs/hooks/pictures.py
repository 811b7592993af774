"""Take pictures for the site from real jobs: of the dashboard, JupyterLab and `mpidask top`.

::

    ./do docs --pictures
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import terminal
from PIL import Image

sys.path.insert(0, str(terminal.ROOT / "tests"))

import lab as labs
from browser import Browser, opened
from notebooks import KERNEL, written

IMAGES = terminal.ROOT / "docs" / "images"

#: The job: three kinds of tasks; a lack of memory, as it were, ends a worker once.
SCRIPT = """
import os, signal, time
import numpy as np
from distributed import Client

def load(month):
    time.sleep(0.25)
    return np.random.default_rng(month).random(1_500_000)

def anomaly(values, number):
    time.sleep(0.15)
    if number == 5 and not os.path.exists("killed"):
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return values - values.mean()

def trend(values):
    time.sleep(0.1)
    return float(values.std())

client = Client()
for year in range(1900, 2100):
    months = client.map(load, range(12), pure=False)
    print(f"{year}: {sum(client.gather(client.map(trend, client.map(anomaly, months, range(12))))):.3f}", flush=True)
"""

#: Picture -> page, width, height, whether in dark colours. Dask's own pages have no dark colours.
PICTURES = {
    "dashboard-status": ("status", 1200, 660, False),
    "dashboard-ranks": ("ranks", 1420, 350, False),
    "dashboard-ranks-dark": ("ranks", 1420, 350, True),
    "dashboard-ranks-narrow": ("ranks", 420, 690, False),
    "dashboard-ranks-narrow-dark": ("ranks", 420, 690, True),
}

_COLOURS = 64  # as many as make no difference to the eye
_DEADLINE = 240.0  # s
_GLANCE = 0.5  # s
_TO_SHOW = 8.0  # s after which the stream of tasks has something to show


def main() -> None:
    """Run the job and take all pictures."""
    with tempfile.TemporaryDirectory(prefix="mpidask-pictures-", ignore_cleanup_errors=True) as place:
        with job(Path(place)) as number, opened(Path(place)) as browser:
            said = mpidask(Path(place), "dashboard", number)
            (found,) = re.findall(r"(http://\S+/)status", said)
            for name, (*size, dark) in PICTURES.items():
                (IMAGES / f"{name}.png").write_bytes(small(photograph(browser, found, *size, dark=dark)))
            lines = terminal.without_secrets(mpidask(Path(place), "top", number)).splitlines()
        picture = terminal.drawn([f"$ mpidask top {number}", *terminal.shortened(lines)], "The output of mpidask top")
        (IMAGES / "top.svg").write_text(picture)
        with opened(Path(place)) as browser:
            (IMAGES / "jupyterlab.png").write_bytes(small(jupyterlab(browser, Path(place) / "lab")))


def jupyterlab(browser: Browser, place: Path) -> bytes:
    """Return a picture of JupyterLab with a cluster of its sidebar at work, as PNG."""
    place.mkdir()
    written(place / "climate.ipynb", labs.WORK, kernelspec=KERNEL)
    with labs.started(place, dask=labs.FACTORY) as url:
        browser.show(1500, 800, dark=False)
        lab = labs.Lab(browser, url)
        lab.open("climate.ipynb")
        lab.new_cluster_at_work()
        time.sleep(_TO_SHOW)
        taken = bytes(browser.driver.get_screenshot_as_png())
        lab.shut_down_cluster()
        return taken


@contextlib.contextmanager
def job(place: Path) -> Iterator[str]:
    """Submit the job on this machine; yield its id when a worker has died and is back."""
    (place / "climate.py").write_text(SCRIPT)
    options = ("--ranks-per-node", "4", "--memory-limit", "300 MiB", "--walltime", "1:00:00")
    number = mpidask(place, "submit", *options, "climate.py").split()[-1]
    try:
        deadline = time.monotonic() + _DEADLINE
        while not is_worth_a_picture(mpidask(place, "top", number, "--json", check=False)):
            if time.monotonic() > deadline:
                raise SystemExit(mpidask(place, "logs", number))
            time.sleep(_GLANCE)
        yield number
    finally:
        mpidask(place, "cancel", number)


def is_worth_a_picture(text: str) -> bool:
    """Whether all ranks run, and a worker has died before, in what `mpidask top --json` prints."""
    rows = (json.loads(text or "{}").get("numbers") or {}).get("rows", [])
    return {row["state"] for row in rows} == {"running"} and sum(row["restarts"] or 0 for row in rows) == 1


def mpidask(place: Path, *words: str, check: bool = True) -> str:
    """Return what a command prints; without `check` it may fail, and then nobody hears of it."""
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(place / "state"),
        "DASK_MPIDASK__BATCH__SYSTEM": "local",
    }
    command = [sys.executable, "-m", "mpidask.cli", *words]
    error = None if check else subprocess.DEVNULL
    done = subprocess.run(command, cwd=place, env=environ, stdout=subprocess.PIPE, stderr=error, text=True, check=check)
    return done.stdout


def photograph(browser: Browser, link: str, page: str, width: int, height: int, *, dark: bool) -> bytes:
    """Return a picture of a page of the dashboard, as PNG."""
    driver: Any = browser.driver
    driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    browser.show(width, height, dark=dark)
    driver.get(link + page)
    browser.wait(lambda: len(browser.table()) == 4 if page == "ranks" else len(browser.find("canvas")) >= 4)
    time.sleep(_TO_SHOW if page == "status" else 1)
    return bytes(driver.get_screenshot_as_png())


def small(png: bytes) -> bytes:
    """Return the picture with few colours, in few bytes."""
    with Image.open(io.BytesIO(png)) as picture, io.BytesIO() as file:
        picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        return file.getvalue()


if __name__ == "__main__":
    main()
