"""Per-worker jobs: Dask clusters whose workers are batch jobs, compatible with dask_jobqueue.

Runs in the user's process; `scheduler_main` and `worker` run in jobs. May import batch, dashboard, security.

::

    from mpidask import SLURMCluster

    with SLURMCluster(cores=24, memory="100GB", processes=6) as cluster, Client(cluster) as client:
        cluster.scale(jobs=10)
"""

from mpidask.jobqueue.core import Job, JobQueueCluster
from mpidask.jobqueue.flux import FluxCluster, FluxJob
from mpidask.jobqueue.htcondor import HTCondorCluster, HTCondorJob
from mpidask.jobqueue.keywords import configuration
from mpidask.jobqueue.local import LocalJob, LocalJobCluster
from mpidask.jobqueue.lsf import LSFCluster, LSFJob
from mpidask.jobqueue.moab import MoabCluster, MoabJob
from mpidask.jobqueue.oar import OARCluster, OARJob
from mpidask.jobqueue.pbs import PBSCluster, PBSJob
from mpidask.jobqueue.sge import SGECluster, SGEJob
from mpidask.jobqueue.slurm import SLURMCluster, SLURMJob

configuration.install()

__all__ = [
    "FluxCluster",
    "FluxJob",
    "HTCondorCluster",
    "HTCondorJob",
    "Job",
    "JobQueueCluster",
    "LSFCluster",
    "LSFJob",
    "LocalJob",
    "LocalJobCluster",
    "MoabCluster",
    "MoabJob",
    "OARCluster",
    "OARJob",
    "PBSCluster",
    "PBSJob",
    "SGECluster",
    "SGEJob",
    "SLURMCluster",
    "SLURMJob",
]
