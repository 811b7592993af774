"""The job script: option lines, and the shell's lines around those of the user (pure)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from mpidask import run_directory
from mpidask.batch.job import BatchJob, Resources
from mpidask.batch.scripts.job_fields import fields_of
from mpidask.batch.scripts.job_script import launch
from mpidask.batch.settings import launcher
from mpidask.batch.system import BatchSystem
from mpidask.jobqueue.jobs.spec import CSH, SH, JobRange, JobSpec, shell
from mpidask.jobqueue.jobs.worker_command import container_of, started_by_launcher, worker_command

__all__ = ["job_script"]

#: A rank's number, whatever has started it; srun's last, because a job script under Slurm has one, too.
_RANK = "${PMI_RANK:-${OMPI_COMM_WORLD_RANK:-${PMIX_RANK:-${FLUX_TASK_RANK:-${SLURM_PROCID:-0}}}}}"


def job_script(spec: JobSpec, job_range: JobRange | None = None) -> str:
    """Return the job script."""
    keywords = spec.keywords
    shebang, prologue = keywords["shebang"], [*filter(None, keywords["job_script_prologue"])]
    lines = [shebang, "", *spec.header(job_range)]
    user = [*prologue, _launch_line(spec, job_range), *keywords["job_script_epilogue"]]
    if shell(shebang, SH) is not None:
        body = [*prologue, _launch_line(spec, job_range), *_after(keywords["job_script_epilogue"])]
        # Lines of the user's may end, replace or change their shell; the one around it tells how it ended.
        own_shell = job_range is not None and len(user) > 1 and spec.system.directive is not None
        return "\n".join(
            [*lines, *_record(spec.system, job_range, keywords), *(["(", *body, ")"] if own_shell else body), ""]
        )
    if shell(shebang, CSH) is not None and job_range is not None:
        before, after = _record_of_csh(spec.system, job_range)
        user = [*prologue, _launch_line(spec, job_range), "set ended = $status", *keywords["job_script_epilogue"]]
        return "\n".join([*lines, *before, *user, *after, ""])
    return "\n".join([*lines, *user, ""])


def _launch_line(spec: JobSpec, job_range: JobRange | None = None) -> str:
    """Return the line that starts the workers, on every rank that the job has."""
    name = (spec.name or "").replace("{job}", "$job" if job_range else "0")
    line = worker_command(spec, name) if spec.ranks == 1 else _line_of_ranks(spec, name)
    if spec.keywords["container"] is not None and shell(spec.keywords["shebang"], CSH) is not None:
        return f"sh -c {shlex.quote(line)}"  # csh knows no ${NAME:-default}
    return line


def _line_of_ranks(spec: JobSpec, name: str) -> str:
    python = spec.keywords["python"]
    own = "python3" if spec.keywords["container"] else python  # the image's MPI is not the node's
    wanted, mpiexec = launcher(spec.keywords["launcher"], own)
    inside = container_of(spec) if started_by_launcher(spec) else None
    job = BatchJob(
        command=("bash", "-c", f"exec {worker_command(spec, f'{name}-{_RANK}')}"),
        resources=Resources(
            nodes=spec.nodes,
            ranks_per_node=int(spec.keywords["ranks_per_node"]),
            cores_per_rank=spec.asked_cores // int(spec.keywords["ranks_per_node"]),
        ),
        launcher=wanted or ("srun" if inside else None),
        mpiexec=mpiexec,
        container=inside,
    )
    line = launch(job, fields_of(spec.system, job), spec.system.launcher)
    return " && ".join(filter(None, [inside.before(spec.nodes) if inside else None, line]))


def _after(epilogue: Sequence[str]) -> list[str]:
    """Return the lines after the workers', which keep their exit status."""
    return ["status=$?", *epilogue, "exit $status"] if epilogue else []


def _number(system: BatchSystem, job_range: JobRange) -> tuple[int, str | None]:
    """Return the job's number, as a number and what has to be added to it in a job array."""
    index = system.workers.index if system.workers and job_range.count is not None else None
    return (job_range.first - 1, index) if index else (job_range.first, None)


def _record_of_csh(system: BatchSystem, job_range: JobRange) -> tuple[list[str], list[str]]:
    """Return what `_record` does in the words of csh: the lines ahead of the user's, and those after them.

    What the job prints stays in the batch system's file: csh cannot redirect its own output.
    """
    base, index = _number(system, job_range)
    directory = shlex.quote(str(job_range.directory))
    execution = system.execution or f"cat {directory}/$job.{run_directory.EXECUTIONS} 2>/dev/null | wc -l"
    execution = f"echo {execution}" if system.execution else execution
    begin = f'echo "$0 $(date +%s) $(hostname)" >>{directory}/$job.{run_directory.EXECUTIONS}'
    end = f"echo $0 >{directory}/$job.status$1"
    before = [
        f"@ number = {base} + {index or 0}",
        "setenv job $number",
        f"set execution = `sh -c {shlex.quote(execution)}`",
        f"sh -c {shlex.quote(begin)} $execution",
        'set again = ""',
        "if ( $execution > 0 ) set again = .$execution",
    ]
    return before, [f'sh -c {shlex.quote(end)} $ended "$again"', "exit $ended"]


def _record(system: BatchSystem, job_range: JobRange | None, keywords: Mapping[str, Any]) -> list[str]:
    """Return the shell lines that number the job, and leave output and exit status where the cluster finds them."""
    if job_range is None:
        return []
    base, index = _number(system, job_range)
    number = f"$(({base} + {index}))" if index else str(base)
    lines = [f"job={number}"]
    if int(keywords["nodes"]) * int(keywords["ranks_per_node"]) > 1:
        lines.append("export job")
    directory = shlex.quote(str(job_range.directory))
    begun = f"{directory}/$job.{run_directory.EXECUTIONS}"
    lines += [
        f"execution={system.execution or f'$(cat {begun} 2>/dev/null | wc -l)'}",
        "again=${execution#0}",
        f'{{ echo "$execution $(date +%s) $(hostname)" >>{begun}; }} 2>/dev/null',
    ]
    if not keywords["log_directory"]:
        lines.append(f"[ -w {directory} ] && exec >>{directory}/$job.log${{again:+.$again}} 2>&1")
    end = f"{{ echo $? >{directory}/$job.status${{again:+.$again}}; }} 2>/dev/null"
    return [*lines, f"trap {shlex.quote(end)} EXIT"]
