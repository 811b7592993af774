"""What runs the cells of a notebook in a kernel, and ends the kernel however that goes."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import click
from jupyter_client.kernelspec import KernelSpecManager
from nbclient.exceptions import CellExecutionError, DeadKernelError

from mpidask.compat.notebooks import EndingNotebookClient
from mpidask.launch.resources import scratch

__all__ = ["NotebookRun"]

_INTERRUPTED = 5.0  # s for a cell to end that has been interrupted
_HERE = "python3"  # the kernel of the interpreter that runs
_PREFIX = "mpidask-notebook-"
_SOCKET = "/kernel"  # the beginning of the sockets' names; a hyphen and a digit follow


class NotebookRun(EndingNotebookClient):
    """One run of a notebook: what its cells print is printed, too; a signal ends it with its kernel."""

    def __init__(self, content: Any, directory: str) -> None:
        """Prepare it.

        content:   the notebook, to which the outputs are added
        directory: in which the cells run
        """
        _clear(content)
        super().__init__(
            content, kernel_name=_kernel(content), timeout=None, resources={"metadata": {"path": directory}}
        )
        self._ended_by = 0  # a signal's number
        self._is_busy = False
        self._running: asyncio.Task[None] | None = None
        self.save: Callable[[], None] = lambda: None  # called after each cell, and at a signal
        self.on_cell_execute = self._begin_cell
        self.on_cell_executed = self._end_cell
        self._private = ""  # a directory for the kernel's sockets

    def to_the_end(self, name: str) -> int:
        """Run all cells; return the exit status.

        name: of the notebook, for messages
        """
        try:
            with _directory() as self._private:
                asyncio.run(self._run())
        except CellExecutionError as error:
            if error.ename == "SystemExit":
                return _status(error.evalue)
            sys.stderr.write(f"{self._traceback()}\n")
            return 1
        except DeadKernelError:  # nbclient says so, too, when a signal has ended it
            if self._ended_by:
                return 128 + self._ended_by
            sys.stderr.write(f"mpidask: error: the kernel of {name} ended while a cell ran\n")
            return 1
        except asyncio.CancelledError:
            return 128 + self._ended_by
        return 0

    async def _run(self) -> None:
        self._running = asyncio.current_task()
        await self.async_execute()

    def _traceback(self) -> str:
        """Return the traceback of the cell that failed, in colours where it is shown on a terminal."""
        outputs = [each for cell in self.nb.cells for each in cell.get("outputs", [])]
        errors = [each for each in outputs if each.output_type == "error"]
        text = "\n".join(errors[-1].traceback) if errors else ""
        return text if sys.stderr.isatty() else click.unstyle(text)

    # ------------------------------------------------------------------------- nbclient's
    def create_kernel_manager(self) -> Any:
        """Have the kernel listen on sockets in a private directory: others of the node can reach TCP's."""
        manager = super().create_kernel_manager()
        manager.transport, manager.ip = "ipc", f"{self._private}{_SOCKET}"
        manager.connection_file = f"{self._private}/kernel.json"
        return manager

    async def async_start_new_kernel_client(self) -> Any:
        """Take the signals that nbclient has taken: it forgets which one came."""
        client = await super().async_start_new_kernel_client()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._end, number)
        return client

    def _end(self, number: int) -> None:
        self._ended_by = number
        self.save()  # a launcher may leave no time for more
        if self._running is not None:
            self._running.cancel()

    def _begin_cell(self, **_: Any) -> None:
        self._is_busy = True

    def _end_cell(self, **_: Any) -> None:
        """Note that a cell has ended, be it with an error."""
        self._is_busy = False
        self.save()

    async def before_end(self) -> None:
        """Interrupt a cell that runs, so that its `finally` blocks do."""
        manager: Any = self.km
        client: Any = self.kc
        if self._is_busy and manager is not None and client is not None and await manager.is_alive():
            await manager.interrupt_kernel()
            with contextlib.suppress(queue.Empty):
                await client.shell_channel.get_msg(timeout=_INTERRUPTED)

    def output(self, outs: Any, msg: Any, display_id: Any, cell_index: int) -> Any:
        """Print what a cell prints, and keep it."""
        if msg["msg_type"] == "stream":
            stream = sys.stderr if msg["content"]["name"] == "stderr" else sys.stdout
            stream.write(msg["content"]["text"])
            stream.flush()
        return super().output(outs, msg, display_id, cell_index)


def _directory() -> tempfile.TemporaryDirectory[str]:
    """Return a new private directory whose path is short enough for the kernel's sockets."""
    added = len(f"/{_PREFIX}12345678{_SOCKET}-5")
    place = scratch.place_for_sockets(tempfile.gettempdir(), added)
    return tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place, ignore_cleanup_errors=True)


def _kernel(content: Any) -> str:
    """Return the kernel of a notebook; one of Python that is not known here is this Python's."""
    wanted = content.metadata.get("kernelspec", {})
    name = str(wanted.get("name") or _HERE)
    if name in KernelSpecManager().find_kernel_specs() or wanted.get("language", "python") != "python":
        return name
    sys.stderr.write(f"mpidask: there is no kernel {name!r} here: the notebook runs with {sys.executable}\n")
    return _HERE


def _clear(content: Any) -> None:
    """Remove what an earlier run has left: a traceback among it would be taken for one of this run."""
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def _status(text: str) -> int:
    """Return the exit status that a cell has chosen by ``sys.exit``."""
    if text in ("", "None", "True", "False"):
        return int(text == "True")
    try:
        return int(text)
    except ValueError:  # a message
        return 1
