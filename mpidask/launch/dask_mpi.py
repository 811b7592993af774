"""initialize, execute, send_close_signal: dask_mpi's functions, with its names, meanings and defaults."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mpidask import config
from mpidask.config import Options
from mpidask.docstrings import described
from mpidask.errors import UsageError, WorldTooSmallException, linked
from mpidask.launch.exit_hook import EXIT_HOOK
from mpidask.launch.script import current
from mpidask.launch.session import Session
from mpidask.options import loading

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["execute", "initialize", "send_close_signal"]

#: dask_mpi's defaults that mean "find it out" here. It opens the dashboard to everybody, on port 8787: ours is not.
_FOUND_OUT = {"local_directory": "", "memory_limit": "auto", "dashboard_address": ":8787"}
#: Its defaults that are kept, below the user's configuration.
_KEPT = {"nthreads": 1, "nanny": False, "worker_class": "distributed.Worker", "dashboard": True}


#: What the arguments of `initialize` and `execute` are: numpydoc's type, and the meaning.
_PARAMETERS = {
    "client_function": (
        "callable",
        "The function. None: a cluster that ends when a client from elsewhere shuts it down.",
    ),
    "args": ("Any", "Its arguments, after those of `client_args`."),
    "client_args": ("sequence", "Its first arguments."),
    "client_kwargs": ("mapping", "Its keyword arguments, also such as have the name of an argument of `execute`."),
    "client_rank": ("int", "The rank that runs it."),
    "scheduler": ("bool", "False: join a running scheduler, which `scheduler_address` or `scheduler_file` names."),
    "scheduler_rank": ("int", "The rank that hosts the scheduler."),
    "scheduler_address": ("str", "Address of the scheduler to join."),
    "scheduler_port": ("int", "Port of the scheduler. Default: a free one."),
    "scheduler_file": (
        "str or path",
        "File that tells others where the scheduler is; with ``scheduler=False`` it is read.",
    ),
    "interface": ("str", 'Network interface, such as ``"ib0"``. Default: detected.'),
    "nthreads": ("int", "Threads per worker."),
    "local_directory": ("str or path", "Where workers spill. Default: a node-local directory is found."),
    "memory_limit": (
        "float, str or None",
        'Memory per worker: bytes, ``"4 GiB"``, a fraction (float) of the node\'s, 0: no limit. ``"auto"``: its share.',
    ),
    "nanny": (
        "bool",
        'Deprecated, as in dask_mpi: use ``worker_class="distributed.Nanny"``, which starts a worker that dies again.',
    ),
    "dashboard": ("bool", "Serve Dask's dashboard."),
    "dashboard_address": ("str", "Where it listens. Left alone, it is a free port on loopback."),
    "protocol": (
        "str",
        'Dask\'s communication protocol. Default: ``tls``. ``"tcp"`` is encrypted, too, unless TLS is switched off.',
    ),
    "exclusive_workers": ("bool", "False: the scheduler's and the client's rank host workers, too."),
    "worker_class": ("str", "Import path of the class of the workers."),
    "worker_options": ("mapping", "Further arguments of that class."),
    "worker_name": ("str", "Prefix of the workers' names: ``worker_name-rank``. Default: the rank alone."),
    "comm": ("mpi4py.MPI.Intracomm", "Communicator whose ranks take part. Default: all ranks."),
    "exit": ("bool", "False: the other ranks return as well, when the client calls `send_close_signal`."),
    "port_range": (
        "str",
        'Ports on which scheduler, dashboard and workers listen, such as ``"40000:40100"``. Default: any free ones.',
    ),
    "kwargs": ("Any", "Further keyword arguments of the function."),
}

_RAISES = {
    "UsageError": "An argument cannot be used; on all ranks.",
    "WorldTooSmallException": "There are too few ranks; on all ranks.",
    "StartupError": "The cluster does not come up; on all ranks.",
}
_RAISED_BY_THE_FUNCTION = {
    "Exception": "What the function raises, on the client's rank. If nobody catches it, the run ends on all ranks."
}


@described(_PARAMETERS, _RAISES)
def initialize(  # noqa: PLR0913, PLR0917 - dask_mpi's arguments
    interface: str | None = None,
    nthreads: int = 1,
    local_directory: str | os.PathLike[str] | None = None,
    memory_limit: float | str | None = "auto",
    nanny: bool = False,  # noqa: FBT001, FBT002 - dask_mpi's
    dashboard: bool = True,  # noqa: FBT001, FBT002
    dashboard_address: str = ":8787",
    protocol: str | None = None,
    worker_class: str = "distributed.Worker",
    worker_options: Mapping[str, Any] | None = None,
    comm: MPI.Intracomm | None = None,
    exit: bool = True,  # noqa: A002, FBT001, FBT002
    *,
    port_range: str | None = None,
) -> bool:
    """Start a Dask cluster on the ranks of this MPI job: ``Client()`` in the rest of the script connects to it.

    Rank 0 hosts the scheduler, rank 1 goes on with the script, the other ranks are workers until the script has ended;
    then their processes end. Needs 2 ranks (rank 0 then hosts the worker).

    Returns
    -------
    bool
        Whether this rank is the client.

    See Also
    --------
    Session : A cluster for a part of an MPI program.
    execute : The same for a function.

    Examples
    --------
    >>> mpidask.initialize()  # doctest: +SKIP
    True
    >>> client = Client()  # doctest: +SKIP
    """
    given = _taken(locals())
    _warn(nanny=nanny)
    return Session.of(_Request(given, least=2), comm=comm, leave=exit).open().is_client


@described(_PARAMETERS, _RAISES | _RAISED_BY_THE_FUNCTION)
def execute(  # noqa: PLR0913 - dask_mpi's arguments
    client_function: Callable[..., Any] | None = None,
    *args: Any,
    client_args: Sequence[Any] = (),
    client_kwargs: Mapping[str, Any] | None = None,
    client_rank: int = 1,
    scheduler: bool = True,
    scheduler_rank: int = 0,
    scheduler_address: str | None = None,
    scheduler_port: int | None = None,
    scheduler_file: str | os.PathLike[str] | None = None,
    interface: str | None = None,
    nthreads: int = 1,
    local_directory: str | os.PathLike[str] = "",
    memory_limit: float | str | None = "auto",
    nanny: bool = False,
    dashboard: bool = True,
    dashboard_address: str = ":8787",
    protocol: str | None = None,
    exclusive_workers: bool = True,
    worker_class: str = "distributed.Worker",
    worker_options: Mapping[str, Any] | None = None,
    worker_name: str | None = None,
    comm: MPI.Intracomm | None = None,
    **kwargs: Any,
) -> Any:
    """Run a function on the client's rank with a Dask cluster around it, and return its value there.

    The other ranks host scheduler and workers meanwhile, and return None. The function runs in the main thread.

    Returns
    -------
    Any
        The function's value on the client's rank, None on the others.

    Examples
    --------
    >>> mpidask.execute(total, [1, 2])  # total uses a Client()  # doctest: +SKIP
    3
    """
    given = _taken(locals()) | {"inclusive_workers": not exclusive_workers, "name": worker_name}
    _warn(nanny=nanny)
    call = _Call(client_function, (*client_args, *args), {**(client_kwargs or {}), **kwargs})
    return _execute(call, given, comm)


def _execute(call: _Call, given: Mapping[str, Any], comm: MPI.Intracomm | None) -> Any:
    """Call a function on the client's rank; None: a cluster without a client's rank.

    given: options of the run
    """
    is_called = callable(call.function)
    ranks = [given["client_rank"]] if is_called else []
    ranks += [given["scheduler_rank"]] if given["scheduler"] else []
    least = 1 + max([*ranks, int(not given["inclusive_workers"])])
    request = _Request(given, least, call if is_called else None)
    with Session.of(request, comm=comm, leave=False, with_client=is_called) as session:
        if is_called and session.is_client:
            return call.function(*call.arguments, **call.keywords)
    return None


def send_close_signal() -> None:
    """Close the cluster, on the client's rank: after ``initialize(exit=False)`` the other ranks return.

    Not needed otherwise: the cluster is closed when the script ends.

    Raises
    ------
    UsageError
        There is no cluster to close.
    """
    cluster = current.current()
    if cluster is None:
        raise UsageError("there is no cluster to close", "call it on the client's rank, after initialize(exit=False)")
    session = next((each for each in EXIT_HOOK.sessions if not each.exit), None)
    if session is not None:
        session.end(None)
        return
    from distributed import Client

    with Client(cluster.address) as connection:  # type: ignore[no-untyped-call]  # Dask's
        connection.shutdown()


def _taken(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return those arguments that are options under the same name."""
    names = {field.name for field in dataclasses.fields(Options)}
    return {name: value for name, value in arguments.items() if name in names}


@dataclasses.dataclass(frozen=True)
class _Call:
    """What is to be run on the client's rank."""

    function: Any
    arguments: Sequence[Any]
    keywords: Mapping[str, Any]

    def check(self) -> None:
        """Raise UsageError for arguments that the function does not take: before the cluster starts, not after."""
        with contextlib.suppress(ValueError):  # some have no signature
            signature = inspect.signature(self.function)
            try:
                signature.bind(*self.arguments, **self.keywords)
            except TypeError as error:
                name = getattr(self.function, "__name__", repr(self.function))
                raise UsageError(
                    f"{name}{signature} cannot be called so: {error}",
                    "arguments of execute that it does not know itself are handed to the function",
                ) from None


@dataclasses.dataclass(frozen=True)
class _Request:
    """dask_mpi's arguments.

    least: ranks that they need
    call:  what is to be run, None for nothing, or for the script around us
    """

    given: Mapping[str, Any]
    least: int
    call: _Call | None = None

    def options(self, size: int) -> Options:
        """Return the options for these arguments; raises UsageError or WorldTooSmallException."""
        if self.call is not None:
            self.call.check()
        if size < self.least:
            raise WorldTooSmallException(
                f"a cluster with these roles needs {self.least} ranks, there {'is' if size == 1 else 'are'} {size}",
                "start more of them: mpirun -n 4 python script.py",
            )
        values = {name: value for name, value in self.given.items() if value != _FOUND_OUT.get(name)}
        if values.get("memory_limit", 0) is None:
            values["memory_limit"] = 0
        kept = {name: values.pop(name) for name in _KEPT if values.get(name) == _KEPT[name]}
        return loading.load(values, otherwise=kept, spelled=config.as_keyword)


def _warn(*, nanny: bool) -> None:
    if nanny:
        warnings.warn(
            linked("nanny=True is deprecated, use worker_class='distributed.Nanny'", "keywords-of-clusters"),
            DeprecationWarning,
            stacklevel=3,
        )
