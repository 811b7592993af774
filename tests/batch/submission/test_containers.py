"""Jobs in a container, from submission to exit status: with a stand-in that starts the command, and with real ones."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time

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
        c.wait_for_workers(1, timeout=180)
        print(*c.run(lambda: os.environ["IMAGE"]).values())
        c.shutdown()
    """
    done = machine.run(machine.python, "-c", code, timeout=120)
    assert str(machine.directory / "image") in done.stdout, done
    machine.until(str(job["job"]), lambda each: each["state"] in ("done", "cancelled"))


#: What Debian calls them.
PACKAGES = {"charliecloud": ["charliecloud-runtime"], "podman": ["podman", "runc"]}

#: Podman raises limits of its containers, which a test's machine may not let it do.
RUNC = """#!{python}
import json, os, sys
if "--bundle" in sys.argv:
    path = os.path.join(sys.argv[sys.argv.index("--bundle") + 1], "config.json")
    with open(path) as file:
        config = json.load(file)
    config["process"].pop("rlimits", None)
    with open(path, "w") as file:
        json.dump(config, file)
os.execv("{runc}", ["runc", *sys.argv[1:]])
"""


@pytest.fixture(params=PACKAGES)
def real(request):
    """This machine, with a runtime, and an image without programs of its own: those of the machine are shown in it."""
    if os.geteuid() != 0:
        pytest.skip("container runtimes are installed by root")
    install(*PACKAGES[request.param])
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
        if request.param == "podman":
            machine.environment = {**machine.environment, **podman(machine)}
        yield machine, request.param


def podman(machine):
    """Return the variables with which podman keeps what it writes in a directory of the test."""
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin")
    runtime = machine.directory / machine.file("runc", RUNC.format(python=sys.executable, runc=runc))
    runtime.chmod(0o755)
    machine.file("containers.conf", f'[engine]\nruntime = "here"\n[engine.runtimes]\nhere = ["{runtime}"]\n')
    places = "".join(f'{name} = "{machine.directory}/{name}"\n' for name in ("graphroot", "runroot"))
    machine.file("storage.conf", f'[storage]\ndriver = "vfs"\n{places}')
    names = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_STORAGE_CONF": "storage.conf"}
    return {variable: f"{machine.directory}/{name}" for variable, name in names.items()}


def shown():
    """Return the directories of this machine that the image has none of: its programs, and the environment."""
    return ["/usr", sys.base_prefix, sys.prefix]


@pytest.mark.thorough
def test_a_real_container(real):
    """Ranks that the node's MPI starts in containers find each other: three workers and a script."""
    machine, runtime = real
    binds = [word for each in shown() for word in ("--container-bind", each)]
    words = ["--ranks-per-node", "3", "--container", "image", "--container-runtime", runtime, *binds]
    python = ["--python", sys.executable]
    done = machine.mpidask("submit", *words, *python, "--follow", machine.file("script.py", SCRIPT), timeout=120)
    assert "script in the real container and tasks in the real container\n42\n" in done.stdout, done
    assert done.returncode == 3, done
    assert machine.left_over() == []


@pytest.mark.thorough
@pytest.mark.parametrize("real", ["charliecloud"], indirect=True)
def test_a_real_container_for_the_workers_of_a_cluster(real):
    machine, runtime = real
    words = ["image", runtime, *shown()]
    done = machine.run(machine.python, machine.file("cluster.py", CLUSTER), *words, timeout=120)
    assert done.stdout == "this program in the node and tasks in the real container\n", done
    assert machine.left_over() == []


ENDLESS = """
import time
from dask.distributed import Client
client = Client()
print("ready", flush=True)
for _ in range(600):
    time.sleep(1)
"""


@pytest.mark.thorough
@pytest.mark.parametrize("real", ["podman"], indirect=True)
def test_ranks_in_containers_end_with_the_job(real):
    """Podman's containers belong to another process than the one that the launcher kills."""
    machine, runtime = real
    binds = [word for each in shown() for word in ("--container-bind", each)]
    words = ["--ranks-per-node", "3", "--container", "image", "--container-runtime", runtime, *binds]
    job = machine.submit(*words, "--python", sys.executable, machine.file("script.py", ENDLESS))
    deadline = time.monotonic() + 60
    while "ready" not in machine.log(job):
        assert time.monotonic() < deadline, machine.log(job)
        time.sleep(0.3)
    ended = [pid for pid, line in machine.processes().items() if line.startswith("podman run ")]
    assert len(ended) == 3
    os.kill(min(ended), signal.SIGKILL)
    machine.until(job, lambda each: each["state"] == "failed")
    assert machine.left_over() == []
