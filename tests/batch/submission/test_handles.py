"""Handles of jobs, on this machine."""

from __future__ import annotations

import os
import shutil

from mpidask.batch import settings
from mpidask.batch.job import BatchJob
from mpidask.batch.job_state import JobState
from mpidask.batch.submission import handles


def test_a_local_job_can_be_cancelled_at_once(tmp_path, monkeypatch):
    """A process takes a moment to get the session that the cancel command ends; here a long one."""
    slow = tmp_path / "setsid"
    slow.write_text(f'#!/bin/sh\nsleep 0.7\nexec {shutil.which("setsid")} "$@"\n')
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = settings.load({"state_directory": str(tmp_path / "state")})
    handle = handles.submit(BatchJob(command=("sleep", "60")), "local", options=options)
    handle.cancel()
    assert handle.wait(timeout=30) != 0
    assert (handle.state, handle.reason) == (JobState.CANCELLED, "cancelled by you")
