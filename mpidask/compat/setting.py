"""One setting switches off what mpidask does only for speed."""

from __future__ import annotations

__all__ = ["optimized"]


def optimized() -> bool:
    """Whether mpidask may do in Dask's place what Dask does more slowly: ``mpidask.optimize`` of its configuration."""
    import dask.config

    return bool(dask.config.get("mpidask.optimize", True))
