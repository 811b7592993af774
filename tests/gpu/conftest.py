"""Tests that need real GPUs: left out, not skipped, where there is none, because a skip in `.ci/run` is a failure."""

from __future__ import annotations

import gpu_driver

collect_ignore_glob = [] if gpu_driver.is_there() else ["test_*.py"]
