"""A private name of nbclient. Tested with nbclient 0.10 to 0.11."""

from __future__ import annotations

from typing import Any

from nbclient import NotebookClient

from mpidask.compat.missing import report_missing

__all__ = ["EndingNotebookClient"]

_STEPS = {"_async_cleanup_kernel": "a cell that is interrupted ends before its kernel"}


class EndingNotebookClient(NotebookClient):
    """nbclient's client, which calls `before_end` before it ends the kernel: there is no hook that may wait.

    Upstream: no issue.
    """

    def __init__(self, *args: Any, **keywords: Any) -> None:
        report_missing(NotebookClient, _STEPS)
        super().__init__(*args, **keywords)

    async def _async_cleanup_kernel(self) -> None:
        await self.before_end()
        await super()._async_cleanup_kernel()

    async def before_end(self) -> None:
        """Do what is to be done while the kernel is still there."""
