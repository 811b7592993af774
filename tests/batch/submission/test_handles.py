"""Handles of jobs, on this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
from datetime import timedelta

import pytest

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
    assert handle.wait(timeout=90) != 0
    assert (handle.state, handle.reason) == (JobState.CANCELLED, "cancelled by you")


@pytest.mark.parametrize("wait", [lambda handle: handle.wait, lambda handle: handles.AsyncHandle(handle).wait])
def test_who_waits_submits_a_job_again_that_could_not_do_it(tmp_path, wait):
    """As whoever follows it does: some sites let nodes submit nothing."""
    options = settings.load({"state_directory": str(tmp_path / "state")})
    script = f"[ -e {tmp_path}/ran ] && exit 3; touch {tmp_path}/ran; exit 75"
    job = BatchJob(command=("sh", "-c", script), requeue=1, python="false", launch_timeout=timedelta(0))
    handle = handles.submit(job, "local", options=options)
    beside, first = handles.AsyncHandle(handle), handle.id
    status = wait(handle)(timeout=120)
    assert (asyncio.run(status) if asyncio.iscoroutine(status) else status) == 3
    assert len(handle.record.submissions) == 2
    assert beside.id == handle.id != first
