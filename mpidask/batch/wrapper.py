"""The job script: what is around the one line that starts the ranks (pure).

Its exit status is the command's. The launcher runs in the background, so that the shell can act on signals at once.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mpidask import run_directory as run
from mpidask.batch.fields import fill
from mpidask.batch.job import Job
from mpidask.batch.launchers import line
from mpidask.errors import WalltimeError

if TYPE_CHECKING:
    from mpidask.batch.system import BatchSystem

__all__ = ["launch", "wrapper"]

#: A launcher that is itself a shell script, as Intel MPI's, would end at once and leave its children behind: they get
#: the signal, and the script ends with them.
_END_LAUNCHER = (
    "case $(readlink /proc/$launcher/exe) in"
    " */bash | */sh | */dash | */ksh) children=$(cat /proc/$launcher/task/*/children) ;; *) children= ;; esac;"
    " kill -TERM ${children:-$launcher}"
)


def wrapper(job: Job, fields: Mapping[str, object], options: Sequence[str], system: BatchSystem) -> str:
    """Return the job script.

    fields:  what lines may name
    options: the option lines with their mark
    """
    lines = [
        "#!/usr/bin/env bash",
        *options,
        "",
        f"unset {run.DIRECTORY} {run.END} {run.WARNING} {run.CORES} {run.MEMORY}  # those of an outer job",
        *_record(job, system),
        *_request(job, system),
        *_clock(job, system),
        *system.prologue,
        *job.prologue,
        *_run(launch(job, fields, system.launcher), warned=bool(system.signal)),
        *_requeue(job),
        *job.epilogue,
        "exit $status",
        "",
    ]
    return "\n".join(lines)


def launch(job: Job, fields: Mapping[str, object], otherwise: str) -> str:
    """Return the line that starts every rank; a single rank needs no launcher unless one is asked for.

    otherwise: the launcher if the job names none
    """
    command = shlex.join(job.command)
    if job.resources.ranks == 1 and job.launcher is None:
        return command
    (prefix,) = fill([line(job.launcher or otherwise)], fields)
    return f"{prefix} {command}"


def _record(job: Job, system: BatchSystem) -> list[str]:
    """Return the lines that leave output and exit status in the run directory; each execution of the job has its own.

    What an earlier one has left is put into a directory of its own.
    """
    if job.run_directory is None:
        return []
    begun = f"${run.DIRECTORY}/{run.EXECUTIONS}"
    left = " ".join(f'"${run.DIRECTORY}"/{name}' for name in (run.LOG, "rank-*.log", run.PROGRESS, run.SCHEDULER))
    return [
        f"export {run.DIRECTORY}={shlex.quote(str(job.run_directory))}",
        f'execution={system.execution or f"""$(cat "{begun}" 2>/dev/null | wc -l)"""}',
        "if [ $execution -gt 0 ]; then",
        f'    earlier="${run.DIRECTORY}/execution-$((execution - 1))"',
        f'    mkdir -p "$earlier" && mv {left} "$earlier" 2>/dev/null',
        "fi",
        f'echo "$execution $(date +%s) $(hostname)" >>"{begun}"',
        f'exec >>"${run.DIRECTORY}/{run.LOG}" 2>&1',
        "again=${execution#0}",
        f'trap "echo \\$? >\\"\\${run.DIRECTORY}/{run.STATUS}${{again:+.$again}}\\"" EXIT',
    ]


def _request(job: Job, system: BatchSystem) -> list[str]:
    """Return the lines that tell the run what is asked for: kernel and batch system may not say."""
    names = {"cores_per_node": run.CORES, "memory_per_node": run.MEMORY}
    asked = system.allotted(job).items()
    return [f"export {names[field]}={number}" for field, number in asked if number is not None]


def _clock(job: Job, system: BatchSystem) -> list[str]:
    """Return the lines from which the run knows its end."""
    lines = []
    if job.walltime is not None:
        lines.append(f"export {run.END}=$(($(date +%s) + {int(job.walltime.total_seconds())}))")
    elif system.end_time is not None:
        lines.append(system.end_time)
    if system.signal:
        place = f"${run.DIRECTORY}/walltime" if job.run_directory else "$HOME/.mpidask-walltime-$(hostname)-$$"
        lines += [f'export {run.WARNING}="{place}"', f'rm -f "${run.WARNING}"']
    return lines


def _run(command: str, *, warned: bool) -> list[str]:
    """Return the lines that run the command and pass signals on."""
    before, after = [], []
    if warned:  # to the ranks by a file: launchers pass signals on to every rank, or die of them
        command = f"trap '' USR1; exec {command}"
        before = [f"trap ': >\"${run.WARNING}\"' USR1"]
        after = [f'rm -f "${run.WARNING}"']
    return [
        *before,
        f"({command}) &" if warned else f"{command} &",
        "launcher=$!",
        f"trap '{{ {_END_LAUNCHER}; }} 2>/dev/null' TERM HUP INT",
        "while wait $launcher; status=$?; kill -0 $launcher 2>/dev/null; do :; done",
        "[ $status -le 128 ] || { wait $launcher; status=$?; }",
        *after,
    ]


def _requeue(job: Job) -> list[str]:
    """Return the line that submits the job again when the walltime has ended the run."""
    if not job.requeue:
        return []
    again = shlex.join([job.python, "-m", "mpidask.cli", "resubmit"])
    return [
        f'if [ $status -eq {WalltimeError.status} ] && {again} "${run.DIRECTORY}"; then',
        "    trap - EXIT  # the job that comes after this one will say how it ended",
        "fi",
    ]
