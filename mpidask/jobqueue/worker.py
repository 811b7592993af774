"""``python -m mpidask.jobqueue.worker``: Dask's worker command, with connections that hold.

It takes what ``python -m distributed.cli.dask_worker`` takes, and several addresses of the scheduler, separated by
commas: the first that this node reaches is used. TLS connections are steady, and a worker whose connection to the
scheduler breaks is started again. Clients in tasks find the keys by the scheduler's address. Workers serve no
pages, which others on the node could read, and nothing is left in the temporary directory. The processes of its workers
import this module too, as the main module of their nanny.
"""

from __future__ import annotations

import itertools
import os
import signal
import ssl
import sys
import tempfile
import types
from collections.abc import Sequence

import dask.config
from distributed.cli import dask_worker
from distributed.security import Security

from mpidask import job_environment
from mpidask.addresses import reachability
from mpidask.compat import servers
from mpidask.compat.lost_connections import RestartingNanny
from mpidask.dashboard import access
from mpidask.errors import StartupError
from mpidask.ports.port_range import PortRange
from mpidask.security import credentials, tls_sockets

__all__ = ["ReportingNanny", "main"]

_DIRECTORY = "--local-directory"
_LISTENING = ("--host", "--interface", "--listen-address", "--contact-address")


class ReportingNanny(RestartingNanny):
    """A nanny that says so, in the job's log, when it starts a worker again."""

    def on_disconnection(self) -> None:
        """Say so."""
        where = f"worker {self.name} on {os.uname().nodename}"
        sys.stderr.write(f"mpidask: {where} lost its connection to the scheduler; it is started again\n")
        sys.stderr.flush()


def main(words: Sequence[str]) -> None:
    """Run Dask's command with these arguments; raises SystemExit at its end."""
    for name in job_environment.set_by_the_batch_system(os.environ):
        del os.environ[name]  # Dask has a default of its own, for workers that share the job
    servers.start_workers_by(dask_worker, ReportingNanny)
    credentials.answer_clients()  # those of tasks; a nanny hands its configuration to its worker
    access.leave_out_pages_of_workers()
    signal.signal(signal.SIGTERM, _leave)  # until Dask's command sees to it: nobody may say it again
    servers.before_signals(dask_worker, lambda: signal.signal(signal.SIGTERM, _ignore))  # a job gets it several times
    words = _joining(words)
    given = any(word.split("=")[0] == _DIRECTORY for word in words)
    try:
        if given or dask.config.get("temporary-directory", default=None):
            dask_worker.main(list(words))
        with tempfile.TemporaryDirectory(prefix="mpidask-worker-", ignore_cleanup_errors=True) as directory:
            dask_worker.main([*words, _DIRECTORY, directory])
    except RuntimeError:
        _report_shortage(words)
        raise


def _joining(words: Sequence[str]) -> list[str]:
    """Return the words with one of several addresses of the scheduler, and the own address on the way to it.

    Raises SystemExit with a message if this node reaches none of them.
    """
    if not words or "," not in words[0]:
        return list(words)
    addresses, *others = words
    try:
        way = reachability.first_reached(addresses.split(","), _context(others))
    except StartupError as error:
        error.report()
        raise SystemExit(error.status) from None
    sys.stderr.write(f"mpidask: {os.uname().nodename} reaches the scheduler at {way.address} from {way.own}\n")
    own = [] if any(word.split("=")[0] in _LISTENING for word in others) else ["--host", way.own]
    return [way.address, *others, *own]


def _context(words: Sequence[str]) -> ssl.SSLContext | None:
    """Return what a connection to the scheduler is wrapped in, as the arguments for Dask's command say it."""
    given = dict(itertools.pairwise(words))
    if "--tls-cert" not in given:
        return None
    security = Security(
        tls_ca_file=given["--tls-ca-file"], tls_worker_cert=given["--tls-cert"], tls_worker_key=given.get("--tls-key")
    )
    context: ssl.SSLContext = security.get_connection_args("worker")["ssl_context"]
    return context


def _report_shortage(words: Sequence[str]) -> None:
    """Say so if the workers did not start because too few ports are free: Dask does not name the range."""
    values = {name: value for name, value in itertools.pairwise(words) if name.startswith("--")}
    ports = values.get("--worker-port", "")
    if ":" in ports:
        each = 2 if "--nanny-port" in values else 1
        shortage = PortRange.parse(ports).shortage(each * int(values.get("--nworkers", "1")))
        if shortage is not None:
            sys.stderr.write(shortage.text())


def _leave(number: int, frame: types.FrameType | None) -> None:
    """End: there is nothing yet to be closed in order."""
    sys.exit(128 + number)


def _ignore(number: int, frame: types.FrameType | None) -> None:
    """Do nothing; not SIG_IGN, which child processes would inherit."""


tls_sockets.mend()

if __name__ == "__main__":
    main(sys.argv[1:])
