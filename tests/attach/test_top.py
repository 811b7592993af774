"""The live view: what it shows (pure), what it reads; `top` and `--follow` of real jobs, on a terminal and in a pipe."""

from __future__ import annotations

import codecs
import dataclasses
import fcntl
import http.server
import io
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import termios
import threading
import time
from types import SimpleNamespace

import pytest
from harness import PATIENCE
from rich.console import Console

from mpidask.attach import numbers
from mpidask.cli import follow, top
from mpidask.dashboard import terminal
from mpidask.dashboard.table import Row
from mpidask.dashboard.table import numbers as all_numbers
from mpidask.dashboard.terminal import View
from mpidask.errors import StartupError
from mpidask.run_directory import Progress

pytestmark = pytest.mark.one_mpi

TITLE = "job 4711 (quick.py) on slurm"


def worker(number, **more):
    known = {
        "state": "running",
        "pid": 10 + number,
        "threads": 4,
        "cpu": 150.0,
        "memory": 2**30,
        "memory_limit": 4 * 2**30,
        "running": 2,
        "queued": 12,
        "idle": 0.25,
        "spill": 2**20,
        "uptime": 61.0,
    }
    return Row(str(number), f"node{number}", "worker", str(number), **{**known, **more})


DEATH = "12:00:00 died: signal 9 (SIGKILL); tasks it had: sum-1, sum-2, sum-3 and 12 more"
ROWS = [
    Row("0", "node0", "scheduler", "", "running", pid=7, cpu=12.0, memory=2**28),
    worker(1),
    worker(2, memory=int(3.9 * 2**30), restarts=2, message=DEATH),
    Row("3", "node3", "worker", "3", "dead", restarts=1),
]


def view(rows=ROWS, output=("step 1", "mpidask: worker 2 died\x1b[2J", "step 2")):
    found = all_numbers(rows, "rank", {"processing": 4, "waiting": 24})
    return View(TITLE, "running", ", 1:02:05 elapsed, 0:10:00 left", 3, 3, found, output=output)


def plain(*arguments, **keywords):
    return [line.plain for line in terminal.lines(*arguments, **keywords)]


def test_all_of_it_without_a_width():
    assert plain(view(), None) == [
        "job 4711 (quick.py) on slurm: running, 1:02:05 elapsed, 0:10:00 left",
        "workers  3: 2 running, 1 dead, 3 restarts",
        "tasks    4 processing, 24 waiting",
        "cpu      [########------------] 300 % of 800 % (38%)",
        "memory   [############--------] 4.90 GiB of 8.00 GiB (61%), 2.00 MiB spilled",
        "",
        "RANK  NODE   WORKER  STATE      CPU         MEMORY  RUNNING  QUEUED  IDLE     SPILL   UPTIME  RESTARTS",
        "   0  node0          running   12 %     256.00 MiB",
        "   1  node1  1       running  150 %  1.00 GiB  25%      2/4      12   25%  1.00 MiB  0:01:01         0",
        "   2  node2  2       running  150 %  3.90 GiB  97%      2/4      12   25%  1.00 MiB  0:01:01         2",
        "   3  node3  3       dead                                                                            1",
        "",
        "latest messages",
        "step 1",
        "mpidask: worker 2 died [2J",
        "step 2",
        f"worker 2: {DEATH}",
    ]


@pytest.mark.parametrize(
    ("width", "header"),
    [
        (120, "RANK  NODE   WORKER  STATE      CPU         MEMORY  RUNNING  QUEUED  IDLE     SPILL   UPTIME  RESTARTS"),
        (80, "RANK  NODE   WORKER  STATE      CPU         MEMORY  RUNNING  QUEUED  RESTARTS"),
        (40, "RANK  STATE      CPU         MEMORY"),
    ],
)
def test_what_is_left_out_where_it_is_narrow(width, header):
    found = plain(view(), width)
    assert header in found
    assert max(map(len, found)) <= width
    said = " ".join(" ".join(found).split())
    for whole in (DEATH, "0:10:00 left", "4 processing, 24 waiting", "2 running, 1 dead, 3 restarts"):
        assert whole in said, "nothing that matters is cut"


def test_workers_with_news_are_shown_where_there_is_no_room_for_all():
    rows = [worker(number) for number in range(1000)]
    rows[500] = dataclasses.replace(rows[500], state="paused")
    rows[700] = dataclasses.replace(rows[700], restarts=1, message=DEATH)
    for height in (10, 24, 50):
        found = plain(view(rows), 79, height)
        assert len(found) <= height
        if height > 10:
            assert {"500", "700"} <= {line.split()[0] for line in found if line}
            assert any(re.fullmatch(r"and 9\d\d more: 9\d\d running", line) for line in found)
            assert any(DEATH[:40] in line for line in found)
    assert len([line for line in plain(view(rows), 79) if "node" in line]) == 1000, "a snapshot has all"


@pytest.mark.parametrize("height", range(1, 30))
def test_it_never_has_more_lines_than_there_is_room(height):
    assert len(plain(view(), 79, height)) <= height


def test_a_job_without_numbers():
    job = {"elapsed": None, "time_left": None, "ended": None, "exit_status": None}
    why = {"reason": "waits for free nodes (Resources)", "expected_start": "2026-11-21T16:10:00+01:00"}
    assert plain(View(TITLE, "pending", follow._words({**job, **why})), 120) == [
        f"{TITLE}: pending; waits for free nodes (Resources); estimated start 2026-11-21 16:10:00"
    ]
    trouble = "no numbers from the scheduler: Connection refused"
    assert plain(View(TITLE, "running", "", 1, 3, trouble=trouble), 120) == [
        f"{TITLE}: running",
        trouble,
        "workers  1 of 3 up",
    ]


def test_ctrl_c_in_the_midst_of_drawing_waits_for_its_end():
    """rich cannot end a view whose start was cut off."""
    sent = []

    class Screen(io.StringIO):
        def flush(self):
            if not sent:
                sent.append(True)
                os.kill(os.getpid(), signal.SIGINT)

    screen, part = Screen(), follow._ViewBelow()
    part._console = Console(file=screen, force_terminal=True)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            part.show(View(TITLE, "running", ""), b"")
        part.end()
    finally:
        signal.signal(signal.SIGINT, before)
    shown = screen.getvalue()
    assert sent and TITLE in shown, shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is back"


@pytest.mark.parametrize("numbers", [True, False])
def test_the_part_below_a_job_s_output_begins_as_the_view_does(numbers):
    its = view() if numbers else View(TITLE, "pending", "; waits for free nodes", trouble="ssh has not connected")
    part = [line.plain for line in terminal.summary(its, 80)]
    assert part == plain(dataclasses.replace(its, trouble=""), 80)[: len(part)]
    assert [line.split(" ")[0] for line in part] == ["job", "workers", "tasks", "cpu", "memory"][
        : None if numbers else 1
    ]


def test_states_and_levels_have_colours():
    (dead,) = [line for line in terminal.lines(view(), 120) if " dead " in line.plain and "node3" in line.plain]
    assert "bold red" in {str(span.style) for span in dead.spans}
    (full,) = [line for line in terminal.lines(view(), 120) if "97%" in line.plain]
    assert "bold red" in {str(span.style) for span in full.spans}


def test_what_is_to_be_read_has_no_colour_that_is_lost_on_white():
    its = dataclasses.replace(view(), output=["mpidask: warning: much", "step 1"])
    styles = {str(span.style) for line in terminal.lines(its, 120) for span in line.spans if span.end - span.start > 1}
    assert not styles & {"yellow", "bold yellow"}, styles
    (said,) = [line for line in terminal.lines(its, 120) if line.plain.startswith("mpidask: warning")]
    assert [(said.plain[span.start : span.end], span.style) for span in said.spans] == [("mpidask:", "bold")]


def test_a_long_name_moves_how_the_job_stands_to_a_line_of_its_own():
    long = View(TITLE.replace("quick", "a_name_that_is_long"), "running", ", 0:00:36 elapsed, 0:29:23 left")
    assert plain(long, 70) == [f"{long.title}: running", "0:00:36 elapsed, 0:29:23 left"]


# What it reads.


def test_where_the_numbers_are():
    assert numbers.endpoint(None) is None
    assert numbers.endpoint(Progress(0, 1)) is None
    told = Progress(0, 1, pages="http://127.0.0.1:5/secret/", host="n1")
    assert numbers.endpoint(told) == ("n1", "http://127.0.0.1:5/secret/ranks.json")


class _Pages(http.server.BaseHTTPRequestHandler):
    """Answers with what the path names."""

    def do_GET(self):
        status, text = {"/good": (200, '{"rows": []}'), "/bad": (200, "<html>")}.get(self.path, (404, ""))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass


def test_reading_numbers(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with http.server.HTTPServer(("127.0.0.1", 0), _Pages) as server:
        link = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with numbers.reached(None, (socket.gethostname(), f"{link}/good")) as read:
                assert read() == {"rows": []}, "no proxy learns of it"
            with pytest.raises(StartupError, match="HTTP status 404"):
                numbers.read(f"{link}/secret")
            with pytest.raises(StartupError, match="Expecting value"):
                numbers.read(f"{link}/bad")
        finally:
            server.shutdown()
            thread.join()
    with pytest.raises(StartupError, match="Connection refused") as refused:
        numbers.read(f"{link}/secret")
    assert "secret" not in refused.value.text()


@pytest.mark.parametrize(
    ("state", "trouble", "says", "remedy"),
    [
        ("pending", "", "job 7 is pending", "`mpidask top 7` on a terminal waits"),
        ("failed", "", "job 7 has ended: failed", "`mpidask logs 7`"),
        ("running", "", "job 7 has no scheduler yet", "try again soon"),
        ("running", "no numbers: it is busy", "no numbers: it is busy", "`mpidask logs 7`"),
    ],
)
def test_a_snapshot_without_numbers_says_why_and_what_to_type(state, trouble, says, remedy):
    job = {"job": "7", "run": "r", "state": state}
    with pytest.raises(StartupError, match=says) as refused:
        top._refuse(SimpleNamespace(job=job, view=SimpleNamespace(trouble=trouble)))
    assert remedy in refused.value.remedy
    assert refused.value.status == 69


# A real job.

SCRIPT = """
import os, time
from distributed import Client
client = Client()
print("computes", flush=True)
print("half", end="", flush=True)
while not os.path.exists("stop"):
    client.gather(client.map(time.sleep, [0.1] * 10, pure=False))
print(" and half")
"""


class Terminal:
    """A terminal on which `mpidask top` runs, or another command."""

    def __init__(self, system, *words, command=("top",), columns=100):
        self.command = command
        self.ours, self._its = pty.openpty()
        self.before = termios.tcgetattr(self._its)
        self.resize(columns)
        self.process = system.start(*command, *words, terminal=self._its)
        self._decode, self._rest = codecs.getincrementaldecoder("utf-8")("replace").decode, ""
        self.all = self.text = ""  # what was printed, and what of it nobody has waited for

    def _read(self, timeout):
        if not select.select([self.ours], [], [], timeout)[0]:
            return False
        new = self._rest + self._decode(os.read(self.ours, 65536))
        cut = re.search(r"\x1b(\[[\d;?]*)?$", new)  # what the terminal hands out may end within a sequence
        self._rest = cut[0] if cut else ""
        new = new.removesuffix(self._rest)
        self.all += new
        self.text += re.sub(r"\x1b\[[\d;]*m", "", new)  # without colours
        return True

    def resize(self, columns):
        fcntl.ioctl(self._its, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))

    def until(self, pattern, timeout=60):
        """Read until it matches what was printed since the last time."""
        deadline = time.monotonic() + timeout * PATIENCE
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < deadline, self.all[-5000:]
            self._read(1)
        self.text = self.text[found.end() :]

    def end(self, status):
        """Check that the view has ended with a status and has left the terminal as it was."""
        deadline = time.monotonic() + 30 * PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.all
            self._read(0.1)
        while self._read(0):
            pass
        assert self.process.returncode == status, self.all
        assert termios.tcgetattr(self._its) == self.before
        assert ("\x1b[?1049l" in self.all) == (self.command == ("top",)), "the screen is back"
        assert self.all.rindex("\x1b[?25h") > self.all.rindex("\x1b[?25l"), "and the cursor"
        assert "Traceback" not in self.all
        os.close(self.ours)
        os.close(self._its)


def test_a_real_job(local):
    """In a pipe, as JSON, and on a terminal: q, Ctrl-C, another size, the job's end."""
    local.environment = {**local.environment, "TERM": "xterm-256color"}
    job = local.submit(*local.shape(1, 4), "-t", "10min", local.file("computes.py", SCRIPT))
    local.until(job, lambda each: "computes" in local.log(job))
    done = local.mpidask("top")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert re.match(rf"job {job} \(computes\) on local: running, 0:0\d:\d\d elapsed, 0:0\d:\d\d left\n", done.stdout)
    assert re.search(r"^workers  2: 2 running$", done.stdout, re.MULTILINE), done
    assert re.search(r"^latest messages\n(.*\n)*computes$", done.stdout, re.MULTILINE), done
    given = json.loads(local.mpidask("top", job, "--json").stdout)
    assert (given["job"], given["state"], len(given["numbers"]["rows"])) == (job, "running", 4)
    assert {row["state"] for row in given["numbers"]["rows"]} == {"running"}
    assert "computes" in given["messages"]

    quits = Terminal(local, job)
    quits.until(r"RANK  NODE +WORKER  STATE")
    quits.resize(40)
    os.killpg(quits.process.pid, signal.SIGWINCH)  # as a terminal that is the controlling one does
    quits.until(r"RANK  STATE +CPU +MEMORY *\r?\n")
    os.write(quits.ours, b"q")
    quits.end(0)
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        interrupted = Terminal(local, job)
        interrupted.until(r"RANK  NODE")
        interrupted.process.send_signal(number)
        interrupted.end(status)
    watches, follows = Terminal(local), Terminal(local, job, command=("logs", "--follow"))
    watches.until(r"cpu +\[[█░]{20}\]")  # as a pipe has it
    watches.until(r"RANK  NODE")
    follows.until(rf"computes\r\n(.*\n)*.*job {job} \(computes\) on local: running, [\d:]+ elapsed, [\d:]+ left")
    follows.until(r"workers  2: 2 running\s+tasks +\d+ .*\s+cpu +\[.*\s+memory +\[")
    follows.until(r"\r(\x1b\[2K|\x1b\[1A)+half")  # a line that is not complete is shown with it
    local.file("stop", "")
    watches.until(rf"mpidask: job {job} has ended \(done\): exit status 0; `mpidask logs {job}`")
    watches.end(0)
    follows.until(r"\r(\x1b\[2K|\x1b\[1A)+half and half\r\n")
    follows.end(0)

    for words in ((job,), (job, "--json")):
        late = local.mpidask("top", *words)
        assert (late.returncode, f"job {job} has ended: done" in late.stderr) == (69, True), late
        assert f"remedy: `mpidask logs {job}`" in late.stderr, late
    assert json.loads(late.stdout)["numbers"] is None
    none = local.mpidask("top")
    assert (none.returncode, "no job is running" in none.stderr) == (2, True), none
    assert local.left_over() == []


@pytest.mark.thorough
def test_a_scheduler_that_only_a_tunnel_reaches(slurm):
    """It listens on the loopback of its node. Who follows a job does not need its numbers."""
    slurm.environment = {**slurm.environment, "TERM": "xterm-256color"}
    job = slurm.submit(*slurm.shape(2, 2), "-t", "10min", slurm.file("computes.py", SCRIPT))
    running = slurm.until(job, lambda each: each["workers"] == 2 and "computes" in slurm.log(job))
    assert running["dashboard_host"] in ("mn1", "mn2", "mn3", "mn4")
    done = slurm.mpidask("top", job)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert re.search(r"^workers  2: 2 running$", done.stdout, re.MULTILINE), done
    quits = Terminal(slurm, job)
    quits.until(r"RANK  NODE +WORKER  STATE")
    os.write(quits.ours, b"q")
    quits.end(0)
    follows = Terminal(slurm, job, command=("logs", "--follow"))
    follows.until(r"computes\r\n(.*\n)*.*workers  2: 2 running\s+tasks +\d+ ")
    for command in ("srun", "ssh"):
        slurm.replace(command, "#!/bin/sh\necho no way >&2\nexit 255\n")
    refused = slurm.mpidask("top", job)
    assert (refused.returncode, "ssh to mn" in refused.stderr) == (69, True), refused
    without = Terminal(slurm, job, command=("logs", "--follow"))
    without.until(r"computes\r\n(.*\n)*.*workers  2 of 2 up")
    slurm.file("stop", "")
    for each in (follows, without):
        each.until(r"half and half\r\n")
        each.end(0)
    assert slurm.left_over() == [], "nor is a tunnel"
