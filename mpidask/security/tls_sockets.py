"""TLS connections that are not disturbed by the errors of other ones.

OpenSSL keeps errors in a queue for each thread, and CPython does not empty it before it reads or writes
(https://github.com/python/cpython/issues/148594). With CPython from 3.12.9 and 3.13.2 and OpenSSL from 3.4 an error on
one connection, such as a reset by a peer that has ended, is then taken for an error on the next one that the thread
reads: the event loop of a scheduler closes the connection of a healthy worker.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import Any, TypeVar

from mpidask.compat import dask as compat

__all__ = ["SteadySocket", "mend"]

T = TypeVar("T")

#: What a socket that does not block says when there is nothing to do, and the orderly end of a connection.
_NO_ERRORS = (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLZeroReturnError)


class SteadySocket(ssl.SSLSocket):
    """Python's TLS socket, which neither leaves errors in OpenSSL's queue nor takes those of others for its own."""

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 - Python's name
        """Read as `ssl.SSLSocket.read` does.

        What looks like the end of the connection may be that of another one, too.
        """
        result = _again(super().read, len, buffer)
        if not result and len:
            _empty_queue()
            result = super().read(len, buffer)
        return result

    def write(self, data: Any) -> int:
        """Write as `ssl.SSLSocket.write` does."""
        return _again(super().write, data)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send as `ssl.SSLSocket.send` does."""
        return _again(super().send, data, flags)

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - Python's
        """Do as `ssl.SSLSocket.do_handshake` does; OpenSSL itself empties the queue before it."""
        try:
            super().do_handshake(block)
        except _NO_ERRORS:
            raise
        except OSError:
            _empty_queue()
            raise


def _again(operation: Callable[..., T], *arguments: Any) -> T:
    """Do it once more if it fails: the error may be that of another connection, and is out of the queue then.

    An error of this connection comes again, in whatever form; what is raised is the first.
    """
    try:
        return operation(*arguments)
    except _NO_ERRORS:
        raise
    except OSError as error:
        first = error
    _empty_queue()
    try:
        return operation(*arguments)
    except _NO_ERRORS:
        raise
    except OSError:
        _empty_queue()
        raise first from None


def _empty_queue() -> None:
    """Empty this thread's queue: CPython does so when ciphers are refused, and offers no other way."""
    with contextlib.suppress(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers("none that there is")


def mend() -> None:
    """Have all TLS connections of Dask in this process use steady sockets, whoever has made the keys.

    Nothing else is touched: programs may have sockets of their own.
    """
    compat.prepare_tls_contexts(_use_steady_sockets)


def _use_steady_sockets(context: ssl.SSLContext) -> None:
    if isinstance(context, ssl.SSLContext) and context.sslsocket_class is ssl.SSLSocket:
        context.sslsocket_class = SteadySocket
