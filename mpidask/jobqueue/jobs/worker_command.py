"""The command that starts a job's workers (pure)."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import shlex
import sys
from collections.abc import Iterable

from mpidask import quantities
from mpidask.batch.binds import Bind
from mpidask.batch.container import Container
from mpidask.batch.template import fill, named
from mpidask.errors import ArgumentError
from mpidask.jobqueue.jobs.spec import JobSpec, texts
from mpidask.jobqueue.jobs.walltime import walltime_seconds
from mpidask.ports.port_range import PortRange

__all__ = ["container_of", "in_container", "started_by_launcher", "worker_command"]

_WORKER = "distributed.cli.dask_worker"
_OURS = "mpidask.jobqueue.worker"  # the same command, where there is mpidask and TLS


def worker_command(spec: JobSpec, name: str | None = None) -> str:
    """Return the worker's command line, for the shell: what the user gives may name variables of the node."""
    if spec.command_line is not None:
        return spec.command_line
    keywords = spec.keywords
    processes = spec.processes_per_rank
    words = [
        keywords["python"],
        "-m",
        _module(spec),
        ",".join(spec.candidates) if _tries(spec) else spec.scheduler,
        "--name",
        spec.name if name is None else name,
        "--nthreads",
        spec.threads,
        "--memory-limit",
        spec.memory_limit,
    ]
    if _is_dasks(spec):
        words += ["--nworkers", processes] if processes > 1 else []
        words += ["--nanny" if keywords["nanny"] else "--no-nanny"]
    words += _ports(spec)
    for option in ("death_timeout", "local_directory"):
        if keywords[option] not in (None, ""):
            words += [f"--{option.replace('_', '-')}", keywords[option]]
    words += texts(keywords["worker_extra_args"])
    if keywords["resources"]:
        words += ["--resources", shlex.quote(",".join(f"{name}={n}" for name, n in keywords["resources"].items()))]
    words += [*_pages(spec, words), *_arguments(spec)]
    return " ".join(map(str, [*_outside(spec), *words, *_lifetime(spec, words)]))


def _ports(spec: JobSpec) -> list[str]:
    """Return the arguments for the ports on which the workers may listen: Dask's command divides them.

    Raises ArgumentError where these are too few, and for a command that may not know such arguments.
    """
    ports, processes = spec.keywords.get("port_range"), spec.processes_per_rank
    if ports is None:
        return []
    if not _is_dasks(spec):
        raise ArgumentError(
            f"port_range is for the worker's command {_WORKER}, and there is {spec.keywords['worker_command']}",
            "leave it out, and give the ports as that command takes them: worker_extra_args=[...]",
        )
    there, needed = len(PortRange.parse(ports)), processes * (2 if spec.keywords["nanny"] else 1)
    if there < needed:
        raise ArgumentError(
            f"port_range {ports} has {there} ports, and the {processes} workers of a job need {needed}",
            "give a wider one: each worker takes a port, and so does its nanny",
        )
    return ["--worker-port", ports, *(["--nanny-port", ports] if spec.keywords["nanny"] else [])]


def _is_dasks(spec: JobSpec) -> bool:
    """Whether the worker's command is Dask's own."""
    return (spec.keywords["worker_command"] or _WORKER) == _WORKER


def _module(spec: JobSpec) -> str:
    """Return the module that is the command."""
    needed = any(word.startswith("--tls-") for word in spec.arguments) or spec.system.name == "local"
    return _OURS if _can_be_ours(spec) and (needed or _tries(spec)) else str(spec.keywords["worker_command"] or _WORKER)


def _can_be_ours(spec: JobSpec) -> bool:
    """Whether the command may be ours; with an interpreter of the user's choice there may be only Dask."""
    here = spec.keywords["python"] == shlex.quote(sys.executable)
    return _is_dasks(spec) and (here or spec.keywords["container"] is not None)


def _outside(spec: JobSpec) -> list[str]:
    """Return the words that start the command in a container."""
    return [in_container(spec)] if spec.keywords["container"] is not None and not started_by_launcher(spec) else []


def started_by_launcher(spec: JobSpec) -> bool:
    """Whether the launcher of several ranks starts the container."""
    inside = spec.keywords["container"]
    return inside is not None and inside.launches and spec.ranks > 1


def in_container(spec: JobSpec, *directories: str) -> str:
    """Return the words that start a command in the container of a job.

    directories: what is to be seen there, besides keys and the workers' own
    """
    inside = container_of(spec)
    words = inside.words(*directories)
    if not inside.launches or spec.ranks > 1:
        return words
    alone = f"srun --ntasks=1 --cpus-per-task={spec.asked_cores} {words}"
    return " && ".join(filter(None, [inside.before(1), alone]))


def container_of(spec: JobSpec) -> Container:
    """Return a job's container, with the keys of its workers in it."""
    inside = spec.keywords["container"]
    keys = dict.fromkeys(map(os.path.dirname, _key_files(spec)))
    return dataclasses.replace(inside, binds=(*map(Bind.of, keys), *inside.binds))


def _key_files(spec: JobSpec) -> list[str]:
    return [path for option, path in itertools.pairwise(spec.arguments) if option.startswith("--tls-")]


def _arguments(spec: JobSpec) -> list[str]:
    """Return further arguments; the paths of keys are taken as they stand."""
    paths = _key_files(spec)
    return [shlex.quote(word) if word in paths else word for word in spec.arguments]


def _tries(spec: JobSpec) -> bool:
    """Whether the job itself chooses among the scheduler's addresses."""
    return len(spec.candidates) > 1 and _can_be_ours(spec)


def _pages(spec: JobSpec, words: Iterable[object]) -> list[str]:
    """Return the arguments that leave out workers' dashboards, which other users of the node could look at."""
    if not _is_dasks(spec) or any(re.match(r"--(no-)?dashboard", str(word)) for word in words):
        return []
    return ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]


def _lifetime(spec: JobSpec, words: Iterable[object]) -> list[str]:
    """Return the arguments that let workers hand over their data before the walltime ends them."""
    if not _is_dasks(spec) or any(re.match(r"--lifetime(=|\s|$)", str(word)) for word in words):
        return []
    total = walltime_seconds(spec.system, spec.keywords.get("walltime"))
    if total is None or not _keeps_walltime(spec):
        return []
    margin = spec.keywords["lifetime_margin"]
    margin = min(total / 10, 300.0) if margin is None else quantities.seconds(str(margin), "lifetime_margin")
    stagger = margin / 4
    if not margin or margin + stagger >= total:
        return []
    return ["--lifetime", f"{total - margin - stagger:.0f}s", "--lifetime-stagger", f"{stagger:.0f}s"]


def _keeps_walltime(spec: JobSpec) -> bool:
    """Whether the option that sets the time is the generated one, neither left out nor followed by another."""
    pattern, facts = spec.system.time_option, spec.system.workers
    if not pattern or facts is None:
        return True
    mark = spec.system.directive or ""
    options = [line.removeprefix(mark).strip() for line in spec.header() if line.startswith(mark)]
    generated = fill([line for line in facts.options if "walltime" in named([line])], spec.fields(None))
    timed = [option for option in options if re.search(pattern, option)]
    further = shlex.join(spec.keywords.get("submit_command_extra", ()))
    return timed[-1:] == generated and not re.search(pattern, further)
