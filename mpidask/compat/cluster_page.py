"""What Dask's page of a cluster needs to fit into a notebook.

Tested with JupyterLab 4 and distributed 2025.1 to 2026.8.
"""

from __future__ import annotations

from distributed.deploy.cluster import Cluster

__all__ = ["FittingPage"]

#: Dask gives its page JupyterLab's classes for a whole output: 100 % wide and 20 pixels on the right beside that.
_ROOM = '<div style="padding-right: 20px">{page}</div>'


class FittingPage(Cluster):
    """A cluster whose page, in a widget or without one, does not scroll sideways in JupyterLab.

    Upstream: no issue.
    """

    def _repr_html_(self, cluster_status: str | None = None) -> str:
        page = super()._repr_html_(cluster_status)  # type: ignore[no-untyped-call]  # Dask's
        return _ROOM.format(page=page)
