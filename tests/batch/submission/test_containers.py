"""Jobs in a container, from submission to exit status: with a stand-in that starts the command, and with real ones."""

from __future__ import annotations

import os
import sys

import pytest
from machines import borrowed, install

pytestmark = pytest.mark.one_mpi

#: `apptainer exec [OPTIONS] IMAGE COMMAND...` without a container: the command finds the image's name and its own bin.
STANDIN = """#!/bin/sh
[ "$1" = exec ] || exit 99
shift
while [ "${1#-}" != "$1" ]; do echo "$1" >>options; shift; done
export IMAGE="$1" PATH="$1/bin:$PATH"
shift
exec "$@"
"""

SCRIPT = """
import os
from dask.distributed import Client

def inside():
    return os.environ.get("IMAGE", open("/image").read().strip() if os.path.exists("/image") else "the node")

client = Client()
print("script in", inside(), "and tasks in", *set(client.run(inside).values()), flush=True)
print(client.submit(sum, [20, 22]).result(), flush=True)
raise SystemExit(3)
"""

CLUSTER = """
import os, sys
import mpidask

def inside():
    return os.environ.get("IMAGE", open("/image").read().strip() if os.path.exists("/image") else "the node")

if __name__ == "__main__":
    image, runtime, *binds = sys.argv[1:]
    asked = {"container": image, "container_runtime": runtime, "container_bind": binds, "python": sys.executable}
    with mpidask.LocalJobCluster(cores=1, memory="300MB", processes=1, **asked) as cluster, cluster.get_client() as client:
        cluster.scale(jobs=1)
        client.wait_for_workers(1, timeout=120)
        print("this program in", inside(), "and tasks in", *client.run(inside).values())
"""


@pytest.fixture
def machine():
    """This machine, with a stand-in for apptainer."""
    with borrowed("local") as machine:
        machine.replace("apptainer", STANDIN)
        image = machine.directory / "image"
        (image / "bin").mkdir(parents=True)
        (image / "bin" / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (image / "bin" / "python3").chmod(0o755)
        yield machine


def test_a_script_and_its_tasks_are_in_the_container(machine):
    shape = ["--ranks-per-node", "3", "--container", "image", "--container-bind", "/opt:/there"]
    done = machine.mpidask("submit", *shape, "--follow", machine.file("script.py", SCRIPT), timeout=120)
    image = machine.directory / "image"
    assert f"script in {image} and tasks in {image}\n42\n" in done.stdout, done
    assert done.returncode == 3, done
    options = (machine.directory / "options").read_text()
    assert f"--bind={machine.directory}:{machine.directory}\n" in options
    assert "--bind=/opt:/there\n" in options
    assert machine.left_over() == []


@pytest.mark.thorough
def test_workers_of_a_cluster_are_in_the_container(machine):
    done = machine.run(machine.python, machine.file("cluster.py", CLUSTER), "image", "apptainer", timeout=120)
    assert done.stdout == f"this program in the node and tasks in {machine.directory}/image\n", done
    assert machine.left_over() == []


@pytest.mark.thorough
def test_a_client_outside_joins_a_scheduler_in_the_container(machine):
    words = ["start", "--container", "image", "--python", sys.executable]
    done = machine.mpidask(*words, timeout=120)
    assert done.returncode == 0, done
    (job,) = machine.status()
    code = """if True:
        import mpidask, os
        c = mpidask.connect()
        c.wait_for_workers(1, timeout=60)
        print(*c.run(lambda: os.environ["IMAGE"]).values())
        c.shutdown()
    """
    done = machine.run(machine.python, "-c", code, timeout=120)
    assert str(machine.directory / "image") in done.stdout, done
    machine.until(str(job["job"]), lambda each: each["state"] in ("done", "cancelled"))


@pytest.fixture
def real():
    """This machine, with charliecloud, and an image without programs of its own: those of the machine are shown in it."""
    if os.geteuid() != 0:
        pytest.skip("charliecloud is installed by root")
    install("charliecloud-runtime")
    with borrowed("local") as machine:
        image = machine.directory / "image"
        for each in ("dev", "etc", "home", "mnt", "proc", "root", "sys", "tmp", "usr", "var", "run"):
            (image / each).mkdir(parents=True)
        for each in ("bin", "sbin", "lib", "lib64"):
            (image / each).symlink_to(f"usr/{each}")
        for each in ("hosts", "passwd", "group", "resolv.conf", "machine-id", "nsswitch.conf"):
            (image / "etc" / each).touch()
        (image / "image").write_text("the real container\n")
        for each in (*shown(), str(machine.directory)):
            (image / each.lstrip("/")).mkdir(parents=True, exist_ok=True)
        yield machine


def shown():
    """Return the directories of this machine that the image has none of: its programs, and the environment."""
    return ["/usr", sys.base_prefix, sys.prefix]


@pytest.mark.thorough
def test_a_real_container(real):
    binds = [word for each in shown() for word in ("--container-bind", each)]
    words = ["--ranks-per-node", "3", "--container", "image", "--container-runtime", "charliecloud", *binds]
    python = ["--python", sys.executable]
    done = real.mpidask("submit", *words, *python, "--follow", real.file("script.py", SCRIPT), timeout=120)
    assert "script in the real container and tasks in the real container\n42\n" in done.stdout, done
    assert done.returncode == 3, done
    assert real.left_over() == []


@pytest.mark.thorough
def test_a_real_container_for_the_workers_of_a_cluster(real):
    words = ["image", "charliecloud", *shown()]
    done = real.run(real.python, real.file("cluster.py", CLUSTER), *words, timeout=120)
    assert done.stdout == "this program in the node and tasks in the real container\n", done
    assert real.left_over() == []
