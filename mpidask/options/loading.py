"""Fills the options of a run from the command line or a call, and from the configuration.

Precedence: command line, then section ``mpidask`` of the configuration (environment, files of project, user and
machine, the profile of a site: `configuration`), then the defaults of `config.Options`.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from mpidask import config, configuration
from mpidask.config import Options
from mpidask.errors import UsageError
from mpidask.quantities import Parsed, checked, memory, path, seconds
from mpidask.run_directory import NO_REPORT

__all__ = ["Settings", "load", "template"]

#: Options that are times.
_TIMES = ("startup_timeout", "thread_grace", "walltime_margin", "idle_timeout")

#: Keys of the section for others: batch.settings, and the layers of the configuration.
_NOT_OPTIONS = ("batch", "profiles")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the configuration alone has, and no command line."""

    optimize: bool = config.option(
        True,
        "Do some things faster than Dask does them; false: leave all of them to Dask, for a version of it that "
        "mpidask does not know.",
    )


def load(
    given: Mapping[str, Any],
    configured: Mapping[str, Any] | None = None,
    otherwise: Mapping[str, Any] | None = None,
    spelled: Callable[[str], str] = config.as_option,
) -> Options:
    """Return the options: `given` ones, then the `mpidask` section of the configuration, `otherwise`, then defaults.

    given, otherwise: option name -> value; None counts as not given
    configured: that section; read, with the profile that is given, if None
    spelled:    how a given option is called in messages
    Raises UsageError for an unknown key or a value of the wrong type or form.
    """
    label_of: Callable[[str], str] = configuration.label
    if configured is None:
        found = _read(given.get("profile"))
        configured, label_of = found.section(), found.label
    own = {key: value for key, value in configured.items() if key not in _NOT_OPTIONS}
    settings = {key: own.pop(key) for key in Settings.__dataclass_fields__ if key in own}
    checked(Settings, settings, label_of)
    stands = {key.replace("-", "_"): key for key, value in own.items() if value is not None}

    def label(name: str) -> str:
        return spelled(name) if given.get(name) is not None or name not in stands else label_of(stands[name])

    layers = [
        checked(Options, otherwise or {}, spelled),
        checked(Options, own, label_of),
        checked(Options, given, spelled),
    ]
    values = {name: value for layer in layers for name, value in layer.items()}
    values["preload_import"] = _names(values.get("preload_import", ()), label("preload_import"))
    for name in ("local_directory", "import_cache", "scheduler_file", "timeline"):
        if values.get(name):
            values[name] = path(values[name], label(name))
    for name in values.keys() & {"scheduler_file", "timeline"}:  # ranks and watchdogs may be in other directories
        values[name] = os.path.abspath(values[name])
    if values.get("report", NO_REPORT) != NO_REPORT:
        values["report"] = os.path.abspath(path(values["report"], label("report")))
    options = Options(**values)
    _check_forms(options, label)
    return dataclasses.replace(options, **_parsed(options))


def _read(profile: str | None) -> configuration.Configured:
    """Return the configuration with a profile; raises UsageError for a file with a key that nothing reads."""
    known = (*Options.__dataclass_fields__, *Settings.__dataclass_fields__, *_NOT_OPTIONS)
    configuration.check_files({name: f"mpidask.{name.replace('_', '-')}" for name in known})
    found = configuration.read(profile)
    configuration.hand_to_dask(found, Settings.__dataclass_fields__)
    return found


def _parsed(options: Options) -> dict[str, Any]:
    """Return the times and the memory with their values."""
    times = {name: getattr(options, name) for name in _TIMES}
    parsed: dict[str, Any] = {name: Parsed(text, seconds(text)) for name, text in times.items() if text is not None}
    if options.memory_limit is not None:
        parsed["memory_limit"] = Parsed(options.memory_limit, memory(options.memory_limit))
    return parsed


def _names(given: tuple[str, ...], label: str) -> tuple[str, ...]:
    """Return the modules of --preload-import; raises UsageError for what cannot be one."""
    names = tuple(name.strip() for each in given for name in each.split(",") if name.strip())
    for name in names:
        if not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(f"{label} names {name!r}", "names of modules are needed, such as numpy,pandas")
    return names


def _check_forms(options: Options, label: Callable[[str], str]) -> None:
    config.workers_per_rank(options, label)
    config.ports(options, label)
    for name in ("nthreads", "min_workers"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UsageError(f"{label(name)} is {value}", "a number from 1 up is needed")
    for name in _TIMES:
        if getattr(options, name) is not None:
            seconds(getattr(options, name), label(name))
    if options.memory_limit is not None:
        memory(options.memory_limit, label("memory_limit"))
    _check_protocol(options, label)
    _check_clients(options)
    if not options.scheduler and options.scheduler_address is None and options.scheduler_file is None:
        raise UsageError(
            "without a scheduler of its own a run needs one to join",
            "name it with --scheduler-file or --scheduler-address (scheduler_file=, scheduler_address=)",
        )


def _check_clients(options: Options) -> None:
    if options.client_interface is None and options.client_address is None:
        return
    if options.client_interface is not None and options.client_address is not None:
        raise UsageError("--client-interface and --client-address say the same", "give one of them")
    if not re.fullmatch(r"[^:\s]+(:\d{1,5})?", options.client_address or "lo"):
        raise UsageError(f"--client-address is {options.client_address!r}", "HOST or HOST:PORT is needed")
    if options.tls and options.scheduler_file is None:
        name = "--client-interface" if options.client_interface is not None else "--client-address"
        raise UsageError(f"{name} needs --scheduler-file", "clients from outside find the keys in that file")


def _check_protocol(options: Options, label: Callable[[str], str]) -> None:
    protocol = config.transport(options)
    if options.tls and protocol not in config.ENCRYPTED.values():
        raise UsageError(
            f"{label('protocol')} {protocol} cannot be encrypted",
            f"give --no-tls as well (everybody who reaches a port can then run programs as you), or choose "
            f"{' or '.join(config.ENCRYPTED.values())}",
        )
    if not options.tls and protocol in config.ENCRYPTED.values():
        raise UsageError(f"{label('protocol')} {protocol} needs keys, and --no-tls makes none", "leave one of them out")


def template() -> str:
    """Return a commented mpidask.yaml with every key of a run, its default and its explanation."""
    first = ["# Copy to ~/.config/dask/mpidask.yaml and uncomment what you want to change.", "# mpidask:"]
    return "\n".join([*first, *configuration.keys(Options, "  "), *configuration.keys(Settings, "  "), ""])
