"""`mpidask.optimize: false`: a run without what mpidask does faster by replacing parts of Dask."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.one_mpi


def test_one_setting_switches_off_what_is_done_for_speed(ranks):
    """A run with it: servers do as Dask has it, with all that mpidask adds besides."""
    script = ranks.script(
        """
        import os, sys
        import dask.config
        from distributed import Client
        client = Client()

        def of_scheduler(dask_scheduler):
            versions = sys.modules["distributed.versions"]
            return versions.error_message.__module__, "mpidask-rest" in dask_scheduler.periodic_callbacks

        def of_server(dask_worker):
            callbacks = dask_worker.periodic_callbacks
            return dask.config._load_config_file.__module__, "mpidask-rest" in callbacks, "monitor" in callbacks

        def parent():
            return open(f"/proc/{os.getppid()}/cmdline").read().split(chr(0))[1:]

        print(client.run_on_scheduler(of_scheduler))
        print(*client.run(of_server).values())
        print(*client.run(of_server, nanny=True).values())
        print("from multiprocessing.forkserver import main" in " ".join(client.submit(parent).result()))
        """
    )
    result = ranks(3, "--nthreads", "1", script, environ={"DASK_MPIDASK__OPTIMIZE": "false"})
    assert (result.status, result.stdout.splitlines()) == (
        0,
        ["('distributed.versions', False)", *["('dask.config', False, True)"] * 2, "True"],
    ), result
    assert not result.leftover, result
