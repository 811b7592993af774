"""What counts as left by an ended run."""

from __future__ import annotations

import multiprocessing
import os
import uuid
from pathlib import Path

import pytest

from mpidask.doctor.probes.files import stale

pytestmark = pytest.mark.one_mpi


def test_semaphores_in_use_are_not_left_over():
    """Their mappings have another name than their files: the C library names them later."""
    context = multiprocessing.get_context("spawn")
    semaphore = context.Semaphore()
    name = f"sem.{semaphore._semlock.name.removeprefix('/')}"
    orphan = Path("/dev/shm") / f"sem.mp-{uuid.uuid4().hex[:8]}"
    orphan.touch()
    try:
        assert name in os.listdir("/dev/shm")
        found = stale.measure(Path("/"))["segments"]
        assert name not in found
        assert orphan.name in found
    finally:
        orphan.unlink()
