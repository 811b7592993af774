"""What Prometheus and health checks ask for: below the secret, and nowhere else."""

from __future__ import annotations

import re
import textwrap

from machines import borrowed

LOOK = """
import urllib.error, urllib.request
from urllib.parse import urljoin

def fetch(link):
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(link, timeout=180) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""

def look(client, link):
    client.wait_for_workers(1, timeout=60)
    client.submit(sum, [1, 2]).result(timeout=60)
    for path, word in {"health": "ok", "metrics": "dask_scheduler_workers", "json/counts.json": "bytes"}.items():
        status, text = fetch(urljoin(link, path))
        print(path, status, word if word in text else text)
        print(path, "without the secret", fetch(urljoin(link, f"/{path}"))[0])
    for port in client.run(lambda dask_worker: dask_worker.http_server.port).values():
        print("worker", [fetch(f"http://127.0.0.1:{port}/{path}")[0] for path in ("health", "metrics", "status")])
"""

EXPECTED = """\
health 200 ok
health without the secret 404
metrics 200 dask_scheduler_workers
metrics without the secret 404
json/counts.json 200 bytes
json/counts.json without the secret 404
worker [404, 404, 404]
"""

IN_A_RUN = """
from distributed import Client

client = Client()
look(client, client.dashboard_link)
"""

OF_JOBS = """
import mpidask

with mpidask.LocalJobCluster(cores=1, memory="300MB", n_workers=1) as cluster, cluster.get_client() as client:
    look(client, cluster.dashboard_link)
"""


def test_in_a_run(ranks):
    result = ranks(3, ranks.script(LOOK + IN_A_RUN))
    assert (result.status, result.stdout) == (0, EXPECTED), result


def test_of_per_worker_jobs():
    with borrowed("local") as local:
        script = local.file("script.py", LOOK + textwrap.dedent(OF_JOBS))
        done = local.run(local.python, "-W", "ignore", script, timeout=100)
        assert (done.returncode, re.sub(r"^mpidask.*\n", "", done.stdout)) == (0, EXPECTED), done
        assert local.left_over() == []
