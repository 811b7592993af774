"""What a session changes in a process that is not its own, and gives back."""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping

import dask.config

from mpidask.compat.python import hidden_main, process_settings
from mpidask.errors import UsageError
from mpidask.launch.servers import log_filters

__all__ = ["ProcessState", "check", "serving"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


#: Keys of Dask's configuration that we add.
_OURS = ("logging", "scheduler-address")


class ProcessState:
    """The environment variables and Dask's configuration, as they were."""

    def __init__(self) -> None:
        self._environ, self._config = dict(os.environ), copy.deepcopy(dask.config.config)
        self._changed: Mapping[str, str | None] | None = None
        self._keys: list[str] = []

    def note(self) -> None:
        """Take all that differs now for a change of ours; what changes later is the user's."""
        names = self._environ.keys() | os.environ.keys()
        self._changed = {
            name: self._environ.get(name) for name in names if os.environ.get(name) != self._environ.get(name)
        }
        self._keys = [key for key, value in self._config.items() if dask.config.config.get(key) != value]
        self._keys += [key for key in _OURS if key not in self._config]

    def give_back(self) -> None:
        """Undo our changes, up to now if none were noted."""
        if self._changed is None:
            self.note()
        for name, value in (self._changed or {}).items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for key in self._keys:
            if key in self._config:
                dask.config.config[key] = self._config[key]
            else:
                dask.config.config.pop(key, None)


def check() -> None:
    """Raise UsageError where no session can be opened."""
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("a session was opened in a thread", "open it in the main thread: signals arrive there")
    if multiprocessing.parent_process() is not None or _is_being_prepared():
        raise UsageError(
            "a process that the script has started runs the script again, and opens a session",
            'put what is to run once under `if __name__ == "__main__":`',
        )


def _is_being_prepared() -> bool:
    """Whether multiprocessing is importing the main module, by another name, in a process that it has started.

    In other processes the module of this name is the main module itself.
    """
    return getattr(sys.modules.get("__mp_main__"), "__name__", "") == "__mp_main__"


@contextlib.contextmanager
def serving() -> Iterator[None]:
    """While this process serves: no child of it runs the user's program, and afterwards all is as it was."""
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    settings = process_settings()
    about = dict(settings)
    try:
        with hidden_main():
            yield
    finally:
        for number, handler in handlers.items():
            if handler is not None:  # it is a C library's
                signal.signal(number, handler)
        settings.clear()
        settings.update(about)
        log_filters.restore()
