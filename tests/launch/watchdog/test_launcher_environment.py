"""What launchers say in the environment."""

from __future__ import annotations

import pytest

from mpidask.batch import container
from mpidask.launch.watchdog import launcher_environment

OPEN_MPI = {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_SIZE": "4"}


HYDRA = {"PMI_RANK": "3", "PMI_SIZE": "8", "MPI_LOCALNRANKS": "4", "PMI_FD": "9"}


SRUN = {
    "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "2(x2),4", "SLURM_NODEID": "2",
}  # fmt: skip


SRUN_PMI2 = {**SRUN, "PMI_RANK": "3", "PMI_SIZE": "8"}


HYDRA_IN_SLURM = {**SRUN, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", **HYDRA}


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        (OPEN_MPI, "Open MPI's mpirun"),
        (HYDRA, "MPICH's mpirun (Hydra)"),
        (SRUN, "srun"),
        (SRUN_PMI2, "srun"),
        (HYDRA_IN_SLURM, "MPICH's mpirun (Hydra)"),
    ],
)
def test_launchers_are_understood(environ, name):
    assert launcher_environment.launcher_name(environ) == name
    assert launcher_environment.launcher_rank(environ) == 3
    assert launcher_environment.launcher_size(environ) == 8
    assert launcher_environment.local_size(environ) == 4


def test_without_a_launcher_there_is_one_process():
    batch_script = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"}  # Slurm sets these for the batch script as well
    for environ in ({}, batch_script):
        assert launcher_environment.launcher_size(environ) == 1
        assert launcher_environment.launcher_name(environ) is None
        assert launcher_environment.local_size(environ) is None


def test_identity_is_removed_and_settings_stay():
    names = [*OPEN_MPI, *HYDRA, "PMIX_RANK", "SLURM_PROCID", "OMPI_MCA_btl", "SLURM_JOB_ID", "SLURM_NTASKS", "PATH"]
    names += [launcher_environment.CONTAINER]
    left = set(names) - set(launcher_environment.rank_identity(names))
    assert left == {"OMPI_MCA_btl", "SLURM_JOB_ID", "SLURM_NTASKS", "PATH"}


def test_both_sides_of_a_container_use_one_name():
    assert launcher_environment.CONTAINER == container.PROCESS
