"""What a cluster class of a fixed size needs of Dask's `Cluster` that has no public name.

Tested with distributed 2025.1 to 2026.8.
"""

from __future__ import annotations

from typing import Any

from distributed.core import Status
from distributed.deploy.cluster import Cluster
from distributed.objects import SchedulerInfo
from distributed.utils import LoopRunner

from mpidask.compat.cluster_page import FittingPage
from mpidask.compat.missing import not_possible, report_missing

__all__ = ["FixedSizeCluster"]

#: What Dask looks for in a cluster class -> what its users do without where Dask does not any more.
_OFFERED = {
    "_supports_scaling": "Dask knows that the cluster's size is fixed",
    "_scaling_status": "Dask's widget says that the cluster's size is fixed",
    "_widget": "Dask's widget has no tab for what is refused",
}


class FixedSizeCluster(FittingPage):
    """A cluster whose size is fixed. Derived classes need no private names.

    Of methods that Dask replaces by private names, such as `close`, they replace the public ones: within the event
    loop ``await super().close()`` is Dask's own.

    Upstream: no issue.
    """

    scheduler_comm: Any

    #: Dask's documented way to say that `scale` does nothing.
    _supports_scaling = False

    def __init__(self, *, asynchronous: Any, loop: Any = None, name: str | None = None, quiet: bool = False) -> None:
        """Prepare it; unless it is asynchronous its event loop runs in a thread from here on."""
        report_missing(Cluster, _OFFERED)
        self._thread = None if asynchronous else LoopRunner(loop=loop)
        if self._thread is not None:
            self._thread.start()  # type: ignore[no-untyped-call]  # Dask's
            loop = self._thread.loop
        super().__init__(asynchronous=asynchronous, loop=loop, name=name, quiet=quiet)  # type: ignore[no-untyped-call]

    def stop_loop(self) -> None:
        """End the event loop's thread, if it is this cluster's."""
        if self._thread is not None:
            self._thread.stop()  # type: ignore[no-untyped-call]  # Dask's

    def _scaling_status(self) -> str:  # of Dask's widget
        return f"<p>Workers: {len(self.scheduler_info['workers'])}; the size is fixed.</p>"

    def _widget(self) -> Any:  # of notebooks; None without ipywidgets
        make = getattr(super(), "_widget", None)
        tabs = None if make is None else make()
        if tabs is not None:
            tabs.children = tabs.children[:1]  # the second one would scale
        return tabs

    async def connect(self) -> None:
        """Follow the scheduler that `scheduler_comm` leads to: `Cluster` has no public method for derived classes."""
        start = getattr(super(), "_start", None)
        if start is not None:
            await start()
            return
        not_possible("a cluster object follows its workers", "Cluster._start is gone")
        self.scheduler_info = SchedulerInfo(await self.scheduler_comm.identity())
        self.status = Status.running
