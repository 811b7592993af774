"""Clusters of per-worker jobs on real batch systems, and on this machine without one: what scenarios.py does."""

from __future__ import annotations

import concurrent.futures
import contextlib
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness import PATIENCE

pytestmark = pytest.mark.one_mpi

SCENARIOS = Path(__file__).parents[1] / "scenarios.py"

#: A command that lists the user's jobs which wait or run.
QUEUES = {
    "slurm": ["squeue", "--noheader", "--me"],
    "torque": ["squeue", "--noheader", "--me"],
    "sge": ["qstat"],
    "oar": ["oarstat", "-u"],
}


def play(system, scenario, status=0, timeout=150):
    """Run a scenario to its end; nothing of it is left over."""
    script = system.file("scenarios.py", SCENARIOS.read_text())
    done = system.run(system.python, script, scenario, system.name, timeout=timeout)
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    assert system.left_over() == []
    if system.name in QUEUES:
        deadline = time.monotonic() + 20 * PATIENCE  # Grid Engine lists a job for a while whose script has ended
        while waits_or_runs(system) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert waits_or_runs(system) == "", "the queue is empty"
    return done


def waits_or_runs(system):
    """Return what the batch system lists of the user's jobs."""
    listed = system.run(*QUEUES[system.name]).stdout
    return "\n".join(line for line in listed.splitlines() if re.match(r"\s*\d+", line))


def test_a_day(system):
    done = play(system, "a_day")
    assert "Traceback" not in done.stderr, done.stderr


def test_within_a_firewall(system):
    play(system, "within_a_firewall")


@pytest.mark.thorough
def test_a_broken_prologue(system):
    done = play(system, "a_broken_prologue")
    assert done.stderr.count("ended before its workers came") == 3, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.thorough
def test_jobs_of_tcsh(system):
    play(system, "jobs_of_tcsh")


def test_a_refusal(system):
    play(system, "a_refusal")


@pytest.mark.both_mpis
def test_several_nodes(system):
    play(system, "several_nodes")


@pytest.mark.thorough
def test_kinds_of_workers(system):
    play(system, "kinds_of_workers")


def test_with_keys(system):
    assert "TLS is off" not in play(system, "with_keys").stderr


@pytest.mark.thorough
def test_strangers(system):
    play(system, "strangers")


@pytest.mark.thorough
def test_without_keys(system):
    assert play(system, "without_keys").stderr.count("TLS is off: whoever can connect to tcp://") == 3


def test_a_scheduler_in_a_job(system):
    assert "without tasks it ends after 1 h" in play(system, "a_scheduler_in_a_job").stderr


def test_killed(system):
    done = play(system, "killed", status=-signal.SIGKILL)
    assert "ready" in done.stdout
    assert not list(system.directory.glob("shared/.*")), "the sentinel has removed the keys"
    assert not list(system.directory.glob("state/mpidask/clusters/*/.*"))


def test_killed_with_its_sentinel(system):
    """Nobody is left to cancel the jobs but the user."""
    script = system.file("scenarios.py", SCENARIOS.read_text())
    done = system.run(system.python, script, "killed_with_its_sentinel", system.name, timeout=150)
    assert done.returncode == -signal.SIGKILL, done
    assert waits_or_runs(system).count("\n") == 1, "two jobs are left"
    done = system.mpidask("cancel", "--orphans")
    assert done.returncode == 0, done
    assert done.stderr.count("is cancelled") == 2, done
    assert system.left_over() == []
    assert not list(system.directory.glob("state/mpidask/clusters/*/.*")), "nor are keys left"
    assert "there are no orphans" in system.mpidask("cancel", "--orphans").stderr


def test_busy(system):
    play(system, "busy")


@pytest.mark.thorough
def test_a_requeued_job(system):
    play(system, "a_requeued_job")


@contextlib.contextmanager
def dead_end(system, node):
    """Give a node an interface of the faster kind, which leads nowhere and is where the way to the Internet begins."""

    def ip(words, *, check=True):
        # On the node, not by its name: other tests may have started it, in a mount namespace that this one is not in.
        done = system.on_node(node, "ip", *words.split())
        assert done.returncode == 0 or not check, done

    ip("link del ib0", check=False)  # of a test that was killed
    ip("link add ib0 type bridge")
    try:
        ip("addr add 10.255.4.1/24 dev ib0")
        ip("link set ib0 up")
        ip("route replace default via 10.255.4.254 dev ib0")
        yield
    finally:
        ip("link del ib0")
        ip("route replace default via 10.177.0.254 dev eth0")


def test_an_address_that_leads_nowhere(system):
    script = system.file("scenarios.py", SCENARIOS.read_text())
    with dead_end(system, "mn4"):
        scenario = [system.python, f"{system.directory}/{script}", "an_address_that_leads_nowhere", system.name]
        done = system.run_on("mn4", *scenario, timeout=200)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert system.left_over() == []


def test_a_lost_node(system):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        playing = pool.submit(play, system, "a_lost_node", timeout=200)
        first = system.directory / "first"
        while not first.exists() or not first.read_text():
            assert not playing.done(), playing.result()
            time.sleep(0.2)
        node = system.run("squeue", "-h", "-j", first.read_text(), "-o", "%N").stdout.strip()
        try:
            down = ["scontrol", "update", f"nodename={node}", "state=down", "reason=test"]
            subprocess.run(down, check=True, timeout=60)
            playing.result()
        finally:
            subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False, timeout=60)


@pytest.mark.thorough
def test_an_exception(system):
    done = play(system, "an_exception", status=1)
    assert "RuntimeError: as if by mistake" in done.stderr


@pytest.mark.slow("a load that comes and goes while jobs are held")
def test_waiting(system):
    play(system, "waiting")


@pytest.mark.slow("five bursts of a load that comes and goes")
def test_bursts(system):
    play(system, "bursts", timeout=200)


@pytest.mark.slow("jobs of a minute, until others have replaced them")
def test_lifetimes(system):
    play(system, "lifetimes")
