"""``python -m mpidask``: tiny, so that MPI comes up before anything is imported.

The guard matters: a worker process re-imports its parent's main module and must neither
call MPI_Init nor run the user's script again.
"""

if __name__ == "__main__":
    from mpidask.launch.guardian import Guardian

    guardian = Guardian.start()

    from mpidask.launch.world import World

    world = World.join(guardian)

    from mpidask.cli.ranks import run_rank

    run_rank(world)
