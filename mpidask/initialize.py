"""``mpidask.initialize``, as a module for those who import from it; called, it is the function."""

from __future__ import annotations

import sys
import types
from typing import Any

from mpidask.launch.drop_in import initialize

__all__ = ["initialize"]


class _Callable(types.ModuleType):
    """The module, which an import puts in the place of the function of the same name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return initialize(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
