"""A scheduler file that others can read, or have written."""

from __future__ import annotations

import json
import os

import pytest

from mpidask.errors import StartupError
from mpidask.security import scheduler_file

pytestmark = pytest.mark.one_mpi


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
