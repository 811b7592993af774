"""What the batch system gives this job of a node, where the kernel may not hold the job to it.

On nodes that jobs share, a batch system without cgroups only counts what jobs were promised. A job that takes what the
kernel lets it have takes what was promised to others. Reads variables and files, no MPI. `root` stands for /.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mpidask import run_directory
from mpidask.job_environment import number, slot, text_of
from mpidask.launch.resources.division import Limit
from mpidask.launch.watchdog.launcher_environment import counts, launcher_name

__all__ = ["cores", "memory", "part"]

_SCOPE = "batch"


class _Job:
    """The job as its environment shows it on one node."""

    def __init__(self, environ: Mapping[str, str], host: str, root: Path) -> None:
        self.environ, self.root = environ, root
        self.host = host.partition(".")[0]

    def number(self, name: str) -> int:
        """Return the number that a variable holds; 0 for none."""
        return number(self.environ, name)

    def slot(self, name: str) -> int:
        """Return a number that HTCondor says of the job's slot; 0 for none."""
        return slot(self.environ, name, self.root)

    def lines(self, name: str) -> list[list[str]]:
        """Return the words of each line of the file that a variable names."""
        text = text_of(self.root / self.environ[name].lstrip("/")) if self.environ.get(name) else ""
        return [line.split() for line in text.splitlines() if line.split()]

    def here(self, hosts: Iterator[tuple[str, int]]) -> int:
        """Return this node's part of (host, count) pairs: 0 if it is not among them."""
        return sum(count for host, count in hosts if host.partition(".")[0] == self.host)


# ----------------------------------------------------------------------- cores
def cores(environ: Mapping[str, str], host: str, root: Path) -> Limit | None:
    """Return how many of this node's cores the job was given; None if neither batch system nor job script says."""
    job = _Job(environ, host, root)
    said = ((source, told(job)) for source, told in _CORES.items())
    return next((Limit(_SCOPE, count, source) for source, count in said if count), None)


def _slurm(job: _Job) -> int:
    # https://slurm.schedmd.com/srun.html: the first is this node's if srun has started this process; other launchers
    # pass on that of the node where they were started.
    if launcher_name(job.environ) == "srun":
        return job.number("SLURM_CPUS_ON_NODE")
    return max(counts(job.environ.get("SLURM_JOB_CPUS_PER_NODE", "")), default=job.number("SLURM_CPUS_ON_NODE"))


def _grid_engine(job: _Job) -> int:
    # https://gridscheduler.sourceforge.net/htmlman/htmlman5/sge_pe.html: "host slots queue processors"
    pairs = ((words[0], int(words[1])) for words in job.lines("PE_HOSTFILE") if words[1:] and words[1].isdigit())
    return job.here(pairs) or -(-job.number("NSLOTS") // max(1, job.number("NHOSTS")))


def _lsf(job: _Job) -> int:
    # https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=variables-lsb-mcpu-hosts: "host slots host slots ..."
    words = job.environ.get("LSB_MCPU_HOSTS", "").split()
    numbers = [int(word) for word in words[1::2] if word.isdigit()]
    hosts = job.here((host, count) for host, count in zip(words[::2], numbers, strict=False))
    return hosts or max(numbers, default=0) or job.number("LSB_DJOB_NUMPROC")


def _pbs(job: _Job) -> int:
    # PBS Professional User's Guide, "OpenMP Jobs": the cores of a chunk, or its `ompthreads` if the job names them;
    # the file then still has a line for each of its processes.
    if not job.number("NCPUS") or "PBS_JOBID" not in job.environ:
        return 0
    return max(job.number("NCPUS"), job.here((words[0], 1) for words in job.lines("PBS_NODEFILE")))


def _in_all(job: _Job) -> int:
    """Return what sites of PBS say of the job as a whole, divided among its nodes."""
    return -(-job.number("PBS_NCPUS") // max(1, len({words[0] for words in job.lines("PBS_NODEFILE")})))


#: Where it stands -> what it says. The first that says something counts; the job script knows what was asked for.
_CORES: dict[str, Callable[[_Job], int]] = {
    "SLURM_CPUS_ON_NODE": _slurm,
    "NCPUS": _pbs,
    "PBS_NCPUS": _in_all,
    # http://docs.adaptivecomputing.com/torque/6-1-2/adminGuide/torque.htm: "Exported Batch Environment Variables"
    "PBS_NUM_PPN": lambda job: job.number("PBS_NUM_PPN"),
    "NSLOTS": _grid_engine,
    "LSB_MCPU_HOSTS": _lsf,
    "_CONDOR_MACHINE_AD": lambda job: job.slot("Cpus"),
    "the job's request": lambda job: job.number(run_directory.CORES),
}


# ---------------------------------------------------------------------- memory
def memory(environ: Mapping[str, str], host: str, root: Path) -> list[Limit]:
    """Return what batch system and job script say of this node's memory, in bytes."""
    job = _Job(environ, host, root)
    said = [Limit(_SCOPE, amount, source) for source, amount in _memory(job) if amount]
    asked = job.number(run_directory.MEMORY)
    return said or ([Limit(_SCOPE, asked, "the job's request")] if asked else [])


def _memory(job: _Job) -> Iterator[tuple[str, float]]:
    # https://slurm.schedmd.com/sbatch.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES: megabytes
    yield "SLURM_MEM_PER_NODE", job.number("SLURM_MEM_PER_NODE") * 2**20
    yield "SLURM_MEM_PER_CPU", job.number("SLURM_MEM_PER_CPU") * job.number("SLURM_CPUS_ON_NODE") * 2**20
    # Sites that set it mean bytes for the whole job.
    yield "PBS_VMEM", job.number("PBS_VMEM") / max(1, len({words[0] for words in job.lines("PBS_NODEFILE")}))
    yield "_CONDOR_MACHINE_AD", job.slot("Memory") * 2**20
    # What PBS, Grid Engine and LSF have of a job's limit without cgroups. The kernel does not enforce it.
    soft, _ = resource.getrlimit(resource.RLIMIT_RSS)
    yield "ulimit -m", 0 if soft == resource.RLIM_INFINITY else soft


def part(total: float, node_cores: int, mine: Limit) -> Limit | None:
    """Return the memory that goes with the job's cores, for where nobody says how much; None if that is all of it.

    total:      the node's, in bytes
    node_cores: how many cores the node has
    """
    if mine.amount >= node_cores:
        return None
    return Limit(_SCOPE, total * mine.amount / node_cores, f"{mine.amount:.0f} of {node_cores} cores ({mine.source})")
