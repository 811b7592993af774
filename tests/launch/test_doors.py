"""Scripts that call mpidask themselves: the termination contract holds for every door as it does for the launcher."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import time
import zipfile

import pytest
from harness import MPI
from selection import some

CLIENT = "from distributed import Client\nimport os, signal, sys, time\n"

#: Ways for a script to get a cluster around its client's rank. NANNY: workers are children of their ranks.
DOORS = {
    "initialize": "import mpidask\nmpidask.initialize({options})\nif True:\n{body}",
    "initialize_no_exit": (
        "import mpidask\nif mpidask.initialize(exit=False, {options}):\n{body}\n    mpidask.send_close_signal()"
    ),
    "execute": "import mpidask\ndef main():\n{body}\nmpidask.execute(main, {options})",
    "session": "import mpidask\nwith mpidask.Session({options}) as session:\n  if session.is_client:\n{body}",
    "session_exit": "import mpidask\nwith mpidask.Session(exit=True, {options}) as session:\n{body}",
}
NANNY = "worker_class='distributed.Nanny'"


def door(name, body, options=NANNY):
    options = options.replace(NANNY, "") if name.startswith("session") else options
    return CLIENT + DOORS[name].format(body=textwrap.indent(body, "    "), options=options)


#: name -> (body, exit status, what stderr must hold, most lines on stderr besides banner and closing line)
ENDINGS = {
    "normal": ("with Client() as c: print(c.submit(sum, [1, 2]).result())", 0, "", 0),
    "client_not_closed": ("c = Client(); print(c.submit(sum, [1, 2]).result())", 0, "", 0),
    "no_client": ("print(3)", 0, "", 0),
    "exception": ("c = Client(); print(3)\nraise ValueError('no')", 1, "ValueError: no", 13),
    "exception_in_with": ("with Client() as c:\n    print(3)\n    raise ValueError('no')", 1, "ValueError: no", 14),
    "failed_task": ("print(3)\nClient().submit(divmod, 1, 0).result()", 1, "ZeroDivisionError", 26),
    "sys_exit_0": ("c = Client(); print(3); sys.exit()", 0, "", 0),
    "sys_exit_3": ("c = Client(); print(3); sys.exit(3)", 3, "", 0),
    "sys_exit_message": ("c = Client(); print(3); sys.exit('no data today')", 1, "no data today", 1),
    "system_exit_in_with": ("with Client() as c:\n    print(3)\n    raise SystemExit(7)", 7, "", 0),
    "keyboard_interrupt": ("c = Client(); print(3); raise KeyboardInterrupt", 130, "KeyboardInterrupt", 13),
    "client_shutdown": ("c = Client(); print(3); c.shutdown()", 0, "", 0),
    "threads_left": (
        "import threading\nc = Client(); print(3, flush=True)\n"
        "threading.Thread(target=time.sleep, args=(600,), name='left').start()",
        70, "error: threads that the script left did not end within 1 s and are given up: left", 2,
    ),
    "thread_pool_used": (
        "import concurrent.futures as f\np = f.ThreadPoolExecutor(2)\nprint(p.submit(sum, [1, 2]).result())", 0, "", 0
    ),
    "many_tasks_still_running": (
        "c = Client(); f = c.map(time.sleep, [600] * 20, pure=False); print(3); time.sleep(1)", 0, "", 0
    ),
    "task_holds_the_lock": (
        "def task():\n    import ctypes\n    ctypes.PyDLL(None).sleep(600)\nc = Client(); f = c.submit(task); "
        "print(3); time.sleep(1)", 0, "", 0,
    ),
    "task_left_process": (
        "def task():\n    import subprocess\n    subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "c = Client(); c.submit(task).result(); print(3)", 0, "", 0,
    ),
    "task_segfaults": (
        "def task():\n    os.kill(os.getpid(), signal.SIGSEGV)\n"
        "c = Client(); f = c.submit(task, retries=0); print(3)\nf.result()", 1, "KilledWorker", 60,
    ),
    "processes": (
        "import subprocess\nprint(subprocess.run([sys.executable, '-c', 'print(3)'], capture_output=True, text=True, "
        "check=True).stdout)", 0, "", 0,
    ),
}  # fmt: skip


#: The other doors share all with these but their own way in and out.
THROUGH = [(way, name) for way in ("initialize", "session") for name in ENDINGS]
FEWER = ["normal", "exception", "sys_exit_3", "client_not_closed", "client_shutdown", "task_holds_the_lock"]
THROUGH += [(way, name) for way in ("execute", "initialize_no_exit", "session_exit") for name in FEWER]


#: What shows of each door that it is one.
CHOSEN = [("initialize", name) for name in ("normal", "exception", "sys_exit_3")]
CHOSEN += [("execute", "exception"), ("execute", "sys_exit_3"), ("session", "exception"), ("session", "sys_exit_3")]
CHOSEN += [("session", "normal"), ("session_exit", "exception")]


@pytest.mark.parametrize(("way", "name"), some(THROUGH, CHOSEN))
def test_ending(ranks, way, name):
    body, status, text, most = ENDINGS[name]
    script = ranks.script(door(way, body))
    environ = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    if text.startswith("error: threads that the script left"):  # others end theirs, on a busy machine later
        environ["DASK_MPIDASK__THREAD_GRACE"] = "1 s"
    result = ranks.python(3, script, environ=environ, timeout=60)
    assert result.status == status, result
    assert result.stdout.strip() == "3", result
    assert text in result.stderr, result
    assert result.stderr.count("Traceback (most recent call last)") <= (most > 1), result
    assert len(result.words) <= most, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize("status", some([0, 5], [0]))
def test_os_exit_ends_the_run_in_order(ranks, status):
    script = ranks.script(door("initialize", f"c = Client(); print(3, flush=True); os._exit({status})"))
    result = ranks.python(4, script)
    assert (result.status, result.stdout, result.words) == (status, "3\n", []), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_exit_handlers_still_reach_the_cluster(ranks):
    body = "import atexit\nc = Client()\natexit.register(lambda: print(c.submit(sum, [1, 2]).result()))"
    result = ranks.python(4, ranks.script(door("initialize", body)))
    assert (result.status, result.stdout, result.words) == (0, "3\n", []), result


def test_what_only_the_interpreters_end_completes_is_completed(ranks):
    """Archives that are written when they are deleted, pools of processes that nobody has shut down."""
    body = (
        "import concurrent.futures, zipfile\nc = Client()\nz = zipfile.ZipFile('left.py', 'w')\n"
        "z.writestr('name', 'content')\npool = concurrent.futures.ProcessPoolExecutor(1)\n"
        "print(sum(pool.map(abs, [-1, -2])), flush=True)\n"
    )
    result = ranks.python(3, ranks.script(door("initialize", body)), timeout=60)
    assert (result.status, result.stdout, result.words) == (0, "3\n", []), result
    with zipfile.ZipFile(ranks.work / "left.py") as archive:
        assert archive.read("name") == b"content"
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_a_script_that_fails_is_reported_once_though_other_ranks_end_slowly(ranks):
    """Open MPI's launcher adds eight lines of its own where the rank that fails is not the last."""
    slow = "import time\nclass Slow:\n    def __del__(self, sleep=time.sleep): sleep(3)\nslow = Slow()\n"
    body = "Slow.__del__ = lambda self: None\nprint(3)\nraise KeyboardInterrupt"
    result = ranks.python(3, ranks.script(slow + door("execute", body)))
    assert (result.status, result.stdout) == (130, "3\n"), result
    assert result.words[0].startswith("Traceback"), result
    assert result.words[-1] == "KeyboardInterrupt", result


SLEEP = "c = Client()\nprint('ready', flush=True)\nfor _ in range(600):\n    time.sleep(1)"


RANKS = [
    (way, number, role)
    for way in ("initialize", "execute", "session")
    for number in (signal.SIGKILL, signal.SIGTERM)
    for role in (0, 1, 2)
]
ONE_OF_EACH = [("session", signal.SIGKILL, 0), ("initialize", signal.SIGTERM, 1), ("execute", signal.SIGKILL, 2)]


@pytest.mark.parametrize(("way", "number", "role"), some(RANKS, ONE_OF_EACH))
def test_a_rank_that_is_ended_ends_the_run(ranks, way, number, role):
    run = ranks.start(4, command=[sys.executable, ranks.script(door(way, SLEEP))])
    run.wait_for("ready")
    os.kill(run.rank(role), number)
    result = run.result(20)
    assert result.status != 0, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


SIGNALS = [(way, name) for way in ("initialize", "session") for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGKILL")]


SIGNALS += [("initialize", "SIGUSR1"), ("initialize", "SIGUSR2")]
SOME_SIGNALS = [("initialize", "SIGINT"), ("session", "SIGTERM")]


@pytest.mark.parametrize(("way", "name"), some(SIGNALS, SOME_SIGNALS))
def test_a_signal_to_mpirun_ends_everything(ranks, way, name):
    run = ranks.start(4, command=[sys.executable, ranks.script(door(way, SLEEP))])
    run.wait_for("ready")
    run.signal(getattr(signal, name))
    result = run.result(20)
    assert result.status != 0, result
    assert result.stderr.count("Traceback") <= (name == "SIGINT"), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize("role", some([0, 1], [1]))
def test_a_stopped_scheduler_or_client_ends_the_run(ranks, role):
    run = ranks.start(4, command=[sys.executable, ranks.script(door("initialize", SLEEP))])
    run.wait_for("ready")
    os.kill(run.rank(role), signal.SIGSTOP)
    result = run.result(40)
    assert result.status != 0, result
    assert "has been stopped" in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


#: name -> (arguments, exit status, what the one message says)
MISTAKES = {
    "interface": ("interface='ib7'", 69, "there is no network interface 'ib7'"),
    "worker_class": ("worker_class='no.such.Worker'", 69, "there is no worker class 'no.such.Worker'"),
    "worker_options": ("worker_options={'no_such': 1}", 69, "unexpected keyword argument 'no_such'"),
    "local_directory": ("local_directory='/proc/nowhere'", 69, "cannot be made"),
    "nthreads": ("nthreads=0", 2, "nthreads is 0"),
    "memory_limit": ("memory_limit='much'", 2, "memory_limit is 'much'"),
}


MISTAKEN = [(way, name) for way in ("initialize", "session") for name in MISTAKES]


@pytest.mark.parametrize(("way", "name"), some(MISTAKEN, [("initialize", "interface"), ("session", "worker_options")]))
def test_a_mistake_ends_all_ranks_with_one_message(ranks, way, name):
    options, status, text = MISTAKES[name]
    result = ranks.python(4, ranks.script(door(way, "print(3)", options)), timeout=30)
    assert (result.status, result.stdout) == (status, ""), result
    assert result.stderr.count(text) == 1, result
    assert result.stderr.count("mpidask: error: ") == 1, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_mistake_can_be_caught_on_all_ranks(ranks):
    script = ranks.script(
        """
        import mpidask
        from mpi4py import MPI
        try:
            mpidask.Session(interface="ib7").open()
        except mpidask.StartupError as error:
            assert "ib7" in str(error)
            print(MPI.COMM_WORLD.allreduce(1))
        """
    )
    result = ranks.python(4, script)
    assert (result.status, result.stdout.count("4"), result.words) == (0, 4, []), result
    assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_a_late_rank_is_waited_for(ranks):
    text = (
        "import os, time\nif (os.environ.get('PMI_RANK') or os.environ['OMPI_COMM_WORLD_RANK']) == '2': time.sleep(8)\n"
    )
    script = ranks.script(text + door("initialize", "print(len(Client().scheduler_info(n_workers=-1)['workers']))"))
    result = ranks.python(4, script)
    assert (result.status, result.stdout, result.words) == (0, "2\n", []), result


def test_a_rank_that_ends_before_the_meeting_ends_the_run(ranks):
    text = "import os\nif (os.environ.get('PMI_RANK') or os.environ['OMPI_COMM_WORLD_RANK']) == '2': os._exit(0)\n"
    result = ranks.python(4, ranks.script(text + door("initialize", "print('went on')")), timeout=30)
    assert result.status != 0, result
    assert "went on" not in result.stdout, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_failed_rank_does_not_leave_the_others_waiting(ranks):
    """An exception leaves the session on the client's rank while the others already wait for it in a collective."""
    script = ranks.script(
        """
        import mpidask, sys
        from mpi4py import MPI
        with mpidask.Session() as session:
            if session.is_client:
                sys.exit(3)
        MPI.COMM_WORLD.Barrier()
        """
    )
    result = ranks.python(4, script, timeout=30)
    assert result.status == 3, result
    assert "mpidask: error: rank 1 on" in result.stderr, result
    assert "has failed while other ranks wait for it" in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_a_failed_rank_of_some_ends_all(ranks):
    """An exception on a sub-communicator's client while a rank outside of it waits for everybody."""
    script = ranks.script(
        """
        import mpidask
        from mpi4py import MPI
        world = MPI.COMM_WORLD
        some = world.Split(world.rank < 3)
        if world.rank < 3:
            with mpidask.Session(comm=some) as session:
                if session.is_client:
                    raise ValueError("no")
        world.Barrier()
        """
    )
    result = ranks.python(4, script, timeout=30)
    assert result.status != 0, result
    assert result.stderr.count("ValueError: no") == 1, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_an_exception_that_is_caught_lets_all_ranks_go_on(ranks):
    script = ranks.script(
        """
        import mpidask
        from mpi4py import MPI
        def fail():
            raise ValueError
        try:
            mpidask.execute(fail)
        except ValueError:
            print("caught", flush=True)
        print(MPI.COMM_WORLD.allreduce(1))
        """
    )
    result = ranks.python(4, script, timeout=30)
    assert (result.stdout.count("4"), result.stdout.count("caught")) == (4, 1), result
    assert (result.status, result.words) == (0, []), result


@pytest.mark.thorough
def test_execute_returns_the_value_on_the_clients_rank(ranks):
    script = ranks.script(
        """
        import mpidask
        from distributed import Client
        def main(a, b, *, c=0, file=None):
            import threading
            assert threading.current_thread() is threading.main_thread()
            assert __file__.endswith("script.py")
            with Client() as client:
                return client.submit(sum, [a, b, c]).result()
        one = mpidask.execute(main, 1, b=2, c=3)
        two = mpidask.execute(client_function=main, client_args=(1,), client_kwargs={"b": 5}, client_rank=2, c=6)
        print(one, two)
        """
    )
    result = ranks.python(4, script, timeout=60)
    assert sorted(result.stdout.splitlines()) == ["6 None", "None 12", "None None", "None None"], result
    assert (result.status, result.words) == (0, []), result
    assert not ranks.leftovers(), result


def test_execute_refuses_arguments_that_the_function_does_not_take(ranks):
    script = ranks.script("import mpidask\ndef main(a): pass\nmpidask.execute(main, 1, nthread=2)")
    result = ranks.python(3, script)
    assert result.status == 2, result
    assert "main(a) cannot be called so: got an unexpected keyword argument 'nthread'" in result.stderr, result
    assert result.stderr.count("mpidask: error") == 1, result


#: Ranks, arguments, names of the workers.
ROLES = [
    (4, "client_rank=2, scheduler_rank=3", [0, 1]),
    (3, "client_rank=2, scheduler_rank=2", [0, 1]),
    (2, "client_rank=0, scheduler_rank=0, exclusive_workers=False", [0, 1]),
    (1, "client_rank=0, scheduler_rank=0, exclusive_workers=False", [0]),
    (2, "", [0]),
    (3, "exclusive_workers=False, worker_name='w'", ["w-0", "w-1", "w-2"]),
    (2, "client_rank=0, scheduler_rank=1, exclusive_workers=False, worker_class='distributed.Nanny'", [0, 1]),
]


@pytest.mark.parametrize(("n", "arguments", "workers"), some(ROLES, [ROLES[0], ROLES[-1]]))
def test_roles(ranks, n, arguments, workers):
    body = f"names = [w['name'] for w in Client().scheduler_info(n_workers=-1)['workers'].values()]\nassert sorted(names) == {workers}, names\nprint(3)"
    result = ranks.python(n, ranks.script(door("execute", body, arguments)))
    assert (result.status, result.stdout, result.words) == (0, "3\n", []), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize(
    ("n", "way", "arguments"),
    some(
        [(1, "initialize", ""), (1, "execute", ""), (3, "execute", "client_rank=3"), (1, "execute", "client_rank=0")],
        [(1, "initialize", ""), (3, "execute", "client_rank=3")],
    ),
)
def test_too_few_ranks(ranks, n, way, arguments):
    result = ranks.python(n, ranks.script(door(way, "print(3)", arguments)), timeout=20)
    assert (result.status, result.stdout) == (1, ""), result
    assert result.stderr.count("mpidask: error: a cluster with these roles needs") == 1, result
    assert "Traceback" not in result.stderr, result


@pytest.mark.thorough
def test_a_process_that_runs_the_script_again_is_told_so(ranks):
    """As multiprocessing's spawn does with a script that has no guard."""
    script = ranks.script(
        """
        import mpidask, multiprocessing, sys
        with mpidask.Session() as session:
            if session.is_client:
                process = multiprocessing.get_context("spawn").Process(target=print)
                process.start()
                process.join()
                print(process.exitcode)
        """
    )
    result = ranks.python(3, script, timeout=30)
    assert (result.status, result.stdout) == (0, "1\n"), result
    assert "a process that the script has started runs the script again" in result.stderr, result
    assert not result.leftover, result


def test_a_rank_outside_the_communicator_is_told_so(ranks):
    text = "from mpi4py import MPI\nimport mpidask\nw = MPI.COMM_WORLD\n"
    script = ranks.script(text + "c = w.Split(0 if w.rank else MPI.UNDEFINED)\nwith mpidask.Session(comm=c) as s: pass")
    result = ranks.python(4, script, timeout=30)
    assert result.status != 0, result
    assert result.stderr.count("mpidask: error: this rank is not in the communicator") == 1, result
    assert "Traceback" not in result.stderr, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


def test_a_session_works_on_one_rank_and_without_mpirun(ranks):
    script = ranks.script(
        "import mpidask\nfrom distributed import Client\nwith mpidask.Session() as s, Client(s) as c: print(c.submit(sum, [1, 2]).result())"
    )
    for n in (0, 1, 2):
        result = ranks.python(n, script)
        assert (result.status, result.stdout, result.words) == (0, "3\n", []), result
        assert not result.leftover, result
        assert not ranks.leftovers(), result


MIDDLE = """
import asyncio, os, sys
from mpi4py import MPI
import mpidask
from distributed import Client
world = MPI.COMM_WORLD
assert world.allreduce(1) == world.size
environ, argv, module = dict(os.environ), list(sys.argv), sys.modules["__main__"]
"""

AFTERWARDS = """
world.Barrier()
changed = {name for name in environ.keys() | os.environ.keys() if environ.get(name) != os.environ.get(name)}
assert not changed, changed
assert (sys.argv, sys.modules["__main__"]) == (argv, module)
total = world.allreduce(world.rank)
sys.stdout.write(f"end {total}\\n")
sys.stdout.flush()
"""

SESSIONS = {
    "twice": (
        "for turn in range(2):\n    with mpidask.Session() as session, Client(session) as client:\n"
        "        print('client', client.submit(sum, [turn, 2]).result(), flush=True)\n    world.Barrier()",
        ["client 2", "client 3"],
    ),
    "side_by_side": (
        "half = world.Split(world.rank % 2)\nwith mpidask.Session(comm=half) as session, Client(session) as client:\n"
        "    print('client', client.submit(sum, [world.rank, 2]).result(), flush=True)",
        ["client 4", "client 5"],
    ),
    "some_ranks": (
        "half = world.Split(world.rank < 3)\nif world.rank < 3:\n"
        "    with mpidask.Session(comm=half) as session, Client(session) as client:\n"
        "        print('client', client.submit(sum, [1, 2]).result(), flush=True)\n"
        "else:\n    assert half.allreduce(1) == 3",
        ["client 3"],
    ),
    "async": (
        "async def main():\n    async with mpidask.Session() as session, Client(session, asynchronous=True) as client:\n"
        "        print('client', await client.submit(sum, [1, 2]), flush=True)\nasyncio.run(main())\nasyncio.run(main())",
        ["client 3", "client 3"],
    ),
    "client_shutdown": (
        "for turn in range(2):\n    with mpidask.Session() as session, Client(session) as client:\n"
        "        print('client', client.submit(sum, [turn, 2]).result(), flush=True)\n        client.shutdown()",
        ["client 2", "client 3"],
    ),
    "shutdown_by_another": (
        "is_client = mpidask.initialize(exit=False)\nif is_client:\n    with Client() as client:\n"
        "        print('client', client.submit(sum, [1, 2]).result(), flush=True)\n        client.shutdown()",
        ["client 3"],
    ),
    "no_nanny": (
        "with mpidask.Session(nanny=False) as session, Client(session) as client:\n"
        "    print('client', client.submit(sum, [1, 2]).result(), flush=True)",
        ["client 3"],
    ),
    "inclusive": (
        "some = world.Split(world.rank < 3)\nif world.rank < 3:\n"
        "  with mpidask.Session(inclusive_workers=True, client_rank=2, comm=some) as session, Client(session) as client:\n"
        "    print('client', len(client.scheduler_info(n_workers=-1)['workers']), flush=True)",
        ["client 3"],
    ),
    "body_without_client": (
        "with mpidask.Session() as session:\n    print('client', bool(session.scheduler_address), flush=True)",
        ["client True"],
    ),
}  # fmt: skip


#: Sessions that one program has one after another: a start of six ranks takes ten times as long as any of them.
PROGRAMS = {
    "one after another": ["twice", "side_by_side", "some_ranks", "no_nanny", "inclusive", "body_without_client"],
    "shut down": ["client_shutdown", "side_by_side"],
    "shut down by another": ["shutdown_by_another"],
    "asynchronous": ["async"],
}


@pytest.mark.parametrize("name", some(PROGRAMS, ["one after another"]))
def test_in_the_middle_of_an_mpi_program(ranks, name):
    text, expected = MIDDLE, []
    for each in PROGRAMS[name]:
        session, said = SESSIONS[each]
        if each == "shutdown_by_another":
            session += "\n    environ = dict(os.environ)  # it was never closed"
        text += session + AFTERWARDS
        expected += [*said, *["end 15"] * 6]
    result = ranks.python(6, ranks.script(text), timeout=60)
    assert sorted(result.stdout.splitlines()) == sorted(expected), result
    assert (result.status, result.words) == (0, []), result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize("n", some([1, 2, 4], [2]))
def test_a_session_knows_its_dashboard(ranks, n):
    script = ranks.script(
        """
        import mpidask, time, urllib.request
        with mpidask.Session() as session:
            if session.is_client:
                for _ in range(100):
                    time.sleep(0.1)
                    try:
                        print(urllib.request.urlopen(session.dashboard_link).status)
                        break
                    except OSError:
                        pass
        """
    )
    result = ranks.python(n, script)
    assert (result.status, result.stdout, result.words) == (0, "200\n", []), result


def test_mpi_that_is_up_already_and_scripts_without_a_guard(ranks):
    """Workers' processes must neither run the script again nor initialise MPI."""
    script = ranks.script(
        """
        from mpi4py import MPI
        print("run", flush=True)
        import mpidask
        mpidask.initialize(worker_class="distributed.Nanny")
        from distributed import Client
        class Thing:
            pass
        def task(thing):
            import sys
            assert "mpi4py" not in sys.modules
            assert not hasattr(sys.modules["__main__"], "Client")
            return type(thing).__name__
        with Client() as client:
            print(client.submit(task, Thing()).result())
        """
    )
    result = ranks.python(4, script)
    assert (result.stdout.count("Thing"), result.stdout.count("run")) == (1, 4), result
    assert (result.status, result.words) == (0, []), result


@pytest.mark.thorough
def test_a_script_that_opens_a_session_runs_under_the_launcher_too(ranks):
    for way in ("initialize", "execute", "session"):
        script = ranks.script(door(way, "with Client() as c: print(c.submit(sum, [1, 2]).result())"))
        result = ranks(4, script)
        assert (result.status, result.stdout, result.words) == (0, "3\n", []), result
        assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_deprecated_arguments_warn(ranks):
    body = "print(type(Client().submit(lambda dask_worker=None: os.getppid()).result()).__name__)"
    script = ranks.script(door("initialize", body, "nanny=True"))
    result = ranks.python(3, script)
    assert (result.status, result.stdout) == (0, "int\n"), result
    assert "DeprecationWarning: nanny=True is deprecated, use worker_class='distributed.Nanny'" in result.stderr, result


@pytest.mark.thorough
def test_the_users_configuration_comes_before_kept_defaults(ranks):
    body = "print([w['nthreads'] for w in Client().scheduler_info(n_workers=-1)['workers'].values()])"
    script = ranks.script(door("initialize", body, ""))
    assert ranks.python(3, script).stdout == "[1]\n"
    assert ranks.python(3, script, environ={"DASK_MPIDASK__NTHREADS": "3"}).stdout == "[3]\n"


@pytest.mark.thorough
def test_memory_is_divided_among_all_ranks_of_the_node(ranks):
    """Two sessions side by side together have no more than what one of all ranks has."""
    text = """
    import mpidask
    from mpi4py import MPI
    from distributed import Client
    def limits(comm):
        with mpidask.Session(comm=comm) as session, Client(session) as client:
            return sum(w["memory_limit"] for w in client.scheduler_info(n_workers=-1)["workers"].values())
        return 0
    world = MPI.COMM_WORLD
    whole = world.allreduce(limits(world))
    halves = world.allreduce(limits(world.Split(world.rank % 2)))
    if world.rank == 0:
        print(0.8 < halves / whole <= 1.01, halves / whole)
    """
    result = ranks.python(6, ranks.script(text))
    assert result.stdout.startswith("True"), result


if MPI.is_mpich:

    def test_keywords_are_those_of_dask_mpi():
        """Names and defaults of dask_mpi 2026.3.0's functions."""
        import inspect

        import mpidask

        ours = {n: p.default for n, p in inspect.signature(mpidask.initialize).parameters.items()}
        assert ours == {
            "interface": None, "nthreads": 1, "local_directory": None, "memory_limit": "auto", "nanny": False,
            "dashboard": True, "dashboard_address": ":8787", "protocol": None,
            "worker_class": "distributed.Worker", "worker_options": None, "comm": None, "exit": True,
            "port_range": None,  # ours
        }  # fmt: skip
        theirs = {
            "client_function": None, "client_args": (), "client_kwargs": None, "client_rank": 1, "scheduler": True,
            "scheduler_rank": 0, "scheduler_address": None, "scheduler_port": None, "scheduler_file": None,
            "interface": None, "nthreads": 1, "local_directory": "", "memory_limit": "auto", "nanny": False,
            "dashboard": True, "dashboard_address": ":8787", "protocol": None, "exclusive_workers": True,
            "worker_class": "distributed.Worker", "worker_options": None, "worker_name": None, "comm": None,
        }  # fmt: skip
        signature = inspect.signature(mpidask.execute)
        ours = {n: p.default for n, p in signature.parameters.items() if n not in ("args", "kwargs")}
        assert ours == theirs


@pytest.mark.thorough
def test_ranks_that_are_done_wait_asleep_for_the_last(ranks):
    """In MPI_Finalize they would use a core each."""
    text = "import mpidask, os, time\nwith mpidask.Session() as s: pass\nfrom mpi4py import MPI\n"
    text += "print(f'done{MPI.COMM_WORLD.rank}', flush=True)\n"
    text += "while MPI.COMM_WORLD.rank == 3 and not os.path.exists('go.py'):\n    time.sleep(0.05)"
    run = ranks.start(4, command=[sys.executable, ranks.script(text)])
    for number in range(4):
        run.wait_for(f"done{number}")
    time.sleep(1)
    import psutil

    processes = [psutil.Process(run.rank(number)) for number in range(3)]
    before = sum(sum(p.cpu_times()[:2]) for p in processes)
    time.sleep(3)
    used = sum(sum(p.cpu_times()[:2]) for p in processes) - before
    ranks.script("", "go.py")
    result = run.result(20)
    assert used < 0.6, used
    assert (result.status, result.words) == (0, []), result
    assert not ranks.leftovers(), result


@pytest.mark.thorough
def test_the_client_goes_on_while_the_others_sleep(ranks):
    """The ranks of a session that does nothing use next to no processor time."""
    script = ranks.script(door("session", "print('ready', flush=True)\ntime.sleep(600)"))
    run = ranks.start(4, command=[sys.executable, script])
    run.wait_for("ready")
    time.sleep(1)
    import psutil

    processes = [psutil.Process(run.rank(number)) for number in range(4)]
    before = sum(sum(p.cpu_times()[:2]) for p in processes)
    time.sleep(4)
    used = sum(sum(p.cpu_times()[:2]) for p in processes) - before
    run.signal(signal.SIGTERM)
    run.result(20)
    assert used < 1.0, used
