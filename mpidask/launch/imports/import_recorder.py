"""Writes the modules that imports loaded to a file.

``python -m mpidask.launch.imports.import_recorder FILE PATH [NAME ...]`` is a process of its own, so that what is
recorded is what a fresh interpreter does, and the rank that needs it imports nothing that it would not have imported
otherwise.

FILE: where to write; 0600, whole or not at all
PATH: sys.path to import from, in JSON
NAME: modules to be imported besides those that every run imports; one that cannot be is left out

Exit status: 0, or 73 (EX_CANTCREAT) if FILE cannot be written.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import marshal
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from importlib.machinery import ExtensionFileLoader, SourceFileLoader
from typing import Any, NoReturn

from mpidask import files
from mpidask.launch.imports import import_cache, preload
from mpidask.launch.imports.import_cache import MAGIC, Module

__all__ = ["record"]

#: What Dask and mpidask import when they are used first, not when they are imported.
_LATER = (
    *preload.NAMES,
    "distributed.diagnostics.websocket",
    "distributed.http.scheduler",
    "distributed.http.scheduler.info",
    "distributed.http.scheduler.json",
    "distributed.http.scheduler.prometheus",
    "distributed.http.statics",
    "distributed.http.worker.prometheus",
    "mpidask.launch.servers.agent",
    "mpidask.launch.cluster.client_rank",
    "mpidask.launch.script_rank",
    "mpidask.launch.cluster.server_rank",
    "mpidask.launch.session",
    "multiprocessing.forkserver",
    "multiprocessing.resource_tracker",
)


def record(names: Sequence[str], path: Sequence[str]) -> list[bytes]:
    """Import modules, and those that every run imports, from such a sys.path; return the recording, in pieces.

    Raises ImportError if Dask cannot be imported.
    """
    sys.path[:] = path  # without the working directory
    found = import_cache.fingerprint(path)
    importlib.import_module("distributed")
    for name in (*_LATER, *names):
        with contextlib.suppress(Exception, SystemExit):  # workers say what is wrong with it
            importlib.import_module(name)
    modules, code = _walk(path)
    roots = dict.fromkeys(module.directory for name, module in modules.items() if "." not in name)
    return _pack(found, sorted(names), list(roots), modules, code)


def _walk(path: Sequence[str]) -> tuple[dict[str, Module], bytes]:
    """Return the modules that have been imported from such a sys.path, and their code."""
    modules: dict[str, Module] = {}
    code = bytearray()
    for name in sorted(sys.modules):  # packages come before what is in them
        top = name.partition(".")[0]
        if top != name and top not in modules:
            continue
        with contextlib.suppress(Exception):  # a module that cannot be looked at is left to the ordinary import
            found = _examine(name, len(code))
            if found is not None and (top != name or found[0].directory in path):
                modules[name] = found[0]
                code += found[1]
    return modules, bytes(code)


def _examine(name: str, start: int) -> tuple[Module, bytes] | None:
    """Return a module and its code; None for one that did not come from a file in the ordinary way."""
    spec = object.__getattribute__(sys.modules[name], "__spec__")  # without waking a module that loads lazily
    loader = spec.loader
    if spec.name != name or not spec.has_location or type(loader) not in (SourceFileLoader, ExtensionFileLoader):
        return None
    about = os.stat(spec.origin)  # before the code is read: what changes in between makes the recording stale
    code = marshal.dumps(loader.get_code(name)) if type(loader) is SourceFileLoader else b""
    module = Module(spec.origin, loader.is_package(name), about.st_size, about.st_mtime_ns, start, len(code))
    return module, code


def _pack(
    found: Mapping[str, Any], names: Sequence[str], roots: Sequence[str], modules: Mapping[str, Module], code: bytes
) -> list[bytes]:
    """Return what a block holds, in pieces; arguments as in `Recording`, code: that of all modules."""
    plain = {name: tuple(module) for name, module in modules.items()}
    index = marshal.dumps((dict(found), list(names), list(roots), plain))
    length = len(index).to_bytes(8, "little")
    checksum = zlib.crc32(code, zlib.crc32(index, zlib.crc32(length)))
    return [MAGIC, checksum.to_bytes(4, "little"), length, index, code]


def _main(file: str, path: str, *names: str) -> NoReturn:
    pieces = record(names, json.loads(path))
    status = 0
    try:
        files.replace(file, b"".join(pieces))
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        status = os.EX_CANTCREAT
    sys.stderr.flush()
    os._exit(status)  # what was imported may have started threads


if __name__ == "__main__":
    _main(*sys.argv[1:])
