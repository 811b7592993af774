"""Launchers' variables, network choice, causes of death, banner, configuration."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from mpidask import config, quantities
from mpidask.errors import StartupError, UsageError
from mpidask.launch.cluster import announce, banner
from mpidask.launch.comm import mpi_library
from mpidask.launch.resources import network
from mpidask.launch.servers.plugins.worker_exits import describe_exit
from mpidask.launch.watchdog import launcher_environment, waiting
from mpidask.launch.watchdog.watchdog import Watchdog

OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}
HYDRA = {"PMI_RANK": "3", "PMI_SIZE": "8", "MPI_LOCALNRANKS": "4", "PMI_FD": "9"}
SRUN = {
    "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "2(x2),4", "SLURM_NODEID": "2",
}  # fmt: skip


SRUN_PMI2 = {**SRUN, "PMI_RANK": "3", "PMI_SIZE": "8"}
HYDRA_IN_SLURM = {**SRUN, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", **HYDRA}


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        (OPEN_MPI, "Open MPI's mpirun"),
        (HYDRA, "MPICH's mpirun (Hydra)"),
        (SRUN, "srun"),
        (SRUN_PMI2, "srun"),
        (HYDRA_IN_SLURM, "MPICH's mpirun (Hydra)"),
    ],
)
def test_launchers_are_understood(environ, name):
    assert launcher_environment.launcher_name(environ) == name
    assert launcher_environment.launcher_rank(environ) == 3
    assert launcher_environment.launcher_size(environ) == 8
    assert launcher_environment.local_size(environ) == 4


def test_without_a_launcher_there_is_one_process():
    batch_script = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}  # Slurm sets these for the batch script as well
    for environ in ({}, batch_script):
        assert launcher_environment.launcher_size(environ) == 1
        assert launcher_environment.launcher_name(environ) is None
        assert launcher_environment.local_size(environ) is None


def test_identity_is_removed_and_settings_stay():
    names = [*OPEN_MPI, *HYDRA, "PMIX_RANK", "SLURM_PROCID", "OMPI_MCA_btl", "SLURM_JOB_ID", "SLURM_NTASKS", "PATH"]
    left = set(names) - set(launcher_environment.rank_identity(names))
    assert left == {"OMPI_MCA_btl", "SLURM_JOB_ID", "SLURM_NTASKS", "PATH"}


def test_the_first_address_that_all_reach_is_taken():
    offers = [("hsn0", "10.0.0.1", 1), ("ib0", "10.1.0.1", 2), ("eth0", "10.2.0.1", 3)]
    reached = {1: {"10.1.0.1": "10.1.0.2", "10.2.0.1": "10.2.0.2"}, 2: {"10.0.0.1": "10.0.0.3", "10.1.0.1": "10.1.0.3"}}
    assert network.best(offers, reached, {0: "n1"}) == ("ib0", "10.1.0.1")
    with pytest.raises(StartupError, match="no network address of the scheduler's node n1") as caught:
        network.best(offers, {1: {}, 2: reached[2]}, {0: "n1", 1: "n2", 2: "n3"})
    assert "hsn0 (10.0.0.1), ib0 (10.1.0.1), eth0 (10.2.0.1)" in caught.value.what
    assert "rank 1 on n2" in caught.value.what
    assert "--interface" in caught.value.remedy


def test_addresses_are_tried_by_connecting():
    targets = network.ProbeTargets([("lo", "127.0.0.1"), ("lo2", "127.0.0.2"), ("gone", "192.0.2.77")])
    assert [name for name, _, _ in targets.offers] == ["lo", "lo2"]
    assert network.probe(targets.offers) == {"127.0.0.1": "127.0.0.1", "127.0.0.2": "127.0.0.1"}
    targets.close()
    assert network.probe(targets.offers) == {}


@pytest.mark.parametrize(
    ("exitcode", "more", "text"),
    [
        (-signal.SIGSEGV, {}, "signal 11 (SIGSEGV)"),
        (-77, {}, "signal 77"),
        (4, {}, "exit status 4"),
        (-signal.SIGKILL, {"oom": True}, "killed by the kernel: out of memory"),
        (-signal.SIGTERM, {"memory": 2**30, "limit": 2**30}, "it used 1.00 GiB of 1.00 GiB of memory"),
    ],
)
def test_causes_of_death(exitcode, more, text):
    assert describe_exit(exitcode, **more) == text


def test_what_is_waited_for_while_ranks_meet(monkeypatch, capsys):
    assert waiting.words({3, 2}, 0, "n1") == "waiting for ranks 2, 3 on n1 to bring MPI up"
    assert waiting.words(range(10), 0, "n1").startswith("waiting for ranks 0, 1, 2, 3, 4, 5, 6, 7 and 2 more on n1")
    assert waiting.words((), 4, "n1").endswith("all ranks on n1 are there, 4 are on other nodes")
    assert waiting.words((), 0, "n1") == ""
    monkeypatch.setattr(announce, "PATIENCE", 0.0)
    for quiet, said in ((False, "mpidask: waiting for rank 1, rank 2 on n1\n"), (True, "")):
        with announce.meeting(SimpleNamespace(size=3), config.load({"quiet": quiet}), {2: "n1"}) as show:
            show({0: None})
            show({0: None, 1: None})  # a log has a line now and then
        assert capsys.readouterr().err == said


def test_ranks_and_sizes_are_written_as_people_read_them():
    assert banner.span([2, 3, 4, 7]) == "2-4, 7"
    assert (banner.amount(512), banner.amount(3 * 2**20), banner.amount(5 * 2**39)) == ("512 B", "3 MiB", "2560.0 GiB")
    assert banner.waiting([1, 3], {3: "n017"}) == "waiting for rank 1, rank 3 on n017"
    assert banner.progress(3, 4, "rank 3 on n017") == "3/4 workers, missing: rank 3 on n017"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"nthreads": "two"}, "mpidask.nthreads in the configuration is 'two'"),
        ({"nanny": 2}, "mpidask.nanny in the configuration is 2"),
        ({"optimize": "no"}, "mpidask.optimize in the configuration is 'no': yes or no is needed"),
        ({"worker-options": "[1]"}, "mpidask.worker-options in the configuration is .* a mapping"),
        ({"scheduler": False}, "needs one to join"),
        ({"memory-limit": "much"}, "mpidask.memory-limit in the configuration is 'much'"),
        (
            {"workers-per-rank": "many"},
            "mpidask.workers-per-rank in the configuration is 'many': a number from 1 up is needed, or auto",
        ),
        ({"workers-per-rank": 2, "nanny": False}, "inside the rank itself there is one worker: leave --no-nanny out"),
        ({"memorylimit": 1}, "unknown option: mpidask.memorylimit in the configuration"),
    ],
)
def test_configuration_that_cannot_be_used(section, message):
    with pytest.raises(UsageError) as caught:
        config.load({}, section)
    assert re.search(message, f"{caught.value.what}: {caught.value.remedy}")


@pytest.mark.parametrize(
    ("values", "number", "inclusive"),
    [
        ({}, 1, False),
        ({"workers_per_rank": 3}, 3, True),
        ({"workers_per_rank": 3, "inclusive_workers": False}, 3, False),
        ({"workers_per_rank": "auto"}, None, True),
        ({"workers_per_rank": "auto", "nanny": False}, 1, False),
        ({"workers_per_rank": 3, "nanny": False, "worker_class": "distributed.Nanny"}, 3, True),
    ],
)
def test_workers_per_rank(values, number, inclusive):
    options = config.load(values, {})
    assert (config.workers_per_rank(options), config.inclusive(options)) == (number, inclusive)


def test_given_options_come_before_configured_ones():
    options = config.load({"nthreads": 2, "nanny": None}, {"nthreads": 3, "nanny": False, "startup-timeout": 5})
    assert (options.nthreads, options.nanny, options.startup_timeout) == (2, False, "5")
    options = config.load({"memory_limit": 2**30, "local_directory": Path("/x")}, {}, {"nthreads": 1, "nanny": False})
    assert (options.memory_limit, options.local_directory, options.nthreads) == (str(2**30), "/x", 1)
    assert config.load({}, {"nthreads": 3, "optimize": False}, {"nthreads": 1}).nthreads == 3
    assert config.load({"scheduler_file": "~/f"}, {}).scheduler_file == os.path.expanduser("~/f")
    assert config.load({"worker_options": '{"lifetime": "1 h"}'}, {}).worker_options == {"lifetime": "1 h"}


@pytest.mark.parametrize(
    ("text", "wanted"), [("auto", None), ("0", 0), ("4 GiB", 2**32), ("0.25", 0.25), ("1.0", 1.0), ("2 MB", 2_000_000)]
)
def test_memory_is_bytes_or_a_part(text, wanted):
    assert quantities.memory(text) == wanted
    assert type(quantities.memory(text)) is type(wanted)


def test_the_template_holds_every_option_and_can_be_read():
    import yaml

    text = config.template()
    assert yaml.safe_load(text) is None
    keys = yaml.safe_load("\n".join(line[2:] for line in text.splitlines()[1:]))["mpidask"]
    assert config.load({}, keys) == config.Options()


def test_public_names():
    import mpidask

    assert mpidask.__all__ == [
        "ArgumentError",
        "BatchError",
        "FluxCluster",
        "HTCondorCluster",
        "JobQueueCluster",
        "LSFCluster",
        "LocalJobCluster",
        "LostError",
        "MPICluster",
        "MoabCluster",
        "MpidaskError",
        "OARCluster",
        "PBSCluster",
        "SGECluster",
        "SLURMCluster",
        "SLURMRunner",
        "Session",
        "StartupError",
        "UsageError",
        "WalltimeError",
        "WorldTooSmallException",
        "__version__",
        "connect",
        "execute",
        "initialize",
        "on_walltime",
        "send_close_signal",
        "time_left",
    ]
    assert dir(mpidask) == sorted(mpidask.__all__), "what tab completion shows"
    for name in mpidask.__all__:
        assert getattr(mpidask, name) is not None
    assert (Path(mpidask.__file__).parent / "py.typed").exists()
    with pytest.raises(AttributeError):
        mpidask.no_such_name  # noqa: B018


def test_importing_mpidask_imports_nothing_heavy():
    import subprocess
    import sys

    code = "import sys, mpidask, mpidask.launch.watchdog.watchdog; print(*sys.modules)"
    text = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    assert not {"dask", "distributed", "numpy", "mpi4py", "click", "asyncio", "multiprocessing"} & set(text.split())
    assert os.path.exists(config.__file__)


# ------------------------------------------------------------- the MPI library's settings
OPEN_MPI_5, OPEN_MPI_4, MPICH_5 = ("Open MPI", (5, 0, 11)), ("Open MPI", (4, 1, 4)), ("MPICH", (5, 0, 2))


@pytest.mark.parametrize(
    ("vendor", "environ", "texts", "one_node", "expected"),
    [
        (OPEN_MPI_5, {}, [], True, {"OMPI_MCA_btl": "^ofi"}),
        (OPEN_MPI_5, {}, ["# btl = tcp\nbtl_tcp_if_include = ib0\n"], True, {"OMPI_MCA_btl": "^ofi"}),
        (OPEN_MPI_5, {}, ["", "pml = ob1\n  btl = self,vader\n"], True, {}),
        (OPEN_MPI_5, {"OMPI_MCA_btl": "self,tcp"}, [], True, {}),
        (OPEN_MPI_5, {}, [], False, {}),
        (OPEN_MPI_4, {}, [], True, {}),
        (MPICH_5, {}, [], True, {}),
    ],
)
def test_the_mpi_library_is_told_nothing_that_it_or_the_site_may_refuse(vendor, environ, texts, one_node, expected):
    assert mpi_library.settings(vendor, environ, texts, one_node=one_node) == expected


def test_open_mpi_s_parameter_files_are_found_beside_the_library(tmp_path):
    file = tmp_path / "etc" / "openmpi-mca-params.conf"
    for library in ("lib/libmpi.so.40", "lib/x86_64-linux-gnu/libmpi.so.40", "lib64/openmpi/lib/libmpi.so"):
        assert str(file) in mpi_library.parameter_files(str(tmp_path / library), {})
    environ = {"OMPI_MCA_mca_base_param_files": "/site/one:/site/two", "OPAL_PREFIX": "/opt/moved"}
    found = mpi_library.parameter_files("", environ)
    assert found[:3] == ["/site/one", "/site/two", "/opt/moved/etc/openmpi-mca-params.conf"]


def test_what_the_library_was_told_is_not_for_what_the_script_starts(ranks):
    script = ranks.script("import os; print(sorted(name for name in os.environ if name.startswith('OMPI_MCA_btl')))")
    result = ranks(3, script)
    assert (result.status, result.stdout) == (0, "[]\n"), result


def test_a_watchdog_that_was_dismissed_gets_no_more_lines(tmp_path):
    """The program may have opened a file that has the pipe's number since."""
    reading, writing = os.pipe()
    watchdog = Watchdog(writing, "token")
    watchdog.dismiss()
    with open(tmp_path / "file", "wb") as file:
        os.dup2(file.fileno(), writing)
        watchdog.farewell()
        watchdog.end_within(3)
    assert os.read(reading, 100) == b"dismissed \n"
    os.close(reading)
    with contextlib.suppress(OSError):  # it may have been the file's own number
        os.close(writing)
    assert (tmp_path / "file").read_bytes() == b""
