"""Generated scripts do the same under plain python and under the launcher: output, files, exit status."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import PATIENCE, clean_environ
from selection import some

#: Writers of the standard library, which complete what they write when they are closed or deleted.
WRITERS = [
    "w{i} = open('w{i}.txt', 'w'); w{i}.write('text {i} ' * 50)",
    "w{i} = open('w{i}.bin', 'wb'); w{i}.write(bytes(range(200)))",
    "import gzip; w{i} = gzip.GzipFile('w{i}.gz', 'wb', mtime=0); w{i}.write(b'x' * 5000)",
    "import bz2; w{i} = bz2.open('w{i}.bz2', 'wt'); w{i}.write('x' * 5000)",
    "import lzma; w{i} = lzma.open('w{i}.xz', 'wb'); w{i}.write(b'x' * 5000)",
    "import zipfile; w{i} = zipfile.ZipFile('w{i}.zip', 'w'); w{i}.writestr(zipfile.ZipInfo('a'), 'b' * 99)",
    "import tarfile, io; w{i} = tarfile.open('w{i}.tar', 'w'); t{i} = tarfile.TarInfo('a'); t{i}.size = 5; "
    "w{i}.addfile(t{i}, io.BytesIO(b'hello'))",
    "import csv; f{i} = open('w{i}.csv', 'w', newline=''); w{i} = csv.writer(f{i}); w{i}.writerows([[1, 2]] * 100)",
    "import dbm.dumb, shelve; w{i} = shelve.Shelf(dbm.dumb.open('w{i}', 'n')); w{i}['a'] = [1, 2, 3]",
    "import sqlite3; w{i} = sqlite3.connect('w{i}.db'); w{i}.execute('create table t (a)'); "
    "w{i}.execute('insert into t values (1)'); w{i}.commit(); w{i}.execute('insert into t values (2)')",
    "import logging; h{i} = logging.FileHandler('w{i}.log'); logging.getLogger('l{i}').addHandler(h{i}); "
    "logging.getLogger('l{i}').warning('said {i}')",
    "import mmap; f{i} = open('w{i}.map', 'w+b'); f{i}.write(bytes(100)); f{i}.flush(); "
    "w{i} = mmap.mmap(f{i}.fileno(), 100); w{i}[:5] = b'hello'",
    "import pickle; w{i} = open('w{i}.pkl', 'wb'); pickle.dump(list(range(50)), w{i})",
]

#: What is still there at the end.
LEFT = [
    "",
    "import threading, time; threading.Thread(target=lambda: (time.sleep(0.3), print('thread', flush=True))).start()",
    "import concurrent.futures as cf, time; tp = cf.ThreadPoolExecutor(2); tp.submit(lambda: (time.sleep(0.2), print('pool')))",
    "import concurrent.futures as cf; pp = cf.ProcessPoolExecutor(1); print(pp.submit(abs, -3).result())",
    "import multiprocessing as mp\n    with mp.get_context('spawn').Pool(1) as mpool: print(mpool.map(abs, [-1, -2]))",
    "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'print(7)'], capture_output=True, text=True).stdout)",
    "import os; sys.stdout.flush(); pid = os.fork()\n    if pid == 0:\n        print('child', flush=True); sys.exit(3)\n"
    "    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
    "import atexit; atexit.register(print, 'handler')",
    "import weakref\n    class Thing: pass\n    thing = Thing(); weakref.finalize(thing, print, 'finalized')",
    "class Told:\n        def __del__(self, p=print): p('deleted')\n    told = Told()",
    "import asyncio; print(asyncio.run(asyncio.sleep(0.05, 'slept')))",
]

ENDS = [
    "", "sys.exit()", "sys.exit(3)", "sys.exit('words')", "raise ValueError('wrong')", "raise SystemExit(256 + 7)",
    "raise SystemExit(None)", "import os; sys.stdout.flush(); os._exit(4)", "1 / 0", "assert False, 'no'",
    "import os, signal; sys.stdout.flush(); os.kill(os.getpid(), signal.SIGTERM)",
    "import os; sys.stdout.flush(); os.abort()", "exit(2)", "raise KeyboardInterrupt",
]  # fmt: skip


def generated(seed):
    """Return a script that is made of some of them."""
    chance = random.Random(seed)
    lines = [text.format(i=i) for i, text in enumerate(chance.sample(WRITERS, 4))]
    # In a main guard: processes that pools start look at the script again.
    left, end = chance.sample(LEFT, 2), ENDS[seed % len(ENDS)]
    if re.search(r"os\.(_exit|kill|abort)\(", end):  # at once: whether a thread has spoken before would be chance
        left = [re.sub(r"time\.sleep\(0\.\d\)", "time.sleep(600)", each) for each in left]
    body = ["import sys", "print('begin', sys.argv[1:])", *lines, *left, end]
    return "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in body if line)


def made(directory):
    """Return what a run has left in its directory; a database is told by what is in it."""
    found = {}
    for path in sorted(Path(directory).iterdir()):
        if path.suffix == ".db":
            import sqlite3

            connection = sqlite3.connect(path)
            found[path.name] = connection.execute("select * from t").fetchall()
            connection.close()
        elif path.name != "script.py" and path.suffix != ".db-journal" and path.is_file():
            found[path.name] = path.read_bytes()
    return found


def by_python(directory, place, environ):
    """Run it by the interpreter; what it leaves running, such as processes of a pool, is killed."""
    with (place / "out").open("w") as out, (place / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "script.py", "a", "b"], cwd=directory, env={**clean_environ(), **environ},
            stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
        )  # fmt: skip
        try:
            status = process.wait(60 * PATIENCE)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
    texts = [(place / name).read_text() for name in ("out", "err")]
    return subprocess.CompletedProcess("python script.py", status, *texts)


@pytest.mark.parametrize("seed", some(range(30), range(0, 30, 7)))
def test_generated_scripts(ranks, seed, tmp_path):
    script = generated(seed)
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "script.py").write_text(script)
    # The order in which objects are deleted at the very end is the interpreter's; hashes of strings must not matter.
    environ = {"PYTHONHASHSEED": "0"}
    alone = by_python(plain, tmp_path, environ)
    expected = made(plain)
    result = ranks(2, ranks.script(script), "a", "b", environ=environ)
    said = f"{script}\n{alone}\n{result}"
    status = alone.returncode if alone.returncode >= 0 else 128 - alone.returncode
    assert result.status == status, said
    assert sorted(result.stdout.splitlines()) == sorted(alone.stdout.splitlines()), said
    words = [line for line in result.words if not line.startswith("mpidask: error: the script was ended by")]
    there = alone.stderr.replace(str(plain), str(ranks.work))
    assert words == [line for line in there.splitlines() if line.strip()], said
    assert made(ranks.work) == expected, said
    assert not result.leftover, said
