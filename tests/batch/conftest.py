"""Fixtures: `system` is a machine with a batch system, each in turn."""

from __future__ import annotations

import contextlib

import dask.config
import pytest
import yaml
from machines import borrowed, second_cluster

#: Where a test has nothing to show, or nothing that another system does not show.
NOT_ON = {
    "test_cancelled_while_it_waits": {"local"},
    "test_a_job_that_can_never_start_says_why": {"local", "torque"},
    "test_interrupting_asks_whether_to_cancel": {"sge", "oar", "torque"},
    "test_every_node_hosts_as_many_workers_as_it_suggests": {"sge", "oar", "torque"},
    "test_arguments_arrive_verbatim": {"torque"},
    "test_requeueing_is_bounded": {"slurm", "sge", "oar", "torque"},
    "test_a_job_that_ends_well": {"torque"},
    "test_requeued_until_the_script_ends_by_itself": {"torque"},
    "test_the_walltime_ends_the_run_in_order": {"oar", "torque"},
    "test_logs_by_rank_and_worker_after_the_end": {"oar", "torque"},
    "test_the_table_and_the_values_for_programs": {"sge", "oar", "torque"},
    "test_from_python": {"oar", "torque"},
}


def pytest_collection_modifyitems(config, items):
    """Leave out what one MPI, or another system, shows."""
    kept = [item for item in items if _shows_something(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def _shows_something(item):
    system = getattr(item, "callspec", None) and item.callspec.params.get("system")
    return "batch" not in item.path.parts or system not in NOT_ON.get(getattr(item, "originalname", ""), ())


@pytest.fixture(params=["local", "slurm", "sge", "oar", "torque"])
def system(request):
    """Lend a machine with each of the batch systems."""
    with borrowed(request.param) as machine:
        yield machine


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    """Have each test be told what is told once."""
    from mpidask.batch.commands import runner

    monkeypatch.setattr(runner, "_told", set())


@pytest.fixture
def slurm():
    """Lend the machine with Slurm."""
    with borrowed("slurm") as machine:
        yield machine


@pytest.fixture
def far(slurm):
    """Lend the machine with Slurm and a second cluster, `mpidask-far`."""
    second_cluster()
    yield slurm
    slurm.run("scancel", "--clusters=mpidask-far", f"--user={slurm.user}")


@pytest.fixture
def sge():
    """Lend the machine with Grid Engine."""
    with borrowed("sge") as machine:
        yield machine


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Return a function that writes the section mpidask.batch of a configuration file and has it read."""

    def write(text):
        file = tmp_path / "mpidask.yaml"
        file.write_text(yaml.safe_dump({"mpidask": {"batch": yaml.safe_load(text)}}))
        monkeypatch.setattr(dask.config, "paths", [str(tmp_path)])
        stack.enter_context(dask.config.set(dask.config.collect(paths=[str(tmp_path)], env={})))
        return file

    with contextlib.ExitStack() as stack:
        yield write
