"""The options of a run: one dataclass, and what follows from it.

The defaults stand here and nowhere else; `options.loading` fills it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mpidask.errors import UsageError
from mpidask.ports.port_range import PortRange

__all__ = [
    "ENCRYPTED",
    "Options",
    "as_keyword",
    "as_option",
    "inclusive",
    "inside",
    "option",
    "ports",
    "transport",
    "workers_per_rank",
]


#: Protocols -> those that encrypt.
ENCRYPTED = {"tcp": "tls", "ws": "wss"}


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
        None,
        "End a cluster without a script when it was idle for so long; 0: never. Default: 1 h with `mpidask start`.",
        "TIME",
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
    report: str | None = option(
        None,
        "Directory for the record that `mpidask report` reads; --no-report: none. Default: that of a batch job.",
        "DIR",
    )
    quiet: bool = option(False, "Print no banner and no closing lines.")
    timeline: str | None = option(
        None,
        "Write what each process does while the run starts and ends: a Chrome trace, which https://ui.perfetto.dev "
        "shows. Print the longest waits.",
        "FILE",
    )


def as_option(key: str) -> str:
    """Return how an option is typed on the command line."""
    return "--" + key.replace("_", "-")


def as_keyword(key: str) -> str:
    """Return how an option is written in Python."""
    return key.replace("-", "_")


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


def transport(options: Options) -> str:
    """Return the protocol as Dask is to use it: with TLS the encrypted one of its kind."""
    protocol = options.protocol or "tcp"
    if not options.tls:
        return protocol
    return ENCRYPTED.get(protocol, protocol)
