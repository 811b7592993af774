"""Asking about jobs and cancelling them: the commands, and what their outputs say (pure)."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from mpidask import job_environment
from mpidask.batch.commands.command import Command, filled_words, option_value
from mpidask.batch.job_state import JobId, JobState, Report, by_destination
from mpidask.batch.system import BatchSystem, Query
from mpidask.batch.template import Line, named

__all__ = [
    "at_destination",
    "cancel_command",
    "cancel_commands",
    "complains",
    "listing_command",
    "match_ids",
    "parse_answer",
    "parse_search",
    "query_commands",
    "search_command",
    "step_command",
]

T = TypeVar("T")

_BATCH = 200  # job ids on one command line


def search_command(system: BatchSystem, job_name: str, where: Sequence[str] = ()) -> Command | None:
    """Return how to ask about all jobs of the user at one destination; None if the system cannot be asked."""
    if system.search is None:
        return None
    return at_destination(system, _about_user(system, system.search.command, job_name), where)


def listing_command(system: BatchSystem, job_name: str) -> Command:
    """Return what shows the user's jobs to people."""
    return _about_user(system, system.listing, job_name)


def _about_user(system: BatchSystem, line: Line, job_name: str) -> Command:
    return Command(
        argv=filled_words(line, {"user": job_environment.account(), "name": job_name}), without=system.ignored
    )


def parse_search(system: BatchSystem, output: str, script: Path, besides: Iterable[str] = ()) -> str | None:
    """Return the id of the job with this script in what `search_command` gives; None if there is none, or several.

    besides: ids of jobs with this script that are known already
    """
    if system.search is None:
        return None
    rows = {
        match["id"]
        for match in re.finditer(system.search.row, output, re.MULTILINE)
        if f"{script.parent}/" in re.sub(r"\n\s*", "", match[0])
    }
    rows -= set(match_ids(system, [*besides], {row: row for row in rows}).values())
    return rows.pop() if len(rows) == 1 else None


def at_destination(system: BatchSystem, command: Command, where: Sequence[str], besides: Sequence[str] = ()) -> Command:
    """Return a command that is about jobs which were submitted at a destination.

    besides: words that the command has already
    """
    pairs = [(destination, value) for destination, value in zip(system.destinations, where, strict=False) if value]
    asked = [
        filled_words(destination.words, {"where": value})
        for destination, value in pairs
        if destination.words and not option_value(besides, destination.options)
    ]
    assignments = [value for destination, value in pairs if destination.assigns]
    return command.further([word for words in asked for word in words]).within(assignments)


def cancel_command(
    system: BatchSystem, job_ids: Sequence[str], where: Sequence[str] = (), further: Sequence[str] = ()
) -> Command:
    """Return how to cancel jobs that were submitted at one destination; further: words of the user's."""
    command = Command(argv=filled_words(system.cancel, _about(job_ids)), without=system.ignored)
    return at_destination(system, command.further(further), where, further)


def cancel_commands(system: BatchSystem, jobs: Iterable[JobId], further: Sequence[str] = ()) -> list[Command]:
    """Return the commands that cancel jobs: as few as can be, one for each destination at least."""
    return [
        cancel_command(system, ids[start : start + _BATCH], where, further)
        for where, ids in by_destination(jobs).items()
        for start in range(0, len(ids), _BATCH)
    ]


def step_command(
    system: BatchSystem, job: JobId, host: str, nodes: Sequence[str], program: Sequence[str]
) -> Command | None:
    """Return how to run a program in a job, on one of its nodes; None if the system cannot be asked for that."""
    if not system.step:
        return None
    index = nodes.index(host) if host in nodes else 0
    words = filled_words(system.step, {"id": job.id, "host": host.partition(".")[0], "index": index})
    without = "|".join(filter(None, (system.ignored, system.outer)))
    command = at_destination(system, Command(argv=words, without=without), job.where)
    return dataclasses.replace(command, argv=(*command.argv, *program))


def query_commands(
    system: BatchSystem, query: Query, job_ids: Sequence[str], where: Sequence[str] = ()
) -> list[Command]:
    """Return the commands that ask about these jobs: one, unless the system can only be asked for each."""
    about = [_about(job_ids)]
    if {"id", "base"} & named([query.command]):
        about = [{"id": each, "base": re.split(r"[.\[_]", each)[0], **_about([each])} for each in job_ids]
    commands = (Command(argv=filled_words(query.command, fields), without=system.ignored) for fields in about)
    here = () if any(where) else query.here
    return [at_destination(system, command.further(here), where) for command in commands]


def parse_answer(system: BatchSystem, query: Query, output: str) -> tuple[dict[str, Report], str]:
    """Return job id -> report for every job in the output of one of the queries, and what it says besides.

    Of several reports on one job, such as on each of its executions, one that it has not ended counts; else the
    last one. A row that was cut off before its state counts as said besides; what the query declares does not.
    """
    found: dict[str, Report] = {}

    def read(row: re.Match[str]) -> str:
        said = _said(query, row)
        if query.tells_state and not said.get("state", "").strip():
            return row[0]
        for report in _reports(system, said, ended=query == system.history):
            if report.id not in found or found[report.id].state.ended or not report.state.ended:
                found[report.id] = report
        return ""

    text = re.sub(query.folded, "", output) if query.folded else output
    rest = re.sub(query.row, read, text, flags=re.MULTILINE)
    return found, re.sub(query.besides, "", rest, flags=re.MULTILINE) if query.besides else rest


#: What commands say of a server that they did not reach, maybe beside jobs that another one does not know.
_NO_CONTACT = re.compile(
    r"(?i)(can ?not|can.t|could not|unable to|failed to) (connect|contact|reach|open connection|fetch)"
    r"|connection (refused|reset|lost|timed out)|lost connection|no route to host|timed out|not responding"
)


def complains(absent: str | None, status: int, said: str) -> bool:
    """Whether an answer says more than what it says of jobs, so that a job that it does not list may be there.

    absent: as in `Query`
    status: the command's exit status
    said:   what it has printed besides, on stdout and on stderr
    """
    if _NO_CONTACT.search(said):
        return True
    if absent is not None and re.search(absent, said):
        return False
    return status != 0 or bool(said.strip())


def match_ids(system: BatchSystem, job_ids: Sequence[str], reports: Mapping[str, T]) -> dict[str, T]:
    """Return job id -> report, or what else is told of each job, by the ids as they were asked for.

    The answer may spell them in another way.
    """
    found = {each: reports[each] for each in job_ids if each in reports}
    for spelling in system.spellings:
        asked, told = (_spelt_as(spelling, [*ids]) for ids in (job_ids, reports))
        for key, (each, *more) in asked.items():
            if each not in found and not more and len(told.get(key, ())) == 1:
                found[each] = reports[told[key][0]]
    return found


def _said(query: Query, match: re.Match[str]) -> dict[str, str]:
    """Return what a row says by the names of its groups."""
    said = {name: text for name, text in match.groupdict().items() if text}
    for name, pattern in query.more.items():
        inner = re.search(pattern, match[0], re.MULTILINE)
        if inner and (text := inner[inner.lastindex or 0]):
            said[name] = text
    return said


def _reports(system: BatchSystem, said: Mapping[str, str], *, ended: bool) -> list[Report]:
    """Return what a row says of a job, or of each of the elements of an array for which it stands."""
    report = _report(system, said, ended=ended)
    if system.workers is None or "indices" not in said:
        return [report]
    ids = [system.workers.element_id(report.id, index) for index in _indices(said["indices"])]
    return [dataclasses.replace(report, id=each) for each in ids]


def _indices(text: str) -> list[int]:
    """Return the numbers of a list such as 1-3,7 or 1-9:2; what was cut off is left out."""
    found: list[int] = []
    for first, last, step in re.findall(r"(\d+)(?:-(\d+)(?::(\d+))?)?", text):
        found += range(int(first), int(last or first) + 1, max(1, int(step or 1)))
    return found


def _report(system: BatchSystem, said: Mapping[str, str], *, ended: bool) -> Report:
    native = system.whole(said.get("state", "").strip(), ended=ended)
    state = system.state(native)
    status = _exit_status(said)
    if state is JobState.DONE and int(said.get("exit", 0)) < 0:
        state = JobState.FAILED
    reason = " ".join(said.get("reason", "").split())
    if state is JobState.PENDING and system.held is not None and re.search(system.held, reason):
        state = JobState.HELD
    if state.ended:
        state = system.ending(state, native, reason, status)
    job_id = said["id"]
    if system.workers is not None and said.get("index", "0") != "0":
        job_id = system.workers.element_id(job_id, int(said["index"]))
    return Report(
        id=job_id,
        state=state,
        native=native,
        reason=None if reason.lower() in ("", "none", "null", "(null)", "-", "undefined") else reason,
        start=_time(said.get("start", "")),
        exit_status=status,
        restarts=_restarts(said),
        lost=said.get("lost", ""),
    )


def _about(job_ids: Sequence[str]) -> dict[str, object]:
    return {"ids": job_ids, "id_list": ",".join(job_ids), "user": job_environment.account()}


def _spelt_as(spelling: str, ids: Sequence[str]) -> dict[str, list[str]]:
    """Return what counts of ids -> the ids of which it is that."""
    found: dict[str, list[str]] = {}
    for each in ids:
        if match := re.match(spelling, each):
            found.setdefault(match[1], []).append(each)
    return found


def _restarts(said: Mapping[str, str]) -> int | None:
    if "starts" in said:
        return max(0, int(said["starts"]) - 1)
    return int(said["restarts"]) if "restarts" in said else None


def _exit_status(said: Mapping[str, str]) -> int | None:
    if "wait" in said:
        status = os.waitstatus_to_exitcode(int(said["wait"]))
        return 128 - status if status < 0 else status
    if said.get("signal", "0") != "0":
        return 128 + int(said["signal"])
    if "exit" not in said or int(said["exit"]) < 0:
        return None
    status = int(said["exit"])
    return status if status <= 255 else status - 256 + 128


def _time(text: str) -> str | None:
    """Return a time that a system tells, as ISO 8601 in local time; None if it tells none."""
    if text.isdigit():
        return datetime.fromtimestamp(int(text)).isoformat() if int(text) else None  # noqa: DTZ006 - local time
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text).isoformat()
    now = datetime.now()  # noqa: DTZ005 - local time
    years = [now.year - 1, now.year, now.year + 1]
    known = [time for time in (_spelt(text), *(_spelt(f"{text} {year}") for year in years)) if time is not None]
    return min(known, key=lambda time: abs(time - now)).isoformat() if known else None


def _spelt(text: str) -> datetime | None:
    """Return a time such as 'Fri Nov 20 16:27:22 2026' or 'Nov 20 16:27 2026'."""
    for form in ("%a %b %d %H:%M:%S %Y", "%b %d %H:%M:%S %Y", "%b %d %H:%M %Y"):
        with contextlib.suppress(ValueError):
            return datetime.strptime(text, form)  # noqa: DTZ007 - local time
    return None
