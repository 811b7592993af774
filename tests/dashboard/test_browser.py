"""The dashboard of a real run in a real browser."""

from __future__ import annotations

import os
import re
import socket
import time
import urllib.error
import urllib.request
from urllib.parse import urlsplit

import pytest
from harness import PATIENCE

pytestmark = [pytest.mark.one_mpi, pytest.mark.thorough]

#: Computes until there is a file stop.py; where there is crime.py one task ends its worker's process, once.
SCRIPT = """
import os, time
from distributed import Client

def step(number):
    time.sleep(0.05)
    return number + 1

def die(flag):
    if not os.path.exists(flag):
        open(flag, "w").close()
        os._exit(4)

client = Client()
print("ready", flush=True)
begun, done = time.monotonic(), False
while not os.path.exists("stop.py") and time.monotonic() < begun + 3000:
    numbers = client.map(step, range(20), pure=False)
    if os.path.exists("crime.py") and not done:
        client.submit(die, os.path.abspath("flag.py"), key="crime-1").result()
        done = True
    client.gather(numbers)
"""


@pytest.fixture
def run(ranks):
    """Return a run of four ranks that computes, and ends well."""
    started = ranks.start(4, ranks.script(SCRIPT))
    started.wait_for("ready", 90)
    yield started
    (ranks.work / "stop.py").touch()
    result = started.result()
    assert result.status == 0, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.fixture
def link(run):
    """Return the link in the banner, once there is something behind it."""
    run.wait_for("/status", file="err")
    said = (run.directory / "err").read_text()
    found = re.search(r"dashboard +(http://127\.0\.0\.1:\d+/\S+/status)", said)
    assert found, said
    deadline = time.monotonic() + 60 * PATIENCE
    while status(found[1]) != 200:  # bokeh is imported while the run goes on
        assert time.monotonic() < deadline, "no dashboard within 60 s"
        time.sleep(0.2)
    return found[1]


def status(url):
    try:
        with urllib.request.urlopen(url, timeout=20 * PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:  # not in time
        return None


def test_ranks_in_a_browser(ranks, run, link, browser):
    driver = browser.driver
    driver.get(link)
    browser.wait(lambda: driver.title == "Dask: Status")
    browser.wait(lambda: len(browser.find("canvas")) >= 4)
    time.sleep(3)  # so that the picture has something to show
    browser.photograph("dashboard-status")

    browser.follow("Ranks")
    browser.wait(lambda: driver.title == "Dask: Ranks")
    assert urlsplit(driver.current_url).path == urlsplit(link).path.replace("/status", "/ranks")
    browser.wait(lambda: len(browser.table()) == 4)
    browser.wait(lambda: [row["State"] for row in browser.table()] == ["running"] * 4)
    check(browser.table(), run)
    assert "4 ranks on 1 node · 2 workers: 2 running" in browser.text()
    browser.wait(lambda: re.search(r"Tasks: \d+ processing", browser.text()))  # between two rounds there are none

    pids = [row["PID"] for row in browser.table()]
    (ranks.work / "crime.py").touch()
    browser.wait(lambda: "1" in [row["Restarts"] for row in browser.table()])
    browser.wait(lambda: [row["State"] for row in browser.table()] == ["running"] * 4)
    (victim,) = [row for row in browser.table() if row["Restarts"] == "1"]
    assert victim["Role"] == "worker"
    assert re.fullmatch(r"\d\d:\d\d:\d\d died: exit status 4; tasks it had: .*crime-1.*", victim["Last message"]), (
        victim
    )
    browser.wait(lambda: sum(row["PID"] not in pids for row in browser.table()) == 1)  # that of its new process
    check_sorting(browser)
    check_looks(browser)
    check_info(browser)
    check_front(browser, link)
    assert not browser.errors()


def check(table, run):
    """What each row says of its rank."""
    assert [row["Rank"] for row in table] == ["0", "1", "2", "3"]
    assert [row["Role"] for row in table] == ["scheduler", "script", "worker", "worker"]
    assert [row["Worker"] for row in table] == ["", "", "2", "3"]
    assert {row["Node"] for row in table} == {socket.gethostname()}
    assert [int(table[number]["PID"]) for number in (0, 1)] == [run.rank(0), run.rank(1)]
    for row in table:
        assert os.path.exists(f"/proc/{row['PID']}"), row
        assert re.match(r"\d+\.\d\d [MG]iB of \d+\.\d\d [MG]iB \(\d+ %\)$", row["Memory"]), row
        assert re.match(r"0:\d\d:\d\d$", row["Uptime"]), row
        assert row["Last message"] == ""
    assert re.match(r"\d+ %$", table[0]["CPU"]), "that of the scheduler is known"
    for row in table[2:]:
        assert re.match(r"\d of \d$", row["Running"]), row
        assert row["Queued"].isdigit(), row
        assert re.match(r"\d+ %$", row["CPU"]), row
        assert re.match(r"\d+ %$", row["Idle"]), row
        assert (row["Restarts"], row["Spilled"]) == ("0", "0 B")


def check_sorting(browser):
    """A click on a heading sorts, and it stays so while the page goes on."""
    heading = next(each for each in browser.find("th button") if each.text == "Rank")
    heading.click()
    heading.click()
    browser.wait(lambda: [row["Rank"] for row in browser.table()] == ["3", "2", "1", "0"])
    memory = [row["Memory"] for row in browser.table()]
    browser.wait(lambda: [row["Memory"] for row in browser.table()] != memory, 120)
    assert [row["Rank"] for row in browser.table()] == ["3", "2", "1", "0"]


def check_looks(browser):
    """It can be used on every screen: nothing is cut, and colours are those of the user's choice."""
    for dark in (False, True):
        for width, height in ((1500, 800), (1200, 900), (820, 900), (420, 900)):
            browser.show(width, height, dark=dark)
            assert browser.overflow() <= 0, width
            browser.photograph(f"dashboard-ranks-{width}-{'dark' if dark else 'light'}")
        red, green, blue = map(int, re.findall(r"\d+", browser.style("body", "backgroundColor"))[:3])
        assert (max(red, green, blue) < 64) is dark
    (message,) = [each for each in browser.find("td.message span") if each.text]
    assert "crime-1" in message.text
    assert message.is_displayed()
    assert browser.style("td.message", "textOverflow") == "clip", "all of it is there to read"
    assert browser.find("tr.died .bad"), "its death is marked"
    browser.show(1500, 800, dark=False)


def check_front(browser, link):
    """The bare secret leads to a page."""
    browser.driver.get(link.removesuffix("status"))
    browser.wait(lambda: browser.driver.current_url == link)


def check_info(browser):
    """Page Info has the styles that Dask has, and no links to pages that workers do not have."""
    browser.follow("Info")
    browser.wait(lambda: len(browser.find("tbody tr")) == 2)
    assert browser.style("table.sortable th", "cursor") == "pointer", "by sortable.min.css, which Dask brings"
    assert not [each for each in browser.find("a") if each.text == "dashboard"]
    browser.photograph("dashboard-info")
    assert browser.style(".button", "borderRadius") == "4px", "by ours: nothing comes from a public network"
    assert not browser.errors()


def test_without_the_secret_there_is_nothing_to_see(link, browser):
    parts = urlsplit(link)
    server = f"{parts.scheme}://{parts.netloc}"
    for path in ("", "/", "/status", "/ranks", "/info/main/workers.html", "/json/counts.json", "/sitemap.json"):
        assert status(server + path) == 404, path
    for path in ("/status", "/ranks", f"{parts.path[:-10]}/status"):
        browser.driver.get(server + path)
        assert "404" in browser.text()
        assert "Dask" not in browser.driver.page_source
        assert "Ranks" not in browser.driver.page_source
        assert not browser.find("canvas")
