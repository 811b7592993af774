"""What a rank starts before MPI comes up, so that it has imported Dask by the time it is needed.

Imports nothing but the standard library's smallest modules: it runs on a rank before MPI_Init.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence

from mpidask.launch.watchdog import early_start, mark, time_early
from mpidask.launch.watchdog.agent_process import AgentProcess
from mpidask.launch.watchdog.launcher_environment import launcher_rank
from mpidask.launch.watchdog.script_process import ScriptProcess

__all__ = ["EarlyProcesses"]


class EarlyProcesses:
    """The processes of this rank that wait to be told what they are for; each is taken once."""

    def __init__(self) -> None:
        """Have none."""
        self._script: ScriptProcess | None = None
        self._agent: AgentProcess | None = None
        self._start: Callable[[], None] = lambda: None

    @classmethod
    def start(cls, words: Sequence[str], *, has_script: bool = True) -> EarlyProcesses:
        """Start what this rank seems to need, as far as the launcher's environment and the command line tell.

        On a crowded node that is when MPI is up, and the ranks have not met yet.

        words: of the command line
        """
        time_early(words, launcher_rank(os.environ))
        started, environ = cls(), dict(os.environ)
        if has_script and not words:
            return started
        started._start = lambda: started._begin(environ, words, has_script=has_script)
        if not early_start.is_crowded(environ):
            started.mpi_is_up()
        mark("start processes early")
        return started

    def mpi_is_up(self) -> None:
        """Start them, if they have not been started before."""
        begin, self._start = self._start, lambda: None
        with contextlib.suppress(OSError):  # it is started later then, or fails then with a word
            begin()

    def _begin(self, environ: Mapping[str, str], words: Sequence[str], *, has_script: bool) -> None:
        self._script = ScriptProcess.start_early(environ, words) if has_script else None
        self._agent = AgentProcess.start_early(environ, words, has_script=has_script)

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
