"""The doctor's batch jobs: a process that is bounded in time submits them, and its output counts."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from mpidask.doctor import finding, time_limit
from mpidask.doctor.bounded import BoundedProcess, words
from mpidask.doctor.finding import Finding, failure, warning

if TYPE_CHECKING:
    from mpidask.batch.settings import JobOptions

__all__ = ["longer", "through_a_job"]

_PATIENT = 20.0  # of 60 s, that a job may take; what is granted beyond that all takes longer
_LEAST = 10.0  # of 60 s, for the batch system's commands, whatever the other probes took
_MORE = 600.0  # s for a job that has not started in time


def through_a_job(
    options: JobOptions, patience: float, probes: Collection[str], typed: Sequence[str], elapsed: float
) -> list[Finding]:
    """Return what is found of submitting, watching and cancelling jobs, and by the doctor in a job.

    options:  the job's
    patience: how many s the job may take to start and end; it goes on after them
    probes:   what the doctor in the job is to look at
    typed:    the words after `mpidask doctor`
    elapsed:  s that the doctor has taken so far
    """
    asked = {"options": dataclasses.asdict(options), "patience": patience, "probes": sorted(probes)}
    asked["longer"] = longer(typed, patience)
    process = BoundedProcess(words("submission"), _allowed(patience, elapsed), json.dumps(asked))
    try:
        process.wait()
    except BaseException:
        sys.stderr.writelines(f"mpidask: a job of the doctor is left: {each}\n" for each in _left(process.printed))
        raise
    status, printed, errors = process.end()
    sys.stderr.write(errors)
    found = [finding.read(said) for kind, said in _lines(printed) if kind == "Finding"]
    return found if status == 0 else [*found, _unfinished(process.seconds, status, errors, printed)]


def _allowed(patience: float, elapsed: float) -> float:
    """Return how many s all of it may take (pure)."""
    left = time_limit.share(time_limit.DEFAULT) - elapsed
    return max(left, time_limit.share(_LEAST)) + max(0.0, patience - time_limit.share(_PATIENT))


def longer(typed: Sequence[str], patience: float) -> str:
    """Return the same command line with more patience (pure)."""
    kept = list(typed)
    while "--patience" in kept:
        at = kept.index("--patience")
        del kept[at : at + 2]
    kept = [word for word in kept if not word.startswith("--patience=")]
    return shlex.join(["mpidask", "doctor", *kept, "--patience", f"{max(_MORE, 2 * patience) / 60:.0f}min"])


def _lines(printed: str) -> list[tuple[str, dict[str, Any]]]:
    """Return class and fields of what was printed; a last line may have been cut off."""
    whole = printed[: printed.rfind("\n") + 1].splitlines()
    return [(kind, said) for kind, said in map(json.loads, whole)]


def _left(printed: str) -> list[str]:
    """Return the commands that cancel what is in the queue."""
    jobs = {said["title"]: said["is_left"] for kind, said in _lines(printed) if kind == "Job"}
    return [f"mpidask cancel {title}" for title, is_left in jobs.items() if is_left]


def _unfinished(seconds: float, status: int | None, errors: str, printed: str) -> Finding:
    """Return that the process that submits did not come to its end."""
    last = (errors.strip().splitlines() or [""])[-1]
    why = f"took more than {seconds:.0f} s" if status is None else f"ended with status {status}: {last}"
    remedy = "\n".join([*_left(printed), "see whether the batch system and --state-directory answer: mpidask status"])
    kind = warning if "Finding" in printed else failure
    return dataclasses.replace(kind(f"the trial of the batch system {why}", remedy), probe="batch.submit")
