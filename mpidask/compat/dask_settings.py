"""Dask's configuration and logging in a process of a run: as rank 0 has them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["LEVELS", "QUIET", "update"]

#: Says in the environment that Dask's own lines are left out, for workers, which read it before they get our words.
QUIET = "DASK_LOGGING__DISTRIBUTED"

#: What is logged of Dask and of what it stands on, unless the user has configured it.
LEVELS = {
    "asyncio": "error",
    "distributed": "warning",
    **dict.fromkeys(("distributed.nanny", "distributed.nanny.memory", "distributed.shuffle"), "error"),
}


def update(configuration: Mapping[str, Any]) -> None:
    """Give Dask in this process the configuration of the run."""
    import dask.config

    dask.config.update(dask.config.config, configuration, priority="new")
    if QUIET in os.environ and "distributed" in sys.modules:  # it may have been imported, and it reads this once
        import logging  # not at the top: ranks that only wait do without

        for name, level in LEVELS.items():
            logging.getLogger(name).setLevel(level.upper())
