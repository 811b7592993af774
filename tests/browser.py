"""A real browser, Debian's chromium without a window: what a test sees is what a user sees."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from free_ports import own_port

ROOT = Path(__file__).parents[1]
INSTALL = ROOT / "tests" / "machines" / "install.sh"

#: Bokeh draws into shadow trees, one in another.
_FIND = """
function find(root, selector, found) {
    found.push(...root.querySelectorAll(selector));
    for (const each of root.querySelectorAll("*")) if (each.shadowRoot) find(each.shadowRoot, selector, found);
    return found;
}
"""
_HEADINGS = "return [...document.querySelectorAll('thead th')].map((cell) => cell.textContent.trim())"
_CELLS = """
const rows = [...document.querySelectorAll("tbody tr")];
return rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
"""
_OVERFLOWS = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


class Browser:
    """A browser with one page."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def find(self, selector: str) -> list[Any]:
        """Return the elements that a CSS selector finds, also within Bokeh's plots."""
        return list(self.driver.execute_script(_FIND + "return find(document, arguments[0], [])", selector))

    def follow(self, text: str) -> None:
        """Go where a link leads. A click would wait for a page that draws, on a busy machine for minutes."""
        self.driver.get(self.driver.find_element("link text", text).get_attribute("href"))

    def headings(self) -> list[str]:
        """Return the headings of the table that is shown."""
        return list(self.driver.execute_script(_HEADINGS))

    def table(self) -> list[dict[str, str]]:
        """Return the rows of the table that is shown, from top to bottom: heading -> text."""
        headings = self.headings()
        return [dict(zip(headings, row, strict=True)) for row in self.driver.execute_script(_CELLS)]

    def show(self, width: int, height: int, *, dark: bool) -> None:
        """Show the page as on a screen of that size, in light or in dark colours."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})

    def overflow(self) -> int:
        """Return how many pixels the page is wider than the screen."""
        return int(self.driver.execute_script(_OVERFLOWS))

    def style(self, selector: str, name: str) -> str:
        """Return a property of the style of the first element that a selector finds."""
        code = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
        return str(self.driver.execute_script(code, selector, name))

    def wait(self, what: Callable[[], Any], timeout: float = 360) -> Any:
        """Wait until something is true, and return it."""
        deadline = time.monotonic() + timeout
        while not (found := what()):
            assert time.monotonic() < deadline, f"not within {timeout} s; the page:\n{self.text()}"
            time.sleep(0.2)
        return found

    def text(self) -> str:
        """Return what can be read outside of plots."""
        return str(self.driver.execute_script("return document.body.innerText"))

    def errors(self) -> list[str]:
        """Return what scripts of the page complained of."""
        log = self.driver.get_log("browser")
        return [each["message"] for each in log if each["level"] == "SEVERE" and "favicon" not in each["message"]]

    def photograph(self, name: str) -> None:
        """Keep a picture of the page."""
        directory = Path(os.environ.get("MPIDASK_ARTIFACTS") or ROOT / "artifacts")
        directory.mkdir(parents=True, exist_ok=True)
        assert self.driver.save_screenshot(str(directory / f"{name}.png"))


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[Browser]:
    """Open a browser that keeps its files in this directory; skips where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver")
    command, driver = _programs()
    options = webdriver.ChromeOptions()
    options.binary_location = command
    for word in (
        "--headless=new",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--window-size=1500,800",
        f"--user-data-dir={directory / 'profile'}",
    ):
        options.add_argument(word)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # which chromium refuses to root
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    environ = {**os.environ, "HOME": str(directory)}
    service = webdriver.ChromeService(driver, port=own_port(), log_output=subprocess.DEVNULL, env=environ)
    with _ended(service):
        chromium = webdriver.Chrome(options=options, service=service)
        try:
            chromium.command_executor.client_config.timeout = 240  # longer than those below
            chromium.set_page_load_timeout(180)
            chromium.set_script_timeout(180)
            yield Browser(chromium)
        finally:
            chromium.quit()


def _programs() -> tuple[str, str]:
    """Return browser and driver; install them where we may."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            pytest.skip("needs chromium and chromium-driver, which root installs on Debian")
        subprocess.run([str(INSTALL), "chromium", "chromium-driver", "fonts-liberation"], check=True, timeout=600)
    found = shutil.which("chromium"), shutil.which("chromedriver")
    assert found[0] and found[1]
    return found[0], found[1]


@contextlib.contextmanager
def _ended(service: Any) -> Iterator[None]:
    """See to it that driver and browser are gone in the end, by their ids."""
    try:
        yield
    finally:
        process = getattr(service, "process", None)
        with contextlib.suppress(psutil.NoSuchProcess, AttributeError):
            top = psutil.Process(process.pid)
            for each in [*top.children(recursive=True), top]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
            process.wait(10)
