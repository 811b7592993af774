"""What the processes of workers inherit: modules, imported once in their agent, and variables."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import socket
import sys
from collections.abc import Iterable, Sequence

from mpidask.compat import dask as compat
from mpidask.compat.python import process_settings
from mpidask.errors import StartupError
from mpidask.launch.imports import preload
from mpidask.launch.resources import cuda
from mpidask.launch.watchdog.agent_process import MODULES

__all__ = ["extend_path", "import_dask", "load", "load_modules", "name_files"]


def import_dask() -> None:
    """Import what all servers and workers need, and load what tornado loads for the first TLS connection it accepts."""
    for name in preload.NAMES:
        with contextlib.suppress(ModuleNotFoundError):  # Dask does without some
            importlib.import_module(name)
    # Not `asyncio.run`, after which a module of the user's that asks for the event loop while it is imported has none.
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(_make_stream())


async def _make_stream() -> None:
    """Make a stream for TLS: the first one of a process reads all certificates of the machine, which takes 20 ms."""
    from tornado.iostream import SSLIOStream  # ranks, which import this module, do without

    with socket.socket() as unconnected:
        SSLIOStream(unconnected).close()


def load() -> None:
    """Import Dask and the user's modules; raises StartupError, at last, for those that cannot be imported."""
    import_dask()
    importlib.import_module("distributed.versions").get_versions()  # workers tell theirs: looked up once
    compat.read_configuration_once()  # each worker would read all its files anew
    load_modules(list(filter(None, os.environ.get(MODULES, "").split(","))), forks=True)


def load_modules(names: Sequence[str], *, forks: bool = False) -> None:
    """Import the user's modules; raises StartupError for those that cannot be imported.

    forks: workers will be forked from this process: also for those that initialise CUDA
    """
    wrong = []
    for name in names:
        before = cuda.is_initialised()
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001 - whatever a module of the user's raises
            wrong.append(f"{name}: {type(error).__name__}: {error}")
        if forks and not before and cuda.is_initialised():
            raise StartupError(
                f"--preload-import {name} initialises CUDA where it is imported, in the process that workers are "
                "forked from: no task could use a GPU",
                f"leave {name} out of --preload-import, or keep it from initialising CUDA (RAPIDS_NO_INITIALIZE=1 for "
                "cuDF and its kin)",
            )
    if wrong:
        raise StartupError(
            "what --preload-import names cannot be imported:\n" + "\n".join(wrong),
            f"check the names, or install what is missing: {sys.executable} -m pip install ...",
        )


def extend_path(path: Iterable[str]) -> None:
    """Have this process, and those that it starts, find what the script finds; after its own imports."""
    new = [entry for entry in path if entry not in sys.path]
    sys.path[:0] = new


def name_files(directory: str, prefix: str) -> None:
    """Have multiprocessing in this process, and in those that it starts, keep its files where they will be removed.

    directory: for sockets; "" for none
    prefix:    of the names of semaphores
    """
    settings = process_settings()
    if directory:
        settings["tempdir"] = directory
    settings["semprefix"] = prefix  # so that whoever clears up after this rank knows the semaphores of its processes
