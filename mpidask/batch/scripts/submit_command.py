"""From a job to its job script and the command that submits it (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from mpidask.batch.commands.command import Command, filled_words, is_given, option_lines, option_words
from mpidask.batch.job import BatchJob
from mpidask.batch.scripts.job_fields import checked_directives, fields_of, is_of_chunk, unsupported_requests
from mpidask.batch.scripts.job_script import wrapper
from mpidask.batch.scripts.launchers import RANK_VARIABLES
from mpidask.batch.system import BatchSystem
from mpidask.batch.template import fill, named
from mpidask.errors import UsageError

__all__ = [
    "choices_of_directives",
    "chosen_destination",
    "excluded_variables",
    "job_script",
    "options_from_environment",
    "submit_command",
    "submit_command_of",
    "submit_description",
]


def job_script(system: BatchSystem, job: BatchJob) -> str:
    """Return the job script; raises UsageError if the job asks for what no option carries."""
    marked = [] if system.directive is None else [f"{system.directive} {each}" for each in _options(system, job, None)]
    return wrapper(job, fields_of(system, job), marked, system)


def submit_description(system: BatchSystem, job: BatchJob) -> list[str]:
    """Return the options of a system that does not read them from the script; raises UsageError like `job_script`."""
    return _options(system, job, Path("job.sh"))


def submit_command(system: BatchSystem, job: BatchJob, script: Path) -> Command:
    """Return how to submit a job whose script has been written to `script`; raises UsageError like `job_script`."""
    fields = fields_of(system, job, script)
    if system.directive is None:
        return submit_command_of(system, "\n".join([*_options(system, job, script), ""]), fields)
    return submit_command_of(system, "" if "script" in named([system.submit]) else job_script(system, job), fields)


def submit_command_of(system: BatchSystem, text: str, fields: Mapping[str, object]) -> Command:
    """Return how to submit what is written in the file {script} and, for systems that read stdin, is `text`."""
    reads = system.directive is None or "script" not in named([system.submit])
    return Command(argv=filled_words(system.submit, fields), stdin=text if reads else None)


def excluded_variables(system: BatchSystem, text: str) -> str:
    """Return a regular expression: variables that are kept from the command that submits a job.

    text: the job script, or what the submit command reads
    """
    asked = option_words(text, system.directive)
    replaced = [name for name, options in system.variables.items() if is_given(options.split(), asked)]
    return "|".join(filter(None, [RANK_VARIABLES, system.outer, *replaced]))


def options_from_environment(system: BatchSystem, text: str, environ: Mapping[str, str]) -> list[str]:
    """Return what the environment adds to a job's options, in words: 'partition debug, from SBATCH_PARTITION'."""
    excluded = excluded_variables(system, text)
    there = [name for name in system.variables if environ.get(name) and not re.fullmatch(excluded, name)]
    return [f"{system.variables[name].split()[-1].lstrip('-')} {environ[name]}, from {name}" for name in there]


def choices_of_directives(system: BatchSystem, directives: Iterable[str]) -> dict[str, str]:
    """Return what options of the user's choose, such as the queue: field of a job -> value, the last one."""
    return {
        field: match[match.lastindex or 0].strip("\"'")
        for text in directives
        for field, pattern in system.choices.items()
        for match in re.finditer(pattern, text)
    }


def chosen_destination(
    system: BatchSystem, command: Command, script: str, environ: Mapping[str, str], output: str
) -> tuple[str, ...]:
    """Return where a job was submitted: what each of `destinations` was; () if nothing has chosen any.

    command: the submit command; script: the job script's text; output: what the command has printed
    """
    lines = [] if system.directive is None else option_lines(script, system.directive)
    chosen = [each.chosen(command.argv, lines, environ, output) for each in system.destinations]
    return tuple(chosen) if any(chosen) else ()


def _options(system: BatchSystem, job: BatchJob, script: Path | None) -> list[str]:
    lost = unsupported_requests(system, job)
    if lost and not job.directives:
        remedies = [system.unsupported[field] for field in lost if field in system.unsupported]
        raise UsageError(
            f"{system.title} has no option for {', '.join(lost)}",
            "; ".join(dict.fromkeys(remedies)) or "leave it out, or ask for it with --directive (BatchJob.directives)",
        )
    lines = (*system.options, *system.signal)
    directives = checked_directives(system, job.directives, {**system.several, **system.shape})
    return [
        *fill(lines, fields_of(system, job, script)),
        *(each for each in directives if not is_of_chunk(each)),
    ]
