"""What the MPI library is told."""

from __future__ import annotations

import pytest

from mpidask.launch.comm import mpi_library

OPEN_MPI_5, OPEN_MPI_4, MPICH_5 = ("Open MPI", (5, 0, 11)), ("Open MPI", (4, 1, 4)), ("MPICH", (5, 0, 2))


@pytest.mark.parametrize(
    ("vendor", "environ", "texts", "one_node", "expected"),
    [
        (OPEN_MPI_5, {}, [], True, {"OMPI_MCA_btl": "^ofi"}),
        (OPEN_MPI_5, {}, ["# btl = tcp\nbtl_tcp_if_include = ib0\n"], True, {"OMPI_MCA_btl": "^ofi"}),
        (OPEN_MPI_5, {}, ["", "pml = ob1\n  btl = self,vader\n"], True, {}),
        (OPEN_MPI_5, {"OMPI_MCA_btl": "self,tcp"}, [], True, {}),
        (OPEN_MPI_5, {}, [], False, {}),
        (OPEN_MPI_4, {}, [], True, {}),
        (MPICH_5, {}, [], True, {}),
    ],
)
def test_the_mpi_library_is_told_nothing_that_it_or_the_site_may_refuse(vendor, environ, texts, one_node, expected):
    assert mpi_library.settings(vendor, environ, texts, one_node=one_node) == expected


@pytest.mark.parametrize(
    ("users", "environ", "expected"),
    [
        ("         0          0 4294967295\n", {}, {}),
        ("      1777       1777          1\n", {}, {"UCX_POSIX_USE_PROC_LINK": "n"}),
        ("      1777       1777          1\n", {"UCX_POSIX_USE_PROC_LINK": "y"}, {}),
        ("", {}, {}),
    ],
)
def test_ranks_in_user_namespaces_share_memory_by_name(users, environ, expected):
    assert mpi_library.shared_memory(users, environ) == expected


def test_open_mpi_s_parameter_files_are_found_beside_the_library(tmp_path):
    file = tmp_path / "etc" / "openmpi-mca-params.conf"
    for library in ("lib/libmpi.so.40", "lib/x86_64-linux-gnu/libmpi.so.40", "lib64/openmpi/lib/libmpi.so"):
        assert str(file) in mpi_library.parameter_files(str(tmp_path / library), {})
    environ = {"OMPI_MCA_mca_base_param_files": "/site/one:/site/two", "OPAL_PREFIX": "/opt/moved"}
    found = mpi_library.parameter_files("", environ)
    assert found[:3] == ["/site/one", "/site/two", "/opt/moved/etc/openmpi-mca-params.conf"]


def test_what_the_library_was_told_is_not_for_what_the_script_starts(ranks):
    script = ranks.script("import os; print(sorted(name for name in os.environ if name.startswith('OMPI_MCA_btl')))")
    result = ranks(3, script)
    assert (result.status, result.stdout) == (0, "[]\n"), result
