"""What is changed in Dask's scheduler, nannies and workers that has no hook.

Tested with distributed 2025.1 to 2026.8.
"""

from __future__ import annotations

import asyncio
import functools
import importlib
from collections.abc import Callable
from typing import Any

from mpidask.compat.missing import not_possible, tolerated
from mpidask.compat.setting import optimized

__all__ = [
    "before_signals",
    "compare_versions_by",
    "find_pages_by",
    "handle_leaving_workers_by",
    "note_close",
    "notice_ready_workers",
    "on_worker_exit",
    "start_workers_by",
    "switch_gpu_monitor_off",
]


def on_worker_exit(nanny: Any, report: Callable[[int], None]) -> None:
    """Have `report` called with the exit code when a nanny's worker process ends, before Dask acts on it.

    Nannies have no hook for it. The process's own `on_exit` is what Dask's nanny has put there.

    Upstream: https://github.com/dask/distributed/issues/2297.
    """
    with tolerated("it is reported how a worker's process ended"):
        process = nanny.process  # which is used again for the next process
        if getattr(process.on_exit, "func", None) is not _report_first:
            process.on_exit = functools.partial(_report_first, report, process.on_exit)


def _report_first(report: Callable[[int], None], act: Callable[[int], None], exitcode: int) -> None:
    report(exitcode)
    act(exitcode)


def notice_ready_workers() -> None:
    """Have nannies of this process notice at once that their worker is ready: Dask's look 20 times a second.

    Only the first call has an effect.

    Upstream: no issue.
    """
    if not optimized():
        return
    nanny: Any = importlib.import_module("distributed.nanny")
    with tolerated("a nanny notices at once that its worker is ready"):
        process = nanny.WorkerProcess
        if not hasattr(process._wait_until_connected, "__wrapped__"):
            process._wait_until_connected = _noticing(process._wait_until_connected)


def _noticing(look: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(look)
    async def wait_until_connected(self: Any, uid: str, *queue: Any) -> Any:
        with tolerated("a nanny notices at once that its worker is ready"):
            results = queue[0] if queue else self.init_result_q  # before distributed 2026
            await _readable(results._reader.fileno(), self.stopped)
        return await look(self, uid, *queue)

    return wait_until_connected


async def _readable(descriptor: int, ended: asyncio.Event) -> None:
    """Return when a descriptor can be read, or the process that writes to it has ended."""
    loop, arrived = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, arrived.set)
    waits = [asyncio.ensure_future(event.wait()) for event in (arrived, ended)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(descriptor)
        for each in waits:
            each.cancel()


def note_close(worker: Any, note: Callable[[str], None]) -> None:
    """Have `note` called with the reason when a worker of this process closes: Dask only logs it.

    Upstream: https://github.com/dask/distributed/issues/6391.
    """
    with tolerated("it is known why a worker closes"):
        close = worker.close

        async def closing(*arguments: Any, **keywords: Any) -> Any:
            note(keywords.get("reason", ""))
            return await close(*arguments, **keywords)

        worker.close = closing


def start_workers_by(command: Any, nanny: type) -> None:
    """Have Dask's worker command use this class of nannies: it has an option for the class of workers alone.

    command: the module distributed.cli.dask_worker

    Upstream: no issue.
    """
    if hasattr(command, "Nanny"):
        command.Nanny = nanny
    else:
        not_possible("workers come back when their connection breaks", "distributed.cli.dask_worker.Nanny is gone")


def before_signals(command: Any, act: Callable[[], object]) -> None:
    """Have `act` called before Dask's worker command takes signals: it puts back what was there, after the first.

    command: the module distributed.cli.dask_worker

    Upstream: no issue.
    """
    if not hasattr(command, "wait_for_signals"):
        not_possible("a second SIGTERM leaves a worker time", "distributed.cli.dask_worker.wait_for_signals is gone")
        return
    wait = command.wait_for_signals

    @functools.wraps(wait)
    async def wait_for_signals() -> Any:
        act()
        return await wait()

    command.wait_for_signals = wait_for_signals


def switch_gpu_monitor_off() -> None:
    """Have no server of this process, and no worker of its nannies, ask NVML.

    Where NVML refuses, each server raises when it starts. The configuration's switch is read too early: when Dask asks
    NVML for the first time.

    Upstream: https://github.com/dask/distributed/issues/9093.
    """
    import dask.config

    dask.config.set({"distributed.diagnostics.nvml": False})
    with tolerated("NVML's state is forgotten"):
        nvml: Any = importlib.import_module("distributed.diagnostics.nvml")
        nvml.NVML_STATE = nvml.NVMLState.DISABLED_CONFIG
    for name in ("DEFAULT_METRICS", "DEFAULT_STARTUP_INFORMATION"):
        with tolerated("workers measure no GPU"):
            worker: Any = importlib.import_module("distributed.worker")
            getattr(worker, name).pop("gpu", None)


def compare_versions_by(compare: Callable[..., Any] | None) -> None:
    """Have schedulers of this process compare packages of workers by `compare`; by Dask's own function if None.

    compare: gets that function, then its arguments
    There is no hook for it.

    Upstream: no issue.
    """
    if not optimized():
        return
    versions: Any = importlib.import_module("distributed.versions")
    with tolerated("packages of workers are compared by kind"):
        current = versions.error_message
        original = current.args[0] if isinstance(current, _Comparing) else current
        versions.error_message = original if compare is None else _Comparing(compare, original)


class _Comparing(functools.partial[Any]):
    """Comparison in the place of Dask's."""


def handle_leaving_workers_by(scheduler: Any, handle: Callable[[str], None]) -> None:
    """Have a scheduler do no more for a worker that leaves than `handle` does with its address: it is about to end.

    Its streams call the method by this name when they end; there is no hook that keeps Dask's from being called.

    Upstream: no issue.
    """
    if not optimized():
        return

    async def remove_worker(address: str, **_: object) -> str:
        handle(address)
        return "OK"

    if hasattr(scheduler, "remove_worker"):
        scheduler.remove_worker = remove_worker
    else:
        not_possible("a scheduler at its end lets workers go at once", "Scheduler.remove_worker is gone")


# ------------------------------------------------------------------------------ its dashboard
def find_pages_by(server: Any, find: Callable[..., Any]) -> None:
    """Have a server's HTTP server find who answers a request by `find`. Dask has no hook for it.

    find: gets the request, what would find it otherwise, and more keywords for that

    Raises AttributeError where that is not possible: a dashboard for everybody is no way out.

    Upstream: no issue.
    """
    application = server.http_application
    original = application.find_handler

    def find_handler(request: Any, **keywords: Any) -> Any:
        return find(request, original, **keywords)

    application.find_handler = find_handler
