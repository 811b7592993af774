"""Modules that have the name of a function: an import puts the module in the function's place."""

from __future__ import annotations

import sys
import types
from typing import Any

__all__ = ["CallableModule", "make_callable"]


class CallableModule(types.ModuleType):
    """A module that, called, calls what it has by its own name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


def make_callable(name: str) -> None:
    """Have the module with that name, which is being imported, be callable."""
    sys.modules[name].__class__ = CallableModule
