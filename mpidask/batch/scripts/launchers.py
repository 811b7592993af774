"""How each launcher starts the ranks of an allocation: one table (pure).

Ranks are not bound to cores: a rank finds out which cores it may use and shares them with the ranks beside it.
"""

from __future__ import annotations

from mpidask.batch.template import Line

__all__ = ["LAUNCHERS", "RANK_VARIABLES", "line"]

#: What launchers tell their ranks: names of environment variables, as an extended regular expression. A launcher that
#: finds them takes itself for such a rank. What users set for their launcher (OMPI_MCA_btl, HYDRA_BOOTSTRAP,
#: PMI_NO_FORK, PMIX_MCA_gds) is none of it.
RANK_VARIABLES = (
    "PMI2?_(RANK|SIZE|FD|PORT|ID|JOBID|KVS\\w*|SPAWNED|APPNUM|CONTROL_PORT)"
    "|PMIX_(RANK|NAMESPACE|ID|HOSTNAME|VERSION|(SERVER|SECURITY|BFROP|GDS|PTL)_\\w+)|PALS_\\w+|HYDI_\\w+|MPI_LOCAL\\w+"
    "|OMPI_(COMM_WORLD|UNIVERSE|WORLD|APP_CTX|FIRST|NUM_APP|FILE|COMMAND|ARGV)\\w*"
    "|OMPI_MCA_(num_procs|initial_wdir|cpu_type|ess_\\w+|orte_(ess|hnp|jobid|local|app|launch)\\w*)"
)

LAUNCHERS: dict[str, Line] = {
    # https://slurm.schedmd.com/srun.html; since 22.05 srun does not take --cpus-per-task from the job. What the job
    # script has set reaches the ranks of a job that was submitted with --export=NONE, too.
    "srun": "srun --export=ALL --ntasks={ranks} --ntasks-per-node={ranks_per_node} --cpus-per-task={cores_per_rank}",
    # https://docs.open-mpi.org/en/v5.0.x/man-openmpi/man1/mpirun.1.html
    "openmpi": (
        "{mpiexec} -n {ranks} --map-by ppr:{ranks_per_node}:node:oversubscribe --bind-to none",
        " {openmpi_options}",
    ),
    # MPICH and Intel MPI: https://github.com/pmodels/mpich/blob/main/doc/wiki/how_to/Using_the_Hydra_Process_Manager.md
    "hydra": ("{mpiexec} -n {ranks} -ppn {ranks_per_node}", " {hydra_options}"),
    # Cray PALS: https://cpe.ext.hpe.com/docs/latest/mpt/mpich/
    "pals": "{mpiexec} -n {ranks} --ppn {ranks_per_node} --depth {cores_per_rank}",
    # https://www.ibm.com/docs/en/spectrum-lsf: jsrun
    "jsrun": (
        "jsrun --nrs {ranks} --rs_per_host {ranks_per_node} --tasks_per_rs 1 --cpu_per_rs {cores_per_rank}",
        " --gpu_per_rs {gpus_per_rank}",
    ),
    # https://flux-framework.readthedocs.io/projects/flux-core/en/latest/man1/flux-run.html
    "flux": (
        "flux run --nodes={nodes} --ntasks={ranks} --cores-per-task={cores_per_rank}",
        " --gpus-per-task={gpus_per_rank}",
    ),
    "mpiexec": "{mpiexec} -n {ranks}",  # whatever is first on PATH
}


def line(launcher: str) -> Line:
    """Return the line of a launcher: from the table, with further options of the user's, or all the user's."""
    name, _, further = launcher.partition(" ")
    if name not in LAUNCHERS:
        return launcher
    pieces = LAUNCHERS[name]
    pieces = (pieces,) if isinstance(pieces, str) else pieces
    return (*pieces, f" {further}") if further else pieces
