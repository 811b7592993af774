"""What a batch system is: the facts in which it differs (pure)."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from mpidask.batch.commands.command import line_words, option_value
from mpidask.batch.job_state import JobState
from mpidask.batch.template import Line, named

__all__ = ["Accounting", "BatchSystem", "Destination", "Query", "Workers"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A choice of where jobs are submitted: a cluster, a queue's daemon. Questions and cancellations name it, too.

    words:     that name it to all commands; {where}
    assigns:   environment variable that names it to all commands, in place of words
    options:   of the submit command, or of option lines, that choose it
    variables: environment variables that choose it, unless the submit command does
    printed:   regular expression; its first group that matches in what submit prints is the destination
    """

    words: str = ""
    assigns: str = ""
    options: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    printed: str | None = None

    def chosen(self, argv: Sequence[str], lines: Sequence[str], environ: Mapping[str, str], output: str) -> str:
        """Return the destination that a submission has chosen, "" for none; NAME=VALUE where a variable names it.

        argv:   the submit command
        lines:  the option lines of the job script
        output: what the submit command has printed
        """
        found = re.findall(self.printed, output, re.MULTILINE) if self.printed else []
        told = ["".join(each) for each in found]
        inline = [word for line in lines for word in line_words(line)]
        named = [
            option_value(argv, self.options),
            *map(environ.get, self.variables),
            option_value(inline, self.options),
        ]
        where = next(filter(None, [*told[-1:], *named]), "")
        return f"{self.assigns}={where}" if where and self.assigns else where


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A command that tells about jobs, and how to read its output.

    command: fields {ids} (separated by blanks), {id_list} (by commas), {user}; with {id} it is run once for each job,
             with {base} too, which of a job array's element is the array's id
    row:     a regular expression that matches all that is said of one job; searched with MULTILINE
    more:    regular expressions searched within a row; their last group counts
    folded:  regular expression of what a line that is too long is folded with; it is taken out before the search
    absent:  regular expression in what a command prints about jobs that it does not know (any more)
    besides: regular expression of what it prints besides rows, such as a list's frame. An answer that says something
             else is no proof that a job which it does not list has ended
    here:    further words where the job was submitted to no destination of choice
    Named groups of `row` and keys of `more`, all optional but id: id, index (the element's of a job array; 0 is none),
    indices (several elements': 1-3,7 or 1-9:2), state (with + at the end of one that was cut off), reason, start,
    restarts (or starts: that and one), lost (a node that is said to be lost); exit (a status; above 255 it is 256 + a
    signal, below 0 no status but a failure), signal (0 is none), wait (what wait(2) gives).
    """

    command: Line
    row: str
    more: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folded: str = ""
    absent: str | None = None
    besides: str = ""
    here: tuple[str, ...] = ()

    @property
    def names_jobs(self) -> bool:
        """Whether it asks for jobs by their ids: then what is not in the answer is not there."""
        return bool({"id", "base", "ids", "id_list"} & named([self.command]))

    @property
    def tells_state(self) -> bool:
        """Whether all that it tells of a job has a state."""
        return "(?P<state>" in self.row or "state" in self.more


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Accounting:
    """A command that tells what a job that has ended has used, and how to read its output.

    command: fields as in `Query`
    figures: name -> regular expression, searched with MULTILINE: of all that its group matches the largest counts.
             wall and cpu (times), memory (of a rank, where the system knows that) and asked (sizes), energy (joules)
    added:   figures of which it tells parts, that are added instead
    """

    command: Line
    figures: Mapping[str, str]
    added: tuple[str, ...] = ()


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


#: https://en.wikipedia.org/wiki/ANSI_escape_code: select graphic rendition
_COLOUR = r"\x1b\[[\d;]*m"

#: A service that was slow to answer may have done what it was asked to do.
_UNCLEAR = (
    r"(?i)tim(e|ed)[ -]?out|connection (reset|closed|aborted)|broken pipe|"
    r"(communication|protocol) (error|failure)|end of file|no reply"
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class BatchSystem:
    """The facts of one batch system. Lines may name the fields in `batch.scripts.job_fields`.

    name:      as users type it
    title:     as its makers write it
    detect:    a command that succeeds where the system answers; "" if that is not to be tried
    detected:  regular expression that its output contains
    version:   a command whose first line names the version, where that of `detect` does not
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
    choices:   field of a job -> regular expression of an option of the user's that sets it; its last group is the value
    name_limit: characters that a job's name may have
    signal:    the option for a signal (USR1, to the job script) {lead} ahead of the walltime
    submit:    {script} is the job script's path; without it the script goes to stdin
    job_id:    regular expression for what submit prints of a job that it has taken, searched with MULTILINE; its
               groups are the forms of an answer, the surest one first, and each is a job's id
    search:    tells about the user's jobs, whose ids are not known: a row is a job's if it has the path of its script
               or of a file in its run directory; fields {user}, {name}
    listing:   shows the user's jobs to people, where there is no `search`; fields {user}, {name}
    unclear:   regular expression in what a failing submit prints if the job may have been taken nevertheless
    cancel:    {ids}
    step:      runs a program in a job that runs, on one of its nodes, with standard streams that lead here; {id},
               {host}, {index} (of the host among the job's nodes)
    status:    tells about all jobs that wait or run
    explain:   tells why a job waits, where `status` does not
    missed:    tells about jobs by their ids, where `status` is a list that has not shown them
    history:   tells about jobs that have ended, where `status` does not
    accounting: tells what a job has used
    down:      lists the nodes that are down: a row's id is the name that the node gives itself
    lost:      regular expression of what is printed into the output of a job that loses a node; its group is the node
    destinations:    the choices of where jobs are submitted
    spellings: regular expressions of a job id, strict ones first: ids whose first groups are the same mean one job
    execution: shell expression: how often the job has been started again
    preempting: shell command that succeeds while the job is told to make room for another and has not been ended yet
    grace:     shell expression: s between the two
    preempted: regular expression in what the system prints about a job that makes room for another
    ignored:   regular expression: environment variables that change what commands ask for or print
    states:    the system's words for each state
    held:      regular expression in the reason of a job that waits because it is held
    printed:   regular expression of a line that the system itself prints into a job's output when it ends it
    reasons:   regular expression in a reason or state -> plain words, with its groups as in re.sub; "" if it says
               nothing. Words that begin with `cancelled` mean that somebody has cancelled the job: it did not fail.
               Words that end with `NEVER` mean that it waits in vain
    refusals:  regular expression in what a failing submit prints -> plain words, with the remedy
    launcher:  what starts ranks if the job does not say
    launch_options: launcher -> words that it needs here, such as where the nodes are listed: openmpi, hydra
    prologue:  shell lines that a job needs
    end_time:  shell line that sets MPIDASK_END_TIME to the walltime's end where the user has given no walltime
    allots:    whether it promises each job a part of a node, so that jobs may not take more
    queue_list: prints the queues, each in a row
    queue_row: regular expression of such a row: name; default, which is empty for all queues but the default one
    account_of: prints the account that a user's jobs are charged to by default; {user}
    unsupported: what this system cannot be asked for -> what to do instead
    workers:   per-worker jobs
    """

    name: str
    title: str
    detect: str = ""
    detected: str = ""
    version: str = ""
    directive: str | None
    options: tuple[Line, ...]
    outer: str = ""
    stale: Mapping[str, str] = dataclasses.field(default_factory=dict)
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)
    several: Mapping[str, str] = dataclasses.field(default_factory=dict)
    shape: Mapping[str, str] = dataclasses.field(default_factory=dict)
    time_option: str = ""
    choices: Mapping[str, str] = dataclasses.field(default_factory=dict)
    name_limit: int | None = None
    signal: tuple[Line, ...] = ()
    submit: Line
    job_id: str
    search: Query | None = None
    listing: Line = ""
    unclear: str = _UNCLEAR
    cancel: Line
    step: Line = ""
    status: Query
    explain: Query | None = None
    missed: Query | None = None
    history: Query | None = None
    accounting: Accounting | None = None
    down: Query | None = None
    lost: str | None = None
    destinations: tuple[Destination, ...] = ()
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
    queue_list: Line = ""
    queue_row: str = ""
    account_of: Line = ""
    unsupported: Mapping[str, str] = dataclasses.field(default_factory=dict)
    workers: Workers | None = None

    def parse_job_id(self, output: str) -> str | None:
        """Return the new job's id from what the submit command printed; None if there is none.

        Sites print of their own around the answer, in colours, too: the surest form that occurs counts, the last time
        that it does.
        """
        matches = list(re.finditer(self.job_id, re.sub(_COLOUR, "", output), re.MULTILINE))
        surest = min((match.lastindex or 0 for match in matches), default=0)
        return next((match[surest] for match in reversed(matches) if (match.lastindex or 0) == surest), None)

    @property
    def runs_again(self) -> bool:
        """Whether it tells how often it has started a job: it may do so more than once."""
        query = self.status
        return "(?P<restarts>" in query.row or bool({"restarts", "starts"} & set(query.more))

    def state(self, native: str) -> JobState:
        """Return the state for the system's own word; UNKNOWN for one that is not declared."""
        known = (state for state, natives in self.states.items() if native in natives.split())
        return next(known, JobState.UNKNOWN)

    def whole(self, native: str, *, ended: bool) -> str:
        """Return the system's own word for a state where a narrow column has cut it off, such as OUT_OF_ME+.

        ended: whether jobs are told of that have ended: COMPLET+ is COMPLETED then, else COMPLETING
        """
        if not native.endswith("+"):
            return native
        likely = sorted(self.states, key=lambda state: state.ended != ended)
        every = (word for state in likely for word in self.states[state].split())
        return next((word for word in every if word.startswith(native[:-1])), native[:-1])

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
                if match := re.search(pattern, text):
                    return match.expand(words)
        return next(filter(None, said), None)

    def refusal(self, output: str) -> str | None:
        """Return in plain words why a submission was refused, None if that is not known."""
        known = (words for pattern, words in self.refusals.items() if re.search(pattern, output))
        return next(known, None)
