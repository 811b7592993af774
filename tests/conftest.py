"""Fixtures: `ranks` runs programs under the real mpirun of this environment and looks for what they leave behind."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import signal
import socket
import tempfile
from pathlib import Path

import machines
import namespaces
import pytest
import selection
import sharing_out
from browser import opened
from harness import MPI, RANK_VARIABLES, Launcher

#: Real batch systems: tests of one run one after another, all in one of pytest-xdist's processes.
REAL = ("slurm", "sge", "oar", "torque")

#: How many of the slowest tests are printed at the end.
SLOWEST = 20


def pytest_configure(config):
    """Enter a namespace of one's own, unless this process is a rank or only hands out tests to others."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in a shell's background; what tests start would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        _occupy(8787, config)
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        directory = tempfile.TemporaryDirectory(prefix="mpidask-tests-")
        config.add_cleanup(directory.cleanup)
        config.pluginmanager.register(sharing_out.Plugin(Path(directory.name)))
    elif not any(name in os.environ for name in RANK_VARIABLES):
        namespaces.enter()


def _occupy(port, config):
    """Hold the usual port of Dask's page: tests run side by side, so that none may count on having it."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # another run of tests, as the soak, may hold it, too
    config.add_cleanup(holder.close)
    with contextlib.suppress(OSError):  # another program has it: as good
        holder.bind(("", port))
        holder.listen()


def pytest_addoption(parser):
    parser.addoption(
        "--selection",
        action="store_true",
        help="leave out what is marked as thorough, and most of what Open MPI repeats",
    )
    parser.addoption("--write-jobs", action="store_true", help="write jobs/*/*.sh anew instead of comparing them")


def pytest_collection_modifyitems(config, items):
    """Under Open MPI leave out what shows nothing there that it does not show under MPICH: time is short."""
    kept = [item for item in items if MPI.is_mpich or _shows_something(item)]
    if config.getoption("selection"):
        kept = [item for item in kept if _is_selected(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept
    # What takes long by itself begins first.
    items.sort(key=lambda item: not (_turns(item) or item.get_closest_marker("slow")))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session):
    """Say which tests one process runs one after another."""
    if hasattr(session.config, "workerinput"):
        groups = {item.nodeid: _turns(item) for item in session.items if _turns(item)}
        sharing_out.write_groups(session.config, groups)


def _turns(item):
    """Return the name that tests share which run one after another in one process: of a batch system, or browsers."""
    return _group(item) or ("browser" if "browser" in item.fixturenames else None)


def _group(item):
    """Return the name that tests of one batch system share, or of several that cannot run at the same time."""
    words = (
        {_parameters(item).get("system"), *item.fixturenames} if "system" in item.fixturenames else item.fixturenames
    )
    stood_in = vars(getattr(item, "module", object))  # a module's own fixture of that name is no batch system
    real = [name for name in REAL if name in words and name not in stood_in]
    return machines.group(real[0]) if real else None


def _is_selected(item):
    system = _parameters(item).get("system") if "system" in item.fixturenames else None
    system = system if system in ("local", *REAL) else _group(item)
    case = item.callspec.id if hasattr(item, "callspec") else None
    long = item.get_closest_marker("thorough") or selection.takes_long(item.originalname, case)
    if MPI.is_mpich:
        return not long and selection.shows_system(item.originalname, system)
    return selection.shows_open_mpi(item.nodeid) and not item.get_closest_marker("thorough")


def _parameters(item):
    return item.callspec.params if hasattr(item, "callspec") else {}


def _shows_something(item):
    system = _parameters(item).get("system")
    alone = item.get_closest_marker("one_mpi") or "batch" in item.path.parts
    fewer = {item.path.name, f"{item.path.name}::{item.originalname}"} & selection.FEWER_UNDER_OPEN_MPI
    alone = alone or (fewer and item.get_closest_marker("thorough"))
    return not alone or (item.get_closest_marker("both_mpis") and system not in ("local", "torque"))


def pytest_report_header() -> str:
    return f"MPI: {MPI.name}, {MPI.mpirun}"


def pytest_sessionfinish(session):
    """Stop what was started."""
    machines.shut_down()


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    """Return a Launcher whose runs have a directory, a scratch space and a mark of their own."""
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.clean_up()


@pytest.fixture
def browser(tmp_path):
    """Return a real browser."""
    directory = tmp_path / "browser"
    directory.mkdir()
    with opened(directory) as chromium:
        yield chromium


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where everything can be had, as in continuous integration, a skip hides a failure."""
    report = yield
    if report.when == "teardown":
        report.user_properties.append(("why", _why(item)))
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("MPIDASK_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped where skips are failures: {report.longrepr}"
    return report


def _why(item):
    """Return what a test spends its time with."""
    mark = item.get_closest_marker("slow")
    if mark:
        return mark.args[0]
    lent = item.funcargs.values()
    runs = sum(len(each.runs) for each in lent if isinstance(each, Launcher))
    commands = {each.name: each.commands for each in lent if isinstance(each, machines.Machine)}
    words = [f"{runs} run{'s' * (runs > 1)} with all ranks"] * (runs > 0)
    words += [f"{number} commands, and the jobs they start, on {name}" for name, number in commands.items()]
    return "; ".join(words)


def pytest_terminal_summary(terminalreporter):
    """Print the slowest tests, and why they need it."""
    seconds, reasons = collections.Counter(), {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[report.nodeid] += report.duration
                reasons[report.nodeid] = dict(report.user_properties).get("why") or reasons.get(report.nodeid)
    if len(seconds) > SLOWEST:
        terminalreporter.section(f"{SLOWEST} slowest tests")
        for name, duration in seconds.most_common(SLOWEST):
            terminalreporter.line(f"{duration:5.1f} s  {name}: {reasons[name] or 'computes'}")


@pytest.fixture(scope="module")
def keys():
    from mpidask.security import credentials

    return credentials.make()


@pytest.fixture
def file(tmp_path, keys):
    """Lend a scheduler file whose scheduler is gone."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen: nobody else gets the port
        address = f"tls://127.0.0.1:{taken.getsockname()[1]}"
        path = tmp_path / "scheduler.json"
        path.write_text(json.dumps({"address": address, "id": "x", "mpidask": {"keys": dataclasses.asdict(keys)}}))
        path.chmod(0o600)
        yield path
