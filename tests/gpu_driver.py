"""What a process sees of the real GPUs, asked of CUDA's driver. Also for tasks of the tests in tests/gpu."""

from __future__ import annotations

import ctypes
import uuid
from pathlib import Path


def is_there() -> bool:
    """Whether this machine has GPUs of NVIDIA's; loads nothing for it."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


class CudaError(RuntimeError):
    pass


def call(name: str, *arguments: object) -> None:
    status = getattr(ctypes.CDLL("libcuda.so.1"), name)(*arguments)
    if status != 0:
        raise CudaError(f"{name}: {status}")


def seen() -> list[str]:
    """Return the UUIDs of the cards that CUDA shows to this process, in its order."""
    try:
        call("cuInit", 0)
    except CudaError as error:
        if str(error) == "cuInit: 100":  # none
            return []
        raise
    count = ctypes.c_int()
    call("cuDeviceGetCount", ctypes.byref(count))
    return [_uuid(index) for index in range(count.value)]


def _uuid(index: int) -> str:
    device, raw = ctypes.c_int(), ctypes.create_string_buffer(16)
    call("cuDeviceGet", ctypes.byref(device), index)
    call("cuDeviceGetUuid", raw, device)
    return f"GPU-{uuid.UUID(bytes=raw.raw)}"


def compute(number: int = 7) -> tuple[str, int]:
    """Have the first card fill some of its memory, and return its UUID and the sum of what is read back."""
    first = seen()[0]
    device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxPushCurrent_v2", context)
    try:
        back = (ctypes.c_uint32 * 1000)()
        call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(4000))
        call("cuMemsetD32_v2", memory, ctypes.c_uint(number), ctypes.c_size_t(1000))
        call("cuMemcpyDtoH_v2", back, memory, ctypes.c_size_t(4000))
        call("cuMemFree_v2", memory)
    finally:
        call("cuCtxPopCurrent_v2", ctypes.byref(context))
        call("cuDevicePrimaryCtxRelease_v2", device)
    return first, sum(back)
