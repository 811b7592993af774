"""``python -m mpidask``: tiny, so that MPI comes up before anything is imported.

The guard matters: a worker process re-imports its parent's main module and must neither
call MPI_Init nor run the user's script again.
"""

if __name__ == "__main__":
    import os
    import sys

    import mpidask

    # The working directory, which may hold files that are named like modules of Python's, unless it is gone.
    here = os.readlink("/proc/self/cwd")
    if not sys.flags.safe_path and sys.path[0] == here not in [name.rpartition("/")[0] for name in mpidask.__path__]:
        del sys.path[0]

    if sys.argv[1:2] == ["doctor"]:  # which brings MPI up in a process that may hang
        from mpidask.cli import main

        main()

    from mpidask.launch.watchdog.interruption import Interruption

    interruption = Interruption()

    from mpidask.launch.watchdog.watchdog import Watchdog

    watchdog = Watchdog.start()
    interruption.also_in_c()

    from mpidask.launch.watchdog.early_processes import EarlyProcesses

    early = EarlyProcesses.start(sys.argv[1:])

    from mpidask.launch.comm.rank import Rank

    rank = Rank.join(watchdog, early=early)

    from mpidask.cli.ranks import run_rank

    run_rank(rank, interruption)
