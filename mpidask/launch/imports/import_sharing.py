"""Gets all ranks the import cache: rank 0 reads its file, or has it made, and sends it to the others."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Collection, Sequence
from importlib.machinery import PathFinder
from pathlib import Path
from typing import IO

from mpidask import files
from mpidask.config import Options
from mpidask.errors import MpidaskError, UsageError, warn
from mpidask.launch.comm.polling import Steps, WaitPolicy, wait
from mpidask.launch.comm.rank import Rank
from mpidask.launch.comm.world import World
from mpidask.launch.imports import import_cache
from mpidask.launch.imports.import_cache import ImportCache, Recording
from mpidask.launch.watchdog.early_start import interpreter_options
from mpidask.launch.watchdog.launcher_environment import TOKEN

__all__ = ["share"]

_AUTO = "auto"  # --import-cache without a FILE
_PREFIX, _KEPT = "imports-", 8  # files in the user's cache directory: their names, and how many
_MAKING = 600.0  # s that making the file may take: imports from a slow file system do
_AGREE = 300.0  # s for all ranks to have looked at what they got


class _UnusableError(Exception):
    """There is no cache that can be used, and why: imports go the ordinary way."""


class _StaleError(_UnusableError):
    """The file is not what would be made now."""


class _UnwritableError(_UnusableError):
    """The file cannot be made."""


def share(rank: Rank, options: Options) -> ImportCache | None:
    """Return the import cache that the user has asked for, on every rank; None if it cannot be used.

    The ranks call it together. What keeps one from using it is said once, by rank 0. Raises UsageError, on all ranks,
    if the user has named a file that cannot be written.
    """
    return wait(_share(rank, options))


def _share(rank: Rank, options: Options) -> Steps[ImportCache | None]:
    world = rank.world
    value = (yield from _obtain(rank.watchdog.token, options)) if world.rank == 0 else None
    verdict = yield from world.share(value if isinstance(value, MpidaskError) else value is not None, 0)
    if isinstance(verdict, MpidaskError):
        raise verdict
    if not verdict:
        return None
    cache = yield from _send(world, value if isinstance(value, ImportCache) else None)
    reason = import_cache.difference(cache.recording()) if cache is not None else "there is no memory for it"
    reasons = yield from world.agree(reason, WaitPolicy(_AGREE))
    if world.rank == 0:
        _tell(reasons)
    if not reason:
        return cache
    if cache is not None:
        cache.close()
    return None


def _send(world: World, cache: ImportCache | None) -> Steps[ImportCache | None]:
    """Broadcast the cache that rank 0 has; a rank without memory for it takes part all the same."""
    size = yield from world.share(None if cache is None else len(cache.room()), 0)
    if cache is None:
        with contextlib.suppress(OSError):
            cache = ImportCache.of_size(size)
    yield from world.share_into(bytearray(size) if cache is None else cache.room(), 0)
    return cache


def _tell(reasons: dict[int, str]) -> None:
    """Say which ranks go without the cache, and why the first of them does."""
    without = [rank for rank in sorted(reasons) if reasons[rank]]
    if without:
        who = f"rank {without[0]}" + (f" and {len(without) - 1} more" if without[1:] else "")
        warn(f"{who} cannot use the import cache: {reasons[without[0]]}", key="import-cache")


# ------------------------------------------------------------------------------ rank 0
def _obtain(token: str, options: Options) -> Steps[ImportCache | MpidaskError | None]:
    """Return what the file holds, made anew if need be; None, with a warning, if it cannot be used.

    token: marks the processes that this rank starts
    """
    wanted, names = options.import_cache or _AUTO, sorted(set(options.preload_import))
    what = "the import cache"
    try:
        path = _standard_place(names) if wanted == _AUTO else os.path.abspath(os.path.expanduser(wanted))
        what = f"the import cache {path}"
        try:
            return _load(path, names)
        except _StaleError:
            yield from _make(token, path, names)
        if wanted == _AUTO:
            _thin_out(path)
        return _load(path, names)
    except _UnusableError as error:
        if isinstance(error, _UnwritableError) and wanted != _AUTO:
            return UsageError(f"{what} {error}", "choose another place: --import-cache=FILE")
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other ranks wait, and imports go without
        reason = f"is not used: {type(error).__name__}: {error}"
    warn(f"{what} {reason}; imports go without one", key="import-cache")
    return None


def _standard_place(names: Sequence[str]) -> str:
    """Return the file for such imports by such an interpreter; raises _UnusableError without a directory for it."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    directory = Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "mpidask"
    try:
        files.make_private(directory)
    except OSError as error:
        raise _UnusableError(f"cannot be in {directory}: {error.strerror}") from error
    which = repr((import_cache.fingerprint(import_cache.fixed_path()), list(names)))
    return str(directory / f"{_PREFIX}{hashlib.sha256(which.encode()).hexdigest()[:16]}")


def _thin_out(path: str) -> None:
    """Remove the oldest of the files beside the one that has been made: each holds megabytes, in a home directory."""
    made = sorted(Path(path).parent.glob(f"{_PREFIX}*"), key=lambda each: each.stat().st_mtime, reverse=True)
    for each in made[_KEPT:]:
        each.unlink(missing_ok=True)


def _load(path: str, names: Sequence[str]) -> ImportCache:
    """Return what a file holds, checked; raises _StaleError if it is to be made anew, _UnusableError if not used."""
    try:
        with files.open_private(path) as file:
            cache = _read(file)
    except FileNotFoundError as error:
        raise _StaleError("is not there") from error
    except OSError as error:
        raise _UnusableError(f"is not used: {error.strerror}") from error
    try:
        _check(cache, names)
    except _UnusableError:
        cache.close()
        raise
    return cache


def _read(file: IO[bytes]) -> ImportCache:
    size = os.fstat(file.fileno()).st_size
    cache = ImportCache.of_size(max(size, 1))
    file.readinto(cache.room())  # type: ignore[attr-defined]  # a file that is open to be read has it
    return cache


def _check(cache: ImportCache, names: Sequence[str]) -> None:
    """Check that a file holds what would be recorded now; raises _StaleError, or _UnusableError."""
    try:
        if not import_cache.is_whole(memoryview(cache.room())):
            raise _StaleError("is damaged")
        recording = cache.recording()
    except (ValueError, EOFError, TypeError) as error:
        raise _StaleError("is of another version") from error
    if reason := import_cache.difference(recording):
        raise _StaleError(f"was made where {reason}")
    if recording.names != names:
        raise _StaleError("was made for other modules")
    _check_sources(recording)
    _check_path(recording)


def _check_sources(recording: Recording) -> None:
    for name, module in recording.items():
        try:
            about = os.stat(module.origin)
        except OSError:
            raise _StaleError(f"holds {name}, which is gone") from None
        if (about.st_size, about.st_mtime_ns) != (module.size, module.mtime):
            raise _StaleError(f"holds {name}, which has changed")


def _check_path(recording: Recording) -> None:
    """Check that nothing has come up in the way of what is recorded; raises _StaleError, or _UnusableError."""
    path = recording.found["sys.path"]
    tops = {name: path.index(module.directory) for name, module in recording.items() if "." not in name}
    for place, directory in enumerate(path):
        if name := _shadow(recording, directory, {name for name in tops if tops[name] > place}):
            raise _StaleError(f"holds {name}, which is in {directory} as well")
    if sys.flags.safe_path:
        return
    for directory in dict.fromkeys((os.path.abspath(sys.path[0]), os.getcwd())):  # the fork server's is the latter
        if name := _shadow(recording, directory, tops):
            raise _UnusableError(f"is not used: in {directory} there is another {name}")


def _shadow(recording: Recording, directory: str, names: Collection[str]) -> str | None:
    """Return one of these modules which, with this directory first in sys.path, would be another; None if none is."""
    if os.path.isdir(directory):
        names = {entry.partition(".")[0] for entry in os.listdir(directory)}.intersection(names)
    elif not os.path.exists(directory):
        return None
    for name in sorted(names):
        spec, recorded = PathFinder.find_spec(name, [directory]), recording.get(name)
        if spec is not None and recorded is not None and spec.origin not in (None, recorded.origin):
            return name
    return None


def _make(token: str, path: str, names: Sequence[str]) -> Steps[None]:
    """Have the file made by a process of its own; raises _UnusableError."""
    program = [sys.executable, *interpreter_options(sys.orig_argv), "-m", "mpidask.launch.imports.import_recorder"]
    with os.fdopen(files.memory_file("recorder"), "w+", errors="replace") as said:
        import subprocess  # not at the top: ranks that only wait do without

        process = subprocess.Popen(  # noqa: S603 - our own module
            [*program, path, json.dumps(import_cache.fixed_path()), *names],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, TOKEN: token},  # so that it ends with this rank
        )
        try:
            deadline = time.monotonic() + _MAKING
            while process.poll() is None and time.monotonic() < deadline:
                yield False
        finally:
            process.kill()
            status = process.wait()
        said.seek(0)
        words = [line.strip() for line in said if line.strip()] or ["it said nothing"]
    if status:
        kind = _UnwritableError if status == os.EX_CANTCREAT else _UnusableError
        raise kind(f"cannot be made: {words[-1]}")
