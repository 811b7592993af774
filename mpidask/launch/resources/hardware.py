"""What this rank may use of its node: cores, memory, network addresses, scratch space.

Reads the machine, no MPI. `root` stands for / in every function, so that recorded machines can be read.
"""

from __future__ import annotations

import functools
import os
import re
import resource
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

from mpidask.addresses.interfaces import addresses
from mpidask.job_environment import text_of
from mpidask.launch.resources import allotment
from mpidask.launch.resources.division import Facts, Limit
from mpidask.launch.watchdog.launcher_environment import local_size

__all__ = [
    "NETWORK_FILE_SYSTEMS",
    "cgroup_directories",
    "cgroup_limits",
    "file_system",
    "listing",
    "memory_limits",
    "read_facts",
    "text_of",
]

_ROOT = Path("/")

#: Spilling there is slow for the worker and worse for everybody else's metadata.
NETWORK_FILE_SYSTEMS = frozenset({
    "nfs", "nfs4", "lustre", "gpfs", "beegfs", "cifs", "smb3", "smbfs", "ceph", "panfs", "pvfs2", "orangefs", "afs",
    "9p", "glusterfs", "wekafs", "dvs", "cvmfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.dfuse",
    "fuse.gpfs", "fuse.quobyte",
})  # fmt: skip

#: Where sites put node-local space, in the order in which it is looked for.
_SCRATCH_VARIABLES = ("SLURM_TMPDIR", "TMPDIR", "JOBFS", "PBS_JOBFS", "LOCAL_SCRATCH", "LSCRATCH")
_SCRATCH_PLACES = ("/local", "/scratch/local", "/local/scratch", "/local_scratch", "/lscratch", "/tmp", "/var/tmp")


def read_facts(
    environ: Mapping[str, str], interface: str | None = None, root: Path = _ROOT, *, listens: bool = True
) -> Facts:
    """Return what this process finds on its node; GPUs and `scratch` are left open.

    listens: whether its addresses are needed
    """
    cores = tuple(sorted(os.sched_getaffinity(0)))
    boot = text_of(root / "proc/sys/kernel/random/boot_id") or socket.gethostname()
    return Facts(
        host=socket.gethostname(),
        node=boot,
        network=f"{boot}:{_network_namespace()}",
        cores=cores,
        node_cores=os.sysconf("SC_NPROCESSORS_ONLN"),  # os.cpu_count() heeds PYTHON_CPU_COUNT
        cpu=tuple(cpu_limits(environ, root)),
        memory=tuple(memory_limits(environ, root)),
        addresses=tuple(addresses(interface)) if listens else (),
        pid=os.getpid(),
        job_ranks=local_size(environ) or 0,
    )


# ---------------------------------------------------------------------- memory
def _set_aside(about: str) -> int:
    """Return how many bytes are huge pages, which a program gets that asks for them alone (pure).

    https://docs.kernel.org/admin-guide/mm/hugetlbpage.html

    about: /proc/meminfo
    """
    pages, size = (re.search(rf"^{each}:\s+(\d+)", about, re.MULTILINE) for each in ("HugePages_Total", "Hugepagesize"))
    return int(pages[1]) * int(size[1]) * 1024 if pages and size else 0


def memory_limits(environ: Mapping[str, str], root: Path = _ROOT) -> Iterator[Limit]:
    """Yield every limit on memory that holds here, in bytes; the node's comes first."""
    about = text_of(root / "proc/meminfo")
    match = re.search(r"MemTotal:\s+(\d+) kB", about)
    total = int(match[1]) * 1024 if match else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    total -= min(_set_aside(about), total // 2)
    yield Limit("node", total, "node")
    host = socket.gethostname()
    known = [limit for limit in cgroup_limits("memory", root) if limit.amount < total]
    known += allotment.memory(environ, host, root)
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        known.append(Limit(f"process:{os.getpid()}", soft, "ulimit -v"))
    yield from (limit for limit in known if limit.amount < total)
    if not known and (mine := allotment.part(environ, host, root, total, _node_cores)):
        yield mine


def _node_cores() -> tuple[int, int]:
    """Return how many hardware threads and how many cores the node has."""
    import psutil  # Dask needs it too; unlike os.cpu_count, it does not heed PYTHON_CPU_COUNT

    threads = psutil.cpu_count() or os.cpu_count() or 1
    return threads, psutil.cpu_count(logical=False) or threads


def cpu_limits(environ: Mapping[str, str], root: Path = _ROOT) -> Iterator[Limit]:
    """Yield every limit on CPU time that holds here, in cores."""
    yield from cgroup_limits("cpu", root)
    given = allotment.cores(environ, socket.gethostname(), root)
    if given is not None:
        yield given


def cgroup_limits(controller: str, root: Path = _ROOT) -> Iterator[Limit]:
    """Yield the limits of every cgroup from this process's up to the root, versions 1 and 2.

    controller: "memory" (bytes) or "cpu" (cores)
    """
    for directory in cgroup_directories(controller, root):
        amount = _cgroup_memory(directory) if controller == "memory" else _cgroup_cpu(directory)
        if amount is not None:
            yield Limit(f"cgroup:{directory}", amount, f"cgroup {directory.name or '/'}")


def _cgroup_memory(directory: Path) -> float | None:
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    amounts = [_number(text_of(directory / name)) for name in names]
    return min((amount for amount in amounts if amount is not None), default=None)


def _cgroup_cpu(directory: Path) -> float | None:
    quota, _, period = text_of(directory / "cpu.max").partition(" ")
    if not quota:
        quota, period = text_of(directory / "cpu.cfs_quota_us"), text_of(directory / "cpu.cfs_period_us")
    amount, length = _number(quota), _number(period)
    return amount / length if amount and length and amount > 0 else None


def cgroup_directories(controller: str, root: Path) -> Iterator[Path]:
    """Yield the directories of this process's cgroups of that controller, from its own to the root's."""
    mounts = list(_cgroup_mounts(root))
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for kind, options, mounted_root, mount_point in mounts:
            mine = kind == "cgroup2" if controllers == "" else controller in controllers.split(",")
            if mine and (controllers == "" or controller in options):
                yield from _upwards(root / mount_point.lstrip("/"), path, mounted_root)


def _cgroup_mounts(root: Path) -> Iterator[tuple[str, list[str], str, str]]:
    """Yield (kind, options, root, mount point); https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html."""
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(tail) >= 3 and tail[0] in ("cgroup", "cgroup2"):
            yield tail[0], tail[2].split(","), fields[3], fields[4]


def _upwards(mount: Path, path: str, mounted_root: str) -> Iterator[Path]:
    relative = os.path.relpath(path, mounted_root)
    directory = mount if relative.startswith("..") else Path(os.path.normpath(mount / relative))
    while True:
        if os.path.isdir(directory):  # also where it is not: a container that shows its own storage has closed ones
            yield directory
        if directory in (mount, directory.parent):
            return
        directory = directory.parent


# --------------------------------------------------------------------- network
def _network_namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/net")
    except OSError:
        return ""


# --------------------------------------------------------------------- scratch
def scratch_candidates(environ: Mapping[str, str]) -> list[str]:
    """Return where node-local space may be, in the order in which it is to be tried."""
    named = [environ[name] for name in _SCRATCH_VARIABLES if environ.get(name)]
    return list(dict.fromkeys([*named, *_SCRATCH_PLACES]))


def file_system(path: str, root: Path = _ROOT) -> str:
    """Return the kind of file system that holds a path, such as ext4 or lustre; "" if unknown."""
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in text_of(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].replace("\\040", " ")
        below = real == point or real.startswith(point.rstrip("/") + "/")
        if below and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind


# --------------------------------------------------------------------- reading
def oom_kills(root: Path = _ROOT) -> int:
    """Return how often the kernel has killed a process in this process's cgroups for want of memory."""
    texts = map(text_of, _oom_files(root))
    return max(
        (int(count) for text in texts for count in re.findall(r"^oom_kill (\d+)", text, re.MULTILINE)), default=0
    )


@functools.cache
def _oom_files(root: Path) -> list[Path]:
    """Return the files with that number; they are looked up once: there is a question for each worker's start."""
    names = ("memory.events", "memory.oom_control")
    files = [directory / name for directory in cgroup_directories("memory", root) for name in names]
    return [file for file in files if os.path.exists(file)]  # False, too, in a directory that may not be entered


def listing(path: Path) -> list[str]:
    """Return the names in a directory, none if it cannot be read."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _number(text: str | None) -> float | None:
    """Return a number, None for Slurm's and the kernel's words for no limit."""
    return float(text) if text and re.fullmatch(r"-?\d+", text) else None
