"""What the stand-ins of tests/launch/resources/test_gpus.py stand for, on real cards. Run with tests/gpu/on_a_gpu.sh."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from harness import MPI, marked, read

from mpidask.launch.resources import gpus
from mpidask.launch.resources.division import Facts

pytestmark = pytest.mark.one_mpi

CUDA = "CUDA_VISIBLE_DEVICES"
TESTS = str(Path(__file__).parent.parent)
NVML = importlib.util.find_spec("pynvml") is not None


def facts(value=None):
    """Return what mpidask finds, with that value of the variable."""
    environ = {name: text for name, text in os.environ.items() if name != CUDA}
    bare = Facts("a", "a", "a", (0,), 1, (), ())
    return gpus.seen(bare, environ if value is None else environ | {CUDA: value})


def python(code, value=None, *, timeout=60):
    """Return what Python code prints in a process of its own, with that value of the variable."""
    environ = {name: text for name, text in os.environ.items() if name != CUDA} | {"PYTHONPATH": TESTS}
    environ |= {} if value is None else {CUDA: value}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def seen_by_cuda(value=None):
    return ast.literal_eval(python("import gpu_driver; print(gpu_driver.seen())", value))


@pytest.fixture(scope="module")
def cards():
    """Return the UUIDs of all cards, in CUDA's order."""
    return seen_by_cuda()


def run(ranks, n, *arguments, text, **more):
    environ = {"PYTHONPATH": TESTS, **more}
    if CUDA not in environ:
        environ |= {CUDA: os.environ[CUDA]} if CUDA in os.environ else {}
    return ranks(
        n,
        *arguments,
        ranks.script("from distributed import Client\nimport gpu_driver, os\n" + text),
        environ=environ,
        timeout=120,
    )


#: Each worker computes; prints {name: [its card, a sum]}.
COMPUTE = """
client = Client()
places = {address: str(each["name"]) for address, each in client.scheduler_info(-1)["workers"].items()}
found = client.run(gpu_driver.compute)
import json
print(json.dumps({places[address]: value for address, value in found.items()}))
"""


def computed(result):
    assert result.status == 0, result
    found = json.loads(result.stdout.splitlines()[-1])
    assert all(total == 7000 for _, total in found.values()), result
    assert (result.words, result.leftover) == ([], []), result
    return {name: card for name, (card, _) in found.items()}


# ------------------------------------------------------------------ what is found
def test_the_cards_are_found(cards):
    found = facts().gpus
    assert len(found) == len(cards)
    assert all(re.fullmatch(r"[0-9a-f]+:[0-9a-f]+:[0-9a-f]+\.[0-9a-f]", gpu.card) for gpu in found), found
    assert all("NVIDIA" in gpu.model or "Tesla" in gpu.model for gpu in found), found
    assert [facts(uuid).gpus[0].name for uuid in cards] == cards
    if len({gpu.model for gpu in found}) == 1:  # otherwise CUDA may count in another order
        assert [facts(uuid).gpus[0].card for uuid in cards] == [gpu.card for gpu in found]


#: Values of the variable; N stands for the number of cards, UUID for that of the first.
VALUES = [
    "0",
    "",
    "-1",
    "NoDevFiles",
    "N",
    "0,N",
    "0,-1",
    "0,-1,0",
    "N,0",
    "UUID",
    "SHORT",
    "UUID,0,N",
    "GPU-12345678",
    "x",
    " 0",
]


@pytest.mark.parametrize("value", VALUES)
def test_cuda_sees_what_mpidask_says_it_sees(cards, value):
    value = (
        value.replace("UUID", cards[0]).replace("SHORT", cards[0][:12]).replace("N", str(len(cards)))
        if value != "NoDevFiles"
        else value
    )
    found = facts(value)
    ours = [gpu.name if gpu.name.startswith("GPU-") else cards[int(gpu.name)] for gpu in found.gpus]
    theirs = list(dict.fromkeys(seen_by_cuda(value)))
    assert ours == theirs, found
    assert seen_by_cuda(found.gpu_visible) == theirs, "and so it does with the value that servers get"


# ------------------------------------------------------------------ how they are divided
def test_each_worker_has_a_gpu_of_its_own(ranks, cards):
    result = run(ranks, 3, text=COMPUTE)
    found = computed(result)
    assert sorted(found.values()) == sorted(cards), result
    each = " each" if len(cards) > 1 else ""
    model = facts().gpus[0].model
    assert f"with a GPU{each} ({model}" in result.stderr, result
    assert f", one thread{each}, by CUDA_VISIBLE_DEVICES" in result.stderr, result


def test_more_workers_than_gpus_share_them(ranks, cards):
    number = len(cards) + 2
    found = computed(result := run(ranks, number + 2, text=COMPUTE))
    assert len(found) == number
    users = Counter(found.values()).values()
    assert len(users) == len(cards) and max(users) - min(users) <= 1 + (len(cards) == 1), result
    assert f"mpidask: gpus         {number} workers share {len(cards)} GPU" in result.stderr, result


@pytest.mark.parametrize("door", ["--no-nanny", "initialize", "execute"])
def test_workers_inside_their_ranks(ranks, cards, door):
    """Two ranks with workers: two cards, or the same one."""
    if door == "--no-nanny":
        result = run(ranks, 4, "--no-nanny", text=COMPUTE)
    else:
        body = "\n".join("    " + line for line in COMPUTE.splitlines())
        text = "import mpidask, gpu_driver, os\nfrom distributed import Client\n"
        text += (
            f"mpidask.initialize()\n{COMPUTE}"
            if door == "initialize"
            else f"def main():\n{body}\nmpidask.execute(main)\n"
        )
        result = ranks.python(4, ranks.script(text), environ={"PYTHONPATH": TESTS}, timeout=120)
    found = computed(result)
    assert len(found) == 2
    assert len(set(found.values())) == min(2, len(cards)), result
    assert ("GPUs idle" in result.stderr or "1 GPU idle" in result.stderr) == (len(cards) > 2), result


def test_only_workers_load_the_driver(ranks):
    """Without Dask's monitor: NVML, with which scheduler and nannies measure the cards, loads the driver, too."""
    text = COMPUTE + "print('ready', flush=True)\nimport time\ntime.sleep(600)\n"
    script = ranks.script("from distributed import Client\nimport gpu_driver, os\n" + text)
    environ = {"PYTHONPATH": TESTS, "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False"}
    under_way = ranks.start(3, script, environ=environ)
    under_way.wait_for("ready", 90)
    holders = [pid for pid in marked(under_way.mark) if "libcuda.so" in read(pid, "maps")]
    assert len(holders) == len(facts().gpus), [read(pid, "cmdline") for pid in holders]
    under_way.signal(15)
    assert not under_way.result().leftover


# ------------------------------------------------------------------ the variable
SEES = """
client = Client()
print(list(client.run(gpu_driver.seen).values())[0])
print(list(client.run(lambda dask_worker: dask_worker.monitor.gpu_name).values())[0])
"""

#: Values -> whether a warning is printed.
WARNED = {"-1": False, "NoDevFiles": False, "SHORT": False, "UUID": False, "GPU-12345678": True, "N": True, "0,N": True}


@pytest.mark.parametrize("value", WARNED)
@pytest.mark.parametrize("nanny", ["--nanny", "--no-nanny"])
def test_a_run_starts_whatever_the_variable_is(ranks, cards, value, nanny):
    text = (
        value
        if value == "NoDevFiles"
        else value.replace("UUID", cards[0]).replace("SHORT", cards[0][:12]).replace("N", str(len(cards)))
    )
    result = run(ranks, 3, nanny, text=SEES, **{CUDA: text})
    assert result.status == 0, result
    visible, model = result.stdout.splitlines()
    wanted = [cards[0]] if value in ("SHORT", "UUID", "0,N") else []
    assert ast.literal_eval(visible) == wanted, result
    assert bool(result.words) == WARNED[value], result
    if WARNED[value]:
        assert f"{CUDA} is {text!r}" in result.words[0] and "remedy" in result.words[1], result
    if NVML:
        assert model != "None", result
    assert not result.leftover, result


# ------------------------------------------------------------------ CUDA before the fork
def test_cuda_does_not_survive_a_fork():
    """The reason for the next test."""
    code = (
        "import os, gpu_driver\nfrom mpidask.launch.resources import cuda\n"
        "assert not cuda.is_initialised()\ngpu_driver.seen()\nassert cuda.is_initialised()\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    try:\n        gpu_driver.compute()\n    except BaseException:\n        os._exit(3)\n    os._exit(0)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    assert python(code) == "3"


def test_a_module_that_initialises_cuda_is_refused(ranks, tmp_path):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "starts.py").write_text("import gpu_driver\ngpu_driver.seen()\n")
    path = f"{TESTS}:{tmp_path}/modules"
    result = run(ranks, 3, "--preload-import", "starts", text="print('never')", PYTHONPATH=path)
    assert (result.status, result.stdout) == (69, ""), result
    assert "--preload-import starts initialises CUDA where it is imported" in result.stderr, result
    result = run(ranks, 3, "--preload-import", "gpu_driver", text=COMPUTE, PYTHONPATH=path)
    computed(result)


def test_a_worker_that_dies_comes_back_with_its_gpu(ranks, cards):
    text = (
        "client = Client()\n"
        "def crash(flag):\n"
        "    if not os.path.exists(flag):\n        open(flag, 'w').close()\n        os.kill(os.getpid(), 9)\n"
        "    return gpu_driver.compute()\n"
        "print(client.submit(crash, os.path.abspath('flag.py')).result()[1])\n"
    )
    result = run(ranks, 3, text=text)
    assert (result.status, result.stdout) == (0, "7000\n"), result


# ------------------------------------------------------------------ RAPIDS, where it is installed
if importlib.util.find_spec("dask_cuda"):

    def test_cuda_worker(ranks, cards):
        options = ["--worker-class", "dask_cuda.CUDAWorker", "--worker-options", '{"device_memory_limit": "1 GB"}']
        result = run(ranks, 3, *options, text=COMPUTE)
        assert result.status == 0, result
        found = json.loads(result.stdout.splitlines()[-1])
        assert sorted(card for card, _ in found.values()) == sorted(cards), result
        assert len(found) == len(cards)
        assert not result.leftover, result

    def test_device_host_file(ranks):
        text = COMPUTE + "print(list(client.run(lambda dask_worker: type(dask_worker.data).__name__).values())[0])\n"
        result = run(ranks, 3, "--data", "dask_cuda.device_host_file.DeviceHostFile", text=text)
        assert result.status == 0, result
        assert result.stdout.splitlines()[-1] == "DeviceHostFile", result


if importlib.util.find_spec("distributed_ucxx"):

    def test_ucx(ranks):
        text = (
            "client = Client()\n"
            "first, *_, last = sorted(client.scheduler_info(-1)['workers'])\n"
            "one = client.submit(bytearray, 10**7, workers=[first])\n"
            "print(client.submit(len, one, workers=[last]).result())\n"
        )
        result = run(ranks, 4, "--protocol", "ucx", "--no-tls", text=text)
        if result.status == 0:
            return  # MPI and RAPIDS have the same UCX
        (value,) = re.findall(r"LD_PRELOAD=(\S+)", result.stderr)[:1]
        script = ranks.script("from distributed import Client\n" + text)
        words = ["-genv", "LD_PRELOAD", value] if MPI.is_mpich else ["-x", f"LD_PRELOAD={value}"]
        command = [sys.executable, "-m", "mpidask", "--protocol", "ucx", "--no-tls", script]
        quiet = {"UCXX_LOG_LEVEL": "FATAL", "UCX_WARN_UNUSED_ENV_VARS": "n"}  # of what MPI sets for its own UCX
        result = ranks(4, hosts=words, command=command, environ=quiet, timeout=150)
        assert (result.status, result.stdout) == (0, "10000000\n"), result
