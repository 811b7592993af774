"""TLS of a cluster: which keys it has, and how they reach its jobs without being readable by others."""

from __future__ import annotations

import copy
import dataclasses
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distributed.security import Security

from mpidask import config, configuration, quantities
from mpidask.batch.leases import KEY_FILES, Lease
from mpidask.errors import ArgumentError, BatchError
from mpidask.security import credentials, tls_sockets
from mpidask.security.credentials import Keys

__all__ = ["KeyFiles", "Tls", "encrypted", "settle", "tls_arguments", "tls_files"]

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclasses.dataclass(frozen=True)
class Tls:
    """What has been settled about a cluster's connections.

    security: what its servers and clients are given; None without TLS
    protocol: Dask's; None leaves it to Dask's configuration
    keys:     those that were made for this cluster; None if there are others or none
    """

    security: Security | None
    protocol: Any
    keys: Keys | None = None


def settle(protocol: Any, *, security: Security | bool | None) -> Tls:
    """Return keys and protocol for what the user has given: TLS, unless something else is said.

    security: None: Dask's configuration if that names keys, else keys made for this cluster, unless mpidask.tls is
              false there; True: the latter in any case; False: none
    protocol: tcp means tls where there are keys; others than tcp and tls are not encrypted by default
    Raises ArgumentError for what contradicts itself, or if keys cannot be made.
    """
    tls_sockets.mend()
    if security is not None and not isinstance(security, bool | Security):
        raise ArgumentError(f"security is {security!r}", "a distributed.Security, True or False is needed")
    scheme = str(protocol or "").removesuffix("://")
    said = {True: "tcp", False: "tls"}
    if isinstance(security, bool) and scheme == said[security]:
        raise ArgumentError(
            f"security={security} and protocol={protocol!r} contradict each other", "leave one of them out"
        )
    if isinstance(security, Security):
        return Tls(security, protocol or "tls://")
    if security is False or (security is None and not _wanted(scheme)):
        return Tls(None, protocol)
    protocol = "tls://" if scheme in ("", "tcp") else protocol
    if security is None and credentials.configured():
        return Tls(Security(), protocol)
    keys = _made()
    return Tls(keys.security(), protocol, keys)


def _wanted(scheme: str) -> bool:
    """Whether there is TLS where nothing is said of it."""
    if scheme not in ("", "tcp"):
        return scheme == "tls"
    configured = {"tls": configuration.section().get("tls")}
    return bool(quantities.checked(config.Options, configured, configuration.label).get("tls", True))


def _made() -> Keys:
    try:
        return credentials.make()
    except (ImportError, RuntimeError):
        raise ArgumentError(
            "TLS needs the package cryptography, which makes the keys",
            "install it, or give a Security with keys of your own; security=False: no TLS, everybody can connect",
        ) from None


def encrypted(options: Mapping[str, Any], tls: Tls) -> dict[str, Any]:
    """Return a scheduler's arguments as they have to be with keys: addresses that begin with tcp begin with tls."""
    result = dict(options)
    for name in ("protocol", "host", "contact_address"):
        value = result.get(name)
        if tls.security is not None and isinstance(value, str) and (value == "tcp" or value.startswith("tcp://")):
            result[name] = f"tls{value[3:]}"
    return result


def tls_files(security: Security, role: str) -> dict[str, str]:
    """Return which files have the keys for a role: ca_file, cert, key; raises ArgumentError if they are no files."""
    told = security.get_tls_config_for_role(role)
    files = {key: str(told[key]) for key in ("ca_file", "cert", "key") if told.get(key)}
    if any("\n" in path for path in files.values()):
        raise ArgumentError(
            "keys in memory would stand in the job script", "give a job the paths of files, or use a cluster class"
        )
    return files


def tls_arguments(security: Security, role: str) -> list[str]:
    """Return the options of Dask's commands that name the files with keys."""
    named = tls_files(security, role).items()
    return [word for key, path in named for word in (f"--tls-{key.replace('_', '-')}", path)]


class KeyFiles:
    """The keys as files, which the user alone can read, as long as the cluster is there.

    They are written when they are first needed, into the cluster's own directory, whose sentinel removes them if
    nobody else does.

    given:   the cluster's; None for none. Those that are files already stay where they are
    shared:  a directory that the nodes share, in which one for the files is made; None: the cluster's own
    guarded: returns the record of the cluster's jobs, for which a sentinel watches
    roles:   whose keys the jobs need
    """

    def __init__(
        self,
        given: Security | None,
        shared: str | None,
        guarded: Callable[[], Lease],
        roles: Sequence[str] = ("worker",),
    ) -> None:
        self._given = given
        self._shared = shared
        self._guarded = guarded
        self._roles = roles
        self._written: Security | None = None

    @property
    def security(self) -> Security | None:
        """The keys as paths of files. Raises BatchError if these cannot be written, or others could read them."""
        if self._given is not None and self._written is None:
            self._written = self._write_all(self._given)
        return self._written

    def _write_all(self, given: Security) -> Security:
        security, directory = copy.copy(given), None
        for role in self._roles:
            for key, value in given.get_tls_config_for_role(role).items():
                attribute = f"tls_{'' if key == 'ca_file' else f'{role}_'}{key}"
                if value and "\n" in value and getattr(security, attribute) == value:
                    directory = directory or self._directory()
                    setattr(security, attribute, _write(directory, f"{role}.{key}", value))
        return security

    def _directory(self) -> Path:
        lease = self._guarded()
        directory = lease.directory
        if self._shared:
            directory = (
                Path(quantities.path(self._shared, "shared_temp_directory")) / f"{KEY_FILES}{secrets.token_hex(8)}"
            )
            try:
                lease.note_keys(directory)  # before it is there: whoever cleans up knows of it
                directory.mkdir(mode=0o700)
            except OSError as error:
                raise _unwritable(directory, error) from None
        _refuse_open(directory, stat.S_IMODE(directory.stat().st_mode))
        return directory


def _write(directory: Path, key: str, value: str) -> str:
    """Write a file, mode 0600 from the beginning; return its path."""
    try:
        descriptor, path = tempfile.mkstemp(prefix=f"{KEY_FILES}{key}.", dir=directory)
        with os.fdopen(descriptor, "w") as file:
            _refuse_open(path, stat.S_IMODE(os.fstat(descriptor).st_mode))
            file.write(value)
    except OSError as error:
        raise _unwritable(directory, error) from None
    return path


def _unwritable(directory: Path, error: OSError) -> BatchError:
    return BatchError(
        f"key files cannot be written in {directory}: {error.strerror}",
        "name a directory that the nodes share with shared_temp_directory",
    )


def _refuse_open(path: Path | str, mode: int) -> None:
    if mode & _OTHERS:
        raise BatchError(
            f"{path} has mode {mode:o}: others could read keys there, no matter how it was made",
            "name a directory on a file system with permissions with shared_temp_directory; "
            "security=False: no TLS, everybody can connect",
        )
