"""`mpidask submit`, `status`, `logs` and `cancel` on real batch systems, and on this machine without one."""

from __future__ import annotations

import functools
import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import PATIENCE

FLIGHTS = Path(__file__).parents[3] / "jobs" / "flights.py"

SCRIPT = """
import os, sys, time
from dask.distributed import Client

client = Client()
print("answer", client.submit(lambda: print("in a task") or 42).result(), *sys.argv[1:], flush=True)
"""


@functools.cache
def flights_alone():
    """Return what the script prints without mpidask: the same for every system."""
    words = [sys.executable, str(FLIGHTS)]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=120 * PATIENCE).stdout


@pytest.mark.both_mpis
def test_flights(system):
    """The main job on 2 nodes with 2 ranks each: its table, its status, and what is known of it at every stage."""
    system.file("flights.py", FLIGHTS.read_text())
    expected = flights_alone()
    assert "336,776 flights" in expected
    done = system.mpidask("submit", *system.shape(2, 2), "--follow", "flights.py", timeout=150)
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert [line for line in lines if not line.startswith("mpidask: ")] == expected.splitlines(), done
    assert not re.search(r"Traceback|rror", done.stdout + done.stderr), done
    states = re.findall(r"^mpidask: job \S+ (\w+)", done.stderr, re.MULTILINE)
    assert states[-1] == "done", done
    assert "running" in states, done
    if system.nodes > 1:
        assert re.search(r"4 ranks on .* \(\w+, \w+\)\n", done.stdout), done
    (job,) = system.status()
    assert (job["state"], job["exit_status"], job["reason"], job["system"]) == ("done", 0, None, system.name)
    assert system.left_over() == []


WHERE = """
import collections, json, os
from dask.distributed import Client

client = Client()
infos = client.scheduler_info(n_workers=-1)["workers"].values()
hosts = client.run(lambda: os.uname().nodename)
threads = sorted({info["nthreads"] for info in infos})
print(json.dumps([collections.Counter(hosts.values()), len(infos), threads, os.uname().nodename]))
"""


@pytest.mark.both_mpis
def test_every_node_hosts_as_many_workers_as_it_suggests(system):
    """By default: one rank on each node, also that of the scheduler and that of the script."""
    system.file("where.py", WHERE)
    shape, each = system.several()
    done = system.mpidask("submit", *shape, "--follow", "where.py", timeout=150)
    assert done.returncode == 0, done
    (line,) = re.findall(r"^\[\{.*", done.stdout, re.MULTILINE)
    by_host, number, threads, script_host = json.loads(line)
    assert len(by_host) == min(2, system.nodes), done
    assert set(by_host.values()) == {each}, done.stdout
    assert number == sum(by_host.values()), done
    assert threads == [len(os.sched_getaffinity(0)) // each], done
    assert script_host in by_host, done
    if shape:
        assert "2 nodes x 1 rank x 4 cores" in done.stderr, done
    assert system.left_over() == []


@pytest.mark.thorough
def test_exit_statuses_of_two_jobs_at_once(system):
    system.file("three.py", SCRIPT + "sys.exit(3)")
    system.file("raises.py", SCRIPT + "raise KeyError('no such thing')")
    jobs = [system.submit(*system.shape(1, 3), name) for name in ("three.py", "raises.py")]
    assert len(set(jobs)) == 2
    for job, status in zip(jobs, (3, 1), strict=True):
        done = system.mpidask("logs", "--follow", job, timeout=100)
        assert done.returncode == status, done
        assert "answer 42" in done.stdout, done
    assert "KeyError: 'no such thing'" in system.mpidask("logs", jobs[1]).stdout
    standings = {job["job"]: job for job in system.status()}
    assert {(standings[job]["state"], standings[job]["exit_status"]) for job in jobs} == {("failed", 3), ("failed", 1)}
    table = system.mpidask("status", jobs[1]).stdout
    assert "exit status 1" in table, table
    assert "KeyError: 'no such thing'" in table, "the last lines of a failed job's log are shown"


@pytest.mark.thorough
def test_arguments_arrive_verbatim(system):
    system.file("words.py", "import sys; print(sys.argv[1:])")
    words = ["a b", "$(touch evil)", "x;y", "'", '"', "-n", "--", "ü", "*"]
    done = system.mpidask("submit", "--wait", "words.py", *words, timeout=100)
    assert done.returncode == 0, done
    assert repr(words) in system.mpidask("logs").stdout


@pytest.mark.both_mpis
def test_cancelled_while_it_runs(system):
    system.file("sleeps.py", SCRIPT + "time.sleep(600)")
    job = system.submit(*system.shape(1, 3), "sleeps.py")
    system.until(job, lambda each: each["state"] == "running" and "answer" in system.log(job))
    system.until(job, lambda each: each["workers"] == 1)
    done = system.mpidask("cancel", job)
    assert done.returncode == 0, done
    each = system.until(job, lambda each: each["ended"])
    assert (each["state"], each["reason"]) == ("cancelled", "cancelled by you")
    assert system.left_over() == []
    again = system.mpidask("cancel", job)
    assert "has ended already" in again.stderr, again


def test_cancelled_while_it_waits(system):
    system.file("words.py", "print('ran')")
    job = system.submit(*system.hold, "words.py")
    each = system.until(job, lambda each: each["state"] in ("held", "pending") and each["native"])
    assert system.mpidask("cancel", job).returncode == 0
    each = system.until(job, lambda each: each["ended"])
    assert (each["state"], each["exit_status"], each["reason"]) == ("cancelled", None, "cancelled by you"), each
    assert "has printed nothing" in system.mpidask("logs", job).stderr


@pytest.mark.slow("a walltime of 40 s that is used up")
def test_the_walltime_ends_the_run_in_order(system):
    """Before the batch system kills it; the script is told."""
    system.file(
        "works.py",
        SCRIPT + "import mpidask\nprint('left', mpidask.time_left() > 5, flush=True)\n"
        "mpidask.on_walltime(lambda: print('told', client.submit(lambda: 1).result(), flush=True))\ntime.sleep(600)",
    )
    done = system.mpidask("submit", *system.shape(1, 3), "-t", "40s", "--follow", "works.py", timeout=100)
    assert done.returncode == 75, done
    assert "left True\n" in done.stdout, done
    assert "told 1\n" in done.stdout, done
    assert "Traceback" not in done.stdout, done
    (job,) = system.status()
    assert (job["exit_status"], job["reason"]) == (75, "the walltime was reached; the run ended gracefully")
    assert system.left_over() == []


@pytest.mark.slow("a walltime of 40 s that is used up")
def test_requeued_until_the_script_ends_by_itself(system):
    system.file(
        "resumes.py",
        SCRIPT + "n = len(open('runs', 'a+').read()) or open('runs').read().count('x')\n"
        "open('runs', 'a').write('x')\nprint('run', n, flush=True)\nif n < 1:\n    time.sleep(600)\nsys.exit(4)",
    )
    done = system.mpidask("submit", "-t", "40s", "--requeue", "--follow", "resumes.py", timeout=150)
    assert done.returncode == 4, done
    assert "submitted again as job" in done.stdout, done
    assert re.findall(r"^run \d", done.stdout, re.MULTILINE) == ["run 0", "run 1"], done
    (job,) = system.status()
    assert (job["state"], job["exit_status"]) == ("failed", 4)
    assert job["submissions"] >= 2, "once more where a busy machine did not come to start the script"


@pytest.mark.thorough
@pytest.mark.slow("two walltimes of 30 s that are used up")
def test_requeueing_is_bounded(system):
    system.file("sleeps.py", "import time; time.sleep(600)")
    done = system.mpidask(
        "submit", "-t", "30s", "--requeue", "--requeue-limit", "1", "--follow", "sleeps.py", timeout=150
    )
    assert done.returncode == 75, done
    assert "submitted 2 times, which is the limit" in done.stdout, done
    assert system.status()[0]["submissions"] == 2


def test_a_broken_prologue(system):
    system.file("words.py", "print('ran')")
    done = system.mpidask(
        "submit", "--prologue", "echo no such module >&2", "--prologue", "exit 4", "--wait", "words.py", timeout=60
    )
    assert done.returncode == 4, done
    assert "no such module" in done.stderr, "what the job printed is shown"


def test_an_unknown_queue_is_refused_in_plain_words(system):
    if system.name == "local":
        done = system.mpidask("submit", "--queue", "nosuch", "--dry-run", __file__)
        assert (done.returncode, "this machine has no option for queue" in done.stderr) == (2, True), done
        return
    system.file("words.py", "print('ran')")
    done = system.mpidask("submit", "-q", "nosuch", "words.py")
    assert done.returncode == 69, done
    for part in ("no such queue", "no such partition"):
        if part in done.stderr:
            break
    else:
        raise AssertionError(done)
    script = re.search(r"^mpidask: script: (.*)", done.stderr, re.MULTILINE)[1]
    assert f"mpidask: command: {system.submits_with}" in done.stderr, done
    assert "mpidask: exit status: " in done.stderr, done
    assert re.search(r"^mpidask: std(err|out): ", done.stderr, re.MULTILINE), done
    assert system.run("cat", script).stdout.startswith("#!"), "the script is kept"


def test_a_job_that_can_never_start_says_why(system):
    arguments, words = system.never
    system.file("words.py", "print('ran')")
    done = system.mpidask("submit", *arguments, "words.py")
    if done.returncode == 0:
        job = done.stdout.strip()
        each = system.until(job, lambda each: re.search(words, each["reason"] or ""), timeout=60)
        assert each["state"] == "pending", each
    else:
        assert re.search(words, done.stderr), done


def test_logs_by_rank_and_worker_after_the_end(system):
    system.file("works.py", SCRIPT)
    job = system.submit(*system.shape(1, 4), "works.py")
    system.until(job, lambda each: each["state"] == "done")
    log = system.mpidask("logs", job).stdout
    assert "answer 42" in log, log
    assert "in a task" not in log, log
    by_rank = {rank: system.mpidask("logs", job, "--rank", str(rank)).stdout for rank in (1, 2, 3)}
    assert by_rank[1] == log, "the script's rank prints to the job's log"
    assert sum("in a task" in text for text in by_rank.values()) == 1, by_rank
    assert system.mpidask("logs", job, "--worker", "2").stdout == by_rank[2]
    unknown = system.mpidask("logs", job, "--worker", "9")
    assert (unknown.returncode, "there are: 2, 3" in unknown.stderr) == (2, True), unknown


def test_interrupting_asks_whether_to_cancel(system):
    system.file("sleeps.py", SCRIPT + "time.sleep(600)")
    system.environment = {**system.environment, "TERM": "xterm"}
    master, slave = pty.openpty()
    process = system.start("submit", "--follow", "sleeps.py", terminal=slave)
    os.close(slave)
    screen = ""
    deadline = time.monotonic() + 90 * PATIENCE
    asked = answered = False
    while time.monotonic() < deadline:
        try:
            new = os.read(master, 4096).decode(errors="replace")
        except OSError:
            break
        screen += new
        if "answer 42" in screen and "running" in screen and not asked:
            asked = True
            os.killpg(process.pid, signal.SIGINT)
        if asked and not answered and "cancel job" in screen:
            answered = True
            os.write(master, b"y\n")
    assert process.wait(timeout=20 * PATIENCE) == 130, screen
    assert "is cancelled" in screen, screen
    (job,) = system.status()
    each = system.until(job["job"], lambda each: each["ended"])
    assert each["reason"] == "cancelled by you", each
    assert system.left_over() == []


def test_from_python(system):
    """The same words as an interface for programs, also with an event loop."""
    program = """
import asyncio, sys
from mpidask import batch

def job(code, **more):
    return batch.Job(command=(sys.executable, "-c", code), resources=batch.Resources(), **more)

handle = batch.submit(job("print('here')"))
print(handle.wait(timeout=180), handle.state, handle.exit_status, handle.logs().strip())
assert batch.find(handle.id).name == handle.name

async def main():
    one, other = await asyncio.gather(*(batch.submit_async(job(f"raise SystemExit({n})")) for n in (5, 6)))
    print(await one.wait(timeout=180), await other.wait(timeout=180), one.state)
    third = await batch.submit_async(job("import time; time.sleep(600)"))
    await third.cancel()
    await third.wait(timeout=180)
    print(third.state, third.reason)

asyncio.run(main())
"""
    done = system.run(system.python, system.file("program.py", program), timeout=150)
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == [
        "0 JobState.DONE 0 here",
        "5 6 JobState.FAILED",
        "JobState.CANCELLED cancelled by you",
    ], done


def test_the_table_and_the_values_for_programs(system):
    assert "no jobs" in system.mpidask("status").stdout
    assert json.loads(system.mpidask("status", "--json").stdout) == []
    unknown = system.mpidask("status", "4711")
    assert (unknown.returncode, "there is no job '4711'" in unknown.stderr) == (2, True), unknown
