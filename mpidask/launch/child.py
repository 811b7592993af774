"""What every worker process is forked from: the fork server's preload, imported once per rank.

The fork server is exec'ed, so nothing of MPI is in it.
"""

import logging
import signal

import distributed  # noqa: F401 - imported here so that workers start with it

# Ctrl-C reaches the whole process group: it is the script's, the cluster goes on until the script has ended.
signal.signal(signal.SIGINT, signal.SIG_IGN)

# A task that still runs when the run ends is given up, which is no news.
logging.getLogger("distributed.worker.state_machine").setLevel(logging.ERROR)
