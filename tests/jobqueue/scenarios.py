"""What a user does with a cluster of per-worker jobs: python scenarios.py SCENARIO SYSTEM. It ends with status 0 if all is well.

Run by test_clusters.py as an ordinary user, where the batch system is.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import dask
from distributed import Client, get_worker
from distributed.security import Security

import mpidask
from mpidask.jobqueue.jobs import dispatcher

CLASSES = {
    "local": mpidask.LocalJobCluster,
    "slurm": mpidask.SLURMCluster,
    "sge": mpidask.SGECluster,
    "oar": mpidask.OARCluster,
    "torque": mpidask.PBSCluster,
    "pbs": mpidask.PBSCluster,
    "lsf": mpidask.LSFCluster,
    "moab": mpidask.MoabCluster,
    "htcondor": mpidask.HTCondorCluster,
    "flux": mpidask.FluxCluster,
}
CANCEL = {
    "local": "kill -TERM -- -{}",
    "slurm": "scancel {}",
    "sge": "qdel {}",
    "oar": "oardel {}",
    "torque": "qdel {}",
}
OWN = {
    "oar": {"memory_per_core_property_name": "not_applicable"},
    "htcondor": {"disk": "1 GB", "walltime": None},
    "lsf": {"walltime": "0:10"},
    "flux": {"walltime": "10m"},
}


def cluster(system, **given):
    small = {"cores": 1, "memory": "300MB", "processes": 1, "walltime": "00:10:00", "poll_interval": "1 s"}
    given = {**small, **OWN.get(system, {}), **given}
    return CLASSES[system](**{name: value for name, value in given.items() if value is not None})


def run(*words):
    """Run a command to its end; return what it prints."""
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def jobs_of_tcsh(system):
    """A job array with another kind of shell: each element has its number, its workers, and its exit status."""
    given = {"shebang": "#!/usr/bin/env tcsh", "job_script_prologue": ["setenv SET_IN_THE_PROLOGUE yes"]}
    with cluster(system, **given) as jobs, Client(jobs) as client:
        jobs.scale(jobs=1)
        client.wait_for_workers(1, timeout=180)
        jobs.scale(jobs=3)
        client.wait_for_workers(3, timeout=180)
        assert jobs.dispatcher.submissions == 2, "one job, then an array of two"
        assert set(client.run(lambda: os.environ["SET_IN_THE_PROLOGUE"]).values()) == {"yes"}
        assert len({info["name"] for info in client.scheduler_info(n_workers=-1)["workers"].values()}) == 3
        left = [jobs.dispatcher.directory / f"{job.number}.status" for job in jobs.workers.values()]
        dispatcher._FAREWELL = 60  # one that is cancelled leaves none: tcsh has no trap for that
        jobs.scale(0)
        until(lambda: all(path.exists() for path in left))


def until(condition, within=180):
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)


def count(client):
    return len(client.scheduler_info()["workers"])


def a_day(system):
    """Scale up, compute, lose a job, scale down, adapt up and down."""
    with cluster(system) as jobs, Client(jobs) as client:
        jobs.scale(jobs=4)
        assert jobs.dispatcher.submissions <= (2 if system in ("slurm", "sge") else 4), "an array is one submission"
        client.wait_for_workers(4, timeout=180)
        assert sum(client.gather(client.map(lambda x: x * x, range(20)))) == 2470
        until(lambda: jobs.status_report().count("running  workers 1 of 1") == 4)
        lost = jobs.jobs[1]
        subprocess.run(CANCEL[system].format(lost.id).split(), check=True, capture_output=True, timeout=60)
        until(lambda: lost not in jobs.jobs and sum(bool(job.present) for job in jobs.jobs) == count(client) == 4)
        assert sorted(job.restarts for job in jobs.jobs) == [0, 0, 0, 1]
        rows = [row for row in jobs.scheduler.plugins["mpidask-ranks"].rows() if row.worker]
        assert sorted(row.restarts for row in rows) == [0, 0, 0, 1], rows
        assert client.submit(sum, [1, 2]).result(timeout=120) == 3
        jobs.scale(jobs=1)
        until(lambda: count(client) == 1)
        assert len(jobs.jobs) == 1, jobs
        jobs.adapt(minimum=0, maximum=3, interval="100ms", cooldown="2s")
        work = client.map(lambda x: time.sleep(0.5) or x, range(30))
        until(lambda: len(jobs.jobs) == 3)
        assert client.gather(work) == list(range(30))
        del work
        until(lambda: not jobs.jobs)
        ids = [line.split('"')[1] for line in (jobs.dispatcher.directory / "jobs").read_text().splitlines()]
    print("submitted", *ids)


def with_stand_ins(system):
    """Up, down and a failure, with what stands in for commands that cannot be had."""
    quoted = 'echo "it\'s here" \'and "there"\''
    with cluster(system, job_script_prologue=[quoted]) as jobs, Client(jobs) as client:
        jobs.scale(jobs=3)
        assert jobs.dispatcher.submissions == (2 if system in ("lsf", "pbs") else 3)
        client.wait_for_workers(3, timeout=180)
        until(lambda: jobs.status_report().count("running  workers 1 of 1") == 3)
        assert all('it\'s here and "there"' in job.log for job in jobs.jobs), jobs.jobs[0].log
        lost = jobs.jobs[1]
        key = "_".join(
            part for part in lost.id.replace("[", " ").replace("]", " ").replace("f", "").split(".")[0].split()
        )
        with open(f"{os.environ['STANDIN']}/{key}.pid") as file:
            os.killpg(int(file.read()), signal.SIGKILL)
        with open(f"{os.environ['STANDIN']}/{key}.part", "w") as file:
            file.write("137")
        os.replace(file.name, f"{os.environ['STANDIN']}/{key}.exit")
        until(lambda: lost not in jobs.jobs and count(client) == 3)
        jobs.scale(jobs=1)
        until(lambda: count(client) == 1)
        until(lambda: "workers=1 of 1" in repr(jobs))
        assert "1 running" in jobs._repr_html_(), jobs._repr_html_()
    with cluster(system, job_script_prologue=["echo last words", "exit 7"]) as jobs, Client(jobs) as client:
        jobs.scale(jobs=1)
        try:
            client.wait_for_workers(1)
        except mpidask.BatchError as error:
            assert "exit status 7" in error.what and "last words" in error.what, error.what
        else:
            raise AssertionError("nothing was raised")


def busy(system):
    """Scaling down leaves the job alone whose worker is at work."""
    with cluster(system) as jobs, Client(jobs) as client:
        jobs.scale(jobs=3)
        client.wait_for_workers(3, timeout=180)
        told = os.path.abspath("go.txt")

        def works():
            while not os.path.exists(told):
                time.sleep(0.1)
            return __import__("distributed").get_worker().name

        long = client.submit(works)
        jobs.adapt(minimum=0, maximum=3, interval="100ms", cooldown="1s")
        until(lambda: len(jobs.jobs) == 1)
        open(told, "w").close()
        assert long.result(timeout=120) == jobs.jobs[0].name
        del long  # Dask keeps a worker for what is in memory
        until(lambda: not jobs.jobs)


def an_address_that_leads_nowhere(system):
    """Here Dask's choice is an address that no other node reaches (the test sees to it); the first job finds another."""
    with cluster(system, job_extra_directives=["--exclude=mn4"]) as jobs, Client(jobs) as client:
        chosen = jobs.scheduler.address
        assert chosen.startswith("tls://10.255."), chosen
        jobs.scale(jobs=1)
        client.wait_for_workers(1, timeout=120)
        assert "reaches the scheduler at tls://10.177.0.4:" in jobs.jobs[0].log, jobs.jobs[0].log
        (worker,) = client.scheduler_info()["workers"]
        assert worker.startswith("tls://10.177.0."), worker
        assert re.search(rf" tls://10.177.0.4:\d+,{chosen} ", jobs.job_script()), jobs.job_script()
        assert client.submit(sum, [1, 2]).result(timeout=120) == 3


def a_lost_node(system):
    """The node of a job is lost (the test sees to it): the job is replaced."""
    with cluster(system, job_extra_directives=["--no-requeue"]) as jobs, Client(jobs) as client:
        jobs.scale(jobs=1)
        client.wait_for_workers(1, timeout=180)
        first = jobs.jobs[0].id
        with open("first", "w") as file:
            file.write(first)
        until(lambda: jobs.jobs and jobs.jobs[0].id != first and count(client) == 1, within=240)


def a_requeued_job(system):
    """It keeps its id and runs again: one job is wanted, and there is one; when the cluster is closed none is left."""
    with cluster(system, queue="scraps", job_extra_directives=["-w mn4"]) as jobs, Client(jobs) as client:
        jobs.scale(jobs=1)
        client.wait_for_workers(1, timeout=180)
        first = jobs.jobs[0].id
        node = run("squeue", "-h", "-j", first, "-o", "%N")
        until_told = f"until [ -e {os.getcwd()}/go.txt ]; do sleep 0.2; done"
        taken = [*f"-p debug -w {node} --exclusive -t 1 -o /dev/null --wrap".split(), until_told]
        for requeue in (["scontrol", "requeue", first], ["sbatch", "--parsable", *taken]):
            with contextlib.suppress(FileNotFoundError):
                os.remove("go.txt")
            run(*requeue)
            until(lambda: "waits to run again" in jobs.status_report(), within=180)
            assert [job.id for job in jobs.jobs] == [first], jobs.status_report()
            open("go.txt", "w").close()
            client.wait_for_workers(1, timeout=180)
            until(lambda: "waits to run again" not in jobs.status_report(), within=60)
            assert [job.id for job in jobs.jobs] == [first], jobs.status_report()
        assert jobs.dispatcher.submissions == 1
        assert client.submit(sum, [1, 2]).result() == 3
        run("scontrol", "requeue", first)
        until(lambda: "waits to run again" in jobs.status_report(), within=180)
    assert first not in run("squeue", "-h", "-t", "pending,running", "-o", "%A")


def killed_with_its_sentinel(system):
    """Nobody is left to cancel the jobs."""
    jobs = cluster(system, job_extra_directives=["--hold"])
    jobs.scale(jobs=2)
    for process in os.listdir("/proc"):
        if process.isdigit():
            try:
                with open(f"/proc/{process}/cmdline") as words:
                    if f"mpidask.batch.sentinel\0{jobs.dispatcher.directory}" in words.read():
                        os.kill(int(process), signal.SIGKILL)
            except OSError:
                continue
    os.kill(os.getpid(), 9)


def a_broken_prologue(system):
    """Whoever waits is told why, with the job's last words, and there is an end to it."""
    begin = time.monotonic()
    with (
        cluster(system, job_script_prologue=["echo these are its last words", "exit 7"]) as jobs,
        Client(jobs) as client,
    ):
        future = client.submit(sum, [1, 2])
        jobs.scale(jobs=2)
        try:
            client.wait_for_workers(2)
        except mpidask.BatchError as error:
            assert "exit status 7" in error.what, error.what
            assert "these are its last words" in error.what, error.what
        else:
            raise AssertionError("nothing was raised")
        try:
            future.result(timeout=120)
        except mpidask.BatchError as error:
            assert "these are its last words" in error.what, error.what
        late = client.submit(sum, [3, 4])
        assert isinstance(late.exception(timeout=120), mpidask.BatchError), "nor does later work wait for ever"
        assert "failed: 3" in jobs.status_report(), jobs.status_report()
        print("told after", round(time.monotonic() - begin), "s")
        jobs._job_kwargs["job_script_prologue"] = []
        jobs.scale(jobs=1)
        client.wait_for_workers(1, timeout=180)
        assert client.submit(sum, [5, 6]).result(timeout=120) == 11, "mended, it works"


def a_refusal(system):
    """`scale` raises what the batch system says; only the canary was sent, nothing is left over."""
    with cluster(system, queue="nosuchqueue") as jobs:
        try:
            jobs.scale(jobs=5)
        except mpidask.BatchError as error:
            for words in ("there is no such", "command: ", "exit status: ", "nosuchqueue", "job.sh"):
                assert words in error.what, error.what
        else:
            raise AssertionError("nothing was raised")
        assert jobs.dispatcher.submissions == 1
        assert jobs.jobs == [] and not jobs.worker_spec

    async def in_a_loop():
        async with cluster(system, queue="nosuchqueue", asynchronous=True) as jobs:
            jobs.scale(jobs=2)
            try:
                await jobs
            except mpidask.BatchError as error:
                assert "there is no such" in error.what, error.what
            else:
                raise AssertionError("nothing was raised")

    asyncio.run(in_a_loop())


def several_nodes(system):
    """A job that spans two nodes, with two ranks on each."""
    more = {"sge": {"parallel_environment": "two"}}.get(system, {})
    with (
        cluster(system, cores=2, memory="800MB", processes=2, nodes=2, ranks_per_node=2, **more) as jobs,
        Client(jobs) as client,
    ):
        jobs.scale(jobs=1)
        client.wait_for_workers(4, timeout=180)
        workers = client.scheduler_info()["workers"].values()
        assert len({worker["host"] for worker in workers}) == 2, workers
        assert sorted(worker["name"] for worker in workers) == sorted(jobs.plan), (workers, jobs.plan)
        until(lambda: "workers=4 of 4" in repr(jobs))


def kinds_of_workers(system):
    """Two kinds of workers in one cluster, scaled apart."""
    with cluster(system, groups={"big": {"memory": "400MB", "resources": {"BIG": 1}}}) as jobs, Client(jobs) as client:
        jobs.scale(jobs=1)
        jobs.scale(jobs=2, group="big")
        client.wait_for_workers(3, timeout=180)
        where = client.submit(lambda: __import__("distributed").get_worker().name, resources={"BIG": 1}).result(
            timeout=60
        )
        assert "-big-" in where, where
        jobs.scale(jobs=0, group="big")
        until(lambda: count(client) == 1)
        assert [job.name for job in jobs.jobs] == [jobs.jobs[0].name] and "-big-" not in jobs.jobs[0].name


def workers_by_address():
    """Connect in a task with the scheduler's address alone, as frameworks do; return how many workers it has."""
    with Client(get_worker().scheduler.address, timeout=30, set_as_default=False) as client:
        return count(client)


def with_keys(system):
    """TLS with keys that nobody else can read, not in the current directory, gone at the end."""
    os.makedirs("shared", mode=0o777)
    os.chmod("shared", 0o777)
    before = set(os.listdir())
    for given in ({}, {"shared_temp_directory": os.path.abspath("shared")}, {"security": True, "protocol": "tls"}):
        with cluster(system, **given) as jobs, Client(jobs) as client:
            assert jobs.dispatcher.directory is None, "nothing is written before it is needed"
            jobs.scale(1)
            client.wait_for_workers(1, timeout=180)
            assert jobs.scheduler_address.startswith("tls://") and "TLS" not in repr(jobs)
            assert client.submit(sum, [1, 2]).result(timeout=120) == 3
            assert client.submit(workers_by_address).result(timeout=120) == 1
            directory = jobs.dispatcher.directory
            if "shared_temp_directory" in given:
                (directory,) = (directory / "../../../../shared").resolve().glob(".*")
            files = list(directory.glob(".dask-jobqueue.*"))
            assert len(files) == 3, files
            assert {oct(path.stat().st_mode)[-3:] for path in files} == {"600"}
            assert oct(directory.stat().st_mode)[-3:] == "700"
            assert "BEGIN" not in jobs.job_script() and str(files[0]) in jobs.job_script()
            assert not [job for job in jobs.jobs if "PRIVATE KEY" in job.log]
        assert not [path for path in files if path.exists()]
        assert not os.listdir("shared")
    assert set(os.listdir()) - before <= {"state", "config"}, "there the tests have records and configuration"


def strangers(system):
    """Without the keys nobody gets in, neither to scheduler, nor worker, nor nanny; those who have them do not notice."""
    with cluster(system) as jobs, Client(jobs) as client:
        jobs.scale(1)
        client.wait_for_workers(1, timeout=180)
        work = client.submit(lambda: time.sleep(8) or "done")
        ((worker, facts),) = client.scheduler_info()["workers"].items()
        addresses = (jobs.scheduler_address, worker, facts["nanny"])
        opened = [listening(), *client.run(listening).values(), *client.run(listening, nanny=True).values()]
        others = {place[1] for places in opened for place in places if place[0] not in ("127.0.0.1", "::1")}
        assert others == {int(address.rsplit(":", 1)[1]) for address in addresses}, (opened, addresses)
        for address in addresses:
            assert address.startswith("tls://"), address
            for way in (b"GET / HTTP/1.0\r\n\r\n", os.urandom(1000), None, Security.temporary()):
                refused(address, way)
        for security in (Security.temporary(), None):
            address = jobs.scheduler_address
            try:
                Client(address if security else address.replace("tls", "tcp"), security=security, timeout="3 s")
            except OSError:
                continue
            raise AssertionError("a stranger was let in")
        with Client(jobs.scheduler_address) as second:
            assert second.submit(sum, [1, 2]).result(timeout=120) == 3, "this process has the keys"
        assert work.result(timeout=120) == "done", "nothing was disturbed"
        assert jobs.jobs[0].present and not jobs.reconciler.ended
        only_with_the_link(jobs)


def listening():
    """Return the addresses to which this process listens."""
    import psutil

    return [tuple(each.laddr) for each in psutil.Process().net_connections("tcp") if each.status == "LISTEN"]


def refused(address, way):
    """Be a stranger: say some bytes, or begin TLS with no certificate or with one of one's own."""
    host, port = address.removeprefix("tls://").split(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=20) as plain:
        if isinstance(way, bytes):
            plain.sendall(way)
            while data := plain.recv(1000):
                assert b"\x15\x03" in data, (address, data)  # an alert of TLS
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if way is not None:
            with tempfile.NamedTemporaryFile("w") as file:
                file.write(way.tls_client_cert + way.tls_client_key)
                file.flush()
                context.load_cert_chain(file.name)
        with context.wrap_socket(plain) as encrypted:
            assert encrypted.recv(1) == b"", address


def only_with_the_link(jobs):
    """The dashboard tells nothing to those who do not know its link."""
    link = jobs.dashboard_link
    base, token, _ = link.rsplit("/", 2)
    assert base.startswith("http://127.0.0.1:") and len(token) > 20, link
    for path in ("", "/status", "/ranks", "/info/main/workers.html", "/health", "/sitemap.json", f"/x/{token}/status"):
        try:
            urllib.request.urlopen(base + path, timeout=20)
        except urllib.error.HTTPError as error:
            assert error.code == 404 and token.encode() not in error.read() and token not in str(error.headers), path
        else:
            raise AssertionError(path)
    for page in ("status", "ranks"):
        with urllib.request.urlopen(link.replace("status", page), timeout=60) as answer:
            assert b'href="ranks"' in answer.read(), "the navigation"
    (row,) = jobs.scheduler.plugins["mpidask-ranks"].rows()
    job = jobs.jobs[0]
    assert (row.place, row.worker, row.state, row.threads) == (job.id, job.name, "running", 1), row
    assert row.pid and row.memory and row.memory_limit and row.node, row


def without_keys(system):
    """Whoever does not want TLS says so, and is told what that means."""
    for given, configured in (({"security": False}, None), ({}, False), ({"protocol": "tcp://"}, False)):
        with dask.config.set({"mpidask.tls": configured}), cluster(system, **given) as jobs, Client(jobs) as client:
            jobs.scale(1)
            client.wait_for_workers(1, timeout=180)
            assert client.submit(sum, [1, 2]).result(timeout=120) == 3
            assert jobs.scheduler_address.startswith("tcp://")
            assert "TLS off" in repr(jobs) and "TLS is off" in jobs.status_report()
            assert "TLS is off" in jobs._repr_html_()
            assert "--tls" not in jobs.job_script()
    with cluster(system, protocol="tcp://") as jobs:
        assert jobs.scheduler_address.startswith("tls://"), "what dask-jobqueue's users are used to type"


def within_a_firewall(system):
    """All that listens does so on ports of a range, also where the scheduler is in a job."""
    first = 31_000 + os.getpid() % 80 * 20
    allowed = set(range(first, first + 20))
    given = {"port_range": f"{first}:{first + 19}", "remote_scheduler": True}
    with cluster(system, **given) as jobs, Client(jobs) as client:
        jobs.scale(2)
        client.wait_for_workers(2, timeout=180)
        info = client.scheduler_info(n_workers=-1)
        there = [info["address"], *info["workers"], *(each["nanny"] for each in info["workers"].values())]
        ports = [int(each.rpartition(":")[2]) for each in there] + [info["services"]["dashboard"]]
        assert len(ports) == 6 and set(ports) <= allowed, ports  # one may stand twice, on two addresses


def a_scheduler_in_a_job(system):
    """The scheduler is in a job of its own; so is a failure of it."""
    with cluster(system, remote_scheduler=True) as jobs, Client(jobs) as client:
        assert jobs.scheduler_address.startswith("tls://")
        assert "without tasks it ends after 1 h" in jobs.status_report(), jobs.status_report()
        token = jobs.dashboard_link.split("/")[-2]
        assert len(token) > 20 and token not in jobs.scheduler.job.job_script()
        jobs.scale(2)
        client.wait_for_workers(2, timeout=180)
        assert client.submit(sum, [1, 2]).result(timeout=120) == 3
        here = subprocess.run(["hostname"], capture_output=True, text=True, check=True, timeout=60).stdout.strip()
        there = client.run_on_scheduler(lambda: __import__("socket").gethostname())
        assert system == "local" or there != here, there
        refused(jobs.scheduler_address, b"hello")
        directory = jobs.dispatcher.directory
    assert not list(directory.glob(".*")), "neither keys nor the dashboard's secret are left"
    try:
        with cluster(system, remote_scheduler={"job_script_prologue": ["echo cannot", "exit 9"]}):
            raise AssertionError("nothing was raised")
    except Exception as error:
        assert "cannot" in str(error) and "exit status 9" in str(error), error


def killed(system):
    """The process is killed while one job runs and another may wait."""
    os.mkdir("shared")
    jobs = cluster(system, shared_temp_directory=os.path.abspath("shared"))
    jobs.scale(jobs=2)
    Client(jobs).wait_for_workers(1, timeout=180)
    assert len(os.listdir("shared")) == 1
    print("ready", flush=True)
    os.kill(os.getpid(), 9)


def an_exception(system):
    """An exception ends the program; the jobs go with it."""
    jobs = cluster(system)
    jobs.scale(jobs=2)
    Client(jobs).wait_for_workers(2, timeout=180)
    raise RuntimeError("as if by mistake")


def waiting(system):
    """Jobs that wait are said to wait, with the reason; they are not cancelled for others."""
    hold = {"slurm": ["--hold"], "sge": ["-h"], "oar": ["--hold"]}[system]
    with cluster(system, job_extra_directives=hold) as jobs, Client(jobs) as client:
        jobs.scale(jobs=2)
        until(lambda: "2 held" in repr(jobs))
        time.sleep(6)
        assert "2 held" in repr(jobs), jobs
        assert "running" not in jobs.status_report(), jobs.status_report()
        try:
            client.wait_for_workers(1, timeout=1)
        except TimeoutError as error:
            assert "held" in str(error), error
        else:
            raise AssertionError("nothing was raised")
        first = [job.id for job in jobs.jobs]
        adaptive = jobs.adapt(minimum_jobs=0, maximum_jobs=4, interval="100ms", wait_count=3, cooldown="60 s")
        for pause in (0.5, 2.0):
            work = client.map(lambda x: x, range(10), pure=False)
            time.sleep(pause)
            del work
            time.sleep(1)
        assert set(first) <= {job.id for job in jobs.jobs}, (first, jobs.jobs)
        assert len(jobs.jobs) <= 4
        adaptive.stop()


def bursts(system):
    """Bursts of a load that comes and goes: jobs do not come and go with it."""
    with cluster(system) as jobs, Client(jobs) as client:
        jobs.adapt(minimum_jobs=0, maximum_jobs=3)
        for _ in range(5):
            work = client.map(lambda x: time.sleep(0.2) or x, range(60), pure=False)
            client.gather(work)
            del work
            time.sleep(8)
        ids = (jobs.dispatcher.directory / "jobs").read_text().splitlines()
        print(len(ids), "jobs in five bursts")
        assert len(ids) <= 3, "no more jobs than are there at once"


def lifetimes(system):
    """Workers end ahead of the walltime and hand over what they have; their jobs are replaced."""
    with cluster(system, walltime="00:01:30", lifetime_margin=25) as jobs, Client(jobs) as client:
        jobs.scale(jobs=1)
        client.wait_for_workers(1, timeout=180)
        # One job's data find a home with the other, and must be able to go on to the first one's successor: it has
        # these seconds to come, less the lifetimes' stagger of up to 6 s on each side.
        time.sleep(30)
        jobs.scale(jobs=2)
        client.wait_for_workers(2, timeout=180)
        first = {job.id for job in jobs.jobs}
        results = client.map(lambda x: (x, time.time()), range(8), pure=False)
        made = client.gather(results)
        until(lambda: not first & {job.id for job in jobs.jobs} and count(client) == 2, within=240)
        assert client.gather(results) == made, "nothing was computed again"
        assert {job.standing.exit_status for job in jobs.reconciler.ended} == {0}, jobs.status_report()


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
