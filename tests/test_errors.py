"""What is said of exceptions that are not ours."""

from __future__ import annotations

import asyncio

import pytest

from mpidask.errors import as_mpidask_error

pytestmark = pytest.mark.one_mpi


def test_the_innermost_cause_that_says_something_is_shown():
    async def late():
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError as error:  # its cause is a CancelledError without a text
            raise OSError("Timed out trying to connect to tls://n1:8786 after 30 s") from error

    def start():
        try:
            asyncio.run(late())
        except OSError as error:
            raise RuntimeError("Nanny failed to start.") from error

    with pytest.raises(RuntimeError) as caught:
        start()
    assert as_mpidask_error(caught.value).what == "OSError: Timed out trying to connect to tls://n1:8786 after 30 s"


def test_an_exception_without_a_text_is_named():
    assert as_mpidask_error(TimeoutError()).what == "TimeoutError"
