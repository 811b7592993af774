"""Keys for TLS: how they reach the workers without being readable by others."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from distributed.security import Security

from mpidask.errors import ArgumentError, BatchError

if TYPE_CHECKING:
    from mpidask.jobqueue.dispatcher import Dispatcher

__all__ = ["KeyFiles", "temporary", "tls_arguments"]


def temporary() -> Security:
    """Return keys and a certificate made for this cluster; raises ArgumentError if that is not possible."""
    try:
        return Security.temporary()
    except ImportError:
        raise ArgumentError(
            "security=True needs the package cryptography", "install it, or give a Security with keys of your own"
        ) from None


def tls_arguments(security: Security, role: str) -> list[str]:
    """Return the options of Dask's commands that name the files with keys."""
    files = security.get_tls_config_for_role(role)
    named = [(f"--tls-{key.replace('_', '-')}", files.get(key)) for key in ("ca_file", "cert", "key")]
    return [word for option, path in named if path for word in (option, str(path))]


class KeyFiles:
    """The worker's keys as files, readable by the user alone, as long as the cluster is there.

    security: the cluster's; None for none
    shared:   a directory that the nodes share; None: the cluster's own
    roles:    whose keys the jobs need
    """

    def __init__(
        self, security: Security | None, shared: str | None, dispatcher: Dispatcher, roles: Sequence[str] = ("worker",)
    ) -> None:
        self._files: list[Path] = []
        self.security: Security | None = security
        if security is None:
            return
        self.security = copy.copy(security)
        for role in roles:
            for key, value in security.get_tls_config_for_role(role).items():
                attribute = f"tls_{'' if key == 'ca_file' else f'{role}_'}{key}"
                if value and "\n" in value and "\n" in str(getattr(self.security, attribute)):
                    directory = (
                        Path(os.path.expandvars(shared)).expanduser() if shared else dispatcher.holding.directory
                    )
                    setattr(self.security, attribute, str(self._write(directory, f"{role}.{key}", value)))

    def arguments(self, role: str) -> list[str]:
        """Return the options that name the files."""
        if self.security is None:
            return []
        return tls_arguments(self.security, role)

    def _write(self, directory: Path, key: str, value: str) -> Path:
        try:
            descriptor, path = tempfile.mkstemp(prefix=f".dask-jobqueue.{key}.", dir=directory)
        except OSError as error:
            raise BatchError(
                f"key files cannot be written in {directory}: {error.strerror}",
                "name a directory that the nodes share with shared_temp_directory",
            ) from None
        with os.fdopen(descriptor, "w") as file:
            file.write(value)
        self._files.append(Path(path))
        return Path(path)

    def remove(self) -> None:
        """Remove the files."""
        for path in self._files:
            path.unlink(missing_ok=True)
