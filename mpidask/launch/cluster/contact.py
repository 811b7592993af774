"""How all ranks learn where the scheduler is."""

from __future__ import annotations

from typing import Any

from mpidask.errors import MpidaskError
from mpidask.launch.cluster.run import Run
from mpidask.launch.comm.polling import Steps
from mpidask.launch.comm.startup_errors import no_scheduler
from mpidask.security.credentials import Contact

__all__ = ["share_scheduler"]


def share_scheduler(run: Run, made: Contact | BaseException | None) -> Steps[Contact]:
    """Return where the scheduler is, on all ranks; raises, on all, what has kept it from coming up.

    made: on its rank where it is, or the error; of the other ranks nothing is asked
    """
    root = run.layout.scheduler
    if root is None:
        assert run.layout.joined is not None
        return run.layout.joined
    value: Any = made
    if run.hosts_scheduler and isinstance(made, MpidaskError):
        value = no_scheduler(made, root, run.world.host)
    value = yield from run.world.share(value, root)
    if isinstance(value, MpidaskError):
        raise value
    return value  # type: ignore[no-any-return]  # what its rank has made
