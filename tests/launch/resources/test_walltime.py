"""The walltime: a script is told of its end, and ended, before the batch system does it."""

from __future__ import annotations

import sys
import threading
import time
from types import SimpleNamespace

import pytest
from harness import PATIENCE
from selection import some

import mpidask
from mpidask import run_directory
from mpidask.errors import UsageError, WalltimeError
from mpidask.launch.resources import walltime
from mpidask.launch.script import walltime_alarm

pytestmark = pytest.mark.one_mpi

MPIDASK = [sys.executable, "-c", "import sys; sys.argv[0] = 'mpidask'; from mpidask.cli import main; main()"]

#: What a script does to be warned: as if the batch system's signal had arrived.
WARN = f"open(os.environ[{run_directory.WARNING!r}], 'w').close()\n"
START = "import os, sys, threading, time\nimport mpidask\nfrom distributed import Client\n"


@pytest.fixture
def warned(ranks):
    """Return the environment of a job whose end is not known, but of which the batch system warns."""
    return {run_directory.WARNING: str(ranks.directory / "warning")}


def ending_in(seconds):
    """Return the environment of a job that has so much time left."""
    return {run_directory.END: str(time.time() + seconds)}


def check(ranks, result, status, *words):
    """The run has ended with that status and says these things, each in a line, and has left nothing."""
    assert result.status == status, result
    assert len(result.words) == len(words), result
    for line, word in zip(result.words, words, strict=True):
        assert word in line, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


# ------------------------------------------------------------------------ parts
@pytest.fixture
def job(monkeypatch):
    """Return what sets the variables of a job, and only these."""

    def put(**environ):
        for name in walltime.SHARED:
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, str(value))

    put()
    return put


def test_the_time_left(job):
    assert mpidask.time_left() is None
    job(MPIDASK_END_TIME=time.time() + 100)
    assert 90 < mpidask.time_left() <= 100
    job(SLURM_JOB_END_TIME=int(time.time()) + 100)
    assert 90 < mpidask.time_left() <= 100
    job(MPIDASK_END_TIME=time.time() + 1000, SLURM_JOB_END_TIME=int(time.time()) + 100)
    assert 990 < mpidask.time_left() <= 1000
    job(MPIDASK_END_TIME=time.time() - 100)
    assert mpidask.time_left() == 0
    job(MPIDASK_END_TIME="", SLURM_JOB_END_TIME="unknown")
    assert mpidask.time_left() is None


@pytest.mark.parametrize("text", ["soon", "nan", "inf", "1 h"])
def test_an_end_that_cannot_be_read(job, text):
    job(MPIDASK_END_TIME=text)
    with pytest.raises(UsageError, match="MPIDASK_END_TIME"):
        mpidask.time_left()


def test_too_little_time_is_said_at_the_start(job):
    walltime.check()
    job(MPIDASK_END_TIME=time.time() + 60)
    walltime.check()
    for left in (-100, 0, 3):
        job(MPIDASK_END_TIME=time.time() + left)
        with pytest.raises(WalltimeError) as raised:
            walltime.check()
        assert raised.value.status == 75
        assert "unset MPIDASK_END_TIME" in raised.value.remedy


def test_slurm_s_end_may_be_older_than_the_job_s_limit(job):
    job(SLURM_JOB_END_TIME=int(time.time()) - 100)
    with pytest.raises(WalltimeError) as raised:
        walltime.check()
    assert "unset SLURM_JOB_END_TIME" in raised.value.remedy


def test_the_clock(job, tmp_path):
    warning = tmp_path / "warning"
    assert not walltime.Clock(60).runs
    job(MPIDASK_END_TIME=time.time() + 1000)
    clock = walltime.Clock(60)
    assert (clock.runs, clock.margin, clock.is_due(), clock.pause()) == (True, 60, False, 60)
    assert walltime.Clock(10_000).margin == pytest.approx(250, abs=1)
    assert not walltime.Clock(0).runs
    job(MPIDASK_END_TIME=time.time() + 40, MPIDASK_WALLTIME_WARNING=warning)
    clock = walltime.Clock(60)
    assert clock.margin == pytest.approx(10, abs=0.5)
    assert (clock.is_due(), clock.pause()) == (False, 1)
    warning.touch()
    assert clock.is_due()
    job(MPIDASK_WALLTIME_WARNING=warning)
    assert walltime.Clock(60).margin == 60


def test_nothing_runs_where_nothing_is_known(job):
    before = threading.enumerate()
    bell = walltime_alarm.Alarm(60, None, None)
    bell.set()
    assert not set(threading.enumerate()) - set(before)
    bell.stop()


def test_a_job_that_was_suspended_past_its_end_ends_in_order(job, monkeypatch, capsys):
    """Its batch system gives it the time later: callbacks and the script have theirs."""
    job(MPIDASK_END_TIME=time.time() + 3)
    deadlines, ended = [], []
    bell = walltime_alarm.Alarm(1, SimpleNamespace(end_within=deadlines.append), ended.append)
    waits = bell._stopped.wait
    monkeypatch.setattr(bell._stopped, "wait", lambda seconds: waits(seconds + 6 * (not deadlines)))
    bell._watch()
    assert (deadlines[-1] > 0.5, ended) == (True, [75])
    assert "is given up" in capsys.readouterr().err


# --------------------------------------------------------------------- the script
def test_script_and_tasks_know_the_time_left(ranks):
    script = (
        START
        + "with Client() as c:\n    print(mpidask.time_left() // 100, c.submit(mpidask.time_left).result() // 100)"
    )
    result = ranks(4, ranks.script(script), environ=ending_in(995))
    assert result.stdout == "9.0 9.0\n", result
    check(ranks, result, 0)


WAITS = {
    "sleep": "time.sleep(100)",
    "gather": "c.gather(c.map(time.sleep, [100]))",
    "lock": "threading.Lock().__enter__(); lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "loop": "spin()",
    "asynchronous": "import asyncio; asyncio.run(asyncio.sleep(100))",
}


@pytest.mark.both_mpis
@pytest.mark.parametrize("name", some(WAITS, ["gather", "lock", "loop"]))
def test_a_script_is_ended_whatever_it_waits_for(ranks, warned, name):
    """Callback, `finally` and exit handlers still reach the cluster; `except Exception` does not keep it."""
    script = f"""
import atexit
c = Client()

def spin():
    while True:
        pass

atexit.register(lambda: print("exit handler", c.submit(sum, [1, 2]).result()))

@mpidask.on_walltime
def save():
    print("callback", c.submit(sum, [3, 4]).result(), threading.current_thread() is threading.main_thread(), flush=True)

try:
    {WARN}
    while True:
        try:
            {WAITS[name]}
        except Exception as error:
            print("goes on", error)
finally:
    print("finally", c.submit(sum, [5, 6]).result())
"""
    result = ranks(4, "--walltime-margin", "60 s", ranks.script(START + script), environ=warned)
    assert result.stdout == "callback 7 False\nfinally 11\nexit handler 3\n", result
    check(ranks, result, 75, "script is told (1 callback)", "error: the batch system warns", "remedy")


def test_a_script_that_does_not_let_itself_be_ended(ranks, warned):
    script = f"""
while True:
    try:
        {WARN}
        time.sleep(100)
    except BaseException as e:
        print(repr(e), flush=True)
"""
    result = ranks(4, "--walltime-margin", "20 s", ranks.script(START + script), environ=warned)
    assert result.stdout == "SystemExit(75)\n", result
    check(ranks, result, 75, "error: ", "remedy: ", "did not end within 5 s")


@pytest.mark.thorough
def test_an_exit_handler_that_does_not_end(ranks, warned):
    """The warning comes when the exit handlers run: before, it would end the script with a status of its own."""
    script = f"import atexit\natexit.register(time.sleep, 100)\n@atexit.register\ndef warn():\n    {WARN}\nsys.exit(3)"
    result = ranks(4, "--walltime-margin", "20 s", ranks.script(START + script), environ=warned)
    check(ranks, result, 3, "did not end within 5 s")


@pytest.mark.thorough
@pytest.mark.both_mpis
def test_a_script_that_holds_the_interpreter_lock(ranks):
    """Nothing of Python runs then: the watchdog ends it."""
    environ = ending_in(40)
    result = ranks(4, ranks.script("import ctypes\nctypes.PyDLL(None).sleep(100)"), environ=environ)
    assert time.time() < float(environ[run_directory.END]) + 20, result
    assert result.status in (9, 137), result
    assert "did not end in time and is killed" in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_the_end_that_the_job_knows(ranks):
    """Well before it all callbacks are called, also after one that fails."""
    script = """
mpidask.on_walltime(lambda: 1 / 0)
mpidask.on_walltime(lambda: print("second", flush=True))
time.sleep(100)
"""
    environ = ending_in(60)
    result = ranks(4, ranks.script(START + script), environ=environ)
    assert time.time() < float(environ[run_directory.END]), result
    assert (result.status, result.stdout) == (75, "second\n"), result
    assert "s; the script is told (2 callbacks)" in result.words[0], result
    assert result.stderr.count("Traceback") == 1, result
    assert "ZeroDivisionError: division by zero" in result.words, result
    assert sum("error: the walltime ends in" in line for line in result.words) == 1, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_script_that_ends_by_itself_keeps_its_status(ranks, warned):
    """A callback that waits for the script lets it."""
    begin = """
told, done = threading.Event(), threading.Event()
mpidask.on_walltime(lambda: (told.set(), done.wait()))
"""
    end = """
told.wait()
time.sleep(1)
threading.Thread(target=lambda: (threading.main_thread().join(), done.set())).start()
sys.exit(3)
"""
    script = START + begin + WARN + end
    result = ranks(4, "--walltime-margin", "60 s", ranks.script(script), environ=warned)
    check(ranks, result, 3, "script is told (1 callback)")


@pytest.mark.thorough
def test_callbacks_that_do_not_end(ranks, warned):
    script = START + "mpidask.on_walltime(lambda: time.sleep(100))\n" + WARN + "time.sleep(100)"
    result = ranks(4, "--walltime-margin", "20 s", "--thread-grace", "0 s", ranks.script(script), environ=warned)
    words = (
        "(1 callback)",
        "callbacks did not end within 10 s",
        "error: ",
        "remedy: ",
        "threads that the script left",
        "",
    )
    check(ranks, result, 75, *words)


@pytest.mark.thorough
@pytest.mark.both_mpis
def test_one_rank(ranks, warned):
    script = START + "c = Client()\n" + WARN + "c.submit(time.sleep, 100).result()"
    result = ranks(1, "--walltime-margin", "60 s", ranks.script(script), environ=warned)
    check(ranks, result, 75, "error: ", "remedy: ")


DOORS = {
    "initialize": "mpidask.initialize()\n{body}",
    "execute": "def client():\n    {body}\nmpidask.execute(client)",
    "session": "with mpidask.Session() as s, Client(s):\n    {body}\nprint('goes on')",
}


@pytest.mark.both_mpis
@pytest.mark.parametrize("name", some(DOORS, ["initialize", "session"]))
def test_scripts_that_call_us(ranks, warned, name):
    script = START + DOORS[name].format(body=f"{WARN.strip()}; Client().submit(time.sleep, 100).result()")
    environ = {**warned, "DASK_MPIDASK__WALLTIME_MARGIN": "60 s"}
    result = ranks.python(4, ranks.script(script), environ=environ)
    assert result.status == 75, result
    assert "Traceback" not in result.stderr, result
    assert "error: the batch system warns" in result.words[0], result
    assert result.stderr.count("remedy: ") == 1, result
    assert "did not end" not in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_a_session_that_is_over_is_not_watched(ranks, warned):
    script = (
        "import signal\n"
        f"before = signal.getsignal({walltime_alarm.SIGNAL})\n"
        "with mpidask.Session() as s, Client(s):\n"
        "    pass\n"
        f"assert signal.getsignal({walltime_alarm.SIGNAL}) == before\n" + WARN + "time.sleep(2)"
    )
    result = ranks.python(4, ranks.script(START + script), environ=warned)
    check(ranks, result, 0)


# ----------------------------------------------------------------- without a script
def test_a_cluster_without_a_script(ranks, warned):
    file = ranks.directory / "cluster.json"
    words = ["serve", "--walltime-margin", "60 s", "--scheduler-file", str(file)]
    run = ranks.start(3, command=[*MPIDASK, *words], environ=warned)
    deadline = time.monotonic() + 30 * PATIENCE
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(1)
    open(warned[run_directory.WARNING], "w").close()
    result = run.result(20)
    check(ranks, result, 75, "the cluster is ended", "remedy: ")
    assert "the cluster ended with status 75" in result.stderr, result
    assert not file.exists()


# ------------------------------------------------------------------ at the start
@pytest.mark.parametrize(
    ("end", "status", "word"),
    [
        (lambda: time.time() - 10, 75, "error: the walltime is over"),
        (lambda: time.time() + 3, 75, "error: the walltime"),
        (lambda: "soon", 2, "error: MPIDASK_END_TIME is 'soon'"),
    ],
)
def test_no_script_is_started(ranks, end, status, word):
    environ = {run_directory.END: str(end())}
    result = ranks(4, ranks.script("print('started')"), environ=environ)
    assert not result.stdout, result
    check(ranks, result, status, word, "remedy: ")


def test_no_cluster_is_started_either(ranks):
    result = ranks.python(4, ranks.script(START + "mpidask.initialize()\nprint('started')"), environ=ending_in(-10))
    assert not result.stdout, result
    check(ranks, result, 75, "error: the walltime is over", "remedy: ")


def test_help_needs_no_time(ranks):
    result = ranks(1, "--version", environ=ending_in(-10))
    assert (result.status, result.words) == (0, []), result
