"""Fixtures: `system` is this machine without a batch system, and one with Slurm; `slurm` is the latter alone."""

from __future__ import annotations

import pytest
from machines import borrowed


@pytest.fixture(params=["local", "slurm"])
def system(request):
    """Lend a machine with each of the batch systems."""
    with borrowed(request.param) as machine:
        yield machine


@pytest.fixture
def slurm():
    """Lend the machine with Slurm."""
    with borrowed("slurm") as machine:
        yield machine


@pytest.fixture
def local():
    """Lend this machine."""
    with borrowed("local") as machine:
        yield machine
