"""The `mpidask` command: arguments in, calls out.

Runs in a shell on a login node (`jobs`, `follow`, `attach`) and in every rank of a run (`ranks`). May import every
room, each command only what it needs.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]

_COMMANDS = """\
Usage: mpidask COMMAND

inside a job, on every rank:
  run      run a script: mpirun -n 8 mpidask run script.py
  serve    scheduler and workers for clients from elsewhere: mpirun -n 8 mpidask serve --scheduler-file FILE

outside, to get one:
  submit   submit a script as one batch job: mpidask submit -N 4 --cores-per-rank 32 -t 1:00:00 script.py
  script   print the job script instead
  status   what has become of the jobs
  logs     what a job has printed
  cancel   cancel jobs
  clean    remove the logs and records of jobs that ended long ago

to compute from a notebook or shell:
  start      get a job of scheduler and workers: mpidask start -N 4 --cores-per-rank 32 -t 1:00:00
  connect    compute on it: mpidask connect JOB script.py; in Python: client = mpidask.connect("JOB")
  dashboard  the way to a job's dashboard
  stop       end jobs in order

  config   print a commented mpidask.yaml

mpidask COMMAND --help tells about a command's options.
"""

_OF_RANKS = ("run", "serve")
_OF_JOBS = ("submit", "script", "status", "logs", "cancel", "clean", "resubmit")
_ATTACHING = ("start", "connect", "dashboard", "stop")


def main() -> None:
    """Entry point of the console command."""
    words = sys.argv[1:]
    if words[:1] and words[0] in _OF_JOBS:
        from mpidask.cli import jobs

        sys.exit(jobs.main(words[0], words[1:]))
    elif words[:1] and words[0] in _ATTACHING:
        from mpidask.cli import attach

        sys.exit(attach.main(words[0], words[1:]))
    elif words[:1] and words[0] in _OF_RANKS:
        from mpidask.cli import ranks

        sys.argv[1:2] = []
        ranks.become_rank(ranks.parse_run if words[0] == "run" else ranks.parse_serve)
    elif words and words[0].startswith("--") and words[0] not in ("--help", "--version"):
        from mpidask.cli import ranks

        ranks.become_rank(ranks.parse_serve)  # as the command dask-mpi has it
    else:
        _say(words)


def _say(words: list[str]) -> None:
    """Print what needs no further module, or what is wrong."""
    if words in (["--version"], ["-V"]):
        from mpidask import __version__

        print(f"mpidask {__version__}")
    elif words == ["config"]:
        from mpidask import config
        from mpidask.batch import settings

        sys.stdout.write(config.template() + settings.template())
    elif words in ([], ["--help"], ["-h"]):
        print(_COMMANDS, end="")
    else:
        print(f"mpidask: error: unknown command: {' '.join(words)}", file=sys.stderr)
        if os.path.exists(words[0]):
            print(f"mpidask: remedy: to run it: mpidask run {words[0]}", file=sys.stderr)
        print(f"\n{_COMMANDS}", end="", file=sys.stderr)
        sys.exit(2)
