"""Who submits a job, or has done so without learning its id: a file in its run directory."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import os
import time
from pathlib import Path

from mpidask.batch.records.processes import Process
from mpidask.files import replace

__all__ = ["Claim", "Outcome", "changed"]

_CLAIM = 300.0  # s after which a submission that is under way is taken for one that was cut off


class Outcome(enum.Enum):
    """What became of a submission that has left no job id."""

    OPEN = "open"  # it is under way, or its process has ended
    UNCLEAR = "unclear"
    VOID = "void"  # no job was submitted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """Who submits a job, or has done so without learning its id.

    path:    the file; its name has the number of submissions before, and that of claims to the same one
    process: None if that is not known
    where:   where it is submitted; see `JobId`
    since:   when it began; s since 1970
    """

    path: Path
    process: Process | None
    where: tuple[str, ...]
    since: float
    outcome: Outcome = Outcome.OPEN

    @property
    def is_held(self) -> bool:
        """Whether the submission is under way: its process lives, and has not been at it for minutes."""
        young = time.time() - self.since < _CLAIM
        return self.outcome is Outcome.OPEN and young and not (self.process and self.process.has_ended)

    @property
    def looked(self) -> float:
        """When it was written or the job was looked for last, in s since 1970."""
        return changed(self.path)

    def note_looked(self) -> None:
        """Note that the job was looked for now."""
        with contextlib.suppress(OSError):
            os.utime(self.path)

    def settle(self, outcome: Outcome) -> None:
        """Write down what became of it; raises OSError."""
        replace(str(self.path), dataclasses.replace(self, outcome=outcome).to_json())

    def to_json(self) -> str:
        """Return it as text, but for its path."""
        process = None if self.process is None else dataclasses.asdict(self.process)
        return json.dumps(
            {"process": process, "where": self.where, "since": self.since, "outcome": self.outcome.value}, indent=2
        )

    @classmethod
    def read(cls, path: Path) -> Claim:
        """Return the claim in a file; one that is half written has just been made."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            content = json.loads(path.read_text())
            return cls(
                path=path,
                process=Process(**content["process"]) if content["process"] else None,
                where=tuple(content["where"]),
                since=float(content["since"]),
                outcome=Outcome(content["outcome"]),
            )
        return cls(path=path, process=None, where=(), since=changed(path))


def changed(path: Path) -> float:
    """Return when a file was written last, in s since 1970; 0 if it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
