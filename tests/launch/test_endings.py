"""The termination contract: however a script ends, every rank is gone within seconds, with the right exit status."""

from __future__ import annotations

import pytest
from selection import some

CLIENT = "from distributed import Client\n"

#: name -> (script, exit status, what stderr must hold, most lines on stderr besides banner and closing line)
SCRIPT_ENDINGS = {
    "with_client": (CLIENT + "with Client() as c: print(c.submit(sum, [1, 2]).result())", 0, "", 0),
    "client_not_closed": (CLIENT + "c = Client(); print(c.submit(sum, [1, 2]).result())", 0, "", 0),
    "compute_without_client": (
        "import dask\nfrom distributed import get_worker\n"
        "print(3 if dask.delayed(lambda: get_worker().name)().compute() in (2, 3) else None)",
        0, "", 0,
    ),
    "no_dask_at_all": ("print(3)", 0, "", 0),
    "exception_before_client": ("print(3); 1 / 0", 1, "ZeroDivisionError", 5),
    "exception_after_client": (CLIENT + "c = Client(); print(c.submit(sum, [1, 2]).result()); 1 / 0", 1, "ZeroDiv", 5),
    "exception_in_with": (CLIENT + "with Client() as c: print(3); raise ValueError('x')", 1, "ValueError: x", 5),
    "failed_task": (CLIENT + "print(3); Client().submit(divmod, 1, 0).result()", 1, "ZeroDivisionError", 18),
    "sys_exit_3": (CLIENT + "import sys; c = Client(); print(3); sys.exit(3)", 3, "", 0),
    "sys_exit_message": ("import sys; print(3); sys.exit('no data today')", 1, "no data today", 1),
    "sys_exit_none": ("import sys; print(3); sys.exit()", 0, "", 0),
    "os_exit_5": (CLIENT + "import os; c = Client(); print(3, flush=True); os._exit(5)", 5, "", 0),
    "os_exit_0": (CLIENT + "import os; c = Client(); print(3, flush=True); os._exit(0)", 0, "", 0),
    "keyboard_interrupt": (CLIENT + "c = Client(); print(3); raise KeyboardInterrupt", 130, "KeyboardInterrupt", 5),
    "system_exit_in_with": (CLIENT + "with Client() as c: print(3); raise SystemExit(7)", 7, "", 0),
    "syntax_error": ("print(3\n", 1, "SyntaxError", 5),
    "client_shutdown": (CLIENT + "c = Client(); print(3); c.shutdown()", 0, "", 0),
    "client_shutdown_then_fail": (CLIENT + "c = Client(); print(3); c.shutdown(); raise SystemExit(4)", 4, "", 0),
    "atexit_computes": (
        CLIENT + "import atexit\nc = Client()\natexit.register(lambda: print(c.submit(sum, [1, 2]).result()))", 0, "", 0
    ),
    "thread_pool_used": (
        "import concurrent.futures as f\np = f.ThreadPoolExecutor(2)\nprint(p.submit(sum, [1, 2]).result())", 0, "", 0
    ),
    "threads_scheduler": (
        "import dask\nprint(dask.delayed(sum)([1, 2]).compute(scheduler='threads'))", 0, "", 0
    ),
    "processes_in_script": (
        "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(3)'], capture_output=True, "
        "text=True, check=True).stdout)", 0, "", 0,
    ),
    "asynchronous_client": (
        CLIENT + "import asyncio\nasync def main():\n    async with Client(asynchronous=True) as c:\n"
        "        print(await c.submit(sum, [1, 2]))\nasyncio.run(main())", 0, "", 0,
    ),
    "unpicklable_task": (
        CLIENT + "import threading\nc = Client(); print(3)\nc.submit(lambda lock: 1, threading.Lock()).result()",
        1, "Could not serialize", 150,
    ),
    "much_output": (
        CLIENT + "def talk(i):\n    print('x' * 100_000)\nc = Client(); c.gather(c.map(talk, range(100))); print(3)",
        0, "", 0,
    ),
    "threads_left": (
        CLIENT + "import threading, time\nc = Client(); print(3, flush=True)\n"
        "threading.Thread(target=time.sleep, args=(600,), name='left').start()",
        70, "error: threads that the script left did not end within 1 s and are given up: left", 2,
    ),
    "many_tasks_still_running": (
        CLIENT + "import time\nc = Client(); f = c.map(time.sleep, [600] * 20, pure=False); print(3); time.sleep(1)",
        0, "", 0,
    ),
    "task_left_thread": (
        CLIENT + "import threading, time\ndef task():\n"
        "    threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "c = Client(); c.submit(task).result(); print(3)", 0, "", 0,
    ),
    "task_left_process": (
        CLIENT + "import subprocess\ndef task():\n    subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "c = Client(); c.submit(task).result(); print(3)", 0, "", 0,
    ),
    "task_holds_the_lock": (
        CLIENT + "import time\ndef task():\n    import ctypes\n    ctypes.PyDLL(None).sleep(600)\n"
        "c = Client(); f = c.submit(task); print(3); time.sleep(1)", 0, "", 0,
    ),
    "reads_stdin": ("import sys; print(3, repr(sys.stdin.read()))", 0, "", 0),
    "signal": (
        CLIENT + "import os, signal\nc = Client(); print(3, flush=True)\nos.kill(os.getpid(), signal.SIGTERM)",
        143, "error: the script was ended by SIGTERM", 1,
    ),
    "segmentation_fault": (
        CLIENT + "import os, signal\nc = Client(); print(3, flush=True)\nos.kill(os.getpid(), signal.SIGSEGV)",
        139, "error: the script was ended by SIGSEGV", 1,
    ),
    "asks_for_input": ("print(3); input()", 1, "EOFError", 5),
}  # fmt: skip

#: Dask chains what went wrong when it pickled a task.
TRACEBACKS = {"unpicklable_task": 8}


#: Cases of which another one shows the same, but for what Python itself does.
REPEATED = {
    "exception_before_client", "exception_in_with", "sys_exit_none", "os_exit_5", "system_exit_in_with",
    "client_shutdown_then_fail", "thread_pool_used", "threads_scheduler", "processes_in_script", "task_left_thread",
    "asks_for_input", "sys_exit_message", "client_not_closed", "compute_without_client", "many_tasks_still_running",
    "failed_task", "unpicklable_task", "reads_stdin", "segmentation_fault",
}  # fmt: skip


@pytest.mark.parametrize("name", some(SCRIPT_ENDINGS, SCRIPT_ENDINGS.keys() - REPEATED))
def test_script_ending(ranks, name):
    script, status, text, most = SCRIPT_ENDINGS[name]
    grace = ["--thread-grace", "1 s"] if name == "threads_left" else []  # others end theirs, on a busy machine later
    result = ranks(4, *grace, ranks.script(script))
    assert result.status == status, result
    if name != "syntax_error":
        assert "3" in result.stdout, result
    assert text in result.stderr, result
    assert result.stderr.count("Traceback (most recent call last)") <= TRACEBACKS.get(name, most > 1), result
    assert len(result.words) <= most, result
    assert not result.leftover, result
    assert not ranks.leftovers(), result


@pytest.mark.parametrize("end", some(["", "raise SystemExit(3)", "os._exit(0)"], ["", "os._exit(0)"]))
def test_files_that_the_script_left_open_are_written(ranks, end):
    """The interpreter closes them at its very end; os._exit() loses them."""
    script = (
        f"import os\ntext = open('text.py', 'w')\ntext.write('3')\nraw = open('raw.py', 'wb')\nraw.write(b'3')\n{end}"
    )
    result = ranks(3, ranks.script(script))
    assert result.status == (3 if "3" in end else 0), result
    written = [(ranks.work / name).read_text() for name in ("text.py", "raw.py")]
    assert written == (["", ""] if "_exit" in end else ["3", "3"]), result
