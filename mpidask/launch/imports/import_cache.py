"""Imports from one block of memory instead of from a shared file system.

The block is what `import_recorder` has written and `import_sharing` has sent to all ranks. Only start-up uses it: then
imports are as ever, and so are the modules that came from it. Of the standard library only what is small: this has to
be imported before the cache can help.
"""

from __future__ import annotations

import contextlib
import importlib.util
import marshal
import mmap
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, NamedTuple

from mpidask.errors import warn
from mpidask.launch.imports.listing_finder import ListingFinder

__all__ = [
    "MAGIC",
    "ImportCache",
    "Module",
    "Recording",
    "active",
    "difference",
    "fingerprint",
    "fixed_path",
    "is_whole",
    "offer",
    "offered",
    "warn",
]

#: Names the block for the fork server that a rank starts.
VARIABLE = "MPIDASK_IMPORT_CACHE"

#: Begins a block; then come a checksum of what follows (4 bytes), the length of the index (8), the index, the code.
MAGIC = b"mpidask imports 1\n"
_HEADER = len(MAGIC) + 4 + 8


class Module(NamedTuple):
    """A module as it was found.

    origin:   its file
    package:  whether it is one
    size, mtime: of that file, in bytes and in ns
    start, length: of its code, from the end of the index; length 0: an extension module
    """

    origin: str
    package: bool
    size: int
    mtime: int
    start: int
    length: int

    @property
    def directory(self) -> str:
        """Where the module was found: an entry of sys.path, or of the path of the package that it is in."""
        directory = os.path.dirname(self.origin)
        return os.path.dirname(directory) if self.package else directory


class Recording:
    """What a block of memory holds.

    found:  what the recorder was, as `fingerprint` says
    names:  the modules that it was asked to import
    roots:  the entries of its sys.path in which it found something
    """

    def __init__(self, block: memoryview) -> None:
        """Read the index; raises ValueError, EOFError or TypeError for what is no recording."""
        if bytes(block[: len(MAGIC)]) != MAGIC:
            raise ValueError("it is no import cache of this version")
        length = int.from_bytes(block[_HEADER - 8 : _HEADER], "little")
        self.found, self.names, self.roots, self._modules = marshal.loads(block[_HEADER : _HEADER + length])  # noqa: S302 - our own: owner and mode are checked
        self._code = block[_HEADER + length :]

    def items(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules with their names."""
        return ((name, Module(*found)) for name, found in self._modules.items())

    def get(self, name: str) -> Module | None:
        """Return a module, None if it is not recorded."""
        found = self._modules.get(name)
        return None if found is None else Module(*found)

    def code(self, module: Module) -> CodeType:
        """Return the code of a module that is no extension."""
        return marshal.loads(self._code[module.start : module.start + module.length])  # type: ignore[no-any-return]  # noqa: S302


def is_whole(block: memoryview) -> bool:
    """Whether a block is as it was written."""
    import zlib  # which fork servers need not

    start = len(MAGIC) + 4
    return len(block) > _HEADER and zlib.crc32(block[start:]) == int.from_bytes(block[start - 4 : start], "little")


# ------------------------------------------------------------------------------ who may use it
def fixed_path() -> list[str]:
    """Return sys.path without the directory of the script, or the working directory, which Python puts first."""
    own = {os.readlink("/proc/self/cwd"), os.path.dirname(os.path.realpath(sys.argv[0]))}
    entries = sys.path[1:] if sys.path and os.path.abspath(sys.path[0]) in own else sys.path
    return list(dict.fromkeys(os.path.abspath(entry) for entry in entries))


def fingerprint(path: Sequence[str]) -> dict[str, Any]:
    """Return what makes two interpreters import the same code from the same places.

    path: what `fixed_path` returns
    """
    finders = sys.meta_path[: sys.meta_path.index(PathFinder)] if PathFinder in sys.meta_path else sys.meta_path
    return {
        "sys.version": sys.version,
        "sys.implementation.cache_tag": sys.implementation.cache_tag,
        "importlib.util.MAGIC_NUMBER": importlib.util.MAGIC_NUMBER,
        "sys.flags.optimize": sys.flags.optimize,
        "the machine": os.uname().machine,
        "sys.prefix": sys.prefix,
        "sys.meta_path": [_type_name(finder) for finder in finders],  # those before the one that we relieve
        "sys.path_hooks": [_type_name(hook) for hook in sys.path_hooks],
        "sys.path": list(path),
    }


def _type_name(each: Any) -> str:
    kind = each if hasattr(each, "__qualname__") else type(each)
    return f"{kind.__module__}.{kind.__qualname__}"


def difference(recording: Recording) -> str:
    """Return in what this interpreter differs from the one that recorded, so that imports may differ; "" if in nothing.

    Its path may lack entries in which nothing was found.
    """
    own = fingerprint(fixed_path())
    path, recorded = own.pop("sys.path"), recording.found.get("sys.path", [])
    for name, value in own.items():
        if recording.found.get(name) != value:
            return f"{name} is {value!r}, not {recording.found.get(name)!r}"
    others = [entry for entry in path if entry not in recorded]
    others += [entry for entry in recording.roots if entry not in path]
    if others:
        return f"sys.path differs in {', '.join(map(repr, others))}"
    return "" if path == [entry for entry in recorded if entry in path] else "sys.path has another order"


# ------------------------------------------------------------------------------ where it is kept
class ImportCache:
    """A recording in a file in memory, which other processes of this user can open while it is not closed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def of_size(cls, size: int) -> ImportCache:
        """Return one that is to be filled; raises OSError, also where so much memory cannot be had."""
        from mpidask.files import memory_file  # not at the top: it is imported before the cache can help

        made = cls(memory_file("mpidask imports"))
        try:
            os.fchmod(made.descriptor, 0o600)
            os.posix_fallocate(made.descriptor, 0, size)
        except OSError:
            os.close(made.descriptor)
            raise
        return made

    def room(self) -> mmap.mmap:
        """Return its memory, to write to."""
        return mmap.mmap(self.descriptor, 0)

    def close(self) -> None:
        """Forget it."""
        os.close(self.descriptor)

    def recording(self) -> Recording:
        """Return what it holds, in memory that is mapped as long as the recording is there; raises as that does."""
        return Recording(memoryview(mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)))


def offer(cache: ImportCache | None) -> dict[str, str]:
    """Return what names the cache in the environment of a process that this one starts."""
    return {} if cache is None else {VARIABLE: f"/proc/{os.getpid()}/fd/{cache.descriptor}"}


def offered() -> ImportCache | None:
    """Return the cache that the environment names, None if there is none that can be used; to be closed."""
    path = os.environ.pop(VARIABLE, None)  # for this process, not for those that it starts
    if path is None:
        return None
    cache = None
    try:
        cache = ImportCache(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        about = os.fstat(cache.descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid():
            raise ValueError(f"{path} is no file of this user")
        if reason := difference(cache.recording()):
            raise ValueError(reason)
    except (OSError, ValueError, EOFError, TypeError) as error:
        if cache is not None:
            cache.close()
        warn(f"the import cache is not used where workers are forked: {error}", key="import-cache")
        return None
    return cache


# ------------------------------------------------------------------------------ imports
@contextlib.contextmanager
def active(cache: ImportCache | None) -> Iterator[None]:
    """Have modules imported from the cache meanwhile, if there is one, the others from directories read once."""
    finder = None if cache is None else _Finder(cache.recording())
    finders: list[Any] = [each for each in (finder, ListingFinder()) if each is not None]
    place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path[place:place] = finders
    try:
        yield
    finally:
        for each in finders:
            with contextlib.suppress(ValueError):
                sys.meta_path.remove(each)
        if finder is not None:
            finder.recording = None  # the memory is unmapped with it


class _Finder:
    """Knows where recorded modules are without looking; whatever else is asked for is left to the finders after it.

    Not derived from PathFinder: the package importlib_metadata would take it for a second finder of distributions.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording: Recording | None = recording
        self._complained = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: object | None = None
    ) -> ModuleSpec | None:
        """Return where a module is; None if it is not recorded, or is being reloaded."""
        try:
            module = self.recording.get(name) if self.recording is not None and target is None else None
            if module is None or (path is not None and module.directory not in path):
                return None
            return self._spec(name, module)
        except Exception as error:  # noqa: BLE001 - whatever it is, the ordinary import is there
            self.complain(name, error)
            return None

    def _spec(self, name: str, module: Module) -> ModuleSpec | None:
        loader = _Loader(name, module.origin, self) if module.length else ExtensionFileLoader(name, module.origin)
        locations = [os.path.dirname(module.origin)] if module.package else None
        return importlib.util.spec_from_file_location(
            name, module.origin, loader=loader, submodule_search_locations=locations
        )

    def code(self, name: str) -> CodeType | None:
        """Return a module's code, None if it is to be taken from its file."""
        try:
            module = self.recording.get(name) if self.recording is not None else None
            return self.recording.code(module) if self.recording is not None and module is not None else None
        except Exception as error:  # noqa: BLE001 - whatever it is, the file is there
            self.complain(name, error)
            return None

    def complain(self, name: str, error: Exception) -> None:
        """Say once what has failed."""
        if not self._complained:
            self._complained = True
            why = f"{type(error).__name__}: {error}"
            warn(f"{name} could not be had from the import cache ({why}), but from its file", key="import-cache")


class _Loader(SourceFileLoader):
    """Takes a module's code from the cache; the module gets the loader that an ordinary import would have made."""

    def __init__(self, name: str, path: str, finder: _Finder) -> None:
        super().__init__(name, path)
        self._finder = finder

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = SourceFileLoader(self.name, str(self.path))
        super().exec_module(module)

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the module's code."""
        return self._finder.code(fullname) or super().get_code(fullname)
