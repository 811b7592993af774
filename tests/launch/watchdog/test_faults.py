"""What kills workers, ranks and launchers: a worker costs an attempt of its task, all else ends the run, soon."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from harness import MPI, kill_at_once, marked
from selection import some

CLIENT = "from distributed import Client\nimport os, signal, time\n"

#: A task that does something terrible at its first attempt and returns 3 at its second.
ONCE = (
    CLIENT
    + """
def task(flag):
    if not os.path.exists(flag):
        open(flag, "w").close()
        {crime}
    return 3

client = Client()
print(client.submit(task, os.path.abspath("flag.py"), pure=False).result())
"""
)

# Short sleeps: Python does not notice a signal that comes between its last look and the call that sleeps.
SLEEPER = CLIENT + "c = Client()\nprint('ready', flush=True)\nfor _ in range(600):\n    time.sleep(1)\n"

#: As long as there is no file go.py: what a test does meanwhile may take long.
UNTIL_GO = "while not os.path.exists('go.py'):\n    time.sleep(0.05)\n"

CRIMES = {
    "segfault": ("os.kill(os.getpid(), signal.SIGSEGV)", "died: signal 11 (SIGSEGV); it is started again"),
    "exit": ("os._exit(4)", "died: exit status 4; it is started again"),
    "exit_0": ("os._exit(0)", "died: exit status 0; it is started again"),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "died: signal 9 (SIGKILL); it is started again"),
    "memory": (
        "hoard = [b'x' * 20_000_000 for _ in range(60) if not time.sleep(0.05)]; time.sleep(60)",
        "GiB of memory; it is started again",
    ),
}


@pytest.mark.parametrize("name", some(CRIMES, ["segfault", "memory"]))
def test_a_worker_that_dies_costs_an_attempt(ranks, name):
    crime, text = CRIMES[name]
    script = ranks.script(ONCE.format(crime=crime))
    result = ranks(4, "--memory-limit", "600 MB", script)
    assert result.status == 0, result
    assert result.stdout == "3\n", result
    deaths = [line for line in result.words if " died: " in line]
    assert len(deaths) == 1, result
    assert text in deaths[0], result
    assert "tasks it had: task-" in deaths[0], result
    others = [line for line in result.words if line not in deaths and "distributed.worker.memory" not in line]
    assert not others, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_death_is_told_though_the_run_ends_at_once(ranks):
    late = "subprocess.Popen(['sh', '-c', f'sleep 0.3; kill -CONT {parent}']); os.kill(parent, signal.SIGSTOP)"
    crime = f"import subprocess; parent = os.getppid(); {late}; os._exit(0)"
    result = ranks(4, ranks.script(ONCE.format(crime=crime)))
    assert (result.status, result.stdout) == (0, "3\n"), result
    (death,) = result.words
    assert "died: exit status 0; it is started again; tasks it had: task-" in death, result
    assert not result.leftover, result


def test_a_task_that_kills_every_worker_fails(ranks):
    script = ranks.script(
        CLIENT + "def f(): os.kill(os.getpid(), signal.SIGSEGV)\nprint(3)\nClient().submit(f, retries=0).result()"
    )
    result = ranks(4, script, environ={"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"})
    assert result.status == 1, result
    assert "KilledWorker" in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_client_restart_is_no_death(ranks):
    result = ranks(3, ranks.script(CLIENT + "c = Client()\nc.restart()\nprint(c.submit(sum, [1, 2]).result())"))
    assert (result.status, result.stdout, result.words) == (0, "3\n", []), result


@pytest.mark.parametrize("name", some(["segfault", "exit", "killed"], ["segfault"]))
def test_without_nanny_a_crime_ends_the_run(ranks, name):
    result = ranks(4, "--no-nanny", ranks.script(ONCE.format(crime=CRIMES[name][0])), timeout=40)
    assert result.status not in (0, None), result
    assert not result.leftover, result
    assert not ranks.leftovers() or ranks.leftovers() == [str(ranks.work / "flag.py")], result


def test_without_nanny_memory_that_is_not_there_is_an_error_of_the_task(ranks):
    script = ranks.script(CLIENT + "c = Client()\nprint(3)\nc.submit(bytes, 40_000_000_000).result()")
    wrapper = ["sh", "-c", 'ulimit -v 8000000; exec "$0" "$@"', sys.executable, "-m", "mpidask", "--no-nanny", script]
    result = ranks(3, command=wrapper)
    assert result.status == 1, result
    assert "MemoryError" in result.stderr, result
    assert not result.leftover, result


#: What keeps all threads of a process from running.
HOLDS = "__import__('ctypes').PyDLL(None).sleep(600)"


@pytest.mark.thorough
@pytest.mark.parametrize("hog", some(["time.sleep(600)", HOLDS], [HOLDS]))
def test_without_nanny_a_stuck_task_does_not_hold_up_the_end(ranks, hog):
    script = CLIENT + f"def task(): {hog}\nc = Client(); f = c.submit(task)\ntime.sleep(1); print(3)"
    result = ranks(3, "--no-nanny", ranks.script(script), timeout=40)
    assert (result.status, result.stdout) == (0, "3\n"), result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize(
    ("number", "role"), some([(n, r) for n in (9, 15) for r in (0, 1, 2)], [(9, 0), (9, 2), (15, 1)])
)
def test_a_rank_that_is_ended_ends_the_run(ranks, role, number):
    run = ranks.start(4, ranks.script(SLEEPER))
    run.wait_for("ready")
    os.kill(run.rank(role), number)
    result = run.result(20)
    assert result.status != 0, result
    if number == signal.SIGTERM and role != 1:
        assert f"rank {role} (" in result.stderr, result
        assert "got SIGTERM" in result.stderr, result
        assert result.status == 143, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize("role", some([0, 1], [0]))
def test_a_stopped_scheduler_or_script_ends_the_run(ranks, role):
    run = ranks.start(4, ranks.script(SLEEPER))
    run.wait_for("ready")
    os.kill(run.rank(role), signal.SIGSTOP)
    result = run.result(40)
    assert result.status != 0, result
    assert f"rank {role} (" in result.stderr, result
    assert "has been stopped" in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize("nanny", some(["--nanny", "--no-nanny"], ["--nanny"]))
def test_a_stopped_worker_rank_does_not_hold_up_the_end(ranks, nanny):
    script = CLIENT + "c = Client()\nprint('ready', flush=True)\n" + UNTIL_GO + "raise SystemExit(6)"
    run = ranks.start(4, nanny, ranks.script(script))
    run.wait_for("ready")
    os.kill(run.rank(2), signal.SIGSTOP)
    ranks.script("", "go.py")
    result = run.result(30)
    assert result.status == 6, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize(
    "name", some(["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"], ["SIGINT", "SIGTERM", "SIGKILL"])
)
def test_a_signal_to_mpirun_ends_everything(ranks, name):
    run = ranks.start(4, ranks.script(SLEEPER))
    run.wait_for("ready")
    run.signal(getattr(signal, name))
    result = run.result(20)
    assert result.status != 0, result
    assert result.stderr.count("Traceback") <= (name == "SIGINT"), result
    if name == "SIGINT" and MPI.is_mpich:
        assert result.status == 130, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_ctrl_c_ends_everything(ranks):
    run = ranks.start(4, ranks.script(SLEEPER))
    run.wait_for("ready")
    run.signal_group(signal.SIGINT)
    result = run.result(20)
    assert result.status != 0, result
    assert result.stderr.count("Traceback") <= 1, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_the_script_may_handle_signals_itself(ranks):
    script = CLIENT + (
        "c, got = Client(), []\nsignal.signal(signal.SIGUSR1, lambda *_: got.append(c.submit(sum, [1, 2]).result()))\n"
        "print('ready', flush=True)\nwhile not got: time.sleep(0.1)\nprint(*got, 'end', sep='\\n')"
    )
    run = ranks.start(4, ranks.script(script))
    run.wait_for("ready")
    run.signal(signal.SIGUSR1)
    result = run.result(40)
    assert (result.status, result.stdout, result.words) == (0, "ready\n3\nend\n", []), result


@pytest.mark.parametrize("nanny", some(["--nanny", "--no-nanny"], ["--nanny"]))
def test_what_a_killed_run_left_is_removed_by_the_next(ranks, nanny):
    """All processes of the first run are killed at once, watchdogs too, as a batch system does."""
    run = ranks.start(3, nanny, ranks.script(SLEEPER))
    run.wait_for("ready")
    kill_at_once(marked(run.mark))
    run.kill()
    left = [name for name in ranks.leftovers() if "ompi" not in name]
    assert any("mpidask-" in name for name in left), left
    result = ranks(3, nanny, ranks.script("print(3)", "other.py"))
    assert result.status == 0, result
    after = [name for name in ranks.leftovers() if "ompi" not in name]
    assert not after, after


@pytest.mark.thorough
@pytest.mark.slow("a rank that comes 20 s late")
def test_a_late_rank_is_waited_for(ranks):
    wait = 'r="${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"; [ "$r" = 2 ] && sleep 20; exec "$0" "$@"'
    script = ranks.script(CLIENT + "print(len(Client().scheduler_info(n_workers=-1)['workers']))")
    result = ranks(4, command=["sh", "-c", wait, sys.executable, "-m", "mpidask", script], timeout=90)
    assert (result.status, result.stdout, result.words) == (0, "2\n", []), result


DEATHS = ["exit 0", "exit 1", "kill -9 $$", "exec python3 -c 'import no_such_module'"]


@pytest.mark.parametrize("death", some(DEATHS, ["exit 0", "kill -9 $$"]))
def test_a_rank_that_ends_before_mpi_is_up_ends_the_run(ranks, death):
    wrapper = f'r="${{PMI_RANK:-$OMPI_COMM_WORLD_RANK}}"; [ "$r" = 2 ] && {death}; exec "$0" "$@"'
    result = ranks(4, command=["sh", "-c", wrapper, sys.executable, "-m", "mpidask", ranks.script("")], timeout=30)
    assert result.status != 0, result
    if death == "exit 0" or (MPI.is_mpich and death != "kill -9 $$"):
        assert result.stderr.count("3 of 4 ranks are left (0, 1, 3): the others ended before MPI was up") == 1, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_rank_that_ends_is_told_where_the_first_rank_comes_late(ranks):
    """Each watchdog counts from its own start on, and the first rank's says why the run ends."""
    wrapper = 'r="${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"; [ "$r" = 2 ] && exit 0; [ "$r" = 0 ] && sleep 3; exec "$0" "$@"'
    result = ranks(4, command=["sh", "-c", wrapper, sys.executable, "-m", "mpidask", ranks.script("")], timeout=40)
    assert result.status != 0, result
    assert result.stderr.count("3 of 4 ranks are left (0, 1, 3): the others ended before MPI was up") == 1, result
    assert not result.leftover, result


#: Where ranks cannot see what the others are: in user namespaces of their own, as those of Charliecloud; there below a
#: parent without the launcher's variables, as Apptainer has one; and in pid namespaces, where Open MPI itself fails.
APART = {
    "user namespaces": ["unshare", "--user", "--map-current-user"],
    "parents without variables": ["sh", "parent.py"],
    "parents without variables, in user namespaces": ["unshare", "--user", "--map-root-user", "sh", "parent.py"],
}
if MPI.is_mpich:
    APART["pid namespaces"] = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
FORGET = """given="$(export -p)"; exec env -i given="$given" sh -c 'eval "$given"; "$@"; exit $?' sh "$@"\n"""
ADD = CLIENT + "print(Client().submit(sum, [1, 2]).result())"


@pytest.mark.parametrize("place", some(APART, ["user namespaces", "parents without variables"]))
def test_a_late_rank_that_cannot_be_seen_is_waited_for(ranks, place):
    ranks.script(FORGET, "parent.py")
    wait = 'r="${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"; [ "$r" = 2 ] && sleep 5; exec "$0" "$@"'
    words = [*APART[place], "sh", "-c", wait, sys.executable, "-m", "mpidask", ranks.script(ADD)]
    result = ranks(3, command=words, timeout=60)
    assert (result.status, result.stdout, result.words) == (0, "3\n", []), result


@pytest.mark.parametrize("place", ["user namespaces", "parents without variables"])
def test_a_rank_that_ends_before_mpi_is_up_ends_those_that_cannot_see_it(ranks, place):
    ranks.script(FORGET, "parent.py")
    wrapper = 'r="${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"; [ "$r" = 2 ] && exit 0; exec "$0" "$@"'
    words = [*APART[place], "sh", "-c", wrapper, sys.executable, "-m", "mpidask", ranks.script("")]
    result = ranks(4, command=words, timeout=40)
    assert result.status != 0, result
    # At its first look a watchdog may have seen which they are: before `sh` has given the variables up.
    said = re.findall(r"3 of 4 ranks are left(?: \(0, 1, 3\))?: the others ended before MPI was up", result.stderr)
    assert len(said) == 1, result
    # What MPI has made in /dev/shm may be younger than the last look of a watchdog: ranks start slowly here.
    assert not result.leftover, result


@pytest.mark.one_mpi  # Open MPI's launcher takes no connection of another user's
@pytest.mark.skipif("os.geteuid() != 0")
def test_a_launcher_of_another_user_is_no_lost_one_where_proc_does_not_show_it(ranks):
    """Slurm's and PALS's are root's; many sites mount /proc with hidepid. The user has no name on that node."""
    user = ["--reuid=12345", "--regid=12345", "--clear-groups", "--inh-caps=+dac_override"]
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', "sh"]
    wait = '[ "$PMI_RANK" = 2 ] && sleep 5; exec "$0" "$@"'
    words = [*hidden, MPI.mpirun, "-n", "3", "setpriv", *user, "--ambient-caps=+dac_override", "sh", "-c", wait]
    command = [*words, sys.executable, "-m", "mpidask", ranks.script(ADD)]
    result = ranks(0, command=command, environ={"USER": ""}, timeout=60)
    assert (result.status, result.stdout, result.words) == (0, "3\n", []), result


@pytest.mark.thorough
def test_a_wrapper_that_stays_is_no_lost_rank(ranks):
    words = f"{sys.executable} -m mpidask {ranks.script(CLIENT + 'print(Client().submit(sum, [1, 2]).result())')}"
    wait = 'r="${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"; [ "$r" = 2 ] && sleep 5'
    result = ranks(3, command=["sh", "-c", f"{wait}; {words}; exit $?"], timeout=60)
    assert (result.status, result.stdout, result.words) == (0, "3\n", []), result


@pytest.mark.thorough
def test_two_runs_at_once(ranks):
    script = ranks.script(CLIENT + "c = Client(); time.sleep(2); print(c.submit(sum, [1, 2]).result())")
    first, second = ranks.start(3, script), ranks.start(3, script)
    for run in (first, second):
        result = run.result(90)
        assert (result.status, result.stdout, result.words) == (0, "3\n", []), result
        assert not result.leftover, result
    time.sleep(0.1)
    assert not ranks.leftovers()


if not MPI.is_mpich:  # its launcher has no such mode: it sends SIGUSR1 to the survivors, which ends them

    @pytest.mark.parametrize("role", [0, 1, 2, 3])
    def test_a_launcher_that_goes_on_does_not_keep_a_lost_run(ranks, role):
        """As srun does by default: a rank that is killed is no reason for it to end the others.

        Rank 2 hosts all workers, rank 3 none.
        """
        script = (
            CLIENT + "c = Client()\nprint('ready', flush=True)\n" + UNTIL_GO + "print(c.submit(sum, [1, 2]).result())"
        )
        run = ranks.start(4, ranks.script(script), hosts=["--runtime-options", "recoverable,continuous"])
        run.wait_for("ready")
        os.kill(run.rank(role), signal.SIGKILL)
        if role == 3:
            run.wait_for("is lost; the run goes on without it", file="err")
            ranks.script("", "go.py")
        result = run.result(30)
        assert result.stderr.count(f"mpidask: error: rank {role} (") == (role != 3), result
        if role == 3:
            assert result.stdout == "ready\n3\n", result
            assert "mpidask: warning: rank 3 (worker) on" in result.stderr, result
            assert "is lost; the run goes on without it" in result.stderr, result
        else:
            assert "is lost; the run cannot go on without it and ends" in result.stderr, result
            assert "3" not in result.stdout, result
        assert not result.leftover, result
        assert not ranks.leftovers(), result


@pytest.mark.parametrize("name", some(["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"], ["SIGINT", "SIGKILL"]))
def test_without_mpirun_a_signal_leaves_nothing_behind(ranks, name):
    run = ranks.start(0, ranks.script(SLEEPER))
    run.wait_for("ready")
    run.signal(getattr(signal, name))
    result = run.result(20)
    number = getattr(signal, name)
    assert result.status == (-number if name == "SIGKILL" else 128 + number), result  # the script's, in order
    assert result.stderr.count("Traceback") == (name == "SIGINT"), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_rank_in_a_container_ends_with_the_process_that_stands_for_it(ranks):
    """A container runtime may start ranks from elsewhere: killed with its launcher, it leaves them behind."""
    with subprocess.Popen(["sleep", "100"]) as runtime:
        environ = {"MPIDASK_CONTAINER_PROCESS": str(runtime.pid)}
        run = ranks.start(0, ranks.script(SLEEPER), environ=environ)
        try:
            run.wait_for("ready")
        finally:
            runtime.kill()
    result = run.result(20)
    assert result.status == -signal.SIGKILL, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_lost_scheduler_beside_the_script_ends_the_run(ranks):
    import psutil

    run = ranks.start(1, ranks.script(SLEEPER))
    run.wait_for("ready")
    (servers,) = [p for p in psutil.Process(run.rank(0)).children() if "launch.servers.agent" in " ".join(p.cmdline())]
    servers.kill()
    result = run.result(20)
    assert result.status == 70, result
    assert "mpidask: error: the process with this rank's servers, on rank 0 on" in result.stderr, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result
