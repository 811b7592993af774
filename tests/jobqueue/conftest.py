"""Fixtures: `system` is a machine with a batch system, each in turn."""

from __future__ import annotations

import pytest
from machines import borrowed

#: Scenario -> on which systems it shows something that the others do not show.
ON = {
    "a_day": ["local", "slurm", "sge", "oar", "torque"],
    "a_broken_prologue": ["local", "slurm", "sge"],
    "a_refusal": ["slurm", "sge", "oar"],
    "several_nodes": ["slurm", "sge"],
    "kinds_of_workers": ["slurm"],
    "with_keys": ["local", "slurm"],
    "strangers": ["local", "slurm"],
    "without_keys": ["local"],
    "within_a_firewall": ["local"],
    "a_scheduler_in_a_job": ["local", "slurm", "sge"],
    "killed": ["local", "slurm", "sge"],
    "an_exception": ["slurm"],
    "waiting": ["slurm", "sge"],
    "bursts": ["slurm"],
    "lifetimes": ["local"],
    "busy": ["slurm"],
    "a_lost_node": ["slurm"],
    "an_address_that_leads_nowhere": ["slurm"],
    "a_requeued_job": ["slurm"],
    "killed_with_its_sentinel": ["slurm"],
    "jobs_of_tcsh": ["slurm"],
}


def pytest_generate_tests(metafunc):
    if "system" in metafunc.fixturenames:
        scenario = metafunc.function.__name__.removeprefix("test_")
        metafunc.parametrize("system", ON[scenario], indirect=True)


@pytest.fixture
def system(request):
    """Lend a machine with each of the batch systems."""
    with borrowed(request.param) as machine:
        yield machine


@pytest.fixture
def nobodys_place(monkeypatch, tmp_path):
    """The defaults count, whatever whoever runs the tests has configured; records and files go to a place of the test."""
    import dask.config

    from mpidask.jobqueue.keywords import configuration

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    quiet = {"jobqueue.slurm.scheduler-options": {"dashboard_address": "127.0.0.1:0"}}
    with dask.config.set({"jobqueue": configuration.defaults()}), dask.config.set(quiet):
        yield
