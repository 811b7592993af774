"""Finds the scheduler that a run without one of its own is to join."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import time

from mpidask import quantities
from mpidask.addresses import reachability
from mpidask.config import Options, transport
from mpidask.errors import MpidaskError, StartupError, caught
from mpidask.files import is_there
from mpidask.launch.comm.polling import wait
from mpidask.launch.comm.world import World
from mpidask.security import credentials, scheduler_file
from mpidask.security.credentials import Contact

__all__ = ["locate"]

_ANSWER = 30.0  # s for the scheduler to say who it is
_TIMEOUT = "300 s"  # for the file to appear
_WORD = 2.0  # s after which a wait for the file is told


def locate(world: World, options: Options) -> Contact | None:
    """Return the scheduler to join, None if the run starts its own; the same on all ranks.

    Waits for a scheduler file that is not there yet; one whose scheduler is gone is refused. Raises StartupError on
    all ranks.
    """
    if options.scheduler:
        return None
    answer = wait(world.share(caught(lambda: _look(options)) if world.rank == 0 else None, 0))
    if isinstance(answer, MpidaskError):
        raise answer
    return answer  # type: ignore[no-any-return]  # what _look returned


def _look(options: Options) -> Contact:
    if options.scheduler_address is not None:
        address = options.scheduler_address
        address = address if "://" in address else f"{transport(options)}://{address}"
        keys = scheduler_file.read(options.scheduler_file).keys if options.scheduler_file is not None else None
        if address.startswith(("tls://", "wss://")) and keys is None and not credentials.configured():
            raise StartupError(
                f"the scheduler at {address} lets in only those who have its keys",
                "name the file that its run has written with --scheduler-file: the keys are there",
            )
        contact = Contact(address, keys)
        reachability.towards(address, credentials.context_of(contact))
        return contact
    path = options.scheduler_file or ""
    _await_file(path, quantities.seconds(options.startup_timeout or _TIMEOUT), quiet=options.quiet)
    entry = scheduler_file.read(path)
    contact = Contact(entry.inner, entry.keys)
    try:
        reachability.towards(contact.address, credentials.context_of(contact))
        scheduler = _ask(contact)
    except (OSError, StartupError) as error:
        raise _stale(path, entry, f"nothing answers at {contact.address} ({error})") from error
    if entry.scheduler and scheduler != entry.scheduler:
        raise _stale(path, entry, f"another scheduler answers at {contact.address}")
    return contact


def _await_file(path: str, timeout: float, *, quiet: bool) -> None:
    begun, told = time.monotonic(), quiet
    while not is_there(path):
        waited = time.monotonic() - begun
        if waited > timeout:
            raise StartupError(
                f"the scheduler file {path} did not appear within {timeout:g} s",
                "start the run with the scheduler (--scheduler-file), or allow more time with --startup-timeout",
            )
        if waited > _WORD and not told:
            told = True
            sys.stderr.write(f"mpidask: waiting for the scheduler file {path}\n")
        time.sleep(0.1)


def _ask(contact: Contact) -> str:
    """Return the id of the scheduler there; in a thread, since there may be an event loop around us."""
    from mpidask.launch.servers import server_start

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(server_start.identify(contact, _ANSWER))).result()


def _stale(path: str, entry: scheduler_file.Entry, why: str) -> StartupError:
    return StartupError(
        f"the scheduler file {path} is stale: {why}.\nit is of a run {entry.origin}",
        "remove the file, and start the run with the scheduler",
        key="stale-scheduler-file",
    )
