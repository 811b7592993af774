"""What the batch system gives a job of a node: its variables and files, for nodes on which the kernel confines nothing."""

from __future__ import annotations

import math
import resource

import pytest

from mpidask import job_environment
from mpidask.launch.cluster.banner import banner
from mpidask.launch.resources import allotment, hardware
from mpidask.launch.resources.division import Facts, Limit, WorkerRequest, divide
from mpidask.launch.resources.roles import Role
from mpidask.launch.watchdog import launcher_environment
from mpidask.launch.watchdog.agent_process import variables

GIB = 2**30

FILES = {
    "pbs_nodes": "n1.site.org\nn1.site.org\nn2.site.org\n",
    "packed": "n1.site.org\n" * 4,
    "affinity": "n2 0,1,2,3 0 1\nn1 0,1,2,3 0 1\nn1.site.org 4,5,6,7 0 1\n",
    "pe_hosts": "n2.site.org 6 all.q@n2 UNDEFINED\nn1.site.org 3 all.q@n1 UNDEFINED\n",
    "machine.ad": 'Cpus = 5\nDetectedCpus = 64\nMemory = 3072\nName = "slot1_1@n1"\nTotalSlotMemory = 9999\n',
}

GRID_ENGINE = {"JOB_ID": "7", "SGE_TASK_ID": "undefined"}

LSF = {"LSB_JOBID": "1", "LSB_DJOB_NUMPROC": "6"}

SLURM = {"SLURM_JOB_ID": "1", "SLURM_CPUS_ON_NODE": "2"}

#: `srun -n 2 -c 8` in a job that has a node with 128 hardware threads for itself.
STEP = {
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NODELIST": "n1",
    "SLURM_JOB_CPUS_PER_NODE": "128",
    "SLURM_CPUS_ON_NODE": "16",
    "SLURM_PROCID": "0",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2",
}

#: What a job's environment says -> its cores on the node n1, and where that stands.
CORES = [
    ({}, None),
    ({"NCPUS": "4"}, None),  # Cray's and other sites' modules set it, too
    ({"PBS_JOBID": "1.pbs", "NCPUS": "1", "OMP_NUM_THREADS": "1"}, (1, "NCPUS")),
    ({"PBS_JOBID": "1.pbs", "NCPUS": "1", "PBS_NODEFILE": "/pbs_nodes"}, (2, "NCPUS")),  # ompthreads=1:mpiprocs=2
    # Chunks packed on one host, or processes of one chunk: the job script says which, else the least counts.
    ({"PBS_JOBID": "1.pbs", "NCPUS": "8", "PBS_NODEFILE": "/packed"}, (8, "NCPUS")),
    ({"PBS_JOBID": "1.pbs", "NCPUS": "8", "PBS_NODEFILE": "/packed", "MPIDASK_CORES": "32"}, (32, "NCPUS")),
    ({"PBS_JOBID": "1.pbs", "NCPUS": "8", "PBS_NODEFILE": "/packed", "MPIDASK_CORES": "64"}, (8, "NCPUS")),
    ({"PBS_JOBID": "1.pbs", "NCPUS": "8", "PBS_NODEFILE": "/packed", "MPIDASK_CORES": "2"}, (8, "NCPUS")),
    ({"PBS_JOBID": "1.pbs", "PBS_NCPUS": "96", "PBS_NODEFILE": "/pbs_nodes"}, (48, "PBS_NCPUS")),
    ({"PBS_JOBID": "1.pbs", "PBS_NP": "8", "PBS_NUM_PPN": "4", "PBS_NODEFILE": "/pbs_nodes"}, (4, "PBS_NUM_PPN")),
    ({**SLURM, "SLURM_JOB_CPUS_PER_NODE": "2"}, (2, "SLURM_CPUS_ON_NODE")),
    ({**SLURM, "SLURM_JOB_CPUS_PER_NODE": "2,8(x3)"}, (2, "SLURM_CPUS_ON_NODE")),  # without the nodes: what is safe
    ({**SLURM, "SLURM_JOB_CPUS_PER_NODE": "48,4", "SLURM_JOB_NODELIST": "n[2,1]"}, (4, "SLURM_CPUS_ON_NODE")),
    ({**SLURM, "SLURM_JOB_CPUS_PER_NODE": "48,4", "SLURM_JOB_NODELIST": "n[1-2]"}, (48, "SLURM_CPUS_ON_NODE")),
    (
        {**SLURM, "SLURM_JOB_CPUS_PER_NODE": "48,4", "SLURM_JOB_NODELIST": "c[08-09]", "SLURMD_NODENAME": "c09"},
        (4, "SLURM_CPUS_ON_NODE"),
    ),
    ({**SLURM, "SLURM_JOB_CPUS_PER_NODE": "48", "SLURM_JOB_NODELIST": "n7"}, None),  # salloc's shell on a login node
    (STEP, (16, "SLURM_CPUS_ON_NODE")),
    ({**GRID_ENGINE, "NSLOTS": "9", "NHOSTS": "2", "PE_HOSTFILE": "/pe_hosts"}, (3, "NSLOTS")),
    ({**GRID_ENGINE, "NSLOTS": "9", "NHOSTS": "2", "PE_HOSTFILE": "/on/another/node"}, (5, "NSLOTS")),
    ({**GRID_ENGINE, "NSLOTS": "1"}, (1, "NSLOTS")),
    # From a profile, or under another batch system: no job of the system that would vouch for it.
    ({"NSLOTS": "1"}, None),
    ({"NSLOTS": "1", "SGE_ROOT": "/opt/sge"}, None),
    ({"NSLOTS": "1", "JOB_ID": "7"}, None),
    ({"LSB_DJOB_NUMPROC": "6", "LSB_MCPU_HOSTS": "n2 4 n1 2"}, None),
    ({"PBS_NUM_PPN": "4", "PBS_NCPUS": "96"}, None),
    ({"SLURM_CPUS_ON_NODE": "2", "SLURM_JOB_CPUS_PER_NODE": "2"}, None),
    ({"NSLOTS": "1", "MPIDASK_CORES": "4"}, (4, "the job's request")),
    ({**LSF, "LSB_MCPU_HOSTS": "n2 4 n1 2"}, (2, "LSB_MCPU_HOSTS")),
    ({**LSF, "LSB_MCPU_HOSTS": "launch 1 m2 4"}, (4, "LSB_MCPU_HOSTS")),
    (LSF, (6, "LSB_MCPU_HOSTS")),
    # With affinity[core(4)] a slot is several cores: those of the file, of the list, or else of each process's mask.
    ({**LSF, "LSB_MCPU_HOSTS": "n2 1 n1 2", "LSB_AFFINITY_HOSTFILE": "/affinity"}, (8, "LSB_AFFINITY_HOSTFILE")),
    ({**LSF, "LSB_MCPU_HOSTS": "n1 1", "LSB_BIND_CPU_LIST": "0-3,8"}, (5, "LSB_AFFINITY_HOSTFILE")),
    ({**LSF, "LSB_MCPU_HOSTS": "n2 1 n1 1", "LSB_BIND_CPU_LIST": "0-3", "MPIDASK_CORES": "1"}, None),
    ({**LSF, "LSB_MCPU_HOSTS": "n1 1", "LSB_AFFINITY_HOSTFILE": "/elsewhere"}, None),
    ({"_CONDOR_MACHINE_AD": "/machine.ad"}, (5, "_CONDOR_MACHINE_AD")),
    ({"MPIDASK_CORES": "7"}, (7, "the job's request")),
    ({"MPIDASK_CORES": "7", "PBS_JOBID": "1.pbs", "NCPUS": "3"}, (3, "NCPUS")),  # a directive asked for something else
]


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 16777216 kB\n")
    return tmp_path


@pytest.mark.parametrize(("environ", "said"), CORES)
def test_cores(root, environ, said):
    found = allotment.cores(environ, "n1.site.org", root)
    assert (found and (found.amount, found.source)) == said


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, []),
        ({"MPIDASK_MEMORY": str(GIB)}, [(GIB, "the job's request")]),
        ({**SLURM, "MPIDASK_MEMORY": str(GIB), "SLURM_MEM_PER_NODE": "2048"}, [(2 * GIB, "SLURM_MEM_PER_NODE")]),
        ({**SLURM, "MPIDASK_MEMORY": str(GIB), "SLURM_MEM_PER_NODE": "0"}, [(math.inf, "SLURM_MEM_PER_NODE")]),
        ({**SLURM, "SLURM_JOB_NODELIST": "n7", "SLURM_MEM_PER_NODE": "2048"}, []),  # salloc's shell on a login node
        ({**SLURM, "SLURM_MEM_PER_CPU": "512", "SLURM_CPUS_ON_NODE": "4"}, [(2 * GIB, "SLURM_MEM_PER_CPU")]),
        (
            {
                **SLURM,
                "SLURM_MEM_PER_CPU": "512",
                "SLURM_JOB_CPUS_PER_NODE": "2,4",
                "SLURM_JOB_NODELIST": "n2,n1",
            },
            [(2 * GIB, "SLURM_MEM_PER_CPU")],
        ),
        ({"PBS_VMEM": str(4 * GIB), "PBS_NODEFILE": "/pbs_nodes"}, []),
        ({"SLURM_MEM_PER_NODE": "2048"}, []),
        ({"PBS_JOBID": "1.pbs", "PBS_VMEM": str(4 * GIB), "PBS_NODEFILE": "/pbs_nodes"}, [(2 * GIB, "PBS_VMEM")]),
        ({"_CONDOR_MACHINE_AD": "/machine.ad"}, [(3 * GIB, "_CONDOR_MACHINE_AD")]),
    ],
)
def test_memory(root, environ, said):
    assert [(limit.amount, limit.source) for limit in allotment.memory(environ, "n1", root)] == said


def test_the_limit_that_pbs_sets_without_cgroups(root, monkeypatch):
    def limits(which):
        return (GIB, GIB) if which == resource.RLIMIT_RSS else (resource.RLIM_INFINITY,) * 2

    monkeypatch.setattr(resource, "getrlimit", limits)
    environ = {"PBS_JOBID": "1.pbs", "NCPUS": "1", "MPIDASK_MEMORY": str(2 * GIB)}
    assert [(each.amount, each.source) for each in hardware.memory_limits(environ, root)] == [
        (16 * GIB, "node"),
        (GIB, "ulimit -m"),
    ]


@pytest.mark.parametrize(
    ("environ", "last"),
    [
        ({}, (16 * GIB, "node")),
        ({"PBS_JOBID": "1.pbs", "NCPUS": "32"}, (4 * GIB, "32 of 128 CPUs (NCPUS)")),
        ({"PBS_JOBID": "1.pbs", "NCPUS": "128"}, (16 * GIB, "node")),
        # Systems that count cores.
        ({"LSB_JOBID": "1", "LSB_MCPU_HOSTS": "n1 16"}, (4 * GIB, "16 of 64 cores (LSB_MCPU_HOSTS)")),
        ({"LSB_JOBID": "1", "LSB_MCPU_HOSTS": "n1 64"}, (16 * GIB, "node")),
        ({"LSB_JOBID": "1", "LSB_MCPU_HOSTS": "n1 96"}, (12 * GIB, "96 of 128 CPUs (LSB_MCPU_HOSTS)")),
        ({"MPIDASK_CORES": "16"}, (4 * GIB, "16 of 64 cores (the job's request)")),
        # CPUs that LSF has bound the job to; NSLOTS in a profile.
        (
            {**LSF, "LSB_MCPU_HOSTS": "n1 2", "LSB_AFFINITY_HOSTFILE": "/affinity"},
            (GIB, "8 of 128 CPUs (LSB_AFFINITY_HOSTFILE)"),
        ),
        ({"NSLOTS": "1"}, (16 * GIB, "node")),
        # The job has the node, its step a part of it; half of a node's threads; all memory; salloc on a login node.
        (STEP, (16 * GIB, "node")),
        (
            {"SLURM_JOB_ID": "1", "SLURM_JOB_CPUS_PER_NODE": "64", "SLURM_CPUS_ON_NODE": "64"},
            (8 * GIB, "64 of 128 CPUs (SLURM_CPUS_ON_NODE)"),
        ),
        ({**STEP, "SLURM_JOB_CPUS_PER_NODE": "16", "SLURM_MEM_PER_NODE": "0"}, (16 * GIB, "node")),
        ({**SLURM, "SLURM_JOB_CPUS_PER_NODE": "16", "SLURM_JOB_NODELIST": "n7"}, (16 * GIB, "node")),
    ],
)
def test_who_asks_for_no_memory_gets_what_goes_with_the_cores(root, monkeypatch, environ, last):
    monkeypatch.setattr(hardware, "_node_cores", lambda: (128, 64))
    monkeypatch.setattr(hardware.socket, "gethostname", lambda: "n1.site.org")
    told = list(hardware.memory_limits(environ, root))
    assert (told[-1].amount, told[-1].source) == last


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ("n1", ["n1"]),
        ("login,n[1-3],m[08-10,12]", ["login", "n1", "n2", "n3", "m08", "m09", "m10", "m12"]),
        ("r[1-2]n[1,3]-ib", ["r1n1-ib", "r1n3-ib", "r2n1-ib", "r2n3-ib"]),
    ],
)
def test_names_of_nodes_in_the_short_form_of_slurm(text, names):
    assert launcher_environment.node_names(text) == tuple(names)


def test_a_small_job_on_a_large_node_does_not_take_the_node():
    """As on an OpenPBS without cgroups: 1 core and 1 GiB on a node of 8 cores and 64 GiB."""
    limits = (Limit("node", 64 * GIB, "node"), Limit("batch", GIB, "ulimit -m"))
    facts = Facts("n1", "n1", "n1", tuple(range(8)), 8, (Limit("batch", 1, "NCPUS"),), limits)
    (worker,) = divide([facts], [True], [True], WorkerRequest(per_rank=None))
    assert (worker.nthreads, worker.blas_threads) == (1, 1)
    assert worker.memory < GIB
    roles = [Role.SCHEDULER | Role.CLIENT | Role.WORKER]
    text = banner("1", roles, [facts], [worker], [])
    assert "1 of 8 usable by workers, limited by NCPUS to 1, 1 thread in all\n" in text
    assert "limited by ulimit -m to 1.0 GiB" in text
    assert "binds ranks" not in text


@pytest.mark.parametrize(
    ("environ", "theirs"),
    [
        ({"PBS_JOBID": "1.pbs", "NCPUS": "8", "OMP_NUM_THREADS": "8"}, {"OMP_NUM_THREADS"}),
        ({"PBS_JOBID": "1.pbs", "NCPUS": "8", "OMP_NUM_THREADS": "2"}, set()),
        ({"PBS_JOBID": "1.pbs", "NCPUS": "8", "OMP_NUM_THREADS": "8", "MKL_NUM_THREADS": "8"}, {"OMP_NUM_THREADS"}),
        ({"NCPUS": "8", "OMP_NUM_THREADS": "8"}, set()),
        (
            {"_CONDOR_MACHINE_AD": "/machine.ad", "OMP_NUM_THREADS": "5", "MKL_NUM_THREADS": "5"},
            {"OMP_NUM_THREADS", "MKL_NUM_THREADS"},
        ),
        ({"SLURM_CPUS_ON_NODE": "8", "OMP_NUM_THREADS": "8"}, set()),
    ],
)
def test_what_the_batch_system_has_set_is_not_what_the_user_has_set(root, environ, theirs):
    assert job_environment.set_by_the_batch_system(environ, root) == theirs
    users = {name: value for name, value in environ.items() if name not in theirs}
    assert ("OMP_NUM_THREADS" in variables(1, [], {}, users)) == (bool(theirs) or "OMP_NUM_THREADS" not in environ)
