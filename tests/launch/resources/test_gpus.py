"""GPUs: which a rank sees, how they are divided, what is printed of them. Stand-ins take the place of the cards."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import gpu_standins
import pytest
from gpu_standins import MODEL, UUIDS, driver, script
from harness import MPI
from selection import some

from mpidask.errors import StartupError, UsageError
from mpidask.launch.cluster import banner
from mpidask.launch.resources import gpus, ucx
from mpidask.launch.resources.division import Facts, Gpu, Limit, WorkerRequest, divide
from mpidask.launch.resources.roles import Role
from mpidask.options import loading

pytestmark = pytest.mark.one_mpi

GIB = 2**30
CUDA = "CUDA_VISIBLE_DEVICES"

#: What workers see, by the number of their rank; ranks that host none are missing.
EACH = script("""
    seen = client.run(lambda dask_worker: (str(dask_worker.name), os.environ.get('CUDA_VISIBLE_DEVICES')))
    print(sorted(seen.values()))
""")


def facts(root=Path("/nowhere"), environ=None, *, node="a", cores=8):
    bare = Facts(node, node, node, tuple(range(cores)), 8, (), (Limit("node", 64 * GIB, "node"),))
    return gpus.seen(bare, environ or {}, root)


def names(found):
    return tuple(gpu.name for gpu in found.gpus)


# ------------------------------------------------------------- which a rank sees
@pytest.mark.parametrize(
    ("environ", "files", "found"),
    [
        ({}, {}, ((), "")),
        ({CUDA: "2,3"}, {}, (("2", "3"), CUDA)),
        ({CUDA: ""}, {"proc/driver/nvidia/gpus/0000:01/information": ""}, ((), CUDA)),
        ({CUDA: "NoDevFiles"}, {}, ((), CUDA)),
        ({CUDA: "MIG-11111111-2222-3333-4444-555555555555"}, {}, (("MIG-11111111-2222-3333-4444-555555555555",), CUDA)),
        ({"ROCR_VISIBLE_DEVICES": "0"}, {}, (("0",), "ROCR_VISIBLE_DEVICES")),
        ({"ZE_AFFINITY_MASK": "0.0,0.1"}, {}, (("0.0", "0.1"), "ZE_AFFINITY_MASK")),
        (
            {},
            {"proc/driver/nvidia/gpus/0000:01/information": "", "proc/driver/nvidia/gpus/0000:02/information": ""},
            (("0", "1"), CUDA),
        ),
        (
            {},
            {
                "sys/class/kfd/kfd/topology/nodes/0/properties": "simd_count 0\n",
                "sys/class/kfd/kfd/topology/nodes/1/properties": "cpu_cores_count 0\nsimd_count 440\n",
            },
            (("0",), "ROCR_VISIBLE_DEVICES"),
        ),
        (
            {},
            {"sys/class/drm/card1/device/vendor": "0x8086\n", "sys/class/drm/card1/device/class": "0x038000\n"},
            (("0",), "ZE_AFFINITY_MASK"),
        ),
        (
            {},
            {"sys/class/drm/card0/device/vendor": "0x8086\n", "sys/class/drm/card0/device/class": "0x030000\n"},
            ((), ""),
        ),
    ],
    ids=["none", "cuda", "hidden", "slurm-none", "mig", "rocm", "level-zero", "nvidia", "amd", "intel", "laptop"],
)
def test_where_gpus_are_looked_for(tmp_path, environ, files, found):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    seen = facts(tmp_path, environ)
    assert (names(seen), seen.gpu_variable) == found
    assert not seen.gpu_trouble


def test_a_card_is_known_by_its_address_and_model(tmp_path):
    assert facts(driver(tmp_path, 2)).gpus == (Gpu("0", "0000:01:00.0", MODEL), Gpu("1", "0000:02:00.0", MODEL))


#: Values of the variable on a node with two cards: what workers may see, what is wrong.
VALUES = {
    "0": (("0",), None),
    "1,0": (("1", "0"), None),
    " 0 , 1 ": (("0", "1"), None),
    "0,0": (("0",), None),
    UUIDS[1]: ((UUIDS[1],), None),
    UUIDS[1][:12]: ((UUIDS[1],), None),
    "-1": ((), None),
    "NoDevFiles": ((), None),
    "0,-1,1": (("0",), None),
    "": ((), None),
    "2": ((), "2"),
    "0,7,1": (("0",), "7"),
    "GPU-": ((), "GPU-"),
    UUIDS[5]: ((), UUIDS[5]),
    f"1,{UUIDS[5]}": (("1",), UUIDS[5]),
    "first": ((), "first"),
}


@pytest.mark.parametrize("value", VALUES)
def test_what_cuda_makes_of_the_variable(tmp_path, value):
    seen, wrong = VALUES[value]
    found = facts(driver(tmp_path, 2), {CUDA: value})
    assert (names(found), found.gpu_visible) == (seen, ",".join(seen))
    said = f"{CUDA} is {value!r}, and {wrong!r} names no GPU that the job may use (there are 2: numbers 0 to 1)"
    assert found.gpu_trouble == (said if wrong else "")


def test_cards_without_a_known_uuid_are_taken_at_their_word(tmp_path):
    root = driver(tmp_path, 2, uuids=["GPU-????????-????-????-????-????????????"] * 2)
    assert names(facts(root, {CUDA: "GPU-1"})) == ("GPU-1",)
    assert facts(root, {CUDA: "2"}).gpu_trouble


def test_different_models_are_named_only_where_their_order_is_known(tmp_path):
    for index, model in enumerate(("NVIDIA T400", "NVIDIA A100")):
        driver(tmp_path / model, index + 1, model=model)
        place = f"proc/driver/nvidia/gpus/0000:0{index + 1}:00.0"
        shutil.copytree(tmp_path / model / place, tmp_path / "both" / place)
    root = tmp_path / "both"
    assert [gpu.model for gpu in facts(root, {CUDA: "0,1"}).gpus] == ["", ""]
    assert [gpu.model for gpu in facts(root, {CUDA: UUIDS[1]}).gpus] == ["NVIDIA A100"]
    ordered = {CUDA: "0,1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    assert [gpu.model for gpu in facts(root, ordered).gpus] == ["NVIDIA T400", "NVIDIA A100"]


def test_only_cards_whose_device_files_are_here_count(tmp_path):
    """A container has the files of its own cards alone; /proc may list all of the node."""
    root = driver(tmp_path, 4, devices=[1, 3])
    assert facts(root).gpus == (Gpu("0", "0000:02:00.0", MODEL), Gpu("1", "0000:04:00.0", MODEL))


# ------------------------------------------------------------ how they are divided
def plan(world, **request):
    return divide(world, [True] * len(world), [False] * len(world), WorkerRequest(**request))


def given(world, **request):
    return [(worker.rank, worker.gpu) for worker in plan(world, **request)]


@pytest.fixture
def node_of(tmp_path):
    """Return a function that returns the facts of a rank on a node with so many cards."""

    def make(number, value=None, *, node="a", devices=()):
        root = tmp_path / f"{node}-{value}-{devices}"
        return facts(driver(root, number, devices=devices), {} if value is None else {CUDA: value}, node=node)

    return make


def test_one_worker_per_gpu(node_of):
    workers = plan([node_of(4)] * 2)
    assert [(w.name, w.gpu) for w in workers] == [("0-0", "0"), ("0-1", "1"), ("1-0", "2"), ("1-1", "3")]
    assert [w.gpu for w in plan([node_of(2, node="b")] * 3)] == ["0", "1", "0"]
    assert [w.gpu for w in plan([node_of(4, node="c")] * 2, gpus=False)] == [None, None]


def test_a_worker_with_a_gpu_has_one_thread(node_of):
    """The cores are left to numerical libraries."""
    workers = plan([node_of(2)])
    assert [(w.nthreads, w.blas_threads) for w in workers] == [(1, 4), (1, 4)]
    assert [w.nthreads for w in plan([node_of(2, node="b")], nthreads=3)] == [3, 3]
    assert [w.nthreads for w in plan([facts()])] == [8]


def test_inside_ranks_each_takes_another_card(node_of):
    """A process shows one set of cards to all that is in it."""
    assert given([node_of(4)] * 3, inside=True) == [(0, "0"), (1, "1"), (2, "2")]
    assert given([node_of(1, node="b")] * 2, inside=True) == [(0, "0"), (1, "0")]


def test_the_same_numbers_may_be_other_cards(node_of):
    """--gpus-per-task=2 with devices in cgroups: each task sees its own two as 0 and 1."""
    world = [node_of(4, "0,1", devices=(0, 1)), node_of(4, "0,1", devices=(2, 3))]
    assert given(world) == [(0, "0"), (0, "1"), (1, "0"), (1, "1")]
    assert len({gpu.card for fact in world for gpu in fact.gpus}) == 4
    assert "4 workers with a GPU each" in text_of(world)


def test_other_numbers_may_be_the_same_card(node_of):
    world = [node_of(2, "0"), node_of(2, UUIDS[0])]
    assert given(world) == [(0, "0"), (1, UUIDS[0])]
    assert f"2 workers share 1 GPU ({MODEL})" in text_of(world)


def test_ranks_that_see_some_of_the_same_cards(node_of):
    assert given([node_of(2, "0,1"), node_of(2, "0")]) == [(0, "1"), (1, "0")]
    assert given([node_of(3, "0,1", node="b"), node_of(3, "1,2", node="b")]) == [(0, "0"), (1, "1"), (1, "2")]


# ------------------------------------------------------------------- what is printed
def text_of(world, *, inside=False, **request):
    workers = plan(world, inside=inside, **request)
    text = banner.banner("1", [Role.WORKER] * len(world), world, workers, [], None if inside else ())
    return "".join(line for line in text.splitlines(keepends=True) if line.startswith("mpidask: gpus"))


def test_the_banner_says_how_they_are_divided(node_of):
    line = f"4 workers with a GPU each ({MODEL}), one thread each, by {CUDA}\n"
    assert text_of([node_of(4)] * 2) == f"mpidask: gpus         {line}"
    assert "1 worker with a GPU (" in text_of([node_of(1, node="b")])
    assert f"6 workers share 1 GPU ({MODEL})" in text_of([node_of(1, node="c")] * 6)
    assert "share 1 GPU" in text_of([node_of(1, node="d")], per_rank=3)
    assert "one thread" not in text_of([node_of(1, node="e")], nthreads=2)
    assert text_of([node_of(4, node="f")], gpus=False) == ""
    assert text_of([node_of(2, node="g"), facts(node="h")]).endswith("; 1 worker without\n")


def test_the_banner_says_what_is_idle(node_of):
    assert "2 GPUs idle: there are fewer workers than GPUs" in text_of([node_of(4)], per_rank=2)
    text = text_of([node_of(4, node="b")], inside=True)
    assert "1 worker with a GPU (" in text
    assert "3 GPUs idle: without nannies a rank has one worker" in text
    assert "idle" not in text_of([node_of(4, node="c")] * 4, inside=True)


def test_a_variable_that_is_wrong_is_warned_of_once_per_node(node_of):
    world = [node_of(1, "0,1"), *[node_of(1, "0,1", node="b")] * 2, node_of(1, "9", node="c")]
    roles = [Role.WORKER, Role.WORKER, Role.WORKER, Role.CLIENT]
    lines = banner.gpu_warnings(world, roles).splitlines()
    assert lines[0] == (
        f"mpidask: warning: on a (rank 0) {CUDA} is '0,1', and '1' names no GPU that the job may use (there is 1: "
        "number 0); workers get what stands before it: 0"
    )
    assert lines[1].startswith("mpidask: remedy: name GPUs that are there")
    assert lines[2].startswith("mpidask: warning: on b (ranks 1-2) ")
    assert len(lines) == 4


# ------------------------------------------------------------------------- runs
@pytest.fixture
def packages(tmp_path):
    """Return a directory for stand-ins of packages."""
    place = tmp_path / "packages"
    place.mkdir()
    return place


def environ(packages, **more):
    return {"PYTHONPATH": str(packages), **more}


INITIALIZE = "import mpidask\nmpidask.initialize()\n" + EACH
EXECUTE = (
    "import mpidask, os\nfrom distributed import Client\n"
    "def main():\n    client = Client()\n"
    "    seen = client.run(lambda dask_worker: (str(dask_worker.name), os.environ.get('CUDA_VISIBLE_DEVICES')))\n"
    "    print(sorted(seen.values()))\n"
    "mpidask.execute(main)\n"
)


@pytest.mark.parametrize("door", some(["--no-nanny", "initialize", "execute"], ["initialize"]))
def test_workers_inside_their_ranks_have_a_gpu_each(ranks, door):
    """Of four cards that two ranks see, each takes one, and the banner says that two are left over."""
    shown = {CUDA: "0,1,2,3"}
    if door == "--no-nanny":
        result = ranks(4, "--no-nanny", ranks.script(EACH), environ=shown)
    else:
        result = ranks.python(4, ranks.script(INITIALIZE if door == "initialize" else EXECUTE), environ=shown)
    assert (result.status, result.stdout) == (0, "[('2', '0'), ('3', '1')]\n"), result
    assert (
        "mpidask: gpus         2 workers with a GPU each, one thread each, by CUDA_VISIBLE_DEVICES\n" in result.stderr
    )
    assert "mpidask: gpus         2 GPUs idle: without nannies a rank has one worker" in result.stderr
    assert (result.words, result.leftover) == ([], []), result


def test_nannies_of_the_drop_in_give_a_gpu_to_each_worker(ranks):
    text = INITIALIZE.replace("initialize()", "initialize(worker_class='distributed.Nanny')")
    result = ranks.python(3, ranks.script(text), environ={CUDA: "0,1"})
    assert (result.status, result.stdout) == (0, "[('2-0', '0'), ('2-1', '1')]\n"), result
    assert "2 workers with a GPU each" in result.stderr, result


def test_more_workers_than_gpus_are_said_to_share(ranks):
    result = ranks(5, ranks.script(EACH), environ={CUDA: "0"})
    assert (result.status, result.stdout) == (0, "[('2', '0'), ('3', '0'), ('4', '0')]\n"), result
    assert "mpidask: gpus         3 workers share 1 GPU, one thread each, by CUDA_VISIBLE_DEVICES\n" in result.stderr
    assert not result.words, result


#: What Dask's monitor of GPUs would stumble over. Without the driver's files names are taken at their word.
STUMBLES = ["-1", "NoDevFiles", UUIDS[0][:12], "7", "0,7"]
METRICS = script("""
    print(sorted(client.run(lambda: os.environ.get('CUDA_VISIBLE_DEVICES')).values()))
    recent = client.run(lambda dask_worker: dask_worker.monitor.recent())
    print([each.get('gpu_utilization') for each in recent.values()])
""")


@pytest.mark.one_mpi
@pytest.mark.parametrize("value", some(STUMBLES, ["NoDevFiles", "7"]))
def test_a_run_starts_whatever_the_variable_is(ranks, packages, value):
    gpu_standins.pynvml(packages, 2)
    options = ["--no-nanny"] if value == "7" else []
    result = ranks(3, *options, ranks.script(METRICS), environ=environ(packages, **{CUDA: value}))
    named = ["-1", "NoDevFiles"].count(value) == 0
    shown = ["''"] if not named else [repr(name) for name in value.split(",")]
    assert (result.status, result.stdout.splitlines()[0]) == (0, f"[{', '.join(shown)}]"), result
    off = [line for line in result.words if "Dask does not monitor the GPUs of rank 2, NVML refuses" in line]
    assert len(off) == named, result
    assert len(result.words) == 2 * named, result
    assert not result.leftover, result


@pytest.fixture
def with_driver(tmp_path, ranks, packages):
    """Return a function that runs a script where /proc shows so many cards."""

    def run(n, number, *arguments, text=METRICS, **more):
        gpu_standins.pynvml(packages, number)
        place = driver(tmp_path / "root", number) / "proc/driver"
        words = [MPI.mpirun, "-n", str(n), sys.executable, "-m", "mpidask", *arguments, ranks.script(text)]
        bind = f"mount --bind {shlex.quote(str(place))} /proc/driver && exec {shlex.join(words)}"
        return ranks(0, command=["unshare", "--mount", "sh", "-c", bind], environ=environ(packages, **more))

    return run


as_root = pytest.mark.skipif(os.getuid() != 0, reason="what stands in /proc is changed by root")

#: Values -> what the worker sees, whether it is monitored, what is said.
SHOWN = {
    UUIDS[0][:12]: (UUIDS[0], 10, None),
    "NoDevFiles": ("", 10, None),
    "0,1": ("0", 10, "on HOST (rank 2) CUDA_VISIBLE_DEVICES is '0,1', and '1' names no GPU that the job may use"),
    UUIDS[4]: ("", 10, f"CUDA_VISIBLE_DEVICES is '{UUIDS[4]}', and '{UUIDS[4]}' names no GPU that the job may use"),
}


@as_root
@pytest.mark.one_mpi
@pytest.mark.parametrize("value", some(SHOWN, [UUIDS[0][:12], "0,1"]))
def test_a_variable_is_compared_with_the_cards(with_driver, value):
    seen, utilization, warning = SHOWN[value]
    result = with_driver(3, 1, "--no-nanny" if warning else "--nanny", **{CUDA: value})
    assert (result.status, result.stdout) == (0, f"[{seen!r}]\n[{utilization}]\n"), result
    assert len(result.words) == (2 if warning else 0), result
    if warning:
        assert result.words[0].startswith("mpidask: warning: "), result
        assert warning.replace("HOST", os.uname().nodename) in result.words[0], result
        assert result.words[1].startswith("mpidask: remedy: "), result
    assert (f"1 worker with a GPU ({MODEL})" in result.stderr) == bool(seen), result


@as_root
@pytest.mark.one_mpi
def test_cards_are_named_in_the_banner(with_driver):
    result = with_driver(3, 2, "--workers-per-rank", "3", "--exclusive-workers", text=EACH)
    assert (result.status, result.stdout) == (0, "[('2-0', '0'), ('2-1', '1'), ('2-2', '0')]\n"), result
    assert f"mpidask: gpus         3 workers share 2 GPUs ({MODEL}), one thread each" in result.stderr, result
    assert "mpidask: workers      3 x 1 thread" in result.stderr, result
    assert not result.words, result


@pytest.mark.thorough
@pytest.mark.one_mpi
def test_nvml_that_refuses_ends_no_run(ranks, packages):
    """On a part of a card (MIG) it may not tell the memory."""
    gpu_standins.pynvml(packages, 1, permitted=False)
    for nanny in ("--nanny", "--no-nanny"):
        result = ranks(3, nanny, ranks.script(METRICS), environ=environ(packages, **{CUDA: "0"}))
        assert (result.status, result.stdout) == (0, "['0']\n[None]\n"), result
        assert len(result.words) == 2 and "NVMLError_NoPermission: Insufficient Permissions" in result.words[0], result


# ------------------------------------------------------------------------- dask-cuda
@pytest.mark.parametrize("nanny", some(["--nanny", "--no-nanny"], ["--nanny"]))
def test_a_cuda_worker_is_given_all_gpus_of_its_rank(ranks, packages, nanny):
    """It starts a worker for each GPU by itself."""
    gpu_standins.dask_cuda(packages)
    options = [nanny, "--worker-class", "dask_cuda.CUDAWorker"]
    result = ranks(4, *options, ranks.script(EACH), environ=environ(packages, **{CUDA: "0,1,2"}))
    assert result.status == 0, result
    assert result.stdout == "[('2-0', '0,1'), ('2-1', '1,0'), ('3', '2')]\n", result
    assert "3 workers with a GPU each, one thread each" in result.stderr, result
    assert (result.words, result.leftover) == ([], []), result


CANNOT = {
    "--nanny": ({CUDA: ""}, "rank 2 has no GPU, which --worker-class dask_cuda.CUDAWorker needs"),
    "--workers-per-rank=3": ({CUDA: "0,1"}, "3 workers on rank "),
    "--data=builtins.dict": ({CUDA: "0,1"}, "--data has no meaning with --worker-class dask_cuda.CUDAWorker"),
}


@pytest.mark.one_mpi
@pytest.mark.parametrize("option", some(CANNOT, ["--nanny"]))
def test_what_a_cuda_worker_cannot_do(ranks, packages, option):
    shown, message = CANNOT[option]
    gpu_standins.dask_cuda(packages)
    options = [option, "--worker-class", "dask_cuda.CUDAWorker"]
    result = ranks(3, *options, ranks.script("print('never')"), environ=environ(packages, **shown))
    assert (result.status, result.stdout) == (69, ""), result
    assert message in result.stderr and "mpidask: remedy: " in result.stderr, result
    assert not result.leftover, result


# ------------------------------------------------------------- CUDA before the fork
needs_compiler = pytest.mark.skipif(not (shutil.which("gcc") or shutil.which("cc")), reason="needs a C compiler")


@needs_compiler
def test_whether_cuda_is_initialised(tmp_path):
    library = gpu_standins.libcuda(tmp_path)
    code = (
        "import ctypes, sys\nfrom mpidask.launch.resources import cuda\nprint(cuda.is_initialised())\n"
        "print('libcuda' in open('/proc/self/maps').read())\n"
        "driver = ctypes.CDLL(sys.argv[1])\nprint(cuda.is_initialised())\n"
        "driver.cuInit(0)\nprint(cuda.is_initialised())\n"
    )
    words = [sys.executable, "-c", code, str(library)]
    out = subprocess.run(words, capture_output=True, text=True, timeout=180, check=True, cwd="/").stdout
    assert out.split() == ["False", "False", "False", "True"]


@needs_compiler
@pytest.mark.one_mpi
def test_a_module_that_initialises_cuda_is_not_forked(ranks, packages):
    library = gpu_standins.libcuda(packages)
    (packages / "loads.py").write_text(f"import ctypes\ndriver = ctypes.CDLL({str(library)!r})\n")
    (packages / "starts.py").write_text("import loads\nloads.driver.cuInit(0)\n")
    result = ranks(3, "--preload-import", "decimal,loads", ranks.script("print('ran')"), environ=environ(packages))
    assert (result.status, result.stdout) == (0, "ran\n"), result
    text = ranks.script("print('never')")
    result = ranks(3, "--preload-import", "decimal,starts,json", text, environ=environ(packages))
    assert (result.status, result.stdout) == (69, ""), result
    assert "--preload-import starts initialises CUDA where it is imported" in result.stderr, result
    assert "mpidask: remedy: leave starts out of --preload-import" in result.stderr, result
    assert not result.leftover, result


@needs_compiler
@pytest.mark.one_mpi
def test_a_rank_that_has_initialised_cuda_can_no_more_choose(ranks, packages):
    library = gpu_standins.libcuda(packages)
    (packages / "starts.py").write_text(f"import ctypes\nctypes.CDLL({str(library)!r}).cuInit(0)\n")
    options = ["--no-nanny", "--preload-import", "starts"]
    result = ranks(3, *options, ranks.script(EACH), environ=environ(packages, **{CUDA: "0,1"}))
    assert result.status == 0, result
    assert result.words[0].startswith("mpidask: warning: rank 2 had initialised CUDA before"), result
    assert result.words[1].startswith("mpidask: remedy: "), result
    result = ranks(3, *options, ranks.script(EACH), environ=environ(packages, **{CUDA: "0"}))
    assert (result.status, result.words) == (0, []), result


# --------------------------------------------------------------------------- ucx
def test_ucx_cannot_be_encrypted():
    with pytest.raises(UsageError, match="--protocol ucx cannot be encrypted") as caught:
        loading.load({"protocol": "ucx"}, {})
    assert "--no-tls" in caught.value.remedy
    assert loading.load({"protocol": "ucx", "tls": False}, {}).protocol == "ucx"


@pytest.mark.one_mpi
def test_ucx_needs_its_package(ranks, packages):
    result = ranks(2, "--protocol", "ucx", "--no-tls", ranks.script("print('never')"))
    assert (result.status, result.stdout) == (69, ""), result
    assert "--protocol ucx needs the package distributed-ucxx" in result.stderr, result
    assert "remedy: pip install distributed-ucxx-cu12" in result.stderr, result


def test_ucx_is_refused_where_mpi_has_loaded_another(ranks, packages):
    """As the wheels of MPICH and Open MPI do."""
    gpu_standins.ucx(packages)
    options = ["--protocol", "ucx", "--no-tls"]
    result = ranks(2, *options, ranks.script("print('never')"), environ=environ(packages))
    assert (result.status, result.stdout) == (69, ""), result
    assert "--protocol ucx needs the UCX of the package libucx, but another one is loaded already: /" in result.stderr
    assert f"LD_PRELOAD={packages}/libucx/lib/libucs.so:" in result.stderr, result
    assert result.stderr.count("mpidask: error:") == 1, result


def test_which_libraries_hinder_ucx(tmp_path, packages, monkeypatch):
    gpu_standins.ucx(packages)
    monkeypatch.syspath_prepend(str(packages))
    maps = tmp_path / "maps"
    line = "7f5a-7f5b r--p 00000000 08:01 1234  {}\n"
    for text in ("", line.format(f"{packages}/libucx/lib/libucs.so"), line.format("/usr/lib/libucp.so.0")):
        maps.write_text(text)
        ucx.check("ucx", here=True, maps=maps)
    # A copy under another name, which the wheel has, is another one to the loader.
    for file in ("/usr/lib/mpich/libucs.so.0", f"{packages}/libucx/lib/libucs.so.0"):
        maps.write_text(line.format(file))
        with pytest.raises(StartupError, match="another one is loaded already"):
            ucx.check("ucx", here=True, maps=maps)
        ucx.check("ucx", here=False, maps=maps)
        ucx.check("tcp", here=True, maps=maps)
