"""What the MPI library is told before it comes up.

Only what was measured to help, and nothing that a version of it does not know or that a site has set otherwise.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping

__all__ = ["parameter_files", "settings", "texts"]

_VARIABLE = "OMPI_MCA_btl"
_FILE = "openmpi-mca-params.conf"


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


def parameter_files(library: str, environ: Mapping[str, str]) -> list[str]:
    """Return where Open MPI's files with parameters may be.

    library: path of the loaded library; "" if it is not known
    """
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
        return next((path for path in paths if os.path.basename(path).startswith("libmpi.so")), "")
