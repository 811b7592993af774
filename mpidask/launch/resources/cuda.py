"""Whether this process has initialised CUDA: its forks cannot use a GPU then."""

from __future__ import annotations

import ctypes
import os

__all__ = ["is_initialised"]

_SUCCESS = 0


def is_initialised() -> bool:
    """Whether cuInit has been called in this process; loads nothing for it.

    https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html: before cuInit this returns an error.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    return bool(driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int())) == _SUCCESS)
