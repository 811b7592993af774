"""Which workers are a job's: their names tell it."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Sequence

__all__ = ["WorkerNames"]


@dataclasses.dataclass(frozen=True)
class WorkerNames:
    """The names of a job's workers; they may hold variables, which the shell on the node fills in.

    job:      the job's name
    suffixes: what Dask and we append for each worker
    """

    job: str
    suffixes: Sequence[str]

    @functools.cached_property
    def every(self) -> list[str]:
        """All of them, as they are written down."""
        return [f"{self.job}{suffix}" for suffix in self.suffixes]

    @functools.cached_property
    def _set(self) -> set[str]:
        return set(self.every)

    def owns(self, worker: object) -> bool:
        """Whether a worker of that name is one of the job's."""
        pattern = re.sub(r"\\\$(\w+|\\\{\w+\\\})", ".*", re.escape(self.job))
        return re.fullmatch(rf"{pattern}(-\d+)*", str(worker)) is not None

    def among(self, names: set[str]) -> set[str]:
        """Return which of these are the job's."""
        if "$" in self.job:
            return {name for name in names if self.owns(name)}
        return names & self._set
