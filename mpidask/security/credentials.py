"""Keys for TLS that are made for one run or cluster and held in memory: who has them belongs to it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import fcntl
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mpidask.compat import dask as compat
from mpidask.files import memory_file

if TYPE_CHECKING:
    import ssl

    from distributed.security import Security

__all__ = [
    "LOADER",
    "Contact",
    "Keys",
    "answer_clients",
    "configured",
    "context_of",
    "forget",
    "have_children_ask",
    "known",
    "lend",
    "make",
    "offer",
    "remember",
    "security_of",
]

_SETTING = "distributed.client.security-loader"
LOADER = f"{__name__}.known"  # what Dask is to ask for keys
_OFFERED = "MPIDASK_CONTACT"  # the environment variable with the path of what `offer` has written
_EARLIER = "MPIDASK_SECURITY_LOADER"  # the environment variable with the user's own loader
_FIRST = 101  # the least number of a descriptor of ours: programs count theirs from 3
_VALID = 365  # days before and after now

#: Scheduler's address -> keys of its cluster, for clients of this process.
_known: dict[str, Keys] = {}
_lent: list[int] = []  # descriptor of the file with all of them for processes that this one starts, once there is one
_before: list[str] = []  # the user's own loader, if this process's configuration has one


@dataclasses.dataclass(frozen=True)
class Keys:
    """A certificate, which is its own authority, and its private key; in PEM form."""

    certificate: str
    key: str = dataclasses.field(repr=False)

    def security(self) -> Security:
        """Return what Dask's servers and clients take."""
        from mpidask.security.in_memory import MemorySecurity

        roles = ("client", "scheduler", "worker")
        files = {f"tls_{role}_cert": self.certificate for role in roles} | {
            f"tls_{role}_key": self.key for role in roles
        }
        return MemorySecurity(  # type: ignore[no-untyped-call]  # Dask's
            require_encryption=True, tls_ca_file=self.certificate, **files
        )


@dataclasses.dataclass(frozen=True)
class Contact:
    """Where a scheduler is, and what it takes to be let in.

    keys:    None without TLS, and where everybody has keys of the user's own
    clients: its address for clients from outside, None if it is the same
    """

    address: str
    keys: Keys | None = None
    clients: str | None = None


def security_of(contact: Contact) -> Security | None:
    """Return what a server or client needs for that scheduler; None leaves it to Dask's configuration."""
    return contact.keys.security() if contact.keys is not None else None


def context_of(contact: Contact) -> ssl.SSLContext | None:
    """Return what a client's connection to that scheduler is wrapped in; None without TLS."""
    if not contact.address.startswith(("tls://", "wss://")):
        return None
    from distributed.security import Security

    security = security_of(contact) or Security()  # type: ignore[no-untyped-call]  # Dask's
    context: ssl.SSLContext = security.get_connection_args("client")["ssl_context"]  # type: ignore[no-untyped-call]
    return context


def make() -> Keys:
    """Return new keys: an elliptic curve's, made in no time.

    They are valid before now: clocks of nodes differ, and Dask's own (``Security.temporary``) fail where one is behind.
    """
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mpidask")])
    now, valid = dt.datetime.now(dt.UTC), dt.timedelta(days=_VALID)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - valid)
        .not_valid_after(now + valid)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Keys(certificate.public_bytes(pem).decode(), secret.decode())


def configured() -> bool:
    """Whether the user has keys of their own in Dask's configuration (distributed.comm.tls); then these are used."""
    import dask.config

    return bool(dask.config.get("distributed.comm.tls.ca-file", None))


def remember(address: str, keys: Keys | None) -> None:
    """Have ``Client(address)`` in this process find the keys of that scheduler, as ``Client()`` does."""
    if keys is None:
        return
    _known[address] = keys
    if _lent:
        _write(_lent[0], _known)
    answer_clients()


def answer_clients() -> None:
    """Have Dask ask `known` when a client of this process, or of one that it starts, connects."""
    import dask.config

    loader = dask.config.get(_SETTING, None)
    if loader != LOADER:
        _before[:] = [loader] if loader else []
        dask.config.set({_SETTING: LOADER})


def offer(contact: Contact, dashboard: str | None) -> None:
    """Have ``Client()`` in processes that this one starts from here on connect to that scheduler.

    The keys are in a file in memory that the user alone can open: the environment has its path, no disk has it, and it
    goes with this process.

    dashboard: its link, None if there is none
    """
    os.environ["DASK_SCHEDULER_ADDRESS"] = contact.address
    if dashboard is not None:
        os.environ["DASK_DISTRIBUTED__DASHBOARD__LINK"] = dashboard
    if contact.keys is None:
        return
    _write(_file_in_memory(), {contact.address: contact.keys})
    have_children_ask()


def have_children_ask() -> None:
    """Have Dask ask `known` in processes that this one starts, before the user's own loader, if there is one."""
    import dask.config

    loader = dask.config.get(_SETTING, None)
    earlier = [loader] if loader and loader != LOADER else _before
    if earlier:
        os.environ[_EARLIER] = earlier[0]
    os.environ["DASK_DISTRIBUTED__CLIENT__SECURITY_LOADER"] = LOADER


def lend() -> None:
    """Have ``Client(ADDRESS)`` in processes that this one starts find the keys that this one has at that time.

    They ask `known` if their configuration says so. The file in memory is as that of `offer`.
    """
    if not _lent:
        _lent.append(_file_in_memory())
        _write(_lent[0], _known)


def _file_in_memory() -> int:
    """Return the descriptor of a new file that processes which this one starts find by their environment."""
    made = memory_file("mpidask")
    descriptor = fcntl.fcntl(made, fcntl.F_DUPFD, _FIRST)  # what this process becomes by exec has it, too
    os.close(made)
    os.fchmod(descriptor, 0o600)
    os.environ[_OFFERED] = f"/proc/{os.getpid()}/fd/{descriptor}"
    return descriptor


def _write(descriptor: int, keys: Mapping[str, Keys]) -> None:
    import json

    text = json.dumps({address: dataclasses.asdict(each) for address, each in keys.items()}).encode()
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text, 0)


def _offered(address: str) -> Keys | None:
    """Return the keys of that scheduler, if the process that has started this one has offered them."""
    import json

    with contextlib.suppress(OSError, ValueError, KeyError), open(os.environ[_OFFERED], encoding="utf-8") as file:
        return Keys(**json.load(file)[address])
    return None


def forget(address: str) -> None:
    """Forget the keys of a scheduler that is gone."""
    if _known.pop(address, None) is not None and _lent:
        _write(_lent[0], _known)


def _of_client(security: Any) -> Security:
    """Return the keys of a worker as a client has them: those of per-worker jobs are named for the worker alone."""
    found = copy.copy(security)
    if not found.tls_client_cert:
        found.tls_client_cert, found.tls_client_key = security.tls_worker_cert, security.tls_worker_key
    return found  # type: ignore[no-any-return]  # its attributes are made when it is made


def known(info: Mapping[str, str]) -> Security | None:
    """Return what a client needs for a scheduler (``info["address"]``); Dask asks for it when it connects.

    In a task it is what the worker has. None if nothing is known of that scheduler.
    """
    address = info["address"]
    if address in _known:
        return _known[address].security()
    for worker in compat.workers():
        if worker.scheduler.address == address:
            return _of_client(worker.security)
    keys = _offered(address)
    if keys is not None:
        from mpidask.security import tls_sockets

        tls_sockets.mend()
        return keys.security()
    earlier = _before[0] if _before else os.environ.get(_EARLIER)
    if earlier:
        from distributed.utils import import_term

        return import_term(earlier)(info)  # type: ignore[no-any-return]  # the user's
    return None
