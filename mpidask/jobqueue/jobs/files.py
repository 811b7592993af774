"""What a per-worker job leaves in the cluster's directory, and what its batch system prints about it."""

from __future__ import annotations

import dataclasses
import re
import time
from pathlib import Path

from mpidask import run_directory
from mpidask.batch.leases import KEY_FILES

__all__ = ["JobFiles", "read"]

#: Files in a cluster's directory that are no log of a batch system's.
_OURS = re.compile(r"-?\d+\.(log|status|executions)(\.\d+)?|jobs|released|lease\.json|scheduler\.json")


@dataclasses.dataclass(frozen=True)
class JobFiles:
    """The files of one job.

    directory: the cluster's; None before the job is submitted
    number:    the job's, with which their names begin
    """

    directory: Path | None
    number: int

    @property
    def executions(self) -> list[tuple[int, float]]:
        """Number (0 is the first) and time, in s since 1970, of each time that the job was started."""
        return run_directory.executions(self._read(run_directory.EXECUTIONS))

    @property
    def execution(self) -> int | None:
        """The number of the last of them; None before the first."""
        started = self.executions
        return started[-1][0] if started else None

    @property
    def exited(self) -> int | None:
        """The exit status that the script left when it was started last; None if it has not ended by itself."""
        text = self._read(self._status_file).strip()
        return int(text) if text.isdigit() else None

    @property
    def exited_at(self) -> float:
        """When that was, in s since 1970; now if it was not."""
        return self._changed(self._status_file) or time.time()

    @property
    def printed_at(self) -> float:
        """When the job has printed last, in s since 1970; 0 if it has not."""
        return max(map(self._changed, self._logs))

    @property
    def log(self) -> str:
        """What the job has printed into files of its own."""
        return "".join(map(self._read, self._logs))

    def system_logs(self, job_id: str, job_name: str, place: str | None) -> list[Path]:
        """Return the files whose names hold the job's id: every batch system names them so.

        place: where the user wants them; None: in the cluster's directory
        """
        directory = place or self.directory
        if directory is None or not job_id:
            return []
        pattern = _pattern(job_id)
        try:
            return sorted(
                path
                for path in Path(directory).iterdir()
                if path.is_file()
                and not _OURS.fullmatch(path.name)
                and not path.name.startswith(KEY_FILES)  # these end in letters and digits that may look like an id
                and pattern.match(path.name.removeprefix(job_name))
            )
        except OSError:
            return []

    @property
    def _status_file(self) -> str:
        return run_directory.status_file(self.execution or 0)

    @property
    def _logs(self) -> list[str]:
        """The kinds of files with what it has printed: one for each execution."""
        return ["log", *(f"log.{number}" for number, _ in self.executions if number)]

    def _changed(self, kind: str) -> float:
        if self.directory is None:
            return 0.0
        try:
            return (self.directory / f"{self.number}.{kind}").stat().st_mtime
        except OSError:
            return 0.0

    def _read(self, kind: str) -> str:
        return read(self.directory / f"{self.number}.{kind}") if self.directory is not None else ""


def _pattern(job_id: str) -> re.Pattern[str]:
    """Return what names of files with a job id look like."""
    # The number, after a name as Moab has it, and the index in a job array; Flux's ids are of another kind.
    match = re.match(r"(?:[A-Za-z]\w*\.)?(\d+)(?:[_.\[](\d+)\b)?", job_id)
    words = [word for word in match.groups() if word] if match else [re.escape(job_id)]
    return re.compile(r"(?:^|.*\W|.*[a-z_])0*" + r"\D+0*".join(words) + r"(?:\W.*|_.*)?$")


def read(path: Path) -> str:
    """Return what is in a file; nothing if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
