"""The recipes of docs/howto/frameworks.md, which these tests run with the real packages.

They have an environment of their own, `.venv-integrations`: `./do integrations`, and `./do test --all`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import blocks

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "frameworks.md"
WHERE = "tests/integrations runs it"


@pytest.fixture(scope="session")
def recipes():
    """Return the scripts of the page: (where they run, name) -> text."""
    found = [block for block in blocks(PAGE) if block.words.startswith(WHERE)]
    return {tuple(block.words.removeprefix(WHERE).strip().split(" as ")): block.text for block in found}


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.thorough)
        item.add_marker(pytest.mark.one_mpi)
