"""The options of a job: one dataclass, filled from the command line and from dask.config.

Precedence: command line, then the section ``mpidask: {batch: ...}`` of the configuration, with the profile of a site as
its lowest layer, then the defaults below, which stand nowhere else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from mpidask import config, configuration
from mpidask.batch import container
from mpidask.batch.binds import Bind
from mpidask.batch.container import Container
from mpidask.batch.job import BatchJob, Resources
from mpidask.batch.template import fill
from mpidask.config import option
from mpidask.errors import UsageError
from mpidask.options import loading
from mpidask.quantities import checked, path, plausible, seconds, size

__all__ = [
    "JobOptions",
    "describe",
    "following",
    "interpreter",
    "launcher",
    "load",
    "ranks_interpreter",
    "retention",
    "template",
    "walltime",
]


@dataclasses.dataclass(frozen=True)
class JobOptions:
    """What is asked of the batch system. None leaves it to the site."""

    system: str | None = option(None, "The batch system. Default: the one that answers here.", "NAME")
    nodes: int = option(1, "Nodes.", "N", "-N")
    ranks_per_node: int = option(
        1,
        "Ranks on each node. A rank that has its node to itself hosts several workers: --workers-per-rank auto.",
        "N",
        "--ntasks-per-node",
    )
    cores_per_rank: int = option(
        1, "Cores for each rank; of each node where that has one rank.", "N", "--cpus-per-task"
    )
    gpus_per_rank: int | None = option(
        None, "GPUs for each rank; of each node where that has one rank. Default: none.", "N", "--gpus-per-task"
    )
    memory_per_node: str | None = option(
        None, "Memory on each node, such as '16 GiB'. Default: the site's.", "SIZE", "--mem"
    )
    walltime: str | None = option(
        None, "How long the job may take: 1:30:00, 1-12:00:00, 90min. Default: the site's.", "TIME", "-t", "--time"
    )
    queue: str | None = option(
        None, "Queue (Slurm: partition). Default: the site's.", "NAME", "-q", "-p", "--partition"
    )
    account: str | None = option(None, "Account (project) that pays. Default: the site's.", "NAME", "-A", "--project")
    job_name: str | None = option(None, "The job's name. Default: the script's.", "NAME", "-J")
    parallel_environment: str | None = option(
        None, "Grid Engine: how slots are spread over nodes; `qconf -spl` lists the site's.", "NAME", "--pe"
    )
    directive: tuple[str, ...] = option((), "A further option for the batch system, verbatim; repeatable.", "TEXT")
    prologue: tuple[str, ...] = option(
        (), "A shell line to run before the ranks start, such as 'module load mpi'; repeatable.", "LINE"
    )
    epilogue: tuple[str, ...] = option((), "A shell line to run after the script; repeatable.", "LINE")
    launcher: str | None = option(
        None,
        "What starts the ranks: srun, openmpi, hydra, pals, jsrun, flux, mpiexec, with further options of its own, or "
        "a whole line with {ranks}, {nodes}, ... Default: none for a single rank; for more the mpirun beside the "
        "interpreter, else the system's own.",
        "LAUNCHER",
    )
    python: str | None = option(
        None,
        "The Python interpreter: a path, or a command of several words. Default: the one that runs this command; with "
        "--container python3.",
        "PATH",
    )
    container: str | None = option(
        None,
        "Run the ranks in this image, which has mpidask: a file such as image.sif, a directory, or a name that the "
        "runtime knows. The batch system's commands stay outside.",
        "IMAGE",
    )
    container_runtime: str | None = option(
        None,
        "What runs the image: apptainer, singularity, podman, charliecloud, srun (an OCI bundle) or pyxis, with "
        "options of its own. Default: the first that is installed here.",
        "RUNTIME",
    )
    container_bind: tuple[str, ...] = option(
        (),
        "A further directory of the nodes to show in the container, or HERE:THERE, such as that of the site's MPI; "
        "repeatable. The current, the run's and the temporary directory are there.",
        "DIR",
    )
    launch_timeout: str = option(
        "45 s",
        "How long the launcher may take to start a first rank, before it is ended; 0: for ever. Without effect where "
        "srun starts the containers.",
        "TIME",
    )
    requeue: bool = option(False, "Submit the job again when the walltime ends it, until the script ends by itself.")
    requeue_limit: int = option(10, "How often at most.", "N")
    poll_interval: str = option("3 s", "How often at most the batch system is asked.", "TIME")
    state_directory: str | None = option(
        None, "Where jobs leave logs and records; nodes must share it. Default: ~/.local/state/mpidask.", "DIR"
    )
    keep: str = option(
        "30 days",
        "How long run directories of jobs that have ended, and of closed clusters, are kept; or never.",
        "TIME",
    )


def load(
    given: Mapping[str, Any], spelled: Callable[[str], str] = config.as_option, profile: str | None = None
) -> JobOptions:
    """Return the options: given ones, then those of the configuration; raises UsageError.

    What a profile says with a list stays: given lines come after those.

    given: option name -> value; None and () count as not given. An empty text is refused: it is often a shell variable
           that is not set. In the configuration it counts as not given
    spelled: how a given option is called in messages
    profile: the profile that counts; None for the one that the configuration names
    """
    configuration.check_files(
        {name: f"mpidask.{name.replace('_', '-')}" for name in (*config.Options.__dataclass_fields__, "batch")}
        | {name: f"mpidask.batch.{name.replace('_', '-')}" for name in JobOptions.__dataclass_fields__}
    )
    found = configuration.read(profile)
    configured = {key: value for key, value in found.section("batch").items() if key != "systems" and value != ""}
    present = {name: value for name, value in given.items() if value != ()}
    for name in (name for name, value in present.items() if value == ""):
        raise UsageError(f"{spelled(name)} is given an empty text", "leave it out, or give it a value")
    unquoted = configured.get("walltime")
    if isinstance(unquoted, int | float):
        raise UsageError(
            f"mpidask.batch.walltime is the number {unquoted}{configuration.origin('batch', 'walltime')}",
            f"put it in quotes: walltime: '{fill(['{time}'], {'time': timedelta(seconds=unquoted)})[0]}'; YAML reads "
            "12:00:00 without them as 43200",
        )
    values = checked(JobOptions, configured, lambda key: found.label("batch", key))
    for name, value in checked(JobOptions, present, spelled).items():
        fixed = tuple(map(str, found.fixed("batch", name))) if isinstance(value, tuple) else ()
        values[name] = (*fixed, *value) if fixed else value
    for name in ("state_directory", "python"):
        if name in values:
            values[name] = path(values[name], spelled(name))
    return JobOptions(**values)


def interpreter(python: str | None) -> tuple[str, ...]:
    """Return the words of an interpreter: a path, or a command line such as `env A=1 python`."""
    if python is None or os.path.exists(python):
        return (python or sys.executable,)
    try:
        return tuple(shlex.split(python))
    except ValueError as error:
        raise UsageError(f"--python is {python!r}: {error}", "a path or a command is needed") from None


def ranks_interpreter(options: JobOptions) -> tuple[str, ...]:
    """Return the words of the interpreter that the ranks run: in a container the image's."""
    return interpreter(options.python or ("python3" if options.container else None))


def following(options: JobOptions, given: Mapping[str, Any]) -> dict[str, str]:
    """Return what the job's shape means for the run in it: name -> value of further options; raises UsageError.

    given: options of the run: name -> value; None counts as not given

    A rank that has its node to itself hosts as many workers as that suggests, unless somebody has said how many, or
    it is the worker itself (--no-nanny).
    """
    said = given.get("workers_per_rank") is not None
    if said or options.ranks_per_node > 1 or not loading.load(given).nanny:
        return {}
    return {"workers_per_rank": loading.load(given, otherwise={"workers_per_rank": "auto"}).workers_per_rank}


def describe(
    options: JobOptions, command: tuple[str, ...], warning: str, program: str | None, spill: str | None = None
) -> BatchJob:
    """Return the job for these options; raises UsageError for a value that cannot be used.

    warning: how long before the walltime the script is to be told
    program: what the job is named after if it has no name
    spill:   where the run's workers spill, if that is given
    """
    inside = _container(options, program, spill)
    python = shlex.join(interpreter(None if inside else options.python))
    memory = options.memory_per_node
    kind, mpiexec = _starting(options, inside, python)
    return BatchJob(
        command=command,
        name=options.job_name or _name(program),
        resources=Resources(
            nodes=options.nodes,
            ranks_per_node=options.ranks_per_node,
            cores_per_rank=options.cores_per_rank,
            gpus_per_rank=options.gpus_per_rank,
            memory_per_node=None if memory is None else _memory(memory, "--memory-per-node"),
        ),
        walltime=None if options.walltime is None else walltime(options.walltime),
        queue=options.queue,
        account=options.account,
        parallel_environment=options.parallel_environment,
        directives=options.directive,
        prologue=options.prologue,
        epilogue=options.epilogue,
        launcher=kind,
        mpiexec=mpiexec,
        warning=timedelta(seconds=seconds(warning, "--walltime-margin")),
        launch_timeout=timedelta(seconds=seconds(options.launch_timeout, "--launch-timeout")),
        requeue=options.requeue_limit if options.requeue else 0,
        python=python,
        container=inside,
    )


def _memory(text: str, name: str) -> int:
    return plausible(size(text, name), text, name)


def _container(options: JobOptions, program: str | None, spill: str | None) -> Container | None:
    """Return the container in which the ranks run; the script's directory is seen there."""
    if options.container is None:
        for name in ("container_runtime", "container_bind"):
            if getattr(options, name):
                raise UsageError(f"{config.as_option(name)} is given, and no image", "add --container IMAGE")
        return None
    place = os.path.dirname(os.path.abspath(program)) if program and os.path.isfile(program) else None
    binds = (*([Bind.of(place)] if place and place != os.getcwd() else []), *map(Bind.parse, options.container_bind))
    gpus = bool(options.gpus_per_rank)
    return container.settle(options.container, options.container_runtime, binds, spill=spill, gpus=gpus)


def _starting(options: JobOptions, inside: Container | None, python: str) -> tuple[str | None, str]:
    """Return launcher and mpiexec of a job."""
    wanted = options.launcher
    if inside is None:
        kind, mpiexec = launcher(wanted, python)
    else:
        kind, mpiexec = wanted or ("srun" if inside.launches else None), "mpiexec"
        if inside.launches and str(kind).split()[:1] != ["srun"]:
            raise UsageError(
                f"the container runtime {inside.runtime} is an option of srun, and the launcher is {kind}",
                "leave --launcher out, or name another one with --container-runtime",
            )
    if wanted is None and options.nodes * options.ranks_per_node == 1 and not (inside and inside.launches):
        kind = None  # Hydra's daemons would hide the rank from the batch system's accounting and limits
    return kind, mpiexec


def launcher(wanted: str | None, python: str) -> tuple[str | None, str]:
    """Return launcher and mpiexec: an MPI that is installed beside the interpreter comes with its own.

    The `launcher` is None where that is left to the batch system.
    """
    words = interpreter(python)
    beside = Path(words[0]).parent if len(words) == 1 and os.path.isabs(words[0]) else None
    kinds = {"mpiexec.hydra": "hydra", "ompi_info": "openmpi"}
    found = next((kind for name, kind in kinds.items() if beside and (beside / name).exists()), None)
    mpiexec = str(beside / "mpiexec") if beside and found else "mpiexec"
    if wanted is not None:
        ours = wanted.split(" ")[0] in (found, "mpiexec")
        return wanted, mpiexec if ours else "mpiexec"
    return found, mpiexec


def _name(program: str | None) -> str:
    """Return a job's name for a script's: batch systems want it to begin with a letter and be of few characters."""
    stem = re.sub(r"[^\w.-]", "_", Path(program or "mpidask").name.removesuffix(".py").removesuffix(".ipynb"))
    return stem if stem[:1].isalpha() and stem.isascii() else f"mpidask-{stem}" if stem.isascii() else "mpidask"


def walltime(text: str) -> timedelta:
    """Return a walltime such as '1:30:00', '1-12:00:00' (days first), '90min' or '2 h'; raises UsageError.

    A number alone and '1:30' are refused: batch systems disagree whether they mean seconds, minutes or hours.
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", text.strip())
    if match:
        days, hours, minutes, rest = (int(part or 0) for part in match.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=rest)
    if re.fullmatch(r"[\d\s:.-]*", text):
        raise UsageError(f"the walltime is {text!r}: which unit?", "say 1:30:00, 1-12:00:00 or 90min")
    with contextlib.suppress(UsageError):
        return timedelta(seconds=seconds(text))
    raise UsageError(f"the walltime is {text!r}", "a time such as 1:30:00, 1-12:00:00 or 90min is needed")


def retention(text: str, name: str = "keep") -> float | None:
    """Return a time for which something is kept, such as '30 days', in s; None for never; raises UsageError.

    'never' means that nothing is removed, and so does 0. A number alone is refused: is it seconds or days?
    """
    if text.strip() in ("never", "0"):
        return None
    if re.fullmatch(r"[\d\s.]*", text):
        raise UsageError(f"{name} is {text!r}: which unit?", "say '30 days' or '12 h', or never")
    with contextlib.suppress(UsageError):
        return seconds(text)
    raise UsageError(f"{name} is {text!r}", "a time such as '30 days' or '12 h' is needed, or never")


def template() -> str:
    """Return the commented section of mpidask.yaml for jobs."""
    return "\n".join(["#   batch:", *configuration.keys(JobOptions, "    "), ""])
