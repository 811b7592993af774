"""What the batch system gives this job of a node, where the kernel may not hold the job to it.

On nodes that jobs share, a batch system without cgroups only counts what jobs were promised. A job that takes what the
kernel lets it have takes what was promised to others. Reads variables and files, no MPI. `root` stands for /.
"""

from __future__ import annotations

import dataclasses
import math
import resource
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from mpidask import run_directory
from mpidask.job_environment import number, slot, text_of
from mpidask.launch.resources.division import Limit
from mpidask.launch.watchdog.launcher_environment import counts, launcher_name, node_names

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


@dataclasses.dataclass(frozen=True)
class _Source:
    """Something that says how many cores a job has on a node.

    cores:   what it says of this node, for the processes that share it; 0 for nothing, infinity if their masks say it
    holds:   whether a job of that system runs here: variables alone may come from a profile, or from another job
    whole:   what the job has of this node, where `cores` may be a part of it
    threads: whether it counts hardware threads, not cores
    """

    cores: Callable[[_Job], float]
    holds: Callable[[_Job], bool] = lambda job: True
    whole: Callable[[_Job], float] | None = None
    threads: bool = True


# ----------------------------------------------------------------------- cores
def cores(environ: Mapping[str, str], host: str, root: Path) -> Limit | None:
    """Return how many of this node's cores the job was given; None if neither batch system nor job script says."""
    job = _Job(environ, host, root)
    name, source = _counts(job)
    amount = source.cores(job) if source else math.inf
    return Limit(_SCOPE, amount, name) if amount < math.inf else None


def _counts(job: _Job) -> tuple[str, _Source | None]:
    """Return the first source that says something, and its name."""
    said = (pair for pair in _CORES.items() if pair[1].holds(job) and pair[1].cores(job))
    return next(said, ("", None))


def _in_slurm(job: _Job) -> bool:
    # https://slurm.schedmd.com/salloc.html: its shell may stay on the login node, of which the job has nothing.
    return "SLURM_JOB_ID" in job.environ and (_slurm_place(job) is not None or not job.environ.get(_SLURM_NODES))


def _slurm_place(job: _Job) -> int | None:
    """Return this node's place among the job's; None if it is not among them."""
    # The second is the name that Slurm has for the node, set for batch scripts and by srun. Launchers may pass on the
    # one of the node where they were started, so the host's name comes first.
    names = [name.partition(".")[0] for name in node_names(job.environ.get(_SLURM_NODES, ""))]
    mine = (job.host, job.environ.get("SLURMD_NODENAME", "").partition(".")[0])
    return next((names.index(name) for name in mine if name in names), None)


def _slurm_step(job: _Job) -> int:
    # https://slurm.schedmd.com/srun.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES: the step's CPUs on this node, if srun
    # has started this process; other launchers pass on the number of the node where they were started.
    return (job.number("SLURM_CPUS_ON_NODE") if launcher_name(job.environ) == "srun" else 0) or _slurm_job(job)


def _slurm_job(job: _Job) -> int:
    # The job's CPUs on each node, "72(x2),36", in the order of the job's list of nodes.
    numbers, place = counts(job.environ.get("SLURM_JOB_CPUS_PER_NODE", "")), _slurm_place(job)
    if place is not None and place < len(numbers):
        return numbers[place]
    return min(numbers, default=job.number("SLURM_CPUS_ON_NODE"))


_SLURM_NODES = "SLURM_JOB_NODELIST"


def _in_grid_engine(job: _Job) -> bool:
    # https://gridscheduler.sourceforge.net/htmlman/htmlman1/qsub.html, "ENVIRONMENTAL VARIABLES"
    theirs = ("PE_HOSTFILE", "SGE_TASK_ID", "SGE_JOB_SPOOL_DIR", "SGE_ROOT")
    return job.number("JOB_ID") > 0 and any(name in job.environ for name in theirs)


def _grid_engine(job: _Job) -> int:
    # https://gridscheduler.sourceforge.net/htmlman/htmlman5/sge_pe.html: "host slots queue processors"
    pairs = ((words[0], int(words[1])) for words in job.lines("PE_HOSTFILE") if words[1:] and words[1].isdigit())
    return job.here(pairs) or -(-job.number("NSLOTS") // max(1, job.number("NHOSTS")))


def _in_lsf(job: _Job) -> bool:
    return "LSB_JOBID" in job.environ


def _lsf(job: _Job) -> int:
    # https://www.ibm.com/docs/en/spectrum-lsf/10.1.0?topic=variables-lsb-mcpu-hosts: "host slots host slots ..."
    words = job.environ.get("LSB_MCPU_HOSTS", "").split()
    numbers = [int(word) for word in words[1::2] if word.isdigit()]
    hosts = job.here((host, count) for host, count in zip(words[::2], numbers, strict=False))
    return hosts or max(numbers, default=0) or job.number("LSB_DJOB_NUMPROC")


def _bound_by_lsf(job: _Job) -> bool:
    return _in_lsf(job) and any(job.environ.get(name) for name in ("LSB_AFFINITY_HOSTFILE", "LSB_BIND_CPU_LIST"))


def _lsf_affinity(job: _Job) -> float:
    # https://www.ibm.com/docs/SSWRJV_10.1.0/lsf_admin/affinity_res_req_string.html: with `affinity[core(8)]` a slot has
    # 8 cores. The file has a line for each task: "host CPUs NUMA-nodes policy". The list is that of a job's first host.
    lines = [words for words in job.lines("LSB_AFFINITY_HOSTFILE") if words[1:]]
    cpus = {cpu for words in lines if words[0].partition(".")[0] == job.host for cpu in _numbers(words[1])}
    if len(set(job.environ.get("LSB_MCPU_HOSTS", "").split()[::2])) == 1:
        cpus = cpus or _numbers(job.environ.get("LSB_BIND_CPU_LIST", ""))
    return len(cpus) or math.inf


def _numbers(text: str) -> set[int]:
    """Return the numbers of ``0,2,4-6``."""
    ends = [part.partition("-") for part in text.split(",")]
    pairs = ((first, last or first) for first, _, last in ends)
    return {
        number
        for first, last in pairs
        if first.isdigit() and last.isdigit()
        for number in range(int(first), int(last) + 1)
    }


def _in_pbs(job: _Job) -> bool:
    return "PBS_JOBID" in job.environ


def _pbs(job: _Job) -> int:
    # PBS Professional User's Guide, "OpenMP Jobs", https://help.altair.com/: the cores of a chunk, or its `ompthreads`
    # if the job names them. The file has a line for each process of each chunk: 4 lines are one chunk with
    # `mpiprocs=4` or 4 with `mpiprocs=1`. Which of them the variables do not tell, the job script may.
    cores, lines = job.number("NCPUS"), job.here((words[0], 1) for words in job.lines("PBS_NODEFILE"))
    if not cores:
        return 0
    least, most, asked = max(cores, lines), cores * max(1, lines), job.number(run_directory.CORES)
    return asked if least <= asked <= most else least


def _in_all(job: _Job) -> int:
    """Return what sites of PBS say of the job as a whole, divided among its nodes."""
    return -(-job.number("PBS_NCPUS") // max(1, len({words[0] for words in job.lines("PBS_NODEFILE")})))


#: Where it stands -> what it says. The first that says something counts; the job script knows what was asked for.
_CORES = {
    "SLURM_CPUS_ON_NODE": _Source(_slurm_step, _in_slurm, _slurm_job),
    "NCPUS": _Source(_pbs, _in_pbs),
    "PBS_NCPUS": _Source(_in_all, _in_pbs),
    # http://docs.adaptivecomputing.com/torque/6-1-2/adminGuide/torque.htm: "Exported Batch Environment Variables"
    "PBS_NUM_PPN": _Source(lambda job: job.number("PBS_NUM_PPN"), _in_pbs),
    "NSLOTS": _Source(_grid_engine, _in_grid_engine),
    "LSB_AFFINITY_HOSTFILE": _Source(_lsf_affinity, _bound_by_lsf),
    # https://www.hpc.dtu.dk/lsf931/lsf_admin/lim_core_detection.html: LSF counts cores unless the site changes that.
    "LSB_MCPU_HOSTS": _Source(_lsf, _in_lsf, threads=False),
    "_CONDOR_MACHINE_AD": _Source(lambda job: job.slot("Cpus")),
    "the job's request": _Source(lambda job: job.number(run_directory.CORES), threads=False),
}


# ---------------------------------------------------------------------- memory
def memory(environ: Mapping[str, str], host: str, root: Path) -> list[Limit]:
    """Return what batch system and job script say of this node's memory, in bytes; infinity for all of it."""
    job = _Job(environ, host, root)
    said = [Limit(_SCOPE, amount, source) for source, amount in _memory(job) if amount]
    asked = job.number(run_directory.MEMORY)
    return said or ([Limit(_SCOPE, asked, "the job's request")] if asked else [])


def _memory(job: _Job) -> Iterator[tuple[str, float]]:
    if _in_slurm(job):
        # https://slurm.schedmd.com/sbatch.html#SECTION_OUTPUT-ENVIRONMENT-VARIABLES: megabytes;
        # https://slurm.schedmd.com/sbatch.html#OPT_mem: 0 is all that the node has.
        given = job.environ.get("SLURM_MEM_PER_NODE") == "0"
        yield "SLURM_MEM_PER_NODE", math.inf if given else job.number("SLURM_MEM_PER_NODE") * 2**20
        # https://slurm.schedmd.com/srun.html#OPT_mem-per-cpu: Slurm gives a step that much for each of its own CPUs.
        yield "SLURM_MEM_PER_CPU", job.number("SLURM_MEM_PER_CPU") * _slurm_step(job) * 2**20
    # Sites that set it mean bytes for the whole job.
    if _in_pbs(job):
        yield "PBS_VMEM", job.number("PBS_VMEM") / max(1, len({words[0] for words in job.lines("PBS_NODEFILE")}))
    yield "_CONDOR_MACHINE_AD", job.slot("Memory") * 2**20
    # What PBS, Grid Engine, LSF and Slurm have of a job's limit without cgroups. The kernel does not enforce it.
    soft, _ = resource.getrlimit(resource.RLIMIT_RSS)
    yield "ulimit -m", 0 if soft == resource.RLIM_INFINITY else soft


def part(
    environ: Mapping[str, str], host: str, root: Path, total: float, node: Callable[[], tuple[int, int]]
) -> Limit | None:
    """Return the memory that goes with the job's cores, for where nobody says how much; None if that is all of it.

    total: the node's, in bytes
    node:  tells how many hardware threads and how many cores the node has; asked only where the job was given some
    """
    job = _Job(environ, host, root)
    name, source = _counts(job)
    if source is None:
        return None
    mine = (source.whole or source.cores)(job)
    threads, cores = node()
    every, unit = (threads, "CPUs") if source.threads or mine > cores else (cores, "cores")
    return Limit(_SCOPE, total * mine / every, f"{mine:.0f} of {every} {unit} ({name})") if mine < every else None
