"""Dask's Security for keys that are never on a disk."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any

from distributed.security import Security

from mpidask.files import memory_file
from mpidask.security import tls_sockets

__all__ = ["MemorySecurity"]

tls_sockets.mend()  # whoever gets these keys, in whatever process


class MemorySecurity(Security):
    """Dask's Security, which writes keys in memory to a temporary directory for OpenSSL; this one does not."""

    def get_connection_args(self, role: str) -> dict[str, Any]:
        """Return what a connection needs."""
        return dict(_arguments("get_connection_args", role, _settings(self)))

    def get_listen_args(self, role: str) -> dict[str, Any]:
        """Return what a listener needs."""
        return dict(_arguments("get_listen_args", role, _settings(self)))


class _Settings(dict[str, Any]):
    """The settings of a Security, as a key: some of them cannot be one."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self["tls_ca_file"])


def _settings(security: Security) -> _Settings:
    return _Settings({name: getattr(security, name) for name in Security.__slots__})


@functools.lru_cache(maxsize=8)
def _arguments(kind: str, role: str, settings: _Settings) -> dict[str, Any]:
    """Return them with a TLS context that all servers of this process share: one for each takes 1 ms."""
    with _readable(settings, role) as security:
        return getattr(security, kind)(role)  # type: ignore[no-any-return]  # Dask's


@contextlib.contextmanager
def _readable(settings: dict[str, Any], role: str) -> Iterator[Security]:
    """Give a Security whose keys for a role are files that OpenSSL can read."""
    settings = dict(settings)
    with contextlib.ExitStack() as open_files:
        for name in (f"tls_{role}_cert", f"tls_{role}_key"):
            if "\n" in (settings[name] or ""):
                settings[name] = open_files.enter_context(_memory_file(settings[name]))
        yield Security(**settings)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _memory_file(text: str) -> Iterator[str]:
    """Give the path of a file that is in memory alone, and of this process."""
    descriptor = memory_file("mpidask")
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
