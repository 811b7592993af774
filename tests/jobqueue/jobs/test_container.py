"""Jobs whose workers run in a container: the batch system's commands and the launcher stay outside."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest
from distributed.security import Security

from mpidask.errors import ArgumentError
from mpidask.jobqueue import LocalJob, SLURMJob
from mpidask.jobqueue.jobs.worker_command import worker_command

pytestmark = [pytest.mark.one_mpi, pytest.mark.usefixtures("nobodys_place")]

#: Several ranks, whose containers srun starts.
PYXIS = {"nodes": 2, "container_runtime": "pyxis"}


def make(kind=SLURMJob, **given):
    given = {"container": "docker://dask", "container_runtime": "apptainer", **given}
    return kind("tls://10.0.0.1:8786", "w", **{"cores": 2, "memory": "4GB", "processes": 1, **given})


def test_the_workers_command_is_in_the_container():
    command = worker_command(make(local_directory="$TMPDIR", container_bind=["/opt/mpi"]).spec)
    here = re.escape(os.getcwd())
    assert re.search(rf"""; exec "\$@"' "\$TMPDIR" apptainer exec --bind={here}:{here} """, command), command
    assert ' "--bind=$TMPDIR:$TMPDIR" --bind=/opt/mpi:/opt/mpi ' in command
    assert " docker://dask python3 -m " in command
    assert "apptainer" not in worker_command(make(container=None).spec)


def test_an_interpreter_of_the_image_and_further_options():
    command = worker_command(make(container_runtime="apptainer --rocm", python="/opt/bin/python").spec)
    assert " --rocm docker://dask /opt/bin/python -m " in command


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"container_runtime": "pyxis"},
            r"srun --ntasks=1 --cpus-per-task=2 \S.*--container-image=docker://dask python3 -m ",
        ),
        ({"nodes": 2}, r"srun .*--ntasks=2 .* bash -c 'exec apptainer exec .* docker://dask python3 -m "),
        (
            PYXIS,
            r"srun .*--ntasks=2 .*--container-image=docker://dask bash -c 'exec python3 -m ",
        ),
    ],
)
def test_who_starts_the_container(given, line):
    script = make(**given).job_script()
    (found,) = [each for each in script.splitlines() if "docker://dask" in each]
    assert re.match(line, found), found


STANDIN = """#!/bin/sh
printf '%s\\n' "$@"
ls -d "$HERE"/x/spill
exit 3
"""


@pytest.mark.parametrize("shell", ["bash", "tcsh"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_the_spill_directory_is_made_on_the_node(shell, ranks, tmp_path):
    """The script of csh, too, has the lines of sh that a container needs."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed here")
    (tmp_path / "apptainer").write_text(STANDIN)
    (tmp_path / "apptainer").chmod(0o755)
    script = tmp_path / "job.sh"
    own = {"shebang": f"#!{path}", "local_directory": "$HERE/x/spill", "launcher": "env", "ranks_per_node": ranks}
    script.write_text(make(**own, processes=ranks).job_script())
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HERE": f"{tmp_path}/n o d e"}
    words = [path, *(["-f"] if shell == "tcsh" else []), str(script)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3, done
    lines = done.stdout.splitlines()
    spill = f"{tmp_path}/n o d e/x/spill"
    assert lines[-1] == spill, done
    assert {"exec", f"--bind={spill}:{spill}", "--bind=/tmp:/tmp"} <= {*lines}


@pytest.mark.parametrize(("given", "nodes"), [({"container_runtime": "pyxis"}, 1), (PYXIS, 2)])
def test_the_spill_directory_is_made_before_srun_starts_the_container(given, nodes):
    script = make(**given, local_directory="/nvme").job_script()
    assert f"\nsrun --nodes={nodes} --ntasks={nodes} mkdir -p /nvme && srun " in script


def test_a_relative_spill_directory_is_meant_from_here():
    place = os.path.dirname(os.getcwd())
    assert f" --bind={place}/spill:{place}/spill " in worker_command(make(local_directory="../spill").spec)


@pytest.mark.parametrize("given", [{}, {"nodes": 2}, {"container_runtime": "pyxis"}, PYXIS])
def test_keys_and_spill_directory_are_in_the_container(given):
    files = {name: f"/keys/{name}" for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key")}
    keys = Security(require_encryption=True, **files)
    script = make(**given, security=keys, local_directory="/nvme", container_bind=["/opt/mpi:/usr/mpi"]).job_script()
    here = os.getcwd()
    assert re.findall(r"/[^\s:,]+:/[^\s:,]+", script)[:4] == [
        f"{here}:{here}",
        "/nvme:/nvme",
        "/keys:/keys",
        "/opt/mpi:/usr/mpi",
    ]


def test_what_cannot_be_used_is_refused():
    with pytest.raises(ArgumentError, match="the container runtime is 'docker'"):
        make(LocalJob, container_runtime="docker")
    with pytest.raises(ArgumentError, match="there is no container image"):
        make(container="missing.sif")
