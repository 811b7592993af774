"""The options of a run: one dataclass, filled from the command line and from dask.config.

Precedence: command line, then section ``mpidask`` of the configuration (environment, files of project, user and
machine, the profile of a site: `configuration`), then the defaults below, which stand nowhere else.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from mpidask import configuration
from mpidask.errors import UsageError
from mpidask.ports.port_range import PortRange
from mpidask.quantities import Parsed, checked, memory, path, seconds

__all__ = [
    "Options",
    "as_keyword",
    "as_option",
    "inclusive",
    "inside",
    "load",
    "option",
    "ports",
    "template",
    "transport",
    "workers_per_rank",
]


#: Options that are times.
_TIMES = ("startup_timeout", "thread_grace", "walltime_margin", "idle_timeout")

#: Keys of the section for others: batch.settings, and the layers of the configuration.
_NOT_OPTIONS = ("batch", "profiles")

#: Protocols -> those that encrypt.
_ENCRYPTED = {"tcp": "tls", "ws": "wss"}


def option(default: Any, text: str, metavar: str = "", *short: str) -> Any:
    """Return the field of an option, with its help and further spellings on the command line."""
    return dataclasses.field(default=default, metadata={"help": text, "metavar": metavar, "short": short})


@dataclasses.dataclass(frozen=True)
class Options:
    """How a run is to be laid out. None means: found out on the machine."""

    profile: str | None = option(
        None,
        "Use the profile of a site, such as leonardo; `mpidask profile list` shows them. Default: the one that the "
        "configuration names.",
        "NAME",
    )
    nthreads: int | None = option(
        None,
        "Threads per worker. Default: the cores a worker's rank may use, shared with its neighbours; 1 for a worker "
        "with a GPU.",
        "N",
    )
    memory_limit: str | None = option(
        None,
        "Memory per worker, such as '4 GiB', or a fraction of the node's such as 0.25; 0 for no limit. Default (auto): "
        "what the node or its cgroup has, shared by the workers on it.",
        "SIZE",
    )
    local_directory: str | None = option(
        None, "Where workers spill. Default: a node-local directory; made for the run, removed at its end.", "DIR"
    )
    shared_scratch: bool = option(False, "Accept a network file system for --local-directory.")
    interface: str | None = option(
        None, "Network interface, such as ib0. Default: the fastest on which the nodes reach each other.", "NAME"
    )
    client_interface: str | None = option(
        None, "A second network interface on which the scheduler listens, for clients from outside.", "NAME"
    )
    client_address: str | None = option(
        None, "The same by address: HOST or HOST:PORT on the scheduler's node.", "ADDRESS"
    )
    port_range: str | None = option(
        None,
        "Ports that a firewall lets through, such as 40000:40100: scheduler, dashboard, nannies and workers listen on "
        "these alone. Default: any free ones.",
        "FIRST:LAST",
    )
    tls: bool = option(
        True, "Encrypt all connections, with keys made for the run: nobody else can connect; --no-tls: everybody can."
    )
    protocol: str | None = option(None, "Dask's communication protocol. Default: tls, or tcp with --no-tls.", "NAME")
    gpus: bool = option(True, "Give each worker a GPU of its own where the allocation has GPUs.")
    nanny: bool = option(
        True, "Run each worker in a child of its rank, restarted when it dies; --no-nanny: inside the rank."
    )
    worker_class: str = option("distributed.Worker", "Import path of the worker class.", "PATH")
    worker_options: Mapping[str, Any] | None = option(
        None, 'Further arguments of the worker class, such as \'{"lifetime": "1 h"}\'.', "JSON"
    )
    data: str | None = option(
        None,
        "Import path of what makes the mapping in which a worker keeps its data: called with the worker's directory if "
        "it takes worker_local_directory. Default: Dask's, memory that spills to disk.",
        "PATH",
    )
    name: str | None = option(None, "Prefix of the workers' names: NAME-RANK. Default: the rank's number.", "NAME")
    workers_per_rank: str = option(
        "1",
        "Workers that each rank hosts, forked from one process; auto: as many as its cores and memory suggest (the "
        "smallest divisor of the cores from their square root up, all of them up to 4; at least 1 GiB each), one per "
        "GPU where it has GPUs, one with --no-nanny. Batch jobs with one rank per node: auto.",
        "K",
    )
    inclusive_workers: bool | None = option(
        None,
        "Let the scheduler's and the script's rank host workers too. Default: only where ranks host several.",
    )
    preload_import: tuple[str, ...] = option(
        (), "Modules that workers are to start with, such as numpy,pandas: imported once per node; repeatable.", "NAMES"
    )
    import_cache: str | None = option(
        None,
        "Have ranks import Dask from one file, which rank 0 reads and sends to all (--import-cache=FILE, made if it is "
        "not there). Default: not; without FILE one in the user's cache directory.",
        "[=FILE]",
    )
    client_rank: int | None = option(None, "The rank that runs the script. Default: 1, or 0 if it is alone.", "RANK")
    scheduler_rank: int = option(0, "The rank that hosts the scheduler.", "RANK")
    scheduler: bool = option(
        True, "Start a scheduler; --no-scheduler: join the one that --scheduler-file or --scheduler-address names."
    )
    scheduler_file: str | None = option(
        None, "File that tells others where the scheduler is: written, or with --no-scheduler read.", "FILE"
    )
    scheduler_address: str | None = option(None, "With --no-scheduler: the address of the scheduler.", "ADDRESS")
    scheduler_port: int | None = option(None, "Port of the scheduler. Default: a free one.", "PORT")
    min_workers: int | None = option(None, "Start the script when so many workers are up. Default: all.", "N")
    idle_timeout: str | None = option(
        None, "End a cluster without a script when it has had nothing to do for so long; 0: never.", "TIME"
    )
    startup_timeout: str | None = option(
        None, "How long to wait for the workers. Default: 300 s, more where over 250 ranks host workers.", "TIME"
    )
    dashboard: bool = option(True, "Serve Dask's dashboard (needs bokeh).")
    dashboard_address: str = option("127.0.0.1:0", "Where the dashboard listens; port 0 is a free one.", "ADDRESS")
    thread_grace: str = option(
        "60 s",
        "How long threads that the script left running are waited for at its end; then the run ends with status 70.",
        "TIME",
    )
    local_cluster: bool = option(
        False,
        "Leave Dask's LocalCluster as it is: workers beside the script, on its node. Default: LocalCluster(...) and "
        "Client(n_workers=...) get the run's cluster.",
    )
    walltime_margin: str = option(
        "60 s",
        "How long before the walltime's end the script is told and ended, at most a quarter of the walltime; "
        "0: not at all.",
        "TIME",
    )
    quiet: bool = option(False, "Print no banner and no closing line.")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the configuration alone has, and no command line."""

    optimize: bool = option(
        True,
        "Do some things faster than Dask does them; false: leave all of them to Dask, for a version of it that "
        "mpidask does not know.",
    )


def as_option(key: str) -> str:
    """Return how an option is typed on the command line."""
    return "--" + key.replace("_", "-")


def as_keyword(key: str) -> str:
    """Return how an option is written in Python."""
    return key.replace("-", "_")


def load(
    given: Mapping[str, Any],
    configured: Mapping[str, Any] | None = None,
    otherwise: Mapping[str, Any] | None = None,
    spelled: Callable[[str], str] = as_option,
) -> Options:
    """Return the options: `given` ones, then the `mpidask` section of the configuration, `otherwise`, then defaults.

    given, otherwise: option name -> value; None counts as not given
    configured:       that section; read, with the profile that is given, if None
    spelled:          how a given option is called in messages
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
    for name in ("local_directory", "import_cache", "scheduler_file"):
        if values.get(name):
            values[name] = path(values[name], label(name))
    if "scheduler_file" in values:  # ranks and watchdogs may have other working directories
        values["scheduler_file"] = os.path.abspath(values["scheduler_file"])
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


def workers_per_rank(options: Options, label: Callable[[str], str] = as_option) -> int | None:
    """Return how many workers a rank hosts, None for as many as its cores and memory suggest; raises UsageError."""
    text = options.workers_per_rank.strip()
    if text == "auto":
        return 1 if inside(options) else None
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{label('workers_per_rank')} is {text!r}", "a number from 1 up is needed, or auto")
    if inside(options) and int(text) > 1:
        raise UsageError(
            f"{label('workers_per_rank')} {text} needs nannies: inside the rank itself there is one worker",
            "leave --no-nanny out (initialize, execute: worker_class='distributed.Nanny'), or start more ranks",
        )
    return int(text)


def inside(options: Options) -> bool:
    """Whether a rank's worker lives in the rank's own process: drop-ins may name a class that starts processes."""
    return not options.nanny and not starts_workers(options)


def starts_workers(options: Options) -> bool:
    """Whether the worker class is one of servers that start workers in processes of their own."""
    return options.worker_class.endswith("Nanny") or options.worker_class.startswith("dask_cuda.")


def inclusive(options: Options) -> bool:
    """Whether the scheduler's and the script's rank host workers: by default where ranks host several."""
    return workers_per_rank(options) != 1 if options.inclusive_workers is None else options.inclusive_workers


def ports(options: Options, label: Callable[[str], str] = as_option) -> PortRange | None:
    """Return the ports on which servers may listen, None for all; raises UsageError."""
    return None if options.port_range is None else PortRange.parse(options.port_range, label("port_range"))


def _check_forms(options: Options, label: Callable[[str], str]) -> None:
    workers_per_rank(options, label)
    ports(options, label)
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
    protocol = transport(options)
    if options.tls and protocol not in _ENCRYPTED.values():
        raise UsageError(
            f"{label('protocol')} {protocol} cannot be encrypted",
            f"give --no-tls as well (everybody who reaches a port can then run programs as you), or choose "
            f"{' or '.join(_ENCRYPTED.values())}",
        )
    if not options.tls and protocol in _ENCRYPTED.values():
        raise UsageError(f"{label('protocol')} {protocol} needs keys, and --no-tls makes none", "leave one of them out")


def transport(options: Options) -> str:
    """Return the protocol as Dask is to use it: with TLS the encrypted one of its kind."""
    protocol = options.protocol or "tcp"
    if not options.tls:
        return protocol
    return _ENCRYPTED.get(protocol, protocol)


def template() -> str:
    """Return a commented mpidask.yaml with every key of a run, its default and its explanation."""
    first = ["# Copy to ~/.config/dask/mpidask.yaml and uncomment what you want to change.", "# mpidask:"]
    return "\n".join([*first, *configuration.keys(Options, "  "), *configuration.keys(Settings, "  "), ""])
