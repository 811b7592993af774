"""`mpidask start`, `connect`, `keys`, `dashboard`, `stop`: a job that is a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mpidask.cli import command_line, common, submit
from mpidask.cli.help_page import CommandWithHelp
from mpidask.errors import UsageError

if TYPE_CHECKING:
    from mpidask.attach.client import JobClient
    from mpidask.batch.submission.handles import Handle
    from mpidask.launch.script.main_module import Program

__all__ = ["COMMANDS"]

_START = """\
Submit a job of a scheduler and workers, for clients from elsewhere: notebooks, shells, programs. Print the job id.

One rank runs on each node, and hosts as many workers as its cores and memory suggest; it has one core unless more are
asked for. The site decides what is not given. The options of `mpidask run` (--nthreads, --memory-limit, ...) go to the
job. It ends by itself when nobody has used it for an hour (--idle-timeout)."""

_CONNECT = """\
Compute on a job of `mpidask start`, from here.

Waits for the job, then runs the script on this machine: Client() and .compute() in it find the job's scheduler. Without
a script there is an interactive Python with `client`. JOB is a job id, a run name, the path of a scheduler file or of a
run directory; without JOB the newest job of `mpidask start` is taken (before -m, -c, or nothing)."""

_KEYS = """\
Print environment variables for programs that know Dask alone: with them `dask worker`, Client(scheduler_file=...) and
frameworks that are given an address join the cluster of a job, TLS included. A shell sets them so:
eval "$(mpidask keys JOB)".

The variables name a file with the keys, mode 0600, which is written beside the scheduler file. The run removes it at
its end. JOB is what `mpidask connect` takes."""

_DASHBOARD = """\
Print the link of a job's dashboard. If that is on another node, open a tunnel to it, and hold it until the job ends or
Ctrl-C. The tunnel goes through a step of the job where the batch system has such (srun, flux exec), else through ssh.

Without JOB it is the newest job that has a dashboard."""

_STOP = """\
Shut down jobs of `mpidask start` gracefully. Those that wait, or do not follow, are cancelled.

Without JOB it is the one that waits or runs; if there are several, they are listed."""


def _start(argv: Sequence[str]) -> int:
    from mpidask import batch
    from mpidask.attach import spec
    from mpidask.batch import settings
    from mpidask.batch.records import store
    from mpidask.batch.registry import find_here
    from mpidask.batch.scripts.submit_command import job_script
    from mpidask.config import Options

    command = _start_command()
    ours, program = command_line.split_at_script(argv, command)
    given = common.read(command, ours)
    if given is None:
        return 0
    if program:
        raise UsageError(
            f"mpidask start takes no script ({program[0]})", f"`mpidask submit` does: mpidask submit {program[0]}"
        )
    of_job = {name: given[name] for name in settings.JobOptions.__dataclass_fields__}
    options = settings.load(of_job, profile=given["profile"])
    run = {name: given[name] for name in Options.__dataclass_fields__ if name not in spec.OF_OTHERS}
    job = spec.describe(options, run)
    common.remark(given["profile"])
    system = find_here(options.system)
    if given["dry_run"]:
        print(job_script(system, store.planned(job, options.state_directory)), end="")
        return 0
    handle = batch.submit(job, system, options=options)
    submit.report(handle, job, system.title)
    if spec.serves(handle.record):
        idle = spec.idle_timeout(run)
        ends = f"ends by itself when nobody has used it for {idle}" if idle else "does not end by itself"
        connect = f'`mpidask connect {handle.id}`; in Python: client = mpidask.connect("{handle.id}")'
        sys.stderr.write(f"mpidask: it {ends}; `mpidask stop {handle.id}` ends it\nmpidask: {connect}\n")
    print(handle.id)
    return 0


def _connect(argv: Sequence[str]) -> int:
    found = _asked(argv)
    if isinstance(found, str):
        print(found)
        return 0
    from mpidask.launch.script import main_module, notebook
    from mpidask.security import credentials
    from mpidask.security.credentials import Contact

    job, program, timeout = found
    code = None
    if program is not None:
        code = main_module.load(program)  # what cannot be run is known before the job is waited for
    from mpidask.attach.client import connect

    client = connect(job, timeout=timeout)
    _show_the_way(client)
    if program is not None and code is not None:
        if notebook.starts_kernels(program.kind, program.name):
            credentials.offer(Contact(client.entry.address, client.entry.keys), client.entry.dashboard)
        main_module.run(code)
    _interact(client, job)
    return 0


def _asked(argv: Sequence[str]) -> tuple[str | None, Program | None, str | None] | str:
    """Return which job is meant, what is to run and how long may be waited; or a text to print; raises UsageError."""
    command = _connect_command()
    ours, rest = command_line.split_at_script(argv, command)
    job: list[str] = []
    if rest and rest[0] not in ("--", "-m", "-c"):
        job, rest = [rest[0]], rest[1:]
    more, program = command_line.split(rest, command)
    given = command_line.read(command, [*ours, *more, *job])
    return given if isinstance(given, str) else (given["job"], command_line.program_of(program), given["timeout"])


def _keys(argv: Sequence[str]) -> int:
    given = common.read(_keys_command(), argv)
    if given is None:
        return 0
    from mpidask.attach import wait
    from mpidask.attach.client import answering
    from mpidask.security import scheduler_file

    search = wait.find(given["job"], patient=True)  # a script may have started the run just now
    entry = wait.reach(search, lambda entry: asyncio.run(answering(entry)), timeout=given["timeout"], quiet=False)
    for name, value in scheduler_file.variables(entry).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _show_the_way(client: JobClient) -> None:
    """Have `Client()` find the job's scheduler; `.compute()` does by the client that is there."""
    import dask.config

    dask.config.set({"scheduler-address": client.entry.address})
    if client.entry.dashboard:
        dask.config.set({"distributed.dashboard.link": client.entry.dashboard})


def _interact(client: JobClient, job: str | None) -> None:
    """Run an interactive Python with the client in it."""
    about = f"`client` is connected to {f'job {job}' if job else 'the newest job'}: {client!r}"
    names = {"__name__": "__main__", "client": client}
    if sys.stdin.isatty():
        if importlib.util.find_spec("IPython") is not None:
            print(f"mpidask: {about}", file=sys.stderr)
            importlib.import_module("IPython").start_ipython(argv=["--no-banner"], user_ns=names)
            return
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - importing it gives history and editing
    import code

    code.interact(banner=f"mpidask: {about}", local=names, exitmsg="")


def _dashboard(argv: Sequence[str]) -> int:
    from mpidask.attach import tunnel

    given = common.read(_dashboard_command(), argv)
    if given is None:
        return 0
    handle = common.find_jobs([given["job"]])[0] if given["job"] else _with_dashboard()
    return tunnel.show(handle, given["port"])


def _with_dashboard() -> Handle:
    """Return the newest job that has a dashboard, else the newest that waits or runs; raises UsageError for none."""
    live = [handle for handle, _ in common.live_jobs()]
    if not live:
        raise UsageError(
            "no job was given, and none waits or runs", "get one: mpidask submit script.py, or mpidask start -N 4"
        )
    progress = {handle.name: handle.record.progress for handle in live}
    shown = [handle for handle in live if (its := progress[handle.name]) is not None and its.dashboard]
    return (shown or live)[-1]


def _stop(argv: Sequence[str]) -> int:
    from mpidask.attach import spec

    given = common.read(_stop_command(), argv)
    if given is None:
        return 0
    handles = common.choose(given["jobs"], "stop", lambda handle: spec.serves(handle.record))
    from mpidask.attach import shutdown

    for handle in handles:
        print(f"mpidask: job {handle.id} {shutdown.stop(handle)}", file=sys.stderr)
    return 0


def _start_command() -> click.Command:
    from mpidask.attach import spec
    from mpidask.batch import settings
    from mpidask.config import Options

    dry_run = click.Option(["--dry-run"], is_flag=True, help=submit.DRY_RUN)
    of_job, of_run = command_line.options_of(settings.JobOptions), command_line.options_of(Options, spec.OF_OTHERS)
    examples = ["mpidask start -N 4 --cores-per-rank 32 -t 2:00:00", "mpidask start -t 8:00:00 --idle-timeout '2 h'"]
    return CommandWithHelp("start", _START, [*of_job, dry_run, *of_run], examples=examples)


def _timeout() -> click.Option:
    return click.Option(
        ["--timeout"], metavar="TIME", help="How long to wait for the job. Default: as long as it takes."
    )


def _keys_command() -> click.Command:
    examples = ["mpidask keys 4711", "mpidask keys cluster.json"]
    return CommandWithHelp("keys", _KEYS, [common.job_argument(), _timeout()], arguments="[JOB]", examples=examples)


def _connect_command() -> click.Command:
    return CommandWithHelp(
        "connect",
        _CONNECT,
        [common.job_argument(), _timeout()],
        arguments="[JOB] [SCRIPT [ARGS]]",
        examples=["mpidask connect 4711 script.py year=2026", 'mpidask connect -c "print(client)"'],
        runs=True,
    )


def _dashboard_command() -> click.Command:
    port = click.Option(
        ["--port"], type=int, metavar="PORT", help="Of the tunnel, on this machine. Default: a free one."
    )
    examples = ["mpidask dashboard", "mpidask dashboard 4711 --port 8787"]
    return CommandWithHelp("dashboard", _DASHBOARD, [common.job_argument(), port], arguments="[JOB]", examples=examples)


def _stop_command() -> click.Command:
    examples = ["mpidask stop", "mpidask stop 4711 4712"]
    return CommandWithHelp(
        "stop", _STOP, [common.job_argument("jobs", several=True)], arguments="[JOB ...]", examples=examples
    )


COMMANDS = {
    "start": (_start_command, _start),
    "connect": (_connect_command, _connect),
    "keys": (_keys_command, _keys),
    "dashboard": (_dashboard_command, _dashboard),
    "stop": (_stop_command, _stop),
}
