"""What became of a job: from what the batch system says and what the job has left (pure)."""

from __future__ import annotations

import contextlib
import dataclasses
import pwd
import re
import signal
from typing import Any

from mpidask.batch.job_state import NODE_FAILED, JobState, Report
from mpidask.batch.system import BatchSystem
from mpidask.errors import WalltimeError

__all__ = ["SIGNALS", "Evidence", "Standing", "is_interrupted", "judge"]

SIGNALS = 128  # exit statuses above may tell of a signal
_APPEARS = 30.0  # s in which a submitted job may not be listed yet
_UNSEEN = 600.0  # s in which a job may be on its way to the server that it is routed to, and not be listed there yet
_COPIED = 120.0  # s by which an answer may be older than what it tells of
_LEAVES = 12.0  # s that a job's exit status or its record may come after it has left the queue
_STAYS = 300.0  # s that a job whose script a signal has ended may be listed as running: it may be run again
_MOVES = 60.0  # s after which a job that changes no file may have ended
_TICK = 0.02  # s by which times of files may lag behind the clock

_WAITING = (JobState.PENDING, JobState.HELD)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """What is known of a job.

    native:      the batch system's own word for the state
    reason:      why it waits or how it ended, in plain words; None if that is not known
    start:       when it started or is expected to; ISO 8601 in local time
    exit_status: the script's; 128 + n for signal n; None if it is not known or has not ended
    asked:       when the batch system was asked last; s since 1970
    explained:   when it was asked why the job waits
    absent:      since when the batch system has not known the job
    restarts:    how often it has been started again, or is going to be
    preempted:   whether it has made room for another job
    lost:        the nodes that it has lost, where that ended it
    final:       whether nothing will change any more
    silent:      what happened when it was asked last and did not answer; None if it did
    """

    id: str
    state: JobState = JobState.PENDING
    native: str = ""
    reason: str | None = None
    start: str | None = None
    exit_status: int | None = None
    asked: float = 0.0
    explained: float = 0.0
    absent: float | None = None
    restarts: int = 0
    preempted: bool = False
    lost: tuple[str, ...] = ()
    final: bool = False
    silent: str | None = None

    def is_outdated(self, exited_at: float) -> bool:
        """Whether the job's script, which ended at that time (s since 1970), did so after the last question."""
        return not self.state.ended and exited_at > self.asked - _TICK

    def to_json(self) -> dict[str, Any]:
        """Return it as values that JSON knows."""
        return {**dataclasses.asdict(self), "state": self.state.value}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Standing:
        """Return what `to_json` has made; raises ValueError or TypeError."""
        values = {**content, "state": JobState(content["state"]), "lost": tuple(content.get("lost", ()))}
        return cls(**values)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """What there is to judge by.

    now, submitted:     s since 1970
    report:             what the batch system says; None if it does not list the job (any more)
    covered:            whether it was asked about the job: then it does not know it
    execution:          how often the job script had been started before when it began last; None if it never has
    exited, exited_at:  the exit status that it left then, and when; None if it has not ended by itself
    exited_before:      whether it had ended when the batch system was asked
    moved_at:           when the job has shown last that it is at work; s since 1970
    log:                what the batch system has printed about the job
    cancelled:          whether the user has cancelled it with us, before this execution ended by itself
    cancel_asked:       the same, whenever it was
    lost:               those of its nodes that are down, where one was lost
    """

    now: float
    submitted: float
    report: Report | None
    covered: bool = True
    execution: int | None = None
    exited: int | None = None
    exited_at: float = 0.0
    exited_before: bool = False
    moved_at: float = 0.0
    log: str = ""
    cancelled: bool = False
    cancel_asked: bool = False
    lost: tuple[str, ...] = ()


def judge(system: BatchSystem, before: Standing, evidence: Evidence) -> Standing:
    """Return what is known of a job after the batch system has answered.

    A batch system may run a job again that was preempted, or whose node was lost: its word that the job waits or runs
    outranks what an earlier execution of the script has left.
    """
    report = evidence.report
    earlier = _is_earlier(before, evidence)
    known = dataclasses.replace(
        before,
        asked=evidence.now,
        silent=None,
        preempted=before.preempted or bool(system.preempted and re.search(system.preempted, evidence.log)),
        restarts=_restarts(system, before, evidence, earlier=earlier),
        lost=evidence.lost or (() if before.state is JobState.RUNNING else before.lost),
    )
    if report is not None:
        known = dataclasses.replace(
            known, native=report.native, start=report.start, absent=None, state=report.state, reason=report.reason
        )
    if earlier:
        evidence = dataclasses.replace(evidence, exited=None, cancelled=evidence.cancel_asked or evidence.cancelled)
    if evidence.exited is not None:
        return _ended(system, known, evidence)
    if report is None or (report.state is JobState.DONE and report.exit_status is None):  # says only that it is gone
        return _missing(system, before, known, evidence)
    if report.state.ended:
        return _ended(system, known, evidence)
    return dataclasses.replace(known, exit_status=None, reason=_waits(system, before, known, report))


def _is_earlier(before: Standing, evidence: Evidence) -> bool:
    """Whether the exit status is that of an earlier execution: the job waits or runs again, or has since."""
    report = evidence.report
    if evidence.exited is None:
        return False
    if report is None:  # cancelled, it may be, while it waited to run again
        return before.state in _WAITING and before.restarts > (evidence.execution or 0)
    # Few are run again that ended well: at first the answer may be older than its end, as where a site keeps copies.
    is_old = evidence.exited == 0 and evidence.now - evidence.exited_at < _COPIED
    waits = report.state in _WAITING and evidence.exited_before and not is_old
    return waits or (report.restarts or 0) > (evidence.execution or 0)


def _restarts(system: BatchSystem, before: Standing, evidence: Evidence, *, earlier: bool) -> int:
    """Return how often a job has been started again, or is going to be."""
    report = evidence.report
    told = report.restarts if report is not None else None
    interrupted = report is not None and is_interrupted(system, before, report, evidence.execution)
    begun = (evidence.execution or 0) + (earlier or interrupted)
    return max(before.restarts, told or 0, begun)


def is_interrupted(system: BatchSystem, before: Standing, report: Report, execution: int | None) -> bool:
    """Whether a job that ran waits now: not all systems count how often they have started a job.

    execution: the script's last, from 0; None if it has never begun: a start that failed before it is none
    """
    ran = execution is not None and system.state(before.native) is JobState.RUNNING
    return ran and report.state is JobState.PENDING


def _waits(system: BatchSystem, before: Standing, known: Standing, report: Report) -> str | None:
    """Return in plain words why a job waits."""
    reason = system.plain(report.reason)
    if report.state is JobState.UNKNOWN:
        reason = system.cause(report.native) or f"{system.title} says {report.native!r}"
    if reason and report.reason and report.reason not in reason:
        reason = f"{reason} ({report.reason})"
    if known.restarts and report.state is JobState.PENDING:
        return f"{_history(known)}; waits to run again{f': {reason}' if reason else ''}"
    return reason or _kept(before, report)


def _history(known: Standing) -> str:
    """Return in words how often a job has been interrupted."""
    times = {1: "once", 2: "twice"}.get(known.restarts, f"{known.restarts} times")
    why = f", as {_lost(known)}" if known.lost else ""
    return f"{'preempted' if known.preempted else 'requeued'} {times}{why}"


def _lost(known: Standing) -> str:
    """Return in words which nodes a job has lost."""
    return f"node {known.lost[0]} was lost" if len(known.lost) == 1 else f"nodes {', '.join(known.lost)} were lost"


def _kept(before: Standing, report: Report) -> str | None:
    """Return the reason that was found out before, if the job still waits."""
    return before.reason if before.state is report.state and not report.state.ended else None


def _missing(system: BatchSystem, before: Standing, known: Standing, evidence: Evidence) -> Standing:
    """Judge a job that the batch system does not list and that has left no exit status.

    It has ended if the question was about it, or has shown it before, and nothing tells that it is at work.
    """
    listed = known.native != ""
    began = listed or evidence.execution is not None
    since = before.absent if before.absent is not None else evidence.now
    # An answer may be a copy of an earlier one.
    is_new = not listed and not evidence.cancelled and evidence.now - evidence.submitted < _APPEARS
    moves = evidence.now - evidence.moved_at < _MOVES and evidence.moved_at > since
    if moves or (began and is_new):
        reason = f"{system.title} does not list it, but it is at work"
        return dataclasses.replace(known, absent=since, state=JobState.RUNNING, reason=reason)
    if not began and not evidence.cancelled:
        age = evidence.now - evidence.submitted
        if age < _APPEARS:
            return dataclasses.replace(known, state=JobState.PENDING, reason="just submitted")
        if age < _UNSEEN:
            reason = f"submitted; {system.title} does not list it yet"
            return dataclasses.replace(known, state=JobState.PENDING, reason=reason)
    known = dataclasses.replace(known, absent=since)
    if evidence.now - since < _LEAVES:
        return dataclasses.replace(known, state=before.state)
    # Where jobs cannot be asked about by their ids, what is listed is all that there is to know of one that has begun.
    if not evidence.covered and not listed and not (began and system.missed is None):
        reason = f"{system.title} does not list it, and it has not left an exit status"
        return dataclasses.replace(known, state=JobState.UNKNOWN, reason=reason)
    return _ended(system, dataclasses.replace(known, state=JobState.FAILED), dataclasses.replace(evidence, report=None))


def _ended(system: BatchSystem, known: Standing, evidence: Evidence) -> Standing:
    """Judge a job that has ended: by its script's exit status, and the batch system's word where the two differ."""
    report = evidence.report if evidence.report is not None and evidence.report.state.ended else None
    if evidence.exited is not None:
        status: int | None = evidence.exited
        good = status == 0
    else:
        status = report.exit_status if report else None
        good = report is not None and report.state is JobState.DONE and not status
        status = status if status or good else None  # a job that never ran has no status, and Slurm says 0
    words = None if good else _why(system, report, status, evidence)
    if words == NODE_FAILED and known.lost:
        words = _lost(known)
    # The batch system's word on a killed job may come a moment after its script's end; or it runs the job again.
    stays = _STAYS if system.runs_again and status is not None and _is_signal(status) else _LEAVES
    waits = evidence.report is not None and evidence.report.state in _WAITING
    stays = max(stays, 2 * _COPIED) if waits else stays
    lists = evidence.report is not None and report is None and (system.runs_again or waits or not good)
    final = not lists or evidence.now - evidence.exited_at > stays
    state = JobState.DONE if good else JobState.after(words)
    return dataclasses.replace(
        known,
        state=state,
        exit_status=None if state is JobState.CANCELLED else status,  # that of a launcher that was killed, not its own
        reason=words,
        final=final,
    )


def _why(system: BatchSystem, report: Report | None, status: int | None, evidence: Evidence) -> str | None:
    """Return in plain words why a job failed or was cancelled, None if its script just ended with that status."""
    if status == WalltimeError.status and not (report and report.state is JobState.CANCELLED):
        return "the walltime was reached; the run ended gracefully"
    if evidence.cancelled:
        return "cancelled by you"
    native, reason = (report.native, report.reason) if report else (None, None)
    # What it has printed of a job that it killed is often more to the point than the reason, which may be an older one.
    printed = system.printed_words(evidence.log) if status is None or _is_signal(status) else []
    words = system.cause(native, *printed, reason) or _guess(system, report, status)
    if words == "cancelled" and report and (by := re.match(r"by (\S+)$", report.reason or "")):
        words = f"cancelled by {_user(by[1])}"
    return words


def _guess(system: BatchSystem, report: Report | None, status: int | None) -> str | None:
    """Return why a job ended badly where nothing is declared for what the batch system says."""
    killed = status is not None and _is_signal(status)
    if report is not None and report.state is JobState.CANCELLED:
        return "cancelled"
    if report is not None and (status is None or killed) and (said := system.plain(report.reason)):
        return said
    if status is None:
        return "it left the queue without an exit status: killed or cancelled, or its node was lost"
    return f"killed by signal {status - 128}" if killed else None


def _user(name: str) -> str:
    """Return a user's name for what a batch system says: a name or a number."""
    with contextlib.suppress(ValueError, KeyError, OverflowError):
        return pwd.getpwuid(int(name)).pw_name
    return f"user {name}" if name.isdigit() else name


def _is_signal(status: int) -> bool:
    """Whether an exit status tells of a signal, as a shell has it."""
    return SIGNALS < status <= SIGNALS + signal.NSIG
