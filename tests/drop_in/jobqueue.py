"""What dask-jobqueue's test suite expects around it: the conftest.py beside its tests in `./do drop-in-jobqueue`.

Its tests name the cluster class for the batch system with -E; the suite's own data files are not in its sdist.
"""

import dask.config
import pytest
from distributed.utils_test import cleanup, loop, loop_in_thread  # noqa: F401 - fixtures

from mpidask import jobqueue

CLASSES = {
    "pbs": jobqueue.PBSCluster,
    "sge": jobqueue.SGECluster,
    "slurm": jobqueue.SLURMCluster,
    "oar": jobqueue.OARCluster,
    "local": jobqueue.LocalJobCluster,
}
EVERY = [
    jobqueue.HTCondorCluster,
    jobqueue.LSFCluster,
    jobqueue.MoabCluster,
    jobqueue.OARCluster,
    jobqueue.PBSCluster,
    jobqueue.SGECluster,
    jobqueue.SLURMCluster,
    jobqueue.LocalJobCluster,
]

#: Tests that look at what is private to dask-jobqueue, or expect what we do otherwise; and why.
NOT_OURS = {
    "test_jobqueue_job_call": "Job._call is private; commands are run by mpidask.batch.commands.runner",
    "test_job_id_from_qsub": "private; job ids are read as each system's facts say",
    "test_job_id_error_handling": "private; the same",
    "test_command_template[LocalJobCluster]": "jobs on this machine run mpidask.jobqueue.worker, also without TLS",
    "test_security_temporary_defaults": "expects a warning that keys lie in the current directory: ours never do",
    "test_security_temporary": "expects the keys in a directory that others may write to: ours make one there",
    "test_dashboard_link": "expects a link that everybody can guess: ours has a secret in it",
    "test_security": "the keys it uses are not in the sdist",
    "test_complex_cancel_command": "replaces the cancel command by one that cancels all jobs of root",
    "test_lsf_unit_detection": "private; tests/jobqueue has our own",
    "test_lsf_unit_detection_without_file": "the same",
    "test_memory_per_core_property_name_none_warning": "the words of the warning are our own",
    "test_different_interfaces_on_scheduler_and_workers": "needs the interfaces eth0:worker and eth0:scheduler",
    "test_runner": "SLURMRunner is not replaced by these classes: `mpidask run` is",
    "test_slurm_runner": "the same",
}


def pytest_addoption(parser):
    parser.addoption("-E", action="store", default="local", metavar="NAME", help="the batch system that is here")


def pytest_configure(config):
    config.addinivalue_line("markers", "env(NAME): needs this batch system")
    config.addinivalue_line("markers", "xfail_env(DICT): expected to fail with these")


def pytest_collection_modifyitems(config, items):
    here = config.getoption("-E")
    for item in items:
        name = item.name.split("[")[0]
        environments = [mark.args[0] for mark in item.iter_markers(name="env")]
        if environments and here not in environments:
            item.add_marker(pytest.mark.skip(reason=f"needs {environments[0]}"))
        reason = NOT_OURS.get(item.name, NOT_OURS.get(name))
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=f"not ours: {reason}"))


@pytest.fixture
def EnvSpecificCluster(request):  # noqa: N802 - the suite's name
    return CLASSES[request.config.getoption("-E")]


@pytest.fixture(params=EVERY, ids=lambda kind: kind.__name__)
def Cluster(request):  # noqa: N802 - the suite's name
    with dask.config.set({"jobqueue.htcondor.disk": "1GB"}):
        yield request.param
