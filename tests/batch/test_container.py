"""How each container runtime is called. The command lines are golden: no runtime is needed here."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from mpidask.batch import registry, settings
from mpidask.batch.binds import Bind
from mpidask.batch.container import RUNTIMES, Container, settle
from mpidask.batch.job import BatchJob, Resources
from mpidask.batch.scripts.submit_command import job_script
from mpidask.errors import UsageError

pytestmark = pytest.mark.one_mpi

TMP = "${TMPDIR:-/tmp}:${TMPDIR:-/tmp}"

#: Name -> the words before a program's, with a further directory /run/it, the current one /work and GPUs.
GOLDEN = {
    "apptainer": (
        f'apptainer exec --nv --bind=/work:/work --bind=/run/it:/run/it --bind=/opt/mpi:/usr/mpi "--bind={TMP}" i.sif'
    ),
    "singularity": (
        f'singularity exec --nv --bind=/work:/work --bind=/run/it:/run/it --bind=/opt/mpi:/usr/mpi "--bind={TMP}" i.sif'
    ),
    "podman": (
        "podman run --rm --network=host --ipc=host --pid=host --userns=keep-id --device=nvidia.com/gpu=all "
        f'--volume=/work:/work --volume=/run/it:/run/it --volume=/opt/mpi:/usr/mpi "--volume={TMP}" --workdir=/work '
        "i.sif"
    ),
    "charliecloud": (
        f'ch-run --bind=/work:/work --bind=/run/it:/run/it --bind=/opt/mpi:/usr/mpi "--bind={TMP}" --cd=/work i.sif --'
    ),
    "srun": "--container=i.sif",
    "pyxis": (
        f'"--container-mounts=/work:/work,/run/it:/run/it,/opt/mpi:/usr/mpi,{TMP}" --container-workdir=/work '
        "--container-image=i.sif"
    ),
}


@pytest.mark.parametrize("name", RUNTIMES)
def test_golden_command_lines(name):
    container = Container("i.sif", name, binds=(Bind.parse("/opt/mpi:/usr/mpi"),), working="/work", gpus=True)
    through = RUNTIMES[name].through
    before = f"bash -c {shlex.quote(through)} mpidask " if through else ""
    assert container.words("/run/it") == before + GOLDEN[name]


def test_a_directory_is_a_root_file_system_to_podman():
    container = Container("/images/dask", "podman", ("--read-only",), working="/work")
    assert container.words().endswith(" --workdir=/work --read-only --rootfs /images/dask")


def test_podman_of_root_has_no_names_to_keep():
    """It refuses the option."""
    assert "--userns" not in Container("i", "podman", working="/work", root=True).words()
    assert settle("i", "podman").root == (os.geteuid() == 0)


#: What podman is given, and what its process has.
PODMAN = """#!/bin/sh
printf '%s\\n' "$@"
echo "$$ $MPIDASK_CONTAINER_PROCESS $PMI_FD $(cat <&3)"
"""


def test_podman_hands_over_the_environment_and_the_launcher_s_connection(tmp_path):
    """The node's PATH would hide the programs of the image."""
    (tmp_path / "podman").write_text(PODMAN)
    (tmp_path / "podman").chmod(0o755)
    (tmp_path / "said").write_text("hello")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PMI_FD": "15", "LD_LIBRARY_PATH": "", "ODD": "a b\nPATH=c"}
    line = f"{Container('i', 'podman', working='/work').words()} program 15<{tmp_path}/said"
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=True, timeout=20)
    *words, last = done.stdout.splitlines()
    assert words[:1] == ["run"]
    assert words[-2:] == ["i", "program"]
    assert {"--env=PMI_FD", "--env=ODD", "--env=MPIDASK_CONTAINER_PROCESS", "--preserve-fds=1"} <= {*words}
    assert not {"--env=PATH", "--env=LD_LIBRARY_PATH"} & {*words}
    process, known, *others = last.split()
    assert (process, others) == (known, ["3", "hello"])


def test_podman_is_started_without_a_launcher_too(tmp_path):
    (tmp_path / "podman").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tmp_path / "podman").chmod(0o755)
    line = Container("i", "podman", working="/work").words()
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=True, timeout=20)
    assert "--preserve-fds" not in done.stdout
    assert done.stderr == ""


def words_of(container, *directories):
    """Return what the node's shell makes of the words before a program's."""
    line = f"printf '%s\\n' {container.words(*directories)}"
    environment = {"PATH": os.environ["PATH"], "HERE": "h e r e", "TMPDIR": "/node local"}
    done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, check=True, timeout=20)
    return done.stdout.splitlines()


def test_variables_in_the_user_s_words_are_the_node_s():
    """All else arrives as it is."""
    odd = '/a b/$HERE/"q"/`x`\\:/there'
    container = Container("it's.sif", "apptainer", ("--env", "A=$HERE"), (Bind.parse(odd),), "/work")
    assert words_of(container) == [
        "apptainer",
        "exec",
        "--bind=/work:/work",
        '--bind=/a b/h e r e/"q"/`x`\\:/there',
        "--bind=/node local:/node local",
        "--env",
        "A=h e r e",
        "it's.sif",
    ]


def test_paths_that_were_found_here_arrive_as_they_are():
    """A dollar sign in them begins no variable of the node."""
    found = words_of(Container("/im$HERE/i", "podman", working="/me/$HERE/$(false)"), "/runs/`$HERE`")
    assert found[-1] == "/im$HERE/i"
    assert "--workdir=/me/$HERE/$(false)" in found
    assert "--volume=/me/$HERE/$(false):/me/$HERE/$(false)" in found
    assert "--volume=/runs/`$HERE`:/runs/`$HERE`" in found
    assert words_of(Container("$HERE/i", "podman", working="/me"))[-1] == "h e r e/i", "that is a name"


def test_what_is_relative_is_meant_from_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    found = [Bind.parse(each).pair for each in ("data", "~/data", "~/x:/y:ro", "./mpi/:/opt/mpi", "$A", "${A:-b}:/y")]
    here = tmp_path.as_posix()
    assert found == [
        f"{here}/data:{here}/data",
        "/home/me/data:/home/me/data",
        "/home/me/x:/y:ro",
        f"{here}/mpi:/opt/mpi",
        "$A:$A",
        "${A:-b}:/y",
    ]


def test_the_first_runtime_that_is_installed_is_taken():
    here = {"podman": "/usr/bin/podman", "ch-run": "/usr/bin/ch-run"}
    assert settle("docker://dask", None, which=here.get).runtime == "podman"
    assert settle("docker://dask", "apptainer --rocm").further == ("--rocm",)
    with pytest.raises(UsageError, match="no container runtime is installed here") as raised:
        settle("docker://dask", None, which={}.get)
    assert "--container-runtime apptainer" in raised.value.remedy


def test_images_that_are_files_are_found_from_where_they_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "i.sif").touch()
    assert settle("i.sif", "apptainer").image == str(tmp_path / "i.sif")
    assert settle("library/image", "podman").image == "library/image"
    with pytest.raises(UsageError, match=re.escape(f"there is no container image {tmp_path}/j.sif")):
        settle("j.sif", "apptainer")


def test_runtimes_that_are_not_known_are_refused():
    with pytest.raises(UsageError, match="the container runtime is 'docker'") as raised:
        settle("image", "docker")
    assert "apptainer, singularity, podman" in raised.value.remedy


@pytest.mark.parametrize(("given", "what"), [("apptainer --env 'A", "No closing quotation"), (" ", "is ' '")])
def test_runtimes_that_cannot_be_read_are_refused(given, what):
    with pytest.raises(UsageError, match=what) as raised:
        settle("image", given)
    assert "apptainer" in raised.value.remedy


def described(monkeypatch, directory, spill=None, **given):
    (directory / "i.sif").touch()
    monkeypatch.chdir(directory)
    options = settings.JobOptions(**{"container": "i.sif", "container_runtime": "apptainer", **given})
    command = (*settings.ranks_interpreter(options), "-m", "mpidask", "script.py")
    return settings.describe(options, command, "60 s", "script.py", spill)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({}, "apptainer exec --bind=.* DIR/i.sif python3 -m mpidask script.py &"),
        ({"nodes": 2}, "srun .*--ntasks=2 .* apptainer exec --bind=.* DIR/i.sif python3 -m mpidask script.py &"),
        ({"python": "/opt/bin/python"}, ".*i.sif /opt/bin/python -m mpidask script.py &"),
        ({"container_runtime": "srun"}, "srun .*--ntasks=1 .*--container=DIR/i.sif python3 -m mpidask script.py &"),
        (
            {"container_runtime": "pyxis", "launcher": "srun --mpi=pmix"},
            "srun .*--mpi=pmix .*--container-image=DIR/i.sif .*",
        ),
    ],
)
def test_the_launcher_stays_outside(given, line, monkeypatch, tmp_path):
    text = job_script(registry.find("slurm"), described(monkeypatch, tmp_path, **given))
    (found,) = [each for each in text.splitlines() if "i.sif" in each]
    assert re.fullmatch(line.replace("DIR", re.escape(str(tmp_path))), found), found


@pytest.mark.parametrize("runtime", ["apptainer", "pyxis"])
def test_the_mark_of_a_rank_that_has_come_is_made_on_the_node(runtime, tmp_path):
    """Where srun loads the image first there is no limit, and no mark."""
    job = BatchJob(
        command=("python3", "s.py"),
        resources=Resources(nodes=2),
        launcher="srun",
        container=Container("i.sif", runtime, working="/work"),
        run_directory=tmp_path,
    )
    text = job_script(registry.find("slurm"), job)
    words = " ".join(shlex.split(next(each for each in text.splitlines() if "i.sif" in each)))
    assert f"{tmp_path}:{tmp_path}" in words
    if runtime == "pyxis":
        assert "sh -c" not in words
        assert "no rank was started" not in text
    else:
        assert words.index("sh -c") < words.index("i.sif")
        assert "no rank was started within 45 s" in text


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (
            {},
            [
                'sh -c \'mkdir -p "$0"; exec "$@"\' /nvme/x apptainer exec --bind=HERE:HERE --bind=/run/it:/run/it '
                f'--bind=/nvme/x:/nvme/x "--bind={TMP}" HERE/i.sif python3 -m mpidask script.py &'
            ],
        ),
        (
            {"container_runtime": "pyxis", "nodes": 2},
            [
                "srun --nodes=2 --ntasks=2 mkdir -p /nvme/x",
                "srun --export=ALL --ntasks=2 --ntasks-per-node=1 --cpus-per-task=1 "
                f'"--container-mounts=HERE:HERE,/run/it:/run/it,/nvme/x:/nvme/x,{TMP}" --container-workdir=HERE '
                "--container-image=HERE/i.sif python3 -m mpidask script.py &",
            ],
        ),
    ],
)
def test_where_the_run_spills_is_made_on_the_node_and_shown(given, lines, monkeypatch, tmp_path):
    """Runtimes refuse a directory that is not there."""
    job = described(monkeypatch, tmp_path, "/nvme/x", **given)
    text = job_script(registry.find("slurm"), dataclasses.replace(job, run_directory=Path("/run/it")))
    assert [each for each in text.splitlines() if "/nvme/x" in each] == [
        each.replace("HERE", str(tmp_path)) for each in lines
    ]


def test_submitting_again_is_done_outside(monkeypatch, tmp_path):
    job = described(monkeypatch, tmp_path, requeue=True)
    text = job_script(registry.find("slurm"), dataclasses.replace(job, run_directory=tmp_path))
    (again,) = [each for each in text.splitlines() if "resubmit" in each]
    assert "apptainer" not in again
    assert shlex.quote(settings.interpreter(None)[0]) in again


@pytest.mark.parametrize(
    ("given", "what"),
    [
        (
            {"container_runtime": "pyxis", "launcher": "openmpi"},
            "pyxis is an option of srun, and the launcher is openmpi",
        ),
        ({"container_runtime": "pyxis", "launcher": " "}, "the launcher is  "),
        ({"container": None}, "--container-runtime is given, and no image"),
        ({"container": None, "container_runtime": None, "container_bind": ("/opt",)}, "--container-bind is given"),
    ],
)
def test_what_contradicts_itself_is_refused(given, what, monkeypatch, tmp_path):
    with pytest.raises(UsageError, match=what):
        described(monkeypatch, tmp_path, **given)


def binds_of(*given, working):
    container = Container("i.sif", "apptainer", binds=tuple(map(Bind.parse, given)), working=working)
    return re.findall(r"(?<=--bind=)/\S+", container.words("/data/state/run-1"))


def test_what_is_seen_with_another_directory_is_not_shown_again():
    """The image of some runtimes must have a place for each."""
    assert binds_of("/data", "/database", "/data/a:/data/a", working="/data") == ["/data:/data", "/database:/database"]


def test_what_has_another_name_in_the_container_is_shown():
    """Also where it lies below the current directory."""
    assert binds_of("/data/mpi:/opt/mpi", "/data/ro:/data/ro:ro", working="/data") == [
        "/data:/data",
        "/data/mpi:/opt/mpi",
        "/data/ro:/data/ro:ro",
    ]
    assert binds_of("/opt:/data", working="/work") == [
        "/work:/work",
        "/data/state/run-1:/data/state/run-1",
        "/opt:/data",
    ]
