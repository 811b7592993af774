"""Brings the MPI library up, with what it is told for that.

That is only what was measured to help, and nothing that a version of it does not know or that a site has set otherwise.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from mpidask.errors import StartupError
from mpidask.job_environment import text_of
from mpidask.launch.comm import startup_errors
from mpidask.launch.watchdog import mark
from mpidask.launch.watchdog.launcher_environment import launcher_rank, launcher_size, local_size

__all__ = [
    "bring_up",
    "environ_names",
    "family",
    "is_finalized",
    "loaded",
    "parameter_files",
    "settings",
    "shared_memory",
    "texts",
]

_VARIABLE = "OMPI_MCA_btl"
_FILE = "openmpi-mca-params.conf"
_BY_PROC = "UCX_POSIX_USE_PROC_LINK"


def bring_up() -> Any:
    """Return mpi4py.MPI, initialised; a user's mistake ends the process."""
    try:
        import mpi4py

        mpi4py.rc.initialize = False  # look which library it is first: a wrong one may abort
        from mpi4py import MPI

        mark("import mpi4py")
        if not MPI.Is_initialized():
            startup_errors.check_vendor(MPI)
            _initialise(MPI)
            mark("MPI_Init")
        startup_errors.check_size(MPI)
    except (ImportError, RuntimeError) as error:
        _refuse(startup_errors.mpi_missing(error))
    except StartupError as error:
        _refuse(error)
    return MPI


def is_finalized() -> bool:
    """Whether MPI has ended already."""
    from mpi4py import MPI

    return bool(MPI.Is_finalized())


def environ_names() -> Iterator[str]:
    """Yield the names in the process's environment, with those that the MPI library has set meanwhile.

    os.environ does not have these, but child processes inherit them.
    """
    environ = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), "environ")
    for entry in itertools.takewhile(bool, (environ[index] for index in itertools.count())):
        yield entry.decode(errors="replace").partition("=")[0]


def loaded() -> dict[str, str]:
    """Return what mpi4py loads, without MPI_Init: vendor, version, ABI, file and its own text.

    Where it loads nothing there is `error` alone.
    """
    try:
        import mpi4py

        mpi4py.rc.initialize = mpi4py.rc.finalize = False
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        return {"error": str(error)}
    vendor, version = MPI.get_vendor()
    build = re.match(r"MPI\.(mpich|openmpi|mpiabi|impi|msmpi)\b", os.path.basename(MPI.__file__))
    return {
        "vendor": vendor,
        "version": ".".join(map(str, version)),
        "abi": build[1] if build else family(vendor) or "its own",
        "file": _loaded_library(),
        "text": MPI.Get_library_version().splitlines()[0].strip("\0 "),
    }


def family(text: str) -> str:
    """Return which of the two families of ABIs a library or launcher belongs to; "" if that is not known (pure).

    text: a vendor's name, or what a launcher prints of its version
    """
    if re.search(r"MPICH|HYDRA|MVAPICH|Intel\(?R?\)? MPI|Cray|PALS", text, re.IGNORECASE):
        return "MPICH"
    return "Open MPI" if re.search(r"Open[ -]?MPI|PRRTE|prterun", text, re.IGNORECASE) else ""


def _initialise(mpi: Any) -> None:
    """Bring the library up, with settings that are for this alone: what the script starts does not get them."""
    one_node = launcher_size(os.environ) == (local_size(os.environ) or 1)
    ours = settings(mpi.get_vendor(), os.environ, texts(os.environ), one_node=one_node)
    ours |= shared_memory(text_of(Path("/proc/self/uid_map")), os.environ)
    os.environ.update(ours)
    try:
        mpi.Init_thread(mpi.THREAD_MULTIPLE)
    finally:
        for name in ours:
            del os.environ[name]


def _refuse(error: StartupError) -> NoReturn:
    """End this process before there is a world; only the launcher's rank 0 reports."""
    if launcher_rank(os.environ) == 0:
        sys.stderr.write(error.text())
        sys.stderr.flush()
    else:
        time.sleep(1)  # the first rank that ends takes the others along: let the one that reports finish
    os._exit(error.status)


def settings(
    vendor: tuple[str, tuple[int, ...]], environ: Mapping[str, str], given: Iterable[str], *, one_node: bool
) -> dict[str, str]:
    """Return environment variables for the MPI library (pure).

    Open MPI 5 looks for fabrics with libfabric when it comes up, which takes a second; ranks of one node need none.

    vendor:   name and version of the library, as mpi4py has them
    given:    contents of the files with parameters of site and user; read only if it matters
    one_node: whether all ranks are on one node
    """
    name, version = vendor
    if name != "Open MPI" or version < (5, 0, 0) or not one_node or _VARIABLE in environ:
        return {}
    if any(re.search(r"^\s*btl\s*=", text, re.MULTILINE) for text in given):
        return {}
    return {_VARIABLE: "^ofi"}


def shared_memory(users: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables for UCX, which MPICH has in it (pure).

    Ranks in containers of an ordinary user have a user namespace each, and may not open what another one's /proc/PID/fd
    shows. UCX then uses names in /dev/shm.

    users: the numbers of users of this process's namespace, as the kernel maps them
    """
    own = users.split() not in ([], ["0", "0", "4294967295"])
    return {_BY_PROC: "n"} if own and _BY_PROC not in environ else {}


def parameter_files(library: str, environ: Mapping[str, str]) -> list[str]:
    """Return where Open MPI's files with parameters may be.

    library: path of the loaded library; "" if it is not known
    """
    import glob  # not at the top: ranks that only wait do without

    named = [path for path in environ.get("OMPI_MCA_mca_base_param_files", "").split(":") if path]
    prefixes, directory = (
        [environ.get("OPAL_PREFIX", "")],
        os.path.dirname(os.path.realpath(library)) if library else "",
    )
    for _ in range(3):  # PREFIX/lib/libmpi.so, PREFIX/lib/x86_64-linux-gnu/libmpi.so, ...
        directory = os.path.dirname(directory)
        prefixes.append(directory)
    found = [f"{prefix}/etc/{_FILE}" for prefix in prefixes if prefix not in ("", "/")]
    return [*named, *found, *glob.glob(f"/etc/openmpi*/{_FILE}"), os.path.expanduser("~/.openmpi/mca-params.conf")]


def texts(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the contents of those files."""
    for path in parameter_files(_loaded_library(), environ):
        text = ""
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        yield text


def _loaded_library() -> str:
    """Return the path of the MPI library that this process has loaded, "" if it is not found."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        paths = (line.split(maxsplit=5)[-1].strip() for line in maps)
        return next((path for path in paths if re.match(r"libmpi(_abi|_cray)?\.so", os.path.basename(path))), "")
