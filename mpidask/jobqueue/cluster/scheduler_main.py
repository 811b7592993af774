"""``python -m mpidask.jobqueue.cluster.scheduler_main FILE``: the scheduler in a job of its own.

FILE, which the user alone can read, has its arguments: a command line is shown to all users of the node, and one of
them is the dashboard's secret. When the scheduler is up it writes another one, which says where.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from distributed import Scheduler
from distributed.security import Security

from mpidask.files import replace_json
from mpidask.jobqueue.cluster import scheduler_options
from mpidask.ports.port_range import PortRange
from mpidask.security import tls_sockets

__all__ = ["serve"]


async def serve(told: dict[str, Any]) -> None:
    """Run the scheduler until it is closed, or a signal ends it.

    told: `options` and `security` (Dask's arguments), `gated` and `ports` (a text) as for `scheduler_options.make`,
          and `file` to write: `address`, `everywhere` (all that may lead here) and `host`
    """
    tls_sockets.mend()
    security = Security(**told["security"]) if told["security"] else None
    ports = PortRange.parse(told["ports"]) if told["ports"] else None
    options = {**told["options"], "security": security}
    scheduler = scheduler_options.make(Scheduler, None, gated=told["gated"], ports=ports, **options)
    closing: set[asyncio.Task[None]] = set()

    def end(number: signal.Signals) -> None:
        closing.add(asyncio.ensure_future(scheduler.close(reason=f"signal {number.name}")))

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    await scheduler
    everywhere = scheduler_options.everywhere(scheduler.address, told["options"])
    replace_json(told["file"], {"address": scheduler.address, "everywhere": everywhere, "host": os.uname().nodename})
    await scheduler.finished()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)  # one for each worker and client
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 1 << 20)), hard))
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
