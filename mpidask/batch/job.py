"""A job before any batch system has seen it (pure)."""

from __future__ import annotations

import dataclasses
import re
from datetime import timedelta
from pathlib import Path

from mpidask.batch.container import Container
from mpidask.errors import UsageError

__all__ = ["BatchJob", "Resources"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """The shape of one allocation. None says nothing to the batch system and leaves the choice to the site.

    memory_per_node: bytes
    """

    nodes: int = 1
    ranks_per_node: int = 1
    cores_per_rank: int = 1
    gpus_per_rank: int | None = None
    memory_per_node: int | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and value < 1:
                raise UsageError(f"{field.name} is {value}", "a number from 1 up is needed")

    @property
    def ranks(self) -> int:
        """The world size."""
        return self.nodes * self.ranks_per_node

    @property
    def cores_per_node(self) -> int:
        """Cores on each node."""
        return self.ranks_per_node * self.cores_per_rank

    @property
    def cores(self) -> int:
        """Cores in all."""
        return self.nodes * self.cores_per_node

    @property
    def gpus_per_node(self) -> int | None:
        """GPUs on each node."""
        return self.ranks_per_node * self.gpus_per_rank if self.gpus_per_rank else None

    @property
    def memory(self) -> int | None:
        """Memory in all, in bytes."""
        return self.memory_per_node and self.nodes * self.memory_per_node


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BatchJob:
    """What runs, on what, for how long, and who pays; one large job and a per-worker job alike.

    command:              the words that every rank runs
    resources:            what the allocation is made of
    walltime:             None: the site's default
    queue:                Slurm calls it partition
    account:              elsewhere called project
    parallel_environment: Grid Engine's name for how slots are spread over nodes; the site names them
    directives:           option lines, verbatim, after the generated ones
    prologue, epilogue:   shell lines before and after the launcher's
    launcher:             a name of `launchers.LAUNCHERS` and further options, or a line of your own; None: as the
                          batch system has it
    mpiexec:              the mpiexec to use where the launcher is one
    warning:              how long before the walltime the batch system is to send a signal
    launch_timeout:       how long the launcher may take to start a first rank (with a run directory); 0: for ever
    requeue:              how often the job may submit itself again when the walltime has ended it
    python:               the interpreter, as the shell takes it; used by the job script itself to submit again
    container:            in which every rank runs; None: as on the node
    run_directory:        where the job leaves its logs; None: where the batch system leaves them
    Raises UsageError for a name that some batch system would refuse, for an empty text and for numbers below 1.
    """

    command: tuple[str, ...]
    name: str = "mpidask"
    resources: Resources = Resources()
    walltime: timedelta | None = None
    queue: str | None = None
    account: str | None = None
    parallel_environment: str | None = None
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    epilogue: tuple[str, ...] = ()
    launcher: str | None = None
    mpiexec: str = "mpiexec"
    warning: timedelta = timedelta(seconds=60)
    launch_timeout: timedelta = timedelta(seconds=45)
    requeue: int = 0
    python: str = "python"
    container: Container | None = None
    run_directory: Path | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][\w.-]*", self.name):
            raise UsageError(
                f"the job's name is {self.name!r}", "start it with a letter; then letters, digits, '_', '.' or '-'"
            )
        for field in ("queue", "account", "parallel_environment", "launcher"):
            if getattr(self, field) == "":
                raise UsageError(f"the job's {field} is ''", "None leaves it to the site")
        if not self.command:
            raise UsageError("the job has no command", "give the words to run")
        if self.walltime is not None and self.walltime <= timedelta(0):
            raise UsageError(f"the walltime is {self.walltime}", "give a time such as 1:30:00 or 90min")

    @property
    def lead(self) -> timedelta | None:
        """How long before the walltime to warn: at most a quarter of the walltime; None for not at all."""
        if not self.warning:
            return None
        return self.warning if self.walltime is None else min(self.warning, self.walltime / 4)

    def asks(self, field: str) -> bool:
        """Whether the job sets `field` to something other than its default."""
        owner = self if field in BatchJob.__dataclass_fields__ else self.resources
        return bool(getattr(owner, field) != type(owner).__dataclass_fields__[field].default)
