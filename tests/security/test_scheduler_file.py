"""A scheduler file that others can read, or have written."""

from __future__ import annotations

import dataclasses
import json
import os
import socket

import pytest

from mpidask.errors import StartupError
from mpidask.security import credentials, scheduler_file

pytestmark = pytest.mark.one_mpi


@pytest.fixture(scope="module")
def keys():
    return credentials.make()


@pytest.fixture
def file(tmp_path, keys):
    """Return a scheduler file whose scheduler is gone."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tls://127.0.0.1:{taken.getsockname()[1]}"
    path = tmp_path / "scheduler.json"
    path.write_text(json.dumps({"address": address, "id": "x", "mpidask": {"keys": dataclasses.asdict(keys)}}))
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_file_that_others_can_read_is_refused(file, mode):
    file.chmod(mode)
    with pytest.raises(StartupError, match="others may read or change it"):
        scheduler_file.read(str(file))


@pytest.mark.parametrize("with_keys", [True, False])
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_another_users_file_is_refused(file, with_keys):
    """Without keys, too: what answers there could have the client run code."""
    if not with_keys:
        file.write_text(json.dumps({"address": "tcp://127.0.0.1:9"}))
    scheduler_file.read(str(file))
    os.chown(file, 65534, 65534)
    with pytest.raises(StartupError, match="another user's"):
        scheduler_file.read(str(file))
