"""`mpidask submit` and `script`: a script as one batch job, from a login node, without MPI."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from mpidask.cli import command_line, common
from mpidask.cli.help_page import CommandWithHelp
from mpidask.errors import UsageError

if TYPE_CHECKING:
    from mpidask.batch.job import BatchJob
    from mpidask.batch.settings import JobOptions
    from mpidask.batch.submission.handles import Handle

__all__ = ["COMMANDS", "DRY_RUN", "report"]

DRY_RUN = "Print the job script; submit nothing."

_SUBMIT = """\
Submit a script as one batch job, in which every rank runs `mpidask run`. Print the job id.

One rank runs on each node, and hosts as many workers as its cores and memory suggest; it has one core unless more are
asked for. The site decides what is not given. The options of `mpidask run` (--nthreads, --memory-limit, ...) go to the
job. All options stand before the script; what comes after it is the script's."""

_SCRIPT = """\
Print the job script that `mpidask submit` would submit, to be changed or submitted by hand."""


class _Described(NamedTuple):
    """What a command line asks for.

    given: all options, by name
    """

    job: BatchJob
    options: JobOptions
    given: dict[str, Any]


def _command(name: str) -> click.Command:
    from mpidask.batch import settings
    from mpidask.config import Options

    params = [*command_line.options_of(settings.JobOptions), *_flags(name), *command_line.options_of(Options)]
    examples = {
        "submit": [
            "mpidask submit -N 4 --cores-per-rank 32 -t 1:00:00 script.py year=2026",
            "mpidask submit --follow -t 10min -m package.module",
        ],
        "script": [
            "mpidask script -N 4 --cores-per-rank 32 -t 1:00:00 script.py > job.sh",
            "mpidask script --system pbs -N 2 script.py",
        ],
    }
    text = _SUBMIT if name == "submit" else _SCRIPT
    return CommandWithHelp(name, text, params, arguments="SCRIPT [ARGS]", examples=examples[name], runs=True)


def _flags(name: str) -> list[click.Option]:
    if name == "script":
        return []
    return [
        click.Option(["--follow", "-f"], is_flag=True, help="Show state and output to the end; exit as the script."),
        click.Option(["--wait"], is_flag=True, help="Wait for the end; exit as the script."),
        click.Option(["--dry-run"], is_flag=True, help=DRY_RUN),
    ]


def _submit(argv: Sequence[str]) -> int:
    from mpidask import batch
    from mpidask.batch.records import store
    from mpidask.batch.registry import find_here
    from mpidask.batch.scripts.submit_command import job_script

    found = _describe("submit", argv)
    if isinstance(found, str):
        print(found)
        return 0
    job, options, given = found
    system = find_here(options.system)
    if given["dry_run"]:
        print(job_script(system, store.planned(job, options.state_directory)), end="")
        return 0
    waits = bool(given["follow"] or given["wait"])
    handle = batch.submit(job, system, options=options, patient=waits)
    report(handle, job, system.title)
    if waits:
        from mpidask.cli.follow import follow

        if not given["follow"]:
            print(handle.title, flush=True)
        return follow(handle, show=bool(given["follow"]))
    print(handle.id)
    return 0


def _script(argv: Sequence[str]) -> int:
    from mpidask.batch.registry import find_here
    from mpidask.batch.scripts.submit_command import job_script, submit_description

    found = _describe("script", argv)
    if isinstance(found, str):
        print(found)
        return 0
    system = find_here(found.options.system)
    if found.job.requeue:
        raise UsageError("--requeue needs a job on record", "use `mpidask submit --requeue`")
    print(job_script(system, found.job), end="")
    if system.directive is None:
        lines = submit_description(system, found.job)
        sys.stderr.write("".join(f"mpidask: submit description: {line}\n" for line in lines))
    return 0


def _describe(name: str, argv: Sequence[str]) -> _Described | str:
    """Return the job that a command line describes; or a text to print."""
    from mpidask.batch import settings
    from mpidask.config import Options
    from mpidask.options.loading import load

    command = _command(name)
    ours, program = command_line.split(argv, command)
    given = command_line.read(command, ours)
    if isinstance(given, str):
        return given
    of_job = {key: given[key] for key in settings.JobOptions.__dataclass_fields__}
    options = settings.load(of_job, profile=given["profile"])
    of_run = {key: given[key] for key in Options.__dataclass_fields__}
    run = load(of_run)
    common.remark(given["profile"])
    title = _title(program)
    following = settings.following(options, of_run).items()
    further = [word for name, value in following for word in (f"--{name.replace('_', '-')}", value)]
    run_words = _of([option for option in command.params if option.name in of_run], ours)
    line = (*settings.ranks_interpreter(options), "-m", "mpidask", *run_words, *further, *program)
    job = settings.describe(options, line, run.walltime_margin, title, run.local_directory)
    return _Described(job, options, given)


def _of(options: Sequence[click.Parameter], ours: Sequence[str]) -> list[str]:
    """Return those words that give one of these options."""
    names = {name: option for option in options for name in (*option.opts, *option.secondary_opts)}
    taken: list[str] = []
    index = 0
    while index < len(ours):
        option = names.get(ours[index].split("=")[0])
        more = 1 if option is None or not command_line.takes_next(option) or "=" in ours[index] else 2
        taken += ours[index : index + more] if option is not None else []
        index += more
    return taken


def _title(words: Sequence[str]) -> str:
    """Return what a job is named after; raises UsageError for what the job could not run, hours later."""
    from mpidask.launch.script import notebook

    program = command_line.program_of(words)
    if program is None:
        raise UsageError(
            "no script was given",
            'add one: mpidask submit script.py, or -m package.module, or -c "code"; `mpidask start` does without',
        )
    if program.kind == "file" and not os.path.exists(program.name):
        raise UsageError(f"can't open {program.name!r}: no such file or directory", "give the path of a Python script")
    if notebook.is_notebook(program.kind, program.name):
        notebook.refuse_words(program.name, program.arguments)
    return "mpidask" if program.kind == "code" else program.name


def report(handle: Handle, job: BatchJob, title: str) -> None:
    """Report on stderr what was asked for, and what was left to the site."""
    from mpidask.batch import registry
    from mpidask.batch.scripts.submit_command import choices_of_directives, options_from_environment

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


COMMANDS = {"submit": (lambda: _command("submit"), _submit), "script": (lambda: _command("script"), _script)}
