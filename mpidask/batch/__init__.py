"""Outside an allocation: submits jobs to a batch system, and reports what became of them.

Runs on login nodes, and in job scripts that submit themselves again: without MPI and Dask's servers. May import only
the modules of `mpidask` itself.

::

    from mpidask import batch

    resources = batch.Resources(nodes=2, ranks_per_node=4)
    handle = batch.submit(batch.BatchJob(command=("python", "-m", "mpidask", "script.py"), resources=resources))
    handle.wait()
"""

from mpidask.batch.job import BatchJob, Resources
from mpidask.batch.job_state import JobState
from mpidask.batch.submission.handles import AsyncHandle, Handle, cancel, find, jobs, submit, submit_async
from mpidask.batch.system import BatchSystem

__all__ = [
    "AsyncHandle",
    "BatchJob",
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

Job = BatchJob  # its short name, behind `batch.`
