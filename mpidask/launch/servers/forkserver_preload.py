"""The fork server's preload: prepares the process that workers are forked from.

There is nothing of MPI in it: it is forked from the rank's agent, which is exec'ed, or exec'ed itself.
"""

import contextlib
import gc
import io
import logging
import os
import signal
import sys

from mpidask import run_directory
from mpidask.errors import StartupError
from mpidask.launch.resources import walltime
from mpidask.launch.servers import worker_environment
from mpidask.launch.servers.log_filters import ignore_lost_peers, limit_refusals
from mpidask.launch.watchdog import mark, time_process

with contextlib.suppress(StartupError):  # the agent has told it
    worker_environment.load()

# Signals that a launcher sends to the rank's process group are for the rank: it ends its workers in order.
with contextlib.suppress(OSError):
    os.setpgid(0, 0)

# Ctrl-C reaches the whole process group: it is the script's, the cluster goes on until the script has ended.
signal.signal(signal.SIGINT, signal.SIG_IGN)
walltime.spare_first_sigterm()

# What keeps a worker from starting is told by its rank.
logging.getLogger("distributed.nanny").setLevel(logging.CRITICAL + 1)

# A task that still runs when the run ends is given up, which is no news.
logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
ignore_lost_peers()
limit_refusals(0)

# The rank's log is read while tasks run, and is to hold what they said before they died.
sys.stderr = sys.__stderr__
if os.environ.get(run_directory.DIRECTORY) and isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(line_buffering=True)

# What is here is shared with all workers as long as nobody writes to it: the garbage collector would.
gc.freeze()
gc.enable()

time_process("fork server")
mark("prepare for workers")
