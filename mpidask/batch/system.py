"""What a batch system is: the facts in which it differs, and what follows from them (pure).

Nothing here runs a command: `mpidask.batch.commands` does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import os
import pwd
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from mpidask.batch.job import Job
from mpidask.batch.job_script import wrapper
from mpidask.batch.launchers import RANK_VARIABLES
from mpidask.batch.template import Line, fill, kept, named
from mpidask.errors import UsageError

__all__ = ["NEVER", "BatchSystem", "Command", "JobId", "JobState", "Place", "Query", "Report", "Workers", "by_place"]

T = TypeVar("T")

_BATCH = 200  # job ids on one command line


#: What the plain words of a reason end with if the job waits in vain.
NEVER = "it will never start"


class JobState(enum.Enum):
    """What became of a job, in the words of every batch system."""

    PENDING = "pending"
    HELD = "held"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def ended(self) -> bool:
        """Whether the job will not run any more."""
        return self is JobState.DONE or self.ended_badly

    @property
    def ended_badly(self) -> bool:
        """Whether the job has ended without doing all its work."""
        return self in (JobState.FAILED, JobState.CANCELLED)

    @classmethod
    def after(cls, words: str | None) -> JobState:
        """Return the state of a job that has ended badly, for why: plain words as in `BatchSystem.reasons`."""
        return cls.CANCELLED if words is not None and words.startswith("cancelled") else cls.FAILED


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A command to run.

    stdin:   what it reads; None for nothing
    without: regular expression: environment variables with such names are kept from it
    """

    argv: tuple[str, ...]
    stdin: str | None = None
    without: str | None = None

    @classmethod
    def parse(cls, line: str) -> Command:
        """Return the command of a command line."""
        return cls(argv=tuple(shlex.split(line)))

    @property
    def program(self) -> str:
        """The program that it runs, past `env` and what that sets."""
        return self.argv[self._at]

    @property
    def _at(self) -> int:
        return next(i for i, word in enumerate(self.argv) if word != "env" and "=" not in word)

    def further(self, words: Sequence[str]) -> Command:
        """Return the command with further words right after its name."""
        after = self._at + 1
        return dataclasses.replace(self, argv=(*self.argv[:after], *words, *self.argv[after:]))


@dataclasses.dataclass(frozen=True, order=True, slots=True)
class JobId:
    """Which job is meant: a batch system's number, and where it counts.

    id:    as the batch system's commands take it
    where: what each of the system's `places` was when the job was submitted, "" for what the commands take by
           themselves; () if that is so of all
    """

    id: str
    where: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "@".join([self.id, *filter(None, self.where)])

    @classmethod
    def from_json(cls, job_id: str, where: object = ()) -> JobId:
        """Return a job from what a file tells of it; without a list of places it was submitted here."""
        return cls(job_id, tuple(map(str, where)) if isinstance(where, list) else ())


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A choice of where jobs are submitted: a cluster, a queue's daemon. Questions and cancellations name it, too.

    words:     that name it to all commands; {where}
    options:   of the submit command, or of option lines, that choose it
    variables: environment variables that choose it, unless the submit command does
    printed:   regular expression; its first group that matches in what submit prints is the place
    """

    words: str
    options: tuple[str, ...]
    variables: tuple[str, ...] = ()
    printed: str | None = None

    def chosen(self, argv: Sequence[str], lines: Sequence[str], environ: Mapping[str, str], output: str) -> str:
        """Return the place that a submission has chosen, "" for none.

        argv:   the submit command
        lines:  the option lines of the job script
        output: what the submit command has printed
        """
        found = re.findall(self.printed, output, re.MULTILINE) if self.printed else []
        told = ["".join(each) for each in found]
        inline = [word for line in lines for word in _line_words(line)]
        named = [_option(argv, self.options), *map(environ.get, self.variables), _option(inline, self.options)]
        return next(filter(None, [*told[-1:], *named]), "")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What a batch system says of one job.

    native:      the system's own word for the state
    reason:      why the job waits, or how it ended, in the system's words; None if it does not say
    start:       when it started or is expected to; ISO 8601 in local time, None if it does not say
    exit_status: 128 + n for signal n; None if it does not say
    restarts:    how often it was started again; None if it does not say
    """

    id: str
    state: JobState
    native: str = ""
    reason: str | None = None
    start: str | None = None
    exit_status: int | None = None
    restarts: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A command that tells about jobs, and how to read its output.

    command: fields {ids} (separated by blanks), {id_list} (by commas), {user}; with {id} it is run once for each job,
             with {base} too, which of a job array's element is the array's id
    row:     a regular expression that matches all that is said of one job; searched with MULTILINE
    more:    regular expressions searched within a row; their last group counts
    folded:  regular expression of what a line that is too long is folded with; it is taken out before the search
    absent:  regular expression in what a command prints about jobs that it does not know (any more)
    here:    further words where the job was submitted to no place of choice
    Named groups of `row` and keys of `more`, all optional but id: id, index (the element's of a job array; 0 is none),
    state, reason, start, restarts (or starts: that and one);
    exit (a status; above 255 it is 256 + a signal, below 0 no status but a failure), signal (0 is
    none), wait (what wait(2) gives).
    """

    command: Line
    row: str
    more: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folded: str = ""
    absent: str | None = None
    here: tuple[str, ...] = ()

    @property
    def names_jobs(self) -> bool:
        """Whether it asks for jobs by their ids: then what is not in the answer is not there."""
        return bool({"id", "base", "ids", "id_list"} & named([self.command]))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Workers:
    """Per-worker jobs: the facts that go beyond those of a job. Option lines are as dask-jobqueue writes them.

    options:       the option lines; fields are the keywords of the cluster, and {logs} (a directory), {log_id},
                   {shell}, {tasks} (1, unless a job has several ranks), {ranks_per_node}, {several_nodes} (only then),
                   {count} (of a job array), {cores}, {memory} (of a node), {slots}, {job_memory} (in all)
    resource_spec: what {resource_spec} is if the user does not say
    index:         the number of a job array's element, from 1, in the job script; None if the system has no arrays
    element:       the element's job id; where the array's own id has [] the number is put in there
    log_id:        what the system replaces by the job's id in a file name; array_log_id: in that of an element
    walltime:      what one and what two numbers mean: hours, minutes, seconds by their first letters
    """

    options: tuple[Line, ...]
    resource_spec: Line | None = None
    index: str | None = None
    element: str = "{id}[{index}]"
    log_id: str = ""
    array_log_id: str = ""
    walltime: tuple[str, str] = ("s", "ms")

    def element_id(self, array_id: str, index: int) -> str:
        """Return the job id of an element of a job array."""
        if "[]" in array_id:
            return array_id.replace("[]", f"[{index}]")
        return self.element.format(id=array_id, index=index)


#: A service that was slow to answer may have done what it was asked to do.
_UNCLEAR = (
    r"(?i)tim(e|ed)[ -]?out|connection (reset|closed|aborted)|broken pipe|"
    r"(communication|protocol) (error|failure)|end of file|no reply"
)

#: Which fields of a line carry what a job can ask for: any one of them passes it on.
CARRIERS = {
    "nodes": {"nodes", "ranks", "cores"},
    "ranks_per_node": {"ranks_per_node", "ranks", "cores_per_node", "cores"},
    "cores_per_rank": {"cores_per_rank", "cores_per_node", "cores"},
    "gpus_per_rank": {"gpus_per_rank", "gpus_per_node"},
    "memory_per_node": {"memory_per_node", "memory"},
    "queue": {"queue"},
    "account": {"account"},
    "walltime": {"walltime"},
    "parallel_environment": {"parallel_environment"},
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BatchSystem:
    """The facts of one batch system. Lines may name the fields of `Job` and `Resources`; see `batch.fields`.

    name:      as users type it
    title:     as its makers write it
    detect:    a command that succeeds where the system answers; "" if that is not to be tried
    detected:  regular expression that its output contains
    directive: the mark of an option line in the job script. None: options are no part of the script but what the
               submit command reads on stdin; they may name {script}, {output} and {directory}
    options:   the option lines; {output} is the file for what the system itself prints
    outer:     regular expression: environment variables that a job of this system has, or that change how its commands
               answer. Those of a job that submits another one reach neither the submit command nor the new job
    stale:     the same for variables that a new job does not set anew, and that the job script so removes: names as a
               regular expression -> the field that the job must ask for, "" for any job
    variables: environment variable -> the options whose place it would take, although they stand in the script
    several:   regular expression in an option of the user's that makes several jobs of one, or has the submit command
               wait -> what to do instead
    shape:     the same for options that say what mpidask says by itself, of jobs that it submits as one
    time_option: regular expression in an option that sets the walltime: among several the last one counts. "" if the
               walltime is no option
    name_limit: characters that a job's name may have
    signal:    the option for a signal (USR1, to the job script) {lead} ahead of the walltime
    submit:    {script} is the job script's path; without it the script goes to stdin
    job_id:    regular expression for what submit prints of a job that it has taken, searched with MULTILINE; in the
               last match the group that took part is the job's id
    search:    tells about the user's jobs, whose ids are not known: a row is a job's if it has the path of its script
               or of a file in its run directory; fields {user}, {name}
    unclear:   regular expression in what a failing submit prints if the job may have been taken nevertheless
    cancel:    {ids}
    status:    tells about all jobs that wait or run
    explain:   tells why a job waits, where `status` does not
    missed:    tells about jobs by their ids, where `status` is a list that has not shown them
    history:   tells about jobs that have ended, where `status` does not
    places:    the choices of where jobs are submitted
    spellings: regular expressions of a job id, strict ones first: ids whose first groups are the same mean one job
    execution: shell expression: how often the job has been started again
    preempting: shell command that succeeds while the job is told to make room for another and has not been ended yet
    grace:     shell expression: s between the two
    preempted: regular expression in what the system prints about a job that makes room for another
    ignored:   regular expression: environment variables that change what commands ask for or print
    states:    the system's words for each state
    held:      regular expression in the reason of a job that waits because it is held
    printed:   regular expression of a line that the system itself prints into a job's output when it ends it
    reasons:   regular expression in a reason or state -> plain words; "" if it says nothing. Words that begin with
               `cancelled` mean that somebody has cancelled the job: it did not fail. Words that end with `NEVER` mean
               that it waits in vain
    refusals:  regular expression in what a failing submit prints -> plain words, with the remedy
    launcher:  what starts ranks if the job does not say
    launch_options: launcher -> words that it needs here, such as where the nodes are listed: openmpi, hydra
    prologue:  shell lines that a job needs
    end_time:  shell line that sets MPIDASK_END_TIME to the walltime's end where the user has given no walltime
    allots:    whether it promises each job a part of a node, so that jobs may not take more
    unsupported: what this system cannot be asked for -> what to do instead
    workers:   per-worker jobs
    """

    name: str
    title: str
    detect: str = ""
    detected: str = ""
    directive: str | None
    options: tuple[Line, ...]
    outer: str = ""
    stale: Mapping[str, str] = dataclasses.field(default_factory=dict)
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    several: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shape: Mapping[str, str] = dataclasses.field(default_factory=dict)
    time_option: str = ""
    name_limit: int | None = None
    signal: tuple[Line, ...] = ()
    submit: Line
    job_id: str
    search: Query | None = None
    unclear: str = _UNCLEAR
    cancel: Line
    status: Query
    explain: Query | None = None
    missed: Query | None = None
    history: Query | None = None
    places: tuple[Place, ...] = ()
    spellings: tuple[str, ...] = ()
    execution: str | None = None
    preempting: str | None = None
    grace: str | None = None
    preempted: str | None = None
    ignored: str | None = None
    states: Mapping[JobState, str]
    held: str | None = None
    printed: str | None = None
    reasons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    refusals: Mapping[str, str] = dataclasses.field(default_factory=dict)
    launcher: str = "mpiexec"
    launch_options: Mapping[str, str] = dataclasses.field(default_factory=dict)
    prologue: tuple[str, ...] = ()
    end_time: str | None = None
    allots: bool = True
    unsupported: Mapping[str, str] = dataclasses.field(default_factory=dict)
    workers: Workers | None = None

    def script(self, job: Job) -> str:
        """Return the job script; raises UsageError if the job asks for what no option carries."""
        marked = [] if self.directive is None else [f"{self.directive} {each}" for each in self._options(job, None)]
        return wrapper(job, self.fields(job), marked, self)

    def description(self, job: Job) -> list[str]:
        """Return the options of a system that does not read them from the script; raises UsageError like `script`."""
        return self._options(job, Path("job.sh"))

    def submit_command(self, job: Job, script: Path) -> Command:
        """Return how to submit a job whose script has been written to `script`; raises UsageError like `script`."""
        fields = self.fields(job, script)
        if self.directive is None:
            return self.submit_command_of("\n".join([*self._options(job, script), ""]), fields)
        return self.submit_command_of("" if "script" in named([self.submit]) else self.script(job), fields)

    def submit_command_of(self, text: str, fields: Mapping[str, object]) -> Command:
        """Return how to submit what is written in the file {script} and, for systems that read stdin, is `text`."""
        reads = self.directive is None or "script" not in named([self.submit])
        return Command(argv=_words(self.submit, fields), stdin=text if reads else None)

    def parse_job_id(self, output: str) -> str | None:
        """Return the new job's id from what the submit command printed; None if there is none.

        The last line that has the form of an answer counts: sites print of their own before it.
        """
        matches = list(re.finditer(self.job_id, output, re.MULTILINE))
        return matches[-1][matches[-1].lastindex or 0] if matches else None

    def excluded_variables(self, text: str) -> str:
        """Return a regular expression: variables that are kept from the command that submits a job.

        text: the job script, or what the submit command reads
        """
        asked = option_words(text, self.directive)
        replaced = [name for name, options in self.variables.items() if _given(options.split(), asked)]
        return "|".join(filter(None, [RANK_VARIABLES, self.outer, *replaced]))

    def options_from_environment(self, text: str, environ: Mapping[str, str]) -> list[str]:
        """Return what the environment adds to a job's options, in words: 'partition debug, from SBATCH_PARTITION'."""
        excluded = self.excluded_variables(text)
        there = [name for name in self.variables if environ.get(name) and not re.fullmatch(excluded, name)]
        return [f"{self.variables[name].split()[-1].lstrip('-')} {environ[name]}, from {name}" for name in there]

    def search_command(self, job_name: str, where: Sequence[str] = ()) -> Command | None:
        """Return how to ask about all jobs of the user at one place; None if the system cannot be asked."""
        if self.search is None:
            return None
        words = _words(self.search.command, {"user": _user(), "name": job_name})
        return Command(argv=words, without=self.ignored).further(self.place_words(where))

    def parse_search(self, output: str, script: Path, besides: Iterable[str] = ()) -> str | None:
        """Return the id of the job with this script in what `search_command` gives; None if there is none, or several.

        besides: ids of jobs with this script that are known already
        """
        if self.search is None:
            return None
        rows = {
            match["id"]
            for match in re.finditer(self.search.row, output, re.MULTILINE)
            if f"{script.parent}/" in re.sub(r"\n\s*", "", match[0])
        }
        rows -= set(self.match_ids([*besides], {row: row for row in rows}).values())
        return rows.pop() if len(rows) == 1 else None

    @property
    def runs_again(self) -> bool:
        """Whether it tells how often it has started a job: it may do so more than once."""
        query = self.status
        return "(?P<restarts>" in query.row or bool({"restarts", "starts"} & set(query.more))

    def where(self, command: Command, script: str, environ: Mapping[str, str], output: str) -> tuple[str, ...]:
        """Return where a job was submitted: what each of `places` was; () if nothing has chosen any.

        command: the submit command; script: the job script's text; output: what the command has printed
        """
        lines = [] if self.directive is None else _marked(script, self.directive)
        chosen = [place.chosen(command.argv, lines, environ, output) for place in self.places]
        return tuple(chosen) if any(chosen) else ()

    def place_words(self, where: Sequence[str], besides: Sequence[str] = ()) -> list[str]:
        """Return the words with which a command names where jobs were submitted.

        besides: words that the command has already
        """
        pairs = [(place, value) for place, value in zip(self.places, where, strict=False) if value]
        asked = [_words(place.words, {"where": value}) for place, value in pairs if not _option(besides, place.options)]
        return [word for words in asked for word in words]

    def cancel_command(self, job_ids: Sequence[str], where: Sequence[str] = (), further: Sequence[str] = ()) -> Command:
        """Return how to cancel jobs that were submitted at one place; further: words of the user's."""
        command = Command(argv=_words(self.cancel, _about(job_ids)), without=self.ignored)
        return command.further([*self.place_words(where, further), *further])

    def cancel_commands(self, jobs: Iterable[JobId], further: Sequence[str] = ()) -> list[Command]:
        """Return the commands that cancel jobs: as few as can be, one for each place at least."""
        return [
            self.cancel_command(ids[start : start + _BATCH], where, further)
            for where, ids in by_place(jobs).items()
            for start in range(0, len(ids), _BATCH)
        ]

    def query_commands(self, query: Query, job_ids: Sequence[str], where: Sequence[str] = ()) -> list[Command]:
        """Return the commands that ask about these jobs: one, unless the system can only be asked for each."""
        about = [_about(job_ids)]
        if {"id", "base"} & named([query.command]):
            about = [{"id": each, "base": re.split(r"[.\[_]", each)[0], **_about([each])} for each in job_ids]
        commands = (Command(argv=_words(query.command, fields), without=self.ignored) for fields in about)
        words = self.place_words(where) or query.here
        return [command.further(words) for command in commands]

    def parse_reports(self, query: Query, output: str) -> dict[str, Report]:
        """Return job id -> report for every job in the output of one of the queries.

        Of several reports on one job, such as on each of its executions, one that it has not ended counts; else the
        last one.
        """
        found: dict[str, Report] = {}
        text = re.sub(query.folded, "", output) if query.folded else output
        for match in re.finditer(query.row, text, re.MULTILINE):
            report = self._report(query, match)
            if report.id not in found or found[report.id].state.ended or not report.state.ended:
                found[report.id] = report
        return found

    def match_ids(self, job_ids: Sequence[str], reports: Mapping[str, T]) -> dict[str, T]:
        """Return job id -> report, or what else is told of each job, by the ids as they were asked for.

        The answer may spell them in another way.
        """
        found = {each: reports[each] for each in job_ids if each in reports}
        for spelling in self.spellings:
            asked, told = (_spelt_as(spelling, [*ids]) for ids in (job_ids, reports))
            for key, (each, *more) in asked.items():
                if each not in found and not more and len(told.get(key, ())) == 1:
                    found[each] = reports[told[key][0]]
        return found

    def _report(self, query: Query, match: re.Match[str]) -> Report:
        said = {name: text for name, text in match.groupdict().items() if text}
        for name, pattern in query.more.items():
            inner = re.search(pattern, match[0], re.MULTILINE)
            if inner and (text := inner[inner.lastindex or 0]):
                said[name] = text
        native = said.get("state", "").strip()
        state = self.state(native)
        status = _exit_status(said)
        if state is JobState.DONE and int(said.get("exit", 0)) < 0:
            state = JobState.FAILED
        reason = " ".join(said.get("reason", "").split())
        if state is JobState.PENDING and self.held is not None and re.search(self.held, reason):
            state = JobState.HELD
        if state.ended:
            state = self.ending(state, native, reason, status)
        job_id = said["id"]
        if self.workers is not None and said.get("index", "0") != "0":
            job_id = self.workers.element_id(job_id, int(said["index"]))
        return Report(
            id=job_id,
            state=state,
            native=native,
            reason=None if reason.lower() in ("", "none", "null", "(null)", "-", "undefined") else reason,
            start=_time(said.get("start", "")),
            exit_status=status,
            restarts=_restarts(said),
        )

    def state(self, native: str) -> JobState:
        """Return the state for the system's own word; UNKNOWN for one that is not declared."""
        known = (state for state, natives in self.states.items() if native in natives.split())
        return next(known, JobState.UNKNOWN)

    def ending(self, state: JobState, native: str, reason: str | None, status: int | None) -> JobState:
        """Return the state of a job that has ended: some systems tell only in the reason that it was cancelled."""
        words = self.cause(native, reason)
        cancelled = JobState.after(words) is JobState.CANCELLED
        if state is JobState.DONE:
            return JobState.CANCELLED if cancelled and status != 0 else state
        return state if words is None else JobState.after(words)

    def cause(self, *said: str | None) -> str | None:
        """Return the plain words that are declared for something said; None if none are."""
        for text in filter(None, said):
            words = self.plain(text)
            if words and words != text:
                return words
        return None

    def printed_words(self, log: str) -> list[str]:
        """Return the lines of a job's output that are the batch system's own, the last one first."""
        return [] if self.printed is None else re.findall(self.printed, log, re.MULTILINE)[::-1]

    def plain(self, *said: str | None) -> str | None:
        """Return plain words for what the system says; the first that is said counts, None for nothing said."""
        for text in filter(None, said):
            for pattern, words in self.reasons.items():
                if re.search(pattern, text):
                    return words
        return next(filter(None, said), None)

    def refusal(self, output: str) -> str | None:
        """Return in plain words why a submission was refused, None if that is not known."""
        known = (words for pattern, words in self.refusals.items() if re.search(pattern, output))
        return next(known, None)

    def missing(self, job: Job) -> list[str]:
        """Return what a job asks for and no option of this system carries."""
        lines = kept([*self.options, self.submit], {**self.fields(job), "script": ""})
        carried = named(lines)
        return [field for field, carriers in CARRIERS.items() if job.asks(field) and not carriers & carried]

    def allotted(self, job: Job) -> dict[str, int | None]:
        """Return what a job asks for of each node: field of `Resources` -> number; none where nothing is promised."""
        wanted = {"cores_per_node": "cores_per_rank", "memory_per_node": "memory_per_node"}
        carried = named([*self.options, self.submit]) if self.allots else set()
        return {name: getattr(job.resources, name) for name, field in wanted.items() if CARRIERS[field] & carried}

    def _options(self, job: Job, script: Path | None) -> list[str]:
        lost = self.missing(job)
        if lost and not job.directives:
            remedies = [self.unsupported[field] for field in lost if field in self.unsupported]
            raise UsageError(
                f"{self.title} has no option for {', '.join(lost)}",
                "; ".join(dict.fromkeys(remedies)) or "leave it out, or ask for it with --directive (Job.directives)",
            )
        lines = (*self.options, *self.signal)
        return [
            *fill(lines, self.fields(job, script)),
            *self.directives(job.directives, {**self.several, **self.shape}),
        ]

    def directives(self, given: Sequence[str], refused: Mapping[str, str]) -> list[str]:
        """Return options of the user's, without a mark that was pasted along; raises UsageError for `refused` ones.

        refused: regular expression -> what to do instead
        """
        mark = self.directive or ""
        found = []
        for text in given:
            option = re.sub(rf"^\s*{re.escape(mark)}(?=[\s-])\s*", "", text) if mark else text
            if "\n" in option or (mark and option.lstrip().startswith("#")):
                raise UsageError(f"{text!r} is no option of {self.title}", "give one option, without '#'")
            for pattern, remedy in refused.items():
                if re.search(pattern, option):
                    raise UsageError(f"{self.title}'s option {option!r} cannot be taken as it stands", remedy)
            found.append(option)
        return found

    def fields(self, job: Job, script: Path | None = None) -> dict[str, object]:
        """Return what lines may name."""
        resources = job.resources
        directory = job.run_directory
        return {
            **{field.name: getattr(resources, field.name) for field in dataclasses.fields(resources)},
            **{name: getattr(resources, name) for name in _DERIVED},
            **{field.name: getattr(job, field.name) for field in dataclasses.fields(job)},
            **{f"{launcher}_options": self.launch_options.get(launcher) for launcher in ("openmpi", "hydra")},
            "name": job.name[: self.name_limit],
            "mpiexec": shlex.quote(job.mpiexec),
            "lead": job.lead,
            "script": script,
            "output": directory / "system.log" if directory else None,
            "directory": os.getcwd(),
        }


def by_place(jobs: Iterable[JobId]) -> dict[tuple[str, ...], list[str]]:
    """Return place -> ids of the jobs that were submitted there."""
    places: dict[tuple[str, ...], list[str]] = {}
    for job in jobs:
        places.setdefault(job.where, []).append(job.id)
    return places


_DERIVED = ("ranks", "cores", "cores_per_node", "gpus_per_node", "memory")


def option_words(text: str, mark: str | None) -> list[str]:
    """Return the words of the option lines in a job script; all the text's without a mark."""
    lines = text.splitlines() if mark is None else _marked(text, mark)
    return [word for line in lines for word in _line_words(line)]


def _given(options: Sequence[str], words: Sequence[str]) -> bool:
    """Whether one of the options is among words: --time=1, --time 1, -t 1, -t1."""
    short = [option for option in options if re.fullmatch(r"-\w", option)]
    return any(
        word.split("=")[0] in options or any(word.startswith(option) for option in short if word[:2] != "--")
        for word in words
    )


def _about(job_ids: Sequence[str]) -> dict[str, object]:
    return {"ids": job_ids, "id_list": ",".join(job_ids), "user": _user()}


def _user() -> str:
    """Return the name of the account that runs this: LOGNAME may tell of another one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _marked(script: str, mark: str) -> list[str]:
    """Return the option lines of a job script, without their mark: those ahead of its first command."""
    lines: list[str] = []
    for line in script.splitlines():
        if line.startswith(mark):
            lines.append(line.removeprefix(mark))
        elif line.strip() and not line.startswith("#"):
            break
    return lines


def _line_words(line: str) -> list[str]:
    with contextlib.suppress(ValueError):  # a quotation that does not end
        return shlex.split(line, comments=True)
    return line.split()


def _option(words: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the value of the first of these options among words: `--name value`, `--name=value`, `-nvalue`."""
    for word, following in zip(words, [*words[1:], None], strict=False):
        for name in names:
            if word == name:
                return following
            if word.startswith(f"{name}=") and name.startswith("--"):
                return word.removeprefix(f"{name}=")
            if len(name) == len("-x") and word.startswith(name):
                return word.removeprefix(name)
    return None


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


def _words(line: Line, fields: Mapping[str, object]) -> tuple[str, ...]:
    """Return a line's words; what is filled in stays one word, a list as many."""
    quoted = {name: _quoted(value) for name, value in fields.items()}
    return tuple(word for text in fill([line], quoted) for word in shlex.split(text))


def _quoted(value: object) -> object:
    if isinstance(value, str | Path):
        return shlex.quote(str(value))
    return shlex.join(value) if isinstance(value, Iterable) else value


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
