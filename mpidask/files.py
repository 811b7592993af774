"""Files that others read while they are written."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from typing import Any

__all__ = ["replace", "replace_json"]


def replace(path: str, text: str) -> None:
    """Write a file, mode 0600, so that a reader sees all of the old one, or of the new one; raises OSError."""
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{os.path.basename(path)}.", dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise


def replace_json(path: str, content: Any) -> None:
    """Write content as JSON, in the same way; raises OSError."""
    replace(path, json.dumps(content, indent=2, default=str))
