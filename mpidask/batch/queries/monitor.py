"""What has become of jobs: one status command for all of a batch system's, at most every few seconds.

A command that fails is no news, nor is one that complains and lists nothing. A job that is not listed has left the
queue only where the question was about it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
import time
from collections.abc import Iterable, Sequence
from typing import Protocol

from mpidask.batch import registry
from mpidask.batch.commands import runner
from mpidask.batch.commands.command import Command
from mpidask.batch.job_state import NODE_FAILED, JobId, JobState, Report, by_destination
from mpidask.batch.queries import lookup, lost_nodes
from mpidask.batch.queries.questions import complains, match_ids, parse_answer, query_commands
from mpidask.batch.records.record import Record
from mpidask.batch.status import SIGNALS, Evidence, Standing, is_interrupted, judge
from mpidask.batch.system import BatchSystem, Query
from mpidask.errors import BatchError, MpidaskError

__all__ = ["Watched", "ask", "judge_all", "look", "look_again"]

_EXPLAIN = 30.0  # s between two questions why a job waits
_APPEARS = 30.0  # s after the submission from which a job that is not listed may have ended
_PATIENCE = 60.0  # s after a script's end in which a batch system that does not answer may still tell why
_AGAIN = 600.0  # s in which a job that a signal has ended may be run again by a batch system that does not answer
_SETTLED = 4.0  # s after the submission from which a waiting job is asked about


def look(records: Sequence[Record], interval: float) -> dict[str, Standing]:
    """Return run name -> what is known of each job.

    interval: s in which the batch system is asked at most once, by all shells of this user together
    Jobs that may have been submitted, under ids that are not known, are looked for.
    """
    lookup.settle(records, interval)
    standings = {record.name: record.standing if record.id else lookup.nameless(record) for record in records}
    live = [record for record in records if not standings[record.name].final and record.id]
    for name in sorted({record.system for record in live}):
        mine = [record for record in live if record.system == name]
        if any(_due(record, standings[record.name], interval) for record in mine):
            standings.update(_ask(name, mine))
    return standings


def look_again(records: Sequence[Record]) -> dict[str, Standing]:
    """Return run name -> what is known of each job; those that were given up are asked about, too.

    What was taken for an end may have been none: a job that the batch system lists has not ended.
    """
    standings = look(records, 0.0)
    lost = [record for record in records if record.id and standings[record.name].state.ended_badly]
    for name in sorted({record.system for record in lost}):
        mine = [record for record in lost if record.system == name]
        with contextlib.suppress(MpidaskError):  # then what is known counts
            system = registry.find(name)
            reports = ask(system, system.status, [record.identity for record in mine])
            for record in mine:
                report = reports.get(record.identity)
                if report is not None and not report.state.ended and report.state is not JobState.UNKNOWN:
                    standings[record.name] = _revived(standings[record.name], report)
                    record.keep(standings[record.name])
    return standings


def _revived(before: Standing, report: Report) -> Standing:
    return dataclasses.replace(
        before, state=report.state, native=report.native, reason=None, exit_status=None, absent=None, final=False
    )


def _due(record: Record, standing: Standing, interval: float) -> bool:
    """Whether it is time to ask; at once when the job script has ended, once."""
    just_ended = record.exited is not None and standing.is_outdated(record.exited_at)
    return just_ended or not 0 <= time.time() - standing.asked < interval


class Watched(Protocol):
    """A job that was submitted, and what it has left."""

    @property
    def identity(self) -> JobId:
        """Which job it is."""
        ...

    @property
    def submitted(self) -> float:
        """When it was submitted; s since 1970."""
        ...

    @property
    def standing(self) -> Standing:
        """What was known of it before."""
        ...

    @property
    def execution(self) -> int | None:
        """How often it had been started before when its script began last; None if it never has."""
        ...

    @property
    def exited(self) -> int | None:
        """The exit status that its script left in this execution; None if it has not."""
        ...

    @property
    def exited_at(self) -> float:
        """When that was; s since 1970."""
        ...

    @property
    def hosts(self) -> Sequence[str]:
        """The nodes that it has run on, as far as that is known here."""
        ...

    @property
    def tail(self) -> str:
        """The last lines that it has printed."""
        ...

    @property
    def moved_at(self) -> float:
        """When it has shown last that it is at work; s since 1970."""
        ...

    @property
    def system_log(self) -> str:
        """What the batch system has printed about it."""
        ...

    @property
    def cancelled(self) -> bool:
        """Whether the user has cancelled it with us, before its script ended by itself."""
        ...

    @property
    def cancel_asked(self) -> bool:
        """Whether the user has cancelled it with us, whenever that was."""
        ...


def judge_all(system: BatchSystem, mine: Sequence[Watched], explanations: int) -> list[Standing]:
    """Ask a batch system about jobs with one command; return what is known of each, in their order.

    explanations: how many jobs that wait are asked about at most, each with a command of its own
    """
    over = [each.exited is not None for each in mine]
    try:
        reports, covered = _survey(system, [each.identity for each in mine])
    except MpidaskError as error:
        return [_unheard(each, error) for each in mine]
    standings = []
    for each, exited in zip(mine, over, strict=True):
        before = each.standing
        answer = _Answer(reports.get(each.identity), each.identity in covered, exited)
        standings.append(_judge(system, each, answer, explain=explanations > 0))
        explanations -= standings[-1].explained != before.explained
    return standings


@dataclasses.dataclass(frozen=True)
class _Answer:
    """What a batch system has said of a job.

    report:  None if it was not listed
    covered: whether the question was about it
    exited:  whether its script had ended by itself before the question
    """

    report: Report | None
    covered: bool
    exited: bool


def _survey(system: BatchSystem, jobs: Sequence[JobId]) -> tuple[dict[JobId, Report], set[JobId]]:
    """Ask about jobs; return what is said of them, and which of them the question was about.

    Raises BatchError if there is no answer.
    """
    reports, whole = _ask_all(system, system.status, jobs)
    if system.status.names_jobs:
        return reports, set(jobs) if whole else set(reports)
    missed = [each for each in jobs if each not in reports]
    if system.missed is None or not missed:
        return reports, set(reports)
    try:
        further, whole = _ask_all(system, system.missed, missed)
    except BatchError:
        return reports, set(reports)
    return {**reports, **further}, set(jobs) if whole else {*reports, *further}


def _ask(name: str, mine: Sequence[Record]) -> dict[str, Standing]:
    """Ask one batch system about jobs and write down the answer."""
    try:
        found = judge_all(registry.find(name), mine, len(mine))
    except MpidaskError as error:  # in the configuration
        found = [_unheard(each, error) for each in mine]
    standings = {record.name: standing for record, standing in zip(mine, found, strict=True)}
    for record in mine:
        record.keep(standings[record.name])
    return standings


def _unheard(record: Watched, error: MpidaskError) -> Standing:
    """Return what is known when the batch system does not answer: what was known before."""
    before = record.standing
    exited = record.exited
    known = dataclasses.replace(before, asked=time.time(), silent=error.what)
    if exited is None:
        return known
    state = JobState.DONE if exited == 0 else JobState.CANCELLED if record.cancelled else JobState.FAILED
    final = exited == 0 or time.time() - record.exited_at > (_AGAIN if exited > SIGNALS else _PATIENCE)
    status = None if state is JobState.CANCELLED else exited
    return dataclasses.replace(known, state=state, exit_status=status, final=final)


def _judge(system: BatchSystem, record: Watched, answer: _Answer, *, explain: bool) -> Standing:
    before = record.standing
    now = time.time()
    exited = record.exited
    report = answer.report
    was_there = before.native or now - record.submitted > _APPEARS
    if report is None and system.history is not None and exited != 0 and was_there:
        report = _ended(system, _heard(system, system.history, record.identity))
    evidence = Evidence(
        now=now,
        submitted=record.submitted,
        report=report,
        covered=answer.covered,
        execution=record.execution,
        exited=exited,
        exited_before=answer.exited,
        moved_at=record.moved_at,
        exited_at=record.exited_at,
        log=record.system_log[-4000:] if exited != 0 else "",
        cancelled=record.cancelled,
        cancel_asked=record.cancel_asked,
        lost=_lost_nodes(system, record, report),
    )
    standing = judge(system, before, evidence)
    if explain and _wants_explanation(system, record, standing, now):
        told = _heard(system, system.explain, record.identity) if system.explain else None
        said = told.reason if told else None
        plain = system.plain(said)
        reason = f"{plain} ({said})" if plain and plain != said else said
        standing = dataclasses.replace(standing, reason=reason or standing.reason, explained=now)
    return standing


def _lost_nodes(system: BatchSystem, record: Watched, report: Report | None) -> tuple[str, ...]:
    """Return the nodes that a job has lost, where that has just ended it, or has had it requeued."""
    if report is None or report.lost:
        return (report.lost,) if report else ()
    before = record.standing
    failed = report.state.ended and system.cause(report.native, report.reason) == NODE_FAILED
    if failed or (report.restarts or 0) > before.restarts or is_interrupted(system, before, report, record.execution):
        return lost_nodes.look(system, record.identity, record.hosts, record.tail)
    return ()


def _ended(system: BatchSystem, report: Report | None) -> Report | None:
    """Return what is said of a job that has ended; where no state is said the exit status and the reason tell."""
    if report is None or report.native:
        return report
    good = report.exit_status == 0 and report.reason is None
    state = JobState.DONE if good else JobState.FAILED
    return dataclasses.replace(report, state=system.ending(state, "", report.reason, report.exit_status))


def _wants_explanation(system: BatchSystem, record: Watched, standing: Standing, now: float) -> bool:
    return (
        system.explain is not None
        and standing.state in (JobState.PENDING, JobState.HELD)
        and standing.native != ""
        and now - record.submitted > _SETTLED
        and now - standing.explained > _EXPLAIN
    )


def _heard(system: BatchSystem, query: Query, job: JobId) -> Report | None:
    try:
        return ask(system, query, [job]).get(job)
    except BatchError:
        return None


def ask(system: BatchSystem, query: Query, jobs: Iterable[JobId]) -> dict[JobId, Report]:
    """Ask, with a command for each destination; return job -> report. Raises BatchError if there is no answer."""
    return _ask_all(system, query, jobs)[0]


def _ask_all(system: BatchSystem, query: Query, jobs: Iterable[JobId]) -> tuple[dict[JobId, Report], bool]:
    """Ask, with a command for each destination; return job -> report, and whether nothing but them was said.

    Raises BatchError if there is no answer.
    """
    reports: dict[JobId, Report] = {}
    whole = True
    for where, ids in by_destination(sorted(set(jobs))).items():
        found: dict[str, Report] = {}
        for command in query_commands(system, query, ids, where):
            answer, alone = _answer(system, query, command)
            found |= answer
            whole = whole and alone
        matched = match_ids(system, ids, found)
        if not matched and len(ids) == len(found) == 1 and query.names_jobs:
            # Of an array's element some tell what they tell of the array.
            matched = {ids[0]: next(iter(found.values()))}
        reports |= {JobId(each, where): report for each, report in matched.items()}
    return reports, whole


def _answer(system: BatchSystem, query: Query, command: Command) -> tuple[dict[str, Report], bool]:
    """Return job id -> report, and whether nothing but them was said.

    Raises BatchError for a command that complains and tells of no job.
    """
    output = runner.run(command)
    found, rest = parse_answer(system, query, output.stdout)
    complaint = complains(query.absent, output.status, f"{rest}\n{output.stderr}")
    if complaint and not found:
        raise BatchError(_no_news(system, output, rest), "it will be asked again")
    return found, not complaint


def _no_news(system: BatchSystem, output: runner.Output, rest: str) -> str:
    """Return in words that an answer tells nothing of jobs; an answer in another form is told on stderr, once.

    Old versions ignore the form that is asked for.
    """
    if output.status != 0 or not rest.strip():
        return f"{system.title} did not answer\n{output.text}"
    words = (
        f"{system.title} did not answer in a form that can be read: what was known last is shown\n"
        f"command: {shlex.join(output.command.argv)}\n"
        f"printed: {rest.strip().splitlines()[0][:200]}"
    )
    remedy = (
        "see what it prints by hand; a command that prints what mpidask reads is declared with `status` in "
        "mpidask.batch.systems"
    )
    runner.warn_once(words, remedy, key="silent-batch-system", about=f"answers of {system.name}")
    return words
