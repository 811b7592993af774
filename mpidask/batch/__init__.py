"""Outside an allocation: asks a batch system for one.

::

    from mpidask import batch

    resources = batch.Resources(nodes=2, ranks_per_node=4)
    handle = batch.submit(batch.Job(command=("python", "-m", "mpidask", "script.py"), resources=resources))
    handle.wait()
"""

from mpidask.batch.job import Job, Resources
from mpidask.batch.submission import AsyncHandle, Handle, cancel, find, jobs, submit, submit_async
from mpidask.batch.system import BatchSystem, JobState

__all__ = [
    "AsyncHandle",
    "BatchSystem",
    "Handle",
    "Job",
    "JobState",
    "Resources",
    "cancel",
    "find",
    "jobs",
    "submit",
    "submit_async",
]
