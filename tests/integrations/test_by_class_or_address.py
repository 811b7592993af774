"""Frameworks that name the class of a cluster, or are given its address: on this machine, with TLS."""

from __future__ import annotations

import pytest
from machines import borrowed

#: None of them reports to its makers from here, or looks for a network.
QUIET = {
    "DO_NOT_TRACK": "1",
    "DAGSTER_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
}

#: With a server of its own, as Prefect has one for tests. On a busy machine it starts later than Prefect would wait.
WITH_SERVER = """
import runpy
from prefect.testing.utilities import prefect_test_harness

if __name__ == "__main__":
    with prefect_test_harness(server_startup_timeout=240):
        runpy.run_path("recipe.py", run_name="__main__")
"""

#: ESMValCore's package and configuration stand on packages that pip does not have; what makes the cluster is its own.
ESMVALCORE = """
import importlib, sys, types
import esmvalcore, yaml

config = types.ModuleType("esmvalcore.config")
config.__path__ = [f"{esmvalcore.__path__[0]}/config"]
config.CFG = yaml.safe_load(open("dask.yml"))
sys.modules["esmvalcore.config"] = config

def main():
    with importlib.import_module("esmvalcore.config._dask").get_distributed_client() as client:
        print("sum", client.scheduler.address[:6], client.submit(sum, [1, 2, 3]).result(timeout=60))

if __name__ == "__main__":
    main()
"""


@pytest.fixture
def local():
    with borrowed("local") as machine:
        machine.environment = {**machine.environment, **QUIET, "DAGSTER_HOME": str(machine.directory)}
        yield machine


def play(local, script):
    """Run a script as on a cluster; return what it prints."""
    done = local.run(local.python, "-W", "ignore", local.file("script.py", script), timeout=180)
    assert done.returncode == 0, done
    assert "TLS is off" not in done.stderr
    assert local.left_over() == []
    return done.stdout


@pytest.fixture
def recipe(recipes):
    """Return a function that gives a recipe for this machine without a batch system."""
    return lambda name: recipes["with LocalJobCluster", name].replace("SLURMCluster", "LocalJobCluster")


def test_dagster(local, recipe):
    assert "total 6" in play(local, recipe("dagster"))


def test_esmvalcore(local, recipe):
    local.file("dask.yml", recipe("esmvalcore"))
    assert "sum tls:// 6" in play(local, ESMVALCORE)


@pytest.mark.slow("Prefect's server starts, with a database")
def test_prefect(local, recipe):
    """Clients in its tasks get the scheduler's address alone."""
    local.file("recipe.py", recipe("prefect"))
    assert "sums [45, 190]" in play(local, WITH_SERVER)


def test_every_recipe_of_the_page_is_run(recipes):
    assert {name for where, name in recipes if where != "in a run"} == {"dagster", "esmvalcore", "prefect"}
