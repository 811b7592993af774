"""What jobs a program holds: per-worker jobs that make no sense without it.

::

    ~/.local/state/mpidask/clusters/20261121-071502-SLURMCluster-k3f9/
        lease.json    the batch system, and the process that holds the jobs
        jobs            one line for each job: number, job id, destination
        released        the jobs were given back
        0/job.sh, 0.log, 0.status, ...   scripts, and what the jobs leave
        .dask-jobqueue.*    keys for TLS, until the end
        .keys           other directories with such files, one in each line

Everything is readable by the user alone. A holder that ends without giving its jobs back leaves orphans.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mpidask.batch import registry
from mpidask.batch.commands import runner
from mpidask.batch.job_state import JobId
from mpidask.batch.queries import monitor
from mpidask.batch.queries.questions import cancel_commands
from mpidask.batch.records import store
from mpidask.batch.records.processes import Process
from mpidask.batch.system import BatchSystem
from mpidask.errors import BatchError, MpidaskError
from mpidask.files import append_json, is_ours, json_lines, make_private, mark, replace_json

__all__ = ["KEY_FILES", "Lease", "create", "living", "orphans", "read", "watch"]

_FACTS, _JOBS, _RELEASED, _KEYS = "lease.json", "jobs", "released", ".keys"
KEY_FILES = ".dask-jobqueue."  # how the names of files of keys begin: users of dask-jobqueue know them


@dataclasses.dataclass(frozen=True)
class Lease:
    """The jobs of one program.

    system:  name of the batch system
    holder:  the process that holds them
    further: further words of the cancel command
    """

    directory: Path
    system: str
    holder: Process
    further: tuple[str, ...] = ()

    def add(self, jobs: Iterable[tuple[int, JobId]]) -> None:
        """Note jobs that were submitted, with their numbers."""
        append_json(self.directory / _JOBS, ([number, job.id, job.where] for number, job in jobs))

    @property
    def ids(self) -> list[JobId]:
        """All jobs that were ever submitted."""
        found = []
        for line in json_lines(self.directory / _JOBS):
            match line:
                case [_, str(job_id), *rest] if job_id:
                    found.append(JobId.from_json(job_id, *rest[:1]))
        return found

    @property
    def is_released(self) -> bool:
        """Whether the jobs were given back."""
        return (self.directory / _RELEASED).exists()

    def note_released(self) -> None:
        """Note that no job is held any more; the files of keys are removed."""
        with contextlib.suppress(OSError):
            mark(self.directory / _RELEASED)
        self.remove_keys()

    def note_keys(self, directory: Path) -> None:
        """Note another directory that is going to hold files of keys, and is removed with them; raises OSError."""
        append_json(self.directory / _KEYS, [str(directory)])

    def remove_keys(self) -> None:
        """Remove the files of keys, and the directories that were noted. Where others may write, nothing else is."""
        noted = [Path(line) for line in json_lines(self.directory / _KEYS) if isinstance(line, str)]
        for directory in [*noted, self.directory]:
            for path in directory.glob(f"{KEY_FILES}*"):
                with contextlib.suppress(OSError):
                    path.unlink()
        for directory in noted:
            with contextlib.suppress(OSError):
                directory.rmdir()
        with contextlib.suppress(OSError):
            (self.directory / _KEYS).unlink()

    @property
    def is_orphaned(self) -> bool:
        """Whether the process that holds the jobs has ended; False where that cannot be seen: on another host."""
        return not self.is_released and self.holder.has_ended

    def release(self) -> list[JobId]:
        """Remove the keys, cancel what is left of the jobs; return which that were.

        Raises BatchError if the batch system does not answer or refuses.
        """
        self.remove_keys()  # whatever the batch system says: nobody has a use for them any more
        system = registry.find(self.system)
        left = living(system, self.ids)
        for command in cancel_commands(system, left, self.further):
            output = runner.run(command)
            if output.status != 0 and (still := living(system, left)):
                raise BatchError(
                    f"{system.title} did not cancel {', '.join(map(str, still))}\n{output.text}",
                    "its own words are above",
                )
        self.note_released()
        return left


def living(system: BatchSystem, ids: Sequence[JobId]) -> list[JobId]:
    """Return which jobs are in the queue or run."""
    if not ids:
        return []
    reports = monitor.ask(system, system.status, ids)
    return [each for each in ids if each in reports and not reports[each].state.ended]


def create(system: str, title: str, further: Sequence[str] = ()) -> Lease:
    """Make the directory of a new lease of this process; raises BatchError if it cannot be written."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    home = store.home(None, "clusters")
    directory = home / f"{stamp}-{title}-{secrets.token_hex(2)}"
    lease = Lease(directory, system, Process.here(), tuple(further))
    content = {**dataclasses.asdict(lease), "directory": None}
    try:
        make_private(home)
        directory.mkdir(mode=0o700)
        replace_json(str(directory / _FACTS), content)
    except OSError as error:
        raise BatchError(
            f"the directory {directory} cannot be written: {error.strerror}",
            "name another place that the nodes share: mpidask.batch.state-directory in the configuration",
        ) from None
    return lease


def read(directory: Path) -> Lease:
    """Return the lease in a directory; raises OSError, ValueError, KeyError or TypeError if there is none."""
    content: dict[str, Any] = json.loads((directory / _FACTS).read_text())
    read = {"holder": Process(**content["holder"]), "further": tuple(content["further"])}
    return Lease(**{**content, "directory": directory, **read})


def orphans() -> list[Lease]:
    """Return the leases of this user whose process has ended without giving its jobs back."""
    return [lease for lease in _all(store.home(None, "clusters")) if lease.is_orphaned]


def _all(home: Path) -> Iterator[Lease]:
    for directory in store.entries(home):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):  # half written, or not ours
            if is_ours(directory):
                yield read(directory)


def watch(directory: Path) -> None:
    """Wait until the process at the other end of stdin is gone; then cancel what it has left behind.

    Meant to run in a process of its own: ``python -m mpidask.batch.sentinel DIRECTORY``.
    """
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    lease = read(directory)
    for pause in (0.0, 2.0, 10.0, 30.0, 120.0):
        time.sleep(pause)
        if lease.is_released:
            return
        with contextlib.suppress(MpidaskError):
            lease.release()
