"""What `mpidask` exports, and that importing it imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mpidask import config


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
