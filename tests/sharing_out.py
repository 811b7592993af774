"""How pytest-xdist hands out tests: those of one group go to one process, in their order; all others one by one.

Instead of its `--dist=loadgroup`, which does not group with pytest 9.2: https://github.com/pytest-dev/pytest-xdist/issues/1386
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

#: Where a worker process writes node id -> group, and the process that hands out tests reads it.
_FILE = "mpidask_groups"


class Plugin:
    """What the process that hands out tests does."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "groups"

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node):
        node.workerinput[_FILE] = str(self.file)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config, log):
        return Scheduler(config, log, self.file)


class Scheduler(LoadScopeScheduling):
    """Gives each process the test that it runs and the next one, no more: the next one may be the longest."""

    def __init__(self, config, log, file):
        config.option.loadscopereorder = False
        super().__init__(config, log)
        self.file = file
        self.groups = None

    def _split_scope(self, nodeid):
        if self.groups is None:
            self.groups = json.loads(self.file.read_text())
        return self.groups.get(nodeid, nodeid)

    def _reschedule(self, node):
        if node.shutting_down or (self.workqueue and self._pending_of(self.assigned_work[node]) >= 2):
            return
        super()._reschedule(node)


def write_groups(config, groups):
    """Tell the process that hands out tests which belong together; each process would write the same."""
    if config.workerinput["workerid"] == "gw0":
        Path(config.workerinput[_FILE]).write_text(json.dumps(groups))
