"""Whether a TLS connection with the keys of a run works."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpidask.doctor.finding import Finding, failure, ok, pip
from mpidask.doctor.probe import Facts, Probe
from mpidask.doctor.time_limit import share

_WORD = b"mpidask"


def measure(_root: Path) -> dict[str, Any]:
    """Return the version and cipher of a round trip through Dask's own connections on the loopback."""
    import ssl

    try:
        return asyncio.run(_round_trip()) | {"openssl": ssl.OPENSSL_VERSION, "error": ""}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
        return {"openssl": ssl.OPENSSL_VERSION, "error": f"{type(error).__name__}: {error}"}


async def _round_trip() -> dict[str, Any]:
    """Send a word to a server with the same keys and back."""
    from distributed.comm.core import connect, listen

    from mpidask.security import credentials

    security = credentials.make().security()

    async def answer(comm: Any) -> None:
        await comm.write(await comm.read())

    async with listen("tls://127.0.0.1:0", answer, **security.get_listen_args("scheduler")) as listener:
        comm = await connect(listener.contact_address, timeout=share(10), **security.get_connection_args("client"))
        await comm.write(_WORD)
        back = await comm.read()
        cipher = comm.extra_info.get("cipher") or ("", "", 0)
        await comm.close()
    if back != _WORD:
        raise RuntimeError(f"{back!r} came back instead of {_WORD!r}")
    return {"cipher": cipher[0], "version": cipher[1]}


def judge(facts: Facts) -> Iterator[Finding]:
    """Find a TLS library that does not do what a run needs."""
    if facts["error"]:
        yield failure(
            f"a TLS connection fails with {facts['openssl']}: {facts['error']}",
            f"{pip('--upgrade', 'cryptography', 'distributed')}\nor, within a trusted network, run with --no-tls",
        )
    else:
        yield ok(f"a TLS round trip works: {facts['cipher']}, {facts['openssl']}")


PROBE = Probe("TLS", measure, judge, seconds=25)
