"""One batch job with workers, as Dask's cluster classes handle it."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from distributed.core import Status
from distributed.security import Security

from mpidask import quantities
from mpidask.batch import container, registry
from mpidask.batch.binds import Bind
from mpidask.batch.container import Container
from mpidask.errors import ArgumentError, UsageError
from mpidask.jobqueue.jobs import hooks
from mpidask.jobqueue.jobs.attributes import JobAttributes
from mpidask.jobqueue.jobs.dispatcher import Dispatcher
from mpidask.jobqueue.jobs.keys import tls_arguments
from mpidask.jobqueue.jobs.script import job_script
from mpidask.jobqueue.jobs.spec import JobRange, JobSpec, refuse_lost
from mpidask.jobqueue.keywords import lookup, table, values, warning
from mpidask.jobqueue.keywords.profile import system_of

__all__ = ["Job"]


class Job(JobAttributes):
    """A batch job whose workers join a scheduler. A class for each batch system is derived from it.

    Derived classes may set keywords as attributes or properties, and override what `hooks.HONOURED`
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
        hooks.refuse(type(self))
        _refuse_positions(type(self), others)
        named = system_of(self.native_name(), given.get("profile")) if dispatcher is None else ""
        system = registry.find(named) if dispatcher is None else dispatcher.system
        super().__init__(name, number, dispatcher, system)
        self.config_name = config_name or self.default_config_name()
        own = hooks.own(type(self), (*table.KEYWORDS, *hooks.HONOURED))
        settled = self._settle(own, given)
        arguments = _arguments(settled["interface"], protocol, security)
        self.spec = JobSpec(system, scheduler, name, self.prepared(settled), arguments)
        self._take_hooks(own)
        refuse_lost(self.spec)
        logs = self.spec.keywords["log_directory"]
        if not dispatcher and logs:
            Path(logs).mkdir(parents=True, exist_ok=True)

    def _settle(self, own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keywords' values; an attribute of a derived class counts where a keyword is not given."""
        kind, native = type(self), self.native_name()
        plain = {
            name: lookup.Found(value, f"class {kind.__name__}")
            for name, value in own.items()
            if name in table.KEYWORDS and not callable(value) and not hooks.computed(value)
        }
        settled = lookup.settle(native, str(self.config_name), given, _cluster_name(kind), plain)
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
        """Have the specification say what properties and methods of a derived class say."""
        owner = f"class {type(self).__name__}"

        def said(name: str) -> Any:
            system = self.native_name()
            return lookup.read(table.KEYWORDS[name], system, lookup.Found(getattr(self, name), owner))

        names = [name for name in own if name in self._settled and hooks.computed(own[name])]
        if names:
            settled = {**self._settled, **{name: said(name) for name in names}}
            self._check(settled)
            with warning.once(set()):
                self.spec = dataclasses.replace(self.spec, keywords=self.prepared(settled))
        changes: dict[str, Any] = {"alone": "job_script" in own}
        for name, field, kind in (
            ("worker_process_threads", "own_threads", values.COUNT),
            ("worker_process_memory", "own_memory_limit", values.SIZE),
        ):
            if name in own:
                keyword = table.Keyword(name, None, kind, "")
                found = lookup.Found(getattr(self, name), owner)
                changes[field] = lookup.read(keyword, self.native_name(), found)
        if changes.get("own_memory_limit") is not None:
            changes["own_memory_limit"] = str(changes["own_memory_limit"]).replace(" ", "")
        self.spec = dataclasses.replace(self.spec, **changes)
        self._own_header = "job_header" in own
        self.spec = self._headed(self.spec)

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

    def prepared(self, settled: dict[str, Any]) -> Mapping[str, Any]:
        """Return the keywords as the specification needs them; derived classes add what their system needs.

        Parameters
        ----------
        settled : dict
            Keyword -> value.

        Returns
        -------
        mapping
            The same, with what follows from them.
        """
        logs = _path(settled["log_directory"], "log_directory")
        inside = _container(settled)
        return {**settled, "python": _interpreter(settled), "log_directory": logs, "container": inside}

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

    def job_script(self) -> str:
        """Return the job script.

        Returns
        -------
        str
            The text of the script.
        """
        return self._render(self._headed(self.spec), self.job_range)

    def text(self, spec: JobSpec, job_range: JobRange) -> str:
        """Return the job script for a specification; a derived class may make its own.

        Parameters
        ----------
        spec : JobSpec
            The job.
        job_range : JobRange
            Where the job leaves its logs.

        Returns
        -------
        str
            The text of the script.
        """
        return self.job_script() if spec.alone else self._render(self._headed(spec), job_range)

    def _render(self, spec: JobSpec, job_range: JobRange | None) -> str:
        """Return the job script; HTCondor's is another text."""
        return job_script(spec, job_range)

    # Dask's side of it.

    async def start(self) -> None:
        """Submit the job.

        Raises
        ------
        BatchError
            The batch system refuses.
        """
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


def _interpreter(settled: Mapping[str, Any]) -> str:
    """Return the interpreter for the shell: a path that is there, or words, which may name variables of the node."""
    python = str(settled["python"] or ("python3" if settled["container"] else sys.executable))
    return shlex.quote(python) if os.path.exists(python) else python


def _container(settled: Mapping[str, Any]) -> Container | None:
    """Return the container in which the workers run; raises ArgumentError if it cannot be used."""
    if not settled["container"]:
        return None
    binds = [Bind.parse(str(each)) for each in settled["container_bind"]]
    image, runtime = str(settled["container"]), settled["container_runtime"]
    try:
        return container.settle(image, runtime, binds, spill=settled["local_directory"])
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
