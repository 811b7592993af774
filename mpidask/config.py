"""The options of a run: one dataclass, filled from the command line and from dask.config.

Precedence: command line, then dask.config (``DASK_MPIDASK__...`` in the environment, ``~/.config/dask/*.yaml``,
``/etc/dask/*.yaml``; section ``mpidask``), then the defaults below, which stand nowhere else.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from mpidask.errors import UsageError

__all__ = ["Options", "load", "seconds", "size", "template"]


def _option(default: Any, text: str, metavar: str = "") -> Any:
    return dataclasses.field(default=default, metadata={"help": text, "metavar": metavar})


@dataclasses.dataclass(frozen=True)
class Options:
    """How a run is to be laid out. None means: found out on the machine."""

    nthreads: int | None = _option(
        None, "Threads per worker. Default: the cores a worker's rank may use, shared with its neighbours.", "N"
    )
    memory_limit: str | None = _option(
        None,
        "Memory per worker, such as '4 GiB'; 0 for no limit. Default: what the node or its cgroup has, shared by the "
        "workers on it.",
        "SIZE",
    )
    local_directory: str | None = _option(
        None, "Where workers spill. Default: a node-local directory; made for the run, removed at its end.", "DIR"
    )
    shared_scratch: bool = _option(False, "Accept a network file system for --local-directory.")
    interface: str | None = _option(
        None, "Network interface, such as ib0. Default: the fastest on which the nodes reach each other.", "NAME"
    )
    protocol: str = _option("tcp", "Dask's communication protocol.", "NAME")
    gpus: bool = _option(True, "Give each worker a GPU of its own where the allocation has GPUs.")
    nanny: bool = _option(
        True, "Run each worker in a child of its rank, restarted when it dies; --no-nanny: inside the rank."
    )
    worker_class: str = _option("distributed.Worker", "Import path of the worker class.", "PATH")
    inclusive_workers: bool = _option(False, "Let the scheduler's and the script's rank host workers too.")
    min_workers: int | None = _option(None, "Start the script when so many workers are up. Default: all.", "N")
    startup_timeout: str = _option("300 s", "How long to wait for the workers.", "TIME")
    dashboard: bool = _option(True, "Serve Dask's dashboard (needs bokeh).")
    dashboard_address: str = _option("127.0.0.1:0", "Where the dashboard listens; port 0 is a free one.", "ADDRESS")
    thread_grace: str = _option(
        "3 s", "How long threads that the script left running are waited for at its end.", "TIME"
    )
    quiet: bool = _option(False, "Print no banner and no closing line.")


def load(given: Mapping[str, Any], configured: Mapping[str, Any] | None = None) -> Options:
    """Return the options: `given` ones, then the `mpidask` section of dask.config, then defaults.

    given:      option name -> value; None counts as not given
    configured: that section; read from dask.config if None
    Raises UsageError for an unknown key or a value of the wrong type or form.
    """
    if configured is None:
        import dask.config

        configured = dask.config.get("mpidask", default={}) or {}
    fields = {field.name: field for field in dataclasses.fields(Options)}
    values = dict(_checked(fields, configured))
    values.update({name: value for name, value in given.items() if value is not None})
    options = Options(**values)
    _check_forms(options)
    return options


def _checked(fields: Mapping[str, Any], configured: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(configured, dict):
        raise UsageError(f"the configuration's section mpidask must hold keys, it is {configured!r}")
    values = {}
    for key, value in configured.items():
        name = key.replace("-", "_")
        if name not in fields:
            close = difflib.get_close_matches(name, fields, 1)
            hint = f"did you mean mpidask.{close[0].replace('_', '-')}? " if close else ""
            names = ", ".join(name.replace("_", "-") for name in fields)
            raise UsageError(f"unknown key in the configuration: mpidask.{key}", f"{hint}There are: {names}")
        if value is not None:
            values[name] = _of_type(name, value, str(fields[name].type))
    return values


def _of_type(name: str, value: Any, declared: str) -> Any:
    """Return a configured value as the type that the field declares."""
    wanted = {"bool": bool, "int": int}.get(declared.split(" ", maxsplit=1)[0], str)
    if wanted is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if type(value) is not wanted:
        raise UsageError(
            f"mpidask.{name.replace('_', '-')} is {value!r} in the configuration",
            f"a value of type {wanted.__name__} is needed there",
        )
    return value


def _check_forms(options: Options) -> None:
    for name in ("nthreads", "min_workers"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"{_shown(name)} is {value}", "a number from 1 up is needed")
    for name in ("startup_timeout", "thread_grace"):
        seconds(getattr(options, name), _shown(name))
    if options.memory_limit is not None:
        size(options.memory_limit, _shown("memory_limit"))


def _shown(name: str) -> str:
    return "--" + name.replace("_", "-")


def seconds(text: str, name: str = "the time") -> float:
    """Return a duration such as '300', '5 min' or '90s' in seconds."""
    from dask.utils import parse_timedelta

    try:
        value = float(parse_timedelta(text))
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{name} is {text!r}", "a time is needed, such as '90 s' or '5 min'") from None
    if value < 0:
        raise UsageError(f"{name} is {text!r}", "a time is needed, not one before now")
    return value


def size(text: str, name: str = "the size") -> int:
    """Return a memory size such as '4 GiB' in bytes."""
    from dask.utils import parse_bytes

    try:
        value = int(parse_bytes(text))
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{name} is {text!r}", "a size is needed, such as '4 GiB', or 0 for no limit") from None
    if value < 0:
        raise UsageError(f"{name} is {text!r}", "a size from 0 up is needed")
    return value


def template() -> str:
    """Return a commented mpidask.yaml with every key, its default and its explanation."""
    lines = ["# Copy to ~/.config/dask/mpidask.yaml and uncomment what you want to change.", "# mpidask:"]
    for field in dataclasses.fields(Options):
        value = str(field.default).lower() if isinstance(field.default, bool) else field.default
        value = "null" if value is None else value
        lines.append(f"#   {field.name.replace('_', '-')}: {value}  # {field.metadata['help']}")
    return "\n".join(lines) + "\n"
