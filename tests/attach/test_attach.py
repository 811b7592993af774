"""A job of scheduler and workers, and clients that come from elsewhere: on real Slurm, and on this machine without one."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import textwrap
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from harness import PATIENCE
from notebooks import FINDS, outputs, written

pytestmark = pytest.mark.one_mpi

JOBS = Path(__file__).parent.parent.parent / "jobs"


def start(system, *words, nodes=2, ranks=2):
    """Start a job of that shape; return its id."""
    done = system.mpidask("start", *system.shape(nodes, ranks), *words)
    assert done.returncode == 0, done
    return done.stdout.strip()


def connect(system, job, code, *words, timeout=60):
    """Run code on a job."""
    return system.mpidask("connect", *words, job, "-c", textwrap.dedent(code), timeout=timeout)


def python(system, program, timeout=90):
    """Run a program."""
    return system.run(system.python, system.file("program.py", textwrap.dedent(program)), timeout=timeout)


def until_said(process, stream, pattern, timeout=60):
    """Read what a process prints on one of its pipes until it matches; return all of it."""
    text = ""
    deadline = time.monotonic() + timeout * PATIENCE
    while not re.search(pattern, text):
        assert time.monotonic() < deadline, text
        if select.select([stream], [], [], 1)[0]:
            new = os.read(stream.fileno(), 4096).decode()
            assert new or process.poll() is None, text
            text += new
    return text


@pytest.mark.both_mpis
def test_several_clients_from_start_to_stop(system):
    done = system.mpidask("start", *system.shape(2, 2), "-t", "5min")
    assert done.returncode == 0, done
    job = done.stdout.strip()
    for said in (f"mpidask connect {job}`", f"mpidask stop {job}`", "nobody has used it for 1 h", "mpidask.connect("):
        assert said in done.stderr, done
    one = connect(
        system,
        job,
        """
        import dask
        from distributed import Client
        client = Client()
        client.wait_for_workers(3)
        print(client.submit(lambda: 42).result(), dask.delayed(lambda: 43)().compute(), client.dashboard_link)
        client.publish_dataset(kept=client.submit(lambda: [1, 2, 3]))
        """,
    )
    assert one.returncode == 0, one
    assert "Traceback" not in one.stderr, one
    assert re.fullmatch(r"42 43 http://127\.0\.0\.1:\d+/[\w-]+/status\n", one.stdout), one
    other = python(
        system,
        f"""
        import asyncio, mpidask
        with mpidask.connect("{job}", quiet=True) as client:
            print(client.get_dataset("kept").result(), client.dashboard_link)
        async def main():
            client = await mpidask.connect(None, asynchronous=True)
            print(await client.submit(sum, [1, 2]))
            await client.close()
        asyncio.run(main())
        """,
    )
    assert (other.returncode, other.stderr) == (0, ""), other
    assert other.stdout == f"[1, 2, 3] {one.stdout.split()[-1]}\n3\n"
    (directory,) = {each["directory"] for each in system.status(job)}
    if system.nodes > 1:  # a notebook may be on a node, too
        code = f"import mpidask; print(mpidask.connect('{directory}').get_dataset('kept').result())"
        there = system.run_on("mn4", system.python, "-c", code)
        assert (there.returncode, there.stdout) == (0, "[1, 2, 3]\n"), there
    done = system.mpidask("stop", job)
    assert (done.returncode, done.stderr) == (0, f"mpidask: job {job} has ended gracefully\n"), done
    each = system.until(job, lambda each: each["ended"])
    assert (each["state"], each["exit_status"], each["reason"]) == ("done", 0, None), each
    assert system.left_over() == []
    again = system.mpidask("stop", job)
    assert f"job {job} has ended already" in again.stderr, again
    late = connect(system, job, "")
    assert (late.returncode, f"job {job} has ended: exit status 0" in late.stderr) == (69, True), late


@pytest.mark.both_mpis
def test_every_node_hosts_as_many_workers_as_it_suggests(system):
    """By default: one rank on each node, also that of the scheduler."""
    shape, each = system.several()
    nodes = min(2, system.nodes)
    done = system.mpidask("start", *shape)
    assert done.returncode == 0, done
    code = f"""
    import os, collections
    client.wait_for_workers({nodes * each})
    hosts = client.run(lambda: os.uname().nodename)
    print(sorted(collections.Counter(hosts.values()).values()))
    """
    code = "from distributed import Client\nclient = Client()\n" + textwrap.dedent(code)
    asked = connect(system, done.stdout.strip(), code)
    assert (asked.returncode, asked.stdout) == (0, f"{[each] * nodes}\n"), asked
    assert system.mpidask("stop", done.stdout.strip()).returncode == 0
    assert system.left_over() == []


def test_keys_are_out_of_others_reach(system):
    job = start(system)
    assert connect(system, job, "").returncode == 0
    (each,) = system.status(job)
    file = Path(each["directory"]) / "scheduler.json"
    content = json.loads(file.read_text())
    assert "PRIVATE KEY" in content["mpidask"]["keys"]["key"]
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    if os.getuid() == 0:
        stranger = subprocess.run(["runuser", "-u", "nobody", "--", "cat", file], capture_output=True, timeout=30)
        assert (stranger.returncode, stranger.stdout) == (1, b"")
    file.chmod(0o644)
    done = connect(system, job, "")
    assert (done.returncode, "others may read or change it" in done.stderr) == (69, True), done


def test_through_the_queue(slurm):
    """`connect` shows why the job waits, when it is to start, and goes on when it runs."""
    slurm.file("sleeps.py", "import time; time.sleep(600)")
    filler = slurm.submit("-N", "4", "--cores-per-rank", "4", "-t", "10min", "sleeps.py")
    slurm.until(filler, lambda each: each["state"] == "running")
    job = start(slurm, "-t", "5min")
    slurm.until(job, lambda each: re.search(r"\((Resources|Priority)\)", each["reason"] or ""))
    impatient = connect(slurm, job, "", "--timeout", "3s")
    assert impatient.returncode == 69, (impatient, slurm.status(), slurm.run("squeue", "-o", "%all").stdout)
    assert re.search(rf"no connection after 3 s: job {job} pending, .*\((Resources|Priority)\)", impatient.stderr), (
        impatient
    )
    process = slurm.spawn(slurm.python, "-m", "mpidask.cli", "connect", job, "-c", "print(Client := 1)")
    until_said(process, process.stderr, rf"job {job} pending, .*\(Resources\)")
    assert slurm.mpidask("cancel", filler).returncode == 0
    stdout, stderr = process.communicate(timeout=60 * PATIENCE)
    assert (process.returncode, stdout) == (0, "1\n"), stderr
    assert "Traceback" not in stderr, stderr


def test_a_job_that_failed(system):
    words = ("--prologue", "echo no such module >&2", "--prologue", "exit 4")
    job = start(system, *words, nodes=1)
    done = connect(system, job, "print('ran')")
    assert (done.returncode, done.stdout) == (69, ""), done
    assert f"mpidask: error: job {job} has ended: exit status 4\n" in done.stderr, done
    assert "mpidask: | no such module\n" in done.stderr, done
    done = python(system, f"import mpidask\nmpidask.connect({job!r}, quiet=True)")
    assert f"mpidask.errors.BatchError: job {job} has ended: exit status 4\n" in done.stderr, done


def test_stopping_what_waits_and_what_runs_a_script(slurm):
    held = start(slurm, *slurm.hold)
    slurm.file("sleeps.py", "print('up', flush=True)\nimport time; time.sleep(600)")
    script = slurm.submit(*slurm.shape(1, 3), "sleeps.py")
    slurm.until(script, lambda each: "up" in slurm.log(script))
    refused = connect(slurm, script, "")
    assert (refused.returncode, "runs a script" in refused.stderr) == (2, True), refused
    done = slurm.mpidask("stop", held, script)
    assert done.stderr == f"mpidask: job {held} is cancelled\nmpidask: job {script} is cancelled\n", done
    for job in (held, script):
        assert slurm.until(job, lambda each: each["ended"])["reason"] == "cancelled by you"


def test_a_job_that_nobody_uses_ends_in_order(system):
    job = start(system, "--idle-timeout", "3s")
    each = system.until(job, lambda each: each["ended"])
    assert (each["state"], each["exit_status"]) == ("done", 0), (each, system.log(job))
    assert system.left_over() == []


@pytest.mark.thorough
def test_an_interactive_python(local):
    job = start(local)
    process = local.spawn(local.python, "-m", "mpidask.cli", "connect")
    stdout, stderr = process.communicate("print(client.submit(sum, [1, 2]).result())\n", timeout=60 * PATIENCE)
    assert process.returncode == 0, stderr
    assert "3" in stdout, stdout
    assert "`client` is connected to the newest job" in stderr, stderr
    raises = connect(local, job, "import sys\nclient = 1\nsys.exit(3)")
    assert raises.returncode == 3, raises
    local.file("script.py", "import sys\nprint(__name__, sys.argv[1:])\nraise KeyError('x')")
    raises = local.mpidask("connect", job, "--", "script.py", "-c", "--timeout")
    assert (raises.returncode, raises.stdout) == (1, "__main__ ['-c', '--timeout']\n"), raises
    assert raises.stderr.startswith('Traceback (most recent call last):\n  File "'), raises
    assert '/script.py", line 3' in raises.stderr.splitlines()[1], raises


@pytest.mark.thorough
def test_a_notebook_on_a_job(local):
    """Its kernel runs here, and finds the job; a failing cell ends it with status 1."""
    job = start(local)
    written(local.directory / "study.ipynb", FINDS, parameters="scale = 2")
    done = local.mpidask("connect", job, "study.ipynb", "-p", "scale", "10", "--output", "ten.ipynb", timeout=90)
    assert (done.returncode, done.stdout) == (0, "scale 30\n"), done
    assert outputs(local.directory / "ten.ipynb") == ["", "", "scale 30\n|'tls'"]
    written(local.directory / "study.ipynb", "print('before')", "1 / 0")
    done = local.mpidask("connect", job, "study.ipynb", timeout=90)
    assert (done.returncode, done.stdout) == (1, "before\n"), done
    assert done.stderr.count("ZeroDivisionError: division by zero") == 1, done


CLUSTER = """
import mpidask
from distributed import Client

with mpidask.MPICluster({shape}walltime="5min", name="mine") as cluster:
    print(cluster.job.id)
    with Client(cluster) as client:
        cluster.wait_for_workers({workers})
        print(client.submit(lambda: 42).result(), client.dashboard_link == cluster.dashboard_link)
        assert cluster.get_client() is client
        with Client(cluster.scheduler_address, set_as_default=False) as second:  # as frameworks do that take an address
            assert second.submit(sum, [1, 2]).result() == 3
        print(cluster)
        page = cluster._repr_html_()
        assert cluster.job.id in page and cluster.dashboard_link in page and "running" in page, page
        assert {{"Scheduler", f"Job {{cluster.job.id}}"}} < set(cluster.get_logs())
        for refused in (cluster.scale, cluster.adapt):
            try:
                refused(3)
            except mpidask.UsageError as error:
                print(error)
print(cluster)
print(cluster.status.name, cluster.job.state.value, cluster.job.exit_status, list(cluster.get_logs()))
print([cluster.dashboard_link], "state:</strong> done" in cluster._repr_html_())
cluster.close()
"""


def shape(system):
    """Return the keywords for 3 workers or so."""
    return "ranks_per_node=4, " if system.nodes == 1 else "nodes=2, ranks_per_node=2, "


@pytest.mark.both_mpis
def test_a_cluster(system):
    done = python(system, CLUSTER.format(shape=shape(system), workers=3))
    assert done.returncode == 0, done
    job = done.stdout.split()[0]
    nodes = min(2, system.nodes)
    assert re.sub(r"threads=\d+", "threads=N", done.stdout).splitlines() == [
        job,
        "42 True",
        f"MPICluster(mine, job {job}, state running, nodes {nodes}, ranks 4, workers=3, threads=N)",
        *["the size of one large job is fixed"] * 2,
        f"MPICluster(mine, job {job}, state done, nodes {nodes}, ranks 4, workers=0, threads=N)",
        f"closed done 0 ['Job {job}']",
        "[''] True",
    ], done
    assert f"job {job} is submitted; it ends by itself when nobody has used it for 1 h\n" in done.stderr, done
    assert "Traceback" not in done.stderr, done
    (each,) = system.status()
    assert (each["name"], each["state"]) == ("mine", "done"), each
    assert system.left_over() == []


@pytest.mark.thorough
@pytest.mark.parametrize("system", ["local"], indirect=True)  # on Slurm: test_a_cluster
def test_a_cluster_in_an_event_loop(system):
    program = f"""
    import asyncio, mpidask
    from distributed import Client

    async def main():
        async with mpidask.MPICluster({shape(system)}asynchronous=True, quiet=True) as cluster:
            async with Client(cluster, asynchronous=True) as client:
                await client.wait_for_workers(3)
                print(await client.submit(lambda: 42))
        print(cluster.job.state.value)

    asyncio.run(main())
    """
    done = python(system, program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\ndone\n", ""), done


@pytest.mark.thorough
@pytest.mark.parametrize("system", ["local"], indirect=True)  # on Slurm: test_in_a_notebook
def test_a_cluster_that_is_not_closed_ends_with_the_program(system):
    program = f"""
    import mpidask
    cluster = mpidask.MPICluster({shape(system)}quiet=True)
    cluster.get_client().wait_for_workers(3)
    print(cluster.get_client().submit(lambda: 42).result())
    """
    done = python(system, program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", ""), done
    each = system.until(system.status()[0]["job"], lambda each: each["ended"])
    assert (each["state"], each["exit_status"]) == ("done", 0), each


@pytest.mark.thorough
@pytest.mark.parametrize("system", ["local"], indirect=True)
def test_a_cluster_whose_close_was_cut_off_can_be_closed_again(system):
    program = f"""
    import asyncio, mpidask
    from mpidask.attach import shutdown
    cluster = mpidask.MPICluster({shape(system)}quiet=True)
    asks = shutdown.shut_down
    async def hangs(scheduler):
        shutdown.shut_down = asks
        await asyncio.sleep(600)
    shutdown.shut_down = hangs
    try:
        cluster.close(timeout=0.5)
    except Exception as error:
        print(type(error).__name__)
    cluster.close()
    print(cluster)
    """
    done = python(system, program)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert re.fullmatch(r"TimeoutError\nMPICluster\(.* state done, .*\)\n", done.stdout), done
    assert system.left_over() == []


@pytest.mark.thorough
def test_a_cluster_that_is_closed_at_once(system):
    """Before its workers are there."""
    done = python(system, f"import mpidask\nwith mpidask.MPICluster({shape(system)}quiet=True): pass")
    assert (done.returncode, done.stderr) == (0, ""), done
    each = system.until(system.status()[0]["job"], lambda each: each["ended"])
    assert (each["state"], each["exit_status"]) == ("done", 0), each
    assert system.left_over() == []


@pytest.mark.thorough
@pytest.mark.parametrize("system", ["local"], indirect=True)  # on Slurm: test_a_job_that_nobody_uses_ends_in_order
def test_the_cluster_of_a_killed_program_ends_by_its_idle_timeout(system):
    program = f"""
    import os, mpidask, signal
    cluster = mpidask.MPICluster({shape(system)}quiet=True, idle_timeout="10 s")
    cluster.get_client().wait_for_workers(3)
    os.kill(os.getpid(), signal.SIGKILL)
    """
    assert python(system, program).returncode == -signal.SIGKILL
    each = system.until(system.status()[0]["job"], lambda each: each["ended"])
    assert (each["state"], each["exit_status"]) == ("done", 0), each
    assert system.left_over() == []


def test_a_cluster_whose_job_ends_says_so(system):
    """While it is used."""
    program = f"""
    import mpidask, sys
    cluster = mpidask.MPICluster({shape(system)}quiet=True)
    cluster.wait_for_workers(3)
    print(cluster.job.id, flush=True)
    sys.stdin.readline()
    print(cluster)
    cluster.close()
    """
    process = system.spawn(system.python, system.file("program.py", textwrap.dedent(program)))
    job = until_said(process, process.stdout, r"\d+\n", timeout=90).strip()
    assert system.mpidask("cancel", job).returncode == 0
    until_said(process, process.stderr, rf"mpidask: job {job} has ended: .*\n")
    stdout, stderr = process.communicate("\n", timeout=30 * PATIENCE)
    assert process.returncode == 0, stderr
    assert re.search("state (done|failed|cancelled)", stdout), (stdout, stderr)


def test_clusters_that_do_not_come_up(slurm):
    """The job is cancelled where it would go on for nobody."""
    refused = python(slurm, "import mpidask\nmpidask.MPICluster(queue='nosuch')")
    assert re.search(r"BatchError: Slurm did not take the job: .*partition", refused.stderr), refused
    waits = f"mpidask.MPICluster(directive={[*(word.removeprefix('--directive=') for word in slurm.hold)]}"
    impatient = python(slurm, f"import mpidask\n{waits}, timeout=2)")
    assert "StartupError: there is no connection after 2 s" in impatient.stderr, impatient
    (each,) = slurm.status()
    assert slurm.until(each["job"], lambda each: each["ended"])["reason"] == "cancelled by you"
    process = slurm.spawn(slurm.python, "-c", f"import mpidask\n{waits})")
    said = until_said(process, process.stderr, r"job (\d+) is submitted(.|\n)*held")
    job = re.search(r"job (\d+)", said)[1]
    assert slurm.mpidask("cancel", job).returncode == 0
    _, stderr = process.communicate(timeout=60 * PATIENCE)
    assert f"mpidask.errors.BatchError: job {job} has ended: cancelled by you\n" in stderr, stderr


def test_an_interrupt_while_the_job_waits_cancels_it(slurm):
    words = [word.removeprefix("--directive=") for word in slurm.hold]
    process = slurm.spawn(slurm.python, "-c", f"import mpidask\nmpidask.MPICluster(directive={words})")
    said = until_said(process, process.stderr, r"job (\d+) (held|pending)")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30 * PATIENCE)
    job = re.search(r"job (\d+)", said)[1]
    assert slurm.until(job, lambda each: each["ended"])["reason"] == "cancelled by you"


def fetch(link):
    """Return the status of a page."""
    try:
        with urllib.request.urlopen(link, timeout=60 * PATIENCE) as page:
            return page.status
    except urllib.error.HTTPError as error:
        return error.code


def await_page(link):
    """Wait for the dashboard's pages: they come a little after the scheduler."""
    deadline = time.monotonic() + 30 * PATIENCE
    while fetch(link) != 200:
        assert time.monotonic() < deadline, link
        time.sleep(0.5)


def test_the_dashboard_on_this_machine(local):
    job = start(local)
    connect(local, job, "")
    done = local.mpidask("dashboard", job)
    assert done.returncode == 0, done
    await_page(done.stdout.strip())
    port = re.search(r":(\d+)/", done.stdout)[1]
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in done.stderr, done


def test_the_dashboard_by_a_tunnel(slurm):
    """By a real step of the job, else by the real ssh; a stranger's request finds nothing there."""
    slurm.file("sleeps.py", "print('up', flush=True)\nimport time; time.sleep(600)")
    job = slurm.submit(*slurm.shape(1, 3), "sleeps.py")
    slurm.until(job, lambda each: "up" in slurm.log(job))
    process = slurm.spawn(slurm.python, "-m", "mpidask.cli", "dashboard", job)
    link = until_said(process, process.stdout, r"status\n", timeout=30).strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]+/status", link), link
    await_page(link)
    assert fetch(re.sub(r"(\d/).*", r"\1status", link)) == 404
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20 * PATIENCE)
    assert (process.returncode, "Traceback" in stderr) == (0, False), stderr
    assert f"the tunnel goes through srun in job {job}; Ctrl-C ends it" in stderr, stderr
    process = slurm.spawn(slurm.python, "-m", "mpidask.cli", "dashboard", job)
    until_said(process, process.stdout, r"status\n", timeout=30)
    by_ssh = dashboard_without_steps(slurm, job)
    assert slurm.mpidask("stop", job).returncode == 0
    _, stderr = process.communicate(timeout=40 * PATIENCE)
    assert (process.returncode, f"job {job} has ended" in stderr) == (0, True), stderr
    _, stderr = by_ssh.communicate(timeout=40 * PATIENCE)
    assert (by_ssh.returncode, f"job {job} has ended" in stderr) == (0, True), stderr
    assert f"srun in job {job} ended with status 1; ssh to mn" in stderr, stderr
    assert "the tunnel goes through ssh to mn" in stderr, stderr
    assert not [command for command in slurm.left_over() if "ssh" in command or "relay" in command]


def dashboard_without_steps(slurm, job):
    """Open the way to a dashboard where Slurm refuses further steps; return the process."""
    slurm.replace("srun", "#!/bin/sh\nexit 1\n")
    process = slurm.spawn(slurm.python, "-m", "mpidask.cli", "dashboard", job)
    await_page(until_said(process, process.stdout, r"status\n", timeout=30).strip())
    return process


EXECUTE = """
import json, sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], as_version=4)
client = NotebookClient(notebook, timeout=360, startup_timeout=180, kernel_name="python3")
client.create_kernel_manager().shutdown_wait_time = 60  # else it is killed 2.5 s after it was asked to end
client.execute()
for cell in notebook.cells:
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        assert output.get("name") != "stderr", output  # JupyterLab has a red box for it
        print(output.get("text") or data.get("text/plain"), "HTML" * ("text/html" in data))
"""


@pytest.mark.thorough
def test_in_a_notebook(slurm):
    """In a real Jupyter kernel of an ordinary user; the kernel's end closes what the notebook has left open."""
    assert "nbclient" in slurm.run(slurm.python, "-c", "import nbclient; print(nbclient.__name__)").stdout
    for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR"):
        slurm.environment = {**slurm.environment, name: str(slurm.directory / name.lower())}
    notebook = slurm.file("notebook.ipynb", (JOBS / "notebook.ipynb").read_text())
    done = slurm.run(slurm.python, slurm.file("execute.py", EXECUTE), notebook, timeout=150)
    assert done.returncode == 0, done
    assert re.search(
        r"MPICluster\(\w+, job \d+, state running, nodes 2, ranks 4, workers=\d, threads=\d\) HTML", done.stdout
    ), done
    assert re.search(r"EWR .* 120835", done.stdout), done
    assert "the same table from another client: True" in done.stdout, done
    jobs = {each["job"]: slurm.until(each["job"], lambda each: each["ended"]) for each in slurm.status()}
    assert [(each["state"], each["exit_status"]) for each in jobs.values()] == [("done", 0)], jobs
    assert slurm.left_over() == []
