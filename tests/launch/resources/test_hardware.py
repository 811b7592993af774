"""What a rank finds on its node, read from recorded machines."""

from __future__ import annotations

import os

import pytest

from mpidask.errors import StartupError
from mpidask.launch.resources import hardware, scratch

GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    """Return a function that writes files of a recorded machine below a root, and that root."""

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


V2 = {
    "proc/meminfo": "MemTotal:       16777216 kB\n",
    "proc/self/cgroup": "0::/system.slice/slurmstepd.scope/job_7/step_0/user/task_1\n",
    "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/memory.max": "max\n",
    "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/memory.max": str(4 * GIB),
    "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/user/task_1/memory.max": "max",
    "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/cpu.max": "250000 100000",
    "sys/fs/cgroup/system.slice/slurmstepd.scope/job_7/step_0/user/task_1/memory.events": "oom 3\noom_kill 2\n",
}

V1 = {
    "proc/meminfo": "MemTotal:       16777216 kB\n",
    "proc/self/cgroup": "9:memory:/slurm/uid_1000/job_7/step_0\n4:cpu,cpuacct:/slurm/job_7\n0::/\n",
    "proc/self/mountinfo": (
        "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "31 23 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    ),
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    "sys/fs/cgroup/memory/slurm/uid_1000/job_7/memory.limit_in_bytes": str(2 * GIB),
    "sys/fs/cgroup/memory/slurm/uid_1000/job_7/step_0/memory.limit_in_bytes": str(3 * GIB),
    "sys/fs/cgroup/cpu,cpuacct/slurm/job_7/cpu.cfs_quota_us": "300000",
    "sys/fs/cgroup/cpu,cpuacct/slurm/job_7/cpu.cfs_period_us": "100000",
}

#: A container: its cgroup's path is given from the host's root, its mount begins below that.
CONTAINER = {
    "proc/meminfo": "MemTotal:       16777216 kB\n",
    "proc/self/cgroup": "0::/docker/abc/inner\n",
    "proc/self/mountinfo": "30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/memory.max": str(5 * GIB),
    "sys/fs/cgroup/inner/memory.max": "max",
}


@pytest.mark.parametrize(
    ("files", "least"), [(V2, 4 * GIB), (V1, 2 * GIB), (CONTAINER, 5 * GIB)], ids=["v2", "v1", "container"]
)
def test_the_least_of_all_cgroups_on_the_path(machine, files, least):
    limits = list(hardware.memory_limits({}, machine(files)))
    assert (limits[0].scope, limits[0].amount) == ("node", 16 * GIB)
    assert min(limit.amount for limit in limits) == least


def test_cpu_quota(machine):
    assert [limit.amount for limit in hardware.cgroup_limits("cpu", machine(V2))] == [2.5]


def test_cpu_quota_of_version_1(machine):
    assert [limit.amount for limit in hardware.cgroup_limits("cpu", machine(V1))] == [3.0]


def test_mounts_that_cannot_be_looked_at_are_left_out(machine):
    """Podman keeps its images in the home directory, which a container may show: other users' names, and closed."""
    closed = f"31 23 0:26 / /home/{'x' * 300}/sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    root = machine({**V2, "proc/self/mountinfo": closed + V2["proc/self/mountinfo"]})
    assert [limit.amount for limit in hardware.cgroup_limits("cpu", root)] == [2.5]


def test_kills_for_want_of_memory_are_counted(machine):
    assert hardware.oom_kills(machine(V2)) == 2
    assert hardware.oom_kills(machine({"proc/self/cgroup": ""}) / "nowhere") == 0


@pytest.mark.parametrize(
    ("environ", "amount"),
    [
        ({"SLURM_JOB_ID": "1", "SLURM_MEM_PER_NODE": "2048"}, 2 * GIB),
        ({"SLURM_JOB_ID": "1", "SLURM_MEM_PER_CPU": "512", "SLURM_CPUS_ON_NODE": "4"}, 2 * GIB),
        ({"PBS_JOBID": "1.pbs", "PBS_VMEM": str(4 * GIB), "PBS_NODEFILE": "/nodes"}, 2 * GIB),
    ],
)
def test_limits_of_batch_systems(machine, environ, amount):
    root = machine({"proc/meminfo": "MemTotal: 16777216 kB", "nodes": "n1\nn1\nn2\n"})
    assert min(limit.amount for limit in hardware.memory_limits(environ, root)) == amount


def test_huge_pages_are_set_aside(machine):
    pages = "HugePages_Total:    2048\nHugePages_Free:     2048\nHugepagesize:       2048 kB\n"
    root = machine({"proc/meminfo": f"MemTotal:       16777216 kB\n{pages}"})
    assert [limit.amount for limit in hardware.memory_limits({}, root)] == [12 * GIB]


def test_the_cores_of_the_node_are_those_that_it_has(monkeypatch):
    """Python 3.13 and later let PYTHON_CPU_COUNT say otherwise."""
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert hardware.read_facts(os.environ).node_cores == os.sysconf("SC_NPROCESSORS_ONLN")


def test_this_machine_is_read():
    facts = hardware.read_facts(os.environ)
    assert set(facts.cores) == os.sched_getaffinity(0)
    assert facts.memory[0].amount > 2**28
    assert facts.node in facts.network


MOUNTS = (
    "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:50 / /home rw - nfs4 server:/home rw\n"
    "3 1 0:51 / /scratch rw - lustre mds:/fs rw\n4 3 0:52 / /scratch/local rw - xfs /dev/nvme0n1 rw\n"
)


@pytest.mark.parametrize(
    ("path", "kind"), [("/home/me", "nfs4"), ("/scratch/x", "lustre"), ("/scratch/local/x", "xfs"), ("/var", "ext4")]
)
def test_file_systems(machine, path, kind):
    assert hardware.file_system(path, machine({"proc/self/mountinfo": MOUNTS})) == kind


def test_network_file_systems_are_refused_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(
        scratch, "file_system", lambda path, root: "lustre" if path.startswith(str(tmp_path)) else "ext4"
    )
    with pytest.raises(StartupError, match="network file system \\(lustre\\)") as caught:
        scratch.choose(str(tmp_path), {})
    assert "--shared-scratch" in caught.value.remedy
    assert scratch.choose(str(tmp_path), {}, shared=True) == str(tmp_path.resolve())
    assert scratch.choose(None, {"TMPDIR": str(tmp_path)}) != str(tmp_path)


def test_node_local_places_come_in_order(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert scratch.choose(None, {"TMPDIR": str(second), "SLURM_TMPDIR": str(first)}) == str(first.resolve())
    assert scratch.choose(None, {"TMPDIR": str(second), "SLURM_TMPDIR": str(tmp_path / "nowhere")}) == str(
        second.resolve()
    )


def test_a_path_is_as_long_as_its_bytes(tmp_path):
    place = tmp_path / ("\u00fc" * 40)
    place.mkdir()
    made = scratch.Scratch.make(str(place), 2, [])
    assert len(os.fsencode(made.sockets)) < 70
    made.remove()


def test_scratch_is_private_and_a_living_one_is_not_swept(tmp_path):
    made = scratch.Scratch.make(str(tmp_path), 2, [])
    assert os.stat(made.path).st_mode & 0o777 == 0o700
    swept = scratch.sweep(str(tmp_path))  # in /tmp there may be another test's
    assert not {os.path.basename(path) for path in made.paths} & {*swept}
    assert os.path.isdir(made.path)
    assert all(map(os.path.isdir, made.paths))
    made.remove()
    assert list(tmp_path.iterdir()) == []
    assert not any(map(os.path.exists, made.paths))


def test_a_dead_one_is_swept_with_its_segments_and_nothing_else(tmp_path):
    segment = f"/dev/shm/sem.mp-{tmp_path.name}-x"
    open(segment, "w").close()
    precious = tmp_path / "precious"
    precious.write_text("")
    made = scratch.Scratch.make(str(tmp_path), 2, [segment, str(precious)])
    for each in filter(None, (made, made._short)):
        each._lock.close()  # as the kernel does when the rank dies
    stranger = tmp_path / "mpidask-link"
    stranger.symlink_to("/etc")
    assert os.path.basename(made.path) in scratch.sweep(str(tmp_path))
    assert not os.path.exists(segment)
    assert precious.exists()
    assert stranger.is_symlink()
    assert not os.path.exists(made.path)
