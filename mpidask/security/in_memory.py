"""Dask's Security for keys that are never on a disk."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

from distributed.security import Security

from mpidask.security import tls_sockets

__all__ = ["MemorySecurity"]

tls_sockets.mend()  # whoever gets these keys, in whatever process


class MemorySecurity(Security):
    """Dask's Security, which writes keys in memory to a temporary directory for OpenSSL; this one does not."""

    def _get_tls_context(self, tls: Mapping[str, str], purpose: ssl.Purpose) -> Any:
        if "\n" not in (tls.get("cert") or "") or "\n" not in (tls.get("key") or ""):
            return super()._get_tls_context(tls, purpose)  # type: ignore[no-untyped-call]  # Dask's
        with _memory_file(tls["cert"]) as cert, _memory_file(tls["key"]) as key:
            return super()._get_tls_context({**tls, "cert": cert, "key": key}, purpose)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _memory_file(text: str) -> Iterator[str]:
    """Give the path of a file that is in memory alone, and of this process."""
    descriptor = os.memfd_create("mpidask", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
