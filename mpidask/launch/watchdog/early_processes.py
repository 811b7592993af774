"""What a rank starts before MPI comes up, so that it has imported Dask by the time it is needed.

Imports nothing but the standard library's smallest modules: it runs on a rank before MPI_Init.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from mpidask.launch.watchdog import early_start
from mpidask.launch.watchdog.agent_process import AgentProcess
from mpidask.launch.watchdog.script_process import ScriptProcess

__all__ = ["EarlyProcesses"]


class EarlyProcesses:
    """The processes of this rank that wait to be told what they are for; each is taken once."""

    def __init__(self) -> None:
        """Have none."""
        self._script: ScriptProcess | None = None
        self._agent: AgentProcess | None = None

    @classmethod
    def start(cls, words: Sequence[str], *, has_script: bool = True) -> EarlyProcesses:
        """Start what this rank seems to need, as far as the launcher's environment and the command line tell.

        words: of the command line
        """
        started = cls()
        if has_script and not words:
            return started
        with contextlib.suppress(OSError):  # it is started later then, or fails then with a word
            started._script = ScriptProcess.start_early(words) if has_script else None
            started._agent = AgentProcess.start_early(words, has_script=has_script)
        return started

    def script(self) -> ScriptProcess | None:
        """Take the script's; None if there is none."""
        taken, self._script = self._script, None
        return taken

    def agent(self) -> AgentProcess | None:
        """Take the agent's; None if there is none."""
        taken, self._agent = self._agent, None
        return taken

    def discard(self) -> None:
        """Have those end that nobody has taken."""
        left: list[early_start.OwnProcess | None] = [self.script(), self.agent()]
        for process in left:
            if process is not None:
                process.discard()
