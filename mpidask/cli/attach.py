"""`mpidask start`, `connect`, `dashboard`, `stop`: a job of scheduler and workers, and the way to it."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mpidask.cli import jobs, words
from mpidask.errors import UsageError

if TYPE_CHECKING:
    from mpidask.attach.client import JobClient
    from mpidask.launch.script.main_module import Program

__all__ = ["main"]

_START = """\
Get a job that is only a scheduler and workers, for clients that come from elsewhere: notebooks, shells, programs.

\b
  mpidask start -N 4 --cores-per-rank 32 -t 2:00:00 [OPTIONS]

Prints the job id. One rank runs on each node, and hosts as many workers as its cores and memory suggest; it has one
core unless more are asked for. What else is not given is left to the site. The options of `mpidask run` (--nthreads,
--memory-limit, ...) may be given too; they go to the job. It ends by itself when nobody has used it for an hour
(--idle-timeout)."""

_CONNECT = """\
Compute on a job of `mpidask start`, from here.

\b
  mpidask connect JOB script.py [ARGUMENTS]
  mpidask connect JOB -m package.module [ARGUMENTS]
  mpidask connect JOB -c "code" [ARGUMENTS]
  mpidask connect JOB

Waits for the job, then runs the script on this machine: Client() and .compute() in it find the job's scheduler. Without
a script there is an interactive Python with `client`. JOB is a job id, a run name, the path of a scheduler file or of a
run directory; without JOB the newest job of `mpidask start` is taken (before -m, -c, or nothing)."""

_DASHBOARD = """\
Print the link of a job's dashboard. Where that is on another node a tunnel to it is made by ssh, and held until the job
ends or Ctrl-C."""

_STOP = "End jobs in order: those that run are asked to shut down; those that wait, or do not follow, are cancelled."


def main(name: str, argv: Sequence[str]) -> int:
    """Run one of the commands; return its exit status."""
    return jobs.guarded(_COMMANDS[name], argv)


def _start(argv: Sequence[str]) -> int:
    import click

    from mpidask.attach import spec
    from mpidask.batch import records, settings, submission
    from mpidask.batch.registry import find_here
    from mpidask.batch.submit_command import job_script
    from mpidask.config import Options

    dry_run = click.Option(["--dry-run"], is_flag=True, help="Print the job script; submit nothing.")
    of_job, of_run = words.options_of(settings.JobOptions), words.options_of(Options, spec.OF_OTHERS)
    given = jobs.read("start", _START, argv, [*of_job, dry_run, *of_run])
    if given is None:
        return 0
    options = settings.load({name: given[name] for name in settings.JobOptions.__dataclass_fields__})
    run = {option.name: given[option.name] for option in of_run if option.name is not None}
    job = spec.describe(options, run)
    system = find_here(options.system)
    if given["dry_run"]:
        print(job_script(system, records.planned(job, options.state_directory)), end="")
        return 0
    handle = submission.submit(job, system, options=options)
    jobs.tell(handle, job, system.title)
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
    from mpidask.launch.script import main_module

    job, program, timeout = found
    code = None
    if program is not None:
        code = main_module.load(program)  # what cannot be run is known before the job is waited for
    from mpidask.attach.client import connect

    client = connect(job, timeout=timeout)
    _show_the_way(client)
    if code is not None:
        main_module.run(code)
    _interact(client, job)
    return 0


def _asked(argv: Sequence[str]) -> tuple[str | None, Program | None, str | None] | str:
    """Return which job is meant, what is to run and how long may be waited; or a text to print; raises UsageError."""
    import click

    option = click.Option(
        ["--timeout"], metavar="TIME", help="How long to wait for the job. Default: as long as it takes."
    )
    command = words.command("connect", _CONNECT, [option])
    ours, program = words.split(argv, command)
    job = None
    if program is not None and program.kind == "file":
        job = program.name
        more, program = words.split(program.arguments, command)
        ours = [*ours, *more]
    given = words.read(command, ours)
    return given if isinstance(given, str) else (job, program, given["timeout"])


def _show_the_way(client: JobClient) -> None:
    """Have `Client()` find the job's scheduler; `.compute()` does by the client that is there."""
    import dask.config

    dask.config.set({"scheduler-address": client.entry.address})
    if client.dashboard_link:
        dask.config.set({"distributed.dashboard.link": client.dashboard_link})


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
    import click

    from mpidask.attach import tunnel, wait

    port = click.Option(["--port"], type=int, metavar="PORT", help="Of the tunnel, on this machine.")
    given = jobs.read("dashboard", _DASHBOARD, argv, [click.Argument(["job"], required=False), port])
    if given is None:
        return 0
    handle = jobs.chosen([given["job"]])[0] if given["job"] else wait.newest()
    return tunnel.show(handle, given["port"])


def _stop(argv: Sequence[str]) -> int:
    import click

    given = jobs.read("stop", _STOP, argv, [click.Argument(["jobs"], nargs=-1)])
    if given is None:
        return 0
    if not given["jobs"]:
        raise UsageError("no job was given", "name those to end; `mpidask status` lists them")
    handles = jobs.chosen(given["jobs"])
    from mpidask.attach import shutdown

    for handle in handles:
        print(f"mpidask: job {handle.id} {shutdown.stop(handle)}", file=sys.stderr)
    return 0


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "start": _start,
    "connect": _connect,
    "dashboard": _dashboard,
    "stop": _stop,
}
