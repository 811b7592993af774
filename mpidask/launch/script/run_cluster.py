"""The run's cluster as the script finds it: by ``Client()``, ``LocalCluster(...)`` or no client."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import os
import sys
import threading
from collections.abc import Callable, Generator
from typing import Any

import dask.config
from distributed import Client, LocalCluster
from distributed.core import Status, rpc
from distributed.objects import SchedulerInfo
from distributed.security import Security

from mpidask.compat import dask as compat
from mpidask.compat.fixed_size_cluster import FixedSizeCluster
from mpidask.launch.script import aliases, carried_state, current
from mpidask.launch.script.messages import Begin, Prepare
from mpidask.launch.watchdog import SCRIPT, mark
from mpidask.security import credentials

__all__ = ["RunCluster", "dashboard_link", "install"]

#: Arguments of LocalCluster that mean nothing else here.
_UNDERSTOOD = ("asynchronous", "loop", "name", "silence_logs")

_RESTART = 30.0  # s for workers to come back


class _Run:
    """The run around this process.

    dirty:  the cluster was closed: whoever asks for one again gets a clean one
    shared: what clients without an address are clients of
    """

    begin: Begin
    nanny = True
    dirty = False
    shared: RunCluster | None = None
    said: set[str] = set()  # noqa: RUF012 - of the process

    @classmethod
    def say(cls, text: str) -> None:
        """Print a line, once."""
        if text not in cls.said:
            cls.said.add(text)
            sys.stderr.write(f"mpidask: {text}\n")
            sys.stderr.flush()


class _ClusterOfRun:
    """The cluster around the script, for what asks by `current`."""

    closed = False

    def __init__(self, begin: Begin) -> None:
        self.contact, self.dashboard = begin.contact, begin.dashboard

    @property
    def address(self) -> str:
        """The scheduler's address."""
        return self.contact.address


def install(begin: Begin, prepare: Prepare) -> None:
    """Have the script find the run's cluster, in this process."""
    _Run.begin, _Run.nanny = begin, prepare.nanny
    current.introduce(begin.contact, begin.dashboard, begin.host)
    current.enter(_ClusterOfRun(begin))
    _answer_clients(local=prepare.local_cluster)
    if not prepare.local_cluster:
        _answer_local_cluster()
    _answer_default()
    aliases.install()
    carried_state.watch_for(begin.contact.address)


def dashboard_link() -> str | None:
    """Return the link to the run's dashboard, None without one."""
    return None if _Run.begin.dashboard is None else str(dask.config.get("distributed.dashboard.link"))


# ------------------------------------------------------------------------- what scripts ask by
def _answer_clients(*, local: bool) -> None:
    """Have a client without an address connect to the run's scheduler."""
    own = set(inspect.signature(Client).parameters)
    configured = dask.config.get("scheduler-address", None)

    def adjust(address: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mark("the script", SCRIPT)
        of_cluster = {name: value for name, value in given.items() if name not in own}
        elsewhere = given.get("scheduler_file") or dask.config.get("scheduler-address", None) != configured
        if address is not None or elsewhere or (local and of_cluster):
            return address, given
        if of_cluster:
            _tell_of("Client", of_cluster)
        mine = {name: value for name, value in given.items() if name not in of_cluster and name != "security"}
        return _cluster_of(mine.get("asynchronous", False), mine.get("loop")), mine

    compat.adjust_clients(adjust, lambda: mark("connect a client"))


def _cluster_of(asynchronous: Any, loop: Any) -> RunCluster:
    """Return the cluster for a client without an address: one for all that have no event loop of their own."""
    if asynchronous or loop is not None:
        return RunCluster(asynchronous, loop)
    if _Run.shared is None or _Run.shared.status != Status.running:
        _Run.shared = RunCluster()
    return _Run.shared


def _answer_local_cluster() -> None:
    """Have ``LocalCluster(...)`` return the run's cluster; classes that are derived from it stay as they are."""
    parameters = list(inspect.signature(LocalCluster).parameters)

    def make(*args: Any, **kwargs: Any) -> RunCluster:
        given = dict(zip(parameters, args, strict=False)) | kwargs
        _tell_of("LocalCluster", given)
        return RunCluster(given.get("asynchronous", False), given.get("loop"), given.get("name"))

    compat.replace_local_cluster(make)


def _tell_of(what: str, given: dict[str, Any]) -> None:
    """Say that the run's cluster is meant, and which arguments it has values of its own for."""
    names = ", ".join(name for name in given if name not in _UNDERSTOOD)
    instead = f"; set by the run instead: {names}" if names else ""
    _Run.say(f"{what}() is the run's cluster here{instead} (--local-cluster keeps Dask's own)")


def _answer_default() -> None:
    """Have what needs a client find one where the script has made none, such as ``.compute()``.

    It is made then, and not before: until then the script's process has no thread of Dask's.
    """
    making = threading.RLock()
    owner: list[int] = []  # the thread that makes it asks again meanwhile
    pid = os.getpid()

    def find(original: Callable[[], Any]) -> Any:
        found = original()
        if found is not None or ended or os.getpid() != pid or threading.get_ident() in owner or _in_event_loop():
            return found
        with making:
            found = original()  # of another thread
            if found is None:
                owner.append(threading.get_ident())
                try:
                    found = Client()
                finally:
                    owner.clear()
        return found

    ended: list[bool] = []
    atexit.register(ended.append, True)
    compat.find_default_client_by(find)


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


# ------------------------------------------------------------------------------- what they get
class RunCluster(FixedSizeCluster):
    """The run's cluster as one of Dask's cluster objects.

    Its size is the run's. `close` leaves scheduler and workers to the run; who asks for a cluster afterwards gets it
    with its workers restarted.
    """

    scheduler_comm: Any
    status: Any

    def __init__(self, asynchronous: Any = False, loop: Any = None, name: str | None = None) -> None:  # noqa: FBT002
        """Get it; with `asynchronous` when it is awaited."""
        self._info: Any = {"workers": {}}
        super().__init__(asynchronous=asynchronous, loop=loop, name=name, quiet=True)
        self.security = credentials.security_of(_Run.begin.contact) or Security()
        self.scheduler_comm = _Scheduler(self.security)
        if not asynchronous:
            self.sync(self._clean)
            self.status = Status.running

    def __await__(self) -> Generator[Any, None, RunCluster]:
        async def started() -> RunCluster:
            if self.status == Status.created:
                await self._clean()
                self.status = Status.running
            return self

        return started().__await__()

    async def _clean(self) -> None:
        """Restart workers if a cluster has been closed before; not under the feet of other clients."""
        if not _Run.dirty:
            return
        address = _Run.begin.contact.address
        living = [each for each in compat.clients() if each.status not in ("closed", "closing")]
        if any(getattr(each.scheduler, "address", None) == address for each in living):
            return
        async with self._client() as client:
            for name in await client.list_datasets():
                await client.unpublish_dataset(name)
            if _Run.nanny:  # else nobody would start workers again; what they held has gone with the client
                await client.restart(timeout=_RESTART)
        _Run.dirty = False

    def _client(self) -> Any:
        """Return a client for what only clients can do."""
        return Client(self.scheduler_address, security=self.security, asynchronous=True, set_as_default=False)

    async def _look(self) -> None:
        self._info = SchedulerInfo(await self.scheduler_comm.identity())

    # ------------------------------------------------------------------------ what there is
    @property
    def scheduler_address(self) -> str:
        """The scheduler's address."""
        return _Run.begin.contact.address

    @property
    def dashboard_link(self) -> str:
        """Link to the dashboard; "" without one."""
        return dashboard_link() or ""

    @property
    def scheduler_info(self) -> Any:
        """What the scheduler says of itself and its workers now; within an event loop what it said last."""
        if self.status == Status.running and not self.asynchronous:
            self.sync(self._look)
        return self._info

    @scheduler_info.setter
    def scheduler_info(self, info: Any) -> None:
        self._info = info

    @property
    def workers(self) -> dict[Any, Any]:
        """Name -> what is known of the worker."""
        return {info["name"]: info for info in self.scheduler_info["workers"].values()}

    # ----------------------------------------------------------------------------- its size
    def scale(self, *args: Any, **kwargs: Any) -> Any:
        """Say that it is fixed."""
        _Run.say("the size of the run is fixed: scale() and adapt() change nothing")
        return _Done() if self.asynchronous else None

    def adapt(self, *args: Any, **kwargs: Any) -> Any:
        """Say that it is fixed; return something that can be stopped."""
        self.scale()
        return _Fixed()

    def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> Any:
        """Wait until so many workers are there, at most as many as the run has."""
        if not isinstance(n_workers, int) or n_workers < 1:
            raise ValueError(f"n_workers is {n_workers!r}; it must be a positive integer")
        most = _Run.begin.workers
        if most is not None and n_workers > most:
            _Run.say(f"the run has {most} worker{'' if most == 1 else 's'}; {n_workers} are not waited for")
            n_workers = most
        return self.sync(self._await_workers, n_workers, timeout)

    async def _await_workers(self, n_workers: int, timeout: float | None) -> None:
        async with self._client() as client:
            await client.wait_for_workers(n_workers, timeout)

    # ------------------------------------------------------------------------------ its end
    def close(self, timeout: float | None = None) -> Any:
        """Close it; with asynchronous=True what is returned is to be awaited."""
        closing = super().close(timeout)
        if not self.asynchronous:
            self.stop_loop()
        return closing

    def __del__(self, _warn: Any = None) -> None:
        """Leave it to the run."""


class _Scheduler:
    """The scheduler, as `Cluster.scheduler_comm`: each question has a connection of its own, closed afterwards."""

    def __init__(self, security: Security) -> None:
        self._security = security

    def __getattr__(self, question: str) -> Any:
        if question.startswith("_"):
            raise AttributeError(question)

        async def ask(**arguments: Any) -> Any:
            keys = self._security.get_connection_args("client")
            async with rpc(_Run.begin.contact.address, connection_args=keys) as scheduler:
                return await getattr(scheduler, question)(**arguments)

        return ask

    async def close_rpc(self) -> None:
        """Take note that the cluster is closed, which calls this."""
        _Run.dirty = True


class _Done:
    def __await__(self) -> Generator[Any, None, None]:
        yield from ()


class _Fixed:
    """In place of Dask's Adaptive."""

    def stop(self) -> None:
        """Do nothing."""
