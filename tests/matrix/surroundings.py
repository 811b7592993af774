"""What a cell tells the tests that run in it."""

from __future__ import annotations

import json
import os


def environ() -> dict[str, str]:
    """Return the environment variables that its MPI needs here."""
    return json.loads(os.environ.get("MPIDASK_MATRIX_ENVIRON", "{}"))
