"""One batch job with workers, as Dask's cluster classes handle it."""

from __future__ import annotations

import dataclasses
import functools
import re
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from distributed.core import Status
from distributed.deploy.spec import ProcessInterface
from distributed.security import Security

from mpidask import quantities, run_directory
from mpidask.batch import registry
from mpidask.batch.command import Command
from mpidask.batch.job_state import JobId, JobState
from mpidask.batch.leases import KEY_FILES
from mpidask.batch.status import Standing
from mpidask.batch.system import BatchSystem
from mpidask.errors import ArgumentError, UsageError
from mpidask.jobqueue.jobs import hooks
from mpidask.jobqueue.jobs.keys import tls_arguments
from mpidask.jobqueue.jobs.spec import Description, Place, refuse_lost
from mpidask.jobqueue.keywords import table, values

if TYPE_CHECKING:
    from mpidask.jobqueue.jobs.dispatcher import Dispatcher

__all__ = ["Job"]

_TAIL = 20  # lines of a log that are shown


class Job(ProcessInterface):
    """A batch job whose workers join a scheduler. A class for each batch system is derived from it.

    Derived classes may set keywords as attributes or properties, and override what `mpidask.jobqueue.hooks.HONOURED`
    names.

    Parameters
    ----------
    scheduler : str, optional
        Address of the scheduler.
    name : str, optional
        Name of the worker; those of several in one job have a suffix.
    *others : Any
        Refused: dask-jobqueue's classes take further arguments by position.
    protocol : str, optional
        Dask's communication protocol.
    security : distributed.Security, optional
        Keys, as paths of files.
    config_name : str, optional
        Section of the configuration. Default: that of the batch system.
    dispatcher : Dispatcher, optional
        Submits and cancels the job. Default: one for this job alone.
    number : int, default 0
        The job's number in its cluster.
    **given : Any
        Keywords of the batch system; see the cluster classes.

    Raises
    ------
    ArgumentError
        A keyword cannot be used, or something is overridden without effect (a ValueError).

    Examples
    --------
    >>> job = SLURMJob("tls://10.0.0.1:8786", "worker-0", cores=4, memory="16GB")  # doctest: +SKIP
    >>> print(job.job_script())  # doctest: +SKIP
    """

    #: Section of the configuration, and the batch system, of classes derived from this one.
    config_name: str | None = None
    system_name: ClassVar[str | None] = None
    #: The cluster class for it, if that is not called after it.
    cluster_name: ClassVar[str | None] = None

    def __init__(  # noqa: PLR0913 - dask-jobqueue's signature, and ours
        self,
        scheduler: str | None = None,
        name: str | None = None,
        *others: Any,
        protocol: str | None = None,
        security: Security | None = None,
        config_name: str | None = None,
        dispatcher: Dispatcher | None = None,
        number: int = 0,
        **given: Any,
    ) -> None:
        super().__init__()
        hooks.refuse(type(self))
        _refuse_positions(type(self), others)
        self.config_name = config_name or self.default_config_name()
        self.name = name
        self.number = number
        self.dispatcher = dispatcher
        # What becomes of it.
        self.id = ""
        self.where: tuple[str, ...] = ()  # it was submitted: see `JobId`
        self.directory: Path | None = None
        self.submitted = 0.0
        self.unclear = False  # whether it may have been submitted, and nobody has said so
        self.standing = Standing(id="")
        self.cancelled = False
        self.arrived_at: float | None = None
        self.seen_at = 0.0  # when its workers were there last
        self.present: set[str] = set()
        self.restarts = 0  # how many have ended in whose place it is
        # What it is.
        self._assigned: _Assigned | None = None
        own = hooks.own(type(self), (*table.KEYWORDS, *hooks.HONOURED))
        settled = self._settle(own, given)
        arguments = _arguments(settled["interface"], protocol, security)
        self.description = Description(self.system, scheduler, name, self.prepared(settled), arguments)
        self._take_hooks(own)
        refuse_lost(self.description)
        logs = self.description.keywords["log_directory"]
        if not dispatcher and logs:
            Path(logs).mkdir(parents=True, exist_ok=True)

    def _settle(self, own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keywords' values; an attribute of a derived class counts where a keyword is not given."""
        kind, native = type(self), self.native_name()
        plain = {
            name: table.Found(value, f"class {kind.__name__}")
            for name, value in own.items()
            if name in table.KEYWORDS and not callable(value) and not hooks.computed(value)
        }
        settled = table.settle(native, str(self.config_name), given, _cluster_name(kind), plain)
        self._settled = dict(settled)  # what super() of a derived class's hooks tells
        for name, command in (("submit_command", self.system.submit), ("cancel_command", self.system.cancel)):
            if name in own:
                extra = f"{name}_extra"
                if extra not in settled:
                    raise ArgumentError(f"{name} of the class {kind.__name__} has no effect with {native}", "remove it")
                words = hooks.further_words(kind, name, getattr(self, name), "".join(command))
                settled[extra] = [*words, *settled[extra]]
        self._check(settled)
        self.__dict__.update({name: settled[name] for name in plain if name in settled})
        return settled

    def _take_hooks(self, own: Mapping[str, Any]) -> None:
        """Have the description say what properties and methods of a derived class say."""
        owner = f"class {type(self).__name__}"

        def said(name: str) -> Any:
            system = self.native_name()
            return table.read(table.KEYWORDS[name], system, table.Found(getattr(self, name), owner))

        names = [name for name in own if name in self._settled and hooks.computed(own[name])]
        if names:
            settled = {**self._settled, **{name: said(name) for name in names}}
            self._check(settled)
            with table.once(set()):
                self.description = dataclasses.replace(self.description, keywords=self.prepared(settled))
        changes: dict[str, Any] = {"alone": "job_script" in own}
        for name, field, kind in (
            ("worker_process_threads", "own_threads", values.COUNT),
            ("worker_process_memory", "own_memory_limit", values.SIZE),
        ):
            if name in own:
                keyword = table.Keyword(name, None, kind, "")
                found = table.Found(getattr(self, name), owner)
                changes[field] = table.read(keyword, self.native_name(), found)
        if changes.get("own_memory_limit") is not None:
            changes["own_memory_limit"] = str(changes["own_memory_limit"]).replace(" ", "")
        self.description = dataclasses.replace(self.description, **changes)
        self._own_header = "job_header" in own
        self.description = self._headed(self.description)

    def _headed(self, description: Description) -> Description:
        """Return a description with the option lines of a derived class, if it has its own."""
        if not self._own_header:
            return description
        return dataclasses.replace(description, own_header=tuple(str(self.job_header).splitlines()))

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        hooks.remember(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        hooks.refuse_assignment(type(self), name)
        super().__setattr__(name, value)

    @classmethod
    def default_config_name(cls) -> str:
        """Return the section of the configuration.

        Returns
        -------
        str
            Its name.

        Raises
        ------
        ArgumentError
            The class names none.
        """
        if cls.config_name is None:
            raise ArgumentError(
                f"no config_name is set in the class {cls.__name__}",
                "give it a class variable config_name, such as 'slurm': the section of the configuration",
            )
        return cls.config_name

    @classmethod
    def native_name(cls) -> str:
        """Return the name of the batch system.

        Returns
        -------
        str
            Such as ``"slurm"``.
        """
        return cls.system_name or cls.default_config_name()

    @property
    def system(self) -> BatchSystem:
        """The batch system's facts."""
        if self.dispatcher is not None:
            return self.dispatcher.system
        return registry.find(self.native_name())

    def prepared(self, settled: dict[str, Any]) -> Mapping[str, Any]:
        """Return the keywords as the description needs them; derived classes add what their system needs.

        Parameters
        ----------
        settled : dict
            Keyword -> value.

        Returns
        -------
        mapping
            The same, with what follows from them.
        """
        import sys

        logs = _path(settled["log_directory"], "log_directory")
        return {**settled, "python": settled["python"] or sys.executable, "log_directory": logs}

    def _check(self, settled: Mapping[str, Any]) -> None:
        if settled["cores"] is None or settled["memory"] is None:
            cores, memory = settled["cores"] or 8, settled["memory"] or "24GB"
            raise ArgumentError(
                "cores and memory of each job are needed, such as "
                f"{_cluster_name(type(self))}(cores={cores}, memory={memory!r})",
                f"or set them in the configuration, section jobqueue.{self.config_name}",
            )
        cores, processes = settled["cores"], settled["processes"]
        has_threads = hooks.own(type(self), ["worker_process_threads"])
        if processes is not None and processes > cores and not has_threads:
            raise ArgumentError(
                f"cores={cores}, processes={processes}: each worker needs a core",
                "give no more processes than cores, or set worker_process_threads in a class derived from the job's",
            )

    # What it is.

    @property
    def job_name(self) -> str:
        """The job's name for the batch system."""
        return str(self._settled["job_name"])

    @property
    def shebang(self) -> str:
        """The first line of the job script."""
        return str(self._settled["shebang"])

    @property
    def log_directory(self) -> str | None:
        """Where the batch system leaves its logs; None for the cluster's directory."""
        return self._settled["log_directory"]

    @property
    def job_extra_directives(self) -> Any:
        """Further option lines."""
        return self._settled["job_extra_directives"]

    @property
    def job_directives_skip(self) -> list[str]:
        """What generated option lines contain that are left out."""
        return self._settled["job_directives_skip"]

    @property
    def submit_command(self) -> str:
        """The submit command with the further words for it."""
        return self._command("submit")

    @property
    def cancel_command(self) -> str:
        """The cancel command with the further words for it."""
        return self._command("cancel")

    def _command(self, name: str) -> str:
        line = "".join(getattr(self.system, name))
        return shlex.join([Command.parse(line).program, *self._settled.get(f"{name}_command_extra", ())])

    @property
    def job_header(self) -> str:
        """The option lines; what is assigned replaces them."""
        if self._assigned is None:
            return self._generated_header()
        # Lines for logs are missing in what was assigned before the job had a place for them; the user's count.
        added = [line for line in self._generated_header().splitlines() if line not in self._assigned.instead_of]
        return "\n".join([*added, self._assigned.header])

    @job_header.setter
    def job_header(self, header: str) -> None:
        self._assigned = _Assigned(str(header), self._generated_header().splitlines())
        self._own_header = True
        self.description = self._headed(self.description)

    def _generated_header(self) -> str:
        return "\n".join(dataclasses.replace(self.description, own_header=None).header(self.place))

    @property
    def _command_template(self) -> str:  # where users of dask-jobqueue look for the worker's command
        return self.description.command()

    @_command_template.setter
    def _command_template(self, command: str) -> None:
        if self.description.ranks > 1:
            raise ArgumentError(
                f"_command_template is assigned to a job of {self.description.ranks} ranks, whose names it cannot have",
                "use python, worker_command and worker_extra_args",
            )
        self.description = dataclasses.replace(self.description, command_line=str(command), alone=True)

    @property
    def worker_processes(self) -> int:
        """Workers of the job."""
        return self.description.workers

    @property
    def worker_cores(self) -> int:
        """Cores of the job."""
        return self.description.cores * self.description.nodes

    @property
    def worker_memory(self) -> int:
        """Memory of the job in bytes."""
        return self.description.memory * self.description.nodes

    @property
    def worker_process_threads(self) -> int:
        """Threads of each worker."""
        return dataclasses.replace(self.description, own_threads=None).threads

    @property
    def worker_process_memory(self) -> str:
        """Memory of each worker."""
        return dataclasses.replace(self.description, own_memory_limit=None).memory_limit

    @property
    def place(self) -> Place | None:
        """Where it leaves its logs; None without a cluster."""
        directory = self.directory or (self.dispatcher.directory if self.dispatcher else None)
        return None if directory is None else Place(directory, self.number)

    def job_script(self) -> str:
        """Return the job script.

        Returns
        -------
        str
            The text of the script.
        """
        return self._render(self._headed(self.description), self.place)

    @property
    def kind(self) -> str:
        """What jobs have in common that may be submitted together."""
        stem = str(self.name).removesuffix(f"-{self.number}")  # one that has no number is nobody else's
        return f"{type(self).__name__} {stem}"

    def text(self, description: Description, place: Place) -> str:
        """Return the job script for a description; a derived class may make its own.

        Parameters
        ----------
        description : Description
            The job.
        place : Place
            Where the job leaves its logs.

        Returns
        -------
        str
            The text of the script.
        """
        return self.job_script() if description.alone else self._render(self._headed(description), place)

    def _render(self, description: Description, place: Place | None) -> str:
        """Return the job script; HTCondor's is another text."""
        return description.script(place)

    def submit_words(self, words: tuple[str, ...], script: Path) -> tuple[str, ...]:
        """Return the words of the submit command.

        Parameters
        ----------
        words : tuple of str
            The command as the batch system's file has it.
        script : Path
            The job script.

        Returns
        -------
        tuple of str
            The words to run.
        """
        return words

    def owns(self, worker: object) -> bool:
        """Return whether a worker of that name is one of the job's; names may hold variables of the node's shell.

        Parameters
        ----------
        worker : object
            Name of a worker.

        Returns
        -------
        bool
            Whether it is the job's.
        """
        pattern = re.sub(r"\\\$(\w+|\\\{\w+\\\})", ".*", re.escape(str(self.name)))
        return re.fullmatch(rf"{pattern}(-\d+)*", str(worker)) is not None

    def among(self, names: set[str]) -> set[str]:
        """Return which workers are the job's.

        Parameters
        ----------
        names : set of str
            Names of workers.

        Returns
        -------
        set of str
            Those of the job.
        """
        if "$" in str(self.name):
            return {name for name in names if self.owns(name)}
        return names & self._names

    @functools.cached_property
    def _names(self) -> set[str]:
        return set(self.worker_names)

    @property
    def worker_names(self) -> list[str]:
        """The names of its workers."""
        return [f"{self.name}{suffix}" for suffix in self.description.suffixes]

    # What becomes of it: `monitor.Watched`.

    @property
    def job_id(self) -> str | None:
        """The job id that the batch system gave; None before."""
        return self.id or None

    @property
    def identity(self) -> JobId:
        """Which job of the batch system it is."""
        return JobId(self.id, self.where)

    @property
    def state(self) -> JobState:
        """The job's state, as the batch system told it last."""
        return self.standing.state

    @property
    def lived(self) -> float:
        """How long its workers have been there, in s."""
        return max(0.0, self.seen_at - (self.arrived_at or self.seen_at))

    @property
    def executions(self) -> list[tuple[int, float]]:
        """Number (0 is the first) and time, in s since 1970, of each time that the job was started."""
        return run_directory.executions(self._left(run_directory.EXECUTIONS))

    @property
    def execution(self) -> int | None:
        """The number of the last of them; None before the first."""
        started = self.executions
        return started[-1][0] if started else None

    @property
    def cancel_asked(self) -> bool:
        """Whether it was cancelled by the cluster or its user."""
        return self.cancelled

    @property
    def exited(self) -> int | None:
        """The exit status that its script left when it was started last; None if it has not ended by itself."""
        text = self._left(run_directory.status_file(self.execution or 0)).strip()
        return int(text) if text.isdigit() else None

    @property
    def exited_at(self) -> float:
        """When that was, in s since 1970; now if it was not."""
        return self._changed(run_directory.status_file(self.execution or 0)) or time.time()

    @property
    def moved_at(self) -> float:
        """When it has shown last that it is at work, in s since 1970: now while its workers are connected."""
        return time.time() if self.present else max(map(self._changed, self._logs))

    @property
    def system_log(self) -> str:
        """What the batch system itself has printed about the job, and the job where it prints there."""
        return "".join(_read(path) for path in self._system_logs())

    @property
    def log(self) -> str:
        """What the job has printed so far."""
        return "".join(map(self._left, self._logs)) + self.system_log

    @property
    def tail(self) -> str:
        """The last lines of that."""
        return "\n".join(self.log.rstrip().splitlines()[-_TAIL:])

    @property
    def _logs(self) -> list[str]:
        """The kinds of files with what it has printed: one for each execution."""
        return ["log", *(f"log.{number}" for number, _ in self.executions if number)]

    def _changed(self, kind: str) -> float:
        try:
            assert self.directory is not None
            return (self.directory / f"{self.number}.{kind}").stat().st_mtime
        except (OSError, AssertionError):
            return 0.0

    def _left(self, kind: str) -> str:
        return _read(self.directory / f"{self.number}.{kind}") if self.directory is not None else ""

    def _system_logs(self) -> list[Path]:
        """Return the files whose names hold the job's id: every batch system names them so."""
        place = self.description.keywords["log_directory"] or self.directory
        if place is None or not self.id:
            return []
        # The number, after a name as Moab has it, and the index in a job array; Flux's ids are of another kind.
        match = re.match(r"(?:[A-Za-z]\w*\.)?(\d+)(?:[_.\[](\d+)\b)?", self.id)
        words = [word for word in match.groups() if word] if match else [re.escape(self.id)]
        pattern = re.compile(r"(?:^|.*\W|.*[a-z_])0*" + r"\D+0*".join(words) + r"(?:\W.*|_.*)?$")
        ours = re.compile(r"-?\d+\.(log|status|executions)(\.\d+)?|jobs|released|lease\.json|scheduler\.json")
        name = str(self.description.keywords["job_name"])
        try:
            return sorted(
                path
                for path in Path(place).iterdir()
                if path.is_file()
                and not ours.fullmatch(path.name)
                and not _is_secret(path)
                and pattern.match(path.name.removeprefix(name))
            )
        except OSError:
            return []

    # Dask's side of it.

    async def start(self) -> None:
        """Submit the job.

        Raises
        ------
        BatchError
            The batch system refuses.
        """
        from mpidask.jobqueue.jobs.dispatcher import Dispatcher

        if self.status == Status.created:
            if self.dispatcher is None:
                self.dispatcher = Dispatcher.alone(self)
            await self.dispatcher.submit([self])
        await super().start()

    async def close(self) -> None:
        """Cancel the job if it waits or runs."""
        if self.dispatcher is not None:
            await self.dispatcher.cancel([self])
            if self.dispatcher.standalone:
                await self.dispatcher.confirm([self], 0.0)
                self.dispatcher.end()
        await super().close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: job {self.id or 'not submitted'}, {self.standing.state.value}>"


@dataclasses.dataclass(frozen=True)
class _Assigned:
    """Option lines that a derived class has assigned, and the generated ones that they replace."""

    header: str
    instead_of: list[str]


hooks.remember(Job)


def _refuse_positions(kind: type[Job], others: tuple[Any, ...]) -> None:
    if others:
        raise ArgumentError(
            f"{kind.__name__} takes scheduler and name by position, and no more (got {', '.join(map(repr, others))})",
            f"name the others: queue={others[0]!r}, for example",
        )


def _cluster_name(kind: type[Job]) -> str:
    return kind.cluster_name or kind.__name__.removesuffix("Job") + "Cluster"


def _path(value: Any, name: str) -> str | None:
    """Return a path that a keyword gives, as the shell reads it now: batch systems do not know `~` or variables."""
    try:
        return quantities.path(str(value), name) if value else None
    except UsageError as error:
        raise ArgumentError(error.what, error.remedy) from None


def _arguments(interface: str | None, protocol: str | None, security: Security | None) -> tuple[str, ...]:
    words: list[str] = []
    if interface:
        words += ["--interface", interface]
    if protocol:
        words += ["--protocol", protocol]
    if security:
        words += tls_arguments(security, "worker")
    return tuple(words)


def _is_secret(path: Path) -> bool:
    """Whether a file has keys: its name ends in letters and digits that may look like a job id."""
    return path.name.startswith(KEY_FILES)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
