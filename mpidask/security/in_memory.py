"""Dask's Security for keys that are never on a disk."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from distributed.security import Security

from mpidask.security import tls_sockets

__all__ = ["MemorySecurity"]

tls_sockets.mend()  # whoever gets these keys, in whatever process


class MemorySecurity(Security):
    """Dask's Security, which writes keys in memory to a temporary directory for OpenSSL; this one does not."""

    def get_connection_args(self, role: str) -> dict[str, Any]:
        """Return what a connection needs."""
        with _readable(self, role) as security:
            return security.get_connection_args(role)  # type: ignore[no-any-return,no-untyped-call]  # Dask's

    def get_listen_args(self, role: str) -> dict[str, Any]:
        """Return what a listener needs."""
        with _readable(self, role) as security:
            return security.get_listen_args(role)  # type: ignore[no-any-return,no-untyped-call]  # Dask's


@contextlib.contextmanager
def _readable(security: Security, role: str) -> Iterator[Security]:
    """Give a Security whose keys for a role are files that OpenSSL can read."""
    settings = {name: getattr(security, name) for name in Security.__slots__}
    with contextlib.ExitStack() as open_files:
        for name in (f"tls_{role}_cert", f"tls_{role}_key"):
            if "\n" in (settings[name] or ""):
                settings[name] = open_files.enter_context(_memory_file(settings[name]))
        yield Security(**settings)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _memory_file(text: str) -> Iterator[str]:
    """Give the path of a file that is in memory alone, and of this process."""
    descriptor = os.memfd_create("mpidask", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
