"""Stand-ins for what GPUs need: a driver's files, its libraries, NVIDIA's and RAPIDS's packages. No GPU is needed."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from pathlib import Path

UUIDS = [f"GPU-{digit * 8}-0000-1111-2222-333333333333" for digit in "0123456789"]
MODEL = "NVIDIA H100 80GB HBM3"


def driver(root: Path, number: int, *, model: str = MODEL, uuids=UUIDS, devices=()) -> Path:
    """Write below a root what NVIDIA's driver shows of so many cards.

    devices: the minor numbers whose device files are there
    """
    for index in range(number):
        place = root / "proc/driver/nvidia/gpus" / f"0000:{index + 1:02x}:00.0"
        place.mkdir(parents=True)
        (place / "information").write_text(
            f"Model: \t\t {model}\nIRQ:   \t\t 0\nGPU UUID: \t {uuids[index]}\nVideo BIOS: \t 96.00.99.00.01\n"
            f"Bus Type: \t PCIe\nBus Location: \t 0000:{index + 1:02x}:00.0\nDevice Minor: \t {index}\n"
            "GPU Firmware: \t 550.90.07\nGPU Excluded:\t No\n"
        )
    for minor in devices:
        (root / "dev").mkdir(exist_ok=True)
        (root / f"dev/nvidia{minor}").write_text("")
    return root


PYNVML = """
'''Answers as nvidia-ml-py does on a node with so many cards.'''
import types

CARDS = {number}
UUIDS = {uuids}

class NVMLError(Exception): pass
class NVMLError_LibraryNotFound(NVMLError): pass
class NVMLError_DriverNotLoaded(NVMLError): pass
class NVMLError_Unknown(NVMLError): pass
class NVMLError_NotSupported(NVMLError): pass
class NVMLError_InvalidArgument(NVMLError): pass
class NVMLError_NotFound(NVMLError): pass
class NVMLError_NoPermission(NVMLError): pass

def nvmlInit(): pass
def nvmlSystemGetDriverVersion(): return "550.90.07"
def nvmlDeviceGetCount(): return CARDS

def nvmlDeviceGetHandleByIndex(index):
    if not 0 <= index < CARDS:
        raise NVMLError_InvalidArgument("Invalid Argument")
    return index

def nvmlDeviceGetHandleByUUID(uuid):
    uuid = uuid.decode() if isinstance(uuid, bytes) else uuid
    if uuid not in UUIDS[:CARDS]:
        raise NVMLError_NotFound("Not Found")
    return UUIDS.index(uuid)

def nvmlDeviceGetUtilizationRates(handle): return types.SimpleNamespace(gpu=10 + handle)
def nvmlDeviceGetMemoryInfo(handle):
    {memory}
    return types.SimpleNamespace(used=1, total=80 * 2**30)
def nvmlDeviceGetName(handle): return "card " + str(handle)
"""


def pynvml(directory: Path, number: int, *, permitted: bool = True) -> None:
    """Write a stand-in for nvidia-ml-py, which Dask's monitor of GPUs asks."""
    memory = "pass" if permitted else "raise NVMLError_NoPermission('Insufficient Permissions')"
    (directory / "pynvml.py").write_text(PYNVML.format(number=number, uuids=UUIDS, memory=memory))


#: As dask_cuda.CUDAWorker: a server that is neither Worker nor Nanny and starts a nanny for each GPU that it sees.
CUDA_WORKER = """
import asyncio, os
from distributed import Nanny
from distributed.core import Server

class CUDAWorker(Server):
    def __init__(self, scheduler=None, host=None, nthreads=1, name=None, memory_limit="auto", dashboard=True,
                 dashboard_address=":0", local_directory=None, security=None, device_memory_limit="default", **more):
        gpus = os.environ["CUDA_VISIBLE_DEVICES"].split(",")
        self.nannies = [
            Nanny(scheduler, host=host, nthreads=nthreads, memory_limit=memory_limit, dashboard=dashboard,
                  dashboard_address=dashboard_address, local_directory=local_directory, security=security,
                  name=name if len(gpus) == 1 else f"{name}-{index}", data=dict,
                  env={"CUDA_VISIBLE_DEVICES": ",".join(gpus[index:] + gpus[:index])}, **more)
            for index in range(len(gpus))
        ]

    def __await__(self):
        return self._start().__await__()

    async def _start(self):
        await asyncio.gather(*self.nannies)

    async def finished(self):
        await asyncio.gather(*(nanny.finished() for nanny in self.nannies))

    async def close(self, timeout=5):
        await asyncio.gather(*(nanny.close(timeout=timeout) for nanny in self.nannies))
"""


def dask_cuda(directory: Path) -> None:
    """Write a stand-in for the package dask-cuda."""
    (directory / "dask_cuda").mkdir()
    (directory / "dask_cuda" / "__init__.py").write_text(CUDA_WORKER)


LIBCUDA = """
static int initialised;
int cuInit(unsigned int flags) { initialised = 1; return 0; }
int cuDeviceGetCount(int *count) { if (!initialised) return 3; *count = 1; return 0; }
"""


def libcuda(directory: Path) -> Path:
    """Compile a stand-in for the driver's library, and return it."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler, "a C compiler is needed"
    (directory / "cuda.c").write_text(LIBCUDA)
    library = directory / "libcuda.so.1"
    words = [compiler, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, directory / "cuda.c"]
    subprocess.run(words, check=True, timeout=60)
    return library


def ucx(directory: Path) -> None:
    """Write stand-ins for the packages distributed-ucxx and libucx."""
    (directory / "distributed_ucxx").mkdir()
    (directory / "distributed_ucxx" / "__init__.py").write_text("")
    (directory / "libucx" / "lib").mkdir(parents=True)
    (directory / "libucx" / "__init__.py").write_text("")
    (directory / "libucx" / "lib" / "libucs.so").write_text("")


def script(text: str) -> str:
    """Return a script with a client."""
    return "from distributed import Client\nimport os\nclient = Client()\n" + textwrap.dedent(text)
