"""The job script: what is around the one line that starts the ranks (pure).

Its exit status is the command's. The launcher runs in the background, so that the shell can act on signals at once.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from mpidask import run_directory as run
from mpidask.batch.job import BatchJob
from mpidask.batch.scripts.job_fields import allotted
from mpidask.batch.scripts.launchers import RANK_VARIABLES, line
from mpidask.batch.system import BatchSystem
from mpidask.batch.template import fill
from mpidask.errors import LostError, WalltimeError, linked

__all__ = ["launch", "wrapper"]

#: A launcher that is itself a shell script, as Intel MPI's, would end at once and leave its children behind: they get
#: the signal, and the script ends with them.
_END_LAUNCHER = (
    "case $(readlink /proc/$launcher/exe) in"
    " */bash | */sh | */dash | */ksh) children=$(cat /proc/$launcher/task/*/children) ;; *) children= ;; esac;"
    " kill -TERM ${children:-$launcher}"
)


#: Leaves the exit status; each execution of a job has one of its own.
_LEAVE = f'echo $status >"${run.DIRECTORY}/{run.STATUS}${{again:+.$again}}"'


def wrapper(job: BatchJob, fields: Mapping[str, object], options: Sequence[str], system: BatchSystem) -> str:
    """Return the job script.

    fields:  what lines may name
    options: the option lines with their mark
    """
    lines = [
        "#!/usr/bin/env bash",
        *options,
        "",
        *_clean(job, system),
        *_record(job, system),
        *_request(job, system),
        *_clock(job, system),
        *_unreadable(job, system),
        "(  # lines that are not ours may end, replace or change this shell; the one around it tells how it ended",
        *(["trap '' USR1"] if system.signal else []),
        *system.prologue,
        *job.prologue,
        *([f': >"${run.DIRECTORY}/{run.PREPARED}"'] if _is_prepared(job, system) else []),
        *_run(job, fields, system),
        *_again(job, system),
        *job.epilogue,
        "exit $status",
        ") &",
        *_around(job, system),
        "exit $status",
        "",
    ]
    return "\n".join(lines)


def _clean(job: BatchJob, system: BatchSystem) -> list[str]:
    """Return the lines that remove what a job that submits this one, or a launcher around it, may have left."""
    ours = (run.DIRECTORY, run.END, run.WARNING, run.GRACE, run.CORES, run.MEMORY)
    stale = (names for names, field in system.stale.items() if not field or job.asks(field))
    names = "|".join([*ours, RANK_VARIABLES, *stale])
    return [f"unset $(compgen -e | grep -xE '{names}')  # those of a job or a launcher around this one"]


def launch(job: BatchJob, fields: Mapping[str, object], otherwise: str) -> str:
    """Return the line that starts every rank; a single rank needs no launcher unless one is asked for.

    otherwise: the launcher if the job names none
    """
    if not _starts(job):
        return _words(_inside(job), shlex.join(job.command))
    (prefix,) = fill([line(job.launcher or otherwise)], fields)
    return _words(prefix, shlex.join(_coming(job)), _inside(job), shlex.join(job.command))


def _words(*pieces: str) -> str:
    return " ".join(filter(None, pieces))


def _inside(job: BatchJob) -> str:
    """Return the words that start a rank's command in its container, or have srun do it."""
    if job.container is None:
        return ""
    return job.container.words(*([str(job.run_directory)] if job.run_directory else []))


def _made(job: BatchJob) -> list[str]:
    """Return the line that makes what has to be there when srun starts a container."""
    return [*filter(None, [job.container.before(job.resources.nodes)])] if job.container else []


def _coming(job: BatchJob) -> list[str]:
    """Return the words before a rank's command that leave a mark in the run directory: the launcher works."""
    if not _is_watched(job):
        return []
    mark = shlex.quote(f"{job.run_directory}/{run.CAME}")
    return ["sh", "-c", f'[ -e {mark} ] || (: >{mark}) 2>/dev/null; exec "$@"', "rank"]


def _starts(job: BatchJob) -> bool:
    """Whether a launcher starts the ranks."""
    return job.resources.ranks > 1 or job.launcher is not None


def _is_watched(job: BatchJob) -> bool:
    """Whether the launcher has to start a rank in time. Where srun starts the containers it loads the image first."""
    loads = job.container is not None and job.container.launches
    return job.run_directory is not None and _starts(job) and bool(job.launch_timeout) and not loads


def _record(job: BatchJob, system: BatchSystem) -> list[str]:
    """Return the lines that leave output in the run directory; each execution of the job has its own.

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
    ]


def _request(job: BatchJob, system: BatchSystem) -> list[str]:
    """Return the lines that tell the run what is asked for: kernel and batch system may not say."""
    names = {"cores_per_node": run.CORES, "memory_per_node": run.MEMORY}
    asked = allotted(system, job).items()
    return [f"export {names[field]}={number}" for field, number in asked if number is not None]


def _clock(job: BatchJob, system: BatchSystem) -> list[str]:
    """Return the lines from which the run knows its end: as the batch system has it, else as it was asked for."""
    lines = []
    if job.walltime is not None:
        lines.append(f"export {run.END}=$(($(date +%s) + {int(job.walltime.total_seconds())}))")
    if system.end_time is not None:
        lines.append(system.end_time)
    if system.signal:
        place = f"${run.DIRECTORY}/walltime" if job.run_directory else "$HOME/.mpidask-walltime-$(hostname)-$$"
        # To the ranks by a file: launchers pass signals on to every rank, or die of them.
        lines += [f'export {run.WARNING}="{place}"', f'rm -f "${run.WARNING}"', f"trap ': >\"${run.WARNING}\"' USR1"]
    if _makes_room(system):
        lines += [
            f"grace={system.grace}",
            f'preempting() {{ [ "${{grace:-0}}" -gt 0 ] && {system.preempting}; }}',
            f'[ "${{grace:-0}}" -eq 0 ] || export {run.GRACE}=$grace',
        ]
    return lines


def _makes_room(system: BatchSystem) -> bool:
    """Whether the batch system may have the job make room for another, and gives it time for that."""
    return bool(system.signal and system.preempting and system.grace)


def _run(job: BatchJob, fields: Mapping[str, object], system: BatchSystem) -> list[str]:
    """Return the lines that run the command and pass signals on, those of one moment once: a second one kills."""
    watched = _is_watched(job)
    return [
        *([f'rm -f "${run.DIRECTORY}/{run.CAME}" "${run.DIRECTORY}/{run.SILENT}"'] if watched else []),
        *_made(job),
        f"{launch(job, fields, system.launcher)} &",
        "launcher=$! told=-9",
        f"trap '[ $((SECONDS - told)) -lt 2 ] || {{ told=$SECONDS; {_END_LAUNCHER}; }} 2>/dev/null || :' TERM HUP INT",
        *(_watch(job) if watched else []),
        *_waited("launcher"),
        *([f'[ ! -e "${run.DIRECTORY}/{run.SILENT}" ] || status={LostError.status}'] if watched else []),
    ]


def _waited(process: str) -> list[str]:
    """Return the lines that wait for a process in the background, whose exit status they leave in `status`."""
    return [
        f"while wait ${process}; status=$?; kill -0 ${process} 2>/dev/null; do :; done",
        f"[ $status -le 128 ] || {{ wait ${process} && status=0 || status=$?; }}",  # -e may be set
    ]


def _watch(job: BatchJob) -> list[str]:
    """Return the lines that end a launcher which starts no rank: it would hang until the walltime ends it."""
    seconds = int(job.launch_timeout.total_seconds())
    place = f"${run.DIRECTORY}"
    remedy = linked("allow more time (--launch-timeout) or name a launcher (--launcher srun)", "missing-ranks")
    return [
        "(",
        # On a full disk no rank can leave a mark.
        f'(: >"{place}/{run.CAME}.try") 2>/dev/null && rm -f "{place}/{run.CAME}.try" || exit',
        f"for ((moment = 0; moment < {2 * seconds}; moment++)); do",
        # Not [ -e ]: what was not there is remembered for a while where directories are on another machine.
        f"    case $'\\n'$(ls \"{place}\")$'\\n' in *$'\\n'{run.CAME}$'\\n'*) exit ;; esac",
        "    sleep 0.5",
        "    kill -0 $launcher 2>/dev/null || exit",
        "done",
        f'echo "mpidask: error: no rank was started within {seconds} s; what the launcher printed stands above" >&2',
        f'echo "mpidask: remedy: {remedy}" >&2',
        f': >"{place}/{run.SILENT}"',
        f"{{ {_END_LAUNCHER}; sleep 5; kill -KILL $launcher; }} 2>/dev/null",
        ") &",
    ]


def _is_prepared(job: BatchJob, system: BatchSystem) -> bool:
    """Whether lines that are not ours may end the job before the command is started."""
    return job.run_directory is not None and bool(job.prologue or system.prologue or job.epilogue)


def _unreadable(job: BatchJob, system: BatchSystem) -> list[str]:
    """Return the lines that leave an exit status where bash cannot read what follows: then it runs nothing of it."""
    if not _is_prepared(job, system):
        return []
    said = 'echo "mpidask: error: bash cannot read the prologue or the epilogue: see above" >&2'
    return [f'rm -f "${run.DIRECTORY}/{run.PREPARED}"', f"trap 'status=$?; {said}; {_LEAVE}' EXIT"]


def _unprepared(job: BatchJob, system: BatchSystem) -> list[str]:
    """Return the lines that say that the prologue has ended the job, unless a signal has."""
    if not _is_prepared(job, system):
        return []
    said = "the prologue ended the job with status $status before the program was started"
    return [
        f'[ -e "${run.DIRECTORY}/{run.PREPARED}" ] || [ $status -gt 128 ] || echo "mpidask: error: {said}" >&2',
    ]


def _around(job: BatchJob, system: BatchSystem) -> list[str]:
    """Return the lines that wait for what runs, pass signals on and leave its exit status."""
    return [
        "body=$!",
        *(["trap - EXIT"] if _is_prepared(job, system) else []),
        "trap 'kill -TERM $body 2>/dev/null' TERM HUP INT",
        *_grace(system),
        *_waited("body"),
        *_unprepared(job, system),
        *_requeued(system),
        *([f'rm -f "${run.WARNING}"'] if system.signal else []),
        *_left(job),
    ]


def _grace(system: BatchSystem) -> list[str]:
    """Return the lines that warn the run when the job is to make room for another, as ahead of the walltime's end."""
    if not _makes_room(system):
        return []
    return [
        'if [ "${grace:-0}" -gt 0 ]; then',
        "    (trap 'kill $!; exit' TERM",
        "    while sleep $((grace / 4 + 1)) & wait $!; do",
        f'        preempting && {{ : >"${run.WARNING}"; break; }}',
        "    done) 2>/dev/null &",
        "    watch=$!",
        "fi",
    ]


def _requeued(system: BatchSystem) -> list[str]:
    """Return the lines that wait for the end of the grace time: a job that ends before is not run again."""
    if not _makes_room(system):
        return []
    return [
        "kill $watch 2>/dev/null",
        "while [ $status -ne 0 ] && preempting; do sleep 1; done",
    ]


def _again(job: BatchJob, system: BatchSystem) -> list[str]:
    """Return the lines that submit the job again when the walltime has ended the run, with all that the prologue set.

    Not when the job makes room for another: then the batch system runs it again.
    """
    if job.run_directory is None or not job.requeue:
        return []
    room = "preempting" if _makes_room(system) else "false"
    submit = f'{job.python} -m mpidask.cli resubmit "${run.DIRECTORY}"'
    return [
        f"if [ $status -eq {WalltimeError.status} ] && ! {room} && {submit}; then",
        f'    : >"${run.DIRECTORY}/{run.SUCCEEDED}"',
        "fi",
    ]


def _left(job: BatchJob) -> list[str]:
    """Return the lines that leave the exit status; the job that comes after this one, if any, will say how it ended."""
    if job.run_directory is None:
        return []
    return [f'rm "${run.DIRECTORY}/{run.SUCCEEDED}" 2>/dev/null || {_LEAVE}' if job.requeue else _LEAVE]
