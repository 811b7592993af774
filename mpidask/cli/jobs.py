"""`mpidask submit`, `script`, `status`, `logs`, `cancel`, `clean`: from a login node, without MPI."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpidask.cli import words
from mpidask.errors import MpidaskError, UnclearError, UsageError

if TYPE_CHECKING:
    import click

    from mpidask.batch.job import Job
    from mpidask.batch.settings import JobOptions
    from mpidask.batch.status import Standing
    from mpidask.batch.submission import Handle

__all__ = ["chosen", "guarded", "main", "read", "tell"]

_SUBMIT = """\
Submit a script as one batch job, in which every rank runs `mpidask run`.

\b
  mpidask submit -N 4 --cores-per-rank 32 -t 1:00:00 [OPTIONS] script.py [ARGUMENTS]
  mpidask submit [OPTIONS] -m package.module [ARGUMENTS]

Prints the job id. One rank runs on each node, and hosts as many workers as its cores and memory suggest; it has one
core unless more are asked for. What else is not given is left to the site. The options of `mpidask run` (--nthreads,
--memory-limit, ...) may be given too; they go to the job. The script and all after it go through untouched, but for a
--follow or --wait that comes last; after `--` they do, too."""

_SCRIPT = """\
Print the job script that `mpidask submit` would submit, to be changed or submitted by hand."""

_STATUS = "Show what has become of jobs: those given, else those that wait, run, or ended within a day."

_LOGS = "Print what a job has printed: the script's output and mpidask's lines, or one rank's servers and tasks."

_CANCEL = "Cancel jobs, whether they wait or run."

_CLEAN = """\
Remove the run directories of jobs that ended long ago, of failed submissions and of closed clusters.

What is removed is printed, with the space that it took. Jobs that wait or run, or whose state is not known, are kept.
Each submission does the same for what has ended longer ago than `keep` says (30 days; in the configuration
mpidask.batch.keep)."""

_DAY = 86400.0  # s


def main(name: str, argv: Sequence[str]) -> int:
    """Run one of the commands; return its exit status."""
    return guarded(_COMMANDS[name], argv)


def guarded(command: Callable[[Sequence[str]], int], argv: Sequence[str]) -> int:
    """Run a command; return its exit status. What goes wrong is told in plain words."""
    try:
        return command(argv)
    except MpidaskError as error:
        sys.stderr.write(error.text())
        return error.status
    except BrokenPipeError:  # as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _submit(argv: Sequence[str]) -> int:
    from mpidask.batch import records, submission
    from mpidask.batch.registry import find_here
    from mpidask.batch.submit_command import job_script

    found = _describe("submit", _SUBMIT, argv)
    if isinstance(found, str):
        print(found)
        return 0
    job, options, given = found
    system = find_here(options.system)
    if given["dry_run"]:
        print(job_script(system, records.planned(job, options.state_directory)), end="")
        return 0
    waits = bool(given["follow"] or given["wait"])
    handle = submission.submit(job, system, options=options, patient=waits)
    tell(handle, job, system.title)
    if waits:
        from mpidask.cli.follow import follow

        if not given["follow"]:
            print(handle.title, flush=True)
        return follow(handle, show=bool(given["follow"]))
    print(handle.id)
    return 0


def _script(argv: Sequence[str]) -> int:
    from mpidask.batch.registry import find_here
    from mpidask.batch.submit_command import job_script, submit_description

    found = _describe("script", _SCRIPT, argv)
    if isinstance(found, str):
        print(found)
        return 0
    job, options, _ = found
    system = find_here(options.system)
    if job.requeue:
        raise UsageError("--requeue needs a job on record", "use `mpidask submit --requeue`")
    print(job_script(system, job), end="")
    if system.directive is None:
        sys.stderr.write("".join(f"mpidask: submit description: {line}\n" for line in submit_description(system, job)))
    return 0


def _describe(name: str, usage: str, argv: Sequence[str]) -> tuple[Job, JobOptions, dict[str, Any]] | str:
    """Return the job that a command line describes, its options and all that is given; or a text to print."""
    from mpidask.batch import settings
    from mpidask.config import Options, load

    run_options = words.options_of(Options)
    command = words.command(name, usage, [*words.options_of(settings.JobOptions), *_flags(name), *run_options])
    ours, _ = words.split(argv, command)
    program = argv[len(ours) :]
    if name == "submit" and program[:1] != ["--"] and program[-1:] in (["--follow"], ["--wait"]):
        ours, program = [*ours, program[-1]], program[:-1]  # typed where many look for it; after -- it is the script's
    given = words.read(command, ours)
    if isinstance(given, str):
        return given
    options = settings.load({key: given[key] for key in settings.JobOptions.__dataclass_fields__})
    of_run = {key: given[key] for key in Options.__dataclass_fields__}
    run = load(of_run)
    _check(program)
    following = settings.following(options, of_run).items()
    further = [word for name, value in following for word in (f"--{name.replace('_', '-')}", value)]
    line = (*settings.interpreter(options.python), "-m", "mpidask", *_of(run_options, ours), *further, *program)
    return settings.describe(options, line, run.walltime_margin, _title(program)), options, given


def _flags(name: str) -> list[click.Option]:
    import click

    if name == "script":
        return []
    return [
        click.Option(["--follow", "-f"], is_flag=True, help="Show state and output to the end; exit as the script."),
        click.Option(["--wait"], is_flag=True, help="Wait for the end; exit as the script."),
        click.Option(["--dry-run"], is_flag=True, help="Print the job script; submit nothing."),
    ]


def _of(options: Sequence[click.Parameter], ours: Sequence[str]) -> list[str]:
    """Return those words that give one of these options."""
    names = {name: option for option in options for name in (*option.opts, *option.secondary_opts)}
    taken: list[str] = []
    index = 0
    while index < len(ours):
        option = names.get(ours[index].split("=")[0])
        more = 1 if option is None or not words.takes_next(option) or "=" in ours[index] else 2
        taken += ours[index : index + more] if option is not None else []
        index += more
    return taken


def _check(program: Sequence[str]) -> None:
    """Find out now what the job would find out after hours in the queue."""
    if not program:
        raise UsageError(
            "no script was given",
            'add one: mpidask submit script.py, or -m package.module, or -c "code"; `mpidask start` does without',
        )
    file = program[1] if program[:1] == ["--"] and len(program) > 1 else (program or ["-m"])[0]
    if file not in ("-m", "-c", "--") and not os.path.exists(file):
        raise UsageError(f"can't open {file!r}: no such file or directory", "give the path of a Python script")


def _title(program: Sequence[str]) -> str:
    """Return what a job is named after: the script or module."""
    names = [word for word in program if word not in ("-m", "--")]
    return "mpidask" if program[:1] == ["-c"] else names[0]


def tell(handle: Handle, job: Job, title: str) -> None:
    """Say on stderr what was asked for, and what was left to the site."""
    from mpidask.batch import registry
    from mpidask.batch.submit_command import choices_of_directives, options_from_environment

    resources = job.resources
    sizes = {"node": resources.nodes, "rank": resources.ranks_per_node, "core": resources.cores_per_rank}
    if handle.record.system == "local" and not job.asks("cores_per_rank"):  # it may use all there are
        del sizes["core"]
    shape = " x ".join(f"{number} {name}{'s' * (number > 1)}" for name, number in sizes.items())
    choices = {name: getattr(job, name) for name in ("walltime", "queue", "account")}
    asked = [f"{name} {value}" for name, value in choices.items() if value is not None]
    system = registry.find(handle.record.system)
    text = handle.record.command.stdin or handle.record.script.read_text(encoding="utf-8", errors="replace")
    added = options_from_environment(system, text, os.environ)
    directed = choices_of_directives(system, job.directives)
    asked += [*(f"{name} {value} (by a directive)" for name, value in directed.items()), *added]
    theirs = {"walltime": "time ", "queue": "partition queue", "account": "account project"}
    said = {name for name, labels in theirs.items() for each in added if each.split()[0] in labels.split()}
    silent = [name for name, value in choices.items() if value is None and name not in {*said, *directed}]
    left = f"; left to the site: {', '.join(silent)}" if silent and handle.record.system != "local" else ""
    taken = "is submitted" if handle.id else "may have been submitted"
    name = handle.title
    sys.stderr.write(f"mpidask: job {name} {taken} to {title}: {', '.join([shape, *asked])}{left}\n")
    sys.stderr.write(f"mpidask: `mpidask status {name}`, `mpidask logs {name}`; files: {handle.directory}\n")
    sys.stderr.flush()


def _status(argv: Sequence[str]) -> int:
    import click

    from mpidask.batch import monitor
    from mpidask.cli import table

    given = read(
        "status",
        _STATUS,
        argv,
        [
            click.Argument(["jobs"], nargs=-1),
            click.Option(["--all"], is_flag=True, help="All jobs on record."),
            click.Option(["--json"], is_flag=True, help="For programs: a list of objects."),
        ],
    )
    if given is None:
        return 0
    handles = chosen(given["jobs"])
    interval = handles[0].interval if handles else 0.0
    standings = monitor.look([handle.record for handle in handles], interval)
    if not given["jobs"] and not given["all"]:
        handles = [handle for handle in handles if _is_recent(handle, standings[handle.name])]
    rows = [table.row(handle.record, standings[handle.name]) for handle in handles]
    if given["json"]:
        print(json.dumps(rows, indent=2))
    elif given["jobs"]:
        table.show_details(rows, [handle.record for handle in handles])
    else:
        table.show(rows)
    return 0


def _is_recent(handle: Handle, standing: Standing) -> bool:
    """Whether a job is shown without being asked for: it was not refused, and has not ended, or has within a day."""
    if handle.record.refused:
        return False
    ended = handle.record.ended(standing)
    return ended is None or time.time() - ended < _DAY


def _logs(argv: Sequence[str]) -> int:
    import click

    given = read(
        "logs",
        _LOGS,
        argv,
        [
            click.Argument(["job"], required=False),
            click.Option(["--rank"], type=int, metavar="RANK", help="What this rank's servers and tasks have printed."),
            click.Option(["--worker"], metavar="NAME", help="What this worker and its tasks have printed."),
            click.Option(["--follow", "-f"], is_flag=True, help="Go on to the job's end."),
        ],
    )
    if given is None:
        return 0
    handle = chosen([given["job"]] if given["job"] else None, last=True)[0]
    if given["follow"]:
        from mpidask.cli.follow import follow

        return follow(handle, show=True)
    path = handle.log(given["rank"]) if given["worker"] is None else handle.log_of_worker(given["worker"])
    sys.stdout.write(path.read_text(encoding="utf-8", errors="replace"))
    if given["rank"] is None and given["worker"] is None and handle.record.system_log:
        sys.stdout.write(f"mpidask: the batch system adds:\n{handle.record.system_log}")
    return 0


def _cancel(argv: Sequence[str]) -> int:
    import click

    from mpidask.batch import monitor, submission

    orphans = click.Option(["--orphans"], is_flag=True, help="Worker jobs whose program has ended without them.")
    given = read("cancel", _CANCEL, argv, [click.Argument(["jobs"], nargs=-1), orphans])
    if given is None:
        return 0
    if given["orphans"]:
        return _cancel_orphans()
    if not given["jobs"]:
        raise UsageError("no job was given", "name those to cancel; `mpidask status` lists them")
    handles = chosen(given["jobs"])
    standings = monitor.look_again([handle.record for handle in handles])
    live = [each for each in handles if each.record.doubt is not None or not standings[each.name].state.ended]
    for handle in handles:
        if handle not in live:
            ended = "has ended already" if handle.id else "was not submitted"
            print(f"mpidask: job {handle.title} {ended}", file=sys.stderr)
    submission.cancel(live)
    for handle in live:
        print(f"mpidask: job {handle.id} is cancelled", file=sys.stderr)
    return 0


def _cancel_orphans() -> int:
    """Cancel the jobs of clusters whose process has ended on this host without closing them."""
    from mpidask.batch import leases

    cancelled = [job for lease in leases.orphans() for job in lease.release()]
    for job in cancelled:
        print(f"mpidask: job {job} is cancelled", file=sys.stderr)
    if not cancelled:
        print("mpidask: there are no orphans", file=sys.stderr)
    return 0


def _clean(argv: Sequence[str]) -> int:
    import click
    from dask.utils import format_bytes

    from mpidask.batch import cleaning, settings

    given = read(
        "clean",
        _CLEAN,
        argv,
        [
            click.Option(["--dry-run"], is_flag=True, help="Print what would be removed; remove nothing."),
            click.Option(["--older-than"], metavar="TIME", help="Such as '7 days'; 0 for all. Default: keep's."),
        ],
    )
    if given is None:
        return 0
    options = settings.load({})
    found, kept = cleaning.look(options, _older_than(given["older_than"], options))
    verb, freed = ("would remove", "would be freed") if given["dry_run"] else ("removed", "freed")
    done = 0
    for each in found:
        if given["dry_run"] or cleaning.remove(each.directory):
            done += each.size
            print(f"{verb} {each.what}, {format_bytes(each.size)}: {each.directory}")
        else:
            kept.append(f"{each.what}: {each.directory} cannot be removed")
    for line in kept:
        print(f"mpidask: kept: {line}", file=sys.stderr)
    print(f"mpidask: {format_bytes(done)} {freed}")
    return 0


def _older_than(given: str | None, options: JobOptions) -> float:
    """Return how long ago what is to be removed must have ended, in s; raises UsageError."""
    from mpidask.batch import settings

    if given is not None and given.strip() == "0":
        return 0.0
    older = settings.retention(options.keep if given is None else given, "keep" if given is None else "--older-than")
    if older is None:
        raise UsageError(
            "nothing is removed: mpidask.batch.keep is never" if given is None else "--older-than is never",
            "name a time: mpidask clean --older-than '30 days'",
        )
    return older


def _resubmit(argv: Sequence[str]) -> int:
    """Submit a job again from within itself: the job script calls this."""
    from mpidask.batch import submission

    if len(argv) != 1:
        raise UsageError("mpidask resubmit takes a run directory", "job scripts call it")
    try:
        record, job_id = submission.resubmit(Path(argv[0]))
    except UnclearError as error:  # the job that may come after this one will say how it ended
        sys.stderr.write(error.text())
        return 0
    times = len(record.submissions) - 1
    again = f"submitted again as job {job_id} ({times} of at most {record.requeue})"
    sys.stderr.write(f"mpidask: the walltime has ended the run; {again}\n")
    return 0


def read(name: str, usage: str, argv: Sequence[str], params: Sequence[click.Parameter]) -> Mapping[str, Any] | None:
    """Return what a command line gives; None if only a text was wanted, which is printed."""
    given = words.read(words.command(name, usage, params), argv)
    if isinstance(given, str):
        print(given)
        return None
    return given


def chosen(tokens: Sequence[str] | None, *, last: bool = False) -> list[Handle]:
    """Return the jobs that are meant: the given ones, else all, or the last one alone."""
    from mpidask.batch import settings, submission

    options = settings.load({})
    if tokens:
        return [submission.find(token, options) for token in tokens]
    every = submission.jobs(options)
    if last and not every:
        raise UsageError("there is no job on record", "submit one: mpidask submit script.py")
    return every[-1:] if last else every


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "submit": _submit,
    "script": _script,
    "status": _status,
    "logs": _logs,
    "cancel": _cancel,
    "clean": _clean,
    "resubmit": _resubmit,
}
