"""Whether a process can use Dask's protocol ucx: MPI libraries bring an older UCX of their own."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from mpidask.errors import StartupError

__all__ = ["check"]

_PROTOCOLS = ("ucx", "ucxx")
_BACKENDS = ("distributed_ucxx", "ucp")
#: As the package libucx loads them. Its wheel holds copies under other names (libucs.so.0): two at once hang.
_LIBRARIES = ("libucs.so", "libucs_signal.so", "libuct.so", "libucp.so")


def check(protocol: str, *, here: bool, maps: Path = Path("/proc/self/maps")) -> None:
    """Raise StartupError if servers and clients could not use that protocol.

    here: some of them will be in this process, which MPI is up in
    maps: lists what is loaded into it
    """
    if protocol not in _PROTOCOLS:
        return
    if not any(importlib.util.find_spec(name) for name in _BACKENDS):
        raise StartupError(
            f"--protocol {protocol} needs the package distributed-ucxx, which is not in this Python environment",
            "pip install distributed-ucxx-cu12 (CUDA 12) or distributed-ucxx-cu13 (CUDA 13), or leave --protocol out",
        )
    wanted = _libraries() if here else None
    other = _other(wanted, maps) if wanted is not None else None
    if wanted is None or other is None:
        return
    first = ":".join(str(wanted / name) for name in _LIBRARIES)
    raise StartupError(
        f"--protocol {protocol} needs the UCX of the package libucx, but another one is loaded already: {other}",
        f"load the libraries of libucx first: LD_PRELOAD={first} in the environment of all ranks (MPICH: mpirun -genv "
        "LD_PRELOAD VALUE, Open MPI: mpirun -x LD_PRELOAD=VALUE)",
    )


def _libraries() -> Path | None:
    """Return the directory with the libraries of the package libucx, None if UCX is the system's."""
    spec = importlib.util.find_spec("libucx")
    places = [Path(place) / "lib" for place in (spec.submodule_search_locations if spec else None) or ()]
    return next((place for place in places if (place / _LIBRARIES[0]).exists()), None)


def _other(wanted: Path, maps: Path) -> str | None:
    """Return the file of another libucs that is loaded already."""
    files = set(re.findall(r"\s(/\S*/libucs\.so\S*)$", maps.read_text(encoding="utf-8"), re.MULTILINE))
    return next((file for file in sorted(files) if Path(file).resolve() != (wanted / _LIBRARIES[0]).resolve()), None)
