"""Carries what a script sets before its first client to the workers, as under LocalCluster.

Dask asks for it when a client connects (``distributed.client.preload``); a plugin takes it to the workers, also to
those that come later, and another to the scheduler.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import os
import pickle
import sys
import time
from collections.abc import Mapping
from typing import Any

import dask.config
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from mpidask.errors import linked

__all__ = ["State", "WorkerState", "dask_setup", "watch_for"]

#: Parts of Dask's configuration that are a process's own.
_OWN = (
    "scheduler",
    "scheduler-address",
    "shuffle",
    "temporary-directory",
    "distributed.client",
    "distributed.dashboard",
)

#: Variables that each worker has of its own.
_OF_WORKERS = {"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"}

_FRACTIONS = ("target", "spill", "pause", "terminate")
_NAME = "mpidask-state-of-the-script"
_logger = logging.getLogger("distributed.worker")


@dataclasses.dataclass(frozen=True)
class State:
    """What workers are to set; made by `since`.

    directory: the working directory, None where it has not changed
    environ:   name -> value, None for what was deleted
    config:    what has changed in Dask's configuration
    path:      further entries of sys.path, the first first
    """

    directory: str | None = None
    environ: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    path: tuple[str, ...] = ()


class _Before:
    """The process as it was before the script."""

    def __init__(self) -> None:
        self.directory: str | None = None
        with contextlib.suppress(OSError):  # it has been removed
            self.directory = os.getcwd()
        self.environ = dict(os.environ)
        self.config = copy.deepcopy(dask.config.config)
        self.path = set(sys.path)

    def since(self, sent: State) -> State:
        """Return what the script has changed; what has been sent is sent again where it was taken back."""
        names = (self.environ.keys() | os.environ.keys() | sent.environ.keys()) - _OF_WORKERS
        changed = {
            name: os.environ.get(name)
            for name in names
            if name in sent.environ or os.environ.get(name) != self.environ.get(name)
        }
        directory = self.directory
        with contextlib.suppress(OSError):  # it has been removed
            directory = os.getcwd()
        return State(
            directory if directory != self.directory or sent.directory is not None else None,
            changed,
            _changed(dask.config.config, self.config, ""),
            tuple(dict.fromkeys(os.path.abspath(entry) for entry in sys.path if entry not in self.path)),
        )


def _changed(now: Mapping[str, Any], before: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return what differs, as a nested dictionary; without what cannot be sent."""
    found: dict[str, Any] = {}
    for key, value in now.items():
        name = f"{prefix}{key}"
        if name.replace("_", "-") in _OWN or (key in before and before[key] == value):
            continue
        if isinstance(value, Mapping):
            inner = before.get(key)
            part = _changed(value, inner if isinstance(inner, Mapping) else {}, f"{name}.")
            found |= {key: part} if part else {}
            continue
        with contextlib.suppress(Exception):
            pickle.dumps(value)
            found[key] = value
    return found


class _Watch:
    """What is watched for, and what has been sent.

    address: of the scheduler whose workers are to have it; "" for none
    """

    address = ""
    before: _Before
    sent = State()


def watch_for(address: str) -> None:
    """Have workers of this scheduler get what is set in this process from here on, up to a client's start."""
    _Watch.address, _Watch.before = address, _Before()
    preload = dask.config.get("distributed.client.preload", None) or []
    if __name__ not in preload:
        dask.config.set({"distributed.client.preload": [*preload, __name__]})


async def dask_setup(client: Any) -> None:
    """Send what has changed; Dask calls it for every client."""
    if client.scheduler.address != _Watch.address:
        return
    state = _Watch.before.since(_Watch.sent)
    if state == _Watch.sent:
        return
    if (state.path, state.config) != (_Watch.sent.path, _Watch.sent.config):
        await client.register_plugin(SchedulerState(state), name=f"{_NAME}-{time.monotonic_ns()}")
    await client.register_plugin(WorkerState(state), name=_NAME)
    _Watch.sent = state


def _apply(state: State) -> None:
    """Set it in this process, but for the working directory and the environment."""
    for entry in reversed(state.path):
        if entry not in sys.path:
            sys.path.insert(0, entry)
    dask.config.update(dask.config.config, state.config, priority="new")


class SchedulerState(SchedulerPlugin):
    """Sets it on the scheduler, which may share its process with others."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def start(self, scheduler: Any) -> None:
        """Set it."""
        _apply(self.state)


class WorkerState(WorkerPlugin):
    """Sets it on a worker."""

    def __init__(self, state: State) -> None:
        self.state = state

    def setup(self, worker: Any) -> None:
        """Set it; what cannot be set is said in the worker's log."""
        for name, value in self.state.environ.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _apply(self.state)
        if self.state.directory is not None:
            try:
                os.chdir(self.state.directory)
            except OSError as error:
                _logger.warning(
                    "%s", linked(f"the script's working directory is not here: {error}", "working-directory")
                )
        memory = self.state.config.get("distributed", {}).get("worker", {}).get("memory", {})
        for name in _FRACTIONS:  # what a worker has read when it started
            attribute = f"memory_{name}_fraction"
            if name in memory and hasattr(worker.memory_manager, attribute):
                setattr(worker.memory_manager, attribute, memory[name])
